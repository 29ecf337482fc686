//! The demo as its users run it: the program itself, on the command line.

use std::process::{Command, Output};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_surefoot"))
        .arg("demo")
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn number(arm: &Value, field: &str) -> u64 {
    arm[field].as_u64().unwrap_or_else(|| panic!("{field} is a count in {arm}"))
}

#[test]
fn one_json_document_whose_numbers_add_up() {
    let output = demo(&["--seconds", "3", "--seed", "7", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains('\x1b'), "no escape codes where there is no terminal: {stderr:?}");
    assert!(
        stderr.contains("down: resets every connection"),
        "progress names the phases: {stderr}"
    );

    let document: Value =
        serde_json::from_slice(&output.stdout).expect("standard output is one JSON document");
    let scene = &document["scenes"][0];
    assert_eq!(scene["name"], "outage");
    assert_eq!(document["scenes"][1]["name"], "streaming");
    assert_eq!(document["scenes"][2]["name"], "crowd");
    let arms = scene["arms"].as_array().expect("a list of arms");
    let names: Vec<_> = arms.iter().map(|arm| &arm["name"]).collect();
    assert_eq!(names, ["bare", "retry", "surefoot"]);

    for arm in arms {
        assert_eq!(number(arm, "calls"), number(&arms[0], "calls"), "all arms get the same calls");
        assert_eq!(number(arm, "calls"), number(arm, "answers") + number(arm, "failures"), "{arm}");
        assert_eq!(
            number(arm, "service_calls"),
            number(arm, "answers") + number(arm, "wasted_calls"),
            "{arm}"
        );
        assert!(number(arm, "answers") > 0, "{arm}");
        let [p50, p99] = ["p50_ms", "p99_ms"].map(|field| arm[field].as_f64().expect("a time"));
        assert!(0.0 < p50 && p50 <= p99, "{arm}");
        assert!(
            arm["recovery_s"].is_null()
                || arm["recovery_s"].as_f64().is_some_and(|time| time >= 0.0),
            "{arm}"
        );
    }
    let [bare, retry, surefoot] = [&arms[0], &arms[1], &arms[2]];
    assert!(
        number(bare, "service_calls") <= number(bare, "calls"),
        "bare sends a call once: {bare}"
    );
    assert!(
        number(retry, "service_calls") <= 3 * number(retry, "calls"),
        "three tries at most: {retry}"
    );
    assert!(
        number(retry, "service_calls") > number(retry, "calls"),
        "an outage makes retries: {retry}"
    );
    // 50 % of the calls, 10 tokens at the start, and one for every 10 seconds.
    assert!(
        number(surefoot, "service_calls")
            <= number(surefoot, "calls") + number(surefoot, "calls") / 2 + 11,
        "a retry budget is kept: {surefoot}"
    );
    // With this seed about 130 against 180, on a busy machine, too.
    assert!(
        number(surefoot, "service_calls") < number(retry, "service_calls"),
        "a breaker spares the service: {surefoot} {retry}"
    );
}

#[test]
fn a_streaming_model_that_stops_midway_is_shown_bare_and_protected() {
    let output = demo(&["--scene", "streaming", "--seconds", "10", "--seed", "1", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("hangs midway"), "progress names the phases: {stderr}");

    let document: Value =
        serde_json::from_slice(&output.stdout).expect("standard output is one JSON document");
    assert_eq!(document["scenes"].as_array().map(Vec::len), Some(1));
    let scene = &document["scenes"][0];
    assert_eq!(scene["name"], "streaming");
    let arms = scene["arms"].as_array().expect("a list of arms");
    let names: Vec<_> = arms.iter().map(|arm| &arm["name"]).collect();
    assert_eq!(names, ["bare", "surefoot"]);
    let [bare, surefoot] = [&arms[0], &arms[1]];
    for arm in arms {
        assert_eq!(number(arm, "calls"), number(bare, "calls"), "both arms get the same calls");
        assert_eq!(number(arm, "calls"), number(arm, "answers") + number(arm, "failures"), "{arm}");
    }
    // With this seed about 154 against 190 of 225: what hangs is asked for again in time.
    assert!(number(surefoot, "answers") > number(bare, "answers"), "{surefoot} {bare}");
}

#[test]
fn a_crowd_is_shown_with_its_goodput_and_who_was_refused() {
    let output = demo(&["--scene", "crowd", "--seconds", "15", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("five times what the service can"),
        "progress names the phases: {stderr}"
    );

    let document: Value =
        serde_json::from_slice(&output.stdout).expect("standard output is one JSON document");
    let arms = document["scenes"][0]["arms"].as_array().expect("a list of arms");
    let [bare, surefoot] = [&arms[0], &arms[1]];
    assert_eq!([&bare["name"], &surefoot["name"]], ["bare", "surefoot"]);
    assert_eq!(number(bare, "calls"), number(surefoot, "calls"), "both arms get the same calls");
    // About 250 against 540, on a busy machine, too.
    assert!(number(surefoot, "answers") > number(bare, "answers"), "{surefoot} {bare}");
    let share =
        |arm: &Value, phase: usize| arm["goodput"][phase]["share"].as_f64().expect("a share");
    assert_eq!(surefoot["goodput"][3]["load"], 5.0);
    assert!(share(surefoot, 3) > 2.0 * share(bare, 3), "{surefoot} {bare}");
    let refused = |priority: usize| {
        let priority = &surefoot["priorities"][priority];
        number(priority, "refused") * 100 / number(priority, "calls")
    };
    assert_eq!(surefoot["priorities"][0]["name"], "critical");
    assert!(refused(0) < refused(1) && refused(1) < refused(2), "{surefoot}");
}

#[test]
fn a_length_out_of_bounds_is_refused_with_a_sentence_that_names_them() {
    for seconds in ["0", "2", "601", "soon"] {
        let output = demo(&["--seconds", seconds]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(stderr.contains("--seconds") && stderr.contains("from 3 to 600"), "{stderr}");
    }
}
