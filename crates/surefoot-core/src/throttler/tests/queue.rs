//! Whose turn it is, and who leaves the queue.

use super::*;

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
fn a_full_queue_that_displaces_sends_the_newest_of_the_lowest_away_for_a_higher_one() {
    let clock = ManualClock::new();
    let ordered = builder(&clock, 1).order(Order::Priority).queue_size(3).displace(true);
    let throttler = ordered.build().unwrap();
    let [low, middle, high] = [1, 2, 3].map(|priority| throttler.priority(priority).unwrap());
    let running = throttler.try_acquire().unwrap();
    let mut first_low = queue(&low);
    let mut second_low = queue(&low);
    let mut first_middle = queue(&middle);
    clock.advance(seconds(2));

    let mut first_high = queue(&high);
    assert_eq!((first_low.rings(), second_low.rings(), first_middle.rings()), (0, 1, 0));
    let refused = second_low.refused();
    assert_eq!(reason(&refused), Some((LeftQueue::Displaced, seconds(2))));
    assert_eq!(
        refused.to_string(),
        "call left the queue of `test` after 2s for a call of a higher priority, as the queue was \
         full: send less at once, or try elsewhere"
    );
    let mut second_middle = queue(&middle);
    assert_eq!(reason(&first_low.refused()), Some((LeftQueue::Displaced, seconds(2))));

    // Nobody is lower: of two alike, the one who waits stays.
    for newcomer in [&low, &middle] {
        assert!(matches!(ask(newcomer, None), Err(Rejection::QueueFull { .. })));
    }
    drop(running);
    for guest in [&mut first_high, &mut first_middle, &mut second_middle] {
        drop(guest.admitted());
    }
    let totals = throttler.status().totals;
    assert_eq!((totals.displaced, totals.queue_full, totals.rejected()), (2, 2, 4));
    assert!(throttler.try_acquire().is_ok());
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
fn only_the_last_waker_counts() {
    let throttler = throttler(&ManualClock::new(), 1);
    let running = throttler.try_acquire().unwrap();
    let mut guest = queue(&throttler);
    let first = std::mem::take(&mut guest.bell);
    assert!(guest.waits());
    assert!(guest.waiter.throttler().is_some());
    drop(running);
    assert_eq!((first.0.load(Ordering::SeqCst), guest.rings()), (0, 1));
    drop(guest.admitted());
    assert!(guest.waiter.throttler().is_none());
}

#[test]
fn listeners_hear_when_the_queue_begins_and_ceases_to_stand() {
    let clock = ManualClock::new();
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ear = heard.clone();
    let codel = CodelConfig { target: Some(seconds(1)), interval: Some(seconds(10)) };
    let builder = builder(&clock, 1).codel(codel).on_event(move |event| {
        if let Event::QueueStanding { at, stands, .. } = event {
            ear.lock().unwrap().push((*at, *stands));
        }
    });
    let throttler = builder.build().unwrap();
    let running = throttler.try_acquire().unwrap();
    let waiting = queue(&throttler);
    for _ in 0..2 {
        clock.advance(seconds(10));
        throttler.machine.look_now();
    }
    drop((waiting, running));
    clock.advance(seconds(10));
    throttler.machine.look_now();
    let at = |after| Timestamp::ZERO + seconds(after);
    assert_eq!(*heard.lock().unwrap(), [(at(20), true), (at(30), false)]);
}
