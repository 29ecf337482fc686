//! Threads that wait for their permits.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use surefoot::{
    Acquire, AcquireIn, BlockingPolicy, Bulkhead, Error, ManualClock, Pipeline, Throttler, Timeout,
    Timestamp,
};

use super::{Answer, Ask, Asked, Calls, ended};

pub(in super::super) struct Threads {
    clock: ManualClock,
    say: Sender<Said>,
    said: Receiver<Said>,
    waiting: Vec<Call>,
    running: Vec<Call>,
    started: usize,
}

/// A call on its thread, which goes on when `end` is dropped.
struct Call {
    name: String,
    throttler: Throttler,
    end: Sender<()>,
    thread: thread::JoinHandle<()>,
}

/// What a call's thread tells.
enum Said {
    Began(String),
    Ended(String, Ended),
}

type Ended = Result<(), Error<String>>;
/// What a call does that has its permit.
type Run = Result<(), String>;

/// How a thread comes by its permit.
enum Door {
    Policy(Throttler, Option<Timeout>),
    Permit(Throttler),
    Compartment(Bulkhead, String),
}

const STACK: usize = 256 * 1024;

impl Threads {
    pub(in super::super) fn new(clock: &ManualClock) -> Self {
        let (say, said) = channel();
        let (waiting, running) = (Vec::new(), Vec::new());
        Self { clock: clock.clone(), say, said, waiting, running, started: 0 }
    }

    fn start(&self, ask: Ask<'_>) -> Result<Call, String> {
        let (name, say) = (ask.call.to_owned(), self.say.clone());
        let (end, ends) = channel();
        let door = match (ask.timeout.cloned(), ask.compartment, self.started % 2) {
            (None, Some((bulkhead, name)), 1) => Door::Compartment(bulkhead.clone(), name.into()),
            (None, None, 1) => Door::Permit(ask.throttler.clone()),
            (timeout, ..) => Door::Policy(ask.throttler.clone(), timeout),
        };
        let work = move || {
            let run = || {
                let _ = say.send(Said::Began(name.clone())); // a runner that is gone wants to hear no more
                let _: Result<(), _> = ends.recv();
                Ok::<_, String>(())
            };
            let result = door.call(run);
            let _ = say.send(Said::Ended(name, result));
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(work);
        let thread = thread.map_err(|error| format!("no thread for the call: {error}"))?;
        Ok(Call { name: ask.call.to_owned(), throttler: ask.throttler.clone(), end, thread })
    }

    fn heard(&self) -> Result<Option<Said>, String> {
        match self.said.try_recv() {
            Ok(said) => Ok(Some(said)),
            Err(TryRecvError::Empty) => {
                thread::yield_now();
                Ok(None)
            }
            Err(TryRecvError::Disconnected) => Err("nobody says anything any more".into()),
        }
    }

    /// What one of those that waited has come to.
    fn answer(&mut self, said: Said) -> Result<(String, Answer), String> {
        let (Said::Began(name) | Said::Ended(name, _)) = &said;
        let at = self.waiting.iter().position(|call| call.name == *name);
        let call = self.waiting.remove(at.ok_or_else(|| format!("{name} did not wait"))?);
        match said {
            Said::Began(name) => {
                self.running.push(call);
                Ok((name, Ok(())))
            }
            Said::Ended(name, result) => Ok((name, Err(ended(result)?))),
        }
    }

    /// Whether all that wait are in the queue, and sleep.
    fn is_quiet(&self, alarms: usize) -> bool {
        let mut counted: Vec<&surefoot::Name> = Vec::new();
        let mut queued = 0;
        for call in &self.waiting {
            if !counted.contains(&call.throttler.name()) {
                counted.push(call.throttler.name());
                queued += call.throttler.queue_depth() as usize;
            }
        }
        queued == self.waiting.len() && self.clock.waiting() == self.waiting.len() + alarms
    }
}

impl Door {
    fn call(self, run: impl Fn() -> Run) -> Ended {
        match self {
            Self::Permit(throttler) => {
                let _permit = throttler.acquire_blocking()?;
                run().map_err(Error::Operation)
            }
            Self::Compartment(bulkhead, name) => {
                let _permit = bulkhead.acquire_blocking(&name)?;
                run().map_err(Error::Operation)
            }
            Self::Policy(throttler, None) => throttler.call_blocking(|_| run()),
            Self::Policy(throttler, Some(timeout)) => {
                let pipeline = Pipeline::builder("case").add(timeout).add(throttler);
                pipeline.build().expect("a good order").call_blocking(|_| run())
            }
        }
    }
}

impl Calls for Threads {
    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let before = ask.throttler.status().totals.queued;
        self.started += 1;
        let call = self.start(ask)?;
        let said = loop {
            if let Some(said) = self.heard()? {
                break Some(said);
            }
            if ask.throttler.status().totals.queued > before {
                break None;
            }
        };
        self.waiting.push(call);
        match said {
            Some(said) => Ok(self.answer(said)?.1.into()),
            None => Ok(Asked::Waits),
        }
    }

    /// Whoever has an answer leaves the queue first, and says so a moment later.
    fn answered(&mut self, alarms: usize) -> Result<Vec<(String, Answer)>, String> {
        let mut answered = Vec::new();
        loop {
            if let Some(said) = self.heard()? {
                answered.push(self.answer(said)?);
            } else if self.is_quiet(alarms) {
                return Ok(answered);
            }
        }
    }

    fn release(&mut self, call: &str) -> Result<(), String> {
        let at = self.running.iter().position(|known| known.name == call);
        let Call { end, thread, .. } =
            self.running.remove(at.ok_or_else(|| format!("{call} does not run"))?);
        drop(end);
        thread.join().map_err(|_| "a call panicked".to_owned())?;
        // Others may have said something before it, which is theirs.
        let mut others = Vec::new();
        while let Ok(said) = self.said.try_recv() {
            match said {
                Said::Ended(name, result) if name == call => match result {
                    Ok(()) => {}
                    other => return Err(format!("{call} ended with {other:?}")),
                },
                said => others.push(said),
            }
        }
        for said in others {
            let _ = self.say.send(said);
        }
        Ok(())
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        Err(format!("{call} cannot be interrupted"))
    }
}

/// Threads that still run or wait at the end are let go on, and end.
impl Drop for Threads {
    fn drop(&mut self) {
        self.running.clear();
        for call in &self.waiting {
            call.throttler.close();
        }
        self.clock.set(Timestamp::MAX);
    }
}
