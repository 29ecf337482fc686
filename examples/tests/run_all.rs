//! Runs every example program: it has to end well, quickly, and say something.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Names the programs and finds their executables; one that does not exist does not compile.
macro_rules! programs {
    ($($name:literal),* $(,)?) => {
        &[$(($name, env!(concat!("CARGO_BIN_EXE_", $name)))),*]
    };
}

const PROGRAMS: &[(&str, &str)] = programs![
    "http_client",
    "keep_within_limits",
    "spec_2_1_circuit_breaker",
    "spec_2_2_circuit_states",
    "spec_2_3_fallback",
    "spec_2_4_monitoring",
    "spec_3_1_retry",
    "spec_3_2_retry_config",
    "spec_3_3_retry_strategies",
    "spec_4_1_rate_limiting",
    "spec_4_2_throttling",
    "spec_4_3_load_shedding",
    "spec_7_1_bulkhead",
    "spec_7_2_timeout",
    "spec_7_3_fallback",
    "spec_8_1_metrics",
    "spec_8_2_health",
    "streaming_chat",
    "model_client",
    "reqwest_hosts",
    "axum_server",
    "registry_per_host",
    "agent_budget",
    "boxed_collection",
    "config_from_toml",
    "model_tokens",
    "two_step_permit",
    "blocking",
    "event_stream",
    "second_executor",
    "virtual_time_test",
];

/// None waits for longer than a moment; this is for busy machines.
const LONGEST: Duration = Duration::from_secs(10);

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one program; what is wrong with it, if anything.
fn complaint(name: &str, executable: &str) -> Option<String> {
    let start = Instant::now();
    let run = match Command::new(executable).env("RUST_BACKTRACE", "0").output() {
        Ok(run) => run,
        Err(error) => return Some(format!("{name} does not start: {error}")),
    };
    if !run.status.success() {
        let stderr = String::from_utf8_lossy(&run.stderr);
        return Some(format!("{name} ends with {}: {}", run.status, stderr.trim()));
    }
    if run.stdout.trim_ascii().is_empty() {
        return Some(format!("{name} says nothing"));
    }
    let took = start.elapsed();
    (took > LONGEST).then(|| format!("{name} took {took:?}"))
}

#[test]
fn every_program_ends_well_and_says_something() {
    // Side by side, since some of them wait for a few milliseconds.
    let complaints: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = PROGRAMS
            .iter()
            .map(|&(name, executable)| scope.spawn(move || complaint(name, executable)))
            .collect();
        running.into_iter().filter_map(|run| run.join().expect("no panic")).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn every_program_in_the_package_is_run() {
    let run: BTreeSet<_> = PROGRAMS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let written: BTreeSet<_> = fs::read_dir(package().join("src/bin"))
        .expect("the programs are there")
        .filter_map(|entry| {
            let path = entry.expect("a readable directory").path();
            path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned)
        })
        .collect();
    assert_eq!(run, written, "list every file of `src/bin` in `PROGRAMS`");
}

#[test]
fn the_readme_lists_every_program_in_this_order() {
    let readme = fs::read_to_string(package().join("README.md")).expect("there is a README");
    let listed: Vec<_> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| [`")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let run: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, run);
}

#[test]
fn both_readmes_print_lines_that_compile() {
    let read = |file: &str| fs::read_to_string(package().join(file)).expect("both files are there");
    let between = |text: &str, start: &str, end: &str| {
        let (_, rest) = text.split_once(start).expect("a beginning");
        let (lines, _) = rest.split_once(end).expect("an end");
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let part = |program: &str, begin: &str| -> Vec<_> {
        between(&read(program), begin, "    // README: end")
            .iter()
            .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned())
            .collect()
    };
    let compiled = |program: &str| part(program, "// README: begin\n");
    let call = compiled("src/bin/http_client.rs");
    for readme in ["README.md", "../README.md"] {
        assert_eq!(between(&read(readme), "```rust\n", "```"), call, "{readme}");
    }
    let readme = read("../README.md");
    let (_, limits) = readme.split_once("## Keep within limits").expect("the section");
    let program = "src/bin/keep_within_limits.rs";
    assert_eq!(between(limits, "```rust\n", "```"), compiled(program));
    for (heading, begin) in [
        ("In a pipeline, what one kind of call", "// README, several limits: begin\n"),
        ("**Is everything well?**", "// README, health: begin\n"),
    ] {
        let (_, text) = limits.split_once(heading).expect("the paragraph");
        assert_eq!(between(text, "```rust\n", "```"), part(program, begin), "{heading}");
    }
}
