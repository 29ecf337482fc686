//! Listening: streams, subscriptions, and the order of what they hear.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_lite::StreamExt;
use surefoot::{CircuitState, Event, EventStream, Events, ManualClock};

use crate::support::*;

fn nested(policy: &'static str) -> Event {
    Event::NestedRetry { policy: policy.into() }
}

fn states(stream: &mut EventStream) -> Vec<CircuitState> {
    std::iter::from_fn(|| stream.try_next())
        .filter_map(|event| match event {
            Event::StateChanged { to, .. } => Some(to),
            _ => None,
        })
        .collect()
}

#[test]
fn a_stream_gives_events_in_the_order_they_were_sent() {
    use CircuitState::{Closed, HalfOpen, Open};
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).success_threshold(1));
    let mut stream = EventStream::new(10).listen_to(breaker.events());
    breaker.admit().unwrap().failure();
    clock.advance(SEC);
    breaker.admit().unwrap().success();
    assert_eq!(states(&mut stream), [HalfOpen, Open, HalfOpen, Closed]);
    assert_eq!(stream.lost(), 0);
}

#[test]
fn a_slow_reader_loses_the_oldest_events_and_is_told_how_many() {
    let events = Events::default();
    let mut stream = EventStream::new(2).listen_to(&events);
    for policy in ["a", "b", "c", "d", "e"] {
        events.send(&nested(policy));
    }
    assert_eq!(stream.lost(), 3);
    assert_eq!([stream.try_next(), stream.try_next()], [Some(nested("d")), Some(nested("e"))]);
    assert_eq!(stream.try_next(), None);
}

#[test]
fn a_stream_of_no_capacity_holds_one_event() {
    let events = Events::default();
    let mut stream = EventStream::new(0).listen_to(&events);
    events.send(&nested("a"));
    events.send(&nested("b"));
    assert_eq!((stream.try_next(), stream.lost()), (Some(nested("b")), 1));
}

#[test]
fn a_waiting_reader_is_woken_by_the_next_event() {
    let events = Events::default();
    let mut stream = EventStream::new(10).listen_to(&events);
    let mut next = Task::new(async { stream.next().await });
    assert!(next.poll().is_pending());
    assert!(!next.is_woken());
    events.send(&nested("a"));
    assert!(next.is_woken());
    assert_eq!(next.poll(), Poll::Ready(nested("a")));
}

#[test]
fn dropping_a_wait_for_the_next_event_loses_none() {
    let events = Events::default();
    let mut stream = EventStream::new(10).listen_to(&events);
    {
        let mut next = pin!(EventStream::next(&mut stream));
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        events.send(&nested("a"));
    }
    assert_eq!(stream.try_next(), Some(nested("a")));
}

#[test]
fn one_stream_can_listen_to_many_and_is_a_stream() {
    let (one, other) = (Events::default(), Events::default());
    let stream = EventStream::new(10).listen_to(&one).listen_to(&other);
    one.send(&nested("a"));
    other.send(&nested("b"));
    one.send(&nested("c"));
    let heard: Vec<_> = futures_lite::future::block_on(stream.take(3).collect());
    assert_eq!(heard, [nested("a"), nested("b"), nested("c")]);
}

#[test]
fn dropping_a_stream_ends_the_listening() {
    let events = Events::default();
    let told = Arc::new(());
    let stream = EventStream::new(10).listen_to(&events);
    assert!(format!("{events:?}").contains("listeners: 1"));
    drop(stream);
    assert!(format!("{events:?}").contains("listeners: 0"));
    let witness = told.clone();
    drop(events.subscribe(move |_| drop(Arc::clone(&witness))));
    assert_eq!(Arc::strong_count(&told), 1, "what a listener owned is freed");
}

#[test]
fn a_subscription_hears_from_its_beginning_to_its_end() {
    let events = Events::default();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = |heard: &Arc<AtomicUsize>| {
        let heard = heard.clone();
        move |_: &Event| {
            heard.fetch_add(1, Ordering::SeqCst);
        }
    };
    events.send(&nested("before"));
    let subscription = events.subscribe(count(&heard));
    events.send(&nested("during"));
    drop(subscription);
    events.send(&nested("after"));
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    events.subscribe(count(&heard)).forever();
    events.send(&nested("a"));
    events.send(&nested("b"));
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}

#[test]
fn subscriptions_end_one_by_one_in_any_order() {
    let events = Events::default();
    let heard: Arc<[AtomicUsize; 3]> = Arc::default();
    let listen = |index: usize| {
        let heard = heard.clone();
        events.subscribe(move |_| {
            heard[index].fetch_add(1, Ordering::SeqCst);
        })
    };
    let (first, second) = (listen(0), listen(1));
    drop(second);
    let third = listen(2); // takes the place of the second, and must not be ended in its stead
    drop(first);
    events.send(&nested("a"));
    drop(third);
    events.send(&nested("b"));
    let heard: Vec<_> = heard.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    assert_eq!(heard, [0, 0, 1]);
}

#[test]
fn a_listener_may_subscribe_and_unsubscribe() {
    let events = Events::default();
    let heard = Arc::new(AtomicUsize::new(0));
    let (nested_events, counter) = (events.clone(), heard.clone());
    events
        .subscribe(move |_| {
            let counter = counter.clone();
            drop(nested_events.subscribe(|_| ()));
            nested_events
                .subscribe(move |_| {
                    counter.fetch_add(1, Ordering::SeqCst);
                })
                .forever();
        })
        .forever();
    events.send(&nested("a"));
    assert_eq!(heard.load(Ordering::SeqCst), 0, "the new one hears from the next event on");
    events.send(&nested("b"));
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

#[test]
fn a_listener_that_panics_is_passed_over() {
    let events = Events::default();
    events.subscribe(|_| panic!("listener")).forever();
    let mut stream = EventStream::new(10).listen_to(&events);
    events.send(&nested("a"));
    assert_eq!(stream.try_next(), Some(nested("a")));
}

/// Changes of state made by many threads at once arrive in the order of their generations.
#[test]
fn events_of_one_breaker_arrive_in_order_under_concurrency() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let log = Log::of(breaker.events());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let breaker = &breaker;
            scope.spawn(move || {
                for _ in 0..200 {
                    if thread % 2 == 0 { breaker.force_open() } else { breaker.reset() }
                }
            });
        }
    });
    breaker.reset(); // whoever was delivering has finished: nothing is left behind
    let generations: Vec<u64> = log
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::StateChanged { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    assert_eq!(generations, (1..=breaker.generation()).collect::<Vec<_>>());
}

/// policies.md §2 trap f: a listener that changes the state does not overtake the event it heard.
#[test]
fn what_a_listener_causes_is_told_after_what_it_heard() {
    let clock = ManualClock::new();
    let handle = Arc::new(std::sync::OnceLock::<surefoot::CircuitBreaker>::new());
    let listening = handle.clone();
    let breaker = breaker(&clock)
        .on_event(move |event| {
            if let Event::StateChanged { to: CircuitState::Open, .. } = event {
                listening.get().unwrap().reset();
            }
        })
        .build()
        .unwrap();
    handle.set(breaker.clone()).unwrap();
    let mut stream = EventStream::new(10).listen_to(breaker.events());
    breaker.force_open();
    assert_eq!(states(&mut stream), [CircuitState::Open, CircuitState::Closed]);
}

#[test]
fn a_stream_outlives_its_policy_and_waits() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let mut stream = EventStream::new(10).listen_to(breaker.events());
    breaker.force_open();
    drop(breaker);
    assert_eq!(states(&mut stream), [CircuitState::Open]);
    let mut stream = Pin::new(&mut stream);
    let mut next = Task::new(async { stream.as_mut().get_mut().next().await });
    assert!(next.poll().is_pending(), "it never ends");
}
