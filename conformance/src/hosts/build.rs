//! Policies from a case's options, through the door that users' config files come in by.

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

use super::options::Options;
use crate::format::{Setting, Settings};

/// Jitter that can be repeated.
const SEED: u32 = 0x005E_EDED;

pub(super) fn circuit_breaker(
    settings: &Settings,
    clock: &ManualClock,
) -> Result<CircuitBreaker, ConfigError> {
    let options = named(settings);
    let config: CircuitBreakerConfig =
        from_deserializer(CircuitBreakerConfig::POLICY, Options(&options))?;
    CircuitBreakerBuilder::from(config).clock(clock).build()
}

/// A limiter that is ready but for its clock.
pub(super) fn rate_limiter(settings: &Settings) -> Result<RateLimiterBuilder, ConfigError> {
    let config: RateLimiterConfig =
        from_deserializer(RateLimiterConfig::POLICY, Options(settings))?;
    Ok(RateLimiterBuilder::from(config))
}

/// A budget that is ready but for what it is taken from.
pub(super) fn budget(name: &str, settings: &Settings) -> Result<BudgetBuilder, ConfigError> {
    let config: BudgetConfig = from_deserializer(BudgetConfig::POLICY, Options(settings))?;
    Ok(BudgetBuilder::from(config).name(name.to_owned()))
}

/// A load shedder that is ready but for its clock and functions.
pub(super) fn load_shedder(settings: &Settings) -> Result<LoadShedderBuilder, ConfigError> {
    let options = named(settings);
    let config: LoadShedderConfig =
        from_deserializer(LoadShedderConfig::POLICY, Options(&options))?;
    // The cases tell the samples themselves.
    let judges_samples = config.cpu == Some(true) || config.memory == Some(true);
    let builder = LoadShedderBuilder::from(config).seed(SEED);
    Ok(if judges_samples { builder.load_source(Arc::new(Recorded)) } else { builder })
}

pub(super) fn throttler(settings: &Settings) -> Result<ThrottlerBuilder, ConfigError> {
    let config: ThrottlerConfig = from_deserializer(ThrottlerConfig::POLICY, Options(settings))?;
    Ok(ThrottlerBuilder::from(config))
}

pub(super) fn bulkhead(settings: &Settings) -> Result<BulkheadBuilder, ConfigError> {
    let config: BulkheadConfig = from_deserializer(BulkheadConfig::POLICY, Options(settings))?;
    Ok(BulkheadBuilder::from(config))
}

pub(super) fn client_throttle(settings: &Settings) -> Result<ClientThrottleBuilder, ConfigError> {
    let options = named(settings);
    let config: ClientThrottleConfig =
        from_deserializer(ClientThrottleConfig::POLICY, Options(&options))?;
    Ok(ClientThrottleBuilder::from(config).seed(SEED))
}

/// A retry that is ready but for its listeners.
pub(super) fn retry(settings: &Settings, clock: &ManualClock) -> Result<RetryBuilder, ConfigError> {
    let config: RetryConfig = from_deserializer(RetryConfig::POLICY, Options(settings))?;
    Ok(RetryBuilder::from(config).seed(SEED).clock(clock))
}

/// A hedge that is ready but for its budget.
pub(super) fn hedge(settings: &Settings, clock: &ManualClock) -> Result<HedgeBuilder, ConfigError> {
    let config: HedgeConfig = from_deserializer(HedgeConfig::POLICY, Options(settings))?;
    Ok(HedgeBuilder::from(config).clock(clock))
}

/// With the name that listeners and errors tell.
fn named(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.0.push(("name", Setting::Word("case".into())));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Decimal;

    #[test]
    fn what_cannot_be_is_refused_by_the_policy_with_its_name() {
        let clock = ManualClock::new();
        let number = |text| Decimal::parse(text).unwrap();
        let bad = ["-5", "1e30", "100000000000"].map(|text| Setting::Time(number(text)));
        for setting in bad.into_iter().chain([Setting::NotANumber]) {
            let settings = Settings(vec![("timeout", setting)]);
            assert_eq!(circuit_breaker(&settings, &clock).unwrap_err().field(), "timeout");
        }
        for text in ["-1", "2.5", "1e30", "4294967296", "-9223372036854775809"] {
            let settings = Settings(vec![("max_attempts", Setting::Count(number(text)))]);
            let error = retry(&settings, &clock).err();
            assert_eq!(error.as_ref().map(ConfigError::field), Some("max_attempts"), "{text}");
        }
    }

    #[test]
    fn the_largest_count_is_handed_over_to_the_unit() {
        let tokens = Setting::Count(Decimal::parse("18446744073709551615").unwrap());
        let budget = budget("run", &Settings(vec![("tokens", tokens)])).unwrap().build().unwrap();
        assert_eq!(budget.remaining().tokens, Some(u64::MAX));
    }
}
