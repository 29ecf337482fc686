//! How much of the CPU that this process may use it uses.

use std::time::Duration;

use super::cgroup::{Groups, Hierarchy, Version};
use super::{Files, text};

/// Counters that only grow, read at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CpuCounters {
    /// Its own group first, then those around it.
    groups: Vec<Group>,
    /// Microseconds in which some task of the group waited for a CPU.
    waited: Option<u64>,
    /// CPUs that may be used.
    cpus: Option<u32>,
    /// Ticks of the machine: busy, and all.
    machine: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Group {
    /// Microseconds of CPU time used.
    used: Option<u64>,
    /// CPUs, also in fractions, that may be used.
    quota: Option<f64>,
    /// Periods in which it ran, and those in which it was stopped for having used its quota.
    periods: u64,
    throttled: u64,
}

impl CpuCounters {
    pub(super) fn read(files: &Files, groups: &Groups) -> Self {
        let usage = groups.cpu_usage.as_ref();
        let own = groups.cpu.as_ref().filter(|cpu| cpu.version == Version::V2);
        let stat = files("/proc/stat");
        let stat = stat.as_deref().unwrap_or_default();
        Self {
            groups: groups.cpu.as_ref().map_or(vec![], |cpu| {
                let directories = cpu.directories.iter().enumerate();
                directories.map(|(at, _)| Group::read(files, cpu, usage, at)).collect()
            }),
            waited: own
                .and_then(|cpu| text::stalled(&files(&format!("{}/cpu.pressure", cpu.own()))?)),
            cpus: cpu_set(files, groups.cpu_set.as_ref()).or_else(|| text::cpus(stat)),
            machine: text::ticks(stat),
        }
    }

    /// The load since `before`: the largest share that a group has used of what it may. Where work
    /// waited for a CPU, in that share of the time, it is as much larger: use alone ends at 1.0
    /// however great the demand is. `None` if that cannot be told.
    ///
    /// A group without a quota is judged only if it is this process's own: what the others use
    /// cannot be shed here. Without groups the machine is judged.
    pub(super) fn load_since(&self, before: &Self, elapsed: Duration) -> Option<f64> {
        let micros = elapsed.as_secs_f64() * 1e6;
        if micros <= 0.0 || self.groups.len() != before.groups.len() {
            return None;
        }
        let cpus = self.cpus.map_or(f64::INFINITY, f64::from);
        let groups = || self.groups.iter().zip(&before.groups);
        let used = groups().enumerate().filter_map(|(at, (now, before))| {
            let may_use = match now.quota {
                Some(quota) => quota.min(cpus),
                None if at == 0 => cpus,
                None => return None,
            };
            let used = now.used?.checked_sub(before.used?)?;
            may_use.is_finite().then(|| to_f64(used) / (micros * may_use))
        });
        if self.groups.is_empty() {
            return self.machine_since(before);
        }
        let used = used.reduce(f64::max)?;
        let throttled = groups().filter_map(|(now, before)| {
            let periods = now.periods.checked_sub(before.periods)?;
            let throttled = now.throttled.checked_sub(before.throttled)?;
            (periods > 0).then(|| to_f64(throttled) / to_f64(periods))
        });
        let stalled = self
            .waited
            .zip(before.waited)
            .and_then(|(now, before)| Some(to_f64(now.checked_sub(before)?) / micros));
        let waiting = throttled.chain(stalled).fold(0.0, f64::max).min(1.0);
        Some(used * (1.0 + waiting))
    }

    fn machine_since(&self, before: &Self) -> Option<f64> {
        let ((busy, total), (busy_before, total_before)) = self.machine.zip(before.machine)?;
        let busy = busy.checked_sub(busy_before)?;
        let total = total.checked_sub(total_before).filter(|ticks| *ticks > 0)?;
        Some(to_f64(busy) / to_f64(total))
    }
}

impl Group {
    fn read(files: &Files, cpu: &Hierarchy, usage: Option<&Hierarchy>, at: usize) -> Self {
        let directory = &cpu.directories[at];
        let file = |name: &str| files(&format!("{directory}/{name}"));
        let stat = file("cpu.stat").unwrap_or_default();
        let counted = |key| text::keyed(&stat, key).unwrap_or_default();
        let (used, quota) = match cpu.version {
            Version::V2 => {
                let quota = file("cpu.max").and_then(|max| quota(max.split_once(' ')?));
                (text::keyed(&stat, "usage_usec"), quota)
            }
            Version::V1 => {
                let used =
                    usage.and_then(|usage| usage.directories.get(at)).and_then(|directory| {
                        Some(text::number(&files(&format!("{directory}/cpuacct.usage"))?)? / 1000)
                    });
                let limit = file("cpu.cfs_quota_us").zip(file("cpu.cfs_period_us"));
                (used, limit.and_then(|(limit, period)| quota((&limit, &period))))
            }
        };
        Self { used, quota, periods: counted("nr_periods"), throttled: counted("nr_throttled") }
    }
}

/// CPUs as so many microseconds in each period: 125000 in 100000 is one and a quarter. `max` and -1
/// are no limit.
fn quota((limit, period): (&str, &str)) -> Option<f64> {
    let [limit, period] = [text::number(limit)?, text::number(period)?];
    (limit > 0 && period > 0).then(|| to_f64(limit) / to_f64(period))
}

/// The CPUs that the nearest group with a list of them may use.
fn cpu_set(files: &Files, cpu_set: Option<&Hierarchy>) -> Option<u32> {
    let cpu_set = cpu_set?;
    let name = match cpu_set.version {
        Version::V1 => "cpuset.effective_cpus",
        Version::V2 => "cpuset.cpus.effective",
    };
    let list = |directory: &String| text::listed(&files(&format!("{directory}/{name}"))?);
    cpu_set.directories.iter().find_map(list)
}

#[expect(clippy::cast_precision_loss, reason = "shares, not counts, are what is wanted")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
