//! `fusionc`, the compiler's command line. Exit codes: 0 done; 2 bad usage or input; 1 a bug.

// They panic where nobody reads.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::panic::catch_unwind(fusion_compiler::cli::main) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tell(fusion_compiler::cli::in_flags(&error));
            ExitCode::from(error.exit_code())
        }
        Err(_) => {
            tell("this is a bug, please report it with the model and the command line");
            ExitCode::from(1)
        }
    }
}

/// Says what went wrong, to whoever listens.
fn tell(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "fusionc: {what}");
}
