//! What backends are chosen and times are forecast for: a network, a machine, and how many
//! positions go together.

use std::path::{Path, PathBuf};

use fusion_catalogue::cpu::{self, Form};
use fusion_estimate::{Machine, Network, NotOfThisMachine};

use super::measured::measured_here;
use super::{network, output, read};
use crate::passes::select::{Choice, Target};
use crate::{Error, suggest};

/// The network and the machine.
#[derive(clap::Args)]
pub(super) struct TargetArgs {
    /// Between the parties: lan (3 Gbit/s, 0.8 ms), wan (400 Mbit/s, 40 ms), a file with
    /// `mbit_per_s = N` and `rtt_ms = N`, or auto: what fusion-run --doctor measured last
    #[arg(long, default_value = "lan")]
    network: network::Choice,
    /// How fast the parties compute, as fusionc calibrate wrote it [default: what it measured last
    /// here, else a built-in profile]
    #[arg(long, value_name = "MACHINE.json")]
    machine: Option<PathBuf>,
}

impl TargetArgs {
    /// The target for a batch of `positions`.
    ///
    /// # Errors
    /// If a profile cannot be read.
    pub fn target(&self, positions: u64, choice: Choice) -> Result<Target, Error> {
        let schedule = suggest::schedule(positions);
        Ok(Target { network: self.network()?, machine: self.machine()?, schedule, choice })
    }

    fn network(&self) -> Result<Network, Error> {
        self.network.resolve()
    }

    /// The machine; its name says which one it is and whether it was measured here.
    fn machine(&self) -> Result<Machine, Error> {
        match (&self.machine, measured_here()) {
            (Some(path), _) => {
                let machine = read_machine(path)?;
                let origin = if is_of_here(&machine).is_ok() { "measured here" } else { "not measured here" };
                Ok(named(machine, &format!("{}, {origin}", path.display())))
            }
            (None, Some(path)) if path.exists() => Ok(match read_machine(&path) {
                Ok(machine) => match is_of_here(&machine) {
                    Ok(()) => named(machine, "measured here"),
                    Err(why) => {
                        output::tell(format_args!("{}: {why}; a built-in profile is used", path.display()));
                        built_in()
                    }
                },
                Err(why) => {
                    output::tell(format_args!("{why}; until then a built-in profile is used"));
                    built_in()
                }
            }),
            _ => Ok(built_in()),
        }
    }
}

/// The profile for this machine's kernels, of a machine that is probably another one.
fn built_in() -> Machine {
    let form = Form::in_use();
    let machine = Machine::built_in(form);
    let instead = if machine.form == form { String::new() } else { format!(" in place of {}", form.name()) };
    named(
        machine,
        &format!("built in{instead}, not measured here, where it may be off by far more: see fusionc calibrate"),
    )
}

/// The machine with a name that says all about it.
fn named(machine: Machine, origin: &str) -> Machine {
    let Machine { name, form, threads, error, .. } = &machine;
    let (form, error) = (form.name(), 100.0 * error);
    let name = format!(
        "{name}, kernels {form}, {threads} threads, {error:.0} % off in the median of its own layers ({origin})"
    );
    Machine { name, ..machine }
}

/// Whether a profile is of this machine as it is used now.
fn is_of_here(machine: &Machine) -> Result<(), NotOfThisMachine> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    machine.is_of(&cpu::processor(), Form::in_use(), threads)
}

fn read_machine(path: &Path) -> Result<Machine, Error> {
    let refuse = |why: String| Error::Input { path: path.into(), why };
    let machine: Machine = serde_json::from_slice(&read(path)?)
        .map_err(|why| refuse(format!("no machine profile ({why}): fusionc calibrate makes one")))?;
    match machine.nanoseconds.values().all(|ns| ns.is_finite() && *ns >= 0.0) {
        false => Err(refuse("a machine profile with negative times: fusionc calibrate makes a new one".into())),
        true if !machine.is_complete() => {
            Err(refuse("a machine profile of another version: fusionc calibrate makes a new one".into()))
        }
        true => Ok(machine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecasts_say_whose_they_are() {
        let machine = built_in();
        let kernels = format!("kernels {}, ", Form::in_use().name());
        assert!(machine.name.contains("(built in, not measured here") && machine.name.contains(&kernels));
        let unnamed = Machine::built_in(Form::in_use());
        assert_eq!(machine.nanoseconds, unnamed.nanoseconds);
        assert!(is_of_here(&unnamed).is_err());
    }

    #[test]
    fn damaged_profiles_are_refused_and_good_ones_read() {
        let path = std::env::temp_dir().join(format!("fusion-machine-{}.json", std::process::id()));
        let about = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_machine(&path).map_err(|error| error.to_string())
        };
        let good = serde_json::to_string(&Machine::default()).unwrap();
        assert_eq!(about(&good), Ok(Machine::default()));
        assert!(about(&good[1..]).unwrap_err().contains("fusionc calibrate"));
        assert!(about(&good.replace("\"product\":", "\"product\":-")).unwrap_err().contains("negative"));
        assert!(about(&good.replace("\"product\"", "\"teleport\"")).unwrap_err().contains("fusionc calibrate"));
        let mut old = Machine::default();
        old.nanoseconds.pop_first();
        assert!(about(&serde_json::to_string(&old).unwrap()).unwrap_err().contains("another version"));
        std::fs::remove_file(path).unwrap();
    }
}
