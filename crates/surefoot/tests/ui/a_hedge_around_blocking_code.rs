//! Once one attempt has won, the other has to be given up, and blocking code cannot be.

use std::time::Duration;
use surefoot::prelude::*;

fn ask() -> Result<usize, std::io::Error> {
    Ok(1)
}

fn main() {
    let hedge = Hedge::builder().delay(Duration::from_millis(50)).build().unwrap();
    let pipeline = Pipeline::builder("model").idempotent().add(hedge).build().unwrap();
    let _answer = pipeline.call_blocking(|_| ask());
}
