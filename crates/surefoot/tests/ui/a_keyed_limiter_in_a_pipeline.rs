//! Which key a call belongs to is the caller's to say.

use surefoot::prelude::*;

fn main() {
    let limiter: KeyedRateLimiter<String> = RateLimiter::builder("tenants").build_keyed().unwrap();
    let _pipeline = Pipeline::builder("model").add(limiter);
}
