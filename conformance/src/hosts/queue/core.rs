//! Places in the queue, looked after by hand.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use surefoot_core::throttler::{Admission, Permit, Wait, Waiter};
use surefoot_core::{Clock, Deadline, ManualClock, Rejection, Throttler};

use super::{Answer, Ask, Asked, Calls, refusal};
use crate::driver::Task;

pub(in super::super) struct Waiters {
    clock: ManualClock,
    waiting: Vec<(String, Task<'static, Result<Permit, Rejection>>)>,
    permits: Vec<(String, Permit)>,
}

impl Waiters {
    pub(in super::super) fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), waiting: Vec::new(), permits: Vec::new() }
    }
}

/// Polled when it is woken, and when there is something to be found out by looking.
fn wait_for(
    mut waiter: Waiter,
    clock: ManualClock,
) -> impl Future<Output = Result<Permit, Rejection>> {
    let mut alarm = None;
    poll_fn(move |cx: &mut Context<'_>| {
        loop {
            if let Poll::Ready(answer) = waiter.poll(cx) {
                return Poll::Ready(answer);
            }
            let alarm_set = alarm.get_or_insert_with(|| clock.sleep_until(waiter.look_at()));
            ready!(Pin::new(alarm_set).poll(cx));
            alarm = None;
            waiter.look();
        }
    })
}

impl Calls for Waiters {
    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let deadline = ask.timeout.map(|it| Deadline::after(self.clock.now(), it.limit()));
        let wait = |_: &_| Wait { deadline, waker: Waker::noop().clone() };
        match Throttler::enqueue(ask.throttler.clone(), wait) {
            Ok(Admission::Admitted(permit)) => {
                self.permits.push((ask.call.to_owned(), permit));
                Ok(Asked::Began)
            }
            Ok(Admission::Queued(waiter)) => {
                let mut task = Task::new(wait_for(waiter, self.clock.clone()));
                if task.run().is_ready() {
                    return Err("one who has just queued up has its answer".into());
                }
                self.waiting.push((ask.call.to_owned(), task));
                Ok(Asked::Waits)
            }
            Err(rejection) => refusal(&rejection).map(Asked::Refused),
        }
    }

    fn answered(&mut self, _: usize) -> Result<Vec<(String, Answer)>, String> {
        let mut answered = Vec::new();
        for (call, mut task) in std::mem::take(&mut self.waiting) {
            match task.run() {
                Poll::Pending => self.waiting.push((call, task)),
                Poll::Ready(Ok(permit)) => {
                    self.permits.push((call.clone(), permit));
                    answered.push((call, Ok(())));
                }
                Poll::Ready(Err(rejection)) => answered.push((call, Err(refusal(&rejection)?))),
            }
        }
        Ok(answered)
    }

    fn release(&mut self, call: &str) -> Result<(), String> {
        self.permits.retain(|(known, _)| known != call);
        Ok(())
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.waiting.retain(|(known, _)| known != call);
        self.release(call)
    }
}
