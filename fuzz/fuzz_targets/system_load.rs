//! The kernel's files about CPU and memory: any text in any of them, at two moments.
//!
//! The input is a list of files, each `@path` and the lines below it; after `@@` come those that have
//! changed a second later.
#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use surefoot::Timestamp;
use surefoot::load_shedder::LoadSample;
use surefoot::system_load::Meter;

fn files(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split("\n@").filter_map(|file| {
        let (path, content) = file.trim_start_matches('@').split_once('\n')?;
        Some((path.to_owned(), content.to_owned()))
    })
}

fn check(LoadSample { cpu, memory }: LoadSample) {
    for load in [cpu, memory].into_iter().flatten() {
        assert!(load >= 0.0 && load.is_finite(), "{load}");
    }
}

fuzz_target!(|text: &str| {
    let (before, after) = text.split_once("\n@@").unwrap_or((text, ""));
    let tree: Arc<Mutex<HashMap<String, String>>> = Arc::new(Mutex::new(files(before).collect()));
    let read = Arc::clone(&tree);
    let mut meter = Meter::reading(move |path| read.lock().expect("one thread").get(path).cloned());
    let first = meter.sample(Timestamp::ZERO);
    assert_eq!(first.cpu, None, "use is the difference of two readings");
    check(first);
    tree.lock().expect("one thread").extend(files(after));
    check(meter.sample(Timestamp::ZERO + Duration::from_secs(1)));
});
