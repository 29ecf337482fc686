//! Real waits, of a few milliseconds: our timer thread under another executor, and tokio's
//! timers, paused and not. What is asserted is what happened, never how long it took.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use async_executor::Executor;
use futures_lite::{Stream, StreamExt, future, stream};
use surefoot::{
    CircuitBreaker, Error as AnyError, Fallback, Hedge, Limiter, Pipeline, Policy, RateLimiter,
    Retry, RetryBudget, Timeout,
};

use crate::support::{MS, SEC};

type Error = AnyError<&'static str>;

/// Fails twice, hangs once, then answers.
struct Flaky(AtomicUsize);

impl Flaky {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0)))
    }

    async fn answer(&self) -> Result<usize, &'static str> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err("down"),
            2 => std::future::pending().await,
            call => Ok(call),
        }
    }
}

fn pipeline(attempt: Duration, total: Duration) -> Pipeline<impl surefoot::BlockingPolicy + use<>> {
    let retry = Retry::builder()
        .max_attempts(5)
        .initial_delay(2 * MS)
        .exponential_base(1.0)
        .budget(RetryBudget::unlimited());
    Pipeline::builder("api")
        .idempotent()
        .add(Timeout::new(total).unwrap().named("total"))
        .add(retry.build().unwrap())
        .add(CircuitBreaker::builder("api").failure_threshold(1_000_000).build().unwrap())
        .add(Timeout::new(attempt).unwrap().named("attempt"))
        .build()
        .unwrap()
}

#[test]
fn without_any_runtime_the_timer_thread_wakes_waits_and_deadlines() {
    let flaky = Flaky::new();
    let pipeline = pipeline(5 * MS, 600 * SEC);
    let answer = future::block_on(pipeline.call(|| flaky.answer()));
    assert_eq!(answer, Ok(3));
}

#[test]
fn under_another_executor_many_calls_wait_at_once() {
    let executor = Executor::new();
    let pipeline = Arc::new(pipeline(5 * MS, 600 * SEC));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (pipeline, flaky) = (pipeline.clone(), Flaky::new());
            executor.spawn(async move { pipeline.call(|| flaky.answer()).await })
        })
        .collect();
    let (done, on_done) = (AtomicBool::new(false), Mutex::new(None::<Waker>));
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            // A second thread of the executor, until the first has all answers.
            future::block_on(executor.run(future::poll_fn(|cx| {
                *on_done.lock().unwrap() = Some(cx.waker().clone());
                if done.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })));
        });
        let answers = future::block_on(executor.run(async {
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await);
            }
            answers
        }));
        done.store(true, Ordering::SeqCst);
        on_done.lock().unwrap().take().into_iter().for_each(Waker::wake);
        answers
    });
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| *answer == Ok(3)), "{answers:?}");
}

/// Opens on the second try, then gives two items with a pause between, and hangs.
fn hanging_stream(
    asked: &AtomicUsize,
) -> Result<impl Stream<Item = Result<usize, &'static str>> + Send + use<>, &'static str> {
    if asked.fetch_add(1, Ordering::SeqCst) == 0 {
        return Err("down");
    }
    let items = stream::iter([Ok(1), Ok(2)]).then(|item| async move {
        future::yield_now().await;
        item
    });
    Ok(items.chain(stream::pending()))
}

/// Everything such a stream gives before its idle timeout ends it.
async fn read_hanging_stream(pipeline: &Pipeline<impl Policy>, idle: Duration) -> Vec<usize> {
    let asked = AtomicUsize::new(0);
    let idle = Timeout::new(idle).unwrap().named("idle");
    let opening = pipeline.streaming().idle_timeout(idle);
    let mut answer = opening.call(|| async { hanging_stream(&asked) }).await.unwrap();
    let mut items = Vec::new();
    loop {
        match answer.next().await {
            Some(Ok(item)) => items.push(item),
            Some(Err(Error::Interrupted { items: 2, cause: Some(cause) })) => {
                assert!(matches!(*cause, Error::Timeout { policy, .. } if policy == *"idle"));
                assert!(answer.next().await.is_none());
                return items;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn under_another_executor_the_timer_thread_ends_idle_streams() {
    let executor = Executor::new();
    let pipeline = Arc::new(pipeline(60 * SEC, 600 * SEC));
    let reads: Vec<_> = (0..10)
        .map(|_| {
            let pipeline = pipeline.clone();
            executor.spawn(async move { read_hanging_stream(&pipeline, 5 * MS).await })
        })
        .collect();
    let items = future::block_on(executor.run(async {
        let mut items = Vec::new();
        for read in reads {
            items.push(read.await);
        }
        items
    }));
    assert_eq!(items, vec![vec![1, 2]; 10]);
}

#[test]
fn under_another_executor_a_hedge_and_a_fallback_work() {
    let hedge = Hedge::builder().delay(2 * MS).build().unwrap();
    let fallback = Fallback::new("answers").unwrap();
    let (hanging, asked) = (Timeout::new(2 * MS).unwrap(), AtomicUsize::new(0));
    let executor = Executor::new();
    let answer = future::block_on(executor.run(async {
        let chain = fallback
            .first("hanging", || hanging.call(std::future::pending::<Result<usize, &str>>))
            .then("hedged", || {
                hedge.call(|| async {
                    match asked.fetch_add(1, Ordering::SeqCst) {
                        0 => std::future::pending().await,
                        call => Ok(call),
                    }
                })
            });
        chain.call().await
    }));
    let answer = answer.unwrap();
    assert_eq!((answer.value, answer.link.as_str(), answer.failures.len()), (1, "hedged", 1));
}

/// As many as there are slots in ten windows, from two threads of an executor.
#[test]
fn under_another_executor_a_crowd_waits_for_its_slots() {
    let limiter = RateLimiter::builder("api")
        .max_requests(20)
        .time_window(3 * MS)
        .max_wait(600 * SEC)
        .build()
        .unwrap();
    let executor = Executor::new();
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let limiter = limiter.clone();
            executor.spawn(async move { limiter.call(|| async { Ok::<_, &str>(1) }).await })
        })
        .collect();
    let sum = future::block_on(executor.run(async {
        let mut sum = 0;
        for call in calls {
            sum += call.await.unwrap();
        }
        sum
    }));
    assert_eq!(sum, 200);
    assert_eq!((limiter.totals().admitted, limiter.status().waiting), (200, 0));
}

#[test]
fn a_thread_waits_for_its_slot_and_moves_up() {
    let limiter = RateLimiter::builder("api").max_requests(1).time_window(600 * SEC);
    let limiter = limiter.max_wait(6_000 * SEC).build().unwrap();
    let first = limiter.try_reserve(1).unwrap();
    thread::scope(|scope| {
        let (told, on_told) = std::sync::mpsc::channel();
        limiter.events().subscribe(move |_| told.send(()).unwrap()).forever();
        let waits = scope.spawn(|| limiter.acquire_blocking().map(drop));
        on_told.recv().unwrap(); // it has its place, due in ten minutes
        first.give_back();
        assert_eq!(waits.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_cancelled_wait_does_not_disturb_the_ones_beside_it() {
    let flaky = Flaky::new();
    let pipeline = pipeline(5 * MS, 600 * SEC);
    let answer = future::block_on(async {
        // The first is dropped while it sleeps on the timer thread.
        let hanging = Flaky(AtomicUsize::new(2));
        let first = pipeline.call(|| hanging.answer());
        let winner = future::or(async { first.await.map(|_| 0) }, async { Ok::<_, Error>(1) });
        assert_eq!(winner.await, Ok(1));
        pipeline.call(|| flaky.answer()).await
    });
    assert_eq!(answer, Ok(3));
}

#[test]
fn a_cancelled_wait_lets_go_of_its_waker_at_once() {
    struct Counted;
    impl std::task::Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let counted = Arc::new(Counted);
    let waker = Waker::from(counted.clone());
    let total = Timeout::new(600 * SEC).unwrap();
    let mut call = Box::pin(total.call(std::future::pending::<Result<(), ()>>));
    let before = Arc::strong_count(&counted);
    assert!(call.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    assert!(Arc::strong_count(&counted) > before, "the timer thread holds it");
    drop(call);
    assert_eq!(Arc::strong_count(&counted), before);
}

#[test]
fn on_a_thread_of_its_own_a_blocking_call_waits() {
    let calls = AtomicUsize::new(0);
    let pipeline = pipeline(5 * SEC, 600 * SEC);
    let answer = pipeline.call_blocking(|attempt| {
        calls.fetch_add(1, Ordering::SeqCst);
        assert!(attempt.remaining().is_some_and(|left| left <= 5 * SEC));
        if attempt.number() < 3 { Err("down") } else { Ok(attempt.number()) }
    });
    assert_eq!(answer, Ok(3));
    assert_eq!(calls.into_inner(), 3);
}

#[cfg(feature = "tokio")]
mod tokio_runtime {
    use super::*;

    #[tokio::test]
    async fn tokios_timers_wake_waits_and_deadlines() {
        let flaky = Flaky::new();
        assert_eq!(pipeline(5 * MS, 600 * SEC).call(|| flaky.answer()).await, Ok(3));
    }

    /// Time that tokio's tests move: minutes of waits pass at once.
    #[tokio::test(start_paused = true)]
    async fn a_paused_tokio_clock_runs_through_waits_and_deadlines() {
        let began = tokio::time::Instant::now();
        let flaky = Flaky::new();
        let retry = Retry::builder().max_attempts(5).initial_delay(30 * SEC).max_delay(60 * SEC);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(Timeout::new(3600 * SEC).unwrap().named("total"))
            .add(retry.build().unwrap())
            .add(Timeout::new(600 * SEC).unwrap().named("attempt"))
            .build()
            .unwrap();
        assert_eq!(pipeline.call(|| flaky.answer()).await, Ok(3));
        // 30 s + 60 s + 600 s + 60 s, to the timer wheel's millisecond.
        assert_eq!((began.elapsed() + 500 * MS).as_secs(), 750);
    }

    /// A stream is sent to a task of its own, and its idle timeout fires there.
    #[tokio::test(start_paused = true)]
    async fn a_paused_tokio_clock_ends_idle_streams() {
        let began = tokio::time::Instant::now();
        let pipeline = Arc::new(pipeline(60 * SEC, 3600 * SEC));
        let read = async move { read_hanging_stream(&pipeline, 600 * SEC).await };
        assert_eq!(tokio::spawn(read).await.unwrap(), [1, 2]);
        assert_eq!((began.elapsed() + 500 * MS).as_secs(), 600);
    }

    /// Without a delay no timer takes part, so no tick of one goes by.
    #[tokio::test(start_paused = true)]
    async fn on_tokios_clock_a_hedge_without_delay_begins_all_attempts_at_once() {
        let began = tokio::time::Instant::now();
        let asked = AtomicUsize::new(0);
        let hedge = Hedge::builder().delay(Duration::ZERO).max_hedges(3).build().unwrap();
        let answer = hedge.call(|| async {
            match asked.fetch_add(1, Ordering::SeqCst) {
                3 => Ok::<_, &str>(3),
                _ => std::future::pending().await,
            }
        });
        assert_eq!((answer.await, began.elapsed()), (Ok(3), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_tokio_clock_fires_the_total_deadline() {
        let total = Timeout::new(30 * SEC).unwrap();
        let answer = total.call(std::future::pending::<Result<(), &str>>).await;
        assert!(matches!(answer, Err(Error::Timeout { dispatched: true, last: None, .. })));
    }

    /// The limiter's own clock stands still meanwhile; the timer's word is enough.
    #[tokio::test(start_paused = true)]
    async fn a_paused_tokio_clock_runs_through_waits_for_slots() {
        let began = tokio::time::Instant::now();
        let limiter = RateLimiter::builder("api").max_requests(1).time_window(600 * SEC);
        let limiter = limiter.build().unwrap();
        for _ in 0..2 {
            assert_eq!(limiter.call(|| async { Ok::<_, &str>(1) }).await, Ok(1));
        }
        assert_eq!((began.elapsed() + 500 * MS).as_secs(), 600);
    }

    /// A blocking wait on the thread that drives tokio's timers must not wait for those.
    #[tokio::test]
    async fn a_blocking_wait_inside_a_runtime_ends() {
        let limiter = RateLimiter::builder("api").max_requests(1).time_window(3 * MS);
        let limiter = limiter.build().unwrap();
        for _ in 0..3 {
            assert!(limiter.acquire_blocking().is_ok());
        }
    }

    /// Under a paused clock the retry does not see the deadline coming, and it fires in the wait.
    #[tokio::test(start_paused = true)]
    async fn a_paused_deadline_that_fires_in_a_wait_carries_the_last_error() {
        let retry = Retry::builder().max_attempts(10).exponential_base(1.0);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(Timeout::new(2500 * MS).unwrap().named("total"))
            .add(retry.build().unwrap())
            .build()
            .unwrap();
        let answer = pipeline.call(|| async { Err::<(), _>("down") }).await;
        let Err(error) = answer else { panic!("{answer:?}") };
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
        assert_eq!(error.operation(), Some(&"down"));
    }

    /// A runtime without timers cannot wait, and tokio says so instead of hanging.
    #[test]
    #[should_panic(expected = "timers are disabled")]
    fn a_tokio_runtime_without_timers_is_a_clear_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flaky = Flaky::new();
        let pipeline = pipeline(5 * MS, 600 * SEC);
        let _ = runtime.block_on(pipeline.call(|| flaky.answer()));
    }
}
