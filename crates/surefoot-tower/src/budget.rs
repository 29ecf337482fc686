//! A budget around a service.

use std::task::{Context, Poll};

use surefoot::{Budget, BudgetScope};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called};
use crate::{BoxError, Error};

/// Has calls draw on a budget: see [`surefoot::budget`].
///
/// One attempt is taken in `call`, before anything below begins, and given back if nothing was
/// dispatched. Every further call below takes another: retries, hedges, fallbacks, and calls that the service
/// itself makes through policies of [`surefoot`].
///
/// ```
/// use surefoot::Budget;
/// use surefoot::prelude::*;
/// use surefoot_tower::{BudgetLayer, RetryLayer};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let run = Budget::builder("run").attempts(2).build()?;
/// let client = service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
/// let mut api = ServiceBuilder::new()
///     .layer(BudgetLayer::new(run.clone()))
///     .layer(RetryLayer::idempotent(Retry::builder().build()?))
///     .service(client);
/// api.ready().await?.call(1).await?;
/// assert_eq!(run.remaining().attempts, Some(1));
///
/// // A budget that comes with the request; here everybody shares one.
/// let of_request = BudgetLayer::by(move |_: &u32| Some(run.clone()));
/// # let mut api = ServiceBuilder::new().layer(of_request).service(client);
/// # api.ready().await?.call(1).await?;
/// # assert!(api.ready().await?.call(1).await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// **Cancellation.** A response future that is dropped gives its attempt back, unless something was
/// dispatched: then it is spent, whatever became of it.
#[derive(Clone, Debug)]
pub struct BudgetLayer<B = Budget> {
    budget: B,
}

impl BudgetLayer {
    /// The same budget for all calls.
    pub fn new(budget: Budget) -> Self {
        Self { budget }
    }
}

impl<F> BudgetLayer<ByRequest<F>> {
    /// The budget that `budget`, a `Fn(&Request) -> Option<Budget>`, finds for a request: in its
    /// extensions, say. Without one the call draws on whatever is in scope already.
    pub fn by<Q>(budget: F) -> Self
    where
        F: Fn(&Q) -> Option<Budget>,
    {
        Self { budget: ByRequest(budget) }
    }
}

/// Who pays for a request.
pub trait PaidBy<Q> {
    /// The budget that is to be put in scope, if one is.
    fn budget(&self, request: &Q) -> Option<Budget>;
}

impl<Q> PaidBy<Q> for Budget {
    fn budget(&self, _: &Q) -> Option<Budget> {
        Some(self.clone())
    }
}

/// A budget for each request; made by [`BudgetLayer::by`].
#[derive(Clone, Copy, Debug)]
pub struct ByRequest<F>(F);

impl<Q, F: Fn(&Q) -> Option<Budget>> PaidBy<Q> for ByRequest<F> {
    fn budget(&self, request: &Q) -> Option<Budget> {
        self.0(request)
    }
}

impl<S, B: Clone> Layer<S> for BudgetLayer<B> {
    type Service = BudgetService<S, B>;

    fn layer(&self, inner: S) -> Self::Service {
        BudgetService { inner, budget: self.budget.clone() }
    }
}

/// A service whose calls draw on a budget; made by [`BudgetLayer`].
#[derive(Clone, Debug)]
pub struct BudgetService<S, B = Budget> {
    inner: S,
    budget: B,
}

impl<S, B> BudgetService<S, B> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Q, B> Service<Q> for BudgetService<S, B>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    B: PaidBy<Q>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Called<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let Self { inner, budget } = self;
        match budget.budget(&request) {
            // The call keeps the scope it begins in.
            Some(budget) => budget.scope_blocking(|| attempt::call(inner, request)),
            None => attempt::call(inner, request),
        }
    }
}
