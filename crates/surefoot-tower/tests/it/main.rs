//! The layers as their users use them, in virtual time: tower's contract, stacks of layers, and the
//! rules that the policies hold in every host.
//!
//! One module per subject. `/// policies.md §4 rule 57.` above a test names the rule it holds (the document is
//! `research/policies.md`). Nothing sleeps: time stands still until a test moves it.

mod support;

mod breaker;
mod budgets;
mod contract;
mod fallback;
mod foreign;
mod hedging;
mod rate_limiting;
mod retrying;
mod shedding;
mod stacks;
mod storm;
mod timeouts;
