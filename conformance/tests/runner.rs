//! The runner as it is used: its output, its exit status, and that it can fail.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const HOSTS: [&str; 4] = ["core", "async", "blocking", "tower"];

struct Ran {
    status: Option<i32>,
    output: String,
}

fn run(files: &[&Path]) -> Ran {
    let program = Command::new(env!("CARGO_BIN_EXE_surefoot-conformance"))
        .args(files)
        .output()
        .expect("the runner starts");
    let output = String::from_utf8(program.stdout).expect("text");
    let panics = String::from_utf8_lossy(&program.stderr).into_owned();
    assert_eq!(panics, "", "{output}");
    Ran { status: program.status.code(), output }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

impl Ran {
    fn lines(&self, kind: &str) -> Vec<&str> {
        self.output.lines().filter(|line| line.starts_with(kind)).collect()
    }

    /// Runs, passed, failed and skipped of a host, from the summary.
    fn counts(&self, host: &str) -> [usize; 4] {
        let line = self.output.lines().find(|line| line.split_whitespace().next() == Some(host));
        let mut numbers = line.expect("a line of the summary").split_whitespace().skip(1);
        std::array::from_fn(|_| numbers.next().and_then(|text| text.parse().ok()).expect("a count"))
    }
}

/// A file's cases, by a reader that is not the runner's.
fn read(file: &Path) -> Vec<Value> {
    let cases: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).expect("JSON");
    cases.as_array().expect("a list of cases").clone()
}

fn names(file: &Path) -> Vec<String> {
    read(file).iter().map(|case| case["name"].as_str().expect("a name").to_owned()).collect()
}

fn case_files() -> Vec<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let entries = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}

#[test]
fn every_case_passes_on_every_host() {
    let ran = run(&[]);
    assert_eq!(ran.status, Some(0), "{}", ran.output);
    let cases: usize = case_files().iter().map(|file| names(file).len()).sum();
    assert!(cases >= 120, "only {cases} cases");
    for host in HOSTS {
        let cases_of = |file: &PathBuf| read(file);
        let all = case_files();
        let skipped = all.iter().flat_map(cases_of).filter(|case| skips(host, case)).count();
        assert_eq!(ran.counts(host), [cases - skipped, cases - skipped, 0, skipped], "{host}");
    }
}

/// Whether a host cannot run a case, and only for the reasons that the README gives.
fn skips(host: &str, case: &Value) -> bool {
    let steps = case["steps"].as_array();
    let is_interrupted =
        || steps.is_some_and(|s| s.iter().any(|step| step.get("cancel").is_some()));
    let count = |verbs: &[&str]| {
        let is_one = |step: &&Value| step["do"].as_str().is_some_and(|verb| verbs.contains(&verb));
        steps.map_or(0, |steps| steps.iter().filter(is_one).count())
    };
    match (case["policy"].as_str(), host) {
        (Some("hedge"), "blocking") | (Some("fallback"), "core") => true,
        (Some("rate_limiter"), "blocking") => {
            let (waits, corrected) = (count(&["acquire"]), count(&["settle", "give_back"]));
            count(&["cancel"]) > 0 || corrected > 0 && waits > corrected
        }
        (Some("rate_limiter"), "tower") => count(&["settle", "give_back"]) > 0,
        (Some("load_shedder" | "client_throttle"), "blocking") => count(&["cancel"]) > 0,
        (Some("throttler" | "bulkhead"), "blocking") => {
            let leaves = |step: &Value| step.get("then_cancel").is_some();
            count(&["cancel"]) > 0 || steps.is_some_and(|steps| steps.iter().any(leaves))
        }
        (Some("fallback"), "blocking") => is_interrupted(),
        (Some("fallback"), "tower") => {
            let config = &case["config"];
            config["links"].as_array().is_some_and(|links| links.len() > 2)
                || config.get("last_good").is_some()
        }
        _ => false,
    }
}

#[test]
fn every_case_has_a_name_of_its_own_and_says_where_its_rule_comes_from() {
    let mut seen = std::collections::HashMap::new();
    for file in case_files() {
        for name in names(&file) {
            if let Some(other) = seen.insert(name.clone(), file.clone()) {
                panic!("{name:?} is in {} and in {}", other.display(), file.display());
            }
        }
        for case in read(&file) {
            assert!(case["source"].is_string(), "{}: {}", file.display(), case["name"]);
        }
    }
}

#[test]
fn what_is_right_passes_on_every_host() {
    let ran = run(&[&file("right.json")]);
    assert_eq!(ran.status, Some(0), "{}", ran.output);
    assert_eq!(ran.lines("skipped").len(), 0);
}

#[test]
fn what_is_wrong_fails_on_every_host() {
    let wrong = file("wrong.json");
    let ran = run(&[&wrong]);
    assert_eq!(ran.status, Some(1), "{}", ran.output);
    let failures = ran.lines("failed");
    for name in names(&wrong) {
        for host in HOSTS {
            let start = format!("{name:?} on {host}: ");
            let lines = failures.iter().filter(|line| line.contains(&start)).count();
            assert_eq!(lines, 1, "{start}\n{}", ran.output);
        }
    }
    let cases = names(&wrong).len();
    for host in HOSTS {
        assert_eq!(ran.counts(host), [cases, 0, cases, 0], "{host}");
    }
}

#[test]
fn what_is_wrong_about_a_race_or_a_chain_fails_wherever_it_runs() {
    let wrong = file("wrong-races-and-chains.json");
    let ran = run(&[&wrong]);
    assert_eq!(ran.status, Some(1), "{}", ran.output);
    let mut failed = [0; HOSTS.len()];
    for case in read(&wrong) {
        let name = case["name"].as_str().expect("a name");
        for (host, failed) in HOSTS.into_iter().zip(&mut failed) {
            let start = format!("{name:?} on {host}: ");
            let lines = ran.lines("failed").iter().filter(|line| line.contains(&start)).count();
            assert_eq!(lines, usize::from(!skips(host, &case)), "{start}\n{}", ran.output);
            *failed += lines;
        }
    }
    for (host, failed) in HOSTS.into_iter().zip(failed) {
        let [runs, passed, ..] = ran.counts(host);
        assert_eq!((runs, passed), (failed, 0), "{host}");
    }
    for (name, difference) in [
        ("wrong: nobody was cancelled", "cancelled: expected 0, got 1"),
        ("wrong: the hedge began later", "start 1: expected 0.02 s, got 0.01 s"),
        ("wrong: other failures", "step 0: failures: expected [a error:y], got [a error:x]"),
    ] {
        let lines = ran.lines("failed");
        let mut about = lines.iter().filter(|line| line.contains(name));
        assert!(about.all(|line| line.contains(difference)), "{difference}\n{}", ran.output);
    }
}

#[test]
fn a_failure_names_the_step_and_what_was_expected_and_found() {
    let ran = run(&[&file("wrong.json")]);
    for (name, difference) in [
        (
            "wrong: a breaker below its threshold is open",
            "step 1 (at 0, failure a): state: expected open, got closed",
        ),
        (
            "wrong: two nanoseconds beside the time left",
            "retry_after: expected 59.000000002 s, got 59 s",
        ),
        ("wrong: one delay of three", "delay 2: expected 5 s, got 4 s"),
        ("wrong: good options are refused", "expected a config error about `failure_threshold`"),
    ] {
        let lines = ran.lines("failed");
        let mut about = lines.iter().filter(|line| line.contains(name));
        assert!(about.all(|line| line.contains(difference)), "{difference}\n{}", ran.output);
    }
}

#[test]
fn what_does_not_follow_the_format_is_an_error_with_the_cases_name() {
    let ran = run(&[&file("errors.json")]);
    assert_eq!(ran.status, Some(2), "{}", ran.output);
    let errors = ran.lines("error ");
    for (name, problem) in [
        ("an unknown verb", "steps[0].do: unknown verb `explode`"),
        ("an unknown field", "steps: is missing"),
        ("an unknown option", "config.retries: unknown field"),
        ("a number for an algorithm", "config.algorithm: must be text, not a number"),
        ("an unknown step", "steps[0].push: unknown field"),
        ("an unknown policy", "policy: unknown policy `oracle`"),
        ("a throttler with compartments", "steps[0].compartment: unknown field"),
        ("a call into nowhere", "steps[0].compartment: is missing"),
        ("an unknown option of a compartment", "config.compartments.x.order: unknown field"),
        ("an unknown refusal", "steps[0].expect.refused: unknown refusal `bad_mood`"),
        ("case 6 (unnamed)", "name: is missing"),
        ("case 7 (unnamed)", "must be an object, not a number"),
    ] {
        let told = errors.iter().any(|line| line.contains(name) && line.contains(problem));
        assert!(told, "{name}: {problem}\n{}", ran.output);
    }
    assert_eq!(errors.len(), 12);
    // The others are run all the same.
    for host in HOSTS {
        assert_eq!(ran.counts(host), [1, 1, 0, 0], "{host}");
    }
}

#[test]
fn skips_are_listed_with_their_reason_and_counted_for_each_host() {
    let ran = run(&[&file("skipped.json")]);
    assert_eq!(ran.status, Some(0), "{}", ran.output);
    for line in [
        r#""on one host" on blocking: blocking code is never interrupted"#,
        r#""on no host" on core, async, blocking, tower: "#,
        r#""all but tower: a correction" on tower: no layer corrects what a call took"#,
        r#""later: a machine" on core, async, blocking, tower: no state_machine in this build"#,
        r#""later: a format" on core, async, blocking, tower: no idempotency in this build"#,
    ] {
        assert!(
            ran.lines("skipped").iter().any(|skip| skip.contains(line)),
            "{line}\n{}",
            ran.output
        );
    }
    assert_eq!(HOSTS.map(|host| ran.counts(host)[3]), [3, 3, 4, 4]);
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let broken = directory.join("broken.json");
    fs::write(&broken, "[{]").unwrap();
    let ran = run(&[Path::new("/no/such/file.json"), &broken, &file("right.json")]);
    assert_eq!(ran.status, Some(2), "{}", ran.output);
    assert_eq!(ran.lines("error ").len(), 2);
    assert!(ran.counts("async")[1] > 0);
}

#[test]
fn a_directory_without_cases_is_an_error() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-cases");
    fs::create_dir_all(&directory).unwrap();
    let ran = run(&[&directory]);
    assert_eq!(ran.status, Some(2), "{}", ran.output);
    let [error] = ran.lines("error ")[..] else { panic!("{}", ran.output) };
    assert!(error.contains("no-cases: no .json file is in this directory"), "{error}");
}

#[test]
fn a_step_about_what_is_not_there_is_named() {
    let cases = r#"[
        {"policy": "budget", "name": "a charge", "config": {"tokens": 5}, "steps": [{"do": "observe"},
         {"do": "settle", "charge": "ghost", "tokens": 1}]},
        {"policy": "throttler", "name": "a call", "config": {}, "steps": [{"at": 2, "do": "release", "call": "ghost"}]},
        {"policy": "rate_limiter", "name": "a slot", "config": {}, "steps": [{"at": 3, "do": "settle", "call": "ghost", "used": 1}]}
    ]"#;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ghosts.json");
    fs::write(&file, cases).unwrap();
    let ran = run(&[&file]);
    assert_eq!(ran.status, Some(1), "{}", ran.output);
    for what in [
        r#"ghosts.json: "a charge" on async: step 1 (settle of run): there is no charge `ghost`"#,
        r#"ghosts.json: "a call" on async: step 0 (at 2, release ghost): ghost holds nothing"#,
        r#"ghosts.json: "a slot" on async: step 0 (at 3, settle ghost with 1): "#,
    ] {
        let named = ran.lines("failed").iter().any(|line| line.contains(what));
        assert!(named, "{what}\n{}", ran.output);
    }
}

#[test]
fn many_calls_may_be_under_way_at_once() {
    let mut steps = String::new();
    for call in 0..500 {
        write!(steps, r#"{{"at": 0, "do": "admit", "permit": "{call}"}},"#).unwrap();
    }
    for call in (0..499).rev() {
        write!(steps, r#"{{"at": 1, "do": "success", "permit": "{call}"}},"#).unwrap();
    }
    let case = format!(
        r#"[{{"policy": "circuit_breaker", "name": "many", "config": {{}},
             "steps": [{steps} {{"at": 1, "do": "observe", "expect": {{"success_count": 499}}}}]}}]"#
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("many.json");
    fs::write(&file, case).unwrap();
    let ran = run(&[&file]);
    assert_eq!(ran.status, Some(0), "{}", ran.output);
}

#[test]
fn a_retry_that_never_stops_is_a_failure() {
    let case = r#"[{"policy": "retry", "name": "on and on", "config": {"max_attempts": 4000000000,
                 "initial_delay": 0, "jitter": "none"}, "outcomes": ["error:X"], "expect": {"attempts": 1}}]"#;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("endless.json");
    fs::write(&file, case).unwrap();
    let ran = run(&[&file]);
    assert_eq!(ran.status, Some(1), "{}", ran.output);
    assert!(
        ran.lines("failed").iter().all(|line| line.contains("does not stop")),
        "{}",
        ran.output
    );
}
