//! Prints what the simulations show.

use std::process::ExitCode;

use surefoot_simulation::scenarios::report;
use surefoot_simulation::{comparison, scenarios};

const USAGE: &str = "\
cargo run --release -p surefoot-simulation [-- [--seeds N] [PART…]]

Without PART: every scenario in a line, then what was missed, then the adaptive limit beside the
published ones.

  PART       the number of a scenario, for all of its figures; or `limits`, for the comparison
  --seeds N  run each scenario with N seeds (default 5)";

struct Asked {
    seeds: u32,
    parts: Vec<String>,
}

fn main() -> ExitCode {
    match asked() {
        Ok(asked) if asked.parts.is_empty() => everything(asked.seeds),
        Ok(asked) => parts(&asked),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { seeds: scenarios::SEEDS, parts: vec![] };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Err(USAGE.to_owned()),
            "--seeds" => {
                let seeds = arguments.next().and_then(|seeds| seeds.parse().ok());
                let rule = || format!("--seeds wants a number from 1 up\n\n{USAGE}");
                asked.seeds = seeds.filter(|&seeds| seeds > 0).ok_or_else(rule)?;
            }
            part if part == "limits" || number(part).is_some() => asked.parts.push(argument),
            _ => return Err(format!("there is no part `{argument}`\n\n{USAGE}")),
        }
    }
    Ok(asked)
}

fn number(part: &str) -> Option<&'static scenarios::Scenario> {
    scenarios::ALL.iter().find(|scenario| scenario.number.to_string() == part)
}

fn everything(seeds: u32) -> ExitCode {
    println!("{}", report::heading(seeds));
    let mut all = vec![];
    for scenario in scenarios::ALL {
        let figures = scenario.run_with(seeds);
        println!("{}", report::line(scenario, &figures));
        all.push((scenario, figures));
    }
    println!("{}", report::summary(&all, seeds));
    print!("{}", comparison::table());
    let holds = all.iter().flat_map(|(_, figures)| figures).all(scenarios::Figure::holds);
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parts(asked: &Asked) -> ExitCode {
    let mut holds = true;
    for part in &asked.parts {
        let Some(scenario) = number(part) else {
            print!("{}", comparison::table());
            continue;
        };
        let figures = scenario.run_with(asked.seeds);
        println!("{}", report::table(scenario, &figures));
        holds &= figures.iter().all(scenarios::Figure::holds);
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
