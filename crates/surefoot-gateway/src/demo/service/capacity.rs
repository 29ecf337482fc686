//! Workers and the queue in front of them: what makes extra calls cost something.
//!
//! As with most servers, work that was accepted is worked off even if its caller has hung up in the meantime. That
//! is what a retry storm lives on: the queue fills with requests nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

/// A fixed number of workers behind a first-come-first-served queue of fixed length.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    /// Workers and waiting places together: who gets none of these is refused at once.
    places: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

/// No worker is free and the queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Capacity {
    pub(crate) fn new(workers: usize, queue: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(workers + queue)),
            workers: Arc::new(Semaphore::new(workers)),
        }
    }

    /// Queues for a worker and keeps it for `time`. Whoever drops the returned receiver only stops listening; the
    /// work goes on, unless the `crash` comes first and takes queue and workers with it.
    pub(crate) fn work(
        &self,
        time: Duration,
        crash: Option<Instant>,
    ) -> Result<oneshot::Receiver<()>, Full> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Full)?;
        let workers = Arc::clone(&self.workers);
        let (done, finished) = oneshot::channel();
        tokio::spawn(async move {
            let _place = place;
            let work = async {
                let _worker = workers.acquire().await;
                tokio::time::sleep(time).await;
            };
            tokio::select! {
                () = work => { let _nobody_listens = done.send(()); }
                () = until(crash) => {}
            }
        });
        Ok(finished)
    }
}

/// Sleeps until `at`, for ever if there is no such time.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn work_beyond_workers_and_queue_is_refused_at_once() {
        let capacity = Capacity::new(1, 1);
        let first = capacity.work(WORK, None).expect("a worker");
        let second = capacity.work(WORK, None).expect("a waiting place");
        assert_eq!(capacity.work(WORK, None).err(), Some(Full));
        assert!(first.await.is_ok() && second.await.is_ok());
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_has_left() {
        let capacity = Capacity::new(1, 0);
        drop(capacity.work(WORK, None));
        assert_eq!(capacity.work(WORK, None).err(), Some(Full));
    }

    #[tokio::test]
    async fn a_crash_empties_workers_and_queue() {
        let capacity = Capacity::new(1, 1);
        let crash = Some(Instant::now());
        let first = capacity.work(Duration::from_secs(3600), crash).expect("a worker");
        let second = capacity.work(Duration::from_secs(3600), crash).expect("a waiting place");
        assert!(first.await.is_err() && second.await.is_err());
        assert!(capacity.work(WORK, None).is_ok());
    }
}
