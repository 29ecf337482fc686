//! What a protected call can fail with.

use std::fmt;
use std::time::Duration;

use crate::config::Rounded;
use crate::{Name, Rejection};

/// Why a protected call gave no value. `E` is the operation's own error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The operation ran and failed.
    Operation(E),
    /// A policy refused, and nothing was dispatched: always safe to try elsewhere.
    Rejected(Rejection),
    /// The time limit passed before there was a value.
    Timeout {
        /// The timeout's name.
        policy: Name,
        /// The limit that passed.
        limit: Duration,
        /// Whether the operation had been started; `false` if the time ran out before.
        dispatched: bool,
        /// The last failure seen within the limit, if there was one.
        last: Option<Box<Error<E>>>,
    },
    /// A retry gave up.
    Exhausted {
        /// The last failure.
        last: Box<Error<E>>,
        /// What stopped the retrying.
        stop: StopReason,
        /// Calls made, the first included.
        attempts: u32,
        /// Time spent, waits included.
        elapsed: Duration,
        /// How long the callee, or a policy, asked to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// A streamed answer broke off.
    Interrupted {
        /// Items that had arrived, all of them handed on: with any, the answer is partial.
        items: u64,
        /// What broke it off; `None` if it simply ended before it was complete.
        cause: Option<Box<Error<E>>>,
    },
}

/// Why a retry stopped trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// `max_attempts` were made.
    Attempts,
    /// The next attempt would not fit into `max_elapsed` or the deadline.
    Time,
    /// The retry budget was empty, or a [`Budget`](crate::Budget) spent.
    Budget,
    /// The error is one that trying again cannot mend.
    Permanent,
    /// The request may have taken effect and is not declared safe to repeat, or cannot be sent
    /// twice.
    Unrepeatable,
    /// The service became unusable between two attempts.
    NotReady,
    /// A policy inside refused, and promised no time at which it would not.
    Rejected,
    /// The callee asked for a longer wait than `max_retry_after`.
    WaitTooLong,
}

impl<E> Error<E> {
    /// The operation's own error, looked up through every layer around it.
    pub fn operation(&self) -> Option<&E> {
        match self {
            Self::Operation(error) => Some(error),
            Self::Rejected(_) => None,
            Self::Timeout { last: inner, .. } | Self::Interrupted { cause: inner, .. } => {
                inner.as_deref().and_then(Self::operation)
            }
            Self::Exhausted { last, .. } => last.operation(),
        }
    }

    /// The operation's own error by value, if there is one anywhere inside.
    pub fn into_operation(self) -> Option<E> {
        match self {
            Self::Operation(error) => Some(error),
            Self::Rejected(_) => None,
            Self::Timeout { last: inner, .. } | Self::Interrupted { cause: inner, .. } => {
                inner.and_then(|inner| inner.into_operation())
            }
            Self::Exhausted { last, .. } => last.into_operation(),
        }
    }

    /// The refusal this error ends with, if a policy refused.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Operation(_) => None,
            Self::Timeout { last: inner, .. } | Self::Interrupted { cause: inner, .. } => {
                inner.as_deref().and_then(Self::rejection)
            }
            Self::Exhausted { last, .. } => last.rejection(),
        }
    }

    /// How long to wait before trying again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Operation(_) | Self::Timeout { .. } | Self::Interrupted { .. } => None,
            Self::Rejected(rejection) => rejection.retry_after(),
            Self::Exhausted { retry_after, .. } => *retry_after,
        }
    }

    /// Whether the operation was certainly never started, so that it is safe to run elsewhere.
    pub fn is_undispatched(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::Timeout { dispatched: false, .. } => true,
            Self::Operation(_)
            | Self::Timeout { .. }
            | Self::Exhausted { .. }
            | Self::Interrupted { .. } => false,
        }
    }

    /// The same error with the operation's own error converted by `convert`.
    pub fn map<F>(self, mut convert: impl FnMut(E) -> F) -> Error<F> {
        self.map_with(&mut convert)
    }

    fn map_with<F>(self, convert: &mut dyn FnMut(E) -> F) -> Error<F> {
        match self {
            Self::Operation(error) => Error::Operation(convert(error)),
            Self::Rejected(rejection) => Error::Rejected(rejection),
            Self::Timeout { policy, limit, dispatched, last } => Error::Timeout {
                policy,
                limit,
                dispatched,
                last: last.map(|last| Box::new(last.map_with(convert))),
            },
            Self::Exhausted { last, stop, attempts, elapsed, retry_after } => Error::Exhausted {
                last: Box::new(last.map_with(convert)),
                stop,
                attempts,
                elapsed,
                retry_after,
            },
            Self::Interrupted { items, cause } => Error::Interrupted {
                items,
                cause: cause.map(|cause| Box::new(cause.map_with(convert))),
            },
        }
    }
}

impl<E> From<Rejection> for Error<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(error) => error.fmt(f),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Timeout { policy, limit, dispatched, last } => {
                let limit = humantime::format_duration(*limit);
                write!(f, "timeout `{policy}`: no answer within {limit}")?;
                if !dispatched {
                    f.write_str(" (the call was never started)")?;
                }
                match last {
                    Some(last) => write!(f, "; before that: {last}"),
                    None => Ok(()),
                }
            }
            Self::Exhausted {
                last,
                stop: stop @ (StopReason::Permanent | StopReason::Unrepeatable),
                attempts: 1,
                ..
            } => {
                write!(f, "{last} (not tried again: {stop})")
            }
            Self::Exhausted { last, stop, attempts, elapsed, .. } => {
                let s = if *attempts == 1 { "" } else { "s" };
                let elapsed = Rounded(*elapsed);
                write!(f, "gave up after {attempts} attempt{s} in {elapsed} ({stop}): {last}")
            }
            Self::Interrupted { items, cause } => {
                let s = if *items == 1 { "" } else { "s" };
                match cause {
                    Some(cause) => write!(f, "the answer broke off after {items} item{s}: {cause}"),
                    None => write!(f, "the answer ended after {items} item{s}, incomplete"),
                }
            }
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "max_attempts reached",
            Self::Time => "the next attempt would not fit into the time left",
            Self::Budget => "the budget is spent",
            Self::Permanent => "trying again cannot mend this error",
            Self::Unrepeatable => "the request is not safe to repeat",
            Self::NotReady => "the service can be called no more",
            Self::Rejected => "a policy refuses further calls",
            Self::WaitTooLong => "the service asked for a longer wait than max_retry_after",
        })
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The texts of these contain those of what is inside, so the chain goes on below it.
            Self::Operation(error) => error.source(),
            Self::Rejected(_) => None,
            Self::Timeout { last: inner, .. } | Self::Interrupted { cause: inner, .. } => {
                inner.as_ref().and_then(|inner| inner.source())
            }
            Self::Exhausted { last, .. } => last.source(),
        }
    }
}
