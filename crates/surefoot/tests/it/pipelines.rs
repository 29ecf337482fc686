//! Composition: what builds, what does not and why, and what the futures are.

use std::sync::Arc;

use surefoot::{
    BlockingOperation, BoxBlockingPipeline, BoxPipeline, Classification, Composition, ConfigError,
    ManualClock, Operation, OrderRule, Part, PartKind, Pipeline, PipelineBuilder, Retry,
    RetryBudget,
};

use crate::support::*;

fn assert_send<T: Send>(value: T) -> T {
    value
}

fn assert_static<T: Send + Sync + 'static>(value: T) -> T {
    value
}

fn recommended(clock: &ManualClock) -> Pipeline<impl BlockingPolicy + use<>> {
    Pipeline::builder("api")
        .idempotent()
        .add(timeout(clock, "total", 30 * SEC))
        .add(retry(clock).build().unwrap())
        .add(breaker(clock).build().unwrap())
        .add(timeout(clock, "attempt", 10 * SEC))
        .build()
        .unwrap()
}

#[test]
fn every_future_is_send_nested_boxed_classified_and_with_captured_references() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]); // captured by reference below
    let pipeline = assert_static(recommended(&clock));
    assert_eq!(run(&clock, assert_send(pipeline.call(|| service.answer()))), Ok(200));

    let outer = Pipeline::builder("outer").idempotent().add(recommended(&clock)).build().unwrap();
    assert_eq!(run(&clock, assert_send(outer.call(|| service.answer()))), Ok(200));

    let boxed: BoxPipeline<u16, &str> = assert_static(recommended(&clock).boxed());
    assert_eq!(run(&clock, assert_send(boxed.call(|| service.answer()))), Ok(200));

    let text = String::from("borrowed");
    let judge = |_: Result<&u16, &&'static str>| {
        assert!(!text.is_empty());
        Classification::SUCCESS
    };
    let judged = breaker(&clock).build().unwrap().classify(&judge);
    assert_eq!(run(&clock, assert_send(judged.call(|| service.answer()))), Ok(200));

    let fallen = recommended(&clock).with_fallback(|_: &surefoot::Rejection| 304);
    assert_eq!(run(&clock, assert_send(fallen.call(|| service.answer()))), Ok(200));

    let inside = |pipeline: &Pipeline<_>| {
        let call = || async { Ok::<_, &str>(pipeline.call(|| service.answer()).await) };
        run(&clock, assert_send(outer.call(call)))
    };
    assert_eq!(inside(&pipeline), Ok(Ok(200)));
}

#[test]
fn policies_are_send_sync_and_static() {
    let clock = ManualClock::new();
    assert_static(retry(&clock).build().unwrap());
    assert_static(breaker(&clock).build().unwrap());
    assert_static(timeout(&clock, "limit", SEC));
    assert_static(RetryBudget::default());
    assert_static(surefoot::EventStream::new(1));
    assert_static(surefoot::Registry::builder("host").build::<String>().unwrap());
    drop(assert_static(breaker(&clock).build().unwrap().admit().unwrap()));
}

/// A call of a pipeline of owned things can be spawned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_can_be_spawned() {
    let clock = ManualClock::new();
    let pipeline = Arc::new(recommended(&clock));
    let calls: Vec<_> = (0..50u32)
        .map(|number| {
            let pipeline = pipeline.clone();
            tokio::spawn(async move { pipeline.call(|| async { Ok::<_, ()>(number) }).await })
        })
        .collect();
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap(), Ok(number));
    }
}

#[test]
fn the_first_policy_added_is_outermost() {
    let parts = recommended(&ManualClock::new()).order();
    let shown: Vec<_> = parts.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["timeout `total`", "retry `retry`", "circuit breaker `api`", "timeout `attempt`"]
    );
    assert_eq!(parts[0].limit, Some(30 * SEC));
    assert_eq!(parts[2], Part::new(PartKind::CircuitBreaker, "api".into()));
}

#[test]
fn the_order_shows_a_pipeline_inside_and_a_retrys_own_timeout() {
    let clock = ManualClock::new();
    let outer = Pipeline::builder("outer")
        .idempotent()
        .add(timeout(&clock, "outermost", 60 * SEC))
        .add(
            Pipeline::builder("inner")
                .idempotent()
                .add(retry(&clock).attempt_timeout(SEC).build().unwrap())
                .build()
                .unwrap(),
        )
        .build()
        .unwrap();
    let shown: Vec<_> = outer.order().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["timeout `outermost`", "retry `retry`", "timeout `retry`"]);
    assert_eq!(outer.name(), &"outer");
}

#[test]
fn a_pipeline_of_nothing_passes_calls_as_they_are() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200), fails("down")]);
        let pipeline = Pipeline::builder("plain").build().unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(call!(host, clock, pipeline, service), Err(Error::Operation("down")));
        assert_eq!(pipeline.order(), []);
    }
}

#[test]
fn a_boxed_pipeline_behaves_like_the_one_it_was() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), gives(200)]);
    let boxed: BoxPipeline<u16, &'static str> = recommended(&clock).boxed();
    assert_eq!(boxed.name(), &"api");
    let handle = boxed.clone();
    assert_eq!(run(&clock, handle.call(|| service.answer())), Ok(200));
    assert_eq!(service.started(), [ZERO, SEC]);

    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), gives(200)]);
    let boxed: BoxBlockingPipeline<u16, &'static str> = recommended(&clock).boxed_blocking();
    assert_eq!(boxed.name(), &"api");
    let handle = boxed.clone();
    let call = || handle.call_blocking(|attempt| service.answer_blocking(attempt));
    assert_eq!(block(&clock, call), Ok(200));
    assert_eq!(service.started(), [ZERO, SEC]);
}

// ---- orders that defeat a policy ---------------------------------------------------------------

fn refused<P: Policy, C>(builder: PipelineBuilder<P, C>) -> String {
    match builder.build() {
        Ok(pipeline) => panic!("built: {:?}", pipeline.order()),
        Err(error) => error.to_string(),
    }
}

/// policies.md §5 trap 9.
#[test]
fn a_retry_inside_a_retry_does_not_build() {
    let clock = ManualClock::new();
    let builder = || {
        Pipeline::builder("p")
            .idempotent()
            .add(retry(&clock).name("outer").build().unwrap())
            .add(retry(&clock).name("inner").build().unwrap())
    };
    assert_eq!(
        refused(builder()),
        "pipeline: `order` = retry `outer` → retry `inner` defeats a policy: retry `inner` is \
         inside retry `outer`: their attempts multiply (if it is meant: \
         `.allow(OrderRule::RetryInsideRetry)`)"
    );
    assert!(builder().allow(OrderRule::RetryInsideRetry).build().is_ok());
}

/// policies.md §5 trap 2.
#[test]
fn a_breaker_outside_a_retry_does_not_build() {
    let clock = ManualClock::new();
    let builder = || {
        Pipeline::builder("p")
            .idempotent()
            .add(breaker(&clock).build().unwrap())
            .add(retry(&clock).attempt_timeout(SEC).build().unwrap())
    };
    assert_eq!(
        refused(builder()),
        "pipeline: `order` = circuit breaker `api` → retry `retry` → timeout `retry` defeats a \
         policy: circuit breaker `api` is outside retry `retry`: it sees one failure for several \
         attempts and opens late (if it is meant: `.allow(OrderRule::BreakerOutsideRetry)`)"
    );
    assert!(builder().allow(OrderRule::BreakerOutsideRetry).build().is_ok());
}

/// policies.md §5 trap 11.
#[test]
fn a_breaker_without_a_timeout_inside_does_not_build() {
    let clock = ManualClock::new();
    let builder = || {
        Pipeline::builder("p")
            .add(timeout(&clock, "total", SEC))
            .add(breaker(&clock).build().unwrap())
    };
    let text = refused(builder());
    assert!(
        text.starts_with(
            "pipeline: `order` = timeout `total` → circuit breaker `api` defeats a policy: \
             circuit breaker `api` has no timeout inside: "
        ),
        "{text}"
    );
    assert!(text.ends_with("(if it is meant: `.allow(OrderRule::NoTimeoutInsideBreaker)`)"));
    assert!(builder().allow(OrderRule::NoTimeoutInsideBreaker).build().is_ok());
}

/// policies.md §5 trap 11: each breaker needs one, and a timeout between two breakers is inside
/// the outer one only.
#[test]
fn a_timeout_between_two_breakers_does_not_help_the_inner_one() {
    let clock = ManualClock::new();
    let named = |name: &'static str| surefoot::CircuitBreaker::builder(name).clock(&clock);
    let builder = || {
        Pipeline::builder("p")
            .add(named("outer").build().unwrap())
            .add(timeout(&clock, "between", 10 * SEC))
            .add(named("inner").build().unwrap())
    };
    let text = refused(builder());
    assert!(text.contains("circuit breaker `inner` has no timeout inside"), "{text}");
    assert!(builder().add(timeout(&clock, "attempt", SEC)).build().is_ok());
}

/// policies.md §5 trap 3.
#[test]
fn a_timeout_that_cannot_fire_does_not_build() {
    let clock = ManualClock::new();
    let builder = |inner| {
        Pipeline::builder("p")
            .add(timeout(&clock, "total", 10 * SEC))
            .add(timeout(&clock, "attempt", inner))
    };
    for inner in [10 * SEC, 11 * SEC] {
        assert_eq!(
            refused(builder(inner)),
            format!(
                "pipeline: `order` = timeout `total` → timeout `attempt` defeats a policy: timeout \
                 `attempt` ({inner:?}) is not shorter than timeout `total` (10s) around it and can \
                 never fire (if it is meant: `.allow(OrderRule::TimeoutNeverFires)`)"
            )
        );
        assert!(builder(inner).allow(OrderRule::TimeoutNeverFires).build().is_ok());
    }
    assert!(builder(9999 * MS).build().is_ok());
}

#[test]
fn to_allow_one_order_allows_no_other() {
    let clock = ManualClock::new();
    let text = refused(
        Pipeline::builder("p")
            .allow(OrderRule::TimeoutNeverFires)
            .allow(OrderRule::RetryInsideRetry)
            .add(breaker(&clock).build().unwrap()),
    );
    assert!(text.contains("has no timeout inside"), "{text}");
}

/// A retry's own attempt timeout takes part in the checks.
#[test]
fn an_attempt_timeout_as_long_as_the_total_does_not_build() {
    let clock = ManualClock::new();
    let text = refused(
        Pipeline::builder("p")
            .idempotent()
            .add(timeout(&clock, "total", 10 * SEC))
            .add(retry(&clock).attempt_timeout(10 * SEC).build().unwrap()),
    );
    assert!(text.contains("can never fire"), "{text}");
}

/// Order is checked through a pipeline that is added as a policy.
#[test]
fn a_pipeline_inside_does_not_hide_its_parts() {
    let clock = ManualClock::new();
    let inner = Pipeline::builder("inner")
        .idempotent()
        .add(retry(&clock).name("inner").build().unwrap())
        .build()
        .unwrap();
    let outer = Pipeline::builder("outer")
        .idempotent()
        .add(retry(&clock).name("outer").build().unwrap())
        .add(inner);
    assert!(refused(outer).contains("retry `inner` is inside retry `outer`"));
}

/// policies.md §4 rule 81.
#[test]
fn a_retry_demands_that_the_operation_is_declared_idempotent() {
    let clock = ManualClock::new();
    let builder = || Pipeline::builder("p").add(retry(&clock).name("again").build().unwrap());
    let error = builder().build().unwrap_err();
    assert_eq!((error.policy(), error.field()), ("pipeline", "idempotent"));
    assert_eq!(
        error.to_string(),
        "pipeline: `idempotent` must be declared: retry `again` repeats an operation that may \
         have taken effect although it failed; call `.idempotent()` if repeating it does no harm"
    );
    assert!(builder().idempotent().build().is_ok());
}

/// policies.md §4 rule 81: a single attempt repeats nothing.
#[test]
fn a_retry_of_one_attempt_still_asks_or_repeats_nothing() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let once = retry(&clock).max_attempts(1).build().unwrap();
    let pipeline = Pipeline::builder("p").idempotent().add(once).build().unwrap();
    assert!(run(&clock, pipeline.call(|| service.answer())).is_err());
    assert_eq!(service.calls(), 1);
}

#[test]
fn a_pipeline_has_a_name() {
    for name in ["", "  "] {
        let error: ConfigError = Pipeline::builder(name).build().unwrap_err();
        assert_eq!((error.policy(), error.field()), ("pipeline", "name"));
        assert_eq!(error.rule(), "must not be empty");
    }
}

/// What a policy wants done when it is taken into a pipeline is done, once, for each of them.
#[test]
fn a_users_policy_is_composed_and_its_parts_are_listed() {
    #[derive(Default)]
    struct Mine {
        composed: bool,
    }
    impl Policy for Mine {
        async fn run<O: Operation>(
            &self,
            operation: &O,
        ) -> Result<O::Value, surefoot::Error<O::Error>> {
            operation.attempt().await
        }
        fn parts(&self, parts: &mut Vec<Part>) {
            let name = if self.composed { "composed" } else { "bare" };
            parts.push(Part::new(PartKind::Other, name.into()));
        }
        fn composed(self, _: &mut Composition) -> Self {
            assert!(!self.composed, "twice");
            Self { composed: true }
        }
    }

    impl BlockingPolicy for Mine {
        fn run_blocking<O: BlockingOperation>(
            &self,
            operation: &O,
        ) -> Result<O::Value, surefoot::Error<O::Error>> {
            operation.attempt_blocking()
        }
    }
    let inner = Pipeline::builder("inner").add(Mine::default()).build().unwrap();
    let outer = Pipeline::builder("outer").add(inner).build().unwrap();
    assert_eq!(outer.order(), [Part::new(PartKind::Other, "composed".into())]);
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        assert_eq!(call!(host, clock, outer, service), Ok(200));
    }
}

/// Policies can be shared between pipelines: clones are handles.
#[test]
fn one_breaker_serves_two_pipelines() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let shared = breaker(&clock).failure_threshold(1).build().unwrap();
        let pipeline = || {
            Pipeline::builder("p")
                .add(shared.clone())
                .add(timeout(&clock, "attempt", SEC))
                .build()
                .unwrap()
        };
        let (one, other) = (pipeline(), pipeline());
        let service = Service::new(&clock, [fails("down")]);
        assert!(call!(host, clock, one, service).is_err());
        assert!(matches!(call!(host, clock, other, service), Err(Error::Rejected(_))), "{host:?}");
    }
}

/// The documentation's first example builds with nothing but defaults.
#[test]
fn the_defaults_compose() {
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(surefoot::Timeout::new(30 * SEC).unwrap())
        .add(Retry::builder().build().unwrap())
        .add(surefoot::CircuitBreaker::builder("model").build().unwrap())
        .add(surefoot::Timeout::new(10 * SEC).unwrap().named("attempt"))
        .build()
        .unwrap();
    assert_eq!(pipeline.order().len(), 4);
}
