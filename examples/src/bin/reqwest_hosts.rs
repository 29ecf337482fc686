//! A reqwest client behind tower layers, with a circuit breaker for each host: one host that is down does not keep
//! anybody from another.

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, thread};

use reqwest::{Client, Method, Request, Response};
use surefoot::StopReason;
use surefoot::prelude::*;
use surefoot_tower::http::{DeadlineClientLayer, Idempotent, ResponseClassifier};
use surefoot_tower::{CircuitBreakerLayer, RetryLayer, TimeoutLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

/// Sends each request through its host's own breaker.
#[derive(Clone)]
struct PerHost<S> {
    breakers: std::sync::Arc<Registry>,
    inner: S,
}

impl<S> Service<Request> for PerHost<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<surefoot_tower::BoxError> + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = surefoot_tower::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let error = |error: S::Error| Error::Operation(surefoot_tower::ServiceError::new(error));
        self.inner.poll_ready(cx).map_err(error)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let breaker = self.breakers.get(request.url().authority());
        let layer = CircuitBreakerLayer::new(breaker).classify(ResponseClassifier::new());
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        Box::pin(layer.layer(ready).call(request))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breakers = std::sync::Arc::new(Registry::builder("host").build()?);
    let retry = Retry::builder().initial_delay(Duration::from_millis(10)).build()?;
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(30))?.named("total")))
        .layer(RetryLayer::new(retry, Idempotent).classify(ResponseClassifier::new()))
        .layer(tower::layer::layer_fn(|inner| PerHost { breakers: breakers.clone(), inner }))
        .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(10))?.named("attempt")))
        .layer(DeadlineClientLayer::new())
        .service(Client::builder().no_proxy().build()?);
    let send = async |method: Method, url: &str| {
        client.clone().oneshot(Request::new(method, url.parse().expect("a URL"))).await
    };

    // Two bad answers, and then a good one: nobody notices.
    let flaky = serve(&["503 Service Unavailable", "500 Internal Server Error", "200 OK"])?;
    assert_eq!(send(Method::GET, &flaky).await?.status(), 200);

    // A POST without an idempotency key is not sent twice: the first one may have taken effect.
    let flaky = serve(&["500 Internal Server Error", "200 OK"])?;
    assert_eq!(send(Method::POST, &flaky).await?.status(), 500);

    // Nobody is there: the third failure … and the host's breaker opens at the fifth.
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        format!("http://{}/", listener.local_addr()?)
    };
    let error = send(Method::GET, &nobody).await.expect_err("nobody listens there");
    println!("{error}");
    assert!(matches!(error, Error::Exhausted { attempts: 3, stop: StopReason::Attempts, .. }));
    let error = send(Method::GET, &nobody).await.expect_err("nobody listens there");
    println!("{error}");
    let error = send(Method::GET, &nobody).await.expect_err("the circuit is open");
    println!("{error}");
    assert!(matches!(error, Error::Rejected(_)));

    // The others go on.
    let fine = serve(&["200 OK"])?;
    assert_eq!(send(Method::GET, &fine).await?.status(), 200);
    let open = breakers.statuses().iter().filter(|host| host.state == CircuitState::Open).count();
    assert_eq!((breakers.len(), open), (4, 1));
    Ok(())
}

/// Answers one request with each of `statuses`, and gives the address.
fn serve(statuses: &'static [&'static str]) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    thread::spawn(move || -> io::Result<()> {
        for status in statuses {
            let (mut connection, _) = listener.accept()?;
            let request = BufReader::new(connection.try_clone()?);
            for line in request.lines() {
                if line?.is_empty() {
                    break;
                }
            }
            write!(
                connection,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )?;
        }
        Ok(())
    });
    Ok(url)
}
