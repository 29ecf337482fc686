//! A chat client whose answers are streamed, against a model that does not always finish them: one call per answer,
//! with limits for the first token and for the gaps, and the verdict at the end.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{io, thread};

use surefoot::http::openai;
use surefoot::http::sse::SseEvent;
use surefoot::http::{StreamPart, classify};
use surefoot::prelude::*;
use surefoot_tower::http::{EventError, Events};

/// What can go wrong while a model is asked.
#[derive(Debug)]
enum Fault {
    /// It answered with an error.
    Refused(Classification),
    /// The connection failed.
    Connection(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(_) => f.write_str("the model refused"),
            Self::Connection(error) => f.write_str(error),
        }
    }
}

type Tokens = std::pin::Pin<Box<dyn futures_lite::Stream<Item = Result<SseEvent, Fault>> + Send>>;

async fn open(client: &reqwest::Client, url: &str) -> Result<Tokens, Fault> {
    use futures_lite::StreamExt as _;
    let lost = |error: &dyn std::error::Error| Fault::Connection(error.to_string());
    let response = client.get(url).send().await.map_err(|error| lost(&error))?;
    if response.status() != 200 {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_default();
        return Err(Fault::Refused(classify(status, &headers, Some(&body))));
    }
    let events = Events::new(reqwest::Body::from(response));
    Ok(Box::pin(events.map(move |event| event.map_err(|error: EventError| lost(&error)))))
}

/// An item or an error of the stream, as the policies see it.
fn judge(result: Result<&SseEvent, &Fault>) -> Classification {
    match result {
        Ok(event) => match openai::stream_part(event) {
            StreamPart::Error(error) => error.classification(), // "overloaded", in mid-stream
            StreamPart::Item | StreamPart::End => Classification::SUCCESS,
        },
        Err(Fault::Refused(classification)) => *classification,
        Err(Fault::Connection(_)) => Classification::TRANSIENT,
    }
}

fn is_end(event: &SseEvent) -> bool {
    openai::stream_part(event) == StreamPart::End
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder("model").build()?;
    let model = Pipeline::builder("model")
        .idempotent() // a question may be asked twice
        .classify(judge)
        .add(Timeout::new(Duration::from_secs(30))?.named("total"))
        .add(Retry::builder().initial_delay(Duration::from_millis(10)).build()?)
        .add(breaker.clone())
        .add(Timeout::new(Duration::from_secs(5))?.named("first token"))
        .build()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let ask = async |url: &str| {
        let gap = Timeout::new(Duration::from_millis(200)).expect("a limit").named("gap");
        let streaming = model.streaming().idle_timeout(gap).until(is_end);
        let mut answer = streaming.call(|| open(&client, url)).await?;
        let mut tokens = 0;
        while let Some(event) = answer.next().await {
            event?;
            tokens += 1;
        }
        Ok::<_, Error<Fault>>(tokens)
    };

    // Too busy at first, then a connection that breaks before the first token: both are tried again.
    let url = serve(&[BUSY, "", WHOLE])?;
    assert_eq!(ask(&url).await.expect("the third try answers"), 3);

    // Cut off after two tokens: the answer is partly out, so nothing is tried again.
    let error = ask(&serve(&[CUT_OFF, WHOLE])?).await.expect_err("it is not complete");
    println!("{error}");
    assert!(matches!(error, Error::Interrupted { items: 2, .. }));

    // Silent after the first token: noticed within the gap's limit, and not after half a minute.
    let error = ask(&serve(&[HANGS])?).await.expect_err("it is silent");
    println!("{error}");
    assert!(matches!(error, Error::Interrupted { items: 1, .. }));

    // The breaker has heard of all of them. A 429 is no failure.
    let totals = breaker.status().totals;
    assert_eq!((totals.successes, totals.failures), (1, 3));
    Ok(())
}

const BUSY: &str =
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0.01\r\nContent-Length: 0\r\n\r\n";
const WHOLE: &str =
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: Hello\n\ndata: world\n\ndata: [DONE]\n\n";
const CUT_OFF: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: Hello\n\ndata: wor\n\n";
/// Longer than what follows: the connection stays open until the client has had enough.
const HANGS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\ndata: Hello\n\n";

/// A model that gives each of `answers` to one request, and its address.
fn serve(answers: &'static [&'static str]) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    thread::spawn(move || -> io::Result<()> {
        for answer in answers {
            let (mut connection, _) = listener.accept()?;
            let mut reader = BufReader::new(connection.try_clone()?);
            let mut line = String::new();
            while reader.read_line(&mut line)? > 2 {
                line.clear();
            }
            connection.write_all(answer.as_bytes())?;
            if *answer == HANGS {
                wait_until_closed(connection)?;
            }
        }
        Ok(())
    });
    Ok(url)
}

fn wait_until_closed(mut connection: TcpStream) -> io::Result<()> {
    io::copy(&mut connection, &mut io::sink()).map(drop)
}
