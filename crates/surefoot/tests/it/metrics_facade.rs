//! What a recorder of the `metrics` facade sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use surefoot::budget::{Cost, Money};
use surefoot::load_shedder::Recorded;
use surefoot::metrics::{publish, record_delays};
use surefoot::{Budget, ClientThrottle, LoadShedder, ManualClock, Pipeline, Registry};

use crate::support::*;

/// Everything recorded, by `name{label="value"}`.
fn recorded(snapshotter: &Snapshotter) -> BTreeMap<String, (MetricKind, DebugValue)> {
    let snapshot = snapshotter.snapshot().into_vec();
    snapshot
        .into_iter()
        .map(|(key, _, _, value)| {
            let (kind, key) = key.into_parts();
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
            (format!("{}{{{}}}", key.name(), labels.join(",")), (kind, value))
        })
        .collect()
}

fn counter(value: u64) -> (MetricKind, DebugValue) {
    (MetricKind::Counter, DebugValue::Counter(value))
}

fn gauge(value: f64) -> (MetricKind, DebugValue) {
    (MetricKind::Gauge, DebugValue::Gauge(value.into()))
}

/// Spec 8.1: the names, the tag, the values; by a recorder that came after the calls.
#[test]
fn a_recorder_installed_late_misses_nothing() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(3).build().unwrap();
        let service = Service::new(&clock, [gives(200), fails("down")]);
        for _ in 0..6 {
            let _ = call!(host, clock, breaker, service);
        }
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || publish(&breaker));
        let expected = [
            ("circuit_breaker.failure_rate{circuit=\"api\"}", gauge(0.75)),
            ("circuit_breaker.failures{circuit=\"api\"}", counter(3)),
            ("circuit_breaker.opened{circuit=\"api\"}", counter(1)),
            ("circuit_breaker.rejections{circuit=\"api\"}", counter(2)),
            ("circuit_breaker.state{circuit=\"api\"}", gauge(1.0)),
            ("circuit_breaker.successes{circuit=\"api\"}", counter(1)),
        ];
        let recorded = recorded(&snapshotter);
        for (name, value) in &expected {
            if *name == "circuit_breaker.failure_rate{circuit=\"api\"}" {
                assert!(recorded.contains_key(*name));
                continue;
            }
            assert_eq!(recorded.get(*name), Some(value), "{host:?}: {name}");
        }
        assert_eq!(recorded.len(), expected.len(), "{recorded:?}");
    }
}

#[test]
fn publishing_again_writes_the_present_values_and_adds_nothing() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        publish(&breaker);
        assert_eq!(recorded(&snapshotter)["circuit_breaker.state{circuit=\"api\"}"], gauge(0.0));
        breaker.admit().unwrap().failure();
        publish(&breaker);
        publish(&breaker);
        let seen = recorded(&snapshotter);
        assert_eq!(seen["circuit_breaker.state{circuit=\"api\"}"], gauge(1.0));
        assert_eq!(seen["circuit_breaker.failures{circuit=\"api\"}"], counter(1));
        clock.advance(60 * SEC);
        breaker.admit().unwrap().cancel();
        publish(&breaker);
        assert_eq!(recorded(&snapshotter)["circuit_breaker.state{circuit=\"api\"}"], gauge(2.0));
    });
}

#[test]
fn a_registry_publishes_each_of_its_breakers() {
    let registry: Registry = Registry::builder("host").build().unwrap();
    registry.get("a").admit().unwrap().failure();
    registry.get("b");
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&registry));
    let seen = recorded(&snapshotter);
    assert_eq!(seen["circuit_breaker.failures{circuit=\"host/a\"}"], counter(1));
    assert_eq!(seen["circuit_breaker.failures{circuit=\"host/b\"}"], counter(0));
}

#[test]
fn a_retry_publishes_its_retries_and_the_waits_in_milliseconds() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let retry = retry(&clock).name("read").exponential_base(2.0).build().unwrap();
        let delays = record_delays(&retry);
        let service = Service::new(&clock, [fails("down"), fails("down"), gives(200)]);
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            assert_eq!(call!(host, clock, retry, service), Ok(200));
            publish(&retry);
        });
        let seen = recorded(&snapshotter);
        assert_eq!(seen["retry.attempts{operation=\"read\"}"], counter(2), "{host:?}");
        let (kind, DebugValue::Histogram(waits)) = &seen["retry.delay{operation=\"read\"}"] else {
            panic!("{seen:?}")
        };
        let waits: Vec<f64> = waits.iter().map(|wait| wait.into_inner()).collect();
        assert_eq!((*kind, waits), (MetricKind::Histogram, vec![1000.0, 2000.0]), "{host:?}");
        drop(delays);
    }
}

/// A retry in a pipeline can be published too.
#[test]
fn a_retry_given_to_a_pipeline_publishes_what_the_pipeline_retried() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let kept = retry(&clock).name("read").build().unwrap();
        let pipeline = Pipeline::builder("api").idempotent().add(kept.clone()).build().unwrap();
        let service = Service::new(&clock, [fails("down"), gives(200)]);
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || publish(&kept));
        let seen = recorded(&snapshotter);
        assert_eq!(seen["retry.attempts{operation=\"read\"}"], counter(1), "{host:?}");
    }
}

#[test]
fn a_hedge_publishes_its_attempts_beyond_the_first() {
    let clock = ManualClock::new();
    let builder = surefoot::Hedge::builder().name("read").delay(SEC).clock(clock.clone());
    let hedge = builder.build().unwrap();
    let service = Service::new(&clock, [gives(200).after(2 * SEC), gives(200)]);
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&hedge));
    assert_eq!(recorded(&snapshotter)["hedge.attempts{operation=\"read\"}"], counter(1));
}

#[test]
fn a_budget_publishes_what_is_spent_and_what_is_left_where_there_is_a_limit() {
    let run = Budget::builder("run").attempts(5).money(Money::from_units(1)).build().unwrap();
    drop(run.reserve(Cost::attempts(2)).unwrap());
    run.record(Cost::tokens(700).and_money(Money::from_micros(250_000)));
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&run));
    let label =
        |name: &str, dimension: &str| format!("{name}{{budget=\"run\",dimension=\"{dimension}\"}}");
    let expected = BTreeMap::from([
        (label("budget.spent", "attempts"), counter(2)),
        (label("budget.spent", "tokens"), counter(700)),
        (label("budget.spent", "money"), counter(250_000)),
        (label("budget.remaining", "attempts"), gauge(3.0)),
        (label("budget.remaining", "money"), gauge(750_000.0)),
    ]);
    assert_eq!(recorded(&snapshotter), expected);
}

#[test]
fn a_rate_limiter_publishes_who_was_admitted_refused_and_delayed_and_how_it_stands() {
    let clock = ManualClock::new();
    let limiter = crate::rate_limiting::limiter(&clock, 2, SEC).max_wait(SEC).build().unwrap();
    limiter.check_n(2).unwrap();
    assert!(limiter.check_n(3).is_err());
    let waits = limiter.reserve(1, surefoot::Timestamp::MAX).unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&limiter));
    let expected = [
        ("rate_limiter.admitted{limiter=\"search\"}", counter(1)),
        ("rate_limiter.current_rate{limiter=\"search\"}", gauge(2.0)),
        ("rate_limiter.delayed{limiter=\"search\"}", counter(1)),
        ("rate_limiter.pauses{limiter=\"search\"}", counter(0)),
        ("rate_limiter.paused{limiter=\"search\"}", gauge(0.0)),
        ("rate_limiter.rejections{limiter=\"search\"}", counter(1)),
        ("rate_limiter.remaining{limiter=\"search\"}", gauge(0.0)),
        ("rate_limiter.waiting{limiter=\"search\"}", gauge(1.0)),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(recorded(&snapshotter), BTreeMap::from(expected));
    drop(waits);
}

#[test]
fn a_keyed_rate_limiter_publishes_all_keys_together() {
    let clock = ManualClock::new();
    let keyed: surefoot::KeyedRateLimiter<u32> =
        crate::rate_limiting::limiter(&clock, 1, SEC).build_keyed().unwrap();
    for key in [1, 2, 1] {
        let _ = keyed.check(&key);
    }
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&keyed));
    let expected = [
        ("rate_limiter.admitted{limiter=\"search\"}", counter(2)),
        ("rate_limiter.delayed{limiter=\"search\"}", counter(0)),
        ("rate_limiter.pauses{limiter=\"search\"}", counter(0)),
        ("rate_limiter.keys{limiter=\"search\"}", gauge(2.0)),
        ("rate_limiter.rejections{limiter=\"search\"}", counter(1)),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(recorded(&snapshotter), BTreeMap::from(expected));
}

#[test]
fn several_limits_publish_each_limit_on_all_calls_and_the_counts_of_all_together() {
    let clock = ManualClock::new();
    let limits: surefoot::rate_limiter::multi::RateLimits<&str> =
        surefoot::rate_limiter::multi::RateLimits::builder("model")
            .limit(surefoot::rate_limiter::multi::Limit::overall("tokens", 10, 60 * SEC))
            .clock(&clock)
            .build()
            .unwrap();
    limits.check(&"a", &[("tokens", 4)]).unwrap();
    let waits = limits.reserve(&"a", &[("tokens", 10)], surefoot::Timestamp::MAX).unwrap();
    limits.pause_for(&"a", surefoot::rate_limiter::multi::Scope::Overall, 2 * SEC).unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&limits));
    let of_limit =
        |metric: &str| format!("rate_limiter.{metric}{{limiter=\"model/tokens\",window=\"60\"}}");
    let whole = |metric: &str| format!("rate_limiter.{metric}{{limiter=\"model\"}}");
    let expected = [
        (whole("admitted"), counter(1)),
        (whole("rejections"), counter(0)),
        (whole("delayed"), counter(1)),
        (whole("pauses"), counter(1)),
        (whole("waiting"), gauge(1.0)),
        (whole("keys"), gauge(0.0)),
        (of_limit("current_rate"), gauge(4.0)),
        (of_limit("remaining"), gauge(0.0)),
        (of_limit("paused"), gauge(2000.0)),
    ];
    assert_eq!(recorded(&snapshotter), BTreeMap::from(expected));
    drop(waits);
}

/// Spec 8.1.
#[test]
fn shed_calls_are_counted_by_priority_and_loads_shown_by_signal() {
    let clock = ManualClock::new();
    let shedder = LoadShedder::builder("api")
        .capacity(2)
        .memory(true)
        .load_source(Arc::new(Recorded))
        .clock(&clock)
        .build()
        .unwrap();
    let _under_way = [shedder.admit(2).unwrap(), shedder.admit(3).unwrap()];
    assert!(shedder.should_shed(1));
    assert!(shedder.should_shed(1));
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&shedder));
    let recorded = recorded(&snapshotter);
    for (name, value) in [
        ("backpressure.shed_requests{shedder=\"api\",priority=\"1\"}", counter(2)),
        ("backpressure.shed_requests{shedder=\"api\",priority=\"3\"}", counter(0)),
        ("load_shedder.admitted{shedder=\"api\",priority=\"2\"}", counter(1)),
        ("load_shedder.would_shed{shedder=\"api\",priority=\"1\"}", counter(0)),
        ("load_shedder.load{shedder=\"api\",signal=\"in_flight\"}", gauge(1.0)),
        ("load_shedder.in_flight{shedder=\"api\"}", gauge(2.0)),
        ("load_shedder.admitted_share{shedder=\"api\"}", gauge(1.0)),
    ] {
        assert_eq!(recorded.get(name), Some(&value), "{name}");
    }
    // Nobody has told it.
    assert!(!recorded.contains_key("load_shedder.load{shedder=\"api\",signal=\"memory\"}"));
}

#[test]
fn calls_held_back_are_counted() {
    let throttle = ClientThrottle::builder("api").clock(ManualClock::new()).build().unwrap();
    let mut held_back = 0;
    for _ in 0..50 {
        match throttle.admit() {
            Ok(permit) => permit.failure(),
            Err(_) => held_back += 1,
        }
    }
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&throttle));
    let recorded = recorded(&snapshotter);
    let rejections = recorded.get("client_throttle.rejections{operation=\"api\"}");
    assert_eq!(rejections, Some(&counter(held_back)));
    let rate = recorded.get("client_throttle.rejection_rate{operation=\"api\"}");
    assert_eq!(rate, Some(&gauge(throttle.status().rejection_rate)));
}
