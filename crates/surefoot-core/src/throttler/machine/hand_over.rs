//! Returning a permit, and giving it to whose turn it is.

use super::super::LeftQueue;
use super::super::codel::Codel;
use super::super::grant::Grant;
use super::super::queue::{Cause, Slot, Waiting, Wakes};
use super::super::word::Returned;
use super::{Machine, State};
use crate::sync::{MutexGuard, lock};
use crate::{Timestamp, Verdict};

impl Machine {
    /// Returns a permit. Of one that is untimed nobody need know how the call ended.
    #[inline(always)]
    pub(in crate::throttler) fn release(&self, grant: Grant, verdict: Option<Verdict>) {
        match verdict {
            None => self.put_back(),
            Some(verdict) => self.release_timed(grant, &verdict),
        }
    }

    #[inline(always)]
    pub(in crate::throttler) fn put_back(&self) {
        match self.word.put_back() {
            Returned::Free => {}
            Returned::Claimed => self.hand_over(),
            Returned::Noticed => self.notice(),
        }
    }

    #[inline(never)]
    fn release_timed(&self, grant: Grant, verdict: &Verdict) {
        let now = self.time.now();
        let lent_at = |loan| self.fellowship.begun_at(loan).unwrap_or(now);
        let begun_at = grant.loan().map_or_else(|| grant.at(), lent_at);
        self.service.record(now.nanos_since(begun_at));
        if let Some(samples) = &self.samples {
            let held = now - begun_at;
            samples.note(verdict, held, self.limit().saturating_sub(self.word.load().free()));
        }
        self.return_permit(grant, now);
        if let Some(samples) = self.samples.as_ref().filter(|samples| samples.is_due(now)) {
            self.end_window(samples, now);
        }
    }

    pub(super) fn return_permit(&self, grant: Grant, now: Timestamp) {
        if let Some(loan) = grant.loan() {
            self.fellowship.give_back(loan);
            return self.notice_if_watched();
        }
        if self.word.load().has_claims() {
            let mut state = lock(&self.state);
            let somebody_waits = state.queue.waiting() > 0;
            state.claims.bring(&self.word, somebody_waits);
            self.serve_all(state, now);
            return self.notice_if_watched();
        }
        match self.word.put_back() {
            Returned::Free => {}
            Returned::Claimed => self.hand_over_at(now),
            Returned::Noticed => self.notice(),
        }
    }

    /// Hands in a permit that has met a claim.
    #[inline(never)]
    fn hand_over(&self) {
        self.hand_over_at(self.time.now());
    }

    fn hand_over_at(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        state.claims.hand_in(&self.word);
        self.serve_all(state, now);
        self.notice_if_watched();
    }

    /// Gives what was handed in to those who wait.
    pub(super) fn serve_all(&self, mut state: MutexGuard<'_, State>, now: Timestamp) {
        let mut wakes = Wakes::default();
        let told = state.look(now, &self.service);
        while (state.claims.has_permit() || self.fellowship.may_borrow())
            && let Some(next) = self.next(&mut state, now, &mut wakes)
        {
            let grant = if state.claims.take() {
                Grant::own(now)
            } else if let Some(grant) = self.fellowship.borrow(self, now) {
                state.claims.withdraw(&self.word);
                grant
            } else {
                break;
            };
            if let Some(samples) = &self.samples {
                samples.waited(now - next.since);
            }
            if let Some(codel) = &mut state.codel {
                codel.saw(now - next.since);
            }
            wakes.add(state.queue.grant(&self.answers, next.slot, grant));
        }
        self.finish(state, &mut wakes);
        self.tell_standing(told, now);
    }

    /// Whose turn it is: those who cannot use one any more are sent away first.
    fn next(&self, state: &mut State, now: Timestamp, wakes: &mut Wakes) -> Option<Waiting> {
        while let Some(next) = state.queue.first() {
            let Some(reason) = self.unfit(state, next, now) else { return Some(next) };
            if let Some(codel) = &mut state.codel {
                codel.saw(now - next.since);
            }
            self.send_away(state, next.slot, Cause::Left { at: now, reason }, wakes);
        }
        None
    }

    fn unfit(&self, state: &State, waiting: Waiting, now: Timestamp) -> Option<LeftQueue> {
        let Waiting { since, deadline, .. } = waiting;
        self.is_late(state, since, now)
            .or_else(|| self.is_hopeless(deadline, now).then_some(LeftQueue::Deadline))
    }

    pub(super) fn is_late(
        &self,
        state: &State,
        since: Timestamp,
        now: Timestamp,
    ) -> Option<LeftQueue> {
        if now >= since + self.config.timeout {
            Some(LeftQueue::Timeout)
        } else if state.is_over_delayed(since, now) {
            Some(LeftQueue::StandingQueue)
        } else {
            None
        }
    }

    pub(super) fn send_away(&self, state: &mut State, slot: Slot, cause: Cause, wakes: &mut Wakes) {
        state.claims.withdraw(&self.word);
        wakes.add(state.queue.refuse(slot, cause));
    }
}

impl State {
    /// Whether the queue stands and this one has waited too long for that.
    fn is_over_delayed(&self, since: Timestamp, now: Timestamp) -> bool {
        let longest = self.codel.as_ref().and_then(Codel::longest_wait);
        longest.is_some_and(|longest| now - since >= longest)
    }
}
