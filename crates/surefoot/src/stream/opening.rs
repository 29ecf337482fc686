//! Opening a stream, as an operation that is done with the first item.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;

use futures_core::Stream;
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{Classification, Classify, Error};

use super::kept::{Held, Kept, Limit, What};
use crate::operation::{Judged, Operation};
use crate::scope::spending;

/// Opens a stream and waits for its first item.
pub(crate) struct Opening<'c, F, C, S, T, E> {
    open: F,
    classifier: &'c C,
    gives: PhantomData<Gives<S, T, E>>,
}

type Gives<S, T, E> = fn() -> (S, Result<T, E>);

/// A stream whose first item has come, with what the policies around it hold.
pub(crate) struct Opened<S, T> {
    pub(super) stream: Pin<Box<S>>,
    pub(super) first: T,
    pub(super) held: Held,
    pub(super) limits: Vec<Limit>,
    /// The innermost timeout has bounded the first item, and bounds nothing more.
    attempt_limited: bool,
}

impl<'c, F, C, S, T, E> Opening<'c, F, C, S, T, E> {
    pub(crate) fn new(open: F, classifier: &'c C) -> Self {
        Self { open, classifier, gives: PhantomData }
    }
}

impl<F, C: Classify<T, E>, S, T, E> Judged for Opening<'_, F, C, S, T, E> {
    type Value = Opened<S, T>;
    type Error = E;

    const STREAMS: bool = true;
    const DISPATCHES: bool = true;

    fn keep(&self, opened: &mut Opened<S, T>, kept: Kept) {
        match kept.0 {
            What::Holding(holding) => opened.held.holdings.push(holding),
            What::Limit(limit) if opened.attempt_limited => opened.limits.push(limit),
            What::Limit(_) => opened.attempt_limited = true,
        }
    }

    fn classify(&self, result: Result<&Opened<S, T>, &E>) -> Classification {
        self.classifier.classify(result.map(|opened| &opened.first))
    }

    fn server_limits(&self, result: Result<&Opened<S, T>, &E>) -> ServerLimits {
        self.classifier.server_limits(result.map(|opened| &opened.first))
    }
}

impl<F, Fut, C, S, T, E> Operation for Opening<'_, F, C, S, T, E>
where
    F: Fn() -> Fut + Sync,
    Fut: Future<Output = Result<S, E>> + Send,
    S: Stream<Item = Result<T, E>> + Send,
    C: Classify<T, E> + Sync,
    T: Send,
    E: Send,
{
    async fn attempt(&self) -> Result<Opened<S, T>, Error<E>> {
        let cover = spending::draw_if_budgeted()?;
        spending::dispatch(cover.as_ref());
        spending::in_cover(cover, self.open()).await
    }
}

impl<F, Fut, C, S, T, E> Opening<'_, F, C, S, T, E>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<S, E>>,
    S: Stream<Item = Result<T, E>>,
{
    async fn open(&self) -> Result<Opened<S, T>, Error<E>> {
        let mut stream = Box::pin((self.open)().await.map_err(Error::Operation)?);
        match poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            Some(Ok(first)) => Ok(Opened {
                stream,
                first,
                held: Held::default(),
                limits: Vec::new(),
                attempt_limited: false,
            }),
            Some(Err(error)) => Err(Error::Operation(error)),
            None => Err(Error::Interrupted { items: 0, cause: None }),
        }
    }
}
