//! Config files: any text; what is valid survives being written and read again.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use surefoot_core::ConfigError;
use surefoot_core::circuit_breaker::CircuitBreakerConfig;
use surefoot_core::client_throttle::ClientThrottleConfig;
use surefoot_core::hedge::HedgeConfig;
use surefoot_core::load_shedder::LoadShedderConfig;
use surefoot_core::retry::RetryConfig;
use surefoot_core::timeout::TimeoutConfig;

fn check<C: Serialize + PartialEq + Debug>(
    text: &str,
    from_toml: impl Fn(&str) -> Result<C, ConfigError>,
    validate: impl Fn(&C) -> Result<(), ConfigError>,
) {
    match from_toml(text).and_then(|config| validate(&config).map(|()| config)) {
        Ok(config) => {
            let written = toml::to_string(&config).expect("a valid config can be written");
            assert_eq!(from_toml(&written).as_ref(), Ok(&config), "{written}");
        }
        Err(error) => assert!(!error.rule().is_empty() && !error.to_string().is_empty()),
    }
}

fuzz_target!(|text: &str| {
    check(text, CircuitBreakerConfig::from_toml, CircuitBreakerConfig::validate);
    check(text, RetryConfig::from_toml, RetryConfig::validate);
    check(text, TimeoutConfig::from_toml, TimeoutConfig::validate);
    check(text, HedgeConfig::from_toml, HedgeConfig::validate);
    check(text, LoadShedderConfig::from_toml, LoadShedderConfig::validate);
    check(text, ClientThrottleConfig::from_toml, ClientThrottleConfig::validate);
});
