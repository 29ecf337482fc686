//! What a throttler promises, in virtual time.

mod deadlines;
mod limits;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::*;
use crate::{Deadline, DropReason, Event, ManualClock, Timestamp, Verdict, with_drop_reason};

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One who waits, with a bell of its own.
struct Guest {
    waiter: Waiter,
    bell: Arc<Bell>,
}

impl Guest {
    fn ask(&mut self) -> Poll<Result<Permit, Rejection>> {
        self.waiter.poll(&mut Context::from_waker(&Waker::from(self.bell.clone())))
    }

    fn admitted(&mut self) -> Permit {
        match self.ask() {
            Poll::Ready(Ok(permit)) => permit,
            other => panic!("not admitted: {other:?}"),
        }
    }

    fn refused(&mut self) -> Rejection {
        match self.ask() {
            Poll::Ready(Err(rejection)) => rejection,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn waits(&mut self) -> bool {
        self.ask().is_pending()
    }

    fn rings(&self) -> usize {
        self.bell.0.load(Ordering::SeqCst)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn builder(clock: &ManualClock, permits: u32) -> ThrottlerBuilder {
    Throttler::builder("test").max_concurrent(permits).clock(clock)
}

fn throttler(clock: &ManualClock, permits: u32) -> Throttler {
    builder(clock, permits).build().unwrap()
}

fn queue(throttler: &Throttler) -> Guest {
    queue_until(throttler, None)
}

fn queue_until(throttler: &Throttler, deadline: Option<Deadline>) -> Guest {
    let bell = Arc::new(Bell::default());
    let wait = |_: &_| Wait { deadline, waker: Waker::from(bell.clone()) };
    match Throttler::enqueue(throttler.clone(), wait) {
        Ok(Admission::Queued(waiter)) => Guest { waiter, bell },
        other => panic!("not queued: {other:?}"),
    }
}

fn ask(
    throttler: &Throttler,
    deadline: Option<Deadline>,
) -> Result<Admission<&Throttler>, Rejection> {
    Throttler::enqueue(throttler, |_| Wait { deadline, waker: Waker::noop().clone() })
}

fn in_seconds(clock: &ManualClock, from_now: u64) -> Deadline {
    use crate::Clock;
    Deadline::after(clock.now(), seconds(from_now))
}

fn reason(rejection: &Rejection) -> Option<(LeftQueue, Duration)> {
    match rejection {
        Rejection::QueueTimeout { waited, reason, .. } => Some((*reason, *waited)),
        _ => None,
    }
}

#[test]
fn as_many_run_as_may_and_a_permit_that_returns_lets_the_next_one_in() {
    let throttler = throttler(&ManualClock::new(), 2);
    let first = throttler.try_acquire().unwrap();
    let second = throttler.try_acquire().unwrap();
    assert!(matches!(throttler.try_acquire(), Err(Rejection::QueueFull { queue_size: 0, .. })));
    assert_eq!(throttler.in_flight(), 2);
    drop(first);
    assert!(throttler.try_acquire().is_ok());
    drop(second);
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn listeners_hear_of_limits_and_full_queues_once_each() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ear = heard.clone();
    let throttler = builder(&ManualClock::new(), 1)
        .queue_size(1)
        .on_event(move |event| ear.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let running = throttler.try_acquire().unwrap();
    let waiting = queue(&throttler);
    for _ in 0..2 {
        assert!(ask(&throttler, None).is_err());
    }
    drop(waiting);
    let _waiting = queue(&throttler);
    assert!(ask(&throttler, None).is_err());
    throttler.resize(2).unwrap();
    throttler.resize(2).unwrap();
    drop(running);
    let full = |event: &&Event| matches!(event, Event::QueueFilled { queue_size: 1, .. });
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(full).count(), 2);
    assert!(matches!(heard[2..], [Event::LimitChanged { from: 1, to: 2, .. }]));
}

#[test]
fn a_panic_returns_the_permit() {
    let throttler = throttler(&ManualClock::new(), 1);
    let holder = throttler.clone();
    let panicked = std::thread::spawn(move || {
        let _permit = holder.try_acquire().unwrap();
        std::panic::resume_unwind(Box::new("boom"));
    });
    assert!(panicked.join().is_err());
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn a_permit_can_be_returned_on_another_thread() {
    let throttler = throttler(&ManualClock::new(), 1);
    let permit = throttler.try_acquire_owned().unwrap();
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn every_option_has_its_rule() {
    let base = ThrottlerConfig::default;
    let period = Some(Duration::ZERO);
    let codel = |target, interval| ThrottlerConfig {
        codel: Some(CodelConfig { target, interval }),
        ..base()
    };
    let adaptive = AdaptiveConfig::default();
    for (config, field) in [
        (ThrottlerConfig { name: " ".into(), ..base() }, "name"),
        (ThrottlerConfig { max_concurrent: Some(0), ..base() }, "max_concurrent"),
        (ThrottlerConfig { max_concurrent: Some(u32::MAX), ..base() }, "max_concurrent"),
        (ThrottlerConfig { queue_size: u32::MAX, ..base() }, "queue_size"),
        (ThrottlerConfig { timeout: Duration::ZERO, ..base() }, "timeout"),
        (ThrottlerConfig { priority_levels: Some(3), ..base() }, "priority_levels"),
        (ThrottlerConfig { displace: true, ..base() }, "displace"),
        (
            ThrottlerConfig { order: Order::Priority, priority_levels: Some(0), ..base() },
            "priority_levels",
        ),
        (codel(period, None), "codel.target"),
        (codel(None, period), "codel.interval"),
        (
            ThrottlerConfig { adaptive: Some(adaptive.clone()), max_concurrent: Some(4), ..base() },
            "max_concurrent",
        ),
        (
            ThrottlerConfig {
                adaptive: Some(AdaptiveConfig { max_limit: u32::MAX, ..adaptive }),
                ..base()
            },
            "adaptive.max_limit",
        ),
    ] {
        assert_eq!(config.validate().unwrap_err().field(), field, "{config:?}");
    }
    assert!(base().validate().is_ok());
}

#[test]
fn a_verdict_that_panics_costs_no_permit() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let mut guest = queue(&throttler);
    drop(running);
    // Of one that waited, the time it takes is looked at, and so is how it ended.
    let mut permit = guest.admitted();
    let mut next = queue(&throttler);
    let hostile = std::panic::AssertUnwindSafe(|| permit.close_for(|| panic!("hostile")));
    assert!(std::panic::catch_unwind(hostile).is_err());
    assert!(next.waits(), "it is held as long as the permit lives");
    drop(permit);
    drop(next.admitted());
    assert_eq!(throttler.in_flight(), 0);
}
