//! Carrying out what the policies decide: on futures, and on the calling thread.

mod circuit_breaker;
mod hedge;
mod retry;
mod timeout;
