//! The most calls that were under way lately.

/// How long a peak is remembered at least, in windows; at most twice as long.
const MEMORY: u32 = 60;

/// The highest of two spans, the present one and the one before: old peaks leave without being
/// kept one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    before: u32,
    present: u32,
    windows: u32,
}

impl Peak {
    pub(super) fn note(&mut self, in_flight: u32) {
        if self.windows == MEMORY {
            *self = Self { before: self.present, present: 0, windows: 0 };
        }
        self.windows += 1;
        self.present = self.present.max(in_flight);
    }

    pub(super) fn get(self) -> u32 {
        self.before.max(self.present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_remembered_for_one_span_and_forgotten_after_two() {
        let mut peak = Peak::default();
        peak.note(40);
        (0..MEMORY).for_each(|_| peak.note(3));
        assert_eq!(peak.get(), 40);
        (0..MEMORY).for_each(|_| peak.note(2));
        assert_eq!(peak.get(), 3);
    }
}
