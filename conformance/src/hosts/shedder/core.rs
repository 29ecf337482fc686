//! Permits, asked for and dropped.

use surefoot_core::LoadShedder;
use surefoot_core::load_shedder::Permit;

use super::{Answer, Calls, UnderWay, refused};

pub(in super::super) struct Permits {
    shedder: LoadShedder,
    under_way: UnderWay<Permit>,
}

impl Permits {
    pub(in super::super) fn new(shedder: LoadShedder) -> Self {
        Self { shedder, under_way: UnderWay::default() }
    }
}

impl Calls for Permits {
    fn check(&mut self, priority: u32) -> Result<Answer, String> {
        self.shedder.check(priority).map_or_else(refused, |()| Ok(Ok(())))
    }

    fn admit(&mut self, call: &str, priority: u32) -> Result<Answer, String> {
        match self.shedder.admit(priority) {
            Ok(permit) => {
                self.under_way.begin(call, permit);
                Ok(Ok(()))
            }
            Err(rejection) => refused(rejection),
        }
    }

    fn end(&mut self, call: &str) -> Result<(), String> {
        self.under_way.take(call).map(drop)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.under_way.take(call).map(drop)
    }
}
