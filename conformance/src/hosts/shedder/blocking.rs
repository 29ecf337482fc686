//! Threads, each with a call.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use surefoot::{BlockingPolicy, Error, LoadShedder};

use super::asynchronous::ended;
use super::{Answer, Calls, UnderWay, at_the_door};

pub(in super::super) struct Threads {
    shedder: LoadShedder,
    under_way: UnderWay<Running>,
}

/// A call, and what its operation waits for.
struct Running {
    thread: thread::JoinHandle<Ended>,
    end: Sender<()>,
}

type Ended = Result<(), Error<()>>;

const STACK: usize = 256 * 1024;

impl Threads {
    pub(in super::super) fn new(shedder: LoadShedder) -> Self {
        Self { shedder, under_way: UnderWay::default() }
    }
}

fn joined(thread: thread::JoinHandle<Ended>) -> Result<Ended, String> {
    thread.join().map_err(|_| "a call panicked".to_owned())
}

impl Calls for Threads {
    fn check(&mut self, priority: u32) -> Result<Answer, String> {
        match self.shedder.priority(priority) {
            Ok(shedder) => ended(shedder.call_blocking(|_| Ok::<_, ()>(()))),
            Err(error) => at_the_door(&error),
        }
    }

    fn admit(&mut self, call: &str, priority: u32) -> Result<Answer, String> {
        let shedder = match self.shedder.priority(priority) {
            Ok(shedder) => shedder,
            Err(error) => return at_the_door(&error),
        };
        let ((start, started), (end, ends)) = (channel(), channel());
        let call_it = move || {
            shedder.call_blocking(|_| {
                let _ = start.send(()); // a runner that is gone wants to hear no more
                let _ = ends.recv();
                Ok::<_, ()>(())
            })
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(call_it);
        let thread = thread.map_err(|error| format!("no thread for the call: {error}"))?;
        match started.recv() {
            Ok(()) => {
                self.under_way.begin(call, Running { thread, end });
                Ok(Ok(()))
            }
            Err(_) => ended(joined(thread)?), // without having begun
        }
    }

    fn end(&mut self, call: &str) -> Result<(), String> {
        let Running { thread, end } = self.under_way.take(call)?;
        drop(end);
        match joined(thread)? {
            Ok(()) => Ok(()),
            other => Err(format!("{call} ended with {other:?}")),
        }
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        Err(format!("{call} cannot be interrupted"))
    }
}
