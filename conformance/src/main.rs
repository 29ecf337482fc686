//! Runs the conformance cases over every host of Surefoot.
//!
//! ```text
//! scripts/conformance [FILE...]
//! ```
//!
//! Without a `FILE` all of `conformance/cases` are run; a directory stands for the `.json` files in it. The exit
//! status is 0 if nothing failed, 1 if a case failed on a host, and 2 if a file could not be read or a case
//! does not follow the format (`conformance/README.md`).

mod check;
mod driver;
mod format;
mod hosts;
mod report;
mod run;
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io, panic};

use report::Report;
use watchdog::Watchdog;

const USAGE: &str = "\
Usage: scripts/conformance [FILE...]

Runs case files over every host: a FILE, all files of a directory, or without one all of conformance/cases.
";

const ALL_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");

const FAILED: u8 = 1;
const ERRORS: u8 = 2;

fn main() -> ExitCode {
    let mut paths = Vec::new();
    for argument in env::args_os().skip(1) {
        match argument.to_str() {
            Some("-h" | "--help") => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            Some(option) if option.starts_with('-') => {
                eprint!("unknown option {option}\n\n{USAGE}");
                return ExitCode::from(ERRORS);
            }
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    if paths.is_empty() {
        paths.push(PathBuf::from(ALL_CASES));
    }
    // What panics is a failed case: where it did is enough to know beside the report.
    panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let mut report = Report::new(hosts::all().map(hosts::Host::name));
    for path in &paths {
        match files(path) {
            Ok(files) => files.iter().for_each(|file| run_file(file, &mut report)),
            Err(error) => report.error(path, None, error),
        }
    }
    report.print_summary();
    match (report.has_errors(), report.has_failures()) {
        (true, _) => ExitCode::from(ERRORS),
        (false, true) => ExitCode::from(FAILED),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// The files that an argument stands for.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no .json file is in this directory"));
    }
    files.sort();
    Ok(files)
}

fn run_file(file: &Path, report: &mut Report) {
    report.file();
    let shown = env::current_dir().ok();
    let shown = shown.and_then(|here| file.strip_prefix(here).ok()).unwrap_or(file);
    let cases = match fs::read_to_string(file).map_err(|error| error.to_string()) {
        Ok(text) => format::read(&text),
        Err(error) => Err(error),
    };
    let cases = match cases {
        Ok(cases) => cases,
        Err(error) => return report.error(shown, None, error),
    };
    let watchdog = Watchdog::start();
    for case in cases {
        match case {
            Ok(case) => {
                let verdicts = hosts::all().map(|host| {
                    watchdog.begins(format!(
                        "{}: {:?} on {}",
                        file.display(),
                        case.name,
                        host.name()
                    ));
                    run::run(&case, host)
                });
                report.case(shown, &case, &verdicts);
            }
            Err(bad) => report.error(shown, Some(&bad.name), bad.problem),
        }
    }
    report.file_ends(shown);
}
