//! A callee whose answers come in items.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::Stream;
use surefoot::stream::Streamed;
use surefoot::{Classify, Clock, ManualClock, ManualSleep, Timestamp};

use super::{End, Error, Step, run};

/// How one streamed answer goes.
#[derive(Clone)]
pub(crate) struct Script {
    open: Result<(), Step>,
    steps: VecDeque<Step>,
    endless: bool,
}

/// Opens at once, gives an item or an error for each step, and ends.
pub(crate) fn streams(steps: impl IntoIterator<Item = Step>) -> Script {
    Script { open: Ok(()), steps: steps.into_iter().collect(), endless: false }
}

/// Does not open: the call itself ends with `step`.
pub(crate) fn refuses(step: Step) -> Script {
    Script { open: Err(step), ..streams([]) }
}

impl Script {
    /// The last step is repeated for ever.
    pub(crate) fn endless(self) -> Self {
        Self { endless: true, ..self }
    }
}

/// A callee that answers as its scripts say, opening by opening; the last script is repeated.
pub(crate) struct StreamService {
    clock: ManualClock,
    scripts: Mutex<VecDeque<Script>>,
    opened: Mutex<Vec<Timestamp>>,
    alive: Arc<AtomicUsize>,
    on_drop: Arc<dyn Fn() + Send + Sync>,
}

impl StreamService {
    pub(crate) fn new(clock: &ManualClock, scripts: impl IntoIterator<Item = Script>) -> Self {
        Self {
            clock: clock.clone(),
            scripts: Mutex::new(scripts.into_iter().collect()),
            opened: Mutex::default(),
            alive: Arc::default(),
            on_drop: Arc::new(|| ()),
        }
    }

    /// Calls `look` when a stream is dropped, while it is going.
    pub(crate) fn on_drop(self, look: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on_drop: Arc::new(look), ..self }
    }

    /// Openings asked for.
    pub(crate) fn calls(&self) -> usize {
        self.opened.lock().unwrap().len()
    }

    /// When each opening was asked for, since the clock's origin.
    pub(crate) fn started(&self) -> Vec<Duration> {
        self.opened.lock().unwrap().iter().map(|at| *at - Timestamp::ZERO).collect()
    }

    /// Streams that have not been dropped.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    pub(crate) async fn open(&self) -> Result<Items, &'static str> {
        self.opened.lock().unwrap().push(self.clock.now());
        let script = {
            let mut scripts = self.scripts.lock().unwrap();
            let script = scripts.pop_front().expect("a service has at least one script");
            if scripts.is_empty() {
                scripts.push_back(script.clone());
            }
            script
        };
        if let Err(step) = script.open {
            self.clock.sleep_until(self.clock.now() + step.takes).await;
            return match step.end {
                End::Fails(error) => Err(error),
                End::Panics => panic!("boom"),
                End::Hangs => std::future::pending().await,
                End::Gives(_) => unreachable!("a refusal gives nothing"),
            };
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Items {
            clock: self.clock.clone(),
            script,
            sleep: None,
            alive: self.alive.clone(),
            on_drop: self.on_drop.clone(),
        })
    }
}

/// A streamed answer of a [`StreamService`].
pub(crate) struct Items {
    clock: ManualClock,
    script: Script,
    sleep: Option<ManualSleep>,
    alive: Arc<AtomicUsize>,
    on_drop: Arc<dyn Fn() + Send + Sync>,
}

impl Stream for Items {
    type Item = Result<u16, &'static str>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(step) = this.script.steps.front().copied() else { return Poll::Ready(None) };
        if !step.takes.is_zero() {
            let until = this.clock.now() + step.takes;
            let sleep = this.sleep.get_or_insert_with(|| this.clock.sleep_until(until));
            std::task::ready!(Pin::new(sleep).poll(cx));
            this.sleep = None;
        }
        if let End::Hangs = step.end {
            return Poll::Pending;
        }
        if !this.script.endless || this.script.steps.len() > 1 {
            this.script.steps.pop_front();
        }
        Poll::Ready(Some(match step.end {
            End::Gives(item) => Ok(item),
            End::Fails(error) => Err(error),
            End::Panics | End::Hangs => panic!("boom"),
        }))
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        (self.on_drop)();
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The next item, time moving on until there is one.
pub(crate) fn next<S, T, E, C, U>(
    clock: &ManualClock,
    answer: &mut Streamed<S, T, C, U>,
) -> Option<Result<T, surefoot::Error<E>>>
where
    S: Stream<Item = Result<T, E>>,
    C: Classify<T, E>,
    U: Fn(&T) -> bool,
{
    run(clock, answer.next())
}

/// Everything that is still to come.
pub(crate) fn rest<S, C, U>(
    clock: &ManualClock,
    answer: &mut Streamed<S, u16, C, U>,
) -> Vec<Result<u16, Error>>
where
    S: Stream<Item = Result<u16, &'static str>>,
    C: Classify<u16, &'static str>,
    U: Fn(&u16) -> bool,
{
    std::iter::from_fn(|| next(clock, answer)).collect()
}

/// An answer that broke off after so many items.
pub(crate) fn interrupted(items: u64, cause: Option<Error>) -> Error {
    Error::Interrupted { items, cause: cause.map(Box::new) }
}

/// A time limit that passed with an operation under way.
pub(crate) fn timed_out(policy: &'static str, limit: Duration, last: Option<Error>) -> Error {
    Error::Timeout { policy: policy.into(), limit, dispatched: true, last: last.map(Box::new) }
}
