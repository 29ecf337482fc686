//! Who calls: an open loop, whose callers give up after a time and do not try again.

use std::time::Duration;

use reqwest::Client;
use tokio::time::timeout;

use super::super::arms::{Endpoint, Failure, Verdict};
use super::super::workload::{Due, Record};
use super::DEADLINE;
use super::load::{Arrival, Priority};
use super::service::PRIORITY;

/// One call, from its scheduled arrival to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrowdRecord {
    pub(crate) priority: Priority,
    pub(crate) record: Record,
}

impl CrowdRecord {
    pub(crate) fn new(Arrival { priority, .. }: Arrival, record: Record) -> Self {
        Self { priority, record }
    }

    /// When its caller knew, counted from the start.
    pub(crate) fn ended(&self) -> Duration {
        self.record.due + self.record.latency
    }

    pub(crate) fn was_answered(&self) -> bool {
        self.record.verdict == Verdict::Answered
    }

    /// Whether the service turned the call away at its door.
    pub(crate) fn was_refused(&self) -> bool {
        self.record.verdict == Verdict::Failed(Failure::Status(503))
    }
}

impl Due for Arrival {
    fn due(&self) -> Duration {
        self.at
    }
}

/// One call: asked once, given up after [`DEADLINE`].
pub(crate) async fn call(client: Client, url: String, priority: Priority) -> Verdict {
    let request = client.get(url).header(PRIORITY, priority.level());
    match timeout(DEADLINE, Endpoint::receive(request)).await {
        Ok(result) => Verdict::of(&result),
        Err(_) => Verdict::Failed(Failure::Timeout),
    }
}
