//! How it is meant: a closure that makes a future, as often as it is asked to.

use surefoot::prelude::*;

async fn ask(prompt: &str) -> Result<usize, std::io::Error> {
    Ok(prompt.len())
}

fn main() {
    let breaker = CircuitBreaker::builder("model").build().unwrap();
    let prompt = String::from("why?");
    let _by_reference = breaker.call(|| ask(&prompt));
    let _cloned = breaker.call(|| {
        let prompt = prompt.clone();
        async move { ask(&prompt).await }
    });
}
