//! Surefoot's pipeline. Placeholder: until the library can be linked, this arm does what `bare` does.

use tokio::time::timeout;

use super::{Endpoint, Failure, Limits, Verdict};

#[derive(Debug)]
pub(crate) struct Surefoot {
    endpoint: Endpoint,
    limits: Limits,
}

impl Surefoot {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits, _seed: u64) -> Self {
        Self { endpoint, limits }
    }

    pub(crate) async fn call(&self) -> Verdict {
        match timeout(self.limits.deadline, self.endpoint.send()).await {
            Ok(result) => Verdict::of(&result),
            Err(_) => Verdict::Failed(Failure::Timeout),
        }
    }
}
