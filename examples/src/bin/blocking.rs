//! The same policies for code without `async`: they block the calling thread.
//!
//! Nothing can interrupt blocking code from outside. So the operation is told how much time it
//! has, to hand to whatever takes a time limit; and a failure that comes too late is a timeout.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use surefoot::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder("mirror").failure_threshold(2).build()?;
    let mirror = Pipeline::builder("mirror")
        .idempotent()
        .add(Timeout::new(Duration::from_secs(1))?.named("total"))
        .add(Retry::builder().max_attempts(2).initial_delay(Duration::from_millis(10)).build()?)
        .add(breaker.clone())
        .add(Timeout::new(Duration::from_millis(50))?.named("attempt"))
        .build()?;

    // A server that accepts connections and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;

    let start = Instant::now();
    let error = mirror
        .call_blocking(|attempt| {
            let mut connection = TcpStream::connect(address)?;
            connection.set_read_timeout(attempt.remaining())?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            println!("attempt {} got {answer:?}", attempt.number());
            Ok::<_, io::Error>(answer)
        })
        .expect_err("the server is silent");
    println!("{error}");
    assert!(matches!(error, Error::Exhausted { attempts: 2, .. }));
    assert!(error.operation().is_some(), "the last read error is still there to be looked at");
    assert!(start.elapsed() >= Duration::from_millis(2 * 50 + 10));

    // Two attempts that timed out have opened the circuit. The next call costs no time: the retry
    // knows that the circuit stays open for longer than the call may take.
    assert_eq!(breaker.state(), CircuitState::Open);
    let refused = mirror.call_blocking(|_| Ok::<_, io::Error>(String::new()));
    assert!(matches!(refused, Err(Error::Rejected(_))));
    Ok(())
}
