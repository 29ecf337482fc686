//! A future can be run once; `call` may have to run the operation again.

use surefoot::prelude::*;

async fn ask() -> Result<usize, std::io::Error> {
    Ok(1)
}

fn main() {
    let breaker = CircuitBreaker::builder("model").build().unwrap();
    let _call = breaker.call(ask());
}
