//! Permits, the queue, and compartments that lend.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use surefoot_core::bulkhead::CompartmentConfig;
use surefoot_core::throttler::{Admission, Permit, Wait, Waiter};
use surefoot_core::{Bulkhead, ManualClock, Throttler};

use super::{beside, with_preemptions};

fn throttler(permits: u32, queue_size: u32) -> Throttler {
    let builder = Throttler::builder("loom").max_concurrent(permits).queue_size(queue_size);
    builder.clock(ManualClock::new()).build().unwrap()
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asks, and waits if need be.
enum Guest {
    Runs(#[allow(dead_code)] Permit),
    Waits(Waiter, Arc<Bell>),
}

impl Guest {
    fn of(throttler: &Throttler) -> Self {
        let bell = Arc::new(Bell::default());
        let wait = |_: &_| Wait { deadline: None, waker: Waker::from(bell.clone()) };
        match Throttler::enqueue(throttler.clone(), wait).unwrap() {
            Admission::Admitted(permit) => Self::Runs(permit),
            Admission::Queued(waiter) => Self::Waits(waiter, bell),
        }
    }

    /// Whether it runs, or can, and if it had to wait was told so.
    fn was_admitted(&mut self) -> bool {
        match self {
            Self::Runs(_) => true,
            Self::Waits(waiter, bell) => {
                let waker = Waker::from(bell.clone());
                let was_woken = bell.0.load(Ordering::SeqCst);
                match waiter.poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(permit) => {
                        assert!(was_woken, "a wake-up was lost");
                        *self = Self::Runs(permit.unwrap());
                        true
                    }
                    Poll::Pending => false,
                }
            }
        }
    }
}

fn assert_all_home(throttler: &Throttler) {
    assert_eq!((throttler.in_flight(), throttler.queue_depth()), (0, 0));
    let limit = throttler.max_concurrent();
    let permits: Vec<_> = (0..limit).map(|_| throttler.try_acquire().unwrap()).collect();
    assert!(throttler.try_acquire().is_err());
    drop(permits);
}

#[test]
fn one_permit_goes_to_one_of_two() {
    loom::model(|| {
        let throttler = throttler(1, 0);
        let thread = beside(&throttler, |other| other.try_acquire_owned().ok());
        let ours = throttler.try_acquire_owned().ok();
        let theirs = thread.join().unwrap();
        assert_eq!(u32::from(ours.is_some()) + u32::from(theirs.is_some()), 1);
        drop((ours, theirs));
        assert_all_home(&throttler);
    });
}

/// Who has returned the only permit gets it again, unless somebody else has it: a call that is being
/// refused holds nothing.
#[test]
fn nobody_is_refused_for_a_permit_that_nobody_gets() {
    loom::model(|| {
        let throttler = throttler(1, 0);
        let held = throttler.try_acquire_owned().unwrap();
        let thread = beside(&throttler, |other| other.try_acquire_owned().ok());
        drop(held);
        let ours = throttler.try_acquire_owned().ok();
        let theirs = thread.join().unwrap();
        assert_eq!(u32::from(ours.is_some()) + u32::from(theirs.is_some()), 1);
        drop((ours, theirs));
        assert_all_home(&throttler);
    });
}

#[test]
fn with_two_who_are_being_refused_the_one_who_returned_it_still_gets_it_or_they_do() {
    with_preemptions(3, || {
        let throttler = throttler(1, 0);
        let held = throttler.try_acquire_owned().unwrap();
        let threads = [(); 2].map(|()| beside(&throttler, |other| other.try_acquire_owned().ok()));
        drop(held);
        let ours = throttler.try_acquire_owned().ok();
        let theirs = threads.map(|thread| thread.join().unwrap());
        let admitted = theirs.iter().chain([&ours]).filter(|permit| permit.is_some()).count();
        assert_eq!(admitted, 1);
        drop((ours, theirs));
        assert_all_home(&throttler);
    });
}

#[test]
fn one_who_queues_up_beside_a_return_is_admitted() {
    loom::model(|| {
        let throttler = throttler(1, 1);
        let held = throttler.try_acquire_owned().unwrap();
        let thread = loom::thread::spawn(move || drop(held));
        let mut guest = Guest::of(&throttler);
        thread.join().unwrap();
        assert!(guest.was_admitted());
        drop(guest);
        assert_all_home(&throttler);
    });
}

#[test]
fn a_waiter_that_leaves_beside_a_return_swallows_no_permit() {
    loom::model(|| {
        let throttler = throttler(1, 2);
        let held = throttler.try_acquire_owned().unwrap();
        let first = Guest::of(&throttler);
        let mut second = Guest::of(&throttler);
        let thread = loom::thread::spawn(move || drop(held));
        drop(first);
        thread.join().unwrap();
        assert!(second.was_admitted());
        drop(second);
        assert_all_home(&throttler);
    });
}

#[test]
fn two_returns_beside_one_who_queues_up_leave_one_permit_free() {
    with_preemptions(3, || {
        let throttler = throttler(2, 1);
        let held = [(); 2].map(|()| throttler.try_acquire_owned().unwrap());
        let threads = held.map(|permit| loom::thread::spawn(move || drop(permit)));
        let mut guest = Guest::of(&throttler);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(guest.was_admitted());
        assert_eq!(throttler.in_flight(), 1);
        assert!(throttler.try_acquire().is_ok());
        drop(guest);
        assert_all_home(&throttler);
    });
}

#[test]
fn a_limit_raised_beside_one_who_queues_up_lets_them_in() {
    loom::model(|| {
        let throttler = throttler(1, 1);
        let held = throttler.try_acquire_owned().unwrap();
        let thread = beside(&throttler, |other| other.resize(2).unwrap());
        let mut guest = Guest::of(&throttler);
        thread.join().unwrap();
        assert!(guest.was_admitted());
        drop((guest, held));
        assert_all_home(&throttler);
    });
}

#[test]
fn a_limit_lowered_beside_a_call_swallows_one_permit_and_only_one() {
    loom::model(|| {
        let throttler = throttler(2, 1);
        let thread = beside(&throttler, |other| other.resize(1).unwrap());
        drop(throttler.try_acquire_owned());
        thread.join().unwrap();
        assert_all_home(&throttler);
    });
}

#[test]
fn a_limit_lowered_and_raised_again_beside_a_return_is_what_it_was() {
    loom::model(|| {
        let throttler = throttler(2, 1);
        let held = [(); 2].map(|()| throttler.try_acquire_owned().unwrap());
        let [one, two] = held;
        let thread = loom::thread::spawn(move || drop(one));
        throttler.resize(1).unwrap();
        throttler.resize(2).unwrap();
        thread.join().unwrap();
        drop(two);
        assert_all_home(&throttler);
    });
}

#[test]
fn closing_beside_calls_answers_all_and_brings_all_home() {
    loom::model(|| {
        let throttler = throttler(1, 1);
        let held = throttler.try_acquire_owned().unwrap();
        let Guest::Waits(mut waiter, bell) = Guest::of(&throttler) else { unreachable!() };
        let thread = loom::thread::spawn(move || drop(held));
        throttler.close();
        thread.join().unwrap();
        assert!(bell.0.load(Ordering::SeqCst));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = waiter.poll(&mut cx) else { panic!("not answered") };
        drop(answer);
        assert_eq!((throttler.in_flight(), throttler.queue_depth()), (0, 0));
        assert!(throttler.try_acquire().is_err());
    });
}

#[test]
fn whoever_waits_for_the_last_one_to_end_is_told() {
    loom::model(|| {
        let throttler = throttler(2, 1);
        let held = throttler.try_acquire_owned().unwrap();
        let thread = loom::thread::spawn(move || drop(held));
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut cx = Context::from_waker(&waker);
        let mut drain = pin!(throttler.drain());
        let was_drained = drain.as_mut().poll(&mut cx).is_ready();
        thread.join().unwrap();
        assert!(was_drained || bell.0.load(Ordering::SeqCst), "a wake-up was lost");
        assert!(drain.as_mut().poll(&mut cx).is_ready());
    });
}

/// The one before the last finds that not all are home, while the last returns beside it.
#[test]
fn of_two_that_end_beside_each_other_one_tells_whoever_waits_for_both() {
    loom::model(|| {
        let throttler = throttler(2, 1);
        let held = [(); 2].map(|()| throttler.try_acquire_owned().unwrap());
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut cx = Context::from_waker(&waker);
        let mut drain = pin!(throttler.drain());
        assert!(drain.as_mut().poll(&mut cx).is_pending());
        let [one, other] = held;
        let thread = loom::thread::spawn(move || drop(one));
        drop(other);
        thread.join().unwrap();
        assert!(bell.0.load(Ordering::SeqCst), "a wake-up was lost");
        assert!(drain.as_mut().poll(&mut cx).is_ready());
    });
}

/// One that returns is lent to the first, while another returns beside it, which the second may have.
#[test]
fn two_permits_that_can_be_spared_reach_two_who_wait_elsewhere() {
    with_preemptions(3, || {
        let lends = CompartmentConfig { reserve: Some(0), ..CompartmentConfig::new(2, 1) };
        let bulkhead = Bulkhead::builder("loom")
            .compartment_with("lender", lends)
            .compartment("borrower", 1, 2)
            .clock(ManualClock::new())
            .build()
            .unwrap();
        let lender = bulkhead.compartment("lender").unwrap();
        let borrower = bulkhead.compartment("borrower").unwrap();
        let spared = [(); 2].map(|()| lender.try_acquire_owned().unwrap());
        let own = borrower.try_acquire().unwrap();
        let mut guests = [(); 2].map(|()| Guest::of(&borrower));
        let [one, other] = spared;
        let thread = loom::thread::spawn(move || drop(one));
        drop(other);
        thread.join().unwrap();
        assert!(guests.iter_mut().all(Guest::was_admitted));
        drop((guests, own));
        assert_eq!((lender.in_flight(), borrower.in_flight()), (0, 0));
    });
}

#[test]
fn a_permit_that_can_be_spared_reaches_whoever_begins_to_wait_elsewhere() {
    with_preemptions(3, || {
        let lends = CompartmentConfig { reserve: Some(0), ..CompartmentConfig::new(1, 1) };
        let bulkhead = Bulkhead::builder("loom")
            .compartment_with("lender", lends)
            .compartment("borrower", 1, 1)
            .clock(ManualClock::new())
            .build()
            .unwrap();
        let lender = bulkhead.compartment("lender").unwrap();
        let borrower = bulkhead.compartment("borrower").unwrap();
        let own = borrower.try_acquire().unwrap();
        let spared = lender.try_acquire_owned().unwrap();
        let thread = loom::thread::spawn(move || drop(spared));
        let mut guest = Guest::of(&borrower);
        thread.join().unwrap();
        assert!(guest.was_admitted());
        drop((guest, own));
        assert_eq!((lender.in_flight(), borrower.in_flight()), (0, 0));
    });
}

/// The second permit comes back while the first is handed from one waiter to the next without a word.
#[test]
fn a_permit_that_is_handed_on_beside_one_that_returns_leaves_one_free() {
    with_preemptions(3, || {
        let throttler = throttler(2, 2);
        let held = [(); 2].map(|()| throttler.try_acquire_owned().unwrap());
        let mut guests = [(); 2].map(|()| Guest::of(&throttler));
        let [first, second] = held;
        drop(first);
        assert!(guests[0].was_admitted());
        let [handed_on, mut guest] = guests;
        let thread = loom::thread::spawn(move || drop(handed_on));
        drop(second);
        thread.join().unwrap();
        assert!(guest.was_admitted());
        assert!(throttler.try_acquire().is_ok());
        drop(guest);
        assert_all_home(&throttler);
    });
}

/// Its permit is handed on beside a waiter that gives up: nobody waits any more, or somebody does.
#[test]
fn a_permit_that_is_handed_on_beside_a_waiter_that_leaves_is_not_lost() {
    with_preemptions(3, || {
        let throttler = throttler(1, 3);
        let held = throttler.try_acquire_owned().unwrap();
        let mut guests = [(); 3].map(|()| Guest::of(&throttler));
        drop(held);
        assert!(guests[0].was_admitted());
        let [handed_on, leaving, mut last] = guests;
        let thread = loom::thread::spawn(move || drop(handed_on));
        drop(leaving);
        thread.join().unwrap();
        assert!(last.was_admitted());
        drop(last);
        assert_all_home(&throttler);
    });
}

/// One who takes its permit without the lock frees its place for one who comes beside it.
#[test]
fn a_permit_taken_beside_one_who_queues_up_is_taken_once() {
    with_preemptions(3, || {
        let throttler = throttler(1, 3);
        let held = throttler.try_acquire_owned().unwrap();
        let mut first = Guest::of(&throttler);
        drop(held);
        let thread = loom::thread::spawn(move || {
            assert!(first.was_admitted());
            first
        });
        let mut second = Guest::of(&throttler);
        assert!(!second.was_admitted());
        let first = thread.join().unwrap();
        assert!(!second.was_admitted());
        drop(first);
        assert!(second.was_admitted());
        drop(second);
        assert_all_home(&throttler);
    });
}
