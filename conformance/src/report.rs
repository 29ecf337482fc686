//! What the runner prints: a line for whatever is not as it should be, and the counts.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use crate::format::Case;
use crate::run::Verdict;

/// Counts of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    host: &'static str,
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Everything so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    files: usize,
    cases: usize,
    errors: usize,
    hosts: Vec<Tally>,
    /// Of the present file.
    skips: Vec<Skip>,
}

/// Cases of one file that some hosts skip for one reason.
#[derive(Debug)]
struct Skip {
    reason: String,
    hosts: Vec<&'static str>,
    cases: Vec<String>,
}

impl Report {
    pub(crate) fn new(hosts: impl IntoIterator<Item = &'static str>) -> Self {
        let tally = |host| Tally { host, ..Tally::default() };
        Self { hosts: hosts.into_iter().map(tally).collect(), ..Self::default() }
    }

    pub(crate) fn file(&mut self) {
        self.files += 1;
    }

    /// An error of a file, or of a case in it.
    pub(crate) fn error(&mut self, file: &Path, case: Option<&str>, what: impl fmt::Display) {
        self.errors += 1;
        let what = one_line(&what.to_string());
        match case {
            Some(case) => say(format_args!("error   {}: {case:?}: {what}", file.display())),
            None => say(format_args!("error   {}: {what}", file.display())),
        }
    }

    /// What the hosts, in their order, made of a case.
    pub(crate) fn case(&mut self, file: &Path, case: &Case, verdicts: &[Verdict]) {
        self.cases += 1;
        let mut skips: Vec<(&str, Vec<&'static str>)> = Vec::new();
        for (tally, verdict) in self.hosts.iter_mut().zip(verdicts) {
            match verdict {
                Verdict::Passed => tally.passed += 1,
                Verdict::Failed(what) => {
                    tally.failed += 1;
                    let (file, name, host) = (file.display(), &case.name, tally.host);
                    let source = case.source.as_deref().unwrap_or("no source");
                    say(format_args!(
                        "failed  {file}: {name:?} on {host}: {} [{source}]",
                        one_line(what)
                    ));
                }
                Verdict::Skipped(reason) => {
                    tally.skipped += 1;
                    match skips.iter_mut().find(|(known, _)| known == reason) {
                        Some((_, hosts)) => hosts.push(tally.host),
                        None => skips.push((reason, vec![tally.host])),
                    }
                }
            }
        }
        for (reason, hosts) in skips {
            let known = |skip: &&mut Skip| skip.reason == reason && skip.hosts == hosts;
            if let Some(skip) = self.skips.iter_mut().find(known) {
                skip.cases.push(case.name.clone());
            } else {
                let (reason, cases) = (reason.to_owned(), vec![case.name.clone()]);
                self.skips.push(Skip { reason, hosts, cases });
            }
        }
    }

    /// A file's cases are through: lists what was skipped, in one line for each reason.
    pub(crate) fn file_ends(&mut self, file: &Path) {
        for Skip { reason, hosts, cases } in self.skips.drain(..) {
            let (file, hosts) = (file.display(), hosts.join(", "));
            match cases.as_slice() {
                [case] => say(format_args!("skipped {file}: {case:?} on {hosts}: {reason}")),
                cases => {
                    say(format_args!("skipped {file}: {} cases on {hosts}: {reason}", cases.len()));
                }
            }
        }
    }

    pub(crate) fn print_summary(&self) {
        say(format_args!("{}", self.to_string().trim_end()));
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.hosts.iter().any(|tally| tally.failed > 0)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }
}

/// The summary.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, cases, errors, hosts, .. } = self;
        let (cases, files) = (counted(*cases, "case"), counted(*files, "file"));
        writeln!(f, "{cases} in {files}, {}", counted(*errors, "error"))?;
        writeln!(f, "{:<12}{:>8}{:>8}{:>8}{:>8}", "host", "runs", "passed", "failed", "skipped")?;
        for Tally { host, passed, failed, skipped } in hosts {
            let runs = passed + failed;
            writeln!(f, "{host:<12}{runs:>8}{passed:>8}{failed:>8}{skipped:>8}")?;
        }
        Ok(())
    }
}

/// Prints a line. Whoever reads no further has seen enough.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
