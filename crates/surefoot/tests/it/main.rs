//! What the hosts promise, in virtual time: async and blocking calls, pipelines, registry, events.
//!
//! One module per subject. `/// policies.md §4 rule 45.` above a test names the rule it holds
//! (the document is `research/policies.md`); [`traps`] maps the traps of its §2. Nothing sleeps:
//! time stands still until a test moves it, except in [`executors`], which proves that our timer
//! thread and tokio's timers wake real calls.
#![cfg(not(surefoot_loom))]

mod support;

mod breaker;
mod budgets;
mod cancellation;
mod classification;
mod compile_fail;
mod composition;
mod deadlines;
mod events;
mod executors;
mod fallback_chains;
mod full_stack;
#[cfg(feature = "serde")]
mod health;
mod hedging;
mod load_shedding;
#[cfg(feature = "metrics")]
mod metrics_facade;
mod options;
mod panics;
mod pipelines;
mod rate_limiting;
mod registry;
mod retrying;
#[cfg(feature = "serde")]
mod status;
mod stream_limits;
mod streams;
mod system_load;
mod texts;
mod throttling;
#[cfg(feature = "tracing")]
mod tracing_spans;
mod traps;
