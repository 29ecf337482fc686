//! Carrying out what the policies decide: on futures, and on the calling thread.

pub(crate) mod budget;
pub(crate) mod bulkhead;
pub(crate) mod circuit_breaker;
pub(crate) mod client_throttle;
pub(crate) mod hedge;
pub(crate) mod held;
pub(crate) mod load_shedder;
pub(crate) mod rate_limiter;
pub(crate) mod rate_limits;
pub(crate) mod retry;
pub(crate) mod throttler;
pub(crate) mod timeout;
