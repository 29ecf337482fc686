//! Hedge, fallback and streams when all goes well: what it costs to be ready for more.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use surefoot::{Fallback, Policy as _};

use super::{BARE_CALL, BARE_CLOCK, Work};
use crate::harness::Subject;
use crate::operation::{Failure, SUCCEEDING, operation, operation_async, ready};
use crate::ours::{self, DEFAULT};

const SUREFOOT: &str = "surefoot";
/// What hedge and fallback may take when the first answer comes at once.
const CALL_READ_AND_20: &str = "bare call + one clock read + 20 ns";
/// What one item may take.
const FIFTEEN: &str = "15 ns";

/// A hedge whose first answer comes at once.
pub(super) fn hedge() -> Work {
    let hedge = ours::hedge();
    at_once("hedge").subject(Subject::succeeding(SUREFOOT, move || {
        ready(hedge.call(|| operation_async(SUCCEEDING)))
    }))
}

/// A fallback whose first link answers at once.
pub(super) fn fallback() -> Work {
    let fallback = Fallback::new("measured").expect("it has a name");
    at_once("fallback").subject(Subject::succeeding(SUREFOOT, move || {
        let first = async || operation_async(SUCCEEDING).await.map_err(surefoot::Error::Operation);
        let second = async || Err(surefoot::Error::Operation(Failure));
        ready(fallback.first("first", first).then("second", second).call())
    }))
}

/// Items of a stream behind a breaker, without an idle timeout.
pub(super) fn stream_item() -> Work {
    let breaker = ours::breaker(DEFAULT);
    let open = || async { Ok::<_, Failure>(Endless) };
    let mut streamed = ready(breaker.call_stream(open)).expect("the stream opens");
    let mut bare = Endless;
    Work::new("stream item")
        .subject(Subject::succeeding("bare stream", move || item(&mut bare)))
        .subject(Subject::succeeding(SUREFOOT, move || item(&mut streamed)))
        .sum(FIFTEEN, &[], 15.0)
        .goal(SUREFOOT, 1.0, FIFTEEN)
}

fn at_once(name: &'static str) -> Work {
    Work::new(name)
        .subject(Subject::succeeding(BARE_CALL, || ready(operation_async(SUCCEEDING))))
        .clocks()
        .sum(CALL_READ_AND_20, &[(1.0, BARE_CALL), (1.0, BARE_CLOCK)], 20.0)
        .goal(SUREFOOT, 1.0, CALL_READ_AND_20)
}

/// The next item, which is there.
fn item<S: Stream<Item = Result<T, E>> + Unpin, T, E>(stream: &mut S) -> Result<T, E> {
    let next = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
    ready(next).expect("the stream does not end")
}

/// A stream that always has another item.
struct Endless;

impl Stream for Endless {
    type Item = Result<u64, Failure>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(operation(SUCCEEDING)))
    }
}
