//! Options that cannot be: refused by name, with the value and the rule, and by builder and TOML
//! alike. policies.md §4 rules 17, 37, 41 and 56.

#[cfg(feature = "toml")]
mod files;

use std::time::Duration;

use surefoot::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerConfig, Trip};
#[cfg(feature = "toml")]
use surefoot::retry::RetryConfig;
use surefoot::retry::{RetryBudgetBuilder, RetryBuilder};
use surefoot::{CircuitBreaker, ConfigError, Registry, Retry, RetryBudget, Timeout};

use crate::support::*;

/// What no clock can tell: more than 584 years.
const ENDLESS: Duration = Duration::from_secs(u64::MAX);
const ENDLESS_TOML: &str = "18446744073709551615s";

/// One bad option: written in TOML, given to a builder, or both; and the error it has to be.
struct Row {
    toml: Option<String>,
    built: Option<Result<(), ConfigError>>,
    field: &'static str,
    value: &'static str,
    rule: &'static str,
}

fn row(field: &'static str, value: &'static str, rule: &'static str) -> Row {
    Row { toml: None, built: None, field, value, rule }
}

impl Row {
    fn toml(self, text: impl Into<String>) -> Self {
        Self { toml: Some(text.into()), ..self }
    }

    fn built<T>(self, result: Result<T, ConfigError>) -> Self {
        Self { built: Some(result.map(drop)), ..self }
    }

    /// Both ways give this very error.
    fn check(&self, policy: &str, from_toml: impl Fn(&str) -> Result<(), ConfigError>) {
        let Self { toml, built, field, value, rule } = self;
        assert!(toml.is_some() || built.is_some(), "{field}: nothing to check");
        let by_toml = toml.as_ref().map(|text| (text.as_str(), from_toml(text)));
        let by_builder = built.as_ref().map(|built| ("the builder", built.clone()));
        for (way, result) in by_toml.into_iter().chain(by_builder) {
            let Err(error) = result else { panic!("{field} = {value} was accepted by {way}") };
            let told = (error.policy(), error.field(), error.value(), error.rule());
            assert_eq!(told, (policy, *field, *value, *rule), "{way}: {error}");
        }
    }
}

#[cfg(feature = "toml")]
fn breaker_from(text: &str) -> Result<(), ConfigError> {
    let name = if text.contains("name =") { "" } else { "name = \"api\"\n" };
    CircuitBreakerConfig::from_toml(&format!("{name}{text}"))?.build().map(drop)
}

#[cfg(feature = "toml")]
fn retry_from(text: &str) -> Result<(), ConfigError> {
    RetryConfig::from_toml(text)?.build().map(drop)
}

#[cfg(feature = "toml")]
fn timeout_from(text: &str) -> Result<(), ConfigError> {
    let limit = if text.contains("limit") { "" } else { "limit = \"1s\"\n" };
    surefoot::timeout::TimeoutConfig::from_toml(&format!("{limit}{text}"))?.build().map(drop)
}

#[cfg(not(feature = "toml"))]
use without_toml::*;
#[cfg(not(feature = "toml"))]
mod without_toml {
    use super::ConfigError;

    /// Without the feature the rows that have a builder are checked, the others pass.
    pub(super) fn breaker_from(_: &str) -> Result<(), ConfigError> {
        unreachable!("rows are stripped of their TOML")
    }
    pub(super) use breaker_from as retry_from;
    pub(super) use breaker_from as timeout_from;
}

fn check_all(
    policy: &str,
    rows: impl IntoIterator<Item = Row>,
    from_toml: impl Fn(&str) -> Result<(), ConfigError>,
) {
    for mut row in rows {
        if cfg!(not(feature = "toml")) {
            row.toml = None;
            if row.built.is_none() {
                continue;
            }
        }
        row.check(policy, &from_toml);
    }
}

const COUNT: &str = "must be from 1 to 1000000";
const COUNT_U32: &str = "must be at least 1";
const NAME: &str = "must not be empty";
const LONGER: &str = "must be longer than zero";
const SHORTER: &str = "must be shorter than 584 years";
const RATE: &str = "must be above 0.0 and at most 1.0";
const SHARE: &str = "must be from 0.0 to 1.0";
const FACTOR: &str = "must be a number from 1.0 up";
#[cfg(feature = "toml")]
const IN_QUOTES: &str = "must be a length of time in quotes, like \"250ms\" or \"30s\"";
const YEARS: &str = "584542046090years 7months 15days 17h 5m 3s";

#[test]
fn bad_options_of_a_circuit_breaker_are_refused_by_name() {
    let with = |set: fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder| {
        set(CircuitBreaker::builder("api")).build()
    };
    let rows = [
        row("name", "\"\"", NAME).toml("name = ''").built(CircuitBreaker::builder("").build()),
        row("name", "\" \"", NAME).toml("name = ' '").built(CircuitBreaker::builder(" ").build()),
        row("failure_threshold", "0", COUNT)
            .toml("failure_threshold = 0")
            .built(with(|breaker| breaker.failure_threshold(0))),
        row("failure_threshold", "1000001", COUNT)
            .toml("failure_threshold = 1000001")
            .built(with(|breaker| breaker.failure_threshold(1_000_001))),
        row("success_threshold", "0", COUNT)
            .toml("success_threshold = 0")
            .built(with(|breaker| breaker.success_threshold(0))),
        row("success_threshold", "4294967295", COUNT)
            .toml("success_threshold = 4294967295")
            .built(with(|breaker| breaker.success_threshold(u32::MAX))),
        row("timeout", "0s", LONGER)
            .toml("timeout = '0s'")
            .built(with(|breaker| breaker.timeout(Duration::ZERO))),
        row("timeout", YEARS, SHORTER)
            .toml(format!("timeout = '{ENDLESS_TOML}'"))
            .built(with(|breaker| breaker.timeout(ENDLESS))),
        row("failure_window", "0s", LONGER)
            .toml("failure_window = '0s'")
            .built(with(|breaker| breaker.failure_window(Duration::ZERO))),
        row("failure_window", YEARS, SHORTER)
            .toml(format!("failure_window = '{ENDLESS_TOML}'"))
            .built(with(|breaker| breaker.failure_window(ENDLESS))),
        row("half_open_max_calls", "0", COUNT)
            .toml("half_open_max_calls = 0")
            .built(with(|breaker| breaker.half_open_max_calls(0))),
        row("half_open_timeout", "0s", LONGER)
            .toml("half_open_timeout = '0s'")
            .built(with(|breaker| breaker.half_open_timeout(Duration::ZERO))),
        row("half_open_timeout", YEARS, SHORTER)
            .toml(format!("half_open_timeout = '{ENDLESS_TOML}'"))
            .built(with(|breaker| breaker.half_open_timeout(ENDLESS))),
        row("timeout_growth.factor", "0.5", FACTOR)
            .toml("timeout_growth = { factor = 0.5, max = '5m' }")
            .built(with(|breaker| breaker.timeout_growth(0.5, 300 * SEC))),
        row("timeout_growth.factor", "NaN", FACTOR)
            .toml("timeout_growth = { factor = nan, max = '5m' }")
            .built(with(|breaker| breaker.timeout_growth(f64::NAN, 300 * SEC))),
        row("timeout_growth.factor", "inf", FACTOR)
            .toml("timeout_growth = { factor = inf, max = '5m' }")
            .built(with(|breaker| breaker.timeout_growth(f64::INFINITY, 300 * SEC))),
        row("timeout_growth.factor", "-2", FACTOR)
            .toml("timeout_growth = { factor = -2.0, max = '5m' }")
            .built(with(|breaker| breaker.timeout_growth(-2.0, 300 * SEC))),
        row("timeout_growth.max", "0s", LONGER)
            .toml("timeout_growth = { factor = 2.0, max = '0s' }")
            .built(with(|breaker| breaker.timeout_growth(2.0, Duration::ZERO))),
        row("timeout_growth.max", "59s", "must be at least `timeout`, which is 1m")
            .toml("timeout_growth = { factor = 2.0, max = '59s' }")
            .built(with(|breaker| breaker.timeout_growth(2.0, 59 * SEC))),
        row("timeout_jitter", "-0.1", SHARE)
            .toml("timeout_jitter = -0.1")
            .built(with(|breaker| breaker.timeout_jitter(-0.1))),
        row("timeout_jitter", "1.1", SHARE)
            .toml("timeout_jitter = 1.1")
            .built(with(|breaker| breaker.timeout_jitter(1.1))),
        row("timeout_jitter", "NaN", SHARE)
            .toml("timeout_jitter = nan")
            .built(with(|breaker| breaker.timeout_jitter(f64::NAN))),
        row("max_throttle", "0s", LONGER)
            .toml("max_throttle = '0s'")
            .built(with(|breaker| breaker.max_throttle(Duration::ZERO))),
        row("max_throttle", YEARS, SHORTER)
            .toml(format!("max_throttle = '{ENDLESS_TOML}'"))
            .built(with(|breaker| breaker.max_throttle(ENDLESS))),
    ];
    check_all("circuit_breaker", rows, breaker_from);
    assert!(with(|breaker| breaker.timeout(Duration::MAX)).is_err());
}

#[test]
fn bad_trips_are_refused_by_name() {
    let with = |trip: Trip| CircuitBreaker::builder("api").trip(trip).build();
    let calls = |rate, window_calls, min_calls| {
        with(Trip::RateCountWindow { rate, window_calls, min_calls })
    };
    let time = |rate, window, min_calls, buckets| {
        with(Trip::RateTimeWindow { rate, window, min_calls, buckets })
    };
    let slow = |rate, slow_after, window_calls, min_calls| {
        with(Trip::Slow { rate, slow_after, window_calls, min_calls })
    };
    let trip = |kind: &str, rest: &str| format!("trip = {{ kind = '{kind}', {rest} }}");
    let in_calls = |rest: &str| trip("rate_count_window", rest);
    let in_time = |rest: &str| trip("rate_time_window", rest);
    let in_slow = |rest: &str| trip("slow", rest);
    let rows = [
        row("trip.failures", "0", COUNT_U32)
            .toml(trip("consecutive", "failures = 0"))
            .built(with(Trip::Consecutive { failures: 0 })),
        row("trip.rate", "0", RATE)
            .toml(in_calls("rate = 0.0, window_calls = 10, min_calls = 5"))
            .built(calls(0.0, 10, 5)),
        row("trip.rate", "1.5", RATE)
            .toml(in_calls("rate = 1.5, window_calls = 10, min_calls = 5"))
            .built(calls(1.5, 10, 5)),
        row("trip.rate", "50", RATE)
            .toml(in_calls("rate = 50, window_calls = 10, min_calls = 5"))
            .built(calls(50.0, 10, 5)),
        row("trip.rate", "-0.5", RATE)
            .toml(in_calls("rate = -0.5, window_calls = 10, min_calls = 5"))
            .built(calls(-0.5, 10, 5)),
        row("trip.rate", "NaN", RATE)
            .toml(in_calls("rate = nan, window_calls = 10, min_calls = 5"))
            .built(calls(f64::NAN, 10, 5)),
        row("trip.rate", "inf", RATE)
            .toml(in_calls("rate = inf, window_calls = 10, min_calls = 5"))
            .built(calls(f64::INFINITY, 10, 5)),
        row("trip.window_calls", "0", COUNT)
            .toml(in_calls("rate = 0.5, window_calls = 0, min_calls = 5"))
            .built(calls(0.5, 0, 5)),
        row("trip.window_calls", "1000001", COUNT)
            .toml(in_calls("rate = 0.5, window_calls = 1000001, min_calls = 5"))
            .built(calls(0.5, 1_000_001, 5)),
        row("trip.min_calls", "0", COUNT_U32)
            .toml(in_calls("rate = 0.5, window_calls = 10, min_calls = 0"))
            .built(calls(0.5, 10, 0)),
        row("trip.min_calls", "11", "must be at most window_calls, which is 10")
            .toml(in_calls("rate = 0.5, window_calls = 10, min_calls = 11"))
            .built(calls(0.5, 10, 11)),
        row("trip.rate", "NaN", RATE)
            .toml(in_time("rate = nan, window = '10s', min_calls = 5"))
            .built(time(f64::NAN, 10 * SEC, 5, 10)),
        row("trip.window", "0s", LONGER)
            .toml(in_time("rate = 0.5, window = '0s', min_calls = 5"))
            .built(time(0.5, Duration::ZERO, 5, 10)),
        row("trip.window", YEARS, SHORTER)
            .toml(in_time(&format!("rate = 0.5, window = '{ENDLESS_TOML}', min_calls = 5")))
            .built(time(0.5, ENDLESS, 5, 10)),
        row("trip.window", "9ns", "must be at least one nanosecond for each of its buckets")
            .toml(in_time("rate = 0.5, window = '9ns', min_calls = 5"))
            .built(time(0.5, Duration::from_nanos(9), 5, 10)),
        row("trip.min_calls", "0", COUNT_U32)
            .toml(in_time("rate = 0.5, window = '10s', min_calls = 0"))
            .built(time(0.5, 10 * SEC, 0, 10)),
        row("trip.buckets", "0", "must be from 1 to 1000")
            .toml(in_time("rate = 0.5, window = '10s', min_calls = 5, buckets = 0"))
            .built(time(0.5, 10 * SEC, 5, 0)),
        row("trip.buckets", "1001", "must be from 1 to 1000")
            .toml(in_time("rate = 0.5, window = '10s', min_calls = 5, buckets = 1001"))
            .built(time(0.5, 10 * SEC, 5, 1001)),
        row("trip.rate", "0", RATE)
            .toml(in_slow("rate = 0.0, slow_after = '1s', window_calls = 10, min_calls = 5"))
            .built(slow(0.0, SEC, 10, 5)),
        row("trip.slow_after", "0s", LONGER)
            .toml(in_slow("rate = 0.5, slow_after = '0s', window_calls = 10, min_calls = 5"))
            .built(slow(0.5, Duration::ZERO, 10, 5)),
        row("trip.min_calls", "11", "must be at most window_calls, which is 10")
            .toml(in_slow("rate = 0.5, slow_after = '1s', window_calls = 10, min_calls = 11"))
            .built(slow(0.5, SEC, 10, 11)),
        // What only a file can get wrong.
        row("trip.failures", "", "is missing for this kind of trip")
            .toml("trip = { kind = 'consecutive' }"),
        row("trip.window", "", "is not an option for this kind of trip")
            .toml(in_calls("rate = 0.5, window_calls = 10, min_calls = 5, window = '10s'")),
        row("trip.buckets", "", "is not an option for this kind of trip")
            .toml(trip("consecutive", "failures = 5, buckets = 10")),
        row("trip.kind", "", "is missing").toml("trip = { failures = 5 }"),
    ];
    check_all("circuit_breaker", rows, breaker_from);
}

#[test]
fn bad_options_of_a_retry_are_refused_by_name() {
    let with = |set: fn(RetryBuilder) -> RetryBuilder| set(Retry::builder()).build();
    let contradicts = "contradicts `exponential_base`, which is 3: waits either add up or multiply";
    let rows = [
        row("name", "\"\"", NAME).toml("name = ''").built(with(|retry| retry.name(""))),
        row("max_attempts", "0", COUNT_U32)
            .toml("max_attempts = 0")
            .built(with(|retry| retry.max_attempts(0))),
        row("initial_delay", YEARS, SHORTER)
            .toml(format!("initial_delay = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.initial_delay(ENDLESS))),
        row("max_delay", YEARS, SHORTER)
            .toml(format!("max_delay = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.max_delay(ENDLESS))),
        row("initial_delay", "1m 1s", "must be at most `max_delay`, which is 30s")
            .toml("initial_delay = '61s'")
            .built(with(|retry| retry.initial_delay(61 * SEC))),
        row("exponential_base", "0", FACTOR)
            .toml("exponential_base = 0.0")
            .built(with(|retry| retry.exponential_base(0.0))),
        row("exponential_base", "0.9", FACTOR)
            .toml("exponential_base = 0.9")
            .built(with(|retry| retry.exponential_base(0.9))),
        row("exponential_base", "-2", FACTOR)
            .toml("exponential_base = -2.0")
            .built(with(|retry| retry.exponential_base(-2.0))),
        row("exponential_base", "NaN", FACTOR)
            .toml("exponential_base = nan")
            .built(with(|retry| retry.exponential_base(f64::NAN))),
        row("exponential_base", "inf", FACTOR)
            .toml("exponential_base = inf")
            .built(with(|retry| retry.exponential_base(f64::INFINITY))),
        row("linear_increment", YEARS, SHORTER)
            .toml(format!("linear_increment = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.linear_increment(ENDLESS))),
        row("linear_increment", "1s", contradicts)
            .toml("linear_increment = '1s'\nexponential_base = 3.0")
            .built(with(|retry| retry.linear_increment(SEC).exponential_base(3.0))),
        row("max_elapsed", "0s", LONGER)
            .toml("max_elapsed = '0s'")
            .built(with(|retry| retry.max_elapsed(Duration::ZERO))),
        row("max_elapsed", YEARS, SHORTER)
            .toml(format!("max_elapsed = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.max_elapsed(ENDLESS))),
        row("min_attempt_time", "2s", "must be at most `max_elapsed`, which is 1s")
            .toml("min_attempt_time = '2s'\nmax_elapsed = '1s'")
            .built(with(|retry| retry.min_attempt_time(2 * SEC).max_elapsed(SEC))),
        row("min_attempt_time", YEARS, SHORTER)
            .toml(format!("min_attempt_time = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.min_attempt_time(ENDLESS))),
        row("attempt_timeout", "0s", LONGER)
            .toml("attempt_timeout = '0s'")
            .built(with(|retry| retry.attempt_timeout(Duration::ZERO))),
        row("attempt_timeout", YEARS, SHORTER)
            .toml(format!("attempt_timeout = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.attempt_timeout(ENDLESS))),
        row("max_retry_after", YEARS, SHORTER)
            .toml(format!("max_retry_after = '{ENDLESS_TOML}'"))
            .built(with(|retry| retry.max_retry_after(ENDLESS))),
    ];
    check_all("retry", rows, retry_from);
}

/// policies.md §4 rule 56.
#[test]
fn bad_options_of_a_timeout_are_refused_by_name() {
    let rows = [
        row("limit", "0s", LONGER).toml("limit = '0s'").built(Timeout::new(Duration::ZERO)),
        row("limit", YEARS, SHORTER)
            .toml(format!("limit = '{ENDLESS_TOML}'"))
            .built(Timeout::new(ENDLESS)),
        row("name", "\"\"", NAME).toml("name = ''"),
    ];
    check_all("timeout", rows, timeout_from);
    assert!(Timeout::new(Duration::MAX).is_err());
}

/// The same name by the builder's way must not build either, there or in a pipeline.
#[test]
fn a_timeout_without_a_name_does_not_build_into_a_pipeline() {
    let nameless = Timeout::new(SEC).unwrap().named("");
    assert!(surefoot::Pipeline::builder("api").add(nameless).build().is_err());
}

#[test]
fn bad_options_of_a_retry_budget_are_refused_by_name() {
    let with =
        |set: fn(RetryBudgetBuilder) -> RetryBudgetBuilder| set(RetryBudget::builder()).build();
    let rows = [
        row("ratio", "-0.1", SHARE).built(with(|budget| budget.ratio(-0.1))),
        row("ratio", "1.1", SHARE).built(with(|budget| budget.ratio(1.1))),
        row("ratio", "NaN", SHARE).built(with(|budget| budget.ratio(f64::NAN))),
        row("ratio", "inf", SHARE).built(with(|budget| budget.ratio(f64::INFINITY))),
        row("refill_every", "0s", LONGER).built(with(|budget| budget.refill_every(Duration::ZERO))),
        row("refill_every", YEARS, SHORTER).built(with(|budget| budget.refill_every(ENDLESS))),
        row("max", "0", COUNT_U32).built(with(|budget| budget.max(0))),
        row("initial", "101", "must be at most `max`, which is 100")
            .built(with(|budget| budget.initial(101))),
    ];
    check_all("retry_budget", rows, |_| unreachable!("a budget is not read from a file"));
}

#[test]
fn bad_options_of_a_registry_are_refused_by_name() {
    let error = Registry::builder("host").max_breakers(0).build::<String>().unwrap_err();
    assert_eq!(error.to_string(), "registry: `max_breakers` = 0 must be at least 1");
    let error = Registry::builder("").build::<String>().unwrap_err();
    assert_eq!((error.field(), error.rule()), ("name", NAME));
    let template = CircuitBreakerConfig { failure_threshold: 0, ..Default::default() };
    let error = Registry::builder("host").template(template).build::<String>().unwrap_err();
    assert_eq!((error.field(), error.rule()), ("failure_threshold", COUNT));
}

#[test]
fn a_reconfiguration_is_checked_and_changes_nothing_if_refused() {
    let breaker = CircuitBreaker::builder("api").build().unwrap();
    let before = breaker.config();
    let mut bad = before.clone();
    bad.failure_threshold = 0;
    assert_eq!(breaker.reconfigure(bad).unwrap_err().field(), "failure_threshold");
    let renamed = CircuitBreakerConfig { name: "other".into(), ..before.clone() };
    let error = breaker.reconfigure(renamed).unwrap_err();
    assert_eq!((error.field(), error.value()), ("name", "other"));
    assert_eq!(breaker.config(), before);
}

/// The largest values that are allowed, all at once: nothing overflows, panics or hangs.
#[test]
fn the_largest_values_build_and_work() {
    let longest = Duration::from_nanos(u64::MAX - 1);
    for host in Host::BOTH {
        let clock = surefoot::ManualClock::new();
        clock.advance(SEC);
        let breaker = CircuitBreaker::builder("api")
            .failure_threshold(1)
            .success_threshold(1_000_000)
            .timeout(longest)
            .failure_window(longest)
            .half_open_timeout(longest)
            .half_open_max_calls(1_000_000)
            .timeout_growth(f64::MAX, longest)
            .timeout_jitter(1.0)
            .max_throttle(longest)
            .seed(u32::MAX)
            .clock(&clock)
            .build()
            .unwrap();
        let retry = Retry::builder()
            .max_attempts(u32::MAX)
            .initial_delay(longest)
            .max_delay(longest)
            .exponential_base(f64::MAX)
            .max_elapsed(longest)
            .min_attempt_time(longest)
            .attempt_timeout(longest)
            .max_retry_after(longest)
            .clock(&clock)
            .build()
            .unwrap();
        let pipeline = surefoot::Pipeline::builder("api")
            .idempotent()
            .allow(surefoot::OrderRule::TimeoutNeverFires)
            .add(timeout(&clock, "total", longest))
            .add(retry)
            .add(breaker)
            .add(timeout(&clock, "attempt", longest))
            .build()
            .unwrap();
        let service = Service::new(&clock, [gives(200), fails("down")]);
        assert_eq!(call!(host, clock, pipeline, service), Ok(200), "{host:?}");
        assert!(call!(host, clock, pipeline, service).is_err(), "{host:?}");
    }
}
