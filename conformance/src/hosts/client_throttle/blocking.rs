//! Threads, each with a call.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use surefoot::{BlockingPolicy, ClientThrottle, Error};

use super::{Calls, ended, take};
use crate::format::Ending;
use crate::hosts::calls::{self, Fault};

pub(in super::super) struct Threads {
    throttle: ClientThrottle,
    under_way: Vec<(String, Running)>,
}

/// A call, and what its operation waits for.
struct Running {
    thread: thread::JoinHandle<Result<(), Error<Fault>>>,
    end: Sender<Result<(), Fault>>,
}

const STACK: usize = 256 * 1024;

impl Threads {
    pub(in super::super) fn new(throttle: ClientThrottle) -> Self {
        Self { throttle, under_way: Vec::new() }
    }
}

fn joined<T>(thread: thread::JoinHandle<T>) -> Result<T, String> {
    thread.join().map_err(|_| "a call panicked".to_owned())
}

impl Calls for Threads {
    fn begin(&mut self, call: &str) -> Result<bool, String> {
        let throttle = self.throttle.clone();
        let ((start, started), (end, ends)) = (channel(), channel());
        let call_it = move || {
            // Dropped with the call, if that is held back.
            let operation = move |_: &_| {
                let _ = start.send(()); // a runner that is gone wants to hear no more
                ends.recv().unwrap_or(Err(Fault::Ours))
            };
            throttle.call_blocking_classified(&calls::classify, operation)
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(call_it);
        let thread = thread.map_err(|error| format!("no thread for the call: {error}"))?;
        if started.recv().is_ok() {
            self.under_way.push((call.to_owned(), Running { thread, end }));
            return Ok(true);
        }
        ended(joined(thread)?)
    }

    fn end(&mut self, call: &str, ending: Ending) -> Result<(), String> {
        let Running { thread, end } = take(&mut self.under_way, call)?;
        let _ = end.send(calls::result(ending)); // its thread listens
        calls::ended(ending, &joined(thread)?)
    }
}
