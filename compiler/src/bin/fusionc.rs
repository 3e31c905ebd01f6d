//! `fusionc`, the compiler's command line. Exit codes: 0 done; 2 bad usage or input; 1 a bug.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::panic::catch_unwind(fusion_compiler::cli::main) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("fusionc: {error}");
            ExitCode::from(error.exit_code())
        }
        Err(_) => {
            eprintln!("fusionc: this is a bug, please report it with the model and the command line");
            ExitCode::from(1)
        }
    }
}
