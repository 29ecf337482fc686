//! What a protected call can fail with.

use std::fmt;
use std::time::Duration;

use crate::config::Rounded;
use crate::{Name, Rejection};

/// Why a protected call gave no value. `E` is the operation's own error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
// Results are moved on every call. With a tag of one byte the seven after it are moved as two pieces
// that overlap, and to read such a piece the processor waits until both have been written; after a tag of
// two bytes there are six, which are two pieces side by side.
#[repr(u16)]
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
        /// What stopped the retrying.
        stop: StopReason,
        /// Attempts made, the first included, and those that were refused.
        attempts: u32,
        /// The last failure of an attempt that was dispatched; a refusal only if there is none.
        last: Box<Error<E>>,
        /// What became of the attempt after it, if that ended before anything was dispatched:
        /// mostly a policy's [`Rejected`](Self::Rejected); a budget's if that would not pay for it.
        refusal: Option<Box<Error<E>>>,
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
    /// The retry budget was empty, or a [`Budget`](crate::Budget) spent, which `refusal` then names.
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
            Self::Exhausted { last, refusal, .. } => {
                last.operation().or_else(|| refusal.as_deref()?.operation())
            }
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
            Self::Exhausted { last, refusal, .. } => {
                last.into_operation().or_else(|| refusal?.into_operation())
            }
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
            Self::Exhausted { last, refusal, .. } => refusal.as_deref().unwrap_or(last).rejection(),
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
            Self::Exhausted { last, refusal, stop, attempts, elapsed, retry_after } => {
                Error::Exhausted {
                    last: Box::new(last.map_with(convert)),
                    refusal: refusal.map(|refusal| Box::new(refusal.map_with(convert))),
                    stop,
                    attempts,
                    elapsed,
                    retry_after,
                }
            }
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
            Self::Exhausted { last, refusal, stop, attempts, elapsed, .. } => {
                let s = if *attempts == 1 { "" } else { "s" };
                let elapsed = Rounded(*elapsed);
                write!(f, "gave up after {attempts} attempt{s} in {elapsed} ({stop}): {last}")?;
                match refusal {
                    Some(refusal) => write!(f, "; after that: {refusal}"),
                    None => Ok(()),
                }
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

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::error::Error as _;
    use std::num::ParseIntError;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cause() -> ParseIntError {
        "x".parse::<u8>().unwrap_err()
    }

    fn paused() -> Rejection {
        Rejection::Throttled { policy: "api".into(), retry_after: SECOND }
    }

    fn timeout<E>(dispatched: bool, last: Option<Error<E>>) -> Error<E> {
        let last = last.map(Box::new);
        Error::Timeout { policy: "total".into(), limit: SECOND, dispatched, last }
    }

    fn exhausted<E>(last: Error<E>, refusal: Option<Error<E>>, attempts: u32) -> Error<E> {
        Error::Exhausted {
            last: Box::new(last),
            refusal: refusal.map(Box::new),
            stop: StopReason::Rejected,
            attempts,
            elapsed: SECOND,
            retry_after: Some(2 * SECOND),
        }
    }

    fn interrupted<E>(items: u64, cause: Option<Error<E>>) -> Error<E> {
        Error::Interrupted { items, cause: cause.map(Box::new) }
    }

    /// What the operation said, what refused, when to come back, whether nothing was dispatched.
    #[test]
    fn an_error_answers_for_everything_inside_it() {
        let failed = || Error::Operation("down");
        let refused = || Error::from(paused());
        for (error, operation, is_refused, retry_after, undispatched) in [
            (failed(), Some("down"), false, None, false),
            (refused(), None, true, Some(SECOND), true),
            (timeout(false, None), None, false, None, true),
            (timeout(true, Some(failed())), Some("down"), false, None, false),
            (timeout(true, Some(refused())), None, true, None, false),
            (interrupted(1, Some(failed())), Some("down"), false, None, false),
            (interrupted(0, None), None, false, None, false),
            (exhausted(failed(), None, 2), Some("down"), false, Some(2 * SECOND), false),
            (exhausted(refused(), None, 2), None, true, Some(2 * SECOND), false),
            (exhausted(failed(), Some(refused()), 2), Some("down"), true, Some(2 * SECOND), false),
            (exhausted(refused(), Some(failed()), 2), Some("down"), false, Some(2 * SECOND), false),
        ] {
            assert_eq!(error.operation(), operation.as_ref(), "{error:?}");
            assert_eq!(error.rejection(), is_refused.then(paused).as_ref(), "{error:?}");
            assert_eq!(error.retry_after(), retry_after, "{error:?}");
            assert_eq!(error.is_undispatched(), undispatched, "{error:?}");
            let mapped = error.clone().map(str::len);
            assert_eq!(mapped.into_operation(), operation.map(str::len), "{error:?}");
            assert_eq!(error.into_operation(), operation);
        }
    }

    #[test]
    fn a_text_counts_in_the_singular_and_the_plural() {
        let failed = || Error::Operation("down");
        for (error, text) in [
            (
                exhausted(failed(), None, 1),
                "gave up after 1 attempt in 1s (a policy refuses further calls): down",
            ),
            (
                exhausted(failed(), None, 2),
                "gave up after 2 attempts in 1s (a policy refuses further calls): down",
            ),
            (interrupted(1, None), "the answer ended after 1 item, incomplete"),
            (interrupted(2, Some(failed())), "the answer broke off after 2 items: down"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    /// A text contains those of the layers inside, so a chain begins below the operation's error.
    #[test]
    fn the_source_of_an_error_is_that_of_the_operations_own() {
        #[derive(Debug)]
        struct Outer(ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outer")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let failed = || Error::Operation(Outer(cause()));
        for error in [
            failed(),
            timeout(true, Some(failed())),
            interrupted(0, Some(failed())),
            exhausted(failed(), None, 1),
        ] {
            let source = error.source().and_then(|source| source.downcast_ref::<ParseIntError>());
            assert_eq!(source, Some(&cause()), "{error}");
        }
        assert!(Error::<Outer>::from(paused()).source().is_none());
    }
}
