//! No pipeline around a stream: it is read to its end, within the caller's deadline. If it breaks off, the caller asks
//! once more.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream as _;
use tokio::time::timeout;

use super::tokens::is_done;
use super::{Endpoint, Failure, Limits, Verdict};

#[derive(Debug)]
pub(crate) struct BareStream {
    endpoint: Endpoint,
    limits: Limits,
}

/// How far an answer got.
enum Heard {
    Ended(Verdict),
    /// It began, and broke off.
    BrokenOff(Verdict),
}

impl BareStream {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits) -> Self {
        Self { endpoint, limits }
    }

    pub(crate) async fn call(&self) -> Verdict {
        let listen = async {
            match self.ask().await {
                Heard::Ended(verdict) => verdict,
                Heard::BrokenOff(_) => match self.ask().await {
                    Heard::Ended(verdict) | Heard::BrokenOff(verdict) => verdict,
                },
            }
        };
        match timeout(self.limits.deadline, listen).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Failed(Failure::Timeout),
        }
    }

    async fn ask(&self) -> Heard {
        let mut tokens = match self.endpoint.open().await {
            Ok(tokens) => tokens,
            Err(fault) => return Heard::Ended(fault.verdict()),
        };
        loop {
            match poll_fn(|cx| Pin::new(&mut tokens).poll_next(cx)).await {
                Some(Ok(event)) if is_done(&event) => return Heard::Ended(Verdict::Answered),
                Some(Ok(_)) => {}
                Some(Err(fault)) => return Heard::BrokenOff(fault.verdict()),
                None => return Heard::BrokenOff(Verdict::Failed(Failure::Connection)),
            }
        }
    }
}
