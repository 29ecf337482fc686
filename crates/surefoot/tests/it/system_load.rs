//! The load of the system, read from trees of the files in which kernels tell it.
//!
//! `overload.md §3` names the traps: figures of the host in a container, fractions of a CPU rounded, the page
//! cache taken for use, the root of all groups taken for one's own, files that are missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use surefoot::load_shedder::{LoadSample, LoadShedderBuilder};
use surefoot::system_load::Meter;
use surefoot::{LoadShedder, SystemLoad, Timestamp};

use crate::support::SEC;

/// Files of a machine, as they are now.
#[derive(Clone, Default)]
struct Tree(Arc<Mutex<BTreeMap<String, String>>>);

impl Tree {
    fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        let tree = Self::default();
        tree.set(files);
        tree
    }

    fn set<const N: usize>(&self, files: [(&str, &str); N]) {
        let mut tree = self.0.lock().unwrap();
        tree.extend(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    fn remove(&self, path: &str) {
        self.0.lock().unwrap().remove(path);
    }

    fn meter(&self) -> Meter {
        let tree = self.clone();
        Meter::reading(move |path| tree.0.lock().unwrap().get(path).cloned())
    }
}

/// Samples a second apart: `change` is what happens in between.
fn sample_twice(tree: &Tree, change: impl FnOnce(&Tree)) -> (LoadSample, LoadSample) {
    let mut meter = tree.meter();
    let first = meter.sample(Timestamp::ZERO);
    change(tree);
    (first, meter.sample(Timestamp::ZERO + SEC))
}

#[track_caller]
fn assert_load(load: Option<f64>, expected: f64) {
    let close = load.is_some_and(|load| (load - expected).abs() < 1e-9);
    assert!(close, "{load:?}, not {expected}");
}

const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n";
const HOST_STAT: &str =
    "cpu  1000 0 0 1000 0 0 0 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\ncpu2 1 1 1 1\ncpu3 1 1 1 1\n";
const HOST_MEMORY: &str = "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 100 kB\n";

/// A container of version 2 with a namespace of its own, on a busy host with four CPUs.
fn container() -> Tree {
    Tree::new([
        ("/proc/self/cgroup", "0::/\n"),
        ("/proc/self/mountinfo", V2_MOUNT),
        ("/proc/stat", HOST_STAT),
        ("/proc/meminfo", HOST_MEMORY),
        ("/sys/fs/cgroup/cpu.max", "200000 100000\n"),
        ("/sys/fs/cgroup/cpu.stat", "usage_usec 5000000\nnr_periods 100\nnr_throttled 0\n"),
        ("/sys/fs/cgroup/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ("/sys/fs/cgroup/memory.current", "600\n"),
        ("/sys/fs/cgroup/memory.max", "1000\n"),
        ("/sys/fs/cgroup/memory.high", "max\n"),
        ("/sys/fs/cgroup/memory.stat", "anon 300\nfile 300\ninactive_file 200\n"),
        ("/sys/fs/cgroup/memory.events", "low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n"),
    ])
}

fn used(micros: u64) -> String {
    format!("usage_usec {}\nnr_periods 110\nnr_throttled 0\n", 5_000_000 + micros)
}

#[test]
fn a_container_of_version_2_is_judged_by_its_own_quota_and_limit_and_not_by_its_host() {
    let (first, second) = sample_twice(&container(), |tree| {
        // One second of CPU time in a second: half of two CPUs. The host is busy all the time.
        tree.set([
            ("/sys/fs/cgroup/cpu.stat", &used(1_000_000)),
            ("/proc/stat", "cpu  9000 0 0 1000\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\n"),
        ]);
    });
    assert_eq!(first.cpu, None); // use is the difference of two readings
    assert_load(second.cpu, 0.5);
    // (600 − 200) of 1000: what the page cache holds and nobody uses is not in use.
    assert_load(first.memory, 0.4);
    assert_load(second.memory, 0.4);
}

#[test]
fn a_quota_can_be_a_fraction_of_a_cpu() {
    let tree = container();
    tree.set([("/sys/fs/cgroup/cpu.max", "125000 100000\n")]);
    let busy = |tree: &Tree| tree.set([("/sys/fs/cgroup/cpu.stat", &used(1_000_000))]);
    assert_load(sample_twice(&tree, busy).1.cpu, 0.8); // of one and a quarter
}

#[test]
fn a_quota_above_the_cpus_there_are_is_no_more_than_they() {
    let tree = container();
    tree.set([
        ("/sys/fs/cgroup/cpu.max", "800000 100000\n"),
        ("/sys/fs/cgroup/cpuset.cpus.effective", "0,2\n"),
    ]);
    let busy = |tree: &Tree| tree.set([("/sys/fs/cgroup/cpu.stat", &used(1_000_000))]);
    assert_load(sample_twice(&tree, busy).1.cpu, 0.5);
}

#[test]
fn work_that_had_to_wait_for_a_cpu_makes_the_load_larger_since_use_alone_ends_at_the_quota() {
    // Throttled in 6 of 10 periods.
    let (_, sample) = sample_twice(&container(), |tree| {
        let stat = "usage_usec 7000000\nnr_periods 110\nnr_throttled 6\n";
        tree.set([("/sys/fs/cgroup/cpu.stat", stat)]);
    });
    assert_load(sample.cpu, 1.6);
    // Waiting a quarter of the time.
    let (_, sample) = sample_twice(&container(), |tree| {
        let pressure = "some avg10=9.99 avg60=9.99 avg300=9.99 total=250000\n";
        tree.set([
            ("/sys/fs/cgroup/cpu.stat", &used(1_000_000)),
            ("/sys/fs/cgroup/cpu.pressure", pressure),
        ]);
    });
    assert_load(sample.cpu, 0.625);
}

#[test]
fn under_a_host_s_namespace_the_own_group_is_found_and_every_limit_around_it_holds() {
    let tree = Tree::new([
        ("/proc/self/cgroup", "0::/kubepods/pod1/app\n"),
        ("/proc/self/mountinfo", V2_MOUNT),
        ("/proc/stat", HOST_STAT),
        ("/proc/meminfo", HOST_MEMORY),
        // The root of all groups has neither limits nor figures of memory.
        ("/sys/fs/cgroup/cpu.stat", "usage_usec 900000000\n"),
        ("/sys/fs/cgroup/kubepods/pod1/cpu.max", "100000 100000\n"),
        ("/sys/fs/cgroup/kubepods/pod1/cpu.stat", "usage_usec 0\nnr_periods 0\nnr_throttled 0\n"),
        ("/sys/fs/cgroup/kubepods/pod1/memory.current", "900\n"),
        ("/sys/fs/cgroup/kubepods/pod1/memory.max", "1000\n"),
        ("/sys/fs/cgroup/kubepods/pod1/app/cpu.max", "max 100000\n"),
        ("/sys/fs/cgroup/kubepods/pod1/app/cpu.stat", "usage_usec 0\n"),
        ("/sys/fs/cgroup/kubepods/pod1/app/memory.current", "100\n"),
        ("/sys/fs/cgroup/kubepods/pod1/app/memory.max", "max\n"),
        ("/sys/fs/cgroup/kubepods/pod1/app/memory.high", "500\n"),
    ]);
    let (_, sample) = sample_twice(&tree, |tree| {
        tree.set([
            // A sidecar uses most of what the pod may use.
            ("/sys/fs/cgroup/kubepods/pod1/cpu.stat", "usage_usec 700000\nnr_periods 10\n"),
            ("/sys/fs/cgroup/kubepods/pod1/app/cpu.stat", "usage_usec 100000\n"),
        ]);
    });
    assert_load(sample.cpu, 0.7);
    assert_load(sample.memory, 0.9);
    tree.set([("/sys/fs/cgroup/kubepods/pod1/memory.current", "150\n")]);
    assert_load(tree.meter().sample(Timestamp::ZERO).memory, 0.2); // 100 of `memory.high`
}

#[test]
fn without_a_quota_only_the_own_use_counts_so_neighbours_shed_nobody() {
    let tree = container();
    tree.set([("/sys/fs/cgroup/cpu.max", "max 100000\n"), ("/sys/fs/cgroup/memory.max", "max\n")]);
    let (_, sample) = sample_twice(&tree, |tree| {
        tree.set([
            ("/sys/fs/cgroup/cpu.stat", &used(1_000_000)),
            ("/proc/stat", "cpu  9000 0 0 1000\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\n"),
        ]);
    });
    assert_load(sample.cpu, 0.25); // one of four CPUs
    // 400 of these and the machine's 100 kB.
    assert_load(sample.memory, 400.0 / (400.0 + 100.0 * 1024.0));
}

#[test]
fn version_1_has_its_figures_in_other_files_and_units() {
    let tree = Tree::new([
        (
            "/proc/self/cgroup",
            "9:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n",
        ),
        (
            "/proc/self/mountinfo",
            "1 0 0:1 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
             2 0 0:2 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
             3 0 0:3 /docker/abc /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n",
        ),
        ("/proc/meminfo", HOST_MEMORY),
        ("/sys/fs/cgroup/cpuset/cpuset.effective_cpus", "0-1\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 7\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "1000000000\n"),
        ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "800\n"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        (
            "/sys/fs/cgroup/memory/memory.stat",
            "inactive_file 1\nhierarchical_memory_limit 1000\ntotal_inactive_file 300\n",
        ),
        (
            "/sys/fs/cgroup/memory/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        ),
    ]);
    let (first, second) = sample_twice(&tree, |tree| {
        tree.set([
            ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "1750000000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_periods 15\nnr_throttled 1\n"),
            ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\noom_kill 1\n"),
        ]);
    });
    assert_load(second.cpu, 0.5); // 0.75 of one and a half
    assert_load(first.memory, 0.5); // the limit is that of a group that is not seen
    assert_load(second.memory, 1.0); // somebody was killed for memory
    // -1 is no quota: then it is the use of the two CPUs.
    tree.set([
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "0\n"),
    ]);
    let busy =
        |tree: &Tree| tree.set([("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "500000000\n")]);
    assert_load(sample_twice(&tree, busy).1.cpu, 0.25);
}

#[test]
fn memory_that_has_run_out_is_full_load_until_the_next_sample() {
    let tree = container();
    let mut meter = tree.meter();
    assert_load(meter.sample(Timestamp::ZERO).memory, 0.4);
    tree.set([("/sys/fs/cgroup/memory.events", "max 9\noom 1\noom_kill 0\n")]);
    assert_load(meter.sample(Timestamp::ZERO + SEC).memory, 1.0);
    assert_load(meter.sample(Timestamp::ZERO + 2 * SEC).memory, 0.4);
    // Reaching the limit is not running out of it: the page cache does that all the time.
    tree.set([("/sys/fs/cgroup/memory.events", "max 5000\noom 1\noom_kill 0\n")]);
    assert_load(meter.sample(Timestamp::ZERO + 3 * SEC).memory, 0.4);
}

#[test]
fn a_machine_without_groups_is_judged_as_a_whole() {
    let tree = Tree::new([("/proc/stat", HOST_STAT), ("/proc/meminfo", HOST_MEMORY)]);
    let (first, second) = sample_twice(&tree, |tree| {
        tree.set([("/proc/stat", "cpu  1070 0 0 1020 10 0 0 0 0 0\ncpu0 1\n")]);
    });
    assert_eq!(first.cpu, None);
    assert_load(second.cpu, 0.7);
    assert_load(second.memory, 0.9);
}

#[test]
fn where_the_kernel_tells_nothing_nothing_is_known() {
    let unknown = LoadSample { cpu: None, memory: None };
    let gvisor = [
        ("/proc/self/cgroup", ""),
        ("/proc/self/mountinfo", ""),
        ("/proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\n"),
        ("/proc/meminfo", "MemTotal: 0 kB\n"),
    ];
    assert_eq!(sample_twice(&Tree::default(), |_| ()), (unknown, unknown));
    assert_eq!(sample_twice(&Tree::new(gvisor), |_| ()), (unknown, unknown));
    // A group whose files are not there: the host's figures are not its own.
    let named = [
        ("/proc/self/cgroup", "0::/a\n"),
        ("/proc/self/mountinfo", V2_MOUNT),
        ("/proc/stat", HOST_STAT),
        ("/proc/meminfo", HOST_MEMORY),
    ];
    assert_eq!(sample_twice(&Tree::new(named), |_| ()), (unknown, unknown));
    // A directory that is not there either.
    assert_eq!(Meter::under("/nowhere at all").sample(Timestamp::ZERO), unknown);
}

#[test]
fn a_file_that_vanishes_is_unknown_again_and_counters_that_go_back_are_no_load() {
    let tree = container();
    let mut meter = tree.meter();
    meter.sample(Timestamp::ZERO);
    tree.set([("/sys/fs/cgroup/cpu.stat", &used(1_000_000))]);
    assert_load(meter.sample(Timestamp::ZERO + SEC).cpu, 0.5);
    tree.set([("/sys/fs/cgroup/cpu.stat", "usage_usec 7\n")]);
    tree.remove("/proc/stat");
    assert_eq!(meter.sample(Timestamp::ZERO + 2 * SEC).cpu, None);
    tree.remove("/sys/fs/cgroup/cpu.stat");
    tree.remove("/sys/fs/cgroup/memory.current");
    tree.remove("/proc/meminfo");
    let unknown = LoadSample { cpu: None, memory: None };
    assert_eq!(meter.sample(Timestamp::ZERO + 3 * SEC), unknown);
    // No time has passed.
    let tree = container();
    let mut meter = tree.meter();
    meter.sample(Timestamp::ZERO);
    assert_eq!(meter.sample(Timestamp::ZERO).cpu, None);
}

#[test]
fn a_process_that_is_moved_is_found_again() {
    let tree = container();
    tree.set([
        ("/sys/fs/cgroup/new/memory.current", "10\n"),
        ("/sys/fs/cgroup/new/memory.max", "100\n"),
    ]);
    let mut meter = tree.meter();
    assert_load(meter.sample(Timestamp::ZERO).memory, 0.4);
    tree.set([("/proc/self/cgroup", "0::/new\n"), ("/sys/fs/cgroup/memory.max", "max\n")]);
    let samples = (1..=40).map(|second| meter.sample(Timestamp::ZERO + second * SEC).memory);
    assert_load(samples.last().flatten(), 0.1);
}

#[test]
fn the_files_are_read_from_a_directory() {
    let root = std::env::temp_dir().join(format!("surefoot-load-{}", std::process::id()));
    for (path, text) in &*container().0.lock().unwrap() {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut meter = Meter::under(&root);
    let first = meter.sample(Timestamp::ZERO);
    std::fs::write(root.join("sys/fs/cgroup/cpu.stat"), used(500_000)).unwrap();
    let second = meter.sample(Timestamp::ZERO + SEC);
    std::fs::remove_dir_all(&root).unwrap();
    assert_load(first.memory, 0.4);
    assert_load(second.cpu, 0.25);
}

// ---- the thread ------------------------------------------------------------------------------

fn fed_by(source: &Arc<SystemLoad>) -> LoadShedderBuilder {
    LoadShedder::builder("api")
        .load_source(source.clone())
        .sample_interval(Duration::from_millis(20))
}

/// Waits for what another thread does; the limit only ends a test that would hang.
fn wait_for(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing happened");
        std::thread::yield_now();
    }
}

#[test]
fn a_thread_feeds_shedders_as_long_as_there_are_any() {
    let tree = container();
    let meters = Arc::new(Mutex::new(0));
    let made = meters.clone();
    let source = SystemLoad::measured_by({
        let tree = tree.clone();
        move || {
            *made.lock().unwrap() += 1;
            tree.meter()
        }
    });
    assert_eq!(*meters.lock().unwrap(), 0); // no thread without a shedder
    let shedder = fed_by(&source).build().unwrap();
    let another = fed_by(&source).memory(true).build().unwrap();
    wait_for(|| source.latest().memory.is_some());
    assert!(!shedder.should_shed(1));
    tree.set([("/sys/fs/cgroup/memory.current", "1100\n")]);
    wait_for(|| shedder.should_shed(1) && another.should_shed(1));
    assert_eq!(*meters.lock().unwrap(), 1);

    drop((shedder, another));
    wait_for(|| source.latest() == LoadSample::default());
    let shedder = fed_by(&source).build().unwrap();
    wait_for(|| shedder.should_shed(1));
    assert_eq!(*meters.lock().unwrap(), 2);
}

/// What this machine says, whatever it is, is a load or nothing.
#[test]
fn this_machine_s_own_load_can_be_told() {
    let mut meter = Meter::new();
    for second in 0..3 {
        let LoadSample { cpu, memory } = meter.sample(Timestamp::ZERO + second * SEC);
        for load in [cpu, memory].into_iter().flatten() {
            assert!((0.0..1e6).contains(&load), "{load}");
        }
    }
    let shedder = LoadShedder::builder("api").load_source(SystemLoad::shared()).build().unwrap();
    let _ = shedder.should_shed(1);
}
