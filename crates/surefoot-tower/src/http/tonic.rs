//! tonic's statuses: what they mean, and what our errors are as one.
//!
//! Under a tonic client, [`status`] outermost makes of a refusal or a timeout what a server would have answered;
//! around a tonic server it makes an answer of them, where tonic would reset the stream.
//!
//! ```
//! use std::time::Duration;
//! use surefoot::http::deadline::DeadlineHeader;
//! use surefoot::prelude::*;
//! use surefoot_tower::http::{DeadlineServerLayer, tonic::status};
//! use tower::ServiceBuilder;
//!
//! // For `tonic::transport::Server::builder().layer(...)`.
//! let layer = ServiceBuilder::new()
//!     .map_err(status)
//!     .layer(DeadlineServerLayer::with_header(DeadlineHeader::grpc()).at_most(Duration::from_secs(30))?);
//! # let _ = layer;
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! The methods of a tonic client, as calls of a policy, are judged by [`classify`]:
//!
//! ```
//! use surefoot::prelude::*;
//! use surefoot_tower::http::tonic::classify;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn check() -> Result<tonic::Response<()>, tonic::Status> { Err(tonic::Status::not_found("nobody")) }
//! let breaker = CircuitBreaker::builder("health").build()?;
//! let health = breaker.clone().classify(classify);
//! let answer = health.call(check).await;
//! assert!(answer.is_err());
//! assert_eq!(breaker.status().totals.ignored, 1); // the caller's mistake
//! # Ok(())
//! # }
//! ```

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use surefoot::http::grpc::{self, Pushback};
use surefoot::{Classification, Rejection, Verdict};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::classifier::causes;
use crate::Error;

/// What the result of a tonic client's method means.
///
/// By the code, and the wait that the server asks for, as `grpc-retry-pushback-ms` or `RetryInfo`: the table is that of
/// [`surefoot::http::grpc`]. A status that was made of a refusal of ours, inside this process, means what that does: it is
/// ignored, and may be tried again.
pub fn classify<T>(result: Result<&T, &Status>) -> Classification {
    result.map_or_else(judge, |_| Classification::SUCCESS)
}

fn judge(status: &Status) -> Classification {
    if let Some(ours) = causes(status.source()).find_map(|error| error.downcast_ref::<Error>())
        && ours.is_undispatched()
    {
        return Classification {
            verdict: Verdict::Ignored,
            retryable: true,
            retry_after: ours.retry_after(),
        };
    }
    let code = code_of(status);
    match grpc::pushback(status.metadata().as_ref()) {
        Some(Pushback::After(wait)) => grpc::classify_code(code, Some(wait)),
        Some(Pushback::Never) => grpc::classify_code(code, None).without_retry(),
        None => grpc::classify_code(code, grpc::retry_delay(status.details())),
    }
}

fn code_of(status: &Status) -> u32 {
    u32::try_from(i32::from(status.code())).unwrap_or(u32::MAX)
}

/// An error of ours as a status, with our text as its message and our error as its source.
///
/// | error | code |
/// |---|---|
/// | the service's own | as [`Status::from_error`] has it |
/// | refused: circuit open, service asked for a pause | `UNAVAILABLE` |
/// | refused: any other limit | `RESOURCE_EXHAUSTED` |
/// | timeout | `DEADLINE_EXCEEDED` |
/// | a retry that gave up, an answer that broke off | that of the last attempt, or of the cause: where it has no status, `UNAVAILABLE` |
///
/// A wait that is known goes along as `grpc-retry-pushback-ms`.
pub fn status(error: Error) -> Status {
    let error = match error {
        Error::Operation(error) => return Status::from_error(error.into_inner()),
        error => error,
    };
    let mut status = Status::new(code(&error), error.to_string());
    if let Some(wait) = error.retry_after() {
        status.metadata_mut().insert("grpc-retry-pushback-ms", pushback(wait));
    }
    status.set_source(Arc::new(error));
    status
}

fn code(error: &Error) -> Code {
    match error {
        Error::Operation(error) => status_in(error.get_ref()).unwrap_or(Code::Unavailable),
        Error::Rejected(Rejection::CircuitOpen { .. } | Rejection::Throttled { .. }) => {
            Code::Unavailable
        }
        Error::Rejected(_) => Code::ResourceExhausted,
        Error::Timeout { .. } => Code::DeadlineExceeded,
        Error::Exhausted { last, .. } => code(last),
        Error::Interrupted { cause: Some(cause), .. } => code(cause),
        _ => Code::Unavailable,
    }
}

fn status_in(error: &(dyn StdError + 'static)) -> Option<Code> {
    causes(Some(error)).find_map(|error| error.downcast_ref::<Status>()).map(Status::code)
}

/// In whole milliseconds, rounded up, as far as 32 bits go.
fn pushback(wait: Duration) -> MetadataValue<tonic::metadata::Ascii> {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    MetadataValue::from(i32::try_from(millis).unwrap_or(i32::MAX))
}
