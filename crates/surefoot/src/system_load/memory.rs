//! How much of the memory that this process may use is in use.

use super::cgroup::{Groups, Hierarchy, Version};
use super::{Files, text};

/// What version 1 says for "no limit" is a little less than this; nobody has as much.
const NO_LIMIT: u64 = 1 << 60;

/// Memory at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    load: Option<f64>,
    /// How often an allocation has failed, or a process been killed for one, so far.
    out_of_memory: Option<u64>,
}

impl Memory {
    /// Of the group that has used the largest share of its limit. What the page cache holds and
    /// nobody has used lately does not count: it makes no difference to anybody until it is wanted,
    /// and would keep every group that reads files at its limit for ever.
    ///
    /// Without any limit it is a share of what this process's group uses and what the machine has
    /// left; without a group a share of the machine's.
    pub(super) fn read(files: &Files, groups: &Groups) -> Self {
        let Some(memory) = &groups.memory else {
            return Self { load: machine(files, None), out_of_memory: None };
        };
        let groups = || memory.directories.iter().map(|path| Group::read(files, memory, path));
        let limited = groups().filter_map(|group| Some(share(group.used?, group.limit?)));
        let own = groups().next().and_then(|group| group.used);
        // The group of all groups has no figures of its own. Others that have none tell nothing.
        let is_told = own.is_some() || memory.directories.len() == 1;
        let unlimited = || is_told.then(|| machine(files, own)).flatten();
        Self {
            load: limited.reduce(f64::max).or_else(unlimited),
            out_of_memory: out_of_memory(files, memory),
        }
    }

    /// The load now; at least full if memory has run out since `before`.
    pub(super) fn load_since(&self, before: Option<&Self>) -> Option<f64> {
        let counts = self.out_of_memory.zip(before.and_then(|before| before.out_of_memory));
        let has_run_out = counts.is_some_and(|(now, before)| now > before);
        self.load.map(|load| if has_run_out { load.max(1.0) } else { load })
    }
}

/// One group, in bytes.
struct Group {
    used: Option<u64>,
    limit: Option<u64>,
}

impl Group {
    fn read(files: &Files, memory: &Hierarchy, directory: &str) -> Self {
        let file = |name: &str| files(&format!("{directory}/{name}"));
        let number = |name: &str| text::number(&file(name)?);
        let stat = file("memory.stat").unwrap_or_default();
        let (used, inactive, limits) = match memory.version {
            Version::V1 => (
                number("memory.usage_in_bytes"),
                text::keyed(&stat, "total_inactive_file"),
                // The latter also knows of groups that are not seen here.
                [number("memory.limit_in_bytes"), text::keyed(&stat, "hierarchical_memory_limit")],
            ),
            Version::V2 => (
                number("memory.current"),
                text::keyed(&stat, "inactive_file"),
                [number("memory.max"), number("memory.high")],
            ),
        };
        Self {
            used: used.map(|used| used.saturating_sub(inactive.unwrap_or_default())),
            limit: limits.into_iter().flatten().filter(|limit| (1..NO_LIMIT).contains(limit)).min(),
        }
    }
}

fn out_of_memory(files: &Files, memory: &Hierarchy) -> Option<u64> {
    let own = memory.own();
    match memory.version {
        Version::V1 => text::keyed(&files(&format!("{own}/memory.oom_control"))?, "oom_kill"),
        Version::V2 => {
            let events = files(&format!("{own}/memory.events"))?;
            let [failed, killed] = ["oom", "oom_kill"].map(|key| text::keyed(&events, key));
            failed?.checked_add(killed?)
        }
    }
}

fn machine(files: &Files, own: Option<u64>) -> Option<f64> {
    let meminfo = files("/proc/meminfo")?;
    let available = text::kilobytes(&meminfo, "MemAvailable")?;
    if let Some(used) = own {
        return Some(share(used, used.checked_add(available)?));
    }
    let total = text::kilobytes(&meminfo, "MemTotal")?;
    Some(share(total.checked_sub(available)?, total))
}

#[expect(clippy::cast_precision_loss, reason = "a share is wanted")]
fn share(used: u64, of: u64) -> f64 {
    used as f64 / of.max(1) as f64
}
