//! Futures, polled by hand.

use std::task::Poll;

use surefoot::load_shedder::Prioritized;
use surefoot::{Error, LoadShedder, Policy};

use super::{Answer, Calls, UnderWay, at_the_door, refused};
use crate::driver::{self, Task};

pub(in super::super) struct Futures {
    shedder: LoadShedder,
    under_way: UnderWay<Running>,
}

/// A call, and what its operation waits for.
struct Running {
    task: Task<'static, Ended>,
    end: driver::Answer<()>,
}

type Ended = Result<(), Error<()>>;

impl Futures {
    pub(in super::super) fn new(shedder: LoadShedder) -> Self {
        Self { shedder, under_way: UnderWay::default() }
    }
}

impl Running {
    fn start(shedder: Prioritized) -> Self {
        let end = driver::Answer::new();
        let waits = end.clone();
        let call = async move {
            let operation = || async {
                waits.clone().await;
                Ok::<_, ()>(())
            };
            shedder.call(operation).await
        };
        Self { task: Task::new(call), end }
    }
}

/// How a call ended that did not stay under way.
pub(super) fn ended<E: std::fmt::Debug>(result: Result<(), Error<E>>) -> Result<Answer, String> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(Error::Rejected(rejection)) => refused(rejection),
        Err(other) => Err(format!("a call ended with {other:?}")),
    }
}

impl Calls for Futures {
    fn check(&mut self, priority: u32) -> Result<Answer, String> {
        let shedder = match self.shedder.priority(priority) {
            Ok(shedder) => shedder,
            Err(error) => return at_the_door(&error),
        };
        match Task::new(shedder.call(|| async { Ok::<_, ()>(()) })).run() {
            Poll::Ready(result) => ended(result),
            Poll::Pending => Err("a shedder waits".into()),
        }
    }

    fn admit(&mut self, call: &str, priority: u32) -> Result<Answer, String> {
        let mut running = match self.shedder.priority(priority) {
            Ok(shedder) => Running::start(shedder),
            Err(error) => return at_the_door(&error),
        };
        match running.task.run() {
            Poll::Ready(result) => ended(result),
            Poll::Pending if running.end.is_awaited() => {
                self.under_way.begin(call, running);
                Ok(Ok(()))
            }
            Poll::Pending => Err("a shedder waits".into()),
        }
    }

    fn end(&mut self, call: &str) -> Result<(), String> {
        let mut running = self.under_way.take(call)?;
        running.end.give(());
        match running.task.run() {
            Poll::Ready(Ok(())) => Ok(()),
            other => Err(format!("{call} ended with {other:?}")),
        }
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.under_way.take(call).map(drop)
    }
}
