//! A load shedder around a service.

use std::fmt;
use std::hash::Hash;
use std::task::{Context, Poll};

use surefoot::host::Counted;
use surefoot::load_shedder::Prioritized;
use surefoot::{LoadShedder, Rejection};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, Decided};
use crate::{BoxError, Error};

/// How important a request is.
pub trait Prioritize<Q> {
    /// The shedder, with what it has to know about `request`.
    ///
    /// # Errors
    /// [`Rejection::UnknownPriority`] if the shedder has no such priority.
    fn prioritize(&self, request: &Q) -> Result<Prioritized, Rejection>;
}

/// Every request has the same priority.
impl<Q> Prioritize<Q> for Prioritized {
    fn prioritize(&self, _: &Q) -> Result<Prioritized, Rejection> {
        Ok(self.clone())
    }
}

/// A priority for each request, and a user.
#[derive(Clone)]
pub struct ByPriority<F, U = Nobody> {
    shedder: LoadShedder,
    priority: F,
    user: U,
}

/// No user: calls of one priority are chosen at random.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

/// On whose behalf a request is: a function, or [`Nobody`].
pub trait OnBehalfOf<Q> {
    /// Tells the shedder.
    fn tell(&self, request: &Q, shedder: Prioritized) -> Prioritized;
}

impl<Q> OnBehalfOf<Q> for Nobody {
    fn tell(&self, _: &Q, shedder: Prioritized) -> Prioritized {
        shedder
    }
}

impl<Q, T: Hash, F: Fn(&Q) -> T> OnBehalfOf<Q> for F {
    fn tell(&self, request: &Q, shedder: Prioritized) -> Prioritized {
        shedder.user(self(request))
    }
}

impl<Q, F: Fn(&Q) -> u32, U: OnBehalfOf<Q>> Prioritize<Q> for ByPriority<F, U> {
    fn prioritize(&self, request: &Q) -> Result<Prioritized, Rejection> {
        let priority = (self.priority)(request);
        match self.shedder.priority(priority) {
            Ok(shedder) => Ok(self.user.tell(request, shedder)),
            Err(_) => Err(Rejection::UnknownPriority {
                policy: self.shedder.name().clone(),
                priority,
                levels: self.shedder.priority_levels(),
            }),
        }
    }
}

impl<F, U> fmt::Debug for ByPriority<F, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByPriority").field("shedder", &self.shedder).finish_non_exhaustive()
    }
}

/// Refuses the least important calls of a service under load: see [`surefoot::load_shedder`].
///
/// ```
/// use surefoot::prelude::*;
/// use surefoot_tower::LoadShedderLayer;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let handler = service_fn(|path: &'static str| async move { Ok::<_, std::io::Error>(path.len()) });
/// let shedder = LoadShedder::builder("api").capacity(100).build()?;
/// let mut api = ServiceBuilder::new()
///     .layer(LoadShedderLayer::by_priority(shedder, |path: &&str| match *path {
///         "/export" => 1,
///         _ => 3,
///     }))
///     .service(handler);
/// assert_eq!(api.ready().await?.call("/export").await?, 7);
/// # Ok(())
/// # }
/// ```
///
/// Decides in `call`. A call counts as under way until its response is there; a body that is still being
/// streamed does not count.
///
/// **Cancellation.** A response future that is dropped gives its place back.
#[derive(Clone, Debug)]
pub struct LoadShedderLayer<P = Prioritized> {
    priority: P,
}

impl LoadShedderLayer {
    /// Around every service it is given, with one priority for all requests.
    pub fn new(shedder: Prioritized) -> Self {
        Self { priority: shedder }
    }

    /// With a priority for each request, which `priority` tells. One that the shedder does not have
    /// is refused with [`Rejection::UnknownPriority`].
    pub fn by_priority<F>(shedder: LoadShedder, priority: F) -> LoadShedderLayer<ByPriority<F>> {
        LoadShedderLayer { priority: ByPriority { shedder, priority, user: Nobody } }
    }
}

impl<F> LoadShedderLayer<ByPriority<F>> {
    /// And with a user for each request: see [`Prioritized::user`].
    pub fn by_user<U>(self, user: U) -> LoadShedderLayer<ByPriority<F, U>> {
        let ByPriority { shedder, priority, .. } = self.priority;
        LoadShedderLayer { priority: ByPriority { shedder, priority, user } }
    }
}

impl<S, P: Clone> Layer<S> for LoadShedderLayer<P> {
    type Service = LoadShedderService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadShedderService { inner, priority: self.priority.clone() }
    }
}

/// A service behind a load shedder; made by [`LoadShedderLayer`].
#[derive(Clone, Debug)]
pub struct LoadShedderService<S, P = Prioritized> {
    inner: S,
    priority: P,
}

impl<S, P> LoadShedderService<S, P> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

/// A call through a [`LoadShedderService`].
pub type LoadShedderFuture<F> = Decided<Counted<LoadShedder, Called<F>>>;

impl<S, Q, P> Service<Q> for LoadShedderService<S, P>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    P: Prioritize<Q>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = LoadShedderFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let admitted = self.priority.prioritize(&request).and_then(Prioritized::into_permit);
        Decided::of(admitted, |permit| {
            Counted::new(permit, attempt::call(&mut self.inner, request))
        })
    }
}
