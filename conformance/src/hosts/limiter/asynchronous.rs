//! Futures that wait for their slots, polled by hand.

use std::task::Poll;
use std::time::Duration;

use surefoot::{Error, Limiter, Pipeline, Policy, Rejection, Timeout};

use super::{Answer, Ask, Asked, Calls, Charges, Correct, Limiters, with};
use crate::driver::Task;

pub(in super::super) struct Futures {
    limiters: Limiters,
    waiting: Vec<(String, Task<'static, Ended>)>,
    charges: Charges,
}

/// How a call ended: with what it takes to correct it, or refused.
pub(super) type Ended = Result<Option<Correct>, Error<Rejection>>;

impl Futures {
    pub(in super::super) fn new(limiters: Limiters) -> Self {
        Self { limiters, waiting: Vec::new(), charges: Charges::default() }
    }

    fn start(&self, ask: Ask<'_>) -> Result<Task<'static, Ended>, String> {
        let timeout = self.limiters.timeout(ask.deadline)?;
        Ok(with!(self.limiters.of(ask.key)?, limiter => {
            Task::new(call(limiter, ask.n, ask.corrected, timeout))
        }))
    }
}

/// A permit where it is to be corrected; otherwise a call through the policy, in a pipeline if it has a
/// time limit.
async fn call<L: Limiter + 'static>(
    limiter: L,
    n: u64,
    corrected: bool,
    timeout: Option<Timeout>,
) -> Ended {
    let operation = || async { Ok::<_, Rejection>(None) };
    match (timeout, corrected) {
        (None, true) => permit(&limiter, n).await.map_err(Error::Operation),
        (None, false) => limiter.weighing(n).call(operation).await,
        (Some(timeout), true) => timeout.call(|| permit(&limiter, n)).await,
        (Some(timeout), false) => {
            let pipeline = Pipeline::builder("case").add(timeout).add(limiter.weighing(n));
            pipeline.build().expect("a good order").call(operation).await
        }
    }
}

async fn permit<L: Limiter + 'static>(limiter: &L, n: u64) -> Result<Option<Correct>, Rejection> {
    let charge = limiter.acquire_n(n).await?;
    Ok(Some(Box::new(move |used| charge.settle(used))))
}

/// What a refusal promises, by the policy or by the permit asked for inside a call.
pub(super) fn refused(error: Error<Rejection>) -> Result<Option<Duration>, String> {
    match error {
        Error::Rejected(rejection) | Error::Operation(rejection) => Ok(rejection.retry_after()),
        other => Err(format!("a call ended with {other}")),
    }
}

impl Calls for Futures {
    fn check(&mut self, key: Option<&str>, n: u64) -> Result<Answer, String> {
        if self.limiters.waits {
            return self.limiters.check(key, n);
        }
        let ask = Ask { call: "check", key, n, deadline: None, corrected: false };
        match self.start(ask)?.run() {
            Poll::Ready(Ok(_)) => Ok(Ok(())),
            Poll::Ready(Err(error)) => refused(error).map(Err),
            Poll::Pending => Err("it waits, although `max_wait` is zero".into()),
        }
    }

    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let mut task = self.start(ask)?;
        match task.run() {
            Poll::Ready(Ok(correct)) => {
                self.charges.begin(ask.call, correct);
                Ok(Asked::Began)
            }
            Poll::Ready(Err(error)) => {
                refused(error).map(|retry_after| Asked::Refused { retry_after })
            }
            Poll::Pending => {
                self.waiting.push((ask.call.to_owned(), task));
                Ok(Asked::Waits)
            }
        }
    }

    fn begun(&mut self) -> Result<Vec<String>, String> {
        let mut begun = Vec::new();
        let mut ended = Ok(());
        let charges = &mut self.charges;
        self.waiting.retain_mut(|(call, task)| match task.run() {
            Poll::Pending => true,
            Poll::Ready(result) => {
                match result {
                    Ok(correct) => charges.begin(call, correct),
                    Err(error) => ended = Err(format!("{call} ended with {error}")),
                }
                begun.push(call.clone());
                false
            }
        });
        ended.map(|()| begun)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.waiting.retain(|(known, _)| known != call);
        Ok(())
    }

    fn settle(&mut self, call: &str, used: u64) -> Result<(), String> {
        self.charges.settle(call, used)
    }
}
