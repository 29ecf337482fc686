//! Pipelines of different composition in one collection: each tool of an agent with its own care.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{BoxPipeline, OrderRule};

type Tools = BTreeMap<&'static str, BoxPipeline<String, io::Error>>;

fn tools() -> Result<Tools, ConfigError> {
    let seconds = Duration::from_secs;

    // Reading may be repeated.
    let search = Pipeline::builder("search")
        .idempotent()
        .add(Retry::builder().max_attempts(3).initial_delay(Duration::from_millis(1)).build()?)
        .add(CircuitBreaker::builder("search").build()?)
        .add(Timeout::new(seconds(5))?)
        .build()?;

    // Sending an e-mail twice does harm.
    let send_mail = Pipeline::builder("send_mail")
        .add(CircuitBreaker::builder("smtp").build()?)
        .add(Timeout::new(seconds(60))?)
        .build()?;

    // A calculation has nothing to be protected from.
    let calculate = Pipeline::builder("calculate").build()?;

    let tools = [search.boxed(), send_mail.boxed(), calculate.boxed()];
    let names = ["search", "send_mail", "calculate"];
    Ok(names.into_iter().zip(tools).collect())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tools = tools()?;
    for (name, tool) in &tools {
        let answer = tool.call(async || Ok(format!("{name} is done"))).await?;
        println!("{answer}");
        assert_eq!(tool.name(), *name);
    }

    // The same failing operation is tried three times where that does no harm, once where it may.
    let fail = async || Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let searched = tools["search"].call(fail).await;
    assert!(matches!(searched, Err(Error::Exhausted { attempts: 3, .. })));
    let mailed = tools["send_mail"].call(fail).await;
    assert!(matches!(mailed, Err(Error::Operation(_))));

    // Compositions that defeat a policy do not build, and the error says why.
    let breaker = CircuitBreaker::builder("search").build()?;
    let retry = Retry::builder().build()?;
    let defeated =
        || Pipeline::builder("search").idempotent().add(breaker.clone()).add(retry.clone());
    let error = defeated().build().expect_err("the breaker would see one failure for three");
    println!("{error}");
    assert_eq!(error.field(), "order");
    let allowed = defeated()
        .allow(OrderRule::BreakerOutsideRetry)
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .build();
    assert!(allowed.is_ok());
    Ok(())
}
