//! Two classifiers, and nobody could say which one judges.

use surefoot::prelude::*;

fn main() {
    let inner = Pipeline::builder("inner").classify(|_: Result<&u16, &()>| Classification::SUCCESS);
    let _outer = Pipeline::builder("outer").add(inner.build().unwrap());
}
