//! No pipeline: one try, and the caller's deadline.

use tokio::time::timeout;

use super::{Endpoint, Failure, Limits, Verdict};

#[derive(Debug)]
pub(crate) struct Bare {
    endpoint: Endpoint,
    limits: Limits,
}

impl Bare {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits) -> Self {
        Self { endpoint, limits }
    }

    pub(crate) async fn call(&self) -> Verdict {
        match timeout(self.limits.deadline, self.endpoint.send()).await {
            Ok(result) => Verdict::of(&result),
            Err(_) => Verdict::Failed(Failure::Timeout),
        }
    }
}
