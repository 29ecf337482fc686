//! Services behind limiters, which wait when they are made ready or when they are called.

use std::task::Poll;

use surefoot::{Error, KeyedRateLimiter, RateLimiter, Timeout};
use surefoot_tower::{RateLimiterLayer, ServiceError, TimeoutLayer};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use super::{Answer, Ask, Asked, Calls, Limiters, Of};
use crate::driver::Task;

pub(in super::super) struct Services {
    limiters: Limiters,
    waiting: Vec<(String, Task<'static, Ended>)>,
}

type Ended = Result<(), Error<ServiceError>>;

/// A request for so many units.
#[derive(Clone)]
struct Request {
    key: String,
    n: u64,
}

impl Services {
    pub(in super::super) fn new(limiters: Limiters) -> Self {
        Self { limiters, waiting: Vec::new() }
    }

    /// By the layer that the step is for: one unit of the limiter without keys is reserved when the
    /// service is made ready, and whatever depends on the request when it is called.
    fn start(&self, ask: Ask<'_>) -> Result<Task<'static, Ended>, String> {
        let request = Request { key: ask.key.unwrap_or_default().to_owned(), n: ask.n };
        let timeout = self.limiters.timeout(ask.deadline)?;
        Ok(match self.limiters.of(ask.key)? {
            Of::All(limiter) if ask.n == 1 && timeout.is_none() => {
                Task::new(RateLimiterLayer::new(limiter).layer(service()).oneshot(request))
            }
            Of::All(limiter) => weighed(limiter, timeout, request),
            Of::Key(_) => keyed(self.limiters.keyed()?, timeout, request),
        })
    }
}

fn service() -> impl Service<Request, Response = (), Error = Never, Future: Send> + Clone + Send {
    service_fn(|_: Request| async { Ok(()) })
}

type Never = std::convert::Infallible;

fn weighed(
    limiter: RateLimiter,
    timeout: Option<Timeout>,
    request: Request,
) -> Task<'static, Ended> {
    let layer = RateLimiterLayer::weighed(limiter, |request: &Request| request.n);
    limited(timeout, layer.layer(service()), request)
}

fn keyed(
    limiter: KeyedRateLimiter<String>,
    timeout: Option<Timeout>,
    request: Request,
) -> Task<'static, Ended> {
    let layer = RateLimiterLayer::keyed(limiter, |request: &Request| request.key.clone());
    let layer = layer.weighed(|request: &Request| request.n);
    limited(timeout, layer.layer(service()), request)
}

fn limited<S>(timeout: Option<Timeout>, service: S, request: Request) -> Task<'static, Ended>
where
    S: Service<Request, Response = (), Error = Error<ServiceError>, Future: Send> + Send + 'static,
{
    match timeout {
        None => Task::new(service.oneshot(request)),
        Some(timeout) => Task::new(TimeoutLayer::new(timeout).layer(service).oneshot(request)),
    }
}

impl Calls for Services {
    fn check(&mut self, key: Option<&str>, n: u64) -> Result<Answer, String> {
        if self.limiters.waits {
            return self.limiters.check(key, n);
        }
        let ask = Ask { call: "check", key, n, deadline: None, corrected: false };
        match self.start(ask)?.run() {
            Poll::Ready(Ok(())) => Ok(Ok(())),
            Poll::Ready(Err(Error::Rejected(rejection))) => Ok(Err(rejection.retry_after())),
            Poll::Ready(Err(error)) => Err(format!("a call ended with {error}")),
            Poll::Pending => Err("it waits, although `max_wait` is zero".into()),
        }
    }

    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let mut task = self.start(ask)?;
        match task.run() {
            Poll::Ready(Ok(())) => Ok(Asked::Began),
            Poll::Ready(Err(Error::Rejected(rejection))) => {
                Ok(Asked::Refused { retry_after: rejection.retry_after() })
            }
            Poll::Ready(Err(error)) => Err(format!("a call ended with {error}")),
            Poll::Pending => {
                self.waiting.push((ask.call.to_owned(), task));
                Ok(Asked::Waits)
            }
        }
    }

    fn begun(&mut self) -> Result<Vec<String>, String> {
        let mut begun = Vec::new();
        let mut ended = Ok(());
        self.waiting.retain_mut(|(call, task)| match task.run() {
            Poll::Pending => true,
            Poll::Ready(result) => {
                if let Err(error) = result {
                    ended = Err(format!("{call} ended with {error}"));
                }
                begun.push(call.clone());
                false
            }
        });
        ended.map(|()| begun)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.waiting.retain(|(known, _)| known != call);
        Ok(())
    }

    fn settle(&mut self, call: &str, _: u64) -> Result<(), String> {
        Err(format!("no layer corrects what {call} took"))
    }
}
