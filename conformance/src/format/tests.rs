//! That whatever is not in the format is an error, which names the case and the field.

use super::*;

fn only(text: &str) -> Result<Case, BadCase> {
    let mut cases = read(&format!("[{text}]")).expect("JSON");
    assert_eq!(cases.len(), 1);
    cases.remove(0)
}

/// The problem with a case whose fields, besides its policy and name, are `rest`.
fn problem(policy: &str, rest: &str) -> String {
    let case = format!(r#"{{"policy": "{policy}", "name": "the rule", "source": "here", {rest}}}"#);
    match only(&case) {
        Ok(case) => panic!("was read: {case:?}"),
        Err(bad) => {
            assert_eq!(bad.name, "the rule");
            bad.problem.to_string()
        }
    }
}

/// Every problem has to begin with the field that it is about.
fn assert_problems(policy: &str, table: &[(&str, &str)]) {
    for (rest, field) in table {
        let problem = problem(policy, rest);
        assert!(problem.starts_with(&format!("{field}: ")), "{rest}\n  {problem}");
    }
}

#[test]
fn a_breaker_case_is_held_to_the_format() {
    assert_problems(
        "circuit_breaker",
        &[
            (r#""config": {}, "steps": [], "stepz": []"#, "stepz"),
            (r#""config": {}"#, "steps"),
            (r#""steps": []"#, "config"),
            (r#""config": [], "steps": []"#, "config"),
            (r#""config": {"failures": 3}, "steps": []"#, "config.failures"),
            (r#""config": {"timeout": true}, "steps": []"#, "config.timeout"),
            (r#""config": {"failure_threshold": "5"}, "steps": []"#, "config.failure_threshold"),
            (r#""config": {"timeout": null}, "steps": []"#, "config.timeout"),
            (r#""config": {"timeout": 0.0000000001}, "steps": []"#, "config.timeout"),
            (r#""config": {"trip": {"kind": 1}}, "steps": []"#, "config.trip.kind"),
            (r#""config": {"trip": {"rate": 1}}, "steps": []"#, "config.trip.kind"),
            (
                r#""config": {"trip": {"kind": "consecutive", "rate": 1}}, "steps": []"#,
                "config.trip.rate",
            ),
            (
                r#""config": {"timeout_growth": {"base": 2}}, "steps": []"#,
                "config.timeout_growth.base",
            ),
            (r#""config": {}, "steps": [{"at": 0, "do": "explode"}]"#, "steps[0].do"),
            (r#""config": {}, "steps": [{"do": "observe"}]"#, "steps[0].at"),
            (r#""config": {}, "steps": [{"at": -1, "do": "observe"}]"#, "steps[0].at"),
            (r#""config": {}, "steps": [{"at": "0", "do": "observe"}]"#, "steps[0].at"),
            (r#""config": {}, "steps": [{"at": 1e30, "do": "observe"}]"#, "steps[0].at"),
            (r#""config": {}, "steps": [{"at": 0.1234567891, "do": "observe"}]"#, "steps[0].at"),
            (r#""config": {}, "steps": [{"at": 0}]"#, "steps[0].do"),
            (r#""config": {}, "steps": [{"at": 0, "do": "success"}]"#, "steps[0].permit"),
            (
                r#""config": {}, "steps": [{"at": 0, "do": "reset", "permit": "a"}]"#,
                "steps[0].permit",
            ),
            (
                r#""config": {}, "steps": [{"at": 0, "do": "admit", "retry_after": 1}]"#,
                "steps[0].retry_after",
            ),
            (
                r#""config": {}, "steps": [{"at": 0, "do": "observe", "expect": {"stat": "open"}}]"#,
                "steps[0].expect.stat",
            ),
            (
                r#""config": {}, "steps": [{"at": 0, "do": "observe", "expect": {"state": "ajar"}}]"#,
                "steps[0].expect.state",
            ),
            (
                r#""config": {}, "steps": [{"at": 0, "do": "reset", "expect": {"admitted": true}}]"#,
                "steps[0].expect.admitted",
            ),
            (r#""config": {}, "steps": [], "expect": {"state": "open"}"#, "expect.config_error"),
            (r#""config": {}, "steps": [], "needs": ["luck"]"#, "needs[0]"),
            (r#""config": {}, "steps": [], "or_config_error": 1"#, "or_config_error"),
        ],
    );
}

#[test]
fn a_retry_case_is_held_to_the_format() {
    let outcome = |outcome: &str| {
        format!(r#""config": {{}}, "outcomes": [{outcome}], "expect": {{"attempts": 1}}"#)
    };
    let expect =
        |expect: &str| format!(r#""config": {{}}, "outcomes": ["ok"], "expect": {{{expect}}}"#);
    let table = [
        (r#""config": {}, "outcomes": ["ok"]"#.to_owned(), "expect"),
        (r#""config": {}, "expect": {"attempts": 1}"#.to_owned(), "outcomes"),
        (outcome(""), "outcomes"),
        (outcome(r#""fine""#), "outcomes[0]"),
        (outcome(r#""error:""#), "outcomes[0]"),
        (outcome("1"), "outcomes[0]"),
        (outcome(r#"{"takes": 1}"#), "outcomes[0].is"),
        (outcome(r#"{"is": "ok", "takes": -1}"#), "outcomes[0].takes"),
        (outcome(r#"{"is": "ok", "took": 1}"#), "outcomes[0].took"),
        (expect(r#""attempts": 1.5"#), "expect.attempts"),
        (expect(r#""tries": 1"#), "expect.tries"),
        (expect(r#""delays": {"first": [1, 2], "count": 1}"#), "expect.delays.count"),
        (expect(r#""delays": {"first": [1], "count": 2}"#), "expect.delays.count"),
        (expect(r#""delay_bounds": [[2, 1]]"#), "expect.delay_bounds[0]"),
        (expect(r#""delay_bounds": [[1]]"#), "expect.delay_bounds[0]"),
        (expect(r#""delay_bounds": {"count": 1}"#), "expect.delay_bounds.each"),
        (expect(r#""delays": [], "delay_bounds": []"#), "expect.delay_bounds"),
        (expect(r#""config_error": "x", "attempts": 1"#), "expect.attempts"),
        (r#""config": {"retries": 1}, "expect": {"config_error": "x"}"#.into(), "config.retries"),
        (
            r#""config": {"retry_on": "X"}, "expect": {"config_error": "x"}"#.into(),
            "config.retry_on",
        ),
        (r#""config": {}, "outcomes": ["ok"], "or": []"#.into(), "or"),
    ];
    let table: Vec<_> = table.iter().map(|(rest, field)| (rest.as_str(), *field)).collect();
    assert_problems("retry", &table);
}

#[test]
fn a_hedge_case_is_held_to_the_format() {
    let with = |more: &str| {
        format!(r#""config": {{}}, "outcomes": ["ok"], "expect": {{"calls": 1}}, {more}"#)
    };
    let expect =
        |expect: &str| format!(r#""config": {{}}, "outcomes": ["ok"], "expect": {{{expect}}}"#);
    let table = [
        (r#""config": {}, "outcomes": ["ok"]"#.to_owned(), "expect"),
        (r#""config": {}, "expect": {"calls": 1}"#.to_owned(), "outcomes"),
        (r#""config": {"hedges": 1}, "expect": {"config_error": "x"}"#.into(), "config.hedges"),
        (r#""config": {"delay": [1]}, "expect": {"config_error": "x"}"#.into(), "config.delay"),
        (r#""config": {"budget": -1}, "expect": {"config_error": "x"}"#.into(), "config.budget"),
        (r#""config": {"budget": 1e12}, "expect": {"config_error": "x"}"#.into(), "config.budget"),
        (with(r#""seen": 1"#), "seen"),
        (with(r#""seen": [-1]"#), "seen[0]"),
        (with(r#""pause": "long""#), "pause"),
        (with(r#""cancel": true"#), "cancel"),
        (with(r#""deadline": -1"#), "deadline"),
        (with(r#""steps": []"#), "steps"),
        (expect(r#""attempts": 1"#), "expect.attempts"),
        (expect(r#""outcome": "won""#), "expect.outcome"),
        (expect(r#""started": [[2, 1]]"#), "expect.started[0]"),
        (expect(r#""started": 0"#), "expect.started"),
        (expect(r#""config_error": "x", "calls": 1"#), "expect.calls"),
    ];
    let table: Vec<_> = table.iter().map(|(rest, field)| (rest.as_str(), *field)).collect();
    assert_problems("hedge", &table);
}

#[test]
fn a_fallback_case_is_held_to_the_format() {
    let config = |config: &str| format!(r#""config": {{{config}}}, "steps": []"#);
    let step = |step: &str| format!(r#""config": {{"links": ["a", "b"]}}, "steps": [{{{step}}}]"#);
    let expect =
        |expect: &str| step(&format!(r#""at": 0, "outcomes": [], "expect": {{{expect}}}"#));
    let table = [
        (config(""), "config.links"),
        (config(r#""links": "a""#), "config.links"),
        (config(r#""links": ["a"]"#), "config.links"),
        (config(r#""links": ["a", "b", "c", "d"]"#), "config.links"),
        (config(r#""links": ["a", "b"], "last_good": true"#), "config.last_good"),
        (config(r#""links": ["a", "b"], "retry_on": []"#), "config.retry_on"),
        (r#""config": {"links": ["a", "b"]}"#.to_owned(), "steps"),
        (step(r#""outcomes": []"#), "steps[0].at"),
        (step(r#""at": 0"#), "steps[0].outcomes"),
        (step(r#""at": 0, "outcomes": ["fine"]"#), "steps[0].outcomes[0]"),
        (step(r#""at": 0, "outcomes": ["ok", "ok", "ok"]"#), "steps[0].outcomes"),
        (step(r#""at": 0, "outcomes": [], "keys": "a""#), "steps[0].keys"),
        (expect(r#""outcome": "won""#), "steps[0].expect.outcome"),
        (expect(r#""failures": ["a"]"#), "steps[0].expect.failures[0]"),
        (expect(r#""failures": [["a", "fine"]]"#), "steps[0].expect.failures[0][1]"),
        (expect(r#""old": 1"#), "steps[0].expect.old"),
    ];
    let table: Vec<_> = table.iter().map(|(rest, field)| (rest.as_str(), *field)).collect();
    assert_problems("fallback", &table);
}

#[test]
fn what_a_case_needs_follows_from_what_it_does() {
    let needs = |policy: &str, rest: &str| {
        let case = format!(r#"{{"policy": "{policy}", "name": "x", {rest}}}"#);
        only(&case).unwrap_or_else(|bad| panic!("{}", bad.problem)).needs
    };
    let hedge = r#""config": {}, "outcomes": ["ok"], "expect": {}"#;
    assert_eq!(needs("hedge", hedge), [Need::Race]);
    let chain = r#""config": {"links": ["a", "b"]}, "steps": []"#;
    assert_eq!(needs("fallback", chain), [Need::Chain]);
    let all = r#""config": {"links": ["a", "b", "c"], "last_good": 1},
                 "steps": [{"at": 0, "outcomes": ["ok"], "cancel": 1}]"#;
    let all = needs("fallback", all);
    assert_eq!(all, [Need::Chain, Need::ManyLinks, Need::LastGood, Need::Interrupt]);
}

#[test]
fn a_budgets_case_says_what_is_wrong_with_it() {
    let table = [
        (r#""config": {"limit": 5}, "steps": []"#, "config.limit"),
        (r#""config": {"money": "5"}, "steps": []"#, "config.money"),
        (r#""config": {}"#, "steps"),
        (r#""config": {}, "steps": [{}]"#, "steps[0].do"),
        (r#""config": {}, "steps": [{"do": "spend"}]"#, "steps[0].do"),
        (r#""config": {}, "steps": [{"do": "reserve"}]"#, "steps[0].charge"),
        (r#""config": {}, "steps": [{"do": "slice"}]"#, "steps[0].child"),
        (r#""config": {}, "steps": [{"do": "call"}]"#, "steps[0].outcomes"),
        (
            r#""config": {}, "steps": [{"do": "call", "outcomes": ["ok"], "retries": [1, 1, 1, 1]}]"#,
            "steps[0].retries",
        ),
        (r#""config": {}, "steps": [{"do": "record", "money": 0.0000001}]"#, "steps[0].money"),
        (r#""config": {}, "steps": [{"do": "record", "tokens": -1}]"#, "steps[0].tokens"),
        (
            r#""config": {}, "steps": [{"do": "observe", "expect": {"told": [["run", "time", "low"]]}}]"#,
            "steps[0].expect.told[0][1]",
        ),
        (
            r#""config": {}, "steps": [{"do": "observe", "expect": {"budgets": [{"spent": {}}]}}]"#,
            "steps[0].expect.budgets[0].budget",
        ),
    ];
    assert_problems("budget", &table);
}

#[test]
fn cases_of_policies_to_come_are_held_to_the_format_too() {
    assert_problems(
        "rate_limiter",
        &[
            (r#""config": {"algorithm": 1}, "steps": []"#, "config.algorithm"),
            (r#""config": {"limit": 5}, "steps": []"#, "config.limit"),
            (r#""config": {}, "steps": [{"key": "a"}]"#, "steps[0].at"),
            (r#""config": {}, "steps": [{"at": 0, "n": -1}]"#, "steps[0].n"),
            (r#""config": {}, "steps": [{"at": 0, "do": "admit"}]"#, "steps[0].do"),
            (r#""config": {}, "steps": [{"at": 0, "do": "acquire"}]"#, "steps[0].call"),
            (r#""config": {}, "steps": [{"at": 0, "do": "settle", "call": "a"}]"#, "steps[0].used"),
            (r#""config": {}, "steps": [{"at": 0, "deadline": 1}]"#, "steps[0].deadline"),
            (
                r#""config": {}, "steps": [{"at": 0, "expect": {"began": [["a"]]}}]"#,
                "steps[0].expect.began[0]",
            ),
            (
                r#""config": {}, "steps": [{"at": 0, "expect": {"left": 1}}]"#,
                "steps[0].expect.left",
            ),
        ],
    );
    let machine = |states: &str, rest: &str| {
        format!(
            r#""definition": {{"initial": "a", "states": [{states}], "transitions": []}}, {rest}"#
        )
    };
    let table = [
        (r#""steps": []"#.to_owned(), "definition"),
        (machine(r#"{"final": true}"#, r#""steps": []"#), "definition.states[0].name"),
        (machine(r#"{"name": "a", "hue": 1}"#, r#""steps": []"#), "definition.states[0].hue"),
        (machine("", r#""steps": [{"push": "x"}]"#), "steps[0].push"),
        (machine("", r#""steps": [{"trigger": 1}]"#), "steps[0].trigger"),
        (
            machine("", r#""steps": [{"trigger": "x", "expect": {"error": "odd"}}]"#),
            "steps[0].expect.error",
        ),
        (machine("", r#""build": "maybe""#), "build"),
        (machine("", r#""behaviour": {"g": {"returns": 1}}, "steps": []"#), "behaviour.g.returns"),
    ];
    let table: Vec<_> = table.iter().map(|(rest, field)| (rest.as_str(), *field)).collect();
    assert_problems("state_machine", &table);
}

#[test]
fn whole_cases_are_read() {
    let limiter = r#"{"policy": "rate_limiter", "name": "a", "config": {"max_requests": 2, "time_window": 1.5},
        "steps": [{"at": 0, "key": "k", "n": 2, "expect": {"admitted": true, "remaining": 0}},
                  {"at": 0.5, "expect": {"admitted": false, "retry_after": 1, "current_rate": 2}},
                  {"at": 0.5, "n": 3, "expect": {"admitted": false, "retry_after": null}}]}"#;
    let machine = r#"{"policy": "state_machine", "name": "b", "needs": ["atomic"],
        "definition": {"initial": "a", "states": [{"name": "a", "on_exit": "x"}, {"name": "b", "final": true}],
            "transitions": [{"from": "a", "to": "b", "trigger": "go", "guard": "g", "before": "p", "after": "q"}],
            "atomic": true, "error_trigger": "oops"},
        "behaviour": {"g": {"returns": [false, true]}, "p": {"raises": ["no", null]}, "q": {"fires": ["go"]}},
        "build": "ok",
        "steps": [{"trigger": "go", "expect": {"ok": false, "state": "a", "error": "vetoed", "order": ["g"]}},
                  {"triggers": ["go", "go"], "expect": {"order_prefix": ["g"]}}, {"can": "go"}, {"valid": ["go"]},
                  {"observe": {"state": "a"}}, {"serialize": "s"}, {"new_machine": true}, {"restore": "s"},
                  {"restore_raw": "{}", "expect": {"ok": false, "error": "any"}},
                  {"restore_foreign": {"initial": "z", "states": [{"name": "z"}], "transitions": []},
                   "triggers": [], "expect": {"ok": false}}]}"#;
    for (case, policy) in [(limiter, "rate_limiter"), (machine, "state_machine")] {
        let case = only(case).unwrap_or_else(|bad| panic!("{}: {}", bad.name, bad.problem));
        assert_eq!(case.body.policy(), policy);
    }
}

#[test]
fn policies_without_a_format_are_not_looked_into_and_unknown_ones_are_errors() {
    for policy in RESERVED {
        let case = format!(r#"{{"policy": "{policy}", "name": "x", "whatever": [1]}}"#);
        assert!(matches!(only(&case).unwrap().body, Body::Absent { .. }));
    }
    assert!(problem("oracle", r#""config": {}"#).contains("unknown policy `oracle`"));
}

#[test]
fn a_case_that_has_no_name_goes_by_its_place() {
    for case in ["1", "{}", r#"{"policy": "retry"}"#, r#"{"name": 5}"#] {
        assert_eq!(only(case).unwrap_err().name, "case 0 (unnamed)", "{case}");
    }
    let twice = only(r#"{"name": "x", "policy": "retry", "policy": "retry"}"#).unwrap_err();
    assert!(twice.problem.to_string().contains("`policy` is given twice"));
}

#[test]
fn one_bad_case_does_not_spoil_the_file() {
    let good =
        r#"{"policy": "retry", "name": "good", "config": {}, "outcomes": ["ok"], "expect": {}}"#;
    let read = read(&format!("[{good}, {{}}, {good}]")).unwrap();
    assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(super::read("{}").is_err());
    assert!(super::read("[").is_err());
}
