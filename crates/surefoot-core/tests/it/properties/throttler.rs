//! The throttler against its model: calls that come, wait, walk away and end, in any order, with limits that move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::throttler::{Admission, LeftQueue, Order, Permit, Wait, Waiter};
use surefoot_core::{Clock, Deadline, ManualClock, Rejection, Throttler};

use super::throttler_model::{Answer, Model, Rules};
use super::{Draw, check};

const STEPS: usize = 40;
const STEP_BYTES: usize = 6;
const LEVELS: u32 = 3;

#[test]
fn a_throttler_decides_as_the_model_does_and_every_permit_comes_home() {
    check(25, &vec(any::<u8>(), 8 + STEPS * STEP_BYTES), |bytes| play(&bytes));
}

/// Whether somebody was woken since they last looked.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Guest {
    call: usize,
    waiter: Waiter,
    bell: Arc<Bell>,
}

struct Played {
    throttler: Throttler,
    clock: ManualClock,
    model: Model,
    calls: usize,
    guests: Vec<Guest>,
    permits: Vec<Permit>,
}

fn play(bytes: &[u8]) -> TestCaseResult {
    let mut draw = Draw::new(bytes);
    let order = draw.one_of(&[Order::Fifo, Order::Lifo, Order::Priority]);
    let rules = Rules {
        limit: draw.from(1, 3),
        queue_size: draw.from(0, 4),
        timeout: draw.from(1, 6),
        order,
        expected_service: draw.from(0, 2),
        displace: order == Order::Priority && draw.from(0, 1) == 1,
    };
    let mut played = Played::new(rules);
    for _ in 0..STEPS {
        played.step(&mut draw)?;
        played.compare()?;
    }
    // Whatever is left, at the end everybody was answered and every permit is home.
    let Played { throttler, guests, permits, .. } = played;
    drop((guests, permits));
    prop_assert_eq!((throttler.in_flight(), throttler.queue_depth()), (0, 0));
    Ok(())
}

impl Played {
    fn new(rules: Rules) -> Self {
        let clock = ManualClock::new();
        let builder = Throttler::builder("model")
            .max_concurrent(rules.limit)
            .queue_size(rules.queue_size)
            .timeout(seconds(rules.timeout))
            .order(rules.order)
            .displace(rules.displace)
            .expected_service(seconds(rules.expected_service))
            .clock(&clock);
        let throttler = builder.build().expect("options of the model are valid");
        let (guests, permits) = (Vec::new(), Vec::new());
        Self { throttler, clock, model: Model::new(rules), calls: 0, guests, permits }
    }

    fn step(&mut self, draw: &mut Draw<'_>) -> TestCaseResult {
        let (kind, which) = (draw.from(0, 99), draw.from(0, 99) as usize);
        let (number, priority) = (draw.from(1, 4), draw.from(1, LEVELS));
        let deadline = draw.maybe(1, 5);
        match kind {
            0..35 => return self.ask(priority, deadline, kind < 30),
            35..55 if !self.permits.is_empty() => {
                drop(self.permits.swap_remove(which % self.permits.len()));
                self.model.end();
            }
            55..70 if !self.guests.is_empty() => {
                let guest = self.guests.remove(which % self.guests.len());
                self.model.cancel(guest.call);
                drop(guest);
            }
            70..85 if !self.guests.is_empty() => return self.poll(which % self.guests.len()),
            85..91 => {
                self.throttler.resize(number).expect("at least one");
                self.model.resize(number);
            }
            91..99 => {
                self.clock.advance(seconds(number));
                self.model.pass(number);
                if let Some(guest) = self.guests.first_mut() {
                    guest.waiter.look();
                }
            }
            99 if which < 20 => {
                self.throttler.close();
                self.model.close();
            }
            _ => {}
        }
        Ok(())
    }

    fn ask(&mut self, priority: u32, deadline: Option<u32>, waits: bool) -> TestCaseResult {
        let call = self.calls;
        self.calls += 1;
        let now = u32::try_from(self.clock.now().as_nanos() / 1_000_000_000).expect("short cases");
        let expected = self.model.ask(call, priority, deadline.map(|left| now + left), waits);
        let throttler = match self.throttler.config().order {
            Order::Priority => self.throttler.priority(priority).expect("one of the levels"),
            _ => self.throttler.clone(),
        };
        if !waits {
            let got = match throttler.try_acquire_owned() {
                Ok(permit) => {
                    self.permits.push(permit);
                    Answer::Admitted
                }
                Err(rejection) => told(&rejection),
            };
            prop_assert_eq!(got, expected);
            return Ok(());
        }
        let bell = Arc::new(Bell::default());
        let deadline = deadline.map(|left| Deadline::after(self.clock.now(), seconds(left)));
        let wait = |_: &_| Wait { deadline, waker: Waker::from(bell.clone()) };
        let got = match Throttler::enqueue(throttler, wait) {
            Ok(Admission::Admitted(permit)) => {
                self.permits.push(permit);
                Answer::Admitted
            }
            Ok(Admission::Queued(waiter)) => {
                self.guests.push(Guest { call, waiter, bell });
                Answer::Queued
            }
            Err(rejection) => told(&rejection),
        };
        prop_assert_eq!(got, expected);
        Ok(())
    }

    fn poll(&mut self, place: usize) -> TestCaseResult {
        let guest = &mut self.guests[place];
        let expected = self.model.poll(guest.call);
        let waker = Waker::from(guest.bell.clone());
        let got = match guest.waiter.poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Answer::Queued,
            Poll::Ready(Ok(permit)) => {
                self.permits.push(permit);
                Answer::Admitted
            }
            Poll::Ready(Err(rejection)) => told(&rejection),
        };
        if got != Answer::Queued {
            self.guests.remove(place);
        }
        prop_assert_eq!(got, expected);
        Ok(())
    }

    fn compare(&self) -> TestCaseResult {
        let status = self.throttler.status();
        prop_assert_eq!(status.in_flight, self.model.running());
        prop_assert_eq!(status.queue_depth as usize, self.model.waiting());
        // Woken are those who were answered, and no others.
        let rung = |guest: &&Guest| guest.bell.0.load(Ordering::Relaxed);
        let woken: Vec<_> = self.guests.iter().filter(rung).map(|guest| guest.call).collect();
        prop_assert_eq!(woken, self.model.answered());
        Ok(())
    }
}

fn told(rejection: &Rejection) -> Answer {
    match rejection {
        Rejection::QueueFull { .. } => Answer::Full,
        Rejection::QueueTimeout { reason: LeftQueue::Timeout, .. } => Answer::Timeout,
        Rejection::QueueTimeout { reason: LeftQueue::Deadline, .. } => Answer::Deadline,
        Rejection::QueueTimeout { reason: LeftQueue::Displaced, .. } => Answer::Displaced,
        Rejection::Closed { .. } => Answer::Closed,
        other => panic!("no throttler without CoDel says {other}"),
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
