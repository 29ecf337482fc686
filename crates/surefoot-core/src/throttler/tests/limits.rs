//! Limits that change, and the end.

use super::*;

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

/// Of two who wait for the last to come home, one may stop waiting.
#[test]
fn each_who_drains_is_woken_unless_it_was_dropped() {
    use std::future::Future;
    for stays in [true, false] {
        let throttler = throttler(&ManualClock::new(), 1);
        let running = throttler.try_acquire().unwrap();
        let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
        let mut drains = bells.clone().map(|bell| {
            let mut drain = Box::pin(throttler.drain());
            let waker = Waker::from(bell);
            assert!(drain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            Some(drain)
        });
        if !stays {
            drains[0] = None;
        }
        drop(running);
        let rings = bells.map(|bell| bell.0.load(Ordering::SeqCst));
        assert_eq!(rings, [usize::from(stays), 1]);
    }
}

/// Ten calls of ten milliseconds each, all at once, again and again, long after the clock began.
#[test]
fn an_adaptive_limit_in_full_use_grows_while_latency_is_steady() {
    let clock = ManualClock::new();
    clock.advance(seconds(1_000));
    let config = AdaptiveConfig { initial_limit: Some(10), min_samples: 10, ..Default::default() };
    let throttler = Throttler::builder("test").adaptive(config).clock(&clock).build().unwrap();
    for _ in 0..10 {
        let calls: Vec<_> = std::iter::from_fn(|| throttler.try_acquire().ok()).collect();
        clock.advance(Duration::from_millis(10));
        for call in calls {
            call.settle(Verdict::Success);
        }
        clock.advance(seconds(1));
        let one = throttler.try_acquire().unwrap();
        one.settle(Verdict::Success);
    }
    assert!(throttler.max_concurrent() > 10, "{}", throttler.max_concurrent());
}
