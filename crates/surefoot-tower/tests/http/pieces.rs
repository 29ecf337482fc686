//! A body that does as it is told, without a network, and holds whoever reads it to the rules.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

/// What a body does when it is asked.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Data(&'static str),
    Trailers(&'static str, &'static str),
    Fails,
    Waits,
    WaitsOnce,
    Panics,
}
pub(crate) use Piece::{Data, Fails, Panics, Trailers, Waits, WaitsOnce};

/// A body that holds whoever asks it to the rules: not again after its end or its error.
#[derive(Debug)]
pub(crate) struct Pieces {
    left: VecDeque<Piece>,
    /// Whether it says that it is at its end before it is asked for more.
    foresees: bool,
    over: bool,
}

pub(crate) fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Pieces {
    Pieces { left: pieces.into_iter().collect(), foresees: false, over: false }
}

/// The same body, foreseeing its end and not.
pub(crate) fn both(body: &[Piece]) -> [Pieces; 2] {
    [false, true].map(|foresees| Pieces { foresees, ..pieces(body.to_vec()) })
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        assert!(!self.over, "asked again after its end");
        Poll::Ready(match self.left.pop_front() {
            Some(Data(text)) => Some(Ok(Frame::data(text.into()))),
            Some(Trailers(name, value)) => {
                let trailers = [(name.parse().unwrap(), value.parse().unwrap())];
                Some(Ok(Frame::trailers(HeaderMap::from_iter(trailers))))
            }
            Some(Fails) => {
                self.over = true;
                Some(Err(io::Error::other("broken off")))
            }
            Some(Waits) => {
                self.left.push_front(Waits);
                return Poll::Pending;
            }
            Some(WaitsOnce) => return Poll::Pending,
            Some(Panics) => panic!("the body panics"),
            None => {
                self.over = true;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.foresees && self.left.is_empty()
    }

    /// As a body with a content length has it.
    fn size_hint(&self) -> SizeHint {
        let lengths = self.left.iter().map(|piece| match piece {
            Data(text) => text.len() as u64,
            _ => 0,
        });
        SizeHint::with_exact(lengths.sum())
    }
}

/// What a future that needs nothing from outside gives.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn response(status: u16, content_type: &'static str, body: Pieces) -> Response<Pieces> {
    Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

/// A response through a layer.
pub(crate) fn through<L, B>(layer: L, response: Response<Pieces>) -> Result<Response<B>, String>
where
    L: Layer<Answer>,
    L::Service: Service<(), Response = Response<B>, Error = surefoot_tower::Error>,
{
    now(layer.layer(Answer(Some(response))).call(())).map_err(|error| error.to_string())
}

/// A service with one answer.
pub(crate) struct Answer(Option<Response<Pieces>>);

impl Service<()> for Answer {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(self.0.take().expect("one call")))
    }
}

pub(crate) fn frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    now(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))
}

/// Reads a body to its end, and looks at its hint before every frame: text, or `!` for trailers and
/// `?` for an error.
pub(crate) fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> String {
    let mut text = String::new();
    let mut promised = Vec::new();
    loop {
        if let Some(exact) = body.size_hint().exact() {
            promised.push(text.trim_end_matches('!').len() as u64 + exact);
        }
        let next = frame(&mut body);
        match next {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => text += std::str::from_utf8(&data).unwrap(),
                Err(_) => text.push('!'),
            },
            Some(Err(_)) => {
                text.push('?');
                return text; // the rules say nothing about what comes after it
            }
            None => break,
        }
    }
    assert!(body.is_end_stream());
    let length = text.trim_end_matches('!').len() as u64;
    assert!(promised.iter().all(|promise| length == *promise), "{text}: {promised:?}");
    text
}

pub(crate) const CASES: [(&[Piece], &str); 6] = [
    (&[], ""),
    (&[Data("0123")], "0123"),
    (&[Data("0123"), Data("4567"), Data("89")], "0123456789"),
    (&[Data("0123"), Trailers("a", "b")], "0123!"),
    (&[Data("01"), Fails], "01?"),
    (&[Data("0123"), Data("4567"), Fails], "01234567?"),
];
