//! Event streams: the same bytes in any chunking give the same events, and no event is larger than
//! the limit.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use surefoot::http::sse::{SseEvent, SseParser};
use surefoot::http::{anthropic, openai};

type Read = (Vec<SseEvent>, bool, Option<Duration>, String);

fn read<'a>(limit: usize, chunks: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut parser = SseParser::with_max_event_size(limit);
    let mut events = Vec::new();
    let mut too_large = false;
    for mut chunk in chunks {
        loop {
            match parser.next_event(&mut chunk) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.limit(), limit);
                    too_large = true;
                    break;
                }
            }
        }
    }
    (events, too_large, parser.retry(), parser.last_event_id().to_owned())
}

// Two bytes for the limit, one for the number of cuts, the lengths of the chunks, the stream.
fuzz_target!(|input: &[u8]| {
    let Some((&[high, low, cuts], rest)) = input.split_first_chunk() else { return };
    let limit = usize::from(u16::from_be_bytes([high, low]));
    let Some((lengths, stream)) = rest.split_at_checked(usize::from(cuts % 32)) else { return };

    let whole = read(limit, std::iter::once(stream));
    assert_eq!(read(limit, stream.chunks(1)), whole, "byte by byte");
    let mut left = stream;
    let cut = lengths.iter().map(|&length| {
        let (chunk, rest) = left.split_at(usize::from(length).min(left.len()));
        left = rest;
        chunk
    });
    let cut: Vec<&[u8]> = cut.collect();
    assert_eq!(read(limit, cut.into_iter().chain([left])), whole, "in chunks of {lengths:?}");

    for event in &whole.0 {
        assert!(event.data().len() <= limit && event.id().len() <= limit);
        assert!(event.event().len() <= limit.max("message".len()));
        assert!(!event.id().contains('\0'));
        let _ = (openai::stream_part(event), anthropic::stream_part(event));
    }
});
