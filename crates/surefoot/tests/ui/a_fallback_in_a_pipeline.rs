//! A policy inside would see every failure as a success, and a value of one type cannot serve them all.

use surefoot::prelude::*;

fn main() {
    let fallback = Fallback::new("answers").unwrap();
    let _pipeline = Pipeline::builder("model").add(fallback);
}
