//! The limits that one call touches: those of its key and those of all, and what it does with them
//! together.

use super::super::Quota;
use super::super::config::Built;
use super::super::engine::{Refusal, View};
use super::super::keyed::shards::State;
use super::super::lane::Lane;
use super::super::line::{Moved, Patience};
use super::super::reservation::sealed::Turn;
use super::{LIMITS_MOST, Scope};
use crate::Name;

/// What a call takes of each unit.
pub(super) type Amounts = [u64; LIMITS_MOST];
/// What it turned out to use of each unit, where that is known.
pub(super) type Used = [Option<u64>; LIMITS_MOST];
/// The numbers of its reservations with each limit, those of the key first; 0: none.
pub(super) type Places = [u64; LIMITS_MOST];

/// One limit, and of what.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) machine: Built,
    /// Its unit's place among all units.
    pub(super) unit: usize,
    pub(super) policy: Name,
    pub(super) quota: Quota,
    pub(super) scope: Scope,
}

/// A lane for each rule.
#[derive(Debug)]
pub(super) struct Lanes(pub(super) Vec<Lane<Built>>);

impl Rule {
    #[cold]
    pub(super) fn misfit(&self, refusal: Refusal) -> Misfit {
        Misfit { policy: self.policy.clone(), quota: self.quota, refusal }
    }
}

impl Lanes {
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }
}

impl State for Lanes {
    type Rule = Vec<Rule>;
    type Kept = Self;

    fn new(rules: &Vec<Rule>) -> Self {
        Self(rules.iter().map(|rule| Lane::new(&rule.machine)).collect())
    }

    fn idle_at(&self, rules: &Vec<Rule>) -> u64 {
        let lanes = rules.iter().zip(&self.0);
        lanes.map(|(rule, lane)| lane.idle_at(&rule.machine)).max().unwrap_or(0)
    }

    fn is_reserved(&self, now: u64) -> bool {
        self.0.iter().any(|lane| lane.is_reserved(now))
    }
}

/// The lanes of a key and those of all, with both of their locks held.
pub(super) struct Both<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) lanes: &'a mut Lanes,
    pub(super) overall_rules: &'a [Rule],
    pub(super) overall: &'a mut Lanes,
}

/// One limit that a call touches.
struct Touched<'r, 'l> {
    /// Its place among all limits.
    place: usize,
    rule: &'r Rule,
    lane: &'l mut Lane<Built>,
    units: u64,
}

/// That a call does not fit in time, and the limit that takes longest.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) policy: Name,
    pub(super) quota: Quota,
    pub(super) refusal: Refusal,
}

impl<'a> Both<'a> {
    fn of_key<'s>(&'s mut self, amounts: &'s Amounts) -> impl Iterator<Item = Touched<'a, 's>> {
        touched(self.rules, self.lanes, amounts, 0)
    }

    fn of_all<'s>(&'s mut self, amounts: &'s Amounts) -> impl Iterator<Item = Touched<'a, 's>> {
        touched(self.overall_rules, self.overall, amounts, self.rules.len())
    }

    fn each<'s>(&'s mut self, amounts: &'s Amounts) -> impl Iterator<Item = Touched<'a, 's>> {
        let of_key = touched(self.rules, self.lanes, amounts, 0);
        of_key.chain(touched(self.overall_rules, self.overall, amounts, self.rules.len()))
    }

    /// Whether all limits fit by `latest`, if nobody else comes.
    pub(super) fn fit(&mut self, amounts: &Amounts, now: u64, latest: u64) -> Result<(), Misfit> {
        match self.slowest(amounts, now) {
            Some((rule, refusal)) if refusal.is_after(latest) => Err(rule.misfit(refusal)),
            _ => Ok(()),
        }
    }

    /// The limit that fits last, if nobody else comes; `None` if nothing is taken.
    pub(super) fn slowest(&mut self, amounts: &Amounts, now: u64) -> Option<(&'a Rule, Refusal)> {
        let mut slowest: Option<(&Rule, Refusal)> = None;
        for Touched { rule, lane, units, .. } in self.each(amounts) {
            let fits_at = lane.earliest(&rule.machine, units, now);
            if fits_at.is_none() || slowest.is_none_or(|(_, other)| fits_at > other.fits_at) {
                slowest = Some((rule, Refusal { now, fits_at, paused: lane.is_paused(now) }));
            }
            if fits_at.is_none() {
                break;
            }
        }
        slowest
    }

    /// Takes what fits now, as was asked before.
    pub(super) fn take(&mut self, amounts: &Amounts, now: u64) {
        for Touched { rule, lane, units, .. } in self.each(amounts) {
            let _ = lane.check(&rule.machine, units, now);
        }
    }

    /// The same, to be corrected.
    pub(super) fn take_places(&mut self, amounts: &Amounts, now: u64) -> Places {
        let mut places = [0; LIMITS_MOST];
        for Touched { place, rule, lane, units } in self.each(amounts) {
            let placed = lane.reserve(&rule.machine, units, now, None);
            places[place] = placed.map_or(0, |placed| placed.id);
        }
        places
    }

    /// Takes the last place in the line of each limit of the key; and if it is due there, in those of all
    /// as well. The answer is when it is due. Of the limits of all nobody holds anything up who
    /// waits for those of a key.
    pub(super) fn line_up(
        &mut self,
        amounts: &Amounts,
        latest: u64,
        now: u64,
        places: &mut Places,
    ) -> Result<u64, Misfit> {
        let lined_up = self.try_line_up(amounts, latest, now, places);
        if lined_up.is_err() {
            // The clock went back, and a limit has seen a later time. Nobody stands behind it yet.
            let _: Moved = leave(self.each(amounts), places, now);
        }
        lined_up
    }

    fn try_line_up(
        &mut self,
        amounts: &Amounts,
        latest: u64,
        now: u64,
        places: &mut Places,
    ) -> Result<u64, Misfit> {
        let due = join(self.of_key(amounts), latest, now, places)?;
        if due > now {
            return Ok(due);
        }
        join(self.of_all(amounts), latest, now, places).map(|in_all| due.max(in_all))
    }

    /// When a call is due that has these places; `None` if it cannot be in time any more.
    pub(super) fn due(&mut self, amounts: &Amounts, places: &Places) -> Option<u64> {
        standing(self.each(amounts), places)
    }

    /// Has the call begin whose turn has come with every limit: all that it takes counts from then on.
    pub(super) fn begin(
        &mut self,
        amounts: &Amounts,
        places: &mut Places,
        latest: u64,
        now: u64,
        slept_until: u64,
    ) -> (Turn, Moved) {
        let mut moved = Moved::default();
        let turn = self.try_begin(amounts, places, latest, now, slept_until, &mut moved);
        if turn == Turn::Refused {
            moved.and(leave(self.each(amounts), places, now));
        }
        (turn, moved)
    }

    fn try_begin(
        &mut self,
        amounts: &Amounts,
        places: &mut Places,
        latest: u64,
        now: u64,
        slept_until: u64,
        moved: &mut Moved,
    ) -> Turn {
        let by = now.max(slept_until);
        // Refused by any of them.
        if self.due(amounts, places).is_none() {
            return Turn::Refused;
        }
        if standing(self.of_key(amounts), places).is_some_and(|due| due > by) {
            return Turn::NotDue;
        }
        // Only now it stands in the lines of all, if it had to wait for its key.
        if self.of_all(amounts).any(|touched| places[touched.place] == 0)
            && join(self.of_all(amounts), latest, now, places).is_err()
        {
            return Turn::Refused;
        }
        let Some(due) = self.due(amounts, places) else { return Turn::Refused };
        if due > by {
            return Turn::NotDue;
        }
        // What it holds since before it was due everywhere is its again from now on.
        for Touched { place, rule, lane, .. } in self.each(amounts) {
            let (due, others) = lane.renew(&rule.machine, places[place], due, now);
            moved.and(others);
            if due.is_none() {
                return Turn::Refused;
            }
        }
        if standing(self.of_key(amounts), places).is_some_and(|due| due > by) {
            // Others of its key have begun meanwhile. Those of other keys need not wait for that.
            moved.and(leave(self.of_all(amounts), places, now));
            return Turn::NotDue;
        }
        if self.due(amounts, places).is_some_and(|due| due > by) {
            return Turn::NotDue;
        }
        for Touched { place, lane, .. } in self.each(amounts) {
            lane.begin(places[place], now, slept_until);
        }
        Turn::Begun
    }

    /// Whom to wake when a call is due earlier, or not in time any more.
    pub(super) fn watch(
        &mut self,
        amounts: &Amounts,
        places: &Places,
        waker: &std::task::Waker,
    ) -> Moved {
        let mut moved = Moved::default();
        for Touched { place, lane, .. } in self.each(amounts) {
            if places[place] != 0 {
                moved.and(lane.watch(places[place], waker));
            }
        }
        moved
    }

    /// Closes the places: corrects the units whose use is known and leaves the others.
    pub(super) fn close(
        &mut self,
        amounts: &Amounts,
        places: &Places,
        used: &Used,
        now: u64,
    ) -> Moved {
        let mut moved = Moved::default();
        for Touched { place, rule, lane, .. } in self.each(amounts) {
            match (places[place], used[rule.unit]) {
                (0, _) => {}
                (id, Some(used)) => moved.and(lane.settle(&rule.machine, id, used, now)),
                (id, None) => lane.forget(id, now),
            }
        }
        moved
    }

    /// How every limit stands.
    pub(super) fn views(&mut self, now: u64) -> Vec<(&'a Rule, View)> {
        let keyed = self.rules.iter().zip(&mut self.lanes.0);
        let all = keyed.chain(self.overall_rules.iter().zip(&mut self.overall.0));
        all.map(|(rule, lane)| (rule, lane.view(&rule.machine, 1, now))).collect()
    }
}

fn touched<'r, 'l>(
    rules: &'r [Rule],
    lanes: &'l mut Lanes,
    amounts: &'l Amounts,
    first: usize,
) -> impl Iterator<Item = Touched<'r, 'l>> {
    let lanes = rules.iter().zip(&mut lanes.0).zip(first..);
    lanes.filter_map(|((rule, lane), place)| {
        let units = amounts[rule.unit];
        (units > 0).then_some(Touched { place, rule, lane, units })
    })
}

fn join<'r, 'l>(
    touched: impl Iterator<Item = Touched<'r, 'l>>,
    latest: u64,
    now: u64,
    places: &mut Places,
) -> Result<u64, Misfit> {
    let mut due = 0;
    for Touched { place, rule, lane, units } in touched {
        let patience = Patience { latest, longest: u64::MAX };
        let placed = lane.reserve(&rule.machine, units, now, Some(patience));
        let placed = placed.map_err(|refusal| rule.misfit(refusal))?;
        places[place] = placed.id;
        due = due.max(placed.due);
    }
    Ok(due)
}

/// When it is due with all of those in whose lines it stands.
fn standing<'r, 'l>(
    mut touched: impl Iterator<Item = Touched<'r, 'l>>,
    places: &Places,
) -> Option<u64> {
    touched.try_fold(0, |due, Touched { place, lane, .. }| match places[place] {
        0 => Some(due),
        id => lane.standing(id).map(|at| due.max(at)),
    })
}

fn leave<'r, 'l>(
    touched: impl Iterator<Item = Touched<'r, 'l>>,
    places: &mut Places,
    now: u64,
) -> Moved {
    let mut moved = Moved::default();
    for Touched { place, rule, lane, .. } in touched {
        let id = std::mem::take(&mut places[place]);
        if id != 0 {
            moved.and(lane.settle(&rule.machine, id, 0, now));
        }
    }
    moved
}
