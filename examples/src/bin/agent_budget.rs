//! An agent that loops, and a budget that ends it: attempts, tokens and money.
//!
//! Every call of the run draws on one account, wherever it is made: the agent's own steps, the
//! retries around them and those inside its tools. So retries within retries cannot multiply, and an
//! agent that never finds its answer stops at its limit, with what it has spent exactly known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use surefoot::budget::{Cost, Money};
use surefoot::prelude::*;
use surefoot::{Budget, BudgetScope, Event, Scope, StopReason};

#[derive(Debug)]
enum Failure {
    Overloaded,
    /// The budget, or a policy of the model's pipeline, refuses.
    Stopped(String),
}

/// A model that charges for every answer, and is overloaded now and then: that costs its input
/// all the same.
struct Model {
    calls: AtomicU64,
}

const INPUT: u64 = 1_000;
const LONGEST_ANSWER: u64 = 4_000;

/// 3.00 for a million tokens.
fn price(tokens: u64) -> Cost {
    Cost::tokens(tokens).and_money(Money::for_tokens(tokens, Money::from_units(3)))
}

impl Model {
    /// One call, which reserves the most it may use and settles what it did use. The budget is
    /// whatever run this call belongs to.
    async fn ask(&self) -> Result<&'static str, Failure> {
        let budget = Scope::current().budget().expect("every call belongs to a run");
        let charge = budget
            .reserve(price(INPUT + LONGEST_ANSWER))
            .map_err(|refusal| Failure::Stopped(refusal.to_string()))?;
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::task::yield_now().await; // where the answer takes its time
        if call.is_multiple_of(4) {
            charge.settle(price(INPUT));
            return Err(Failure::Overloaded);
        }
        charge.settle(price(INPUT + 500));
        Ok("call the search tool again")
    }
}

/// Only what the model could not do is worth another try.
fn judge<T>(result: Result<&T, &Failure>) -> Classification {
    match result {
        Ok(_) => Classification::SUCCESS,
        Err(Failure::Overloaded) => Classification::TRANSIENT,
        Err(Failure::Stopped(_)) => Classification::PERMANENT,
    }
}

fn retry() -> Result<Retry, ConfigError> {
    Retry::builder().max_attempts(3).initial_delay(Duration::ZERO).build()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model { calls: AtomicU64::new(0) };
    let pipeline = Pipeline::builder("model").idempotent().add(retry()?).classify(judge).build()?;

    // ---- A looping agent stops at its limit -------------------------------------------------
    let run = Budget::builder("run")
        .attempts(100)
        .tokens(40_000)
        .money("0.10".parse()?)
        .on_event(|event| match event {
            Event::BudgetLow { dimension, .. } => println!("nearly spent: {dimension}"),
            Event::BudgetExhausted { dimension, .. } => println!("spent: {dimension}"),
            _ => {}
        })
        .build()?;
    let agent = async {
        loop {
            match pipeline.call(|| model.ask()).await {
                Ok(answer) if answer.contains("done") => return Ok(()),
                Ok(_) => {} // it never is
                Err(error) => return Err(error),
            }
        }
    };
    let stopped: Result<(), _> = run.scope(agent).await;
    let error = stopped.expect_err("it loops for ever");
    println!("the agent ends: {}", describe(&error));
    let spent = run.spent();
    println!("it spent {} tokens, {}, in {} calls", spent.tokens, spent.money, spent.attempts);
    assert!(describe(&error).contains("budget `run`"));
    assert!(spent.tokens <= 40_000 && spent.money <= "0.10".parse()?);
    // What the last call would have needed was not there; what it needed less was spent.
    assert_eq!(spent.money, Money::for_tokens(spent.tokens, Money::from_units(3)));
    assert_eq!(run.status().reserved, Cost::ZERO);

    // ---- Retries within retries do not multiply ---------------------------------------------
    let calls = AtomicU64::new(0);
    let down = || async {
        calls.fetch_add(1, Ordering::Relaxed);
        Err::<&str, _>(Failure::Overloaded)
    };
    let nested = Pipeline::builder("nested")
        .idempotent()
        .budget(Budget::builder("five").attempts(5).build()?)
        .add(retry()?)
        .add(retry()?)
        .add(retry()?)
        .build()?;
    let error = nested.call(down).await.expect_err("nothing answers");
    assert_eq!(calls.load(Ordering::Relaxed), 5); // and not 27
    assert!(matches!(error, Error::Exhausted { stop: StopReason::Budget, .. }));

    // ---- A step gets a slice ------------------------------------------------------------------
    let run = Budget::builder("run").attempts(10).build()?;
    let step = Budget::builder("step").attempts(4).slice_of(&run)?;
    assert_eq!(run.remaining().attempts, Some(6));
    let _ = step.scope(pipeline.call(down)).await; // three attempts
    drop(step); // what it has not used comes back
    assert_eq!(run.remaining().attempts, Some(7));
    println!("after the step: {}", serde_json::to_string(&run.status())?);
    Ok(())
}

fn describe(error: &Error<Failure>) -> String {
    match error.operation() {
        Some(Failure::Stopped(why)) => why.clone(),
        Some(Failure::Overloaded) => "the model is overloaded".to_owned(),
        None => error.rejection().map(ToString::to_string).unwrap_or_default(),
    }
}
