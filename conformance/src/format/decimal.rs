//! Decimal numbers as the case files write them, never through a binary float.

/// Powers of ten beyond this are cut short: far outside of anything that is told apart.
const EXPONENT_MOST: i64 = 1_000_000;
/// Digits that a `u128` surely holds.
const DIGITS_MOST: i64 = 38;
const NANOS_PER_SECOND_LOG10: i64 = 9;

/// A number as it was written: `digits · 10^exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    text: String,
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    exponent: i64,
}

/// Why a number of seconds is no whole number of nanoseconds that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNanos {
    TooFine,
    TooLarge,
}

impl Decimal {
    /// Reads the text of a JSON number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) =
            text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = unsigned
            .split_once(['e', 'E'])
            .map_or((unsigned, "0"), |(mantissa, exp)| (mantissa, exp));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let exponent = read_exponent(exponent)? - i64::try_from(fraction.len()).ok()?;
        let digits = format!("{whole}{fraction}");
        let trimmed = digits.trim_end_matches('0');
        let exponent = exponent + i64::try_from(digits.len() - trimmed.len()).ok()?;
        let digits = trimmed.trim_start_matches('0').to_owned();
        let zero = digits.is_empty();
        Some(Self {
            text: text.to_owned(),
            negative: negative && !zero,
            digits,
            exponent: if zero { 0 } else { exponent },
        })
    }

    /// The number as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The number without an exponent, for those who read digits only; as it was written if that
    /// would be absurdly long.
    pub(crate) fn plain(&self) -> String {
        if !self.text.contains(['e', 'E']) {
            return self.text.clone();
        }
        let Ok(exponent) = i8::try_from(self.exponent) else { return self.text.clone() };
        let sign = if self.negative { "-" } else { "" };
        let zeros = usize::from(exponent.max(0).unsigned_abs());
        let places = usize::from(exponent.min(0).unsigned_abs());
        let digits = format!("{}{}", self.digits, "0".repeat(zeros));
        let digits = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    /// The magnitude as seconds, in nanoseconds, exactly.
    pub(crate) fn nanos(&self) -> Result<u128, NotNanos> {
        let shift = self.exponent + NANOS_PER_SECOND_LOG10;
        if shift < 0 {
            Err(NotNanos::TooFine)
        } else {
            self.shifted(shift).ok_or(NotNanos::TooLarge)
        }
    }

    /// The same, rounded to the nearest nanosecond: for expectations, which have a tolerance.
    pub(crate) fn nearest_nanos(&self) -> Option<u128> {
        let shift = self.exponent + NANOS_PER_SECOND_LOG10;
        if shift >= 0 {
            return self.shifted(shift);
        }
        let kept = i64::try_from(self.digits.len()).ok()? + shift;
        let Ok(kept) = usize::try_from(kept) else { return Some(0) };
        if kept > 30 {
            return None;
        }
        let (whole, rest) = self.digits.split_at(kept);
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        Some(whole + u128::from(rest.as_bytes()[0] >= b'5'))
    }

    /// The number if it is a whole one.
    pub(crate) fn integer(&self) -> Option<i128> {
        let magnitude = i128::try_from(self.shifted(self.exponent)?).ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The nearest binary float, for rates and factors.
    pub(crate) fn float(&self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }

    /// `digits · 10^shift`, if it is whole and fits.
    fn shifted(&self, shift: i64) -> Option<u128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let shift = u32::try_from(shift).ok()?;
        let length = i64::try_from(self.digits.len()).ok()? + i64::from(shift);
        if length > DIGITS_MOST {
            return None;
        }
        Some(self.digits.parse::<u128>().ok()? * 10_u128.pow(shift))
    }
}

fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent = digits.parse::<i64>().unwrap_or(EXPONENT_MOST).min(EXPONENT_MOST);
    Some(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn seconds_become_nanoseconds_exactly() {
        let table: [(&str, u128); 12] = [
            ("0", 0),
            ("-0.0", 0),
            ("1", 1_000_000_000),
            ("0.1", 100_000_000),
            ("0.000000001", 1),
            ("2.999999999", 2_999_999_999),
            ("1000000000.5", 1_000_000_000_500_000_000),
            ("1.50", 1_500_000_000),
            ("1e-9", 1),
            ("1.5E+3", 1_500_000_000_000),
            ("100000000000", 100_000_000_000_000_000_000),
            ("0.3000000000000", 300_000_000),
        ];
        for (text, nanos) in table {
            assert_eq!(read(text).nanos(), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_nanosecond_or_absurdly_large_says_so() {
        for text in ["0.0000000001", "0.30000000000000004", "1e-10", "1e-99999999999999999999"] {
            assert_eq!(read(text).nanos(), Err(NotNanos::TooFine), "{text}");
        }
        for text in ["1e30", "1e99999999999999999999", "9999999999999999999999999999999999999999"] {
            assert_eq!(read(text).nanos(), Err(NotNanos::TooLarge), "{text}");
        }
    }

    #[test]
    fn expectations_are_rounded_to_the_nearest_nanosecond() {
        let table = [
            ("0.30000000000000004", Some(300_000_000)),
            ("0.3333333333333333", Some(333_333_333)),
            ("0.6666666666", Some(666_666_667)),
            ("0.0000000005", Some(1)),
            ("0.00000000001", Some(0)),
            ("7", Some(7_000_000_000)),
            ("1e40", None),
        ];
        for (text, nanos) in table {
            assert_eq!(read(text).nearest_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn exponents_are_written_out() {
        let table = [
            ("1e-6", "0.000001"),
            ("-2.50E+3", "-2500"),
            ("12.5e-1", "1.25"),
            ("0e5", "0"),
            ("1.50", "1.50"),
            ("1e999", "1e999"),
        ];
        for (text, plain) in table {
            assert_eq!(read(text).plain(), plain, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_told_from_others() {
        let table = [
            ("5", Some(5)),
            ("-5", Some(-5)),
            ("5.0", Some(5)),
            ("1e3", Some(1000)),
            ("2.5", None),
            ("1e40", None),
        ];
        for (text, integer) in table {
            assert_eq!(read(text).integer(), integer, "{text}");
        }
        assert!(read("-1").is_negative());
        assert!(!read("-0").is_negative());
        assert!((read("0.25").float() - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".5", "1x", "0x10", "1e", "1e+", "e5", "NaN", "1.2.3", "--1", "+1"] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }
}
