//! Surefoot at the door of the service.
use super::load::Priority;
use std::time::Duration;
pub(crate) const WAITING: u32 = 20;
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(400);
#[derive(Debug)]
pub(crate) struct Door;
impl Door {
    pub(crate) fn new() -> Self {
        Self
    }
    pub(crate) async fn admit(&self, _priority: Priority) -> Result<(), Duration> {
        Ok(())
    }
}
