//! What an admitted call holds until its verdict.

use super::super::half_open::ProbeId;
use super::super::word::{Flag, Word};
use crate::Timestamp;

/// What an admitted call holds: when it was admitted, and as what.
#[derive(Clone, Copy, Debug)]
pub(in crate::circuit_breaker) struct Ticket {
    /// [`Ticket::USED`] once the verdict is in.
    pub(super) generation: u64,
    pub(super) probe: Option<ProbeId>,
    /// When it started, where durations matter; [`Timestamp::MAX`] elsewhere, which makes any
    /// duration zero.
    pub(super) started: Timestamp,
}

impl Ticket {
    /// Generations have 56 bits, so this is none.
    const USED: u64 = u64::MAX;

    /// The ticket, once.
    #[inline]
    pub(in crate::circuit_breaker) fn use_up(&mut self) -> Option<Self> {
        let ticket = *self;
        self.generation = Self::USED;
        (!ticket.is_used()).then_some(ticket)
    }

    #[inline]
    pub(in crate::circuit_breaker) fn mark_used(&mut self) {
        self.generation = Self::USED;
    }

    #[inline]
    pub(in crate::circuit_breaker) fn is_used(&self) -> bool {
        self.generation == Self::USED
    }

    #[inline]
    pub(super) fn plain(word: Word, now: Timestamp) -> Self {
        let started = if word.has(Flag::TIMED) { now } else { Timestamp::MAX };
        Self { generation: word.generation(), probe: None, started }
    }
}
