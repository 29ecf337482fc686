//! A service with so many workers and, in front of them, a line without an end: what most servers are unless somebody
//! bounds it. With Surefoot, it is asked before a request joins that line.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::service::accept;
use super::super::service::capacity::Capacity;
use super::door::Door;
use super::load::Priority;

/// The header in which a caller says how much its call matters.
pub(crate) const PRIORITY: &str = "x-priority";

pub(crate) const WORKERS: u16 = 10;
/// Mean time of the work on one request; each takes between half and one and a half times this.
pub(crate) const WORK: Duration = Duration::from_millis(100);
/// Requests a second that the workers can work off.
pub(crate) const CAPACITY: f64 = 100.0;
/// More than the longest run of the demo can fill.
const LINE: usize = 1 << 20;

/// A running instance. Dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    capacity: Capacity,
    door: Option<Door>,
    received: AtomicUsize,
    random: Mutex<fastrand::Rng>,
}

impl Service {
    /// Binds a free loopback port and serves, with Surefoot at its door if it is `guarded`.
    pub(crate) async fn start(guarded: bool, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            capacity: Capacity::new(usize::from(WORKERS), LINE),
            door: guarded.then(Door::new),
            received: AtomicUsize::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let responding = Arc::clone(&state);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, move |request| {
            let state = Arc::clone(&responding);
            let priority = priority(&request);
            async move { Ok::<_, io::Error>(state.respond(priority).await) }
        }));
        Ok(Self { address, state, _accepting: accepting })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/answer", self.address)
    }

    /// Requests that reached the service.
    pub(crate) fn received(&self) -> usize {
        self.state.received.load(Ordering::Relaxed)
    }
}

impl State {
    async fn respond(&self, priority: Priority) -> Response<Full<Bytes>> {
        self.received.fetch_add(1, Ordering::Relaxed);
        let luck = self.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
        let work = self.work(WORK.mul_f64(0.5 + luck));
        match &self.door {
            None => work.await,
            Some(door) => match door.admit(priority).await {
                Ok(_permit) => work.await,
                Err(retry_after) => refusal(retry_after),
            },
        }
    }

    /// Has a worker work, also if the caller leaves meanwhile.
    async fn work(&self, time: Duration) -> Response<Full<Bytes>> {
        let Ok(finished) = self.capacity.work(time, None) else { return refusal(Duration::ZERO) };
        // It only fails with the runtime, when nobody listens any more.
        let _ = finished.await;
        Response::new(Full::from("the answer\n"))
    }
}

/// What a request says of itself; the least important if it says nothing.
fn priority(request: &Request<Incoming>) -> Priority {
    let level = request.headers().get(PRIORITY).and_then(|value| value.to_str().ok()?.parse().ok());
    level.and_then(Priority::from_level).unwrap_or(Priority::Background)
}

/// Says when to come back in whole seconds, at least one (RFC 9110, 10.2.3).
fn refusal(retry_after: Duration) -> Response<Full<Bytes>> {
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}
