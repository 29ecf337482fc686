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
        throttler.machine.look_now();
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

#[test]
fn it_tells_its_name_its_options_its_clock_and_its_state() {
    let clock = ManualClock::new();
    clock.advance(seconds(3));
    let throttler = builder(&clock, 1).queue_size(7).build().unwrap();
    assert_eq!((throttler.name().as_str(), throttler.config().queue_size), ("test", 7));
    assert_eq!(throttler.time().now(), Timestamp::ZERO + seconds(3));
    assert_eq!(throttler.bulkhead(), None);
    let _running = throttler.try_acquire().unwrap();
    let _waiting = [queue(&throttler), queue(&throttler)];
    assert_eq!((throttler.in_flight(), throttler.queue_depth()), (1, 2));
    assert!(!throttler.is_closed() && !throttler.status().closed);
    throttler.close();
    assert!(throttler.is_closed() && throttler.status().closed);
    assert_eq!(throttler.queue_depth(), 0);
}

#[test]
fn listeners_can_come_early_late_and_from_elsewhere() {
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = || {
        let heard = heard.clone();
        move |_: &Event| _ = heard.fetch_add(1, Ordering::SeqCst)
    };
    let shared = Events::default();
    shared.subscribe(listener()).forever();
    let builder = builder(&ManualClock::new(), 1).events(shared).on_event(listener());
    let throttler = builder.build().unwrap();
    throttler.events().subscribe(listener()).forever();
    throttler.resize(2).unwrap();
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}

#[test]
fn options_as_data_build_the_same_throttler() {
    let config = ThrottlerConfig { queue_size: 7, ..ThrottlerConfig::default() };
    assert_eq!(ThrottlerBuilder::from(config.clone()).build().unwrap().config(), &config);
    #[cfg(feature = "toml")]
    {
        assert_eq!(ThrottlerConfig::from_toml("queue_size = 7").unwrap(), config);
        assert_eq!(ThrottlerConfig::from_toml("permits = 7").unwrap_err().field(), "permits");
    }
}

#[test]
fn the_rejected_are_all_who_were_refused_and_not_who_walked_away() {
    let totals = ThrottlerTotals {
        queued: 1,
        queue_full: 20,
        timed_out: 300,
        over_delayed: 4_000,
        hopeless: 50_000,
        displaced: 600_000,
        closed: 7_000_000,
        cancelled: 80_000_000,
    };
    assert_eq!(totals.rejected(), 7_654_320);
}

#[test]
fn a_refusal_says_why_one_had_to_leave_and_what_to_do() {
    let text = |reason| {
        let (policy, waited) = ("api".into(), seconds(2));
        Rejection::QueueTimeout { policy, waited, reason }.to_string()
    };
    assert_eq!(
        text(LeftQueue::Timeout),
        "call left the queue of `api` after 2s, the longest wait there is: send less at once, or \
         try elsewhere"
    );
    assert_eq!(
        text(LeftQueue::StandingQueue),
        "call left the queue of `api` after 2s because more comes than is done: send less at once, \
         or try elsewhere"
    );
    assert_eq!(
        text(LeftQueue::Deadline),
        "call left the queue of `api` after 2s as it would not have been done by its deadline: \
         give it more time, or try elsewhere"
    );
}

#[test]
fn a_claim_that_is_dropped_keeps_no_permit_from_others() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let claim = Throttler::claim(throttler.clone()).err().unwrap();
    drop(claim);
    drop(running);
    assert_eq!(throttler.in_flight(), 0);
    let running = throttler.try_acquire().unwrap();
    // A permit that met the claim goes on to the next.
    let claim = Throttler::claim(throttler.clone()).err().unwrap();
    drop(running);
    drop(claim);
    assert!(throttler.try_acquire().is_ok());
}

#[test]
fn a_permit_that_was_handed_over_is_returned_once_by_the_new_one() {
    let throttler = throttler(&ManualClock::new(), 1);
    let mut permit = throttler.try_acquire().unwrap();
    assert!(!permit.is_closed());
    let mut owned = permit.hand_over().unwrap();
    assert!(permit.is_closed() && permit.hand_over().is_none());
    drop(permit);
    assert_eq!(throttler.in_flight(), 1);
    owned.close(Verdict::Success);
    assert!(owned.is_closed());
    drop(owned);
    assert_eq!(throttler.in_flight(), 0);
}
