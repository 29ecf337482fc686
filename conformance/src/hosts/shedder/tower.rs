//! Services behind a shedder's layer.

use std::task::Poll;

use surefoot::{Error, LoadShedder};
use surefoot_tower::{LoadShedderLayer, ServiceError};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::asynchronous::ended;
use super::{Answer, Calls, UnderWay};
use crate::driver::{self, Task};

pub(in super::super) struct Services {
    shedder: LoadShedder,
    under_way: UnderWay<Running>,
}

/// A call, and what its response waits for.
struct Running {
    task: Task<'static, Ended>,
    end: driver::Answer<()>,
}

type Ended = Result<(), Error<ServiceError>>;

/// A request of some priority, whose response may have to wait.
struct Request {
    priority: u32,
    end: Option<driver::Answer<()>>,
}

impl Services {
    pub(in super::super) fn new(shedder: LoadShedder) -> Self {
        Self { shedder, under_way: UnderWay::default() }
    }

    fn start(&self, request: Request) -> Task<'static, Ended> {
        let service = service_fn(|request: Request| async {
            if let Some(end) = request.end {
                end.await;
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let by_request = |request: &Request| request.priority;
        let layer = LoadShedderLayer::by_priority(self.shedder.clone(), by_request);
        Task::new(layer.layer(service).oneshot(request))
    }
}

impl Calls for Services {
    fn check(&mut self, priority: u32) -> Result<Answer, String> {
        match self.start(Request { priority, end: None }).run() {
            Poll::Ready(result) => ended(result),
            Poll::Pending => Err("a shedder waits".into()),
        }
    }

    fn admit(&mut self, call: &str, priority: u32) -> Result<Answer, String> {
        let end = driver::Answer::new();
        let mut task = self.start(Request { priority, end: Some(end.clone()) });
        match task.run() {
            Poll::Ready(result) => ended(result),
            Poll::Pending if end.is_awaited() => {
                self.under_way.begin(call, Running { task, end });
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
