//! Overload in virtual time: the policies themselves against servers, crowds and incidents.
//!
//! Nothing here is a model of a policy. Clients are async code that calls Surefoot as anybody would;
//! the [`World`] runs them on a [`ManualClock`](surefoot::ManualClock), which it moves to whatever
//! comes next, so that an hour of overload takes seconds. Everything is seeded: a run can be
//! repeated to the nanosecond.
//!
//! In the order to read: [`world`], where time passes; [`chance`]; [`server`], what is overloaded;
//! [`crowd`], who overloads it; [`tally`], what came of it. Then [`scenarios`], each with the figure
//! it has to reach and the control that shows what happens without the policy; and [`comparison`],
//! the adaptive limit beside the [`published`] algorithms.
#![expect(clippy::missing_panics_doc, reason = "a policy's options are written here, and valid")]

pub mod chance;
pub mod comparison;
pub mod crowd;
pub mod published;
pub mod scenarios;
pub mod server;
pub mod tally;
pub mod world;

pub use chance::{Chance, Service};
pub use server::{Server, ServerError, Target};
pub use tally::{Outcome, Tally};
pub use world::{Handle, World};
