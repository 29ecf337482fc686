//! Chance, seeded.

use std::f64::consts::TAU;
use std::time::Duration;

/// A source of random numbers that can be split, so that one more draw in one place moves nothing
/// elsewhere.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

/// How long a piece of work takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    /// Always the same.
    Constant,
    /// Exponentially distributed: as many short ones as a busy server usually has.
    Exponential,
    /// Nine in ten short, one in ten ten times as long.
    Bimodal,
    /// Log-normal with σ = 1.2: what answers of language models look like.
    LogNormal,
}

impl Chance {
    /// The numbers that belong to a seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// One of the sources that this one could be split into, by its number.
    #[must_use]
    pub fn part(&self, number: u64) -> Self {
        // Neighbouring seeds give unrelated numbers only after the first few are mixed.
        let seed = self.clone().0.u64(..) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(fastrand::Rng::with_seed(fastrand::Rng::with_seed(seed).u64(..)))
    }

    /// Another source, independent of this one from now on.
    pub fn split(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// `true` in such a share of all cases.
    pub fn happens(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.u64(..n)
    }

    /// A number of `0.0..1.0`.
    pub fn share(&mut self) -> f64 {
        self.0.f64()
    }

    /// The time to the next of events that come independently, on average after `mean`.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.0.f64()).ln())
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.0.f64()).ln()).sqrt() * (TAU * self.0.f64()).cos()
    }
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Exponential, Self::Constant, Self::Bimodal, Self::LogNormal];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Exponential => "exponential",
            Self::Bimodal => "bimodal 90/10",
            Self::LogNormal => "log-normal",
        }
    }

    /// One piece of work.
    pub fn draw(self, mean: Duration, chance: &mut Chance) -> Duration {
        const SIGMA: f64 = 1.2;
        match self {
            Self::Constant => mean,
            Self::Exponential => chance.exponential(mean),
            Self::Bimodal => {
                let short = mean.div_f64(1.9);
                if chance.happens(0.1) { short * 10 } else { short }
            }
            Self::LogNormal => mean.mul_f64((SIGMA * chance.normal() - SIGMA * SIGMA / 2.0).exp()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_takes_its_mean_on_average() {
        let mean = Duration::from_millis(100);
        for service in Service::ALL {
            let mut chance = Chance::new(1);
            let total: Duration = (0..200_000).map(|_| service.draw(mean, &mut chance)).sum();
            let measured = total / 200_000;
            assert!(measured.abs_diff(mean) < mean / 50, "{service:?}: {measured:?}");
        }
    }
}
