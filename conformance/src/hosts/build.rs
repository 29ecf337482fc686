//! Policies from a case's options, through the door that users' TOML comes in by.

use std::sync::Arc;

use surefoot_core::budget::{BudgetBuilder, BudgetConfig};
use surefoot_core::bulkhead::{BulkheadBuilder, BulkheadConfig};
use surefoot_core::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerConfig};
use surefoot_core::client_throttle::{ClientThrottleBuilder, ClientThrottleConfig};
use surefoot_core::config::from_deserializer;
use surefoot_core::hedge::{HedgeBuilder, HedgeConfig};
use surefoot_core::load_shedder::{LoadShedderBuilder, LoadShedderConfig, Recorded};
use surefoot_core::rate_limiter::{RateLimiterBuilder, RateLimiterConfig};
use surefoot_core::retry::{RetryBuilder, RetryConfig};
use surefoot_core::throttler::{ThrottlerBuilder, ThrottlerConfig};
use surefoot_core::{CircuitBreaker, ConfigError, ManualClock};
use toml::{Table, Value};

use crate::format::{Decimal, Setting, Settings};

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Jitter that can be repeated.
const SEED: u32 = 0x005E_EDED;

pub(super) fn circuit_breaker(
    settings: &Settings,
    clock: &ManualClock,
) -> Result<CircuitBreaker, ConfigError> {
    let mut options = table(settings);
    options.insert("name".into(), Value::String("case".into()));
    let config: CircuitBreakerConfig = from_deserializer(CircuitBreakerConfig::POLICY, options)?;
    CircuitBreakerBuilder::from(config).clock(clock).build()
}

/// A limiter that is ready but for its clock.
pub(super) fn rate_limiter(settings: &Settings) -> Result<RateLimiterBuilder, ConfigError> {
    let config: RateLimiterConfig = from_deserializer(RateLimiterConfig::POLICY, table(settings))?;
    Ok(RateLimiterBuilder::from(config))
}

/// A budget that is ready but for what it is taken from.
pub(super) fn budget(name: &str, settings: &Settings) -> Result<BudgetBuilder, ConfigError> {
    let config: BudgetConfig = from_deserializer(BudgetConfig::POLICY, table(settings))?;
    Ok(BudgetBuilder::from(config).name(name.to_owned()))
}

/// A load shedder that is ready but for its clock and functions.
pub(super) fn load_shedder(settings: &Settings) -> Result<LoadShedderBuilder, ConfigError> {
    let mut options = table(settings);
    options.insert("name".into(), Value::String("case".into()));
    let config: LoadShedderConfig = from_deserializer(LoadShedderConfig::POLICY, options)?;
    // The cases tell the samples themselves.
    let judges_samples = config.cpu == Some(true) || config.memory == Some(true);
    let builder = LoadShedderBuilder::from(config).seed(SEED);
    Ok(if judges_samples { builder.load_source(Arc::new(Recorded)) } else { builder })
}

pub(super) fn throttler(settings: &Settings) -> Result<ThrottlerBuilder, ConfigError> {
    let config: ThrottlerConfig = from_deserializer(ThrottlerConfig::POLICY, table(settings))?;
    Ok(ThrottlerBuilder::from(config))
}

pub(super) fn bulkhead(settings: &Settings) -> Result<BulkheadBuilder, ConfigError> {
    let config: BulkheadConfig = from_deserializer(BulkheadConfig::POLICY, table(settings))?;
    Ok(BulkheadBuilder::from(config))
}

pub(super) fn client_throttle(settings: &Settings) -> Result<ClientThrottleBuilder, ConfigError> {
    let mut options = table(settings);
    options.insert("name".into(), Value::String("case".into()));
    let config: ClientThrottleConfig = from_deserializer(ClientThrottleConfig::POLICY, options)?;
    Ok(ClientThrottleBuilder::from(config).seed(SEED))
}

/// A retry that is ready but for its listeners.
pub(super) fn retry(settings: &Settings, clock: &ManualClock) -> Result<RetryBuilder, ConfigError> {
    let config: RetryConfig = from_deserializer(RetryConfig::POLICY, table(settings))?;
    Ok(RetryBuilder::from(config).seed(SEED).clock(clock))
}

/// A hedge that is ready but for its budget.
pub(super) fn hedge(settings: &Settings, clock: &ManualClock) -> Result<HedgeBuilder, ConfigError> {
    let config: HedgeConfig = from_deserializer(HedgeConfig::POLICY, table(settings))?;
    Ok(HedgeBuilder::from(config).clock(clock))
}

fn table(Settings(settings): &Settings) -> Table {
    settings.iter().map(|(name, setting)| ((*name).to_owned(), value(setting))).collect()
}

fn value(setting: &Setting) -> Value {
    match setting {
        Setting::Time(seconds) => Value::String(humantime(seconds)),
        Setting::Count(count) => {
            let integer = count.integer().and_then(|count| i64::try_from(count).ok());
            integer.map_or_else(|| Value::Float(count.float()), Value::Integer)
        }
        Setting::Ratio(ratio) => Value::Float(ratio.float()),
        Setting::Amount(amount) => Value::String(amount.text().to_owned()),
        Setting::NotANumber => Value::Float(f64::NAN),
        Setting::Flag(flag) => Value::Boolean(*flag),
        Setting::Word(word) => Value::String(word.clone()),
        Setting::Group(settings) => Value::Table(table(settings)),
        Setting::Named(groups) => {
            let groups = groups.iter().map(|(name, group)| (name.clone(), table(group).into()));
            Value::Table(groups.collect())
        }
    }
}

/// A length of time as config files write it. One that cannot be is written all the same: to
/// refuse it is the policy's part.
fn humantime(seconds: &Decimal) -> String {
    let sign = if seconds.is_negative() { "-" } else { "" };
    match seconds.nanos() {
        Ok(nanos) if u64::try_from(nanos).is_ok() => format!("{sign}{nanos}ns"),
        Ok(nanos) => format!("{sign}{}s {}ns", nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND),
        Err(_) => format!("{}s", seconds.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_exactly_and_impossible_ones_too() {
        let table = [
            ("1.5", "1500000000ns"),
            ("0", "0ns"),
            ("-5", "-5000000000ns"),
            ("100000000000", "100000000000s 0ns"),
            ("1e30", "1e30s"),
        ];
        for (seconds, text) in table {
            assert_eq!(humantime(&Decimal::parse(seconds).unwrap()), text);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_policy_with_its_name() {
        let clock = ManualClock::new();
        let number = |text| Decimal::parse(text).unwrap();
        let bad = ["-5", "1e30", "100000000000"].map(|text| Setting::Time(number(text)));
        for setting in bad.into_iter().chain([Setting::NotANumber]) {
            let settings = Settings(vec![("timeout", setting)]);
            assert_eq!(circuit_breaker(&settings, &clock).unwrap_err().field(), "timeout");
        }
        for text in ["-1", "2.5", "1e30", "4294967296"] {
            let settings = Settings(vec![("max_attempts", Setting::Count(number(text)))]);
            let error = retry(&settings, &clock).err();
            assert_eq!(error.as_ref().map(ConfigError::field), Some("max_attempts"), "{text}");
        }
    }
}
