//! Services behind a throttler's layer, which wait when they are made ready.

use surefoot::{Error, ManualClock};
use surefoot_tower::{ServiceError, ThrottlerLayer, TimeoutLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::asynchronous::{self, Call};
use super::{Answer, Ask, Asked, Calls};
use crate::driver::{self, Task};

pub(in super::super) struct Services {
    calls: Vec<Call>,
}

impl Services {
    pub(in super::super) fn new(_: &ManualClock) -> Self {
        Self { calls: Vec::new() }
    }
}

fn text(error: Error<ServiceError>) -> Error<String> {
    error.map(|error| error.to_string())
}

impl Calls for Services {
    /// A time limit does not see how its service gets ready, so there the waiting is part of a call.
    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let end = driver::Answer::new();
        let ends = end.clone();
        let service = service_fn(move |()| {
            let ends = ends.clone();
            async move {
                ends.await;
                Ok::<_, std::convert::Infallible>(())
            }
        });
        let service = ThrottlerLayer::new(ask.throttler.clone()).layer(service);
        let task = match ask.timeout.cloned() {
            None => {
                let response = service.oneshot(());
                Task::new(async move { response.await.map_err(text) })
            }
            Some(timeout) => {
                let waits = service_fn(move |()| service.clone().oneshot(()));
                let response = TimeoutLayer::new(timeout).layer(waits).oneshot(());
                Task::new(async move { response.await.map_err(text) })
            }
        };
        asynchronous::start(&mut self.calls, Call::new(ask.call, task, end))
    }

    fn answered(&mut self, _: usize) -> Result<Vec<(String, Answer)>, String> {
        asynchronous::answered(&mut self.calls)
    }

    fn release(&mut self, call: &str) -> Result<(), String> {
        asynchronous::release(&mut self.calls, call)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        asynchronous::cancel(&mut self.calls, call);
        Ok(())
    }
}
