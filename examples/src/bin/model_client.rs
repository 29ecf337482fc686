//! A client of a model that shares its account with others, and learns from what the provider
//! says: with the limits alone it collects refusals, learning it collects a thirtieth of them.
//!
//! The rest is what the others take between two answers: our line calls as soon as a unit is back,
//! and if theirs was quicker, the answer is a refusal that makes us wait.
//!
//! The provider counts requests and tokens per minute in buckets, as OpenAI and Azure do, tells
//! what is left in its headers, and refuses with `retry-after-ms`. It is local, and so is time: an
//! hour takes a moment.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::http::Response;
use surefoot::http::{HttpClassifier, Usage, server_limits};
use surefoot::prelude::*;
use surefoot::rate_limiter::Algorithm;
use surefoot::rate_limiter::multi::{Limit, RateLimits, Scope};
use surefoot::{Clock, ManualClock, MultiLimiter, Timestamp};
use surefoot_examples::in_virtual_time;

const MINUTE: Duration = Duration::from_secs(60);
const REQUESTS: u64 = 60;
const TOKENS: u64 = 30_000;
/// What a call may use at most, and what it uses.
const MAX_TOKENS: u64 = 1_000;
const USED: u64 = 400;

type Answer = Response<Vec<u8>>;
type Problem = Box<dyn std::error::Error + Send + Sync>;

/// The service at the other end.
struct Provider {
    clock: ManualClock,
    buckets: RateLimits<String>,
}

impl Provider {
    fn new(clock: &ManualClock) -> Result<Self, ConfigError> {
        let bucket = Algorithm::TokenBucket;
        let buckets = RateLimits::builder("provider")
            .limit(Limit::overall("requests", REQUESTS, MINUTE).algorithm(bucket))
            .limit(Limit::overall("tokens", TOKENS, MINUTE).algorithm(bucket))
            .clock(clock)
            .build()?;
        Ok(Self { clock: clock.clone(), buckets })
    }

    async fn answer(&self) -> Result<Answer, Problem> {
        let taken = self.buckets.try_reserve("account", &[("tokens", MAX_TOKENS)]);
        let left = |unit| self.buckets.remaining("account", unit).unwrap_or(0);
        let answer = Response::builder()
            .header("x-ratelimit-limit-requests", REQUESTS)
            .header("x-ratelimit-remaining-requests", left("requests"))
            .header("x-ratelimit-reset-requests", back(REQUESTS, left("requests")))
            .header("x-ratelimit-limit-tokens", TOKENS)
            .header("x-ratelimit-remaining-tokens", left("tokens"))
            .header("x-ratelimit-reset-tokens", back(TOKENS, left("tokens")));
        match taken {
            Ok(charge) => {
                self.clock.sleep_until(self.clock.now() + Duration::from_secs(2)).await;
                charge.settle(&[("tokens", USED)])?;
                let body = format!(
                    r#"{{"usage": {{"prompt_tokens": 100, "completion_tokens": {}}}}}"#,
                    USED - 100
                );
                Ok(answer.body(body.into_bytes())?)
            }
            Err(refusal) => {
                let wait = refusal.retry_after().unwrap_or(MINUTE).as_millis() + 1;
                let body = br#"{"error": {"code": "rate_limit_exceeded"}}"#;
                let answer = answer.status(429).header("retry-after-ms", wait.to_string());
                Ok(answer.body(body.to_vec())?)
            }
        }
    }
}

/// When a bucket is full again, as Go writes it.
fn back(limit: u64, left: u64) -> String {
    format!("{}ms", (limit - left) * 60_000 / limit)
}

/// The client: the account's limits as it knows them, and a retry.
struct Client<'p> {
    provider: &'p Provider,
    limits: RateLimits<String>,
    retry: Retry,
    learns: bool,
}

impl<'p> Client<'p> {
    fn new(provider: &'p Provider, learns: bool) -> Result<Self, ConfigError> {
        // As the provider counts: units come back one after the other, not a minute later at once.
        let bucket = Algorithm::TokenBucket;
        let limits = RateLimits::builder("model")
            .limit(Limit::overall("requests", REQUESTS, MINUTE).algorithm(bucket))
            .limit(Limit::overall("tokens", TOKENS, MINUTE).algorithm(bucket))
            .max_wait(MINUTE * 60)
            .clock(&provider.clock)
            .build()?;
        let retry = Retry::builder().max_attempts(100).max_delay(MINUTE);
        let retry = retry.clock(&provider.clock).build()?;
        Ok(Self { provider, limits, retry, learns })
    }

    /// One call, tried again until it is answered; how often it was refused.
    async fn ask(&self) -> Result<u32, Problem> {
        let refused = std::sync::atomic::AtomicU32::new(0);
        let model = self.retry.clone().classify(HttpClassifier::new().responses());
        let answer = model
            .call(async || {
                let charge = self.limits.acquire("account", &[("tokens", MAX_TOKENS)]).await?;
                let answer = self.provider.answer().await?;
                if self.learns {
                    let said =
                        server_limits(answer.status(), answer.headers(), Some(answer.body()));
                    self.limits.learn("account", Scope::Overall, &said)?;
                }
                match Usage::parse(answer.body()) {
                    Some(used) => used.settle(charge),
                    None => charge.give_back(), // refused: it used nothing
                }
                if answer.status() == 429 {
                    refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Ok::<_, Problem>(answer)
            })
            .await
            .map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err("never answered".into());
        }
        Ok(refused.into_inner())
    }
}

/// Runs futures side by side.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut outputs = Vec::new();
    poll_fn(|cx| {
        running.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs
}

/// 300 calls by a client while others use a third of the account: how many refusals it collected,
/// and how long it took.
async fn crowd(learns: bool) -> Result<(u32, Duration), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock)?;
    let client = Client::new(&provider, learns)?;
    let done = std::sync::atomic::AtomicBool::new(false);
    // The others are not ours: they take what they can, every three seconds.
    let others = async {
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = provider.buckets.check("account", &[("tokens", 500)]);
            clock.sleep_until(clock.now() + Duration::from_secs(3)).await;
        }
        Ok(0)
    };
    let ours = async {
        let refused = all((0..300).map(|_| client.ask())).await;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        refused.into_iter().sum::<Result<u32, Problem>>()
    };
    let both: [Crowd<'_>; 2] = [Box::pin(others), Box::pin(ours)];
    let refused = in_virtual_time(&clock, all(both.into_iter())).await;
    let refused = refused.into_iter().sum::<Result<u32, Problem>>();
    Ok((refused.map_err(|problem| problem.to_string())?, clock.now() - Timestamp::ZERO))
}

/// Callers who count how often they were refused.
type Crowd<'p> = Pin<Box<dyn Future<Output = Result<u32, Problem>> + 'p>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (alone, alone_took) = crowd(false).await?;
    let (learned, learned_took) = crowd(true).await?;
    println!("limits alone:   300 calls, {alone} refused, {} s", alone_took.as_secs());
    println!("learning:       300 calls, {learned} refused, {} s", learned_took.as_secs());
    assert!(alone > 30, "control: without learning the account is overdrawn again and again");
    assert!(learned * 30 < alone, "learning: a thirtieth of the refusals");
    assert!(learned_took < alone_took + MINUTE, "and nothing is lost by it");
    Ok(())
}
