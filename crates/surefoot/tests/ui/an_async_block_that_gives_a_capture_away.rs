//! The same mistake in its most usual form.

use surefoot::prelude::*;

async fn ask(prompt: String) -> Result<usize, std::io::Error> {
    Ok(prompt.len())
}

fn main() {
    let breaker = CircuitBreaker::builder("model").build().unwrap();
    let prompt = String::from("why?");
    let _call = breaker.call(|| async move { ask(prompt).await });
}
