//! Which orders of policies defeat one of them.

use std::fmt;
use std::time::Duration;

use surefoot_core::{ConfigError, Name};

/// One policy of a pipeline, as its order checks see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// What it is called.
    pub name: Name,
    /// A timeout's limit.
    pub limit: Option<Duration>,
}

/// Kinds of policy that the order of a pipeline matters to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartKind {
    /// A [`Timeout`](crate::Timeout).
    Timeout,
    /// A [`Retry`](crate::Retry).
    Retry,
    /// A [`CircuitBreaker`](crate::CircuitBreaker).
    CircuitBreaker,
    /// A [`Hedge`](crate::Hedge).
    Hedge,
    /// A [`RateLimiter`](crate::RateLimiter), or one key of a keyed one.
    RateLimiter,
    /// A throttler.
    Throttler,
    /// A compartment of a bulkhead.
    Bulkhead,
    /// A load shedder.
    LoadShedder,
    /// A client throttle.
    ClientThrottle,
    /// A [`Budget`](crate::Budget) that limits attempts.
    Budget,
    /// Anything else.
    Other,
}

impl Part {
    /// A part without a time limit.
    pub fn new(kind: PartKind, name: Name) -> Self {
        Self { kind, name, limit: None }
    }

    /// A timeout.
    pub fn timeout(name: Name, limit: Duration) -> Self {
        Self { kind: PartKind::Timeout, name, limit: Some(limit) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PartKind::Timeout => "timeout",
            PartKind::Retry => "retry",
            PartKind::CircuitBreaker => "circuit breaker",
            PartKind::Hedge => "hedge",
            PartKind::RateLimiter => "rate limiter",
            PartKind::Throttler => "throttler",
            PartKind::Bulkhead => "bulkhead",
            PartKind::LoadShedder => "load shedder",
            PartKind::ClientThrottle => "client throttle",
            PartKind::Budget => "budget",
            PartKind::Other => "policy",
        };
        write!(f, "{kind} `{}`", self.name)
    }
}

/// An order that defeats a policy; each can be [allowed](crate::PipelineBuilder::allow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderRule {
    /// A retry inside a retry: their attempts multiply. Not so within a budget that limits them.
    RetryInsideRetry,
    /// A retry, or another hedge, inside a hedge: each racing attempt would make attempts of its own.
    /// Hedge inside the retry.
    RetryInsideHedge,
    /// A circuit breaker outside a retry: it sees one failure where there were several, and opens
    /// late.
    BreakerOutsideRetry,
    /// A circuit breaker outside a limiter, throttler, bulkhead, load shedder or client throttle: waiting and refusals
    /// of our own say nothing about the service, and a trial call may be spent on them.
    BreakerOutsideLimiter,
    /// A load shedder inside a throttler or bulkhead: calls wait in the queue, to be shed when their
    /// turn has come.
    ShedderInsideQueue,
    /// No timeout inside a circuit breaker: a callee that hangs is only seen when callers give up,
    /// which does not count. Allow it where the operation has a time limit of its own.
    NoTimeoutInsideBreaker,
    /// A timeout that is not shorter than one outside it: it never fires.
    TimeoutNeverFires,
}

impl OrderRule {
    const ALL: [Self; 7] = [
        Self::RetryInsideRetry,
        Self::RetryInsideHedge,
        Self::BreakerOutsideRetry,
        Self::BreakerOutsideLimiter,
        Self::ShedderInsideQueue,
        Self::NoTimeoutInsideBreaker,
        Self::TimeoutNeverFires,
    ];

    /// The pair of parts that breaks this rule, and why that is bad.
    fn broken_by(self, parts: &[Part]) -> Option<String> {
        use PartKind::{
            Budget, Bulkhead, CircuitBreaker, ClientThrottle, Hedge, LoadShedder, RateLimiter,
            Retry, Throttler, Timeout,
        };
        let pair = |outer: PartKind, inner: PartKind| {
            let at = parts.iter().position(|part| part.kind == outer)?;
            let inside = parts[at + 1..].iter().find(|part| part.kind == inner)?;
            Some((&parts[at], inside))
        };
        match self {
            Self::RetryInsideRetry => {
                let first = |kind| parts.iter().position(|part| part.kind == kind);
                let counted = first(Budget).is_some_and(|budget| Some(budget) < first(Retry));
                pair(Retry, Retry).filter(|_| !counted).map(|(outer, inner)| {
                    format!("{inner} is inside {outer}: their attempts multiply")
                })
            }
            Self::RetryInsideHedge => {
                pair(Hedge, Retry).or_else(|| pair(Hedge, Hedge)).map(|(outer, inner)| {
                    format!("{inner} is inside {outer}: each attempt that races makes its own")
                })
            }
            Self::BreakerOutsideRetry => pair(CircuitBreaker, Retry).map(|(breaker, retry)| {
                format!(
                    "{breaker} is outside {retry}: it sees one failure for several attempts and \
                     opens late"
                )
            }),
            Self::BreakerOutsideLimiter => [
                RateLimiter,
                Throttler,
                Bulkhead,
                LoadShedder,
                ClientThrottle,
            ]
            .into_iter()
            .find_map(|limiter| pair(CircuitBreaker, limiter))
            .map(|(breaker, limiter)| {
                format!(
                    "{breaker} is outside {limiter}: a trial call may be spent waiting or be \
                         refused there, which says nothing about the service"
                )
            }),
            Self::ShedderInsideQueue => pair(Throttler, LoadShedder)
                .or_else(|| pair(Bulkhead, LoadShedder))
                .map(|(queue, shedder)| {
                    format!(
                        "{shedder} is inside {queue}: calls wait in its queue, to be shed when \
                         their turn has come"
                    )
                }),
            Self::NoTimeoutInsideBreaker => {
                let at = parts.iter().rposition(|part| part.kind == CircuitBreaker)?;
                let limited = parts[at + 1..].iter().any(|part| part.kind == Timeout);
                (!limited).then(|| {
                    format!(
                        "{} has no timeout inside: a call that hangs would never count against \
                         the service",
                        parts[at]
                    )
                })
            }
            Self::TimeoutNeverFires => parts.iter().enumerate().find_map(|(at, outer)| {
                let inner = parts[at + 1..].iter().find(|inner| {
                    inner.limit >= outer.limit && inner.limit.is_some() && outer.limit.is_some()
                })?;
                let [long, short] = [inner, outer].map(|part| part.limit.unwrap_or_default());
                Some(format!(
                    "{inner} ({long:?}) is not shorter than {outer} ({short:?}) around it and can \
                     never fire"
                ))
            }),
        }
    }
}

pub(super) fn check(
    parts: &[Part],
    idempotent: bool,
    allowed: &[OrderRule],
) -> Result<(), ConfigError> {
    let repeats = |part: &&Part| matches!(part.kind, PartKind::Retry | PartKind::Hedge);
    if let Some(policy) = parts.iter().find(repeats).filter(|_| !idempotent) {
        let rule = format!(
            "must be declared: {policy} repeats an operation that may have taken effect although \
             it failed; call `.idempotent()` if repeating it does no harm"
        );
        return Err(ConfigError::new("pipeline", "idempotent", "", rule));
    }
    if let Some(nameless) = parts.iter().find(|part| part.name.trim().is_empty()) {
        let rule = "must not be empty: errors would not say which one it was";
        return Err(ConfigError::new("pipeline", "name", nameless, rule));
    }
    for rule in OrderRule::ALL {
        if allowed.contains(&rule) {
            continue;
        }
        if let Some(why) = rule.broken_by(parts) {
            let shown: Vec<_> = parts.iter().map(ToString::to_string).collect();
            let rule =
                format!("defeats a policy: {why} (if it is meant: `.allow(OrderRule::{rule:?})`)");
            return Err(ConfigError::new("pipeline", "order", shown.join(" → "), rule));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: PartKind) -> Part {
        Part::new(kind, Name::from("p"))
    }

    fn timeout(seconds: u64) -> Part {
        Part::timeout(Name::from("t"), Duration::from_secs(seconds))
    }

    fn refused(parts: &[Part]) -> Option<OrderRule> {
        OrderRule::ALL.into_iter().find(|rule| rule.broken_by(parts).is_some())
    }

    #[test]
    fn the_recommended_order_is_fine() {
        use PartKind::{Bulkhead, CircuitBreaker, LoadShedder, RateLimiter, Retry, Throttler};
        let parts = [
            timeout(30),
            part(LoadShedder),
            part(RateLimiter),
            part(Bulkhead),
            part(Throttler),
            part(Retry),
            part(RateLimiter),
            part(CircuitBreaker),
            timeout(10),
        ];
        assert_eq!(refused(&parts), None);
    }

    #[test]
    fn each_order_that_defeats_a_policy_is_refused_for_its_own_reason() {
        use PartKind::{
            Bulkhead, CircuitBreaker, ClientThrottle, Hedge, LoadShedder, RateLimiter, Retry,
            Throttler,
        };
        let outside = |limiter| vec![part(CircuitBreaker), part(limiter), timeout(1)];
        let cases = [
            (vec![part(Retry), part(Retry)], OrderRule::RetryInsideRetry),
            (vec![part(Hedge), part(Retry)], OrderRule::RetryInsideHedge),
            (vec![part(Hedge), part(Hedge)], OrderRule::RetryInsideHedge),
            (vec![part(CircuitBreaker), part(Retry), timeout(1)], OrderRule::BreakerOutsideRetry),
            (outside(RateLimiter), OrderRule::BreakerOutsideLimiter),
            (outside(Throttler), OrderRule::BreakerOutsideLimiter),
            (outside(Bulkhead), OrderRule::BreakerOutsideLimiter),
            (outside(LoadShedder), OrderRule::BreakerOutsideLimiter),
            (outside(ClientThrottle), OrderRule::BreakerOutsideLimiter),
            (vec![part(Throttler), part(LoadShedder)], OrderRule::ShedderInsideQueue),
            (vec![part(Bulkhead), part(LoadShedder)], OrderRule::ShedderInsideQueue),
            (vec![timeout(9), part(CircuitBreaker)], OrderRule::NoTimeoutInsideBreaker),
            (vec![timeout(1), part(Retry), timeout(1)], OrderRule::TimeoutNeverFires),
        ];
        for (parts, rule) in cases {
            assert_eq!(refused(&parts), Some(rule));
            let error = check(&parts, true, &[]).unwrap_err();
            assert_eq!(error.field(), "order");
            assert!(check(&parts, true, &[rule]).is_ok());
        }
    }

    #[test]
    fn what_repeats_asks_for_idempotency() {
        for kind in [PartKind::Retry, PartKind::Hedge] {
            let parts = [part(kind)];
            assert_eq!(check(&parts, false, &[]).unwrap_err().field(), "idempotent");
            assert!(check(&parts, true, &[]).is_ok());
        }
    }
}
