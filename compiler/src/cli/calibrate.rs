//! `fusionc calibrate`.
//!
//! Measuring means running protocols, which the compiler knows as data only. So `fusion-bench`,
//! which links them, measures, and what passes from one to the other is a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{measured, output};
use crate::Error;

/// Measure how fast this machine computes what protocols are made of, for forecasts and for the
/// choice of backends
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to write the profile [default: fusion/machine.json in $XDG_STATE_HOME or
    /// ~/.local/state, where fusionc looks]
    #[arg(short, long, value_name = "MACHINE.json")]
    output: Option<PathBuf>,
    /// The program that measures [default: fusion-bench beside fusionc, else on the path]
    #[arg(long, value_name = "PROGRAM")]
    bench: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let path = args.output.clone().or_else(measured::measured_here);
    let path = path.ok_or_else(|| {
        Error::Usage("neither XDG_STATE_HOME nor HOME says where the profile is to be kept: give --output".into())
    })?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
    }
    let bench = args.bench.clone().unwrap_or_else(beside);
    let status = Command::new(&bench).args([Path::new("calibrate"), Path::new("--output"), &path]).status();
    match status {
        Ok(status) if status.success() => output::print(&format!("written   {}\n", path.display())),
        Ok(_) => Err(Error::Usage(format!("{} could not measure this machine", bench.display()))),
        Err(why) => Err(Error::Usage(format!(
            "{} cannot be started ({why}): build it with cargo build --release -p fusion-bench, or give --bench",
            bench.display()
        ))),
    }
}

/// `fusion-bench` in the folder of this program, if it is there.
fn beside() -> PathBuf {
    let name = format!("fusion-bench{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(&name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}
