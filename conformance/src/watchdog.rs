//! Ends a runner that hangs: a policy that never comes back must not stop whoever waits for the
//! result. The only place where real time counts.

use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long one case may take on one host. They take milliseconds.
const LONGEST: Duration = Duration::from_secs(120);

/// Watches until it is dropped.
pub(crate) struct Watchdog {
    begin: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start() -> Self {
        let (begin, begun) = channel::<String>();
        let watch = move || {
            let mut now_running = String::from("start");
            loop {
                match begun.recv_timeout(LONGEST) {
                    Ok(next) => now_running = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        println!("error   {now_running}: no end after {LONGEST:?}, given up");
                        process::exit(2);
                    }
                }
            }
        };
        Self { begin: Some(begin), thread: Some(thread::spawn(watch)) }
    }

    /// Notes what begins now.
    pub(crate) fn begins(&self, what: String) {
        let _ = self.begin.as_ref().map(|begin| begin.send(what));
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.begin = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
