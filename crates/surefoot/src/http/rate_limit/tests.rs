//! Headers and bodies, as providers write them.

use super::super::headers::tests::{Pairs, headers};
use super::*;

const NOW: &[u8] = b"Tue, 14 Nov 2023 22:13:20 GMT"; // 1700000000

#[test]
fn the_latest_reset_of_the_spent_limits_is_the_wait() {
    let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let table: &[(Pairs<'_>, Option<u64>)] = &[
        (&[], None),
        (&[("ratelimit", b"\"burst\";r=0;t=30")], Some(30_000)),
        (&[("ratelimit", b"\"burst\";r=50;t=30")], None),
        (&[("ratelimit", b"\"a\";r=0;t=30, \"b\"; r=0; t=90, \"c\";r=1;t=900")], Some(90_000)),
        (&[("ratelimit", b"\"a\";r=0;t=-3")], None),
        (&[("ratelimit", b"\"a\";r=0")], None),
        (&[("ratelimit", b"0")], None),
        (
            &[("x-ratelimit-remaining-requests", b"0"), ("x-ratelimit-reset-requests", b"6m0s")],
            Some(360_000),
        ),
        (
            &[
                ("x-ratelimit-remaining-requests", b"0"),
                ("x-ratelimit-reset-requests", b"120ms"),
                ("x-ratelimit-remaining-tokens", b"17"),
                ("x-ratelimit-reset-tokens", b"1h"),
            ],
            Some(120),
        ),
        (
            &[("x-ratelimit-remaining-tokens", b"0"), ("x-ratelimit-reset-tokens", b"7")],
            Some(7_000),
        ),
        (&[("x-ratelimit-remaining", b"0"), ("x-ratelimit-reset", b"1700000060")], Some(60_000)),
        (&[("x-ratelimit-remaining", b"0"), ("x-ratelimit-reset", b"1600000000")], Some(0)),
        // Unknown, or no number.
        (&[("x-ratelimit-remaining-tokens", b"-1"), ("x-ratelimit-reset-tokens", b"7")], None),
        (&[("x-ratelimit-remaining-tokens", b"0"), ("x-ratelimit-reset-tokens", b"-1")], None),
        (&[("x-ratelimit-remaining-tokens", b"0"), ("x-ratelimit-reset-tokens", b"\xff")], None),
        (&[("x-ratelimit-remaining-tokens", b"0")], None),
    ];
    for (pairs, millis) in table {
        assert_eq!(wait(&headers(pairs), now), millis.map(Duration::from_millis), "{pairs:?}");
    }
}

/// A budget: unit, limit, window, remaining, when it is back, and whether that is all of it.
type Told = (String, Option<u64>, Option<u64>, Option<u64>, Option<u64>, bool);
type Expected = (&'static str, Option<u64>, Option<u64>, Option<u64>, Option<u64>, bool);

/// Every answer with these headers, one that went well, tells of these budgets.
fn check(table: &[(Pairs<'_>, &[Expected])]) {
    for (pairs, expected) in table {
        let said = server_limits(StatusCode::OK, &headers(pairs), None);
        let told: Vec<Told> = said.budgets.iter().map(told).collect();
        let expected = expected.iter().map(|(unit, limit, window, remaining, reset, full)| {
            (String::from(*unit), *limit, *window, *remaining, *reset, *full)
        });
        assert_eq!(told, expected.collect::<Vec<_>>(), "{pairs:?}");
        assert_eq!((said.throttled, said.retry_after, said.quota_spent), (false, None, false));
    }
}

fn told(budget: &ServerBudget) -> Told {
    let ServerBudget { unit, limit, window, remaining, reset_after, reset_is_full } = budget;
    let millis = reset_after.map(|wait| u64::try_from(wait.as_millis()).unwrap());
    let window = window.map(|window| window.as_secs());
    (unit.to_string(), *limit, window, *remaining, millis, *reset_is_full)
}

#[test]
fn openais_headers_are_budgets_and_azures() {
    check(&[
        (&[], &[]),
        // OpenAI, as its documentation has them.
        (
            &[
                ("x-ratelimit-limit-requests", b"60"),
                ("x-ratelimit-limit-tokens", b"150000"),
                ("x-ratelimit-remaining-requests", b"59"),
                ("x-ratelimit-remaining-tokens", b"149984"),
                ("x-ratelimit-reset-requests", b"1s"),
                ("x-ratelimit-reset-tokens", b"6m0s"),
            ],
            &[
                ("requests", Some(60), None, Some(59), Some(1_000), true),
                ("tokens", Some(150_000), None, Some(149_984), Some(360_000), true),
            ],
        ),
        (
            &[
                ("x-ratelimit-remaining-tokens_usage_based", b"5"),
                ("x-ratelimit-reset-tokens_usage_based", b"12ms"),
                ("x-ratelimit-remaining-project-tokens", b"7"),
            ],
            &[
                ("tokens", None, None, Some(5), Some(12), true),
                ("tokens", None, None, Some(7), None, true),
            ],
        ),
        // Azure: seconds, and a name of its own.
        (
            &[
                ("x-ratelimit-limit-tokens", b"1000"),
                ("x-ratelimit-remaining-tokens", b"10"),
                ("x-rate-limit-reset-tokens", b"6"),
            ],
            &[("tokens", Some(1000), None, Some(10), Some(6_000), true)],
        ),
        // Azure where it does not know.
        (
            &[
                ("x-ratelimit-limit-requests", b"-1"),
                ("x-ratelimit-remaining-requests", b"-1"),
                ("x-ratelimit-limit-tokens", b"0"),
                ("x-ratelimit-remaining-tokens", b"0"),
            ],
            &[],
        ),
        (&[("x-ratelimit-remaining-tokens", b"0")], &[]),
        (
            &[("x-ratelimit-remaining-tokens", b"-1"), ("x-ratelimit-reset-tokens", b"9")],
            &[("tokens", None, None, None, Some(9_000), true)],
        ),
    ]);
}

#[test]
fn anthropics_headers_are_budgets() {
    check(&[
        (
            &[
                ("date", NOW),
                ("anthropic-ratelimit-requests-limit", b"50"),
                ("anthropic-ratelimit-requests-remaining", b"0"),
                ("anthropic-ratelimit-requests-reset", b"2023-11-14T22:14:20Z"),
                ("anthropic-ratelimit-input-tokens-remaining", b"29000"),
                ("anthropic-ratelimit-output-tokens-limit", b"8000"),
                ("anthropic-priority-input-tokens-limit", b"10000"),
            ],
            &[
                ("requests", Some(50), None, Some(0), Some(60_000), true),
                ("input_tokens", None, None, Some(29_000), None, true),
                ("output_tokens", Some(8000), None, None, None, true),
                ("priority_input_tokens", Some(10_000), None, None, None, true),
            ],
        ),
        (
            &[
                ("date", NOW),
                ("anthropic-ratelimit-unified-status", b"rejected"),
                ("anthropic-ratelimit-unified-reset", b"1700003600"),
            ],
            &[("unified", None, None, Some(0), Some(3_600_000), false)],
        ),
        (&[("date", NOW), ("anthropic-ratelimit-unified-status", b"allowed")], &[]),
    ]);
}

#[test]
fn headers_without_a_unit_count_requests() {
    check(&[
        // GitHub.
        (
            &[
                ("date", NOW),
                ("x-ratelimit-limit", b"5000"),
                ("x-ratelimit-remaining", b"0"),
                ("x-ratelimit-reset", b"1700000010"),
                ("x-ratelimit-used", b"5000"),
                ("x-ratelimit-resource", b"core"),
            ],
            &[("requests", Some(5000), None, Some(0), Some(10_000), false)],
        ),
        (
            &[
                ("x-ratelimit-limit-minute", b"10"),
                ("x-ratelimit-remaining-minute", b"3"),
                ("ratelimit-limit", b"10"),
                ("ratelimit-remaining", b"4"),
                ("ratelimit-reset", b"47"),
            ],
            &[
                ("requests", Some(10), Some(60), Some(3), None, false),
                ("requests", Some(10), None, Some(4), Some(47_000), false),
            ],
        ),
        (
            &[
                ("x-ratelimit-remaining-tokens-minute", b"900"),
                ("x-ratelimit-reset-tokens-minute", b"11.5"),
                ("x-ratelimit-remaining-requests-day", b"80"),
            ],
            &[
                ("tokens", None, Some(60), Some(900), Some(11_500), false),
                ("requests", None, Some(86_400), Some(80), None, false),
            ],
        ),
    ]);
}

#[test]
fn the_fields_of_the_ietf_draft_are_budgets() {
    check(&[
        (
            &[
                (
                    "ratelimit-policy",
                    b"\"burst\";q=100;w=60,\"daily\";q=9;w=86400;qu=\"content-bytes\";pk=:QQ==:",
                ),
                ("ratelimit", b"\"burst\";r=50;t=30"),
                ("ratelimit", b"\"daily\";r=1"),
                ("ratelimit", b"\"other\";r=0;t=2"),
            ],
            &[
                ("requests", Some(100), Some(60), Some(50), Some(30_000), false),
                ("content_bytes", Some(9), Some(86_400), Some(1), None, false),
                ("requests", None, None, Some(0), Some(2_000), false),
            ],
        ),
        (&[("ratelimit", b"\"a\";r=1;t=3, b")], &[]),
        (&[("ratelimit", b"\"a\";t=3, \"b\";r=-1, \"c\";r=2.5")], &[]),
        (
            &[("ratelimit", b"\"a\";r=1"), ("ratelimit-policy", b"a;q=5")],
            &[("requests", None, None, Some(1), None, false)],
        ),
    ]);
}

#[test]
fn foreign_and_malformed_headers_are_ignored() {
    check(&[(
        &[
            ("x-ratelimit-remaining-requests", b"many"),
            ("x-ratelimit-reset-requests", b"NaN"),
            ("x-ratelimit-limit-tokens", b"1e3"),
            ("x-ratelimit-remaining-tokens", b"5"),
            ("x-ratelimit-remaining", b"\xff"),
            ("anthropic-ratelimit-", b"5"),
            ("anthropic-version", b"2023-06-01"),
            ("x-ratelimit-", b"5"),
            ("ratelimit-policy", b"\"a\";q=5;w=1"),
        ],
        &[],
    )]);
}

#[test]
fn a_refusal_is_throttled_or_spent_or_neither() {
    const QUOTA: &str = r#"{"error": {"code": "insufficient_quota"}}"#;
    const SPEND: &str = r#"{"type": "error", "error": {"type": "invalid_request_error",
        "message": "You have reached your specified API usage limits."}}"#;
    const PER_DAY: &str = r#"{"error": {"status": "RESOURCE_EXHAUSTED", "details": [
        {"retryDelay": "17s"}, {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}]}}"#;
    const DELAY: &str =
        r#"{"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "34.5s"}]}}"#;
    const OVERLOADED: &str = r#"{"error": {"type": "overloaded_error"}}"#;
    let twenty = ("retry-after", &b"20"[..]);
    for (status, pairs, body, throttled, millis, spent) in [
        (429, &[twenty][..], "", true, Some(20_000), false),
        (429, &[], DELAY, true, Some(34_500), false),
        (429, &[("ratelimit", b"\"a\";r=0;t=9")], "", true, Some(9_000), false),
        (429, &[], "", true, None, false),
        (429, &[twenty], QUOTA, false, None, true),
        (400, &[], SPEND, false, None, true),
        (429, &[], PER_DAY, false, None, true),
        (402, &[], "", false, None, true),
        (402, &[], OVERLOADED, false, None, false),
        (529, &[twenty], OVERLOADED, false, Some(20_000), false),
        (503, &[twenty], "", false, Some(20_000), false),
        (400, &[], "", false, None, false),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let said = server_limits(status, &headers(pairs), Some(body.as_bytes()));
        let wait = millis.map(Duration::from_millis);
        assert_eq!(
            (said.throttled, said.retry_after, said.quota_spent),
            (throttled, wait, spent),
            "{status} {body}"
        );
        let pause = wait.filter(|_| throttled);
        assert_eq!(said.pause("requests"), pause, "{status} {body}");
    }
}
