//! The command line, one file per subcommand.

// They panic where nobody reads: `output` has what does not.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod calibrate;
mod check;
mod compile;
mod cost;
mod dump;
mod eval;
mod flags;
mod measured;
mod network;
mod output;
mod policy;
mod progress;
mod soundness;
mod target;

use std::path::Path;

use clap::{Parser, Subcommand, ValueEnum};
use fusion_catalogue::cpu;
use fusion_ir::Plan;

pub use flags::in_flags;

use crate::Error;
use crate::memory::Memory;

/// Compiles ONNX classifiers into plans for private, verified inference between two parties.
#[derive(Parser)]
#[command(name = "fusionc", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(compile::Args),
    Check(check::Args),
    Dump(dump::Args),
    Cost(cost::Args),
    Eval(eval::Args),
    Soundness(soundness::Args),
    Calibrate(calibrate::Args),
}

/// How much memory what a file asks for may take.
#[derive(clap::Args)]
struct MemoryArgs {
    /// Refuse what takes more memory than this (kB, MB, GB), and say which node or file does,
    /// before anything of that size is made
    #[arg(long, value_name = "SIZE", default_value_t = Memory::default())]
    max_memory: Memory,
}

/// What is done about samples that the input's format does not hold.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum OnClipped {
    /// Say so and go on
    Warn,
    /// Give no answer about them
    Refuse,
}

/// Parses the process's arguments and runs the subcommand. Bad usage ends the process with exit
/// code 2.
///
/// # Errors
/// Whatever the subcommand meets.
pub fn main() -> Result<(), Error> {
    let command = Cli::parse().command;
    cpu::from_environment().map_err(|refused| Error::Usage(format!("{}: {refused}", cpu::VARIABLE)))?;
    match command {
        Command::Compile(args) => compile::run(args),
        Command::Check(args) => check::run(&args),
        Command::Dump(args) => dump::run(args),
        Command::Cost(args) => cost::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Soundness(args) => soundness::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })
}

fn read_plan(path: &Path) -> Result<Plan, Error> {
    Plan::from_bytes(&read(path)?).map_err(|e| Error::Input { path: path.into(), why: e.to_string() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
