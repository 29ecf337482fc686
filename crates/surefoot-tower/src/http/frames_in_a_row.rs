//! How many frames one poll takes in.

use std::task::{Context, Poll};

/// Counts the frames of one poll, so that a body that always has another does not keep the thread: whoever is around
/// the poll looks at its time limits in between.
#[derive(Default)]
pub(super) struct FramesInARow(u32);

impl FramesInARow {
    const MOST: u32 = 64;

    /// Ready if another frame may be asked for now; else the task has been woken already.
    pub(super) fn poll_another(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.0 == Self::MOST {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.0 += 1;
        Poll::Ready(())
    }
}
