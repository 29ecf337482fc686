//! A `reqwest` call with retry, circuit breaker and timeout: first the ten lines of the README,
//! then a client that reads status codes and the server's `Retry-After`.
//!
//! The server is a thread of this program that answers with what it is told, in order.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response};
use surefoot::StopReason;
use surefoot::prelude::*;
use surefoot::retry::retry_after;

/// The lines of the README, as they are printed there.
async fn fetch(client: &Client, url: &str) -> Result<String, Box<dyn std::error::Error>> {
    // README: begin
    let api = Pipeline::builder("api") // build it once, and keep it: it remembers what failed
        .idempotent() // asking twice does no harm
        .add(Timeout::new(Duration::from_secs(30))?.named("total"))
        .add(Retry::builder().jitter(Jitter::Full).build()?)
        .add(CircuitBreaker::builder("api").build()?)
        .add(Timeout::new(Duration::from_secs(10))?.named("attempt"))
        .build()?;
    let get = async || client.get(url).send().await?.error_for_status()?.text().await;
    let text = api.call(get).await?;
    // README: end
    Ok(text)
}

/// What an answer means: a 5xx and a broken connection may pass, a 429 asks for a pause, and any
/// other 4xx is the caller's own fault, of which the breaker shall take no notice.
fn by_status(result: Result<&Response, &reqwest::Error>) -> Classification {
    let Ok(response) = result else { return Classification::TRANSIENT };
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|value| retry_after(value, SystemTime::now()));
    Classification::from_http_status(response.status().as_u16(), wait)
}

async fn read_statuses(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder("api").failure_threshold(3).build()?;
    let retry = Retry::builder().initial_delay(Duration::from_millis(10)).build()?;
    let api = Pipeline::builder("api")
        .idempotent()
        .classify(by_status)
        .add(Timeout::new(Duration::from_secs(30))?.named("total"))
        .add(retry)
        .add(breaker.clone())
        .add(Timeout::new(Duration::from_secs(10))?.named("attempt"))
        .build()?;
    let get = async |url: &str| api.call(|| client.get(url).send()).await;

    // The caller's mistake: one request, no failure counted, and the answer is there to be read.
    let url = serve(["404 Not Found"])?;
    assert_eq!(get(&url).await?.status(), 404);
    assert_eq!(breaker.status().totals.ignored, 1);

    // Too busy for a moment: asked again when the server said, and no failure counted either.
    let url = serve(["429 Too Many Requests\r\nRetry-After: 0.05", "200 OK"])?;
    assert_eq!(get(&url).await?.status(), 200);
    assert_eq!(breaker.status().totals.failures, 0);

    // Nobody is there: after three failures nobody asks any more.
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        format!("http://{}/", listener.local_addr()?)
    };
    let error = get(&nobody).await.expect_err("nobody listens there");
    println!("{error}");
    assert!(matches!(error, Error::Exhausted { attempts: 3, stop: StopReason::Attempts, .. }));
    assert!(error.operation().is_some_and(reqwest::Error::is_connect));
    let error = get(&nobody).await.expect_err("the circuit is open");
    println!("{error}");
    assert!(matches!(error, Error::Rejected(_)));
    Ok(())
}

/// Answers one request with each of `statuses`, and gives the address.
fn serve<const N: usize>(statuses: [&'static str; N]) -> io::Result<String> {
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
            let headers = "Content-Length: 5\r\nConnection: close";
            write!(connection, "HTTP/1.1 {status}\r\n{headers}\r\n\r\nhello")?;
        }
        Ok(())
    });
    Ok(url)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().no_proxy().build()?;

    let url = serve(["503 Service Unavailable", "500 Internal Server Error", "200 OK"])?;
    let text = fetch(&client, &url).await?;
    assert_eq!(text, "hello");
    println!("the third answer: {text}");

    read_statuses(&client).await
}
