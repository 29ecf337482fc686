//! What a bulkhead promises, in virtual time.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::throttler::{Admission, Wait, Waiter};
use crate::{CompartmentFull, ConfigError, ManualClock};

fn of_spec() -> BulkheadBuilder {
    Bulkhead::builder("tools")
        .compartment("critical", 10, 20)
        .compartment("normal", 5, 10)
        .compartment("background", 2, 5)
        .clock(ManualClock::new())
}

fn lending(reserve: u32) -> Bulkhead {
    let critical = CompartmentConfig { reserve: Some(reserve), ..CompartmentConfig::new(3, 5) };
    Bulkhead::builder("tools")
        .compartment_with("critical", critical)
        .compartment("background", 1, 5)
        .clock(ManualClock::new())
        .build()
        .unwrap()
}

fn queue<'b>(bulkhead: &'b Bulkhead, name: &str) -> Waiter<&'b Throttler> {
    let compartment = bulkhead.get(name).unwrap();
    let wait = |_: &_| Wait { deadline: None, waker: Waker::noop().clone() };
    match Throttler::enqueue(compartment, wait) {
        Ok(Admission::Queued(waiter)) => waiter,
        other => panic!("not queued: {other:?}"),
    }
}

fn poll<'b>(waiter: &mut Waiter<&'b Throttler>) -> Option<Permit<&'b Throttler>> {
    match waiter.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => Some(permit.unwrap()),
        Poll::Pending => None,
    }
}

/// In flight, borrowed, lent.
fn counts(bulkhead: &Bulkhead, name: &str) -> (u32, u32, u32) {
    let status = bulkhead.get(name).unwrap().status();
    (status.in_flight, status.borrowed, status.lent)
}

#[test]
fn a_full_compartment_is_invisible_to_the_others() {
    let bulkhead = of_spec().build().unwrap();
    let _running: Vec<_> = (0..2).map(|_| bulkhead.try_acquire("background").unwrap()).collect();
    let _waiting: Vec<_> = (0..5).map(|_| queue(&bulkhead, "background")).collect();
    let full = bulkhead.try_acquire("background").unwrap_err();
    let compartment =
        CompartmentFull { name: "background".into(), max_concurrent: 2, queue_size: 0 };
    let expected =
        Rejection::BulkheadFull { policy: "tools".into(), compartment: Box::new(compartment) };
    assert_eq!(full, expected);
    let others: Vec<_> = (0..10).map(|_| bulkhead.try_acquire("critical").unwrap()).collect();
    assert_eq!(others.len(), 10);
}

#[test]
fn an_unknown_compartment_is_refused_with_a_list_of_those_there_are() {
    let bulkhead = of_spec().build().unwrap();
    let refused = bulkhead.try_acquire("urgent").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "bulkhead `tools` has no compartment `urgent`: it has `background`, `critical`, `normal`"
    );
}

#[test]
fn a_compartment_lends_what_it_does_not_use_above_its_reserve() {
    let bulkhead = lending(1);
    let background: Vec<_> = (0..3).map(|_| bulkhead.try_acquire("background").unwrap()).collect();
    assert_eq!(counts(&bulkhead, "background"), (1, 2, 0));
    assert_eq!(counts(&bulkhead, "critical"), (2, 0, 2));
    assert!(bulkhead.try_acquire("background").is_err());
    // The reserve is there at once.
    let critical = bulkhead.try_acquire("critical").unwrap();
    assert!(bulkhead.try_acquire("critical").is_err());
    drop((background, critical));
    assert_eq!(counts(&bulkhead, "background"), (0, 0, 0));
    assert_eq!(counts(&bulkhead, "critical"), (0, 0, 0));
}

#[test]
fn a_borrowed_permit_goes_back_to_those_who_wait_for_it() {
    let bulkhead = lending(1);
    let mut background: Vec<_> =
        (0..3).map(|_| bulkhead.try_acquire("background").unwrap()).collect();
    let _critical = bulkhead.try_acquire("critical").unwrap();
    let mut waiting = queue(&bulkhead, "critical");
    let mut borrower = queue(&bulkhead, "background");
    assert!(poll(&mut waiting).is_none());
    background.pop(); // a borrowed one
    assert!(poll(&mut waiting).is_some());
    assert!(poll(&mut borrower).is_none());
}

#[test]
fn of_several_lenders_each_has_its_permit_back_when_the_call_that_held_it_ends() {
    let lends = CompartmentConfig { reserve: Some(0), ..CompartmentConfig::new(1, 5) };
    let bulkhead = Bulkhead::builder("tools")
        .compartment_with("a", lends.clone())
        .compartment_with("b", lends)
        .compartment("borrower", 1, 5)
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let _own = bulkhead.try_acquire("borrower").unwrap();
    let [of_a, of_b] = [(); 2].map(|()| bulkhead.try_acquire("borrower").unwrap());
    drop(of_a);
    assert_eq!((counts(&bulkhead, "a"), counts(&bulkhead, "b")), ((0, 0, 0), (1, 0, 1)));
    let of_a = bulkhead.try_acquire("borrower").unwrap();
    drop(of_b);
    assert_eq!((counts(&bulkhead, "a"), counts(&bulkhead, "b")), ((1, 0, 1), (0, 0, 0)));
    drop(of_a);
    assert_eq!(counts(&bulkhead, "borrower"), (1, 0, 0));
}

#[test]
fn one_who_waits_is_lent_a_permit_as_soon_as_one_can_be_spared() {
    let bulkhead = lending(1);
    let critical: Vec<_> = (0..3).map(|_| bulkhead.try_acquire("critical").unwrap()).collect();
    let own = bulkhead.try_acquire("background").unwrap();
    let mut waiting = queue(&bulkhead, "background");
    let mut critical = critical.into_iter();
    drop(critical.next()); // which is the reserve
    assert!(poll(&mut waiting).is_none());
    drop(critical.next());
    let lent = poll(&mut waiting).expect("one is free above the reserve");
    assert_eq!(counts(&bulkhead, "background"), (1, 1, 0));
    drop((lent, own, critical));
    assert_eq!(counts(&bulkhead, "critical"), (0, 0, 0));
    assert_eq!(counts(&bulkhead, "background"), (0, 0, 0));
}

#[test]
fn a_waiter_that_was_lent_a_permit_and_left_has_given_it_back() {
    let bulkhead = lending(0);
    let critical: Vec<_> = (0..3).map(|_| bulkhead.try_acquire("critical").unwrap()).collect();
    let _own = bulkhead.try_acquire("background").unwrap();
    let waiting = queue(&bulkhead, "background");
    drop(critical);
    assert_eq!(counts(&bulkhead, "critical"), (1, 0, 1));
    drop(waiting);
    assert_eq!(counts(&bulkhead, "critical"), (0, 0, 0));
}

#[test]
fn nothing_is_lent_without_a_reserve() {
    let bulkhead = of_spec().build().unwrap();
    let _own: Vec<_> = (0..2).map(|_| bulkhead.try_acquire("background").unwrap()).collect();
    assert!(bulkhead.try_acquire("background").is_err());
    assert_eq!(counts(&bulkhead, "critical"), (0, 0, 0));
}

#[test]
fn a_compartment_outlives_its_bulkhead() {
    let bulkhead = lending(0);
    let background = bulkhead.compartment("background").unwrap();
    let _own = background.try_acquire().unwrap();
    let borrowed = background.try_acquire().unwrap();
    drop(bulkhead);
    drop(borrowed);
    assert!(background.try_acquire().is_err(), "nobody is left to lend");
    assert_eq!(background.bulkhead(), Some(&Name::from("tools")));
    assert_eq!(background.name(), "tools/background");
}

#[test]
fn a_closed_bulkhead_lets_nobody_into_any_compartment() {
    let bulkhead = of_spec().build().unwrap();
    let running = bulkhead.try_acquire("normal").unwrap();
    bulkhead.close();
    for (name, _) in bulkhead.compartments() {
        assert!(matches!(bulkhead.try_acquire(name), Err(Rejection::Closed { .. })));
    }
    let mut drain = Box::pin(bulkhead.drain());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(drain.as_mut().poll(&mut cx).is_pending());
    drop(running);
    assert!(drain.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn without_a_timeout_one_waits_for_as_long_as_it_takes() {
    let clock = ManualClock::new();
    let bulkhead = of_spec().clock(&clock).build().unwrap();
    let running: Vec<_> = (0..2).map(|_| bulkhead.try_acquire("background").unwrap()).collect();
    let mut waiting = queue(&bulkhead, "background");
    assert!(waiting.watch().is_none());
    clock.advance(Duration::from_secs(1_000_000_000));
    assert!(poll(&mut waiting).is_none());
    drop(running);
    assert!(poll(&mut waiting).is_some());
}

#[test]
fn every_option_has_its_rule() {
    let error = |builder: BulkheadBuilder| -> ConfigError { builder.build().unwrap_err() };
    assert_eq!(error(Bulkhead::builder("tools")).field(), "compartments");
    assert_eq!(error(of_spec().compartment("x", 0, 1)).field(), "compartments.x.max_concurrent");
    let compartment = CompartmentConfig::new(2, 1);
    for (config, field) in [
        (CompartmentConfig { reserve: Some(3), ..compartment.clone() }, "compartments.x.reserve"),
        (
            CompartmentConfig { timeout: Some(Duration::ZERO), ..compartment },
            "compartments.x.timeout",
        ),
    ] {
        assert_eq!(error(of_spec().compartment_with("x", config)).field(), field);
    }
    assert_eq!(error(of_spec().compartment(" ", 1, 1)).field(), "compartments. .name");
}

#[test]
fn a_compartment_is_drained_when_what_runs_on_a_borrowed_permit_has_ended_too() {
    let bulkhead = lending(1);
    let own = bulkhead.try_acquire("background").unwrap();
    let borrowed = bulkhead.try_acquire("background").unwrap();
    let background = bulkhead.compartment("background").unwrap();
    background.close();
    let mut drain = std::pin::pin!(background.drain());
    let mut is_drained = || drain.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!is_drained());
    drop(own);
    assert!(!is_drained(), "one call runs still");
    drop(borrowed);
    assert!(is_drained());
    assert_eq!(counts(&bulkhead, "critical"), (0, 0, 0));
}

#[test]
fn the_end_of_a_borrowed_permit_wakes_whoever_drains_the_borrower() {
    struct Bell(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let bulkhead = lending(1);
    let own = bulkhead.try_acquire("background").unwrap();
    let borrowed = bulkhead.try_acquire("background").unwrap();
    let background = bulkhead.compartment("background").unwrap();
    background.close();
    drop(own);
    let bell = Arc::new(Bell(false.into()));
    let mut drain = std::pin::pin!(background.drain());
    let waker = Waker::from(bell.clone());
    assert!(drain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(borrowed);
    assert!(bell.0.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn each_compartment_has_its_own_options() {
    let bulkhead = of_spec().build().unwrap();
    let options = |name: &str| {
        let config = bulkhead.get(name).unwrap().config();
        (config.max_concurrent, config.queue_size)
    };
    assert_eq!(options("critical"), (Some(10), 20));
    assert_eq!(options("background"), (Some(2), 5));
    assert_eq!(bulkhead.config().compartments.len(), 3);
    assert_eq!(bulkhead.get("normal").unwrap().bulkhead(), Some(bulkhead.name()));
}

#[test]
fn listeners_hear_of_every_compartment_whenever_they_came() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = || {
        let heard = heard.clone();
        move |_: &crate::Event| _ = heard.fetch_add(1, Ordering::SeqCst)
    };
    let shared = Events::default();
    shared.subscribe(listener()).forever();
    let bulkhead = of_spec().events(shared).on_event(listener()).build().unwrap();
    bulkhead.events().subscribe(listener()).forever();
    bulkhead.get("normal").unwrap().resize(6).unwrap();
    bulkhead.get("critical").unwrap().resize(6).unwrap();
    assert_eq!(heard.load(Ordering::SeqCst), 6);
}

#[test]
fn options_as_data_build_the_same_bulkhead() {
    let config = of_spec().build().unwrap().config().clone();
    assert_eq!(BulkheadBuilder::from(config.clone()).build().unwrap().config(), &config);
    #[cfg(feature = "toml")]
    {
        let text = "[compartments.one]\nmax_concurrent = 3";
        let config = BulkheadConfig::from_toml(text).unwrap();
        assert_eq!(config.compartments["one"].max_concurrent, 3);
        assert_eq!(BulkheadConfig::from_toml("rooms = 3").unwrap_err().field(), "rooms");
    }
}

#[test]
fn a_call_with_a_borrowed_permit_is_timed_from_its_beginning() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(100));
    let critical = CompartmentConfig { reserve: Some(1), ..CompartmentConfig::new(3, 5) };
    let builder = Bulkhead::builder("tools").compartment_with("critical", critical);
    let bulkhead = builder.compartment("background", 1, 5).clock(&clock).build().unwrap();
    let background = bulkhead.get("background").unwrap();
    let _own = background.try_acquire().unwrap();
    let borrowed = background.try_acquire().unwrap();
    assert_eq!(background.status().borrowed, 1);
    clock.advance(Duration::from_secs(3));
    drop(borrowed);
    assert_eq!(background.status().service_time, Some(Duration::from_secs(3)));
}
