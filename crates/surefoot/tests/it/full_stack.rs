//! All policies in the recommended order at once: whatever ends a call, and wherever, everything
//! that was taken for it comes back, and every account tells the same.

use surefoot::{
    Budget, BudgetScope, Bulkhead, CircuitBreaker, Error as SurefootError, LoadShedder,
    ManualClock, Pipeline, RateLimiter, Rejection, RetryBudget, Throttler,
};

use crate::support::*;

/// Timeout → shedder → admission limiter → compartment → throttler → retry → the provider's limiter
/// → breaker → attempt timeout.
struct Stack {
    clock: ManualClock,
    shedder: LoadShedder,
    admission: RateLimiter,
    bulkhead: Bulkhead,
    throttler: Throttler,
    retries: RetryBudget,
    provider: RateLimiter,
    breaker: CircuitBreaker,
    run: Budget,
}

/// What each account says: under way at the shedder, taken of the admission limiter, running in the
/// compartment and under the throttler, queued there, tokens of the retry budget used, taken of the
/// provider's limiter, attempts of the run spent.
#[derive(Debug, PartialEq, Eq, Default)]
struct Books {
    shedder: u32,
    admitted: u64,
    compartment: u32,
    running: u32,
    queued: u32,
    retries: u64,
    provider: u64,
    attempts: u64,
    reserved: u64,
}

const RETRIES: u64 = 10;

impl Stack {
    fn new(attempts: u64, provider: u64) -> Self {
        let clock = ManualClock::new();
        Self {
            shedder: LoadShedder::builder("shedder").capacity(10).clock(&clock).build().unwrap(),
            admission: limiter(&clock, "admission", 20),
            bulkhead: Bulkhead::builder("tools")
                .compartment("model", 2, 2)
                .clock(&clock)
                .build()
                .unwrap(),
            throttler: Throttler::builder("throttler")
                .max_concurrent(1)
                .timeout(60 * SEC)
                .clock(&clock)
                .build()
                .unwrap(),
            retries: RetryBudget::builder()
                .ratio(0.0)
                .refill_every(86_400 * SEC)
                .clock(&clock)
                .build()
                .unwrap(),
            provider: limiter(&clock, "provider", provider),
            breaker: breaker(&clock).failure_threshold(100).build().unwrap(),
            run: Budget::builder("run").attempts(attempts).build().unwrap(),
            clock,
        }
    }

    fn pipeline(&self) -> Pipeline<impl BlockingPolicy + use<>> {
        let clock = &self.clock;
        Pipeline::builder("model")
            .idempotent()
            .add(timeout(clock, "total", 30 * SEC))
            .add(self.shedder.priority(3).unwrap())
            .add(self.admission.clone())
            .add(self.bulkhead.compartment("model").unwrap())
            .add(self.throttler.clone())
            .add(retry(clock).max_attempts(3).budget(self.retries.clone()).build().unwrap())
            .add(self.provider.clone())
            .add(self.breaker.clone())
            .add(timeout(clock, "attempt", 10 * SEC))
            .build()
            .unwrap()
    }

    fn call(&self, host: Host, service: &Service) -> Result<u16, Error> {
        let pipeline = self.pipeline();
        match host {
            Host::Async => run(&self.clock, self.run.scope(pipeline.call(|| service.answer()))),
            Host::Blocking => block(&self.clock, || {
                self.run.scope_blocking(|| {
                    pipeline.call_blocking(|attempt| service.answer_blocking(attempt))
                })
            }),
        }
    }

    fn books(&self) -> Books {
        let run = self.run.status();
        Books {
            shedder: self.shedder.status().in_flight,
            admitted: self.admission.current_rate(),
            compartment: self.bulkhead.get("model").unwrap().in_flight(),
            running: self.throttler.in_flight(),
            queued: self.throttler.queue_depth(),
            retries: RETRIES - self.retries.balance(),
            provider: self.provider.current_rate(),
            attempts: run.spent.attempts,
            reserved: run.reserved.attempts,
        }
    }
}

fn limiter(clock: &ManualClock, name: &'static str, units: u64) -> RateLimiter {
    let builder = RateLimiter::builder(name).max_requests(units).time_window(3_600 * SEC);
    builder.max_wait(ZERO).clock(clock).build().unwrap()
}

#[test]
fn every_attempt_is_paid_once_by_each_who_counts_attempts() {
    for host in Host::BOTH {
        let stack = Stack::new(100, 100);
        let service = Service::new(&stack.clock, [fails("a"), fails("b"), gives(7)]);
        assert_eq!(stack.call(host, &service).unwrap(), 7);
        let books = Books { admitted: 1, retries: 2, provider: 3, attempts: 3, ..Books::default() };
        assert_eq!(stack.books(), books, "{host:?}");
    }
}

#[test]
fn a_refusal_by_the_breaker_costs_nothing_anywhere() {
    for host in Host::BOTH {
        let stack = Stack::new(100, 100);
        stack.breaker.force_open();
        let service = Service::new(&stack.clock, [gives(7)]);
        let error = stack.call(host, &service).unwrap_err();
        assert!(matches!(error, SurefootError::Rejected(_)), "{host:?}: {error:?}");
        assert_eq!((service.calls(), stack.books()), (0, Books::default()), "{host:?}");
    }
}

#[test]
fn a_refusal_by_the_providers_limiter_costs_nothing_anywhere() {
    for host in Host::BOTH {
        let stack = Stack::new(100, 1);
        stack.provider.check().unwrap();
        let service = Service::new(&stack.clock, [gives(7)]);
        let error = stack.call(host, &service).unwrap_err();
        assert!(
            matches!(error, SurefootError::Rejected(Rejection::RateLimited { .. })),
            "{host:?}: {error:?}"
        );
        assert_eq!(stack.books(), Books { provider: 1, ..Books::default() }, "{host:?}");
    }
}

#[test]
fn a_budget_that_ends_in_mid_run_ends_the_retrying_and_leaves_the_rest_as_it_is() {
    for host in Host::BOTH {
        let stack = Stack::new(2, 100);
        let service = Service::new(&stack.clock, [fails("down")]);
        let error = stack.call(host, &service).unwrap_err();
        assert_eq!(error.operation(), Some(&"down"), "{host:?}");
        assert_eq!(service.calls(), 2, "{host:?}");
        let books = Books { admitted: 1, retries: 1, provider: 2, attempts: 2, ..Books::default() };
        assert_eq!(stack.books(), books, "{host:?}");
        // And the next call is refused without having taken anything.
        let error = stack.call(host, &service).unwrap_err();
        assert!(matches!(error, SurefootError::Rejected(_)), "{host:?}: {error:?}");
        assert_eq!(stack.books(), books, "{host:?}");
    }
}

#[test]
fn the_providers_limit_that_ends_in_mid_run_gives_back_the_attempt_and_keeps_the_retrys_token() {
    for host in Host::BOTH {
        let stack = Stack::new(100, 1);
        let service = Service::new(&stack.clock, [fails("down")]);
        let error = stack.call(host, &service).unwrap_err();
        assert_eq!(error.operation(), Some(&"down"), "{host:?}: {error:?}");
        let books = Books { admitted: 1, retries: 1, provider: 1, attempts: 1, ..Books::default() };
        assert_eq!((service.calls(), stack.books()), (1, books), "{host:?}");
    }
}

#[test]
fn a_call_dropped_at_any_await_leaves_nothing_behind_but_what_was_dispatched() {
    for busy in [false, true] {
        for polls in 0..12 {
            let stack = Stack::new(100, 100);
            let held = busy.then(|| stack.throttler.try_acquire().unwrap());
            let steps = [fails("a").after(SEC), fails("b").after(SEC), hangs()];
            let service = Service::new(&stack.clock, steps).yielding(1);
            let pipeline = stack.pipeline();
            let _ = drop_after(
                &stack.clock,
                polls,
                stack.run.scope(pipeline.call(|| service.answer())),
            );
            drop(held);
            let calls = service.calls() as u64;
            let books = Books {
                admitted: calls.min(1),
                retries: calls.saturating_sub(1),
                provider: calls,
                attempts: calls,
                ..Books::default()
            };
            assert_eq!(stack.books(), books, "busy {busy}, {polls} polls");
            assert_eq!(service.running(), 0);
        }
    }
}

#[test]
fn a_panic_anywhere_gives_every_permit_back() {
    for host in Host::BOTH {
        let stack = Stack::new(100, 100);
        let service = Service::new(&stack.clock, [fails("a"), panics()]);
        let call = std::panic::AssertUnwindSafe(|| stack.call(host, &service));
        assert!(std::panic::catch_unwind(call).is_err());
        let books = Books { admitted: 1, retries: 1, provider: 2, attempts: 2, ..Books::default() };
        assert_eq!(stack.books(), books, "{host:?}");
    }
}

#[test]
fn a_deadline_in_the_queue_is_a_timeout_before_dispatch_and_costs_nothing() {
    for host in Host::BOTH {
        let stack = Stack::new(100, 100);
        let held = stack.throttler.try_acquire().unwrap();
        let service = Service::new(&stack.clock, [gives(7)]);
        let error = stack.call(host, &service).unwrap_err();
        assert!(error.is_undispatched(), "{host:?}: {error:?}");
        drop(held);
        assert_eq!((service.calls(), stack.books()), (0, Books::default()), "{host:?}");
    }
}
