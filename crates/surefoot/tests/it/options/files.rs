//! What only a file can get wrong, and what is written to one.

use surefoot::hedge::HedgeConfig;
use surefoot::retry::RetryBudgetConfig;
use surefoot::timeout::TimeoutConfig;
use surefoot::{Jitter, ManualClock, circuit_breaker::TimeoutGrowth};

use super::*;

#[test]
fn unknown_options_are_errors_wherever_they_stand() {
    let known = |rule: &str, options: &[&str]| options.iter().all(|option| rule.contains(option));
    for (text, field) in [
        ("colour = 1", "colour"),
        ("t = 1", "t"), // the tail of others
        ("trip = { kind = 'consecutive', failures = 5, colour = 1 }", "trip.colour"),
        ("trip = { kind = 'consecutive', failures = 5, p = 1 }", "trip.p"),
        ("timeout_growth = { factor = 2.0, max = '5m', h = 1 }", "timeout_growth.h"),
        ("[trips]\nkind = 'consecutive'", "trips"),
    ] {
        let error = breaker_from(text).unwrap_err();
        assert_eq!((error.policy(), error.field()), ("circuit_breaker", field), "{error}");
        assert!(error.rule().starts_with("is not an option; the options are "), "{error}");
    }
    let error = retry_from("delay = '1s'").unwrap_err();
    assert_eq!(error.field(), "delay");
    assert!(known(error.rule(), &["initial_delay", "max_delay"]), "{error}");
    assert_eq!(timeout_from("after = '1s'").unwrap_err().field(), "after");
}

#[test]
fn a_value_of_another_kind_names_the_option() {
    let fields = [
        ("failure_threshold = -1", "failure_threshold"),
        ("failure_threshold = 4294967296", "failure_threshold"),
        ("failure_threshold = 1.5", "failure_threshold"),
        ("failure_threshold = 'five'", "failure_threshold"),
        ("failure_threshold = true", "failure_threshold"),
        ("timeout_jitter = 'some'", "timeout_jitter"),
        ("seed = -1", "seed"),
        ("name = 7", "name"),
        ("trip = 'fast'", "trip"),
        ("trip = { kind = 'fast' }", "trip.kind"),
        ("trip = { kind = 'consecutive', failures = -1 }", "trip.failures"),
        ("timeout_growth = { factor = 'x', max = '5m' }", "timeout_growth.factor"),
        ("timeout_growth = { factor = 2.0 }", "timeout_growth.max"),
    ];
    for (text, field) in fields {
        let error = breaker_from(text).unwrap_err();
        assert_eq!(error.field(), field, "{text}: {error}");
    }
    let error = retry_from("jitter = 'some'").unwrap_err();
    assert_eq!(error.field(), "jitter", "{error}");
    for jitter in ["none", "full", "equal", "decorrelated"] {
        assert!(error.to_string().contains(jitter), "{error}");
    }
}

/// policies.md §4 rule 56: negative times.
#[test]
fn what_is_no_length_of_time_is_refused_and_shown_how() {
    for option in ["timeout", "failure_window", "half_open_timeout", "max_throttle"] {
        for (value, shown) in [
            ("'-5s'", "\"-5s\""),
            ("''", "\"\""),
            ("'soon'", "\"soon\""),
            ("'5'", "\"5\""),
            ("'NaN'", "\"NaN\""),
            ("'99999999999999999999s'", "\"99999999999999999999s\""),
        ] {
            let error = breaker_from(&format!("{option} = {value}")).unwrap_err();
            let told = (error.field(), error.value(), error.rule());
            assert_eq!(told, (option, shown, IN_QUOTES), "{error}");
        }
        for value in ["5", "-5", "5.0", "nan", "true"] {
            let error = breaker_from(&format!("{option} = {value}")).unwrap_err();
            assert_eq!((error.field(), error.rule()), (option, IN_QUOTES), "{error}");
        }
    }
    for option in ["initial_delay", "max_elapsed", "attempt_timeout", "linear_increment"] {
        let error = retry_from(&format!("{option} = '-1s'")).unwrap_err();
        assert_eq!((error.field(), error.rule()), (option, IN_QUOTES), "{error}");
    }
}

#[test]
fn what_is_required_is_asked_for() {
    let error = CircuitBreakerConfig::from_toml("").unwrap().build().unwrap_err();
    assert_eq!((error.field(), error.rule()), ("name", NAME));
    let error = TimeoutConfig::from_toml("").unwrap_err();
    assert_eq!(error.to_string(), "timeout: `limit` is missing");
}

#[test]
fn what_is_no_toml_is_an_error_and_no_panic() {
    for text in ["=", "name =", "[trip", "name = \"", "\u{0}", "name = 'a'\nname = 'b'"] {
        let error = CircuitBreakerConfig::from_toml(text).unwrap_err();
        assert_eq!(error.policy(), "circuit_breaker");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_breaker_written_to_toml_reads_back_equal() {
    let trips = [
        None,
        Some(Trip::Consecutive { failures: 3 }),
        Some(Trip::RateCountWindow { rate: 0.1, window_calls: 100, min_calls: 10 }),
        Some(Trip::RateTimeWindow {
            rate: 1.0 / 3.0,
            window: 10_500 * MS,
            min_calls: 20,
            buckets: 7,
        }),
        Some(Trip::Slow { rate: 0.5, slow_after: 250 * MS, window_calls: 50, min_calls: 5 }),
    ];
    for trip in trips {
        for config in [
            CircuitBreakerConfig { name: "api".into(), trip, ..Default::default() },
            CircuitBreakerConfig {
                name: "a \"quoted\" name, ünïcode".into(),
                failure_threshold: 7,
                success_threshold: 3,
                timeout: Duration::from_nanos(1_234_567_891),
                failure_window: 90 * SEC,
                trip,
                half_open_max_calls: Some(2),
                half_open_timeout: Some(86_400 * SEC),
                timeout_growth: Some(TimeoutGrowth { factor: 1.5, max: 3600 * SEC }),
                timeout_jitter: 0.25,
                max_throttle: 1_000_000 * SEC,
                seed: Some(42),
            },
        ] {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(CircuitBreakerConfig::from_toml(&text).as_ref(), Ok(&config), "{text}");
            config.validate().unwrap();
        }
    }
}

#[test]
fn a_retry_written_to_toml_reads_back_equal() {
    let jitters = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated];
    for jitter in jitters {
        for config in [
            RetryConfig { jitter, ..Default::default() },
            RetryConfig {
                name: "read".into(),
                max_attempts: u32::MAX,
                initial_delay: Duration::from_nanos(1),
                max_delay: 3600 * SEC,
                exponential_base: 1.0,
                linear_increment: Some(Duration::ZERO),
                jitter,
                max_elapsed: Some(7200 * SEC),
                min_attempt_time: 5 * MS,
                attempt_timeout: Some(30 * SEC),
                max_retry_after: Some(Duration::ZERO),
                seed: Some(7),
                budget: Some(RetryBudgetConfig { ratio: 0.1, max: 20, ..Default::default() }),
            },
        ] {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(RetryConfig::from_toml(&text).as_ref(), Ok(&config), "{text}");
            config.validate().unwrap();
        }
    }
}

#[test]
fn a_budget_in_a_file_is_the_retrys_own() {
    let clock = ManualClock::new();
    let text = "[budget]\ninitial = 2\nratio = 0.0\nrefill_every = '10s'";
    let config = RetryConfig::from_toml(text).unwrap();
    let retry = RetryBuilder::from(config).clock(&clock).build().unwrap();
    assert_eq!(retry.status().budget_tokens, Some(2));
    clock.advance(20 * SEC);
    assert_eq!(retry.status().budget_tokens, Some(4), "on the retry's clock");
    let shared = RetryBudget::builder().initial(7).build().unwrap();
    let config = RetryConfig::from_toml(text).unwrap();
    let retry = RetryBuilder::from(config).budget(shared).build().unwrap();
    assert_eq!(retry.status().budget_tokens, Some(7), "one that is shared counts instead");

    let hedge = HedgeConfig::from_toml("delay = '1s'\n[budget]\ninitial = 3").unwrap();
    assert_eq!(hedge.build().unwrap().status().budget_tokens, Some(3));
}

#[test]
fn a_bad_budget_gets_the_same_error_from_a_builder_and_from_a_file() {
    let bad = |text: &str| RetryConfig::from_toml(text).and_then(RetryConfig::build).unwrap_err();
    let error = bad("[budget]\nratio = 1.5");
    assert_eq!((error.policy(), error.field(), error.value()), ("retry", "budget.ratio", "1.5"));
    assert_eq!(bad("[budget]\nmax = 5").field(), "budget.initial");
    assert_eq!(bad("[budget]\nrate = 1").field(), "budget.rate");
    let built = RetryBudget::builder().ratio(1.5).build().unwrap_err();
    let read = RetryBudgetConfig::from_toml("ratio = 1.5").unwrap_err();
    assert_eq!((built.policy(), built.field()), (read.policy(), read.field()));
    assert_eq!((built.value(), built.rule()), (read.value(), read.rule()));
    assert_eq!(built.policy(), "retry_budget");
}

#[test]
fn a_timeout_written_to_toml_reads_back_equal() {
    let config = TimeoutConfig { name: "total".into(), limit: 90_061 * SEC };
    let text = toml::to_string(&config).unwrap();
    assert_eq!(TimeoutConfig::from_toml(&text), Ok(config), "{text}");
}

/// What a builder takes, a file can say.
#[test]
fn the_largest_seed_survives_the_way_through_a_file() {
    let config = RetryConfig { seed: Some(u32::MAX), ..Default::default() };
    let text = toml::to_string(&config).expect("it can be written");
    assert_eq!(RetryConfig::from_toml(&text), Ok(config));
}

/// Half a configuration is the defaults for the rest.
#[test]
fn options_left_out_have_the_builders_defaults() {
    let config = CircuitBreakerConfig::from_toml("name = 'api'").unwrap();
    assert_eq!(config, CircuitBreaker::builder("api").build().unwrap().config());
    let config = RetryConfig::from_toml("").unwrap();
    assert_eq!(config, *Retry::builder().build().unwrap().config());
}
