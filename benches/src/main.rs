//! Surefoot and its peers, measured side by side: one run, one table, one row per work and subject.
//!
//! ```text
//! scripts/bench [--json] [NAME...]
//! ```
//!
//! A `NAME` selects the works and subjects whose name contains it, and with a subject whatever it is compared
//! with. What is not a time (bytes, admissions in a window) stands in a second table. Every goal is a row of its own, with the peer it is stated against; a goal whose subject is not measured
//! is a missed one. The exit status says whether the run worked, not whether the goals were held.

mod allocations;
mod figure;
mod filter;
mod harness;
mod operation;
mod ours;
mod peers;
mod report;
mod row;
mod work;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use filter::Filter;

const USAGE: &str = "\
Usage: scripts/bench [--json] [NAME...]

Measures Surefoot and its peers in one run and prints one table.

  NAME    only works and subjects whose name contains it, and what they are compared with
  --json  one document {\"rows\": [...], \"figures\": [...]} instead of the table
";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Arguments {
    json: bool,
    help: bool,
    names: Vec<String>,
}

impl Arguments {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--json" => parsed.json = true,
                "-h" | "--help" => parsed.help = true,
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}"));
                }
                _ => parsed.names.push(argument),
            }
        }
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) if arguments.help => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(arguments) => run(arguments),
        Err(message) => {
            eprint!("bench: {message}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> ExitCode {
    let filter = Filter::new(arguments.names);
    let mut rows = Vec::new();
    for begin in work::ALL {
        rows.extend(begin().measure(&filter));
    }
    let figures = work::figures(&filter);
    if rows.is_empty() && figures.is_empty() {
        eprintln!("bench: no work and no subject has such a name; without names, all are measured");
        return ExitCode::from(2);
    }
    match print(&rows, &figures, arguments.json) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: cannot write the result: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(rows: &[row::Row], figures: &[figure::Figure], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        report::json(&mut out, rows, figures)?;
    } else {
        let coloured = out.is_terminal() && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        report::table(&mut out, rows, figures, coloured)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn names_and_options_come_in_any_order() {
        let arguments = parse(&["retry", "--json", "recloser"]).expect("both are known");
        assert!(arguments.json);
        assert_eq!(arguments.names, ["retry", "recloser"]);
    }

    #[test]
    fn an_unknown_option_is_an_error_that_names_it() {
        assert_eq!(parse(&["--jsn"]).expect_err("a typing error"), "unknown option --jsn");
    }
}
