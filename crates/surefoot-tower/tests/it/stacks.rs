//! Our layers above one another, in every order.

use surefoot::fallback::FallbackError;
use surefoot::{Fallback, ManualClock};
use surefoot_tower::{
    BoxError, CircuitBreakerLayer, Error, FallbackLayer, HedgeLayer, RetryLayer, ServiceError,
    TimeoutLayer,
};
use tower::util::BoxCloneService;
use tower::{Layer as _, Service, ServiceBuilder};

use crate::support::*;

/// Every error of the service itself that is inside. Fails if one of ours is inside a [`ServiceError`].
fn service_errors(error: &Error) -> Vec<&'static str> {
    let theirs = error.operation().expect("the service's own error");
    if let Some(failure) = theirs.downcast_ref::<Failure>() {
        return vec![failure.0];
    }
    let FallbackError { last, earlier, .. } =
        theirs.downcast_ref().unwrap_or_else(|| panic!("one of ours, nested: {theirs:?}"));
    let earlier = earlier.iter().flat_map(|(_, error)| service_errors(error));
    earlier.chain(service_errors(last)).collect()
}

/// The policies of one test: those that come into play twice count on.
struct Layers {
    breaker: CircuitBreakerLayer,
    retry: RetryLayer,
    timeout: TimeoutLayer,
    hedge: HedgeLayer,
    fallback: FallbackLayer<Api>,
}

impl Layers {
    fn new(clock: &ManualClock, second: &Api) -> Self {
        let fallback = Fallback::new("second").unwrap();
        Self {
            breaker: CircuitBreakerLayer::new(
                breaker(clock).failure_threshold(1000).build().unwrap(),
            ),
            retry: RetryLayer::idempotent(retry(clock).max_attempts(2).build().unwrap()),
            timeout: TimeoutLayer::new(timeout(clock, "total", 3600 * SEC)),
            hedge: HedgeLayer::idempotent(hedge(clock).build().unwrap()),
            fallback: FallbackLayer::new(fallback, second.clone()),
        }
    }
}

/// Every order of two of our layers, as the types that a user of `ServiceBuilder` has.
macro_rules! in_pairs {
    ($clock:ident, $layers:ident, $api:ident: $($outer:ident)+) => {
        in_pairs!(@ $clock, $layers, $api, [$($outer)+] [$($outer)+])
    };
    (@ $clock:ident, $layers:ident, $api:ident, [$($outer:ident)+] $all:tt) => {
        $(in_pairs!(% $clock, $layers, $api, $outer $all);)+
    };
    (% $clock:ident, $layers:ident, $api:ident, $outer:ident [$($inner:ident)+]) => {
        $({
            let mut service = ServiceBuilder::new()
                .layer(&$layers.$outer)
                .layer(&$layers.$inner)
                .service($api.clone());
            let error: Error = call(&$clock, &mut service).unwrap_err();
            let found = service_errors(&error);
            let name = concat!(stringify!($outer), " over ", stringify!($inner));
            assert!(found.iter().any(|error| *error == "down"), "{name}: {error:?}");
        })+
    };
}

#[test]
fn any_two_layers_give_one_error_with_the_services_own_inside() {
    let clock = ManualClock::new();
    let (api, second) = (Api::new(&clock, [fails("down")]), Api::new(&clock, [fails("too")]));
    let layers = Layers::new(&clock, &second);
    in_pairs!(clock, layers, api: breaker retry timeout hedge fallback);
    assert_eq!((api.running(), second.running(), clock.waiting()), (0, 0, 0));
}

/// What is shared by all layers of a stack whose types differ.
type Stacked<E> = BoxCloneService<u32, Reply, E>;

/// The orders of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let inserted = |order: &Vec<usize>, place| {
        let mut order = order.clone();
        order.insert(place, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(|place| inserted(order, place))).collect()
}

/// One more of our layers around `inner`.
fn add<E>(layers: &Layers, which: usize, inner: Stacked<E>) -> Stacked<Error>
where
    E: Into<BoxError> + 'static,
{
    match which {
        0 => BoxCloneService::new(layers.breaker.layer(inner)),
        1 => BoxCloneService::new(layers.retry.layer(inner)),
        2 => BoxCloneService::new(layers.timeout.layer(inner)),
        3 => BoxCloneService::new(layers.hedge.layer(inner)),
        _ => BoxCloneService::new(layers.fallback.layer(inner)),
    }
}

/// What foreign layers do to errors.
fn boxing(inner: Stacked<Error>) -> Stacked<BoxError> {
    ServiceBuilder::new().boxed_clone().map_err(BoxError::from).service(inner)
}

#[test]
fn all_five_layers_in_every_order_fail_with_one_error_and_leave_nothing() {
    for order in orders(5) {
        for boxed in [false, true] {
            let clock = ManualClock::new();
            let (api, second) =
                (Api::new(&clock, [fails("down")]), Api::new(&clock, [fails("too")]));
            let layers = Layers::new(&clock, &second);
            let innermost: Stacked<Failure> = BoxCloneService::new(api.clone());
            let mut stack = add(&layers, order[0], innermost);
            for which in &order[1..] {
                stack = if boxed {
                    add(&layers, *which, boxing(stack))
                } else {
                    add(&layers, *which, stack)
                };
            }
            let error = call(&clock, &mut stack).unwrap_err();
            let found = service_errors(&error);
            assert!(found.contains(&"down") && found.contains(&"too"), "{order:?}: {error:?}");
            assert_eq!((api.running(), second.running(), clock.waiting()), (0, 0, 0), "{order:?}");
        }
    }
}

#[test]
fn all_five_layers_in_every_order_let_an_answer_through() {
    for order in orders(5) {
        let clock = ManualClock::new();
        let (api, second) = (Api::new(&clock, [gives(200)]), Api::new(&clock, [gives(2)]));
        let layers = Layers::new(&clock, &second);
        let mut stack = add(&layers, order[0], BoxCloneService::new(api.clone()));
        for which in &order[1..] {
            stack = add(&layers, *which, stack);
        }
        assert_eq!(value(call(&clock, &mut stack)), 200, "{order:?}");
        assert_eq!((api.calls().len(), second.calls().len()), (1, 0), "{order:?}");
    }
}

#[test]
fn a_stack_is_sent_between_threads_and_cloned() {
    fn is_fit<
        S: Service<u32, Response = Reply, Error = Error, Future: Send> + Clone + Send + Sync,
    >(
        _: &S,
    ) {
    }
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let layers = Layers::new(&clock, &api);
    let service = ServiceBuilder::new()
        .layer(&layers.fallback)
        .layer(&layers.timeout)
        .layer(&layers.retry)
        .layer(&layers.hedge)
        .layer(&layers.breaker)
        .service(api);
    is_fit(&service);
    let _: fn(&ServiceError) -> &(dyn std::error::Error + Send + Sync) = ServiceError::get_ref;
}
