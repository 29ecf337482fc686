//! Threads that wait for their slots.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use surefoot::{
    Attempt, BlockingPolicy, Error, Event, KeyedRateLimiter, Limiter, Pipeline, RateLimiter,
    Rejection, Timeout, Timestamp,
};

use super::asynchronous::{Ended, refused};
use super::{Answer, Ask, Asked, Calls, Charges, Correct, Limiters, with};

pub(in super::super) struct Threads {
    limiters: Limiters,
    say: Sender<Said>,
    said: Receiver<Said>,
    /// Those that wait, with their keys.
    waiting: Vec<(String, Option<String>)>,
    charges: Charges,
}

/// What a call's thread, or the limiter about it, tells.
enum Said {
    Waits,
    Ended(String, Ended),
}

const STACK: usize = 256 * 1024;

impl Threads {
    pub(in super::super) fn new(limiters: Limiters) -> Self {
        let (say, said) = channel();
        let events = limiters.single.iter().map(RateLimiter::events);
        for events in events.chain(limiters.keyed.iter().map(KeyedRateLimiter::events)) {
            let say = say.clone();
            let tell = move |event: &Event| {
                if let Event::RateDelayed { .. } = event {
                    let _ = say.send(Said::Waits); // a runner that is gone wants to hear no more
                }
            };
            events.subscribe(tell).forever();
        }
        Self { limiters, say, said, waiting: Vec::new(), charges: Charges::default() }
    }

    fn start(&self, ask: Ask<'_>) -> Result<(), String> {
        let timeout = self.limiters.timeout(ask.deadline)?;
        let (name, say, n, corrected) =
            (ask.call.to_owned(), self.say.clone(), ask.n, ask.corrected);
        let of = self.limiters.of(ask.key)?;
        let thread = move || {
            let ended = with!(&of, limiter => call(limiter, n, corrected, timeout));
            let _ = say.send(Said::Ended(name, ended)); // a runner that is gone wants to hear no more
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(thread);
        thread.map(drop).map_err(|error| format!("no thread for the call: {error}"))
    }

    fn listen(&self) -> Result<Said, String> {
        self.said.recv().map_err(|_| "nobody says anything any more".to_owned())
    }

    /// How many the limiters say still have to wait.
    fn still_waiting(&self) -> Result<usize, String> {
        let mut keys: Vec<_> = self.waiting.iter().map(|(_, key)| key.as_deref()).collect();
        keys.sort_unstable();
        keys.dedup();
        let waiting = keys.into_iter().map(|key| Ok(self.limiters.status(key)?.waiting));
        let waiting: u64 = waiting.sum::<Result<u64, String>>()?;
        usize::try_from(waiting).map_err(|error| error.to_string())
    }
}

/// A permit where it is to be corrected; otherwise a call through the policy, in a pipeline if it has a
/// time limit.
fn call<L: Limiter + 'static>(
    limiter: &L,
    n: u64,
    corrected: bool,
    timeout: Option<Timeout>,
) -> Ended {
    let operation = |_: &Attempt| Ok::<_, Rejection>(None);
    match (timeout, corrected) {
        (None, true) => permit(limiter, n).map_err(Error::Operation),
        (None, false) => limiter.weighing(n).call_blocking(operation),
        (Some(timeout), true) => timeout.call_blocking(|_| permit(limiter, n)),
        (Some(timeout), false) => {
            let pipeline = Pipeline::builder("case").add(timeout).add(limiter.weighing(n));
            pipeline.build().expect("a good order").call_blocking(operation)
        }
    }
}

fn permit<L: Limiter + 'static>(limiter: &L, n: u64) -> Result<Option<Correct>, Rejection> {
    let charge = limiter.acquire_n_blocking(n)?;
    Ok(Some(Box::new(move |used| charge.settle(used))))
}

impl Calls for Threads {
    fn check(&mut self, key: Option<&str>, n: u64) -> Result<Answer, String> {
        if self.limiters.waits {
            return self.limiters.check(key, n);
        }
        let checked = with!(&self.limiters.of(key)?, limiter => call(limiter, n, false, None));
        match checked {
            Ok(_) => Ok(Ok(())),
            Err(error) => refused(error).map(Err),
        }
    }

    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        self.start(ask)?;
        match self.listen()? {
            Said::Ended(call, Ok(correct)) => {
                self.charges.begin(&call, correct);
                Ok(Asked::Began)
            }
            Said::Ended(_, Err(error)) => {
                refused(error).map(|retry_after| Asked::Refused { retry_after })
            }
            Said::Waits => {
                self.waiting.push((ask.call.to_owned(), ask.key.map(str::to_owned)));
                // All of them sleep before time goes on.
                self.limiters.clock.wait_for_waiters(self.waiting.len());
                Ok(Asked::Waits)
            }
        }
    }

    /// Those whose slots are due will say so. Threads do it in any order, and slots are due in that in
    /// which they were asked for.
    fn begun(&mut self) -> Result<Vec<String>, String> {
        let mut ended = Vec::new();
        for _ in self.still_waiting()?..self.waiting.len() {
            match self.listen()? {
                Said::Ended(call, Ok(correct)) => {
                    self.charges.begin(&call, correct);
                    ended.push(call);
                }
                Said::Ended(call, Err(error)) => return Err(format!("{call} ended with {error}")),
                Said::Waits => return Err("a call waits again".into()),
            }
        }
        let mut begun = Vec::new();
        self.waiting.retain(|(call, _)| {
            let has_begun = ended.contains(call);
            if has_begun {
                begun.push(call.clone());
            }
            !has_begun
        });
        Ok(begun)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        Err(format!("{call} cannot be interrupted"))
    }

    fn settle(&mut self, call: &str, used: u64) -> Result<(), String> {
        self.charges.settle(call, used)
    }
}

/// Threads that still wait at the end are let go on, and end.
impl Drop for Threads {
    fn drop(&mut self) {
        self.limiters.clock.set(Timestamp::MAX);
    }
}
