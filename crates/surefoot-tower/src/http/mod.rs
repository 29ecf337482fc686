//! Layers and classifiers for HTTP and gRPC.
//!
//! | | |
//! |---|---|
//! | [`ResponseClassifier`] | what a response, or a transport error, means; for every layer's `classify` |
//! | [`Idempotent`] | which requests may be sent twice: by method or idempotency key |
//! | [`ErrorBodyLayer`] | reads the bodies of error responses, where model APIs say what is wrong; if asked, of successes too |
//! | [`FirstFrameLayer`] | a response is there when its body has begun, so that a retry still can help |
//! | [`BodyCircuitBreakerLayer`] | the verdict comes at the end of the body |
//! | [`Events`] | a body as a stream of server-sent events, for [`call_stream`](surefoot::Policy::call_stream) |
//! | [`DeadlineClientLayer`], [`DeadlineServerLayer`] | the time left, told in a header and obeyed |
//!
//! A client of a streaming model API, from the outside in:
//!
//! ```
//! use std::time::Duration;
//! use surefoot::prelude::*;
//! use surefoot_tower::http::{ErrorBodyLayer, FirstFrameLayer, Idempotent, ResponseClassifier};
//! use surefoot_tower::{CircuitBreakerLayer, RetryLayer, TimeoutLayer};
//! use tower::ServiceBuilder;
//!
//! # use bytes::Bytes;
//! # use http_body_util::Full;
//! # fn main() -> Result<(), ConfigError> {
//! # let client = tower::service_fn(|_: http::Request<Full<Bytes>>| async {
//! #     Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::default()))
//! # });
//! let retry = Retry::builder().jitter(Jitter::Full).build()?;
//! let breaker = CircuitBreaker::builder("model").build()?;
//! let model = ServiceBuilder::new()
//!     .layer(RetryLayer::new(retry, Idempotent).classify(ResponseClassifier::new()))
//!     .layer(
//!         CircuitBreakerLayer::new(breaker).classify(ResponseClassifier::new()).until_body_end(),
//!     )
//!     .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(10))?.named("first token")))
//!     .layer(FirstFrameLayer)
//!     .layer(ErrorBodyLayer::default())
//!     .service(client);
//! # let _ = model;
//! # Ok(())
//! # }
//! ```
//!
//! # reqwest
//!
//! With feature `reqwest`, a `reqwest::Client` can stand at the bottom: requests can be sent twice, told the time
//! left, and their responses judged. The layers that look into bodies work on [`http::Response`], which reqwest
//! can be made into and of:
//!
#![cfg_attr(feature = "reqwest", doc = "```")]
#![cfg_attr(not(feature = "reqwest"), doc = "```ignore")]
//! use surefoot::prelude::*;
//! use surefoot_tower::RetryLayer;
//! use surefoot_tower::http::reqwest::into_http;
//! use surefoot_tower::http::{ErrorBodyLayer, Idempotent, ResponseClassifier};
//! use tower::ServiceBuilder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let api = ServiceBuilder::new()
//!     .map_response(reqwest::Response::from)
//!     .layer(RetryLayer::new(Retry::builder().build()?, Idempotent).classify(ResponseClassifier::new()))
//!     .layer(ErrorBodyLayer::default())
//!     .map_response(into_http)
//!     .service(reqwest::Client::new());
//! # fn check<S: tower::Service<reqwest::Request, Response = reqwest::Response>>(_: S) {}
//! # check(api);
//! # Ok(())
//! # }
//! ```
//!
//! # tonic
//!
//! A tonic client is built on any service, and a tonic server takes any layer, so these stand under the one and
//! around the other: see [`DeadlineClientLayer`] and [`DeadlineServerLayer`] with
//! [`DeadlineHeader::grpc`](surefoot::http::deadline::DeadlineHeader::grpc), and
//! [`until_body_end`](crate::CircuitBreakerLayer::until_body_end), which reads the trailers. Feature `tonic` adds
//! what a `tonic::Status` means, and what our errors are as one.

mod body_circuit_breaker;
mod classifier;
mod deadline;
mod error_body;
mod events;
mod first_frame;
mod frames_in_a_row;
mod idempotent;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "tonic")]
pub mod tonic;
mod watched_body;

use frames_in_a_row::FramesInARow;

pub use body_circuit_breaker::{
    BodyCircuitBreakerFuture, BodyCircuitBreakerLayer, BodyCircuitBreakerService,
};
pub use classifier::ResponseClassifier;
pub use deadline::{
    DeadlineClientLayer, DeadlineClientService, DeadlineServerFuture, DeadlineServerLayer,
    DeadlineServerService,
};
pub use error_body::{ErrorBody, ErrorBodyFuture, ErrorBodyLayer, ErrorBodyService, MaybeRead};
pub use events::{EventError, Events};
pub use first_frame::{Begun, FirstFrameFuture, FirstFrameLayer, FirstFrameService};
pub use idempotent::Idempotent;
pub use watched_body::WatchedBody;
