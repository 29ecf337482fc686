//! Which subjects of a work the names on the command line ask for.

use std::collections::BTreeSet;

use crate::row::{Goal, Sum};

/// The names asked for; none asks for everything.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    names: Vec<String>,
}

impl Filter {
    /// A filter that finds `names` in works and subjects, whatever their case.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| name.to_lowercase()).collect() }
    }

    /// Whether one of the names occurs in the work's or the subject's.
    pub(crate) fn asks_for(&self, work: &str, subject: &str) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|name| {
                work.to_lowercase().contains(name) || subject.to_lowercase().contains(name)
            })
    }

    /// The subjects, sums and goals' subjects of one work to keep: what is asked for, and whatever that is
    /// compared with or added up from.
    pub(crate) fn select<'a>(
        &self,
        work: &str,
        subjects: impl Iterator<Item = &'a str>,
        sums: &'a [Sum],
        goals: &'a [Goal],
    ) -> BTreeSet<String> {
        let mut selected: BTreeSet<String> = subjects
            .chain(sums.iter().map(|sum| sum.subject.as_str()))
            .chain(goals.iter().map(|goal| goal.subject.as_str()))
            .filter(|subject| self.asks_for(work, subject))
            .map(str::to_owned)
            .collect();
        for goal in goals {
            if self.asks_for(work, &goal.subject) {
                selected.insert(goal.peer.clone());
            }
        }
        for sum in sums {
            if selected.contains(&sum.subject) {
                selected.extend(sum.terms.iter().map(|(_, term)| term.clone()));
            }
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A work "breaker" in which `ours` is held against `recloser` and against a sum over `clock`.
    fn selected(names: &[&str]) -> Vec<String> {
        let sums = [Sum {
            subject: "one read + 12 ns".to_owned(),
            terms: vec![(1.0, "clock".to_owned())],
            plus_ns: 12.0,
        }];
        let goals = ["recloser", "one read + 12 ns"].map(|peer| Goal {
            subject: "ours".to_owned(),
            at_most: 1.0,
            peer: peer.to_owned(),
        });
        Filter::new(names.iter().map(ToString::to_string))
            .select("breaker", ["clock", "failsafe", "ours", "recloser"].into_iter(), &sums, &goals)
            .into_iter()
            .collect()
    }

    #[test]
    fn no_name_asks_for_everything() {
        assert_eq!(selected(&[]), ["clock", "failsafe", "one read + 12 ns", "ours", "recloser"]);
    }

    #[test]
    fn a_works_name_asks_for_all_of_it() {
        assert_eq!(selected(&["break"]).len(), 5);
    }

    #[test]
    fn a_peer_alone_brings_nobody_along() {
        assert_eq!(selected(&["fail"]), ["failsafe"]);
        assert_eq!(selected(&["recloser"]), ["recloser"]);
    }

    #[test]
    fn a_subject_brings_its_peers_and_what_they_are_added_up_from() {
        assert_eq!(selected(&["ours"]), ["clock", "one read + 12 ns", "ours", "recloser"]);
    }

    #[test]
    fn any_of_several_names_is_enough_and_case_does_not_matter() {
        assert_eq!(selected(&["FAILSAFE", "clock"]), ["clock", "failsafe"]);
    }

    #[test]
    fn an_unknown_name_asks_for_nothing() {
        assert!(selected(&["hystrix"]).is_empty());
    }
}
