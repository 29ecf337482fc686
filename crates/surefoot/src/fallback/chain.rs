//! One call's links, tried in order.

use std::future::Future;
use std::hash::Hash;
use std::ops::ControlFlow;

use surefoot_core::{Error, LastGood, Name, StopReason};

use super::{Answer, Fallback, FallbackError};

type Outcome<T, E> = Result<Answer<T, E>, FallbackError<E>>;

/// One call and what it falls back on; made by [`Fallback::first`].
#[derive(Debug)]
#[must_use = "nothing is called until `call`"]
pub struct Chain<'f, L, W = ()> {
    fallback: &'f Fallback,
    links: L,
    when: W,
}

/// The first choice.
#[derive(Debug)]
pub struct First<F> {
    link: Name,
    call: F,
}

/// A choice for when everything before it has failed.
#[derive(Debug)]
pub struct Then<L, F> {
    before: L,
    link: Name,
    call: F,
}

/// The last good answer, for when everything before it has failed.
#[derive(Debug)]
pub struct LastGoodLink<'c, L, K, V> {
    before: L,
    kept: &'c LastGood<K, V>,
    key: K,
}

impl<F> First<F> {
    pub(super) fn new(link: Name, call: F) -> Self {
        Self { link, call }
    }
}

impl<'f, L> Chain<'f, L> {
    pub(super) fn new(fallback: &'f Fallback, links: L) -> Self {
        Self { fallback, links, when: () }
    }
}

impl<'f, L, W> Chain<'f, L, W> {
    /// What to try when everything before has failed.
    pub fn then<F, R>(self, link: impl Into<Name>, call: F) -> Chain<'f, Then<L, F>, W>
    where
        F: FnOnce() -> R,
    {
        self.with(|before| Then { before, link: link.into(), call })
    }

    /// Keeps every answer under `key`, and gives the kept one when everything before has failed.
    pub fn last_good<K, V>(
        self,
        kept: &LastGood<K, V>,
        key: K,
    ) -> Chain<'f, LastGoodLink<'_, L, K, V>, W> {
        self.with(|before| LastGoodLink { before, kept, key })
    }

    /// Falls back only on errors for which `moves_on` holds. Default: on all but those that trying
    /// again cannot mend.
    pub fn when<E, V: Fn(&Error<E>) -> bool>(self, moves_on: V) -> Chain<'f, L, V> {
        Chain { fallback: self.fallback, links: self.links, when: moves_on }
    }

    fn with<M>(self, wrap: impl FnOnce(L) -> M) -> Chain<'f, M, W> {
        Chain { fallback: self.fallback, links: wrap(self.links), when: self.when }
    }

    /// Tries the links in order until one answers.
    ///
    /// # Errors
    /// The last link's error, with those of the others inside.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` cannot say that it is Send")]
    pub fn call<T, E>(self) -> impl Future<Output = Result<Answer<T, E>, FallbackError<E>>> + Send
    where
        L: Links<T, E> + Send,
        W: MovesOn<E> + Send + Sync,
    {
        async move {
            let Self { fallback, links, when } = self;
            links.run(&Course { fallback, when }).await
        }
    }

    /// The same on the calling thread, with links that give results.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_blocking<T, E>(self) -> Result<Answer<T, E>, FallbackError<E>>
    where
        L: BlockingLinks<T, E>,
        W: MovesOn<E>,
    {
        let Self { fallback, links, when } = self;
        links.run_blocking(&Course { fallback, when })
    }
}

/// Whether a chain goes on after an error.
pub trait MovesOn<E> {
    /// Whether the next link is tried.
    fn moves_on(&self, error: &Error<E>) -> bool;
}

/// The default rule.
impl<E> MovesOn<E> for () {
    fn moves_on(&self, error: &Error<E>) -> bool {
        !matches!(error, Error::Exhausted { stop: StopReason::Permanent, .. })
    }
}

impl<E, W: Fn(&Error<E>) -> bool> MovesOn<E> for W {
    fn moves_on(&self, error: &Error<E>) -> bool {
        self(error)
    }
}

/// Links whose calls are futures.
pub trait Links<T, E> {
    /// Tries them in order.
    #[doc(hidden)]
    fn run<W: MovesOn<E> + Sync>(
        self,
        course: &Course<'_, W>,
    ) -> impl Future<Output = Outcome<T, E>> + Send;
}

/// Links whose calls block the thread.
pub trait BlockingLinks<T, E> {
    /// Tries them in order.
    #[doc(hidden)]
    fn run_blocking<W: MovesOn<E>>(self, course: &Course<'_, W>) -> Outcome<T, E>;
}

/// The rules of one call.
#[doc(hidden)]
#[derive(Debug)]
pub struct Course<'f, W> {
    fallback: &'f Fallback,
    when: W,
}

impl<W> Course<'_, W> {
    /// Goes on from what failed so far, if the rules say so.
    fn go_on<T, E>(&self, before: Outcome<T, E>) -> ControlFlow<Outcome<T, E>, FallbackError<E>>
    where
        W: MovesOn<E>,
    {
        match before {
            Err(failed) if self.when.moves_on(&failed.last) => {
                self.fallback.note_failure(failed.link.clone());
                ControlFlow::Continue(failed)
            }
            over => ControlFlow::Break(over),
        }
    }
}

impl<F, Fut, T, E> Links<T, E> for First<F>
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = Result<T, Error<E>>> + Send,
{
    async fn run<W: MovesOn<E> + Sync>(self, _: &Course<'_, W>) -> Outcome<T, E> {
        answered(self.link, (self.call)().await, Vec::new())
    }
}

impl<F, T, E> BlockingLinks<T, E> for First<F>
where
    F: FnOnce() -> Result<T, Error<E>>,
{
    fn run_blocking<W: MovesOn<E>>(self, _: &Course<'_, W>) -> Outcome<T, E> {
        answered(self.link, (self.call)(), Vec::new())
    }
}

impl<L, F, Fut, T, E> Links<T, E> for Then<L, F>
where
    L: Links<T, E> + Send,
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = Result<T, Error<E>>> + Send,
    T: Send,
    E: Send,
{
    async fn run<W: MovesOn<E> + Sync>(self, course: &Course<'_, W>) -> Outcome<T, E> {
        match course.go_on(self.before.run(course).await) {
            ControlFlow::Break(over) => over,
            ControlFlow::Continue(failed) => {
                answered(self.link, (self.call)().await, failed.into_failures())
            }
        }
    }
}

impl<L, F, T, E> BlockingLinks<T, E> for Then<L, F>
where
    L: BlockingLinks<T, E>,
    F: FnOnce() -> Result<T, Error<E>>,
{
    fn run_blocking<W: MovesOn<E>>(self, course: &Course<'_, W>) -> Outcome<T, E> {
        match course.go_on(self.before.run_blocking(course)) {
            ControlFlow::Break(over) => over,
            ControlFlow::Continue(failed) => {
                answered(self.link, (self.call)(), failed.into_failures())
            }
        }
    }
}

impl<L, K, T, E> Links<T, E> for LastGoodLink<'_, L, K, T>
where
    L: Links<T, E> + Send,
    K: Hash + Eq + Clone + Send,
    T: Clone + Send,
    E: Send,
{
    async fn run<W: MovesOn<E> + Sync>(self, course: &Course<'_, W>) -> Outcome<T, E> {
        let before = self.before.run(course).await;
        kept_or_keep(self.kept, self.key, course, before)
    }
}

impl<L, K, T, E> BlockingLinks<T, E> for LastGoodLink<'_, L, K, T>
where
    L: BlockingLinks<T, E>,
    K: Hash + Eq + Clone,
    T: Clone,
{
    fn run_blocking<W: MovesOn<E>>(self, course: &Course<'_, W>) -> Outcome<T, E> {
        let before = self.before.run_blocking(course);
        kept_or_keep(self.kept, self.key, course, before)
    }
}

fn answered<T, E>(
    link: Name,
    result: Result<T, Error<E>>,
    failures: Vec<(Name, Error<E>)>,
) -> Outcome<T, E> {
    match result {
        Ok(value) => Ok(Answer { value, link, age: None, failures }),
        Err(last) => Err(FallbackError { link, last, earlier: failures }),
    }
}

fn kept_or_keep<K: Hash + Eq + Clone, T: Clone, E, W: MovesOn<E>>(
    kept: &LastGood<K, T>,
    key: K,
    course: &Course<'_, W>,
    before: Outcome<T, E>,
) -> Outcome<T, E> {
    match course.go_on(before) {
        ControlFlow::Break(over) => {
            // One that was kept by another link before is as old as it is.
            if let Ok(answer) = &over
                && answer.age.is_none()
            {
                kept.put(key, answer.value.clone());
            }
            over
        }
        ControlFlow::Continue(failed) => match kept.get(&key) {
            None => Err(failed),
            Some((value, age)) => {
                let (link, failures) = (Name::from("last good"), failed.into_failures());
                Ok(Answer { value, link, age: Some(age), failures })
            }
        },
    }
}
