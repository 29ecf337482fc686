//! Tests of the machines as a user meets them: against reference models, and under threads.
#![cfg(not(surefoot_loom))]

mod concurrency;
#[cfg(feature = "toml")]
mod config_files;
mod overload;
mod properties;
mod refusals;
