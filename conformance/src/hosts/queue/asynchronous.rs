//! Futures that wait for their permits, polled by hand.

use std::task::Poll;

use surefoot::{Acquire, AcquireIn, Error, ManualClock, Pipeline, Policy, Throttler, Timeout};

use super::{Answer, Ask, Asked, Calls, ended};
use crate::driver::{self, Task};

pub(in super::super) struct Futures {
    calls: Vec<Call>,
}

/// A call, and what it waits for once it has its permit.
pub(super) struct Call {
    name: String,
    task: Task<'static, Result<(), Error<String>>>,
    end: driver::Answer<()>,
    /// Whether it was seen to run.
    runs: bool,
}

impl Futures {
    pub(in super::super) fn new(_: &ManualClock) -> Self {
        Self { calls: Vec::new() }
    }
}

impl Call {
    pub(super) fn new(
        name: &str,
        task: Task<'static, Result<(), Error<String>>>,
        end: driver::Answer<()>,
    ) -> Self {
        Self { name: name.to_owned(), task, end, runs: false }
    }

    /// What has become of it, if it waited.
    pub(super) fn look(&mut self) -> Result<Asked, String> {
        match self.task.run() {
            Poll::Pending if self.end.is_awaited() => {
                self.runs = true;
                Ok(Asked::Began)
            }
            Poll::Pending => Ok(Asked::Waits),
            Poll::Ready(result) => ended(result).map(Asked::Refused),
        }
    }
}

/// Starts a call; it is kept unless it was refused.
pub(super) fn start(calls: &mut Vec<Call>, mut call: Call) -> Result<Asked, String> {
    let asked = call.look()?;
    if !matches!(asked, Asked::Refused(_)) {
        calls.push(call);
    }
    Ok(asked)
}

pub(super) fn answered(calls: &mut Vec<Call>) -> Result<Vec<(String, Answer)>, String> {
    let mut answered = Vec::new();
    for mut call in std::mem::take(calls) {
        let asked = if call.runs { Asked::Waits } else { call.look()? };
        match asked {
            Asked::Began => answered.push((call.name.clone(), Ok(()))),
            Asked::Refused(why) => {
                answered.push((call.name, Err(why)));
                continue;
            }
            Asked::Waits => {}
        }
        calls.push(call);
    }
    Ok(answered)
}

pub(super) fn release(calls: &mut Vec<Call>, name: &str) -> Result<(), String> {
    let at = calls.iter().position(|call| call.name == name && call.runs);
    let mut call = calls.remove(at.ok_or_else(|| format!("{name} does not run"))?);
    call.end.give(());
    match call.task.run() {
        Poll::Ready(Ok(())) => Ok(()),
        other => Err(format!("{name} ended with {other:?}")),
    }
}

/// Its caller drops it.
pub(super) fn cancel(calls: &mut Vec<Call>, name: &str) {
    calls.retain(|call| call.name != name);
}

async fn call(throttler: Throttler, timeout: Option<Timeout>, end: driver::Answer<()>) -> Ended {
    let operation = || async {
        end.clone().await;
        Ok::<_, String>(())
    };
    match timeout {
        None => throttler.call(operation).await,
        Some(timeout) => {
            let pipeline = Pipeline::builder("case").add(timeout).add(throttler);
            pipeline.build().expect("a good order").call(operation).await
        }
    }
}

type Ended = Result<(), Error<String>>;

impl Calls for Futures {
    /// In turn a call through the policy, and a permit that is asked for and held.
    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let end = driver::Answer::new();
        let (throttler, timeout, ends) = (ask.throttler.clone(), ask.timeout.cloned(), end.clone());
        let by_permit = timeout.is_none() && self.calls.len() % 2 == 1;
        let task = match ask.compartment {
            Some((bulkhead, name)) if by_permit => {
                let acquiring = bulkhead.acquire_owned(name);
                Task::new(async move {
                    let _permit = acquiring.await?;
                    ends.await;
                    Ok(())
                })
            }
            None if by_permit => Task::new(async move {
                let _permit = throttler.acquire().await?;
                ends.await;
                Ok(())
            }),
            _ => Task::new(call(throttler, timeout, ends)),
        };
        start(&mut self.calls, Call::new(ask.call, task, end))
    }

    fn answered(&mut self, _: usize) -> Result<Vec<(String, Answer)>, String> {
        answered(&mut self.calls)
    }

    fn release(&mut self, call: &str) -> Result<(), String> {
        release(&mut self.calls, call)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        cancel(&mut self.calls, call);
        Ok(())
    }
}
