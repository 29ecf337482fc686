//! The misbehaving service: a real HTTP server on a free loopback port, with limited capacity, playing a script.
//!
//! It keeps the demo honest in two ways. It counts what reaches it the moment it has read the request, whatever it
//! does with it afterwards. And it draws its randomness from the seed in order of arrival, so that two instances
//! treat the n-th request alike.

pub(crate) mod capacity;
mod quota;
mod tokens;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::capacity::{Capacity, until};
use self::quota::Quota;
use self::tokens::{Ending, Tokens};
pub(crate) use self::tokens::{GAP, TOKENS};
use super::script::{Behaviour, Phase, Script};

/// With [`WORK`] this makes 100 calls a second, twice what the workload asks for.
pub(crate) const WORKERS: usize = 10;
/// How many requests may wait for a worker; the next one gets 503.
pub(crate) const QUEUE: usize = 60;
/// Mean time of the work on one request; each takes between half and one and a half times this.
pub(crate) const WORK: Duration = Duration::from_millis(100);
/// Requests a second that [`Behaviour::Throttling`] lets through: less than the workload asks for.
pub(crate) const QUOTA: u32 = 30;
/// Share of the requests that [`Behaviour::Hung`] never answers.
const HUNG: f64 = 0.5;
/// Share of the requests that [`Behaviour::Flaky`] fails.
const FLAKY: f64 = 1.0 / 3.0;
/// Share of the streamed answers that [`Behaviour::HangingMidway`] and [`Behaviour::CuttingOff`] do not finish.
const UNFINISHED: f64 = 0.5;
/// Work takes this many times longer in [`Behaviour::Slow`].
const SLOW: f64 = 1.8;
/// Work takes this many times longer when [`Behaviour::Recovering`] starts, and down to once at its end.
const COLD: f64 = 4.5;
/// What a full queue puts into `Retry-After`.
const BUSY: Duration = Duration::from_secs(1);

/// How the service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With a short text, once the work is done.
    Whole,
    /// Token by token, as server-sent events. Streams take no worker: only their own gaps.
    Streamed,
}

/// The answer's body.
type Body = Either<Full<Bytes>, Tokens>;

/// A running instance. Dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

impl Service {
    /// Binds a free loopback port and serves `script`, whose time starts at `start`.
    pub(crate) async fn start(
        script: Script,
        form: Form,
        seed: u64,
        start: Instant,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            script,
            form,
            start,
            capacity: Capacity::new(WORKERS, QUEUE),
            ledger: Mutex::new(Ledger {
                arrivals: Vec::new(),
                random: fastrand::Rng::with_seed(seed),
                quota: Quota::new(QUOTA),
            }),
        });
        let mut accepting = JoinSet::new();
        let responding = Arc::clone(&state);
        accepting.spawn(accept(listener, move |_request| {
            let state = Arc::clone(&responding);
            async move { state.respond().await }
        }));
        Ok(Self { address, state, _accepting: accepting })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/answer", self.address)
    }

    /// When each request that reached the service did so, counted from the start.
    pub(crate) fn arrivals(&self) -> Vec<Duration> {
        self.state.ledger().arrivals.clone()
    }
}

/// Answers every connection to `listener` with `respond`; ends only when it is dropped.
pub(crate) async fn accept<F, B, E>(
    listener: TcpListener,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, respond.clone()));
            }
            // Out of descriptors, most likely: those that are open will free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<F, B, E>(stream: TcpStream, respond: impl Fn(Request<Incoming>) -> F)
where
    F: Future<Output = Result<Response<B>, E>>,
    B: hyper::body::Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: std::error::Error + Send + Sync + 'static,
{
    // Where the service closes first, the caller shall see a reset, as from a process that died.
    let _ = stream.set_zero_linger();
    let _ = stream.set_nodelay(true);
    // An error is a caller that hung up, or the reset that the script asked for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond)).await;
}

#[derive(Debug)]
struct State {
    script: Script,
    form: Form,
    start: Instant,
    capacity: Capacity,
    ledger: Mutex<Ledger>,
}

/// What changes with each request.
#[derive(Debug)]
struct Ledger {
    arrivals: Vec<Duration>,
    random: fastrand::Rng,
    quota: Quota,
}

impl State {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(&self) -> Result<Response<Body>, Reset> {
        let now = self.start.elapsed();
        let phase = *self.script.phase_at(now);
        let luck = {
            let mut ledger = self.ledger();
            ledger.arrivals.push(now);
            ledger.random.f64()
        };
        if self.form == Form::Streamed {
            return Ok(self.stream(phase, now, luck));
        }
        let crash = self.script.next_crash(now).map(|at| self.start + at);
        tokio::select! {
            response = self.behave(phase, now, luck, crash) => response,
            () = until(crash) => Err(Reset),
        }
    }

    async fn behave(
        &self,
        phase: Phase,
        now: Duration,
        luck: f64,
        crash: Option<Instant>,
    ) -> Result<Response<Body>, Reset> {
        let into_phase = now.saturating_sub(phase.from);
        let slowdown = match phase.behaviour {
            Behaviour::Healthy | Behaviour::HangingMidway | Behaviour::CuttingOff => 1.0,
            Behaviour::Flaky if luck < FLAKY => {
                return Ok(bare_status(StatusCode::INTERNAL_SERVER_ERROR));
            }
            // The luck that is left is stretched over the whole range again, or flaky work would be slow work, too.
            Behaviour::Flaky => {
                return self.work(0.5 + (luck - FLAKY) / (1.0 - FLAKY), crash).await;
            }
            Behaviour::Slow => SLOW,
            Behaviour::Throttling => match self.ledger().quota.take(into_phase) {
                Ok(()) => 1.0,
                Err(wait) => return Ok(refusal(StatusCode::TOO_MANY_REQUESTS, wait)),
            },
            Behaviour::Refusing => {
                return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, phase.to.saturating_sub(now)));
            }
            Behaviour::Hung if luck < HUNG => std::future::pending().await,
            Behaviour::Hung => return self.work(0.5 + (luck - HUNG) / (1.0 - HUNG), crash).await,
            Behaviour::Down => return Err(Reset),
            Behaviour::Recovering => {
                let warm = into_phase.div_duration_f64(phase.to.saturating_sub(phase.from));
                COLD + (1.0 - COLD) * warm
            }
        };
        self.work(slowdown * (0.5 + luck), crash).await
    }

    /// Begins a streamed answer, or refuses to.
    fn stream(&self, phase: Phase, now: Duration, luck: f64) -> Response<Body> {
        let ending = match phase.behaviour {
            Behaviour::HangingMidway if luck < UNFINISHED => Ending::Hangs,
            Behaviour::CuttingOff if luck < UNFINISHED => Ending::CutOff,
            Behaviour::Throttling => {
                match self.ledger().quota.take(now.saturating_sub(phase.from)) {
                    Ok(()) => Ending::Done,
                    Err(wait) => return refusal(StatusCode::TOO_MANY_REQUESTS, wait),
                }
            }
            _ => Ending::Done,
        };
        let mut response = Response::new(Either::Right(Tokens::new(ending)));
        let events = header::HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, events);
        response
    }

    /// Has the request worked on for `share` of the mean time.
    async fn work(&self, share: f64, crash: Option<Instant>) -> Result<Response<Body>, Reset> {
        match self.capacity.work(WORK.mul_f64(share), crash) {
            Ok(finished) => match finished.await {
                Ok(()) => Ok(Response::new(Either::Left(Full::from("the answer\n")))),
                Err(_crashed) => Err(Reset),
            },
            Err(capacity::Full) => Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, BUSY)),
        }
    }
}

/// A refusal that says when to come back, in whole seconds rounded up, as HTTP has it (RFC 9110, 10.2.3).
fn refusal(status: StatusCode, wait: Duration) -> Response<Body> {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let mut response = bare_status(status);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    response
}

fn bare_status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// Tells hyper to drop the connection without a word.
#[derive(Debug)]
pub(crate) struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script resets this connection")
    }
}

impl std::error::Error for Reset {}

#[cfg(test)]
mod tests {
    use super::super::arms::{Endpoint, client};
    use super::*;

    const RUN: Duration = Duration::from_secs(60);

    /// A service that only ever does one thing, and the way to it.
    async fn service(behaviour: Behaviour) -> (Service, Endpoint) {
        let script = Script::only(behaviour, RUN);
        let service =
            Service::start(script, Form::Whole, 1, Instant::now()).await.expect("a free port");
        let endpoint = Endpoint { client: client().expect("a client"), url: service.url() };
        (service, endpoint)
    }

    #[tokio::test]
    async fn a_healthy_service_answers_and_counts() {
        let (service, endpoint) = service(Behaviour::Healthy).await;
        for _ in 0..2 {
            assert_eq!(endpoint.send().await.expect("a reply").status, StatusCode::OK);
        }
        assert_eq!(service.arrivals().len(), 2);
    }

    #[tokio::test]
    async fn a_refusal_is_counted_and_says_when_to_come_back() {
        let (service, endpoint) = service(Behaviour::Refusing).await;
        let reply = endpoint.send().await.expect("a reply");
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            reply.retry_after,
            Some(RUN),
            "the rest of the phase, rounded up to whole seconds"
        );
        assert_eq!(service.arrivals().len(), 1);
    }

    #[tokio::test]
    async fn a_quota_serves_what_it_holds_and_refuses_the_rest() {
        let (service, endpoint) = service(Behaviour::Throttling).await;
        let mut calls = JoinSet::new();
        for _ in 0..=QUOTA {
            let endpoint = endpoint.clone();
            calls.spawn(async move { endpoint.send().await.expect("a reply").status });
        }
        let refused = calls
            .join_all()
            .await
            .into_iter()
            .filter(|&status| status == StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.count(), 1);
        assert_eq!(service.arrivals().len(), 31);
    }

    #[tokio::test]
    async fn a_service_that_is_down_resets_the_connection_and_still_counts() {
        let (service, endpoint) = service(Behaviour::Down).await;
        assert!(endpoint.send().await.is_err());
        assert_eq!(service.arrivals().len(), 1);
    }

    #[tokio::test]
    async fn a_crash_resets_what_is_in_flight() {
        // Phases of a run of 100 ms: hung from 54 ms on, down from 66 ms.
        let script = Script::outage(Duration::from_millis(100));
        let start = Instant::now() - Duration::from_millis(55);
        let service = Service::start(script, Form::Whole, 1, start).await.expect("a free port");
        let endpoint = Endpoint { client: client().expect("a client"), url: service.url() };
        assert!(endpoint.send().await.is_err());
    }
}
