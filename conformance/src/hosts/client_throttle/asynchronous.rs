//! Futures, polled by hand.

use std::task::Poll;

use surefoot::{ClientThrottle, Error, Policy};

use super::{Calls, ended, take};
use crate::driver::{self, Task};
use crate::format::Ending;
use crate::hosts::calls::{self, Fault};

pub(in super::super) struct Futures {
    throttle: ClientThrottle,
    under_way: Vec<(String, Running)>,
}

/// A call, and what its operation waits for.
pub(super) struct Running {
    task: Task<'static, Result<(), Error<Fault>>>,
    end: driver::Answer<Result<(), Fault>>,
}

impl Futures {
    pub(in super::super) fn new(throttle: ClientThrottle) -> Self {
        Self { throttle, under_way: Vec::new() }
    }
}

/// Polls a call for the first time, and keeps it if it was let through.
pub(super) fn begin(
    under_way: &mut Vec<(String, Running)>,
    call: &str,
    mut task: Task<'static, Result<(), Error<Fault>>>,
    end: driver::Answer<Result<(), Fault>>,
) -> Result<bool, String> {
    match task.run() {
        Poll::Ready(result) => ended(result),
        Poll::Pending if end.is_awaited() => {
            under_way.push((call.to_owned(), Running { task, end }));
            Ok(true)
        }
        Poll::Pending => Err("a client throttle waits".into()),
    }
}

pub(super) fn end(
    under_way: &mut Vec<(String, Running)>,
    call: &str,
    ending: Ending,
) -> Result<(), String> {
    let mut running = take(under_way, call)?;
    if ending == Ending::Cancel {
        return Ok(());
    }
    running.end.give(calls::result(ending));
    match running.task.run() {
        Poll::Ready(result) => calls::ended(ending, &result),
        Poll::Pending => Err(format!("{call} goes on after its end")),
    }
}

impl Calls for Futures {
    fn begin(&mut self, call: &str) -> Result<bool, String> {
        let (throttle, answer) = (self.throttle.clone(), driver::Answer::new());
        let awaited = answer.clone();
        let task = Task::new(async move {
            let operation = || async { awaited.clone().await };
            throttle.call_classified(&calls::classify, operation).await
        });
        begin(&mut self.under_way, call, task, answer)
    }

    fn end(&mut self, call: &str, ending: Ending) -> Result<(), String> {
        end(&mut self.under_way, call, ending)
    }
}
