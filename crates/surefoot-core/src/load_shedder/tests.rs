//! What a user of a shedder relies on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{Event, ManualClock};

const INTERVAL: Duration = Duration::from_millis(250);

fn with_capacity(calls: u32) -> LoadShedderBuilder {
    LoadShedder::builder("api").capacity(calls).clock(ManualClock::new())
}

/// A load that tests set.
#[derive(Clone, Default)]
struct Dial(Arc<AtomicU64>);

impl Dial {
    fn set(&self, load: f64) {
        self.0.store(load.to_bits(), Ordering::Relaxed);
    }

    fn load(&self) -> impl Fn() -> f64 + Send + Sync + 'static {
        let dial = self.clone();
        move || f64::from_bits(dial.0.load(Ordering::Relaxed))
    }
}

/// Which priorities are shed.
fn shed(shedder: &LoadShedder) -> Vec<u32> {
    (1..=shedder.priority_levels()).filter(|priority| shedder.should_shed(*priority)).collect()
}

fn shed_by(rejection: Rejection) -> (u32, Signal, f32, f32) {
    match rejection {
        Rejection::Shed { priority, signal, load, limit, .. } => (priority, signal, load, limit),
        other => panic!("{other}"),
    }
}

#[test]
fn calls_under_way_shed_the_lowest_priority_first_and_never_exceed_the_capacity() {
    let shedder = with_capacity(10).build().unwrap();
    let mut under_way = Vec::new();
    for (calls, expected) in
        [(0, vec![]), (7, vec![]), (8, vec![1]), (9, vec![1, 2]), (10, vec![1, 2, 3])]
    {
        while under_way.len() < calls {
            under_way.push(shedder.admit(3).unwrap());
        }
        assert_eq!(shed(&shedder), expected, "{calls} under way");
    }
    assert_eq!(shed_by(shedder.admit(3).unwrap_err()), (3, Signal::InFlight, 1.0, 1.0));
    under_way.pop();
    assert_eq!(shed(&shedder), [1, 2]);
    drop(under_way);
    assert_eq!(shed(&shedder), [0; 0]);
    assert_eq!(shedder.status().in_flight, 0);
}

#[test]
fn asking_takes_no_place() {
    let shedder = with_capacity(1).build().unwrap();
    for _ in 0..10 {
        assert!(!shedder.should_shed(3));
        assert!(shedder.check(3).is_ok());
    }
    assert_eq!(shedder.status().in_flight, 0);
}

#[test]
fn a_function_is_asked_for_every_call() {
    let dial = Dial::default();
    let shedder = LoadShedder::builder("api").signal(dial.load()).build().unwrap();
    for (load, expected) in [
        (0.0, vec![]),
        (0.79, vec![]),
        (0.8, vec![1]),
        (0.9, vec![1, 2]),
        (0.95, vec![1, 2]),
        (1.0, vec![1, 2, 3]),
        (f64::INFINITY, vec![1, 2, 3]),
        (f64::NAN, vec![]),
        (-1.0, vec![]),
    ] {
        dial.set(load);
        assert_eq!(shed(&shedder), expected, "{load}");
    }
}

#[test]
fn one_signal_suffices_and_is_named() {
    let [gauge, own] = [Dial::default(), Dial::default()];
    let builder = LoadShedder::builder("api").in_flight(gauge.load()).signal(own.load());
    let shedder = builder
        .memory(true)
        .load_source(Arc::new(Recorded))
        .clock(ManualClock::new())
        .build()
        .unwrap();
    assert_eq!(shed(&shedder), [0; 0]);
    gauge.set(0.85);
    assert_eq!(shed_by(shedder.check(1).unwrap_err()), (1, Signal::InFlight, 0.85, 0.8));
    own.set(0.95);
    assert_eq!(shed_by(shedder.check(2).unwrap_err()), (2, Signal::Custom, 0.95, 0.9));
    shedder.record_memory(1.0);
    assert_eq!(shed_by(shedder.check(3).unwrap_err()), (3, Signal::Memory, 1.0, 1.0));
}

#[test]
fn a_single_priority_is_shed_from_the_maximum_load() {
    let shedder = with_capacity(10).priority_levels(1).build().unwrap();
    let _under_way: Vec<_> = (0..8).map(|_| shedder.admit(1).unwrap()).collect();
    assert!(shedder.admit(1).is_err());
}

#[test]
fn a_priority_that_does_not_exist_is_refused_and_where_there_is_no_error_taken_for_the_nearest() {
    let shedder = with_capacity(10).build().unwrap();
    for priority in [0, 4, u32::MAX] {
        let unknown = Rejection::UnknownPriority { policy: Name::from("api"), priority, levels: 3 };
        assert_eq!(shedder.admit(priority).unwrap_err(), unknown);
        assert_eq!(shedder.check(priority).unwrap_err(), unknown);
        assert_eq!(shedder.priority(priority).unwrap_err().field(), "priority");
    }
    let _under_way: Vec<_> = (0..9).map(|_| shedder.admit(3).unwrap()).collect();
    assert!(shedder.should_shed(0));
    assert!(!shedder.should_shed(u32::MAX));
    // Such a call is not one that the load has shed.
    assert_eq!(shedder.status().shed(), 1);
}

#[test]
fn a_dry_run_admits_and_reports() {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&reported);
    let shedder = with_capacity(2)
        .dry_run(true)
        .on_event(move |event| report.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let under_way: Vec<_> = (0..3).map(|_| shedder.admit(1).unwrap()).collect();
    assert!(!shedder.should_shed(1));
    let status = shedder.status();
    assert_eq!(status.in_flight, 3); // the load without it
    let expected = PriorityStatus { priority: 1, admitted: 4, shed: 0, would_shed: 2 };
    assert_eq!(status.priorities[0], expected);
    let event = |load| Event::Shed {
        policy: Name::from("api"),
        at: crate::Timestamp::ZERO,
        priority: 1,
        signal: Signal::InFlight,
        load,
        limit: 0.8,
        dry_run: true,
    };
    assert_eq!(*reported.lock().unwrap(), [event(1.0), event(1.5)]);
    drop(under_way);
    assert_eq!(shedder.status().in_flight, 0);
}

#[test]
fn every_call_is_counted_once() {
    let shedder = with_capacity(1).build().unwrap();
    let permit = shedder.admit(2).unwrap();
    assert!(shedder.admit(2).is_err());
    assert!(shedder.should_shed(3));
    drop(permit);
    assert!(!shedder.should_shed(3));
    let counts =
        |priority, admitted, shed| PriorityStatus { priority, admitted, shed, would_shed: 0 };
    let status = shedder.status();
    assert_eq!(status.priorities, [counts(1, 0, 0), counts(2, 1, 1), counts(3, 1, 1)]);
    assert_eq!(status.shed(), 2);
}

#[test]
fn samples_of_what_is_not_judged_and_impossible_ones_change_nothing() {
    let shedder = with_capacity(10).build().unwrap();
    shedder.record_cpu(9.0);
    shedder.record_memory(9.0);
    shedder.record_queue_delay(Duration::MAX);
    assert_eq!(shed(&shedder), [0; 0]);

    let clock = ManualClock::new();
    let shedder =
        LoadShedder::builder("api").load_source(Arc::new(Recorded)).clock(&clock).build().unwrap();
    for load in [f64::NAN, f64::INFINITY, -0.5] {
        clock.advance(INTERVAL);
        shedder.record_cpu(load);
        shedder.record_memory(load);
        shedder.record_queue_delay(Duration::MAX);
        assert_eq!(shed(&shedder), [0; 0]);
    }
    let unknown = |signal| SignalStatus { signal, load: None };
    assert_eq!(shedder.status().signals, [unknown(Signal::Cpu), unknown(Signal::Memory)]);
}

#[test]
fn a_user_s_calls_share_one_fate_for_an_hour() {
    let clock = ManualClock::new();
    let builder =
        LoadShedder::builder("api").priority_levels(1).cpu(true).load_source(Arc::new(Recorded));
    let shedder = builder.clock(&clock).seed(1).build().unwrap();
    let users = || (0..1000_u32).map(|user| shedder.priority(1).unwrap().user(user));
    let fate = || users().map(|user| user.should_shed()).collect::<Vec<_>>();
    fate();
    clock.advance(INTERVAL);
    shedder.record_cpu(1.6); // half of them
    let first = fate();
    let shed = first.iter().filter(|shed| **shed).count();
    assert!((400..600).contains(&shed), "{shed}");
    // Only who is in the level that the threshold divides may be served now and not then.
    let differing = |other: &[bool]| first.iter().zip(other).filter(|(a, b)| a != b).count();
    clock.advance(Duration::from_millis(1));
    assert!(differing(&fate()) <= 25);
    clock.advance(Duration::from_secs(3600));
    shedder.record_cpu(0.8);
    fate();
    clock.advance(INTERVAL);
    shedder.record_cpu(1.6);
    assert!(differing(&fate()) > 300);
}

#[test]
fn a_source_of_load_feeds_a_shedder_as_long_as_it_lives() {
    #[derive(Default)]
    struct Source(Mutex<Vec<LoadSink>>);
    impl LoadSource for Source {
        fn feed(&self, sink: LoadSink) {
            self.0.lock().unwrap().push(sink);
        }
    }
    let source = Arc::new(Source::default());
    let clock = ManualClock::new();
    let shedder =
        LoadShedder::builder("api").load_source(source.clone()).clock(&clock).build().unwrap();
    // One of the two is reason enough to measure.
    let builder = || LoadShedder::builder("api").load_source(source.clone()).clock(&clock);
    let _others = [builder().memory(false), builder().cpu(false)].map(|one| one.build().unwrap());
    assert_eq!(source.0.lock().unwrap().len(), 3);
    let sink = source.0.lock().unwrap()[0].clone();
    assert_eq!(sink.interval(), shedder.config().sample_interval);
    assert_eq!(shed(&shedder), [0; 0]);
    assert!(sink.record(LoadSample { cpu: None, memory: Some(0.9) }));
    assert_eq!(shed(&shedder), [1, 2]);
    assert!(sink.record(LoadSample::default()));
    assert_eq!(shed(&shedder), [1, 2]);
    clock.advance(4 * INTERVAL + Duration::from_nanos(1));
    assert_eq!(shed(&shedder), [0; 0]);
    drop(shedder);
    assert!(!sink.record(LoadSample { cpu: Some(1.0), memory: Some(1.0) }));
}

#[test]
fn a_permit_handed_over_gives_its_place_back_once() {
    let shedder = with_capacity(10).build().unwrap();
    let handle = shedder.priority(3).unwrap();
    let mut permit = handle.admit_borrowed().unwrap();
    let kept = permit.hand_over();
    drop(permit);
    assert_eq!(shedder.status().in_flight, 1);
    drop(kept);
    assert_eq!(shedder.status().in_flight, 0);
}

#[test]
fn a_rejection_says_what_was_too_much_and_what_to_do() {
    let shedder = with_capacity(10).build().unwrap();
    let _under_way: Vec<_> = (0..8).map(|_| shedder.admit(3).unwrap()).collect();
    let rejection = shedder.admit(1).unwrap_err();
    assert_eq!(rejection.retry_after(), None);
    assert_eq!(rejection.policy(), "api");
    assert_eq!(
        rejection.to_string(),
        "load shedder `api` sheds priority 1: calls under way at 80 % of capacity, with a limit of \
         80 %: try later or elsewhere"
    );
    assert_eq!(
        shedder.admit(4).unwrap_err().to_string(),
        "load shedder `api` has no priority 4: give one from 1, the lowest, to 3"
    );
    assert_eq!(
        shedder.priority(0).unwrap_err().to_string(),
        "load_shedder: `priority` = 0 must be from 1 to 3, the `priority_levels` of `api`"
    );
}

#[test]
fn it_tells_its_name_its_options_its_clock_and_its_priorities() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(2));
    let shedder = LoadShedder::builder("api").capacity(4).clock(&clock).build().unwrap();
    assert_eq!((shedder.name().as_str(), shedder.config().capacity), ("api", Some(4)));
    assert_eq!(shedder.time().now(), crate::Timestamp::ZERO + Duration::from_secs(2));
    assert_eq!(shedder.clone().priority(2).unwrap().priority(), 2);
    let config = shedder.config().clone();
    assert_eq!(LoadShedderBuilder::from(config.clone()).build().unwrap().config(), &config);
}

#[cfg(feature = "toml")]
#[test]
fn options_are_read_from_toml_and_unknown_ones_refused() {
    assert_eq!(LoadShedderConfig::from_toml("capacity = 4").unwrap().capacity, Some(4));
    assert_eq!(LoadShedderConfig::from_toml("calls = 4").unwrap_err().field(), "calls");
}

#[test]
fn listeners_hear_of_what_is_shed_whenever_they_came() {
    let heard = Arc::new(AtomicU64::new(0));
    let listener = || {
        let heard = heard.clone();
        move |_: &Event| _ = heard.fetch_add(1, Ordering::SeqCst)
    };
    let shared = Events::default();
    shared.subscribe(listener()).forever();
    let shedder = with_capacity(1).events(shared).on_event(listener()).build().unwrap();
    shedder.events().subscribe(listener()).forever();
    let _running = shedder.admit(3).unwrap();
    shedder.admit(3).unwrap_err();
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}

#[test]
fn the_status_shows_each_signal_as_a_share_of_what_it_may_be() {
    let clock = ManualClock::new();
    let builder = with_capacity(4).max_queue_delay(Duration::from_secs(2)).clock(&clock);
    let shedder = builder.build().unwrap();
    let _running = shedder.admit(3).unwrap();
    for _ in 0..3 {
        shedder.record_queue_delay(Duration::from_secs(1));
        clock.advance(INTERVAL);
    }
    let signals = shedder.status().signals;
    let load = |signal| signals.iter().find(|told| told.signal == signal).unwrap().load;
    assert_eq!((load(Signal::InFlight), load(Signal::QueueDelay)), (Some(0.25), Some(0.5)));
}

#[test]
fn the_status_shows_memory_and_functions_and_leaves_out_what_is_no_number() {
    let clock = ManualClock::new();
    let dial = Dial::default();
    let builder = LoadShedder::builder("api").memory(true).load_source(Arc::new(Recorded));
    let shedder = builder.signal(dial.load()).clock(&clock).build().unwrap();
    let loads = || shedder.status().signals.into_iter().map(|told| (told.signal, told.load));
    assert_eq!(loads().collect::<Vec<_>>(), [(Signal::Memory, None), (Signal::Custom, Some(0.0))]);
    shedder.record_memory(0.25);
    dial.set(f64::NAN);
    assert_eq!(loads().collect::<Vec<_>>(), [(Signal::Memory, Some(0.25)), (Signal::Custom, None)]);
}

#[test]
fn a_signal_is_called_as_in_config_files() {
    let signals =
        [Signal::InFlight, Signal::Cpu, Signal::Memory, Signal::QueueDelay, Signal::Custom];
    let names = ["in_flight", "cpu", "memory", "queue_delay", "custom"];
    assert_eq!(signals.map(Signal::as_str), names);
}

/// Of the CPU and a queue the one that is more loaded.
#[test]
fn the_worse_of_the_sampled_signals_is_the_one_that_is_judged() {
    for (cpu, delay, shedding) in [(0.5, 100, false), (2.0, 100, true), (0.5, 2_000, true)] {
        let clock = ManualClock::new();
        let builder = LoadShedder::builder("api").cpu(true).load_source(Arc::new(Recorded));
        let shedder =
            builder.clock(&clock).max_queue_delay(Duration::from_secs(1)).build().unwrap();
        for _ in 0..10 {
            clock.advance(INTERVAL);
            shedder.record_cpu(cpu);
            shedder.record_queue_delay(Duration::from_millis(delay));
        }
        assert_eq!(shedder.status().admitted_share < 1.0, shedding, "{cpu}, {delay} ms");
    }
}
