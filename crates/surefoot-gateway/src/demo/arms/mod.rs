//! The pipelines that are compared. Each arm takes the same [`Endpoint`] and the same [`Limits`]; only what it does
//! between the two differs, and each has a file of its own so that the three can be read side by side.

mod bare;
mod bare_stream;
mod endpoint;
mod retry;
pub(crate) mod surefoot;
pub(crate) mod surefoot_stream;
mod tokens;

use std::time::Duration;

pub(crate) use self::endpoint::{Endpoint, client};

/// The times that are the same in every arm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long the caller waits for a call, tries and waits included.
    pub(crate) deadline: Duration,
    /// How long a pipeline that tries more than once waits for one try.
    pub(crate) attempt: Duration,
}

/// How a call ended, as its caller saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200, with the whole body, within the deadline.
    Answered,
    Failed(Failure),
    /// The pipeline held the call back, the first time or a later one, and said so.
    Rejected,
}

/// What the caller was left with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The service answered, with a status that is not 200.
    Status(u16),
    /// The connection was refused, reset or closed half-way.
    Connection,
    /// No answer in time.
    Timeout,
}

/// Which pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bare,
    Retry,
    Surefoot,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Bare, Self::Retry, Self::Surefoot];
    /// Those with a way to receive streams.
    pub(crate) const STREAMING: [Self; 2] = [Self::Bare, Self::Surefoot];

    /// The name in the JSON document.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Retry => "retry",
            Self::Surefoot => "surefoot",
        }
    }

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Retry => "retry × 3",
            Self::Surefoot => "surefoot",
        }
    }
}

/// One arm, ready to be called from many tasks at once.
#[derive(Debug)]
pub(crate) enum Arm {
    Bare(bare::Bare),
    Retry(retry::Retry),
    Surefoot(surefoot::Surefoot),
    BareStream(bare_stream::BareStream),
    SurefootStream(Box<surefoot_stream::SurefootStream>),
}

impl Arm {
    pub(crate) fn new(kind: Kind, endpoint: Endpoint, limits: Limits, seed: u64) -> Self {
        match kind {
            Kind::Bare => Self::Bare(bare::Bare::new(endpoint, limits)),
            Kind::Retry => Self::Retry(retry::Retry::new(endpoint, limits, seed)),
            Kind::Surefoot => Self::Surefoot(surefoot::Surefoot::new(endpoint, limits, seed)),
        }
    }

    /// An arm whose answers are streamed.
    pub(crate) fn streaming(kind: Kind, endpoint: Endpoint, limits: Limits, seed: u64) -> Self {
        match kind {
            Kind::Surefoot => Self::SurefootStream(Box::new(surefoot_stream::SurefootStream::new(
                endpoint, limits, seed,
            ))),
            Kind::Bare | Kind::Retry => {
                Self::BareStream(bare_stream::BareStream::new(endpoint, limits))
            }
        }
    }

    /// Makes one call and sees it to its end.
    pub(crate) async fn call(&self) -> Verdict {
        match self {
            Self::Bare(arm) => arm.call().await,
            Self::Retry(arm) => arm.call().await,
            Self::Surefoot(arm) => arm.call().await,
            Self::BareStream(arm) => arm.call().await,
            Self::SurefootStream(arm) => arm.call().await,
        }
    }
}
