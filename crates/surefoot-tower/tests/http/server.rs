//! A server that answers as it is told, over either protocol, and says what became of its answers.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

/// What an answer does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(&'static str),
    /// The same many times.
    Flood {
        piece: Bytes,
        times: usize,
    },
    /// Nothing more, with the connection open.
    Hang,
    /// Lets the connection send what it has.
    Flush,
    /// An end that is none: the answer is reset.
    Break,
    Trailers(&'static str, &'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) steps: Vec<Step>,
}

impl Answer {
    pub(crate) fn ok(steps: impl Into<Vec<Step>>) -> Self {
        Self { status: 200, headers: Vec::new(), steps: steps.into() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) seen: Arc<Seen>,
}

/// What the server has seen.
#[derive(Default)]
pub(crate) struct Seen {
    requests: AtomicUsize,
    abandoned: AtomicUsize,
    pieces: AtomicUsize,
    pub(crate) headers: Mutex<HeaderMap>,
    changed: Notify,
}

impl Seen {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Pieces of a flood that were handed to the connection.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    pub(crate) async fn request(&self, count: usize) {
        self.until(|| self.requests() >= count).await;
    }

    /// Waits until so many answers were given up by their receiver before their end.
    pub(crate) async fn abandoned(&self, count: usize) {
        self.until(|| self.abandoned.load(Ordering::SeqCst) >= count).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    fn note(&self, count: &AtomicUsize) {
        count.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

/// A server that gives each of `answers` to one request, in order of arrival.
pub(crate) async fn serve(answers: impl Into<VecDeque<Answer>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::<Seen>::default();
    let answers = Arc::new(Mutex::new(answers.into()));
    tokio::spawn({
        let seen = seen.clone();
        async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, answers) = (seen.clone(), answers.clone());
                let respond = service_fn(move |request: Request<Incoming>| {
                    *seen.headers.lock().unwrap() = request.headers().clone();
                    let answer = answers.lock().unwrap().pop_front().expect("an answer is left");
                    seen.note(&seen.requests);
                    let seen = seen.clone();
                    async move { Ok::<_, io::Error>(respond(answer, seen)) }
                });
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), respond).await;
                });
            }
        }
    });
    Server { url, seen }
}

fn respond(answer: Answer, seen: Arc<Seen>) -> Response<Scripted> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Scripted { steps: answer.steps.into(), seen, over: false }).unwrap()
}

struct Scripted {
    steps: VecDeque<Step>,
    seen: Arc<Seen>,
    over: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let frame = match this.steps.pop_front() {
            Some(Step::Send(text)) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Some(Step::Flood { piece, times }) => {
                if times > 1 {
                    let rest = Step::Flood { piece: piece.clone(), times: times - 1 };
                    this.steps.push_front(rest);
                }
                this.seen.pieces.fetch_add(1, Ordering::SeqCst);
                Ok(Frame::data(piece))
            }
            Some(Step::Hang) => {
                this.steps.push_front(Step::Hang);
                return Poll::Pending;
            }
            Some(Step::Flush) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Break) => {
                this.over = true;
                Err(io::Error::other("broken off as told"))
            }
            Some(Step::Trailers(name, value)) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().unwrap());
                Ok(Frame::trailers(trailers))
            }
            None => {
                this.over = true;
                return Poll::Ready(None);
            }
        };
        Poll::Ready(Some(frame))
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if !self.over && !self.steps.is_empty() {
            self.seen.note(&self.seen.abandoned);
        }
    }
}

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client(protocol: Protocol) -> HttpClient {
    let mut client = Client::builder(TokioExecutor::new());
    client.http2_only(protocol == Protocol::Http2);
    client.build_http()
}

pub(crate) fn request(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

pub(crate) fn get(server: &Server) -> Request<Full<Bytes>> {
    request(&server.url)
}

pub(crate) async fn text<B: Body<Data = Bytes>>(body: B) -> Result<String, B::Error> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}
