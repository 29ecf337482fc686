//! Calls that would not be done by their deadline.

use super::*;

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
