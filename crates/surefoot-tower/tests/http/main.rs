//! The HTTP layers against real servers on loopback, over HTTP/1.1 and HTTP/2.
//!
//! Time is virtual where a policy judges it: a test moves the clock once it has seen the state it waits for.

mod axum_server;
mod bodies;
mod deadlines;
mod grpc;
mod memory;
mod pieces;
#[cfg(feature = "reqwest")]
mod reqwest_client;
mod server;
mod streams;
#[cfg(feature = "tonic")]
mod tonic_roundtrip;
mod watched;
