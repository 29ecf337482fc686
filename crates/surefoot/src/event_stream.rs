//! Events as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use surefoot_core::{Event, Events, Subscription};

/// The events of policies as a [`Stream`], in the order they were sent by each policy.
///
/// It keeps up to `capacity` events for a slow reader; then the oldest are lost, and
/// [`lost`](Self::lost) says how many. It never ends; dropping it ends the listening.
///
/// ```
/// use surefoot::{CircuitBreaker, CircuitState, Event, EventStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), surefoot::ConfigError> {
/// let breaker = CircuitBreaker::builder("api").build()?;
/// let mut events = EventStream::new(100).listen_to(breaker.events());
/// breaker.force_open();
/// let Event::StateChanged { to, .. } = events.next().await else { unreachable!() };
/// assert_eq!(to, CircuitState::Open);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventStream {
    queue: Arc<Mutex<Queue>>,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<Event>,
    capacity: usize,
    lost: u64,
    reader: Option<Waker>,
}

impl EventStream {
    /// A stream of nothing yet, that will keep up to `capacity` events; at least one.
    pub fn new(capacity: usize) -> Self {
        let queue =
            Queue { events: VecDeque::new(), capacity: capacity.max(1), lost: 0, reader: None };
        Self { queue: Arc::new(Mutex::new(queue)), subscriptions: Vec::new() }
    }

    /// The same stream with another policy's events.
    pub fn listen_to(mut self, events: &Events) -> Self {
        let queue = self.queue.clone();
        self.subscriptions.push(events.subscribe(move |event| {
            let mut queue = lock(&queue);
            if queue.events.len() == queue.capacity {
                queue.events.pop_front();
                queue.lost += 1;
            }
            queue.events.push_back(event.clone());
            let reader = queue.reader.take();
            drop(queue);
            reader.into_iter().for_each(Waker::wake);
        }));
        self
    }

    /// The next event. Dropping the future loses none.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event if one is there.
    pub fn try_next(&mut self) -> Option<Event> {
        lock(&self.queue).events.pop_front()
    }

    /// How many events were lost because the reader was too slow.
    pub fn lost(&self) -> u64 {
        lock(&self.queue).lost
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut queue = lock(&self.queue);
        if let Some(event) = queue.events.pop_front() {
            return Poll::Ready(event);
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx).map(Some)
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
