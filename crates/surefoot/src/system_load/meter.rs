//! Two readings make a load.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use surefoot_core::Timestamp;
use surefoot_core::load_shedder::LoadSample;

use super::Files;
use super::cgroup::Groups;
use super::cpu::CpuCounters;
use super::memory::Memory;

/// Measures the load of the system as this process's container sees it.
///
/// ```
/// use surefoot::system_load::Meter;
/// use surefoot::{Clock, SystemClock};
///
/// let mut meter = Meter::new();
/// let first = meter.sample(SystemClock.now());
/// assert_eq!(first.cpu, None); // use is the difference of two readings
/// ```
pub struct Meter {
    files: Box<Files>,
    groups: Option<Groups>,
    /// Samples until the groups are looked up anew: a process may be moved.
    until_lookup: u32,
    last: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Timestamp,
    cpu: CpuCounters,
    memory: Memory,
}

/// Ten seconds of samples, by default.
const LOOKUP_EVERY: u32 = 40;
/// No file that is read here is as long.
const LONGEST_FILE: u64 = 4 << 20;

impl Meter {
    /// Of this machine.
    pub fn new() -> Self {
        Self::under("/")
    }

    /// With the kernel's files (`/proc/self/cgroup` and so on) under another directory: a copy of
    /// them, or where a container finds those of its host.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self::reading(move |path| read(&root.join(path.trim_start_matches('/'))))
    }

    /// With `files` telling what is in the file of an absolute path, if there is one.
    pub fn reading(files: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        Self { files: Box::new(files), groups: None, until_lookup: 0, last: None }
    }

    /// The load since the last sample, and that of memory now. What cannot be told is `None`: the CPU
    /// in the first sample, everything where the kernel tells nothing (gVisor, macOS).
    ///
    /// Reads about a dozen small files for each group that this process is nested in: it blocks for
    /// some tens of microseconds.
    pub fn sample(&mut self, now: Timestamp) -> LoadSample {
        if self.until_lookup == 0 {
            self.until_lookup = LOOKUP_EVERY;
            let groups = Some(Groups::find(&self.files));
            if groups != self.groups {
                self.groups = groups;
                self.last = None;
            }
        }
        self.until_lookup -= 1;
        let Some(groups) = &self.groups else { return LoadSample::default() };
        let cpu = CpuCounters::read(&self.files, groups);
        let memory = Memory::read(&self.files, groups);
        let last = self.last.as_ref();
        let sample = LoadSample {
            cpu: last.and_then(|last| cpu.load_since(&last.cpu, now - last.at)),
            memory: memory.load_since(last.map(|last| &last.memory)),
        };
        self.last = Some(Reading { at: now, cpu, memory });
        sample
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("last", &self.last).finish_non_exhaustive()
    }
}

/// What cannot be read is as good as absent.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
