//! gRPC's trailers: any bytes as details, any text as status and pushback.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use surefoot::Classification;
use surefoot::http::grpc::{self, Pushback, classify_code, retry_delay};

// Lines for the status and the pushback, then the details.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |&byte| byte == b'\n');
    let (status, pushback) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let details = parts.next().unwrap_or_default();
    let delay = retry_delay(details);

    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("8"));
    for encoded in [STANDARD.encode(details), STANDARD_NO_PAD.encode(details)] {
        let encoded = HeaderValue::try_from(encoded).expect("base64 is text");
        trailers.insert("grpc-status-details-bin", encoded);
        assert_eq!(grpc::classify(&trailers), Some(classify_code(8, delay)), "the same in base64");
    }

    for (name, value) in [
        ("grpc-status", status),
        ("grpc-retry-pushback-ms", pushback),
        ("grpc-status-details-bin", details),
    ] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            trailers.insert(name, value);
        }
    }
    let judged = grpc::classify(&trailers).expect("there is a status");
    match grpc::pushback(&trailers) {
        Some(Pushback::Never) => assert!(!judged.retryable),
        Some(Pushback::After(wait)) if judged.retryable => {
            assert_eq!(judged.retry_after, Some(wait));
        }
        _ => {}
    }
    if trailers["grpc-status"] == "0" {
        assert_eq!(judged, Classification::SUCCESS);
    }
});
