//! Which compartment a call belongs to is the caller's to say.

use surefoot::prelude::*;

fn main() {
    let bulkhead = Bulkhead::builder("tools").compartment("critical", 10, 20).build().unwrap();
    let _pipeline = Pipeline::builder("tool").add(bulkhead);
}
