//! What other hosts are built of: the same futures and the same bookkeeping that carry out the
//! policies in this crate.
//!
//! Callers need none of it. The tower layers of `surefoot-tower` show what it is for: a host brings
//! its own way of making attempts, and leaves to these parts what must be alike everywhere (which
//! result counts as what, who is to blame for a drop, what a deadline does to the calls inside).

pub use crate::elsewhere::Elsewhere;
pub use crate::hosts::circuit_breaker::Watched;
pub use crate::hosts::client_throttle::Reported;
pub use crate::hosts::hedge::{Begin, Racing};
pub use crate::hosts::load_shedder::Counted;
pub use crate::hosts::rate_limiter::{LearnedFrom, Metered, Waiting};
pub use crate::hosts::retry::{Run, note_nesting};
pub use crate::hosts::throttler::{Acquiring, Admitted};
pub use crate::hosts::timeout::Limited;
pub use crate::operation::Judged;
pub use crate::scope::spending::{Cover, covered, draw};
pub use crate::scope::{
    has_expired, in_attempt, is_budgeted, is_retrying, learned_from, note_dispatch, watch_dispatch,
};
pub use crate::time::Sleep;
