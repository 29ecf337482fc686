//! Another answer when the first choice has none.
//!
//! **Use it** outermost, around whole pipelines: the links of a [`Fallback`] are tried in order
//! until one answers, and the answer says which. **Not** inside a retry or a breaker, which would
//! see every failure as a success; by its type it cannot be added to a pipeline.
//!
//! ```text
//! primary ──fails──► secondary ──fails──► last good answer ──none──► error, with all of them inside
//!    │                  │                     │
//!    └──────────────────┴─────────────────────┴─► Answer { value, link, … }
//! ```
//!
//! - A failure that trying again cannot mend (a retry stopped with
//!   [`Permanent`](StopReason::Permanent)) ends the chain: another provider would refuse a bad
//!   request too. [`when`](Chain::when) sets another rule.
//! - Only errors count as failures here, and every value is an answer, kept as a good one. A link whose value may
//!   be a failure (an HTTP response with status 503) turns it into an error first.
//! - **Cancellation.** A caller who drops the call gets no fallback; nothing more is started.
//! - With [`call_stream`](crate::Policy::call_stream) as links, a stream that breaks off after its
//!   first item runs no fallback: the answer is partly out.
//! - **Cost.** An answer from the first link: one copy of the answer if the last good one is kept,
//!   nothing else.
//!
//! ```
//! use std::time::Duration;
//! use surefoot::prelude::*;
//! use surefoot::{Fallback, LastGood};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn ask(provider: &str) -> Result<String, std::io::Error> {
//! #     if provider == "a" { Err(std::io::Error::other("down")) } else { Ok("an answer".into()) }
//! # }
//! let (a, b) = (CircuitBreaker::builder("a").build()?, CircuitBreaker::builder("b").build()?);
//! let answers = Fallback::new("answers")?;
//! let kept = LastGood::new(Duration::from_secs(600))?;
//!
//! let question = "why?";
//! let answer = answers
//!     .first("a", || a.call(|| ask("a")))
//!     .then("b", || b.call(|| ask("b")))
//!     .last_good(&kept, question)
//!     .call()
//!     .await?;
//! assert_eq!((answer.value.as_str(), answer.link.as_str()), ("an answer", "b"));
//! # Ok(())
//! # }
//! ```

mod answer;
mod chain;
mod refusal;

use surefoot_core::{ConfigError, Event, Events, Name};

pub use answer::{Answer, FallbackError};
pub use chain::{BlockingLinks, Chain, First, LastGoodLink, Links, MovesOn, Then};
pub use refusal::WithFallback;

#[cfg(doc)]
use surefoot_core::StopReason;

/// A chain of answers to fall back on, for any number of calls.
#[derive(Clone, Debug)]
pub struct Fallback {
    name: Name,
    events: Events,
}

impl Fallback {
    /// A fallback called `name` in events.
    ///
    /// # Errors
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Result<Self, ConfigError> {
        let name = name.into();
        if name.trim().is_empty() {
            return Err(ConfigError::new("fallback", "name", "\"\"", "must not be empty"));
        }
        Ok(Self { name, events: Events::default() })
    }

    /// Starts one call's chain with its first choice: a function that gives a future, or, for
    /// [`call_blocking`](Chain::call_blocking), a result.
    pub fn first<F, R>(&self, link: impl Into<Name>, call: F) -> Chain<'_, First<F>>
    where
        F: FnOnce() -> R,
    {
        Chain::new(self, First::new(link.into(), call))
    }

    /// Tells listeners that `link` has failed and the next one is tried: for other hosts.
    pub fn note_failure(&self, link: impl Into<Name>) {
        self.events.send(&Event::FellBack { policy: self.name.clone(), link: link.into() });
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Where to listen for links that failed.
    pub fn events(&self) -> &Events {
        &self.events
    }
}
