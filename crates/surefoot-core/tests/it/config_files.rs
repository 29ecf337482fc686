//! What a mistake in a config file is told: the option, its value, the rule and the place, in plain
//! words.

use std::fmt;

use surefoot_core::ConfigError;
use surefoot_core::budget::BudgetConfig;
use surefoot_core::bulkhead::BulkheadConfig;
use surefoot_core::circuit_breaker::CircuitBreakerConfig;
use surefoot_core::client_throttle::ClientThrottleConfig;
use surefoot_core::hedge::HedgeConfig;
use surefoot_core::load_shedder::LoadShedderConfig;
use surefoot_core::rate_limiter::RateLimiterConfig;
use surefoot_core::rate_limiter::multi::RateLimitsConfig;
use surefoot_core::retry::RetryConfig;
use surefoot_core::throttler::ThrottlerConfig;
use surefoot_core::timeout::TimeoutConfig;

/// Each text is read, and the error without the name of the policy is as it is written here.
fn told<T: fmt::Debug>(
    policy: &str,
    read: impl Fn(&str) -> Result<T, ConfigError>,
    mistakes: &[(&str, &str)],
) {
    for (text, sentence) in mistakes {
        let error = read(text).expect_err(text);
        assert_eq!(error.to_string(), format!("{policy}: {sentence}"), "{text}");
    }
}

#[test]
fn mistakes_in_a_breaker_are_told_in_plain_words() {
    let read =
        |text: &str| CircuitBreakerConfig::from_toml(text).and_then(CircuitBreakerConfig::build);
    told(
        "circuit_breaker",
        read,
        &[
            (
                "failure_threshold = 0",
                "`failure_threshold` = 0 must be from 1 to 1000000 (line 1, column 1)",
            ),
            (
                "failure_threshold = 'five'",
                r#"`failure_threshold` = "five" must be a whole number from 0 to 4294967295 (line 1, column 1)"#,
            ),
            (
                "failure_threshold = 2.5",
                "`failure_threshold` = 2.5 must be a whole number from 0 to 4294967295 (line 1, column 1)",
            ),
            ("name = 3", "`name` = 3 must be text in quotes (line 1, column 1)"),
            ("name = ''", r#"`name` = "" must not be empty (line 1, column 1)"#),
            (
                "timeout = 30",
                r#"`timeout` = 30 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "timeout = '30 parsecs'",
                r#"`timeout` = "30 parsecs" must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "timeout_growth = [2.0, '5m']",
                "`timeout_growth` = a list must be a table of options (line 1, column 1)",
            ),
            (
                "timeout_growth = 2",
                "`timeout_growth` = 2 must be a table of options (line 1, column 1)",
            ),
            (
                "timeout_growth = { factor = 2 }",
                "`timeout_growth.max` is missing (line 1, column 1)",
            ),
            (
                "trip = 'consecutive'",
                r#"`trip` = "consecutive" must be a table like { kind = "consecutive", failures = 5 } (line 1, column 1)"#,
            ),
            (
                "[trip]\nkind = 'rate'",
                r#"`trip.kind` = "rate" must be one of `consecutive`, `rate_count_window`, `rate_time_window`, `slow` (line 2, column 1)"#,
            ),
            ("[trip]\nfailures = 3", "`trip.kind` is missing (line 1, column 2)"),
            (
                "[trip]\nkind = 'consecutive'",
                "`trip.failures` is missing for this kind of trip (line 1, column 2)",
            ),
            (
                "[trip]\nkind = 'consecutive'\nfailures = 3\nrate = 0.5",
                "`trip.rate` is not an option for this kind of trip (line 4, column 1)",
            ),
            (
                "[trip]\nkind = 'rate_count_window'\nrate = 50\nwindow_calls = 10\nmin_calls = 5",
                "`trip.rate` = 50 must be above 0.0 and at most 1.0 (line 3, column 1)",
            ),
            (
                "name = api",
                "cannot be read as TOML: string values must be quoted, expected literal string (line 1, column 8)",
            ),
            (
                "name = 'api'\nname = 'api'",
                "cannot be read as TOML: duplicate key (line 2, column 1)",
            ),
            (
                "timeout = 30s",
                "cannot be read as TOML: string values must be quoted, expected literal string (line 1, column 11)",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_load_shedder_are_told_in_plain_words() {
    let read = |text: &str| LoadShedderConfig::from_toml(text).and_then(LoadShedderConfig::build);
    told(
        "load_shedder",
        read,
        &[
            (
                "max_load = 80",
                "`max_load` = 80 must be above 0.0 and at most 1.0 (line 1, column 1)",
            ),
            ("cpu = 'yes'", r#"`cpu` = "yes" must be true or false (line 1, column 1)"#),
            ("capacity = 0", "`capacity` = 0 must be at least 1 (line 1, column 1)"),
            (
                "hysteresis = 0.9",
                "`hysteresis` = 0.9 must be from 0.0 to below `max_load`, which is 0.8 (line 1, column 1)",
            ),
            (
                "max_queue_delay = 5",
                r#"`max_queue_delay` = 5 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "priority_levels = 0",
                "`priority_levels` = 0 must be from 1 to 100 (line 1, column 1)",
            ),
            ("dry_run = 1", "`dry_run` = 1 must be true or false (line 1, column 1)"),
            (
                "sample_interval = '0s'",
                "`sample_interval` = 0s must be longer than zero (line 1, column 1)",
            ),
            (
                "name = 'api'",
                "`capacity` must be given, or another signal to judge by: `load_source` for the system's CPU and memory (such as `surefoot::SystemLoad::shared()`), `max_queue_delay`, `in_flight` or `signal`",
            ),
            (
                "name = 'api'\ncpu = true",
                "`cpu` = true needs samples, without which it would never shed: give the builder a `load_source`, such as `surefoot::SystemLoad::shared()`, or `Recorded` if you record them",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_client_throttle_are_told_in_plain_words() {
    let read =
        |text: &str| ClientThrottleConfig::from_toml(text).and_then(ClientThrottleConfig::build);
    told(
        "client_throttle",
        read,
        &[
            (
                "multiplier = 0.5",
                "`multiplier` = 0.5 must be a number from 1.0 up (line 1, column 1)",
            ),
            ("multiplier = '2x'", r#"`multiplier` = "2x" must be a number (line 1, column 1)"#),
            (
                "overload = 'rejections'",
                r#"`overload` = "rejections" must be `failures` or `throttled` (line 1, column 1)"#,
            ),
            (
                "overload = true",
                r#"`overload` = "true" must be `failures` or `throttled` (line 1, column 1)"#,
            ),
            (
                "overload = ['failures']",
                "`overload` = a list must be a word in quotes (line 1, column 1)",
            ),
            (
                "window = 30",
                r#"`window` = 30 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "max_rejection_rate = 1",
                "`max_rejection_rate` = 1 must be from 0.0 to below 1.0: without a call that gets through nobody would see the service recover (line 1, column 1)",
            ),
            (
                "seed = -1",
                "`seed` = -1 must be a whole number from 0 to 4294967295 (line 1, column 1)",
            ),
            (
                "k = 2",
                "`k` is not an option; the options are `name`, `multiplier`, `max_rejection_rate`, `window`, `overload`, `seed` (line 1, column 1)",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_throttler_are_told_in_plain_words() {
    let read = |text: &str| ThrottlerConfig::from_toml(text).and_then(ThrottlerConfig::build);
    told(
        "throttler",
        read,
        &[
            (
                "max_concurrent = 0",
                "`max_concurrent` = 0 must be from 1 to 1073741824 (line 1, column 1)",
            ),
            (
                "max_concurrent = 1e2",
                "`max_concurrent` = 100.0 must be a whole number from 0 to 4294967295 (line 1, column 1)",
            ),
            (
                "queue_size = -1",
                "`queue_size` = -1 must be a whole number from 0 to 4294967295 (line 1, column 1)",
            ),
            (
                "timeout = ''",
                r#"`timeout` = "" must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "order = 'random'",
                r#"`order` = "random" must be one of `fifo`, `lifo`, `priority` (line 1, column 1)"#,
            ),
            (
                "order = 1",
                r#"`order` = "1" must be one of `fifo`, `lifo`, `priority` (line 1, column 1)"#,
            ),
            (
                "priority_levels = 3",
                "`priority_levels` = 3 is only an option with `order` = priority (line 1, column 1)",
            ),
            ("codel = []", "`codel` = a list must be a table of options (line 1, column 1)"),
            ("adaptive = []", "`adaptive` = a list must be a table of options (line 1, column 1)"),
            ("codel = true", "`codel` = true must be a table of options (line 1, column 1)"),
            (
                "codel = { target = 5 }",
                r#"`codel.target` = 5 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 11)"#,
            ),
            (
                "codel = { targets = '5ms' }",
                "`codel.targets` is not an option; the options are `target` and `interval` (line 1, column 11)",
            ),
            ("adaptive = true", "`adaptive` = true must be a table of options (line 1, column 1)"),
            (
                "adaptive = { min_limit = 10, max_limit = 5 }",
                "`adaptive.max_limit` = 5 must be at least `min_limit`, which is 10 (line 1, column 30)",
            ),
            (
                "max_concurrent = 5\nadaptive = {}",
                "`max_concurrent` = 5 is found by `adaptive`: set its `initial_limit`, `min_limit` and `max_limit` (line 1, column 1)",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_bulkhead_are_told_in_plain_words() {
    let read = |text: &str| BulkheadConfig::from_toml(text).and_then(BulkheadConfig::build);
    told(
        "bulkhead",
        read,
        &[
            ("", "`compartments` must have at least one compartment"),
            (
                "compartments = 3",
                "`compartments` = 3 must be a table of options (line 1, column 1)",
            ),
            (
                "compartments = ['tools']",
                "`compartments` = a list must be a table of options (line 1, column 1)",
            ),
            (
                "[[compartments]]\nname = 'tools'",
                "`compartments` = a list must be a table of options (line 1, column 3)",
            ),
            (
                "[compartments]\ntools = 5",
                "`compartments.tools` = 5 must be a table of options (line 2, column 1)",
            ),
            (
                "[compartments.tools]\nmax_concurrent = 0",
                "`compartments.tools.max_concurrent` = 0 must be from 1 to 1073741824 (line 2, column 1)",
            ),
            (
                "[compartments.tools]\nmax_concurent = 5",
                "`compartments.tools.max_concurent` is not an option; the options are `max_concurrent`, `queue_size`, `timeout`, `reserve` (line 2, column 1)",
            ),
            (
                "[compartments.tools]\nmax_concurrent = 1\nreserve = 2",
                "`compartments.tools.reserve` = 2 must be at most `max_concurrent`, which is 1 (line 3, column 1)",
            ),
            (
                "[compartments.tools]\ntimeout = 3",
                r#"`compartments.tools.timeout` = 3 must be a length of time in quotes, like "250ms" or "30s" (line 2, column 1)"#,
            ),
            (
                "[compartments.'a.b']\nmax_concurrent = 0",
                "`compartments.a.b.max_concurrent` = 0 must be from 1 to 1073741824",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_rate_limiter_are_told_in_plain_words() {
    let read = |text: &str| RateLimiterConfig::from_toml(text).and_then(RateLimiterConfig::build);
    told(
        "rate_limiter",
        read,
        &[
            (
                "max_requests = 0",
                "`max_requests` = 0 must be from 1 to 281474976710656 (line 1, column 1)",
            ),
            (
                "max_requests = '100/s'",
                r#"`max_requests` = "100/s" must be a whole number from 0 up (line 1, column 1)"#,
            ),
            (
                "max_requests = 1.5",
                "`max_requests` = 1.5 must be a whole number from 0 up (line 1, column 1)",
            ),
            (
                "time_window = 60",
                r#"`time_window` = 60 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "time_window = '0s'",
                "`time_window` = 0s must be longer than zero (line 1, column 1)",
            ),
            (
                "algorithm = 'leaky'",
                r#"`algorithm` = "leaky" must be one of `sliding_log`, `gcra`, `gcra_exact`, `token_bucket`, `bucket_ring`, `fixed_window` (line 1, column 1)"#,
            ),
            (
                "algorithm = { kind = 'gcra' }",
                "`algorithm` = a table must be a word in quotes (line 1, column 1)",
            ),
            (
                "burst = 5",
                "`burst` = 5 is not an option of the algorithm `sliding_log` (line 1, column 1)",
            ),
            (
                "buckets = 4",
                "`buckets` = 4 is not an option of the algorithm `sliding_log` (line 1, column 1)",
            ),
            (
                "when_full = 'evict'",
                r#"`when_full` = "evict" must be `refuse_new_keys` or `evict_idlest` (line 1, column 1)"#,
            ),
            (
                "when_full = 5",
                r#"`when_full` = "5" must be `refuse_new_keys` or `evict_idlest` (line 1, column 1)"#,
            ),
            ("max_keys = 5", "`max_keys` = 5 needs keys: build it with `build_keyed`"),
        ],
    );
}

#[test]
fn mistakes_in_several_limits_are_told_in_plain_words() {
    let read =
        |text: &str| RateLimitsConfig::from_toml(text).and_then(RateLimitsConfig::build::<String>);
    told(
        "rate_limits",
        read,
        &[
            ("limits = 5", "`limits` = 5 must be a list (line 1, column 1)"),
            ("limits = [5]", "`limits[0]` = 5 must be a table of options (line 1, column 11)"),
            ("[limits]\nmax_requests = 5", "`limits` = a table must be a list (line 1, column 2)"),
            (
                "[[limits]]\nscope = 'key'",
                r#"`limits[0].scope` = "key" must be `overall` or `per_key` (line 2, column 1)"#,
            ),
            (
                "[[limits]]\nscope = 1",
                r#"`limits[0].scope` = "1" must be `overall` or `per_key` (line 2, column 1)"#,
            ),
            (
                "[[limits]]\n[[limits]]\nmax_requests = 0",
                "`limits[1].max_requests` = 0 must be from 1 to 281474976710656 (line 3, column 1)",
            ),
            (
                "[[limits]]\nunit = ''",
                r#"`limits[0].unit` = "" must not be empty (line 2, column 1)"#,
            ),
            (
                "[[limits]]\ntime_window = 60",
                r#"`limits[0].time_window` = 60 must be a length of time in quotes, like "250ms" or "30s" (line 2, column 1)"#,
            ),
            (
                "[[limits]]\nburst = 2",
                "`limits[0].burst` = 2 is not an option of the algorithm `sliding_log` (line 2, column 1)",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_retry_are_told_in_plain_words() {
    let read = |text: &str| RetryConfig::from_toml(text).and_then(RetryConfig::build);
    told(
        "retry",
        read,
        &[
            ("budget = [0.5]", "`budget` = a list must be a table of options (line 1, column 1)"),
            ("max_attempts = 0", "`max_attempts` = 0 must be at least 1 (line 1, column 1)"),
            (
                "max_attempts = 'three'",
                r#"`max_attempts` = "three" must be a whole number from 0 to 4294967295 (line 1, column 1)"#,
            ),
            (
                "initial_delay = 1",
                r#"`initial_delay` = 1 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "initial_delay = '1m'",
                "`initial_delay` = 1m must be at most `max_delay`, which is 30s (line 1, column 1)",
            ),
            ("max_delay = '1ms'", "`initial_delay` = 1s must be at most `max_delay`, which is 1ms"),
            (
                "jitter = true",
                r#"`jitter` = "true" must be one of `none`, `full`, `equal`, `decorrelated` (line 1, column 1)"#,
            ),
            (
                "jitter = 'random'",
                r#"`jitter` = "random" must be one of `none`, `full`, `equal`, `decorrelated` (line 1, column 1)"#,
            ),
            (
                "exponential_base = 0.5",
                "`exponential_base` = 0.5 must be a number from 1.0 up (line 1, column 1)",
            ),
            (
                "exponential_base = nan",
                "`exponential_base` = NaN must be a number from 1.0 up (line 1, column 1)",
            ),
            (
                "linear_increment = '1s'\nexponential_base = 3",
                "`linear_increment` = 1s contradicts `exponential_base`, which is 3: waits either add up or multiply (line 1, column 1)",
            ),
            (
                "max_elapsed = '0s'",
                "`max_elapsed` = 0s must be longer than zero (line 1, column 1)",
            ),
            (
                "attempt_timeout = false",
                r#"`attempt_timeout` = false must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_hedge_are_told_in_plain_words() {
    let read = |text: &str| HedgeConfig::from_toml(text).and_then(HedgeConfig::build);
    told(
        "hedge",
        read,
        &[
            ("", "`delay` must be given, or `percentile` instead"),
            (
                "delay = 50",
                r#"`delay` = 50 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "percentile = 95",
                "`percentile` = 95 must be above 0.0 and at most 1.0 (line 1, column 1)",
            ),
            ("percentile = 'p95'", r#"`percentile` = "p95" must be a number (line 1, column 1)"#),
            (
                "delay = '1s'\npercentile = 0.5",
                "`delay` = 1s contradicts `percentile`, which is 0.5: give one (line 1, column 1)",
            ),
            (
                "delay = '1s'\nmax_hedges = 0",
                "`max_hedges` = 0 must be from 1 to 100 (line 2, column 1)",
            ),
            ("delay = '1s'\nwarm_up = 0", "`warm_up` = 0 must be at least 1 (line 2, column 1)"),
            (
                "quantile = 0.9",
                "`quantile` is not an option; the options are `name`, `delay`, `percentile`, `warm_up`, `window`, `max_hedges`, `budget` (line 1, column 1)",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_timeout_are_told_in_plain_words() {
    let read = |text: &str| TimeoutConfig::from_toml(text).and_then(TimeoutConfig::build);
    told(
        "timeout",
        read,
        &[
            ("", "`limit` is missing"),
            (
                "limit = 5",
                r#"`limit` = 5 must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            ("limit = '0s'", "`limit` = 0s must be longer than zero (line 1, column 1)"),
            (
                "limit = '-5s'",
                r#"`limit` = "-5s" must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            (
                "limit = { secs = 5 }",
                r#"`limit` = a table must be a length of time in quotes, like "250ms" or "30s" (line 1, column 1)"#,
            ),
            ("limit = '5s'\nname = ''", r#"`name` = "" must not be empty (line 2, column 1)"#),
            (
                "timeout = '5s'",
                "`timeout` is not an option; the options are `name` and `limit` (line 1, column 1)",
            ),
        ],
    );
}

#[test]
fn mistakes_in_a_budget_are_told_in_plain_words() {
    let read = |text: &str| BudgetConfig::from_toml(text).and_then(BudgetConfig::build);
    told(
        "budget",
        read,
        &[
            (
                "",
                "`attempts` must be given, or `tokens` or `money`: a budget without a limit limits nothing",
            ),
            (
                "attempts = '3'",
                r#"`attempts` = "3" must be a whole number from 0 up (line 1, column 1)"#,
            ),
            (
                "attempts = [1]",
                "`attempts` = a list must be a whole number from 0 up (line 1, column 1)",
            ),
            ("tokens = -1", "`tokens` = -1 must be a whole number from 0 up (line 1, column 1)"),
            ("tokens = 1.0", "`tokens` = 1.0 must be a whole number from 0 up (line 1, column 1)"),
            (
                "money = 0.5",
                r#"`money` = 0.5 must be an amount of money in quotes, like "12.50", or a whole number of units (line 1, column 1)"#,
            ),
            (
                "money = 'five'",
                r#"`money` = "five" must be an amount of money in quotes, like "12.50", or a whole number of units (line 1, column 1)"#,
            ),
            (
                "money = '-1'",
                r#"`money` = "-1" must be an amount of money in quotes, like "12.50", or a whole number of units (line 1, column 1)"#,
            ),
            (
                "token = 5",
                "`token` is not an option; the options are `name`, `attempts`, `tokens`, `money` (line 1, column 1)",
            ),
            ("name = ''\nattempts = 3", r#"`name` = "" must not be empty (line 1, column 1)"#),
        ],
    );
}

#[test]
fn a_missing_name_hides_no_other_mistake() {
    for (text, field) in [("", "name"), ("failure_threshold = 0", "failure_threshold")] {
        let read = CircuitBreakerConfig::from_toml(text).and_then(CircuitBreakerConfig::build);
        assert_eq!(read.unwrap_err().field(), field);
    }
    for (text, field) in [("capacity = 1", "name"), ("max_load = 2.0", "max_load")] {
        let read = LoadShedderConfig::from_toml(text).and_then(LoadShedderConfig::build);
        assert_eq!(read.unwrap_err().field(), field);
    }
}

#[test]
fn a_mistake_is_found_by_line_and_column() {
    let text = "# ä comment\nname = \"api\"\n\n[timeout_growth]\nfactor = 0.5\nmax = \"2m\"\n";
    let error = CircuitBreakerConfig::from_toml(text).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(5), Some(1)), "{error}");
    let text = "# ä\ntrip = { kind = \"ä\" }";
    let error = CircuitBreakerConfig::from_toml(text).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(2), Some(10)), "{error}");
    let built = surefoot_core::CircuitBreaker::builder("").build().unwrap_err();
    assert_eq!((built.line(), built.column()), (None, None), "{built}");
}
