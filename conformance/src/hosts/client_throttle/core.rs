//! Permits, asked for and closed.

use surefoot_core::client_throttle::Permit;
use surefoot_core::{ClientThrottle, Verdict};

use super::{Calls, held_back, take};
use crate::format::Ending;

pub(in super::super) struct Permits {
    throttle: ClientThrottle,
    under_way: Vec<(String, Permit)>,
}

impl Permits {
    pub(in super::super) fn new(throttle: ClientThrottle) -> Self {
        Self { throttle, under_way: Vec::new() }
    }
}

impl Calls for Permits {
    fn begin(&mut self, call: &str) -> Result<bool, String> {
        match self.throttle.admit() {
            Ok(permit) => {
                self.under_way.push((call.to_owned(), permit));
                Ok(true)
            }
            Err(rejection) => held_back(&rejection),
        }
    }

    fn end(&mut self, call: &str, ending: Ending) -> Result<(), String> {
        let permit = take(&mut self.under_way, call)?;
        match ending {
            Ending::Success => permit.success(),
            Ending::Failure => permit.failure(),
            Ending::Ignore => permit.settle(Verdict::Ignored),
            Ending::Throttled { retry_after } => permit.settle(Verdict::Throttled { retry_after }),
            Ending::Cancel => drop(permit),
            Ending::Deadline => return Err("no such case has a time limit".into()),
        }
        Ok(())
    }
}
