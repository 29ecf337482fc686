//! The first attempt takes the prompt with it, and there is none for the second.

use surefoot::prelude::*;

async fn ask(prompt: String) -> Result<usize, std::io::Error> {
    Ok(prompt.len())
}

fn main() {
    let breaker = CircuitBreaker::builder("model").build().unwrap();
    let prompt = String::from("why?");
    let _call = breaker.call(move || ask(prompt));
}
