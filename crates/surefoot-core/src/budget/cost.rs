//! What is spent: attempts, tokens, money.

use std::fmt;
use std::ops::Add;

use super::Money;

/// One of the three things a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Dimension {
    /// Calls made, retries and hedges included.
    Attempts,
    /// Tokens of a model, or whatever else a call uses up.
    Tokens,
    /// [`Money`].
    Money,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Attempts, Self::Tokens, Self::Money];

    /// As metrics and config files call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Tokens => "tokens",
            Self::Money => "money",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// An amount of it as people write it; money comes in millionths.
    pub(crate) const fn show(self, amount: u64) -> Shown {
        Shown { dimension: self, amount, with_unit: false }
    }

    /// The same with its unit: `3 attempts`, `2.5 of money`.
    pub(crate) const fn describe(self, amount: u64) -> Shown {
        Shown { dimension: self, amount, with_unit: true }
    }
}

pub(crate) struct Shown {
    dimension: Dimension,
    amount: u64,
    with_unit: bool,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dimension, amount, with_unit } = *self;
        match dimension {
            Dimension::Money => Money::from_micros(amount).fmt(f)?,
            Dimension::Attempts | Dimension::Tokens => amount.fmt(f)?,
        }
        if !with_unit {
            return Ok(());
        }
        f.write_str(match (dimension, amount) {
            (Dimension::Money, _) => " of money",
            (Dimension::Attempts, 1) => " attempt",
            (Dimension::Attempts, _) => " attempts",
            (Dimension::Tokens, 1) => " token",
            (Dimension::Tokens, _) => " tokens",
        })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in every dimension: what a call takes, or what has been spent.
///
/// ```
/// use surefoot_core::budget::{Cost, Money};
///
/// let call = Cost::tokens(1_200).and_money(Money::from_micros(3_600));
/// assert_eq!((call.attempts, call.tokens), (0, 1_200));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Cost {
    /// Calls.
    pub attempts: u64,
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub money: Money,
}

impl Cost {
    /// Nothing in any dimension.
    pub const ZERO: Self = Self { attempts: 0, tokens: 0, money: Money::ZERO };

    /// So many calls, and nothing else.
    pub const fn attempts(attempts: u64) -> Self {
        Self { attempts, ..Self::ZERO }
    }

    /// So many tokens, and nothing else.
    pub const fn tokens(tokens: u64) -> Self {
        Self { tokens, ..Self::ZERO }
    }

    /// So much money, and nothing else.
    pub const fn money(money: Money) -> Self {
        Self { money, ..Self::ZERO }
    }

    /// With this much money instead.
    pub const fn and_money(self, money: Money) -> Self {
        Self { money, ..self }
    }

    /// The amount in one dimension; money in millionths.
    pub const fn of(self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Attempts => self.attempts,
            Dimension::Tokens => self.tokens,
            Dimension::Money => self.money.micros(),
        }
    }

    pub(super) fn each(of: impl Fn(Dimension) -> u64) -> Self {
        Self {
            attempts: of(Dimension::Attempts),
            tokens: of(Dimension::Tokens),
            money: Money::from_micros(of(Dimension::Money)),
        }
    }
}

/// Saturating.
impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::each(|dimension| self.of(dimension).saturating_add(other.of(dimension)))
    }
}

/// The most in each dimension, or what is left of it; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Limits {
    /// Calls.
    pub attempts: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Money.
    pub money: Option<Money>,
}

impl Limits {
    /// The limit in one dimension; money in millionths.
    pub fn of(self, dimension: Dimension) -> Option<u64> {
        match dimension {
            Dimension::Attempts => self.attempts,
            Dimension::Tokens => self.tokens,
            Dimension::Money => self.money.map(Money::micros),
        }
    }

    /// Whether nothing is limited.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(super) fn each(of: impl Fn(Dimension) -> Option<u64>) -> Self {
        Self {
            attempts: of(Dimension::Attempts),
            tokens: of(Dimension::Tokens),
            money: of(Dimension::Money).map(Money::from_micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_with_their_unit() {
        for (dimension, amount, shown) in [
            (Dimension::Attempts, 1, "1 attempt"),
            (Dimension::Attempts, 5, "5 attempts"),
            (Dimension::Tokens, 1, "1 token"),
            (Dimension::Tokens, 0, "0 tokens"),
            (Dimension::Money, 2_500_000, "2.5 of money"),
        ] {
            assert_eq!(dimension.describe(amount).to_string(), shown);
        }
    }

    #[test]
    fn costs_add_up_in_every_dimension_and_saturate() {
        let one = Cost { attempts: 1, tokens: 20, money: Money::from_micros(300) };
        let sum = one + Cost::tokens(u64::MAX) + Cost::money(Money::from_micros(7));
        assert_eq!((sum.attempts, sum.tokens, sum.money.micros()), (1, u64::MAX, 307));
    }
}
