//! The `surefoot` program. This file only reads the command line; each subcommand has a module of its own.

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The reliability layer for programs that make calls they cannot trust.
#[derive(Debug, Parser)]
#[command(name = "surefoot", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run real HTTP calls against a service that misbehaves: bare, with plain retries, and with Surefoot
    Demo(demo::Options),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(options) => demo::main(&options),
    }
}
