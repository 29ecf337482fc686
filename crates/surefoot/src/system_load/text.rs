//! The small languages in which the kernel tells figures.

/// The number after `key` in lines of `key number`, as in `cpu.stat` and `memory.stat`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// A file that is one number; `max`, and whatever else is none, is no number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A number of kilobytes after `key:`, as in `/proc/meminfo`, in bytes.
pub(super) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?.trim().strip_suffix("kB")?;
        value.trim().parse::<u64>().ok()?.checked_mul(1024)
    })
}

/// How many CPUs a list like `0-3,8` names.
pub(super) fn listed(text: &str) -> Option<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let [first, last] = [first, last].map(|cpu| cpu.trim().parse::<u32>().ok());
        last?.checked_sub(first?)?.checked_add(1)
    };
    let list = text.trim();
    let counts: Option<Vec<u32>> = list.split(',').map(range).collect();
    counts?.into_iter().try_fold(0, u32::checked_add)
}

/// The microseconds in which some task waited, of a pressure-stall file:
/// `some avg10=0.12 avg60=0.05 avg300=0.01 total=12345`.
pub(super) fn stalled(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("total=")?.trim().parse().ok())
}

/// CPU time of the whole machine in ticks: busy, and all of it. Waiting for I/O is idle, and time
/// stolen by other machines is busy: it was wanted and not had.
pub(super) fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest time is part of the first two.
    let ticks: Option<Vec<u64>> =
        line.split_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() >= 4)?;
    let total = ticks.iter().try_fold(0_u64, |sum, ticks| sum.checked_add(*ticks))?;
    let idle = ticks[3].checked_add(ticks.get(4).copied().unwrap_or_default())?;
    Some((total - idle, total))
}

/// How many CPUs `/proc/stat` lists.
pub(super) fn cpus(stat: &str) -> Option<u32> {
    let is_cpu = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    u32::try_from(stat.lines().filter(is_cpu).count()).ok().filter(|cpus| *cpus > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_under_their_whole_name() {
        let stat = "usage_usec 7000\nuser_usec 5000\nnr_periods x\n";
        assert_eq!(keyed(stat, "usage_usec"), Some(7000));
        assert_eq!(keyed(stat, "usage"), None);
        assert_eq!(keyed(stat, "nr_periods"), None);
        assert_eq!(number(" 4096\n"), Some(4096));
        assert_eq!(number("max\n"), None);
        assert_eq!(number("-1\n"), None);
        let meminfo = "MemTotal:       16000 kB\nMemAvailable:    4000 kB\n";
        assert_eq!(kilobytes(meminfo, "MemAvailable"), Some(4_096_000));
        assert_eq!(kilobytes(meminfo, "Mem"), None);
    }

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, cpus) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-3,8,10-11\n", Some(7)),
            ("", None),
            ("3-1", None),
            ("0-4294967295", None),
            ("a-b", None),
        ] {
            assert_eq!(listed(list), cpus, "{list:?}");
        }
    }

    #[test]
    fn pressure_is_told_by_its_total() {
        let cpu = "some avg10=0.12 avg60=0.05 avg300=0.01 total=12345\nfull avg10=0.00 total=9\n";
        assert_eq!(stalled(cpu), Some(12345));
        assert_eq!(stalled("full avg10=0.00 avg60=0.00 avg300=0.00 total=9"), None);
        assert_eq!(stalled(""), None);
    }

    #[test]
    fn the_machine_s_time_is_split_into_busy_and_idle() {
        let stat = "cpu  100 10 50 800 40 5 5 20 99 99\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5\n";
        assert_eq!(ticks(stat), Some((190, 1030)));
        assert_eq!(cpus(stat), Some(2));
        // gVisor lists no times.
        assert_eq!(ticks("cpu\n"), None);
        assert_eq!(ticks("cpu  1 2 3\n"), None);
        assert_eq!(cpus("cpu  1 2 3 4\n"), None);
    }
}
