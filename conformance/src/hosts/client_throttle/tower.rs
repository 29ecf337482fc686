//! Services behind a client throttle's layer.

use surefoot::ClientThrottle;
use surefoot_tower::ClientThrottleLayer;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::Calls;
use super::asynchronous::{self, Running};
use crate::driver::{self, Task};
use crate::format::Ending;
use crate::hosts::calls::{self, Fault};
use crate::hosts::tower::{Thrown, caught, judge};

pub(in super::super) struct Services {
    throttle: ClientThrottle,
    under_way: Vec<(String, Running)>,
}

impl Services {
    pub(in super::super) fn new(throttle: ClientThrottle) -> Self {
        Self { throttle, under_way: Vec::new() }
    }
}

impl Calls for Services {
    fn begin(&mut self, call: &str) -> Result<bool, String> {
        let answer = driver::Answer::<Result<(), Fault>>::new();
        let awaited = answer.clone();
        let service = service_fn(move |()| {
            let awaited = awaited.clone();
            async { awaited.await.map_err(Thrown) }
        });
        let layer = ClientThrottleLayer::new(self.throttle.clone());
        let response = layer.classify(judge(calls::classify)).layer(service).oneshot(());
        let task = Task::new(async { response.await.map_err(caught) });
        asynchronous::begin(&mut self.under_way, call, task, answer)
    }

    fn end(&mut self, call: &str, ending: Ending) -> Result<(), String> {
        asynchronous::end(&mut self.under_way, call, ending)
    }
}
