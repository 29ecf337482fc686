//! Amounts of money, exactly.

use std::fmt;
use std::str::FromStr;

/// An amount of one currency, whichever the program thinks in, in whole millionths: prices of
/// tokens add up exactly, which floats would not.
///
/// At most 18 446 744 073 709.551615. Sums saturate there, and nothing goes below zero.
///
/// ```
/// use surefoot_core::budget::Money;
///
/// let limit: Money = "2.50".parse()?;
/// assert_eq!(limit, Money::from_micros(2_500_000));
/// assert_eq!(limit.to_string(), "2.5");
///
/// // 1,200 tokens at 0.15 for a million of them, rounded up to a millionth.
/// assert_eq!(Money::for_tokens(1_200, "0.15".parse()?), Money::from_micros(180));
/// # Ok::<(), surefoot_core::budget::NotMoney>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

const UNIT: u64 = 1_000_000;
const DECIMALS: usize = 6;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths of the unit.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// So many whole units: dollars, not cents.
    pub const fn from_units(units: u64) -> Self {
        Self(units.saturating_mul(UNIT))
    }

    /// The price of `tokens` where a million of them cost `per_million`, rounded up, so that a
    /// budget is never short by what was rounded away.
    pub fn for_tokens(tokens: u64, per_million: Self) -> Self {
        let price = (u128::from(tokens) * u128::from(per_million.0)).div_ceil(u128::from(UNIT));
        Self(u64::try_from(price).unwrap_or(u64::MAX))
    }

    /// The amount in millionths.
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |sum, amount| sum + amount)
    }
}

/// As few digits as say it exactly: `2`, `0.5`, `0.000001`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, rest) = (self.0 / UNIT, self.0 % UNIT);
        if rest == 0 {
            return write!(f, "{units}");
        }
        let decimals = format!("{rest:06}");
        write!(f, "{units}.{}", decimals.trim_end_matches('0'))
    }
}

/// A text that is no amount of money: not digits with up to six decimals, or too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMoney;

impl fmt::Display for NotMoney {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of money is digits with up to six decimals, such as 12.50")
    }
}

impl std::error::Error for NotMoney {}

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let (units, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(NotMoney),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(units) || !digits(decimals) || decimals.len() > DECIMALS {
            return Err(NotMoney);
        }
        let units: u64 = units.parse().map_err(|_| NotMoney)?;
        let micros = format!("{decimals:0<6}").parse::<u64>().map_err(|_| NotMoney)?;
        units
            .checked_mul(UNIT)
            .and_then(|whole| whole.checked_add(micros))
            .map(Self)
            .ok_or(NotMoney)
    }
}

/// As text, which no reader turns into a float: `"12.5"`.
#[cfg(feature = "serde")]
impl serde::Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From text (`"12.50"`) or a whole number of units. A number with decimals is an error, since it
/// has been a float on the way.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Amount)
    }
}

#[cfg(feature = "serde")]
struct Amount;

#[cfg(feature = "serde")]
impl serde::de::Visitor<'_> for Amount {
    type Value = Money;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of money in quotes, like \"12.50\", or a whole number of units")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Money, E> {
        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, units: u64) -> Result<Money, E> {
        let micros = units.checked_mul(UNIT);
        let too_much = || E::invalid_value(serde::de::Unexpected::Unsigned(units), &self);
        micros.map(Money).ok_or_else(too_much)
    }

    fn visit_i64<E: serde::de::Error>(self, units: i64) -> Result<Money, E> {
        match u64::try_from(units) {
            Ok(units) => self.visit_u64(units),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(units), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_and_written_exactly() {
        for (text, micros, shown) in [
            ("0", 0, "0"),
            ("12", 12_000_000, "12"),
            ("12.50", 12_500_000, "12.5"),
            ("0.1", 100_000, "0.1"),
            ("0.000001", 1, "0.000001"),
            ("007.010", 7_010_000, "7.01"),
            ("18446744073709.551615", u64::MAX, "18446744073709.551615"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.micros(), micros, "{text}");
            assert_eq!(money.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            ".",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "1,5",
            " 1",
            "1 ",
            "0.0000001",
            "NaN",
            "1.2.3",
            "18446744073709.551616",
            "99999999999999999999999",
            "١",
            "1.٥",
        ] {
            assert_eq!(text.parse::<Money>(), Err(NotMoney), "{text:?}");
        }
    }

    #[test]
    fn a_price_is_rounded_up_and_never_overflows() {
        let price = |tokens, micros| Money::for_tokens(tokens, Money::from_micros(micros)).micros();
        assert_eq!(price(0, 3_000_000), 0);
        assert_eq!(price(1, 3_000_000), 3);
        assert_eq!(price(1, 150_000), 1);
        assert_eq!(price(7, 150_000), 2);
        assert_eq!(price(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(Money::from_units(u64::MAX), Money::from_micros(u64::MAX));
        let most = Money::from_micros(u64::MAX);
        assert_eq!([most, most].into_iter().sum::<Money>(), most);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn money_is_text_or_whole_units_in_data_and_never_a_float() {
        let read = |text: &str| serde_json::from_str::<Money>(text);
        assert_eq!(read("\"0.1\"").unwrap().micros(), 100_000);
        assert_eq!(read("3").unwrap(), Money::from_units(3));
        for bad in ["0.1", "-3", "\"-3\"", "18446744073709551615", "null", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Money::from_micros(100_000)).unwrap(), "\"0.1\"");
    }
}
