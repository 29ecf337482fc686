//! `text/event-stream`, read as it comes in.
//!
//! The rules are those of the [HTML standard], section 9.2.6: lines end with LF, CR or CRLF,
//! wherever the chunks are cut; one byte order mark at the start is skipped; several `data` lines
//! make one text; comments and unknown fields are skipped; bytes that are not UTF-8 become U+FFFD;
//! an event without the blank line that ends it is never given.
//!
//! Memory stays flat however long the stream is: what is kept is one event, and that only up to a
//! limit ([`SseParser::with_max_event_size`]).
//!
//! [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    event: String,
    data: String,
    id: Arc<str>,
}

impl SseEvent {
    /// The event's name; `message` if the stream gives none.
    pub fn event(&self) -> &str {
        if self.event.is_empty() { "message" } else { &self.event }
    }

    /// The `data` lines, with LF between them.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The last `id` given up to and with this event; empty if there was none. A client that
    /// reconnects sends it as `Last-Event-ID`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Reads events out of the chunks of a body, however they are cut.
///
/// Costs one pass over the bytes, and an allocation or two for each event.
///
/// ```
/// use surefoot::http::sse::SseParser;
///
/// let mut parser = SseParser::new();
/// let mut texts = Vec::new();
/// for chunk in ["data: a\r", "\ndata: b\n\r\n: ping\n\ndata:", " c\n\ndata: cut off"] {
///     let mut chunk = chunk.as_bytes();
///     while let Some(event) = parser.next_event(&mut chunk)? {
///         texts.push(event.data().to_owned());
///     }
/// }
/// assert_eq!(texts, ["a\nb", "c"]);
/// # Ok::<(), surefoot::http::sse::EventTooLarge>(())
/// ```
#[derive(Clone, Debug)]
pub struct SseParser {
    limit: usize,
    too_large: bool,
    place: Place,
    /// The line as far as it has come.
    line: Vec<u8>,
    event: String,
    /// The data lines, each with an LF after it.
    data: String,
    /// The last `id`, which counts from the next blank line on.
    next_id: Option<Arc<str>>,
    id: Arc<str>,
    retry: Option<Duration>,
}

/// What the next byte may be besides a part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the first line of the stream, which may begin with a byte order mark.
    FirstLine,
    /// After a CR: an LF belongs to it.
    AfterCr,
    Elsewhere,
}

/// An event that is larger than the parser keeps. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    limit: usize,
}

impl EventTooLarge {
    /// The limit, in bytes.
    pub fn limit(self) -> usize {
        self.limit
    }
}

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an event of the stream is larger than {} bytes; raise `max_event_size` if such events are meant",
            self.limit
        )
    }
}

impl std::error::Error for EventTooLarge {}

impl SseParser {
    /// The default of [`with_max_event_size`](Self::with_max_event_size): 1 MiB.
    pub const MAX_EVENT_SIZE: usize = 1024 * 1024;

    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self::with_max_event_size(Self::MAX_EVENT_SIZE)
    }

    /// The same, keeping at most `limit` bytes of an event: its name, its data, and the line that
    /// is being read, a comment too. The last `id` comes on top, which is at most as long.
    pub fn with_max_event_size(limit: usize) -> Self {
        Self {
            limit,
            too_large: false,
            place: Place::FirstLine,
            line: Vec::new(),
            event: String::new(),
            data: String::new(),
            next_id: None,
            id: Arc::default(),
            retry: None,
        }
    }

    /// Reads on until an event is complete, and takes what it has read off the front of `chunk`.
    /// `None` once the chunk is empty: give it the next one.
    ///
    /// # Errors
    /// [`EventTooLarge`] where the limit is passed, and at every call from then on.
    pub fn next_event(&mut self, chunk: &mut &[u8]) -> Result<Option<SseEvent>, EventTooLarge> {
        if self.too_large {
            return Err(EventTooLarge { limit: self.limit });
        }
        let read = self.read(chunk);
        if read.is_err() {
            *self = Self {
                too_large: true,
                id: mem::take(&mut self.id),
                retry: self.retry,
                ..Self::with_max_event_size(self.limit)
            };
        }
        read
    }

    fn read(&mut self, chunk: &mut &[u8]) -> Result<Option<SseEvent>, EventTooLarge> {
        while let Some(&first) = chunk.first() {
            if self.place == Place::AfterCr {
                self.place = Place::Elsewhere;
                if first == b'\n' {
                    *chunk = &chunk[1..];
                    continue;
                }
            }
            let end = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            *chunk = rest.get(1..).unwrap_or_default();
            self.check_room(self.line.len() + part.len())?;
            let Some(&end) = rest.first() else {
                self.line.extend_from_slice(part);
                break;
            };
            let event = if self.line.is_empty() {
                self.end_line(part)?
            } else {
                let mut line = mem::take(&mut self.line);
                line.extend_from_slice(part);
                let event = self.end_line(&line)?;
                line.clear();
                self.line = line;
                event
            };
            self.place = if end == b'\r' { Place::AfterCr } else { Place::Elsewhere };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// One line without its end. Gives the event that it completes.
    fn end_line(&mut self, line: &[u8]) -> Result<Option<SseEvent>, EventTooLarge> {
        let line = match self.place {
            Place::FirstLine => line.strip_prefix(Self::BYTE_ORDER_MARK).unwrap_or(line),
            Place::AfterCr | Place::Elsewhere => line,
        };
        if line.is_empty() {
            return Ok(self.end_event());
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                let text = self.text(value)?;
                self.data.push_str(&text);
                self.data.push('\n');
            }
            b"event" => self.event = self.text(value)?.into_owned(),
            b"id" if !value.contains(&0) => self.next_id = Some(self.text(value)?.into()),
            b"retry" => self.retry = milliseconds(value).or(self.retry),
            // A comment has no name.
            _ => {}
        }
        Ok(None)
    }

    fn end_event(&mut self) -> Option<SseEvent> {
        if let Some(id) = self.next_id.take() {
            self.id = id;
        }
        let event = mem::take(&mut self.event);
        let mut data = mem::take(&mut self.data);
        // The standard: without a data line there is no event.
        data.pop()?;
        Some(SseEvent { event, data, id: Arc::clone(&self.id) })
    }

    /// Bytes that are not UTF-8 take three times their room, so there is a limit to that, too.
    fn text<'a>(&self, value: &'a [u8]) -> Result<Cow<'a, str>, EventTooLarge> {
        let text = String::from_utf8_lossy(value);
        self.check_room(text.len())?;
        Ok(text)
    }

    /// Whether so many bytes have room beside what is kept.
    fn check_room(&self, more: usize) -> Result<(), EventTooLarge> {
        let kept = self.event.len() + self.data.len();
        if more > self.limit.saturating_sub(kept) {
            return Err(EventTooLarge { limit: self.limit });
        }
        Ok(())
    }

    /// The last `id` of the stream so far, what the standard calls the last event ID; empty if
    /// there was none. An `id` counts from the blank line after it.
    pub fn last_event_id(&self) -> &str {
        &self.id
    }

    /// The wait before reconnecting that the stream has asked for (`retry`), if it has.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new()
    }
}

/// The value of `retry`: digits only. More than can be told is the most that can be.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(value).ok()?;
    Some(Duration::from_millis(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An event as a parser would give it.
    pub(in crate::http) fn event(name: &str, data: &str) -> SseEvent {
        SseEvent { event: name.to_owned(), data: data.to_owned(), id: Arc::default() }
    }

    type Read = (Vec<(String, String, String)>, bool);

    /// The events (name, data, id), and whether the limit was passed.
    fn read_with(mut parser: SseParser, chunks: &[&[u8]]) -> Read {
        let mut events = Vec::new();
        for chunk in chunks {
            let mut chunk = *chunk;
            loop {
                match parser.next_event(&mut chunk) {
                    Ok(Some(event)) => events.push((
                        event.event().to_owned(),
                        event.data().to_owned(),
                        event.id().to_owned(),
                    )),
                    Ok(None) => break,
                    Err(_) => return (events, true),
                }
            }
            assert!(chunk.is_empty(), "a chunk is read to its end");
        }
        (events, false)
    }

    /// Reads whole, in every cut in two, and byte by byte: all must give the same.
    fn read(stream: &[u8], limit: usize) -> Read {
        let parser = || SseParser::with_max_event_size(limit);
        let whole = read_with(parser(), &[stream]);
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(read_with(parser(), &[head, tail]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read_with(parser(), &bytes), whole, "byte by byte");
        whole
    }

    #[test]
    fn streams_are_read_as_the_standard_says() {
        type Expected<'a> = &'a [(&'a str, &'a str, &'a str)];
        let table: &[(&str, Expected<'_>)] = &[
            ("", &[]),
            ("\n\n", &[]),
            ("data: a\n\n", &[("message", "a", "")]),
            ("data: a\r\rdata: b\r\r", &[("message", "a", ""), ("message", "b", "")]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &[("message", "a", ""), ("message", "b", "")]),
            // LF CR: two line ends.
            ("data: a\n\rdata: b\n\n", &[("message", "a", ""), ("message", "b", "")]),
            ("data: YHOO\ndata: +2\ndata: 10\n\n", &[("message", "YHOO\n+2\n10", "")]),
            // The standard's own examples.
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
                &[("message", "first event", "1"), ("message", "second event", "")],
            ),
            ("data\n\ndata\ndata\n\ndata:", &[("message", "", ""), ("message", "\n", "")]),
            ("data:test\n\ndata: test\n\n", &[("message", "test", ""), ("message", "test", "")]),
            // Names hold for one event, also if it has no data.
            ("event: add\ndata: 1\n\ndata: 2\n\n", &[("add", "1", ""), ("message", "2", "")]),
            ("event: add\n\ndata: 2\n\n", &[("message", "2", "")]),
            ("event: a\nevent: b\ndata: 1\n\n", &[("b", "1", "")]),
            // The id stays.
            ("id: 7\ndata: 1\n\ndata: 2\n\n", &[("message", "1", "7"), ("message", "2", "7")]),
            ("id: 7\n\nid: 8\0\ndata: 2\n\n", &[("message", "2", "7")]),
            // Fields are told apart by case and space.
            ("Data: 1\n data: 2\ndata : 3\ndatum: 4\ndata:5\n\n", &[("message", "5", "")]),
            ("data: a:b: c\n\n", &[("message", "a:b: c", "")]),
            // One byte order mark, at the start only.
            ("\u{feff}data: 1\n\n\u{feff}data: 2\n\n", &[("message", "1", "")]),
            ("\u{feff}\u{feff}data: 1\n\n", &[]),
            ("data: 1\n", &[]),
            ("data: é\u{1f980}\n\n", &[("message", "é\u{1f980}", "")]),
        ];
        for (stream, expected) in table {
            let (events, too_large) = read(stream.as_bytes(), SseParser::MAX_EVENT_SIZE);
            let events: Vec<_> =
                events.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
            assert_eq!((events.as_slice(), too_large), (*expected, false), "{stream:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        let (events, _) = read(b"data: a\xffb\xe2\x82\n\n", 100);
        assert_eq!(events[0].1, "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn an_id_counts_from_the_blank_line_on() {
        let mut parser = SseParser::new();
        let mut ids = Vec::new();
        for mut chunk in [&b"id: 1\n\n"[..], b"id: 2\ndata: x\n", b"\n"] {
            while parser.next_event(&mut chunk).expect("small").is_some() {}
            ids.push(parser.last_event_id().to_owned());
        }
        assert_eq!(ids, ["1", "1", "2"]);
    }

    #[test]
    fn retry_is_read_from_digits_only() {
        let mut parser = SseParser::new();
        for (line, millis) in [
            ("retry: 5s\n", None),
            ("retry\n", None),
            ("retry: 250\n", Some(250)),
            ("retry: -1\n", Some(250)),
            ("retry:0\n", Some(0)),
            ("retry: 99999999999999999999\n", Some(u64::MAX)),
        ] {
            parser.next_event(&mut line.as_bytes()).expect("small");
            assert_eq!(parser.retry(), millis.map(Duration::from_millis), "{line:?}");
        }
    }

    #[test]
    fn an_event_up_to_the_limit_is_given_and_one_beyond_ends_the_stream() {
        let one = |text: &str| vec![("message".to_owned(), text.to_owned(), String::new())];
        // A line counts with its name until it is read; then only its data and an LF do.
        assert_eq!(read(b"data:abc\n\n", 8), (one("abc"), false));
        assert_eq!(read(b"data:abc\n\n", 7), (vec![], true));
        assert_eq!(read(b"data:a\ndata:b\n\n", 8), (one("a\nb"), false));
        assert_eq!(read(b"data:a\ndata:b\n\n", 7), (vec![], true));
        assert_eq!(read(b"data:a\n\ndata:bcd\n\n", 7), (one("a"), true));
        assert_eq!(read(b": comments count\n", 8), (vec![], true));
        assert_eq!(read(b":ping\n:ping\n:ping\ndata:a\n\n", 8), (one("a"), false));
        // Three bytes for each of these.
        assert_eq!(read(b"data:\xff\xff\xff\n\n", 8), (vec![], true));
    }

    #[test]
    fn once_too_large_always_too_large_and_what_a_new_connection_needs_is_kept() {
        let mut parser = SseParser::with_max_event_size(8);
        let stream = b"id: 1\nretry:5\n\ndata: abc\n\n";
        let error = parser.next_event(&mut &stream[..]).expect_err("too large");
        assert!(error.to_string().contains("larger than 8 bytes"), "{error}");
        assert_eq!(parser.last_event_id(), "1");
        assert_eq!(parser.retry(), Some(Duration::from_millis(5)));
        assert_eq!(parser.next_event(&mut &b"\n\n"[..]), Err(error));
        assert_eq!(parser.next_event(&mut &b""[..]), Err(error));
    }

    #[test]
    fn an_event_may_be_a_mebibyte_by_default() {
        for (length, given) in [(1_048_576, true), (1_048_577, false)] {
            let stream = format!("data:{}\n\n", "x".repeat(length - "data:".len()));
            let read = SseParser::default().next_event(&mut stream.as_bytes());
            assert_eq!(read.is_ok_and(|event| event.is_some()), given, "{length}");
        }
    }

    #[test]
    fn memory_stays_flat_in_a_long_stream() {
        let mut parser = SseParser::with_max_event_size(64);
        for _ in 0..10_000 {
            let mut chunk: &[u8] = b"id: 123\ndata: 0123456789\ndata: 0123456789\n\n:";
            while parser.next_event(&mut chunk).expect("small").is_some() {}
            chunk = b" ping\nda";
            parser.next_event(&mut chunk).expect("small");
            chunk = b"ta: 1\n\n";
            parser.next_event(&mut chunk).expect("small");
        }
        let kept = parser.line.capacity() + parser.data.capacity() + parser.event.capacity();
        assert!(kept + parser.id.len() <= 4 * 64, "{kept}");
    }
}
