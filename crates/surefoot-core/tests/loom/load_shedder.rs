//! Calls in flight.

use surefoot_core::{LoadShedder, ManualClock};

use super::beside;

fn shedder(capacity: u32) -> LoadShedder {
    let builder = LoadShedder::builder("loom").priority_levels(1).max_load(1.0).capacity(capacity);
    builder.clock(ManualClock::new()).build().unwrap()
}

#[test]
fn the_last_place_goes_to_one_of_two_calls_and_comes_back() {
    loom::model(|| {
        let shedder = shedder(1);
        let thread = beside(&shedder, |other| other.admit(1));
        let permits = [shedder.admit(1), thread.join().unwrap()];
        assert_eq!(permits.iter().filter(|permit| permit.is_ok()).count(), 1);
        drop(permits);
        assert_eq!(shedder.status().in_flight, 0);
    });
}

#[test]
fn a_place_given_back_beside_a_call_is_given_to_it_or_free_afterwards() {
    loom::model(|| {
        let shedder = shedder(1);
        let held = shedder.admit(1).unwrap();
        let thread = beside(&shedder, |other| other.admit(1));
        drop(held);
        let late = thread.join().unwrap();
        assert_eq!(shedder.status().in_flight, u32::from(late.is_ok()));
        drop(late);
        assert!(shedder.admit(1).is_ok());
    });
}
