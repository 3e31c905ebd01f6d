//! `fusion-run`: executes a plan as server, as client, or as both for a demonstration.

// They panic where nobody reads: `verdict` has what does not.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod client;
mod demo;
mod doctor;
mod progress;
mod server;
mod verdict;

use std::process::ExitCode;

use args::{Args, Role};
use clap::Parser;
use fusion_catalogue::cpu::{self, Form};
use fusion_runtime::transport::Credentials;
use fusion_runtime::{Error, output};

/// What a process that did not fail reports.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// Accepted, or finished without verification.
    Finished,
    /// Verification rejected the answers.
    Rejected,
    /// Something failed, and it was said what. This is the exit code.
    Failed(u8),
}

fn main() -> ExitCode {
    // A panic is a bug of ours and says so by its exit code; its message has been printed by then.
    match std::panic::catch_unwind(|| run(&Args::parse())) {
        Ok(Ok(Ending::Finished)) => ExitCode::SUCCESS,
        Ok(Ok(Ending::Rejected)) => ExitCode::from(3),
        Ok(Ok(Ending::Failed(code))) => ExitCode::from(code),
        Ok(Err(error)) => {
            verdict::complain(args::said(&error));
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::from(1),
    }
}

fn run(args: &Args) -> Result<Ending, Error> {
    let form = cpu::from_environment().map_err(|refused| Error::Usage(format!("{}: {refused}", cpu::VARIABLE)))?;
    if args.version {
        output::print(&version(form, args.verbose))?;
        return Ok(Ending::Finished);
    }
    if args.show_ledger {
        client::show_ledger(args)?;
        return Ok(Ending::Finished);
    }
    args.check()?;
    if let Some(path) = &args.keygen {
        let fingerprint = Credentials::generate(path)?;
        output::print(&format!("{fingerprint}\n"))?;
        return Ok(Ending::Finished);
    }
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads as usize);
        pool.build_global().map_err(|error| Error::Usage(format!("--threads {threads}: {error}")))?;
    }
    match args.role {
        None => demo::run(args),
        Some(Role::Server) => server::run(args),
        Some(Role::Client) => client::run(args),
    }
}

/// What `--version` prints.
fn version(form: Form, verbose: bool) -> String {
    let mut text = format!("fusion-run {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        let available: Vec<&str> = Form::available().into_iter().map(Form::name).collect();
        text += &format!("kernels: {} (this processor can run {})\n", form.name(), available.join(", "));
    }
    text
}
