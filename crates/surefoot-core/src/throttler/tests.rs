//! What a throttler promises, in virtual time.

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
fn whoever_waited_longest_is_next_and_nobody_gets_in_past_the_queue() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let (mut first, mut second) = (queue(&throttler), queue(&throttler));
    assert!(first.waits() && second.waits());
    drop(running);
    assert_eq!((first.rings(), second.rings()), (1, 0));
    assert!(throttler.try_acquire().is_err());
    let running = first.admitted();
    drop(running);
    assert!(throttler.try_acquire().is_err());
    drop(second.admitted());
    assert!(throttler.try_acquire().is_ok());
}

#[test]
fn last_in_first_out_if_so_ordered() {
    let throttler = builder(&ManualClock::new(), 1).order(Order::Lifo).build().unwrap();
    let running = throttler.try_acquire().unwrap();
    let (mut first, mut second) = (queue(&throttler), queue(&throttler));
    drop(running);
    drop(second.admitted());
    drop(first.admitted());
}

#[test]
fn the_most_important_is_next_and_of_those_the_first() {
    let throttler = builder(&ManualClock::new(), 1).order(Order::Priority).build().unwrap();
    let [low, high] = [1, 3].map(|priority| throttler.priority(priority).unwrap());
    let running = throttler.try_acquire().unwrap();
    let mut first_low = queue(&low);
    let mut plain = queue(&throttler);
    let mut first_high = queue(&high);
    let mut second_high = queue(&high);
    drop(running);
    for guest in [&mut first_high, &mut second_high, &mut first_low, &mut plain] {
        drop(guest.admitted());
    }
}

#[test]
fn a_priority_has_to_be_one_of_the_levels() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).order(Order::Priority).priority_levels(5).build().unwrap();
    assert!(throttler.priority(1).is_ok() && throttler.priority(5).is_ok());
    for priority in [0, 6, u32::MAX] {
        let error = throttler.priority(priority).unwrap_err();
        assert_eq!((error.field(), error.rule()), ("priority", "must be from 1 to 5"));
    }
    assert!(builder(&clock, 1).build().unwrap().priority(1).is_err());
}

#[test]
fn a_full_queue_is_another_error_than_a_wait_that_was_too_long() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).queue_size(1).timeout(seconds(5)).build().unwrap();
    let _running = throttler.try_acquire().unwrap();
    let mut waiting = queue(&throttler);
    let full = ask(&throttler, None).unwrap_err();
    assert_eq!(
        full,
        Rejection::QueueFull { policy: "test".into(), max_concurrent: 1, queue_size: 1 }
    );
    clock.advance(Duration::from_nanos(4_999_999_999));
    assert!(waiting.waits());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(reason(&waiting.refused()), Some((LeftQueue::Timeout, seconds(5))));
    let totals = throttler.status().totals;
    assert_eq!((totals.queued, totals.queue_full, totals.timed_out), (1, 1, 1));
}

#[test]
fn without_a_queue_nobody_waits() {
    let throttler = builder(&ManualClock::new(), 1).queue_size(0).build().unwrap();
    let running = throttler.try_acquire().unwrap();
    assert!(ask(&throttler, None).is_err());
    drop(running);
    assert!(matches!(ask(&throttler, None), Ok(Admission::Admitted(_))));
}

#[test]
fn a_permit_is_not_given_to_one_whose_wait_is_over() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).timeout(seconds(5)).build().unwrap();
    let running = throttler.try_acquire().unwrap();
    let mut late = queue(&throttler);
    clock.advance(seconds(1));
    let mut next = queue(&throttler);
    clock.advance(seconds(4));
    drop(running);
    drop(next.admitted());
    assert_eq!(late.rings(), 1);
    assert_eq!(reason(&late.refused()), Some((LeftQueue::Timeout, seconds(5))));
}

#[test]
fn a_look_sends_away_who_has_waited_too_long_and_tells_when_to_look_again() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).timeout(seconds(5)).build().unwrap();
    let _running = throttler.try_acquire().unwrap();
    assert_eq!(throttler.machine.look_now(), None);
    let late = queue(&throttler);
    clock.advance(seconds(2));
    let next = queue(&throttler);
    assert_eq!(throttler.machine.look_now(), Some(Timestamp::ZERO + seconds(5)));
    clock.advance(seconds(3));
    assert_eq!(throttler.machine.look_now(), Some(Timestamp::ZERO + seconds(7)));
    assert_eq!((late.rings(), next.rings()), (1, 0));
    clock.advance(seconds(2));
    assert_eq!(throttler.machine.look_now(), None);
    assert_eq!(next.rings(), 1);
}

#[test]
fn one_watch_serves_all_who_wait() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).timeout(seconds(5)).build().unwrap();
    let _running = throttler.try_acquire().unwrap();
    let first = queue(&throttler);
    let watch = first.waiter.watch().expect("nobody watches yet");
    assert_eq!(watch.at(), Timestamp::ZERO + seconds(5));
    clock.advance(seconds(2));
    let second = queue(&throttler);
    assert!(second.waiter.watch().is_none());
    clock.advance(seconds(3));
    let watch = watch.look().expect("one still waits");
    assert_eq!((first.rings(), second.rings()), (1, 0));
    assert_eq!(watch.at(), Timestamp::ZERO + seconds(7));
    clock.advance(seconds(2));
    assert!(watch.look().is_none());
    assert_eq!(second.rings(), 1);
    assert!(queue(&throttler).waiter.watch().is_some());
}

#[test]
fn a_watch_does_not_keep_a_throttler_alive() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire_owned().unwrap();
    let guest = queue(&throttler);
    let watch = guest.waiter.watch().unwrap();
    let machine = Arc::downgrade(&throttler.machine);
    drop((running, guest, throttler));
    assert!(machine.upgrade().is_none());
    assert!(watch.look().is_none());
}

#[test]
fn a_waiter_that_is_dropped_leaves_at_once() {
    let throttler = builder(&ManualClock::new(), 1).queue_size(1).build().unwrap();
    let running = throttler.try_acquire().unwrap();
    drop(queue(&throttler));
    assert_eq!(throttler.queue_depth(), 0);
    let mut next = queue(&throttler);
    drop(running);
    drop(next.admitted());
}

#[test]
fn a_waiter_dropped_with_a_permit_in_hand_passes_it_on() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let (chosen, mut next) = (queue(&throttler), queue(&throttler));
    drop(running);
    assert_eq!((chosen.rings(), next.rings()), (1, 0));
    drop(chosen);
    assert_eq!(next.rings(), 1);
    drop(next.admitted());
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn a_raised_limit_wakes_as_many_as_it_added() {
    let throttler = throttler(&ManualClock::new(), 1);
    let _running = throttler.try_acquire().unwrap();
    let mut guests: Vec<_> = (0..5).map(|_| queue(&throttler)).collect();
    throttler.resize(4).unwrap();
    let rings: Vec<_> = guests.iter().map(Guest::rings).collect();
    assert_eq!(rings, [1, 1, 1, 0, 0]);
    let _permits: Vec<_> = guests[..3].iter_mut().map(Guest::admitted).collect();
    assert_eq!(throttler.status().in_flight, 4);
}

#[test]
fn a_lowered_limit_lets_holders_end_and_nobody_in_until_there_is_room() {
    let throttler = throttler(&ManualClock::new(), 3);
    let mut running: Vec<_> = (0..3).map(|_| throttler.try_acquire().unwrap()).collect();
    let mut waiting = queue(&throttler);
    throttler.resize(1).unwrap();
    assert_eq!((throttler.in_flight(), throttler.max_concurrent()), (3, 1));
    for _ in 0..2 {
        running.pop();
        assert!(waiting.waits());
    }
    running.pop();
    drop(waiting.admitted());
    assert_eq!(throttler.in_flight(), 0);
    assert!(throttler.resize(0).is_err());
}

#[test]
fn closing_answers_all_who_wait_and_refuses_all_who_come() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let mut guests = [queue(&throttler), queue(&throttler)];
    throttler.close();
    let closed = Rejection::Closed { policy: "test".into() };
    for guest in &mut guests {
        assert_eq!(guest.rings(), 1);
        assert_eq!(guest.refused(), closed);
    }
    drop(running);
    assert_eq!(throttler.try_acquire().unwrap_err(), closed);
    assert_eq!(ask(&throttler, None).unwrap_err(), closed);
    assert_eq!(throttler.status().totals.closed, 4);
}

#[test]
fn draining_waits_for_the_last_holder() {
    use std::future::Future;
    let throttler = throttler(&ManualClock::new(), 2);
    let running = [throttler.try_acquire().unwrap(), throttler.try_acquire().unwrap()];
    throttler.close();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut cx = Context::from_waker(&waker);
    let mut drain = std::pin::pin!(throttler.drain());
    assert!(drain.as_mut().poll(&mut cx).is_pending());
    let [first, last] = running;
    drop(first);
    assert!(drain.as_mut().poll(&mut cx).is_pending());
    drop(last);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(drain.as_mut().poll(&mut cx).is_ready());
    assert!(std::pin::pin!(throttler.drain()).poll(&mut cx).is_ready());
}

#[test]
fn a_drain_that_is_dropped_bothers_nobody() {
    use std::future::Future;
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let mut drain = Box::pin(throttler.drain());
    assert!(drain.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(drain);
    drop(running);
    assert!(throttler.try_acquire().is_ok());
}

#[test]
fn no_permit_goes_to_one_who_would_not_be_done_by_its_deadline() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).expected_service(seconds(3)).build().unwrap();
    let running = throttler.try_acquire().unwrap();
    let mut hopeless = queue_until(&throttler, Some(in_seconds(&clock, 5)));
    let mut hopeful = queue_until(&throttler, Some(in_seconds(&clock, 6)));
    clock.advance(seconds(3));
    drop(running);
    assert_eq!(reason(&hopeless.refused()), Some((LeftQueue::Deadline, seconds(3))));
    drop(hopeful.admitted());
}

#[test]
fn a_call_that_would_not_be_done_in_time_is_not_queued_at_all() {
    let clock = ManualClock::new();
    let throttler = builder(&clock, 1).expected_service(seconds(3)).build().unwrap();
    let _running = throttler.try_acquire().unwrap();
    let refused = ask(&throttler, Some(in_seconds(&clock, 2))).unwrap_err();
    assert_eq!(reason(&refused), Some((LeftQueue::Deadline, Duration::ZERO)));
    assert_eq!(throttler.status().totals.hopeless, 1);
}

#[test]
fn a_waiter_leaves_at_its_deadline() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let _running = throttler.try_acquire().unwrap();
    let mut guest = queue_until(&throttler, Some(in_seconds(&clock, 2)));
    assert_eq!(guest.waiter.leaves_at(), Timestamp::ZERO + seconds(2));
    clock.advance(seconds(2));
    assert_eq!(reason(&guest.refused()), Some((LeftQueue::Deadline, seconds(2))));
}

#[test]
fn how_long_a_call_takes_is_learned_from_those_that_had_to_wait() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let running = throttler.try_acquire().unwrap();
    let mut guest = queue(&throttler);
    clock.advance(seconds(9));
    drop(running);
    assert_eq!(throttler.status().service_time, None);
    let running = guest.admitted();
    clock.advance(seconds(4));
    drop(running);
    assert_eq!(throttler.status().service_time, Some(seconds(4)));
}

#[test]
fn while_the_queue_stands_waits_are_cut_short() {
    let clock = ManualClock::new();
    let codel = CodelConfig { target: Some(seconds(1)), interval: Some(seconds(10)) };
    let throttler = builder(&clock, 1).codel(codel).build().unwrap();
    let _running = throttler.try_acquire().unwrap();
    let mut old = queue(&throttler);
    // In the first interval, the queue was empty at one time.
    clock.advance(seconds(10));
    assert_eq!(throttler.machine.look_now(), Some(Timestamp::ZERO + seconds(20)));
    clock.advance(seconds(8));
    let mut young = queue(&throttler);
    assert!(!throttler.status().stands && old.waits());
    // In the second, the shortest wait was above the target.
    clock.advance(seconds(2));
    assert_eq!(throttler.machine.look_now(), None);
    assert!(throttler.status().stands);
    assert_eq!(reason(&old.refused()), Some((LeftQueue::StandingQueue, seconds(20))));
    assert_eq!(reason(&young.refused()), Some((LeftQueue::StandingQueue, seconds(2))));
}

#[test]
fn one_who_comes_while_the_queue_stands_is_looked_for_in_time() {
    let clock = ManualClock::new();
    let codel = CodelConfig { target: Some(seconds(1)), interval: Some(seconds(10)) };
    let throttler = builder(&clock, 1).codel(codel).build().unwrap();
    let _running = throttler.try_acquire().unwrap();
    let _old = queue(&throttler);
    clock.advance(seconds(10));
    throttler.machine.look_now();
    clock.advance(seconds(10));
    throttler.machine.look_now();
    assert!(throttler.status().stands);
    clock.advance(seconds(1));
    let mut young = queue(&throttler);
    assert_eq!(young.waiter.look_at(), Timestamp::ZERO + seconds(23));
    clock.advance(seconds(2));
    young.waiter.look();
    assert_eq!(reason(&young.refused()), Some((LeftQueue::StandingQueue, seconds(2))));
}

#[test]
fn an_adaptive_limit_follows_what_the_calls_of_a_window_showed() {
    let clock = ManualClock::new();
    let config = AdaptiveConfig { initial_limit: Some(10), min_samples: 10, ..Default::default() };
    let builder = Throttler::builder("test").adaptive(config).clock(&clock);
    let throttler = builder.build().unwrap();
    assert_eq!(throttler.max_concurrent(), 10);
    let calls: Vec<_> = (0..10).map(|_| throttler.try_acquire().unwrap()).collect();
    clock.advance(seconds(1));
    // More than a tenth dropped: nine tenths of the limit are left.
    for (number, call) in calls.into_iter().enumerate() {
        call.settle(if number < 2 { Verdict::Failure } else { Verdict::Success });
    }
    assert_eq!(throttler.max_concurrent(), 9);
    assert_eq!(throttler.in_flight(), 0);
}

/// A call that comes while the limit is in use, waits for a second and is ended by a deadline after
/// `ran`: ten of them, and what they leave of a limit of ten.
fn limit_after_deadlines(ran: Duration) -> u32 {
    let clock = ManualClock::new();
    let config = AdaptiveConfig { initial_limit: Some(10), min_samples: 10, ..Default::default() };
    let throttler = Throttler::builder("test").adaptive(config).clock(&clock).build().unwrap();
    let first: Vec<_> = (0..10).map(|_| throttler.try_acquire().unwrap()).collect();
    let waiting: Vec<_> = (0..10).map(|_| queue(&throttler)).collect();
    clock.advance(seconds(1));
    for call in first {
        call.settle(Verdict::Ignored);
    }
    let calls: Vec<_> = waiting.into_iter().map(|mut guest| guest.admitted()).collect();
    clock.advance(ran);
    with_drop_reason(DropReason::Deadline, || drop(calls));
    throttler.max_concurrent()
}

#[test]
fn a_deadline_that_passed_in_the_queue_lowers_no_adaptive_limit() {
    assert_eq!(limit_after_deadlines(Duration::from_millis(999)), 10);
    assert_eq!(limit_after_deadlines(seconds(1)), 9);
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
