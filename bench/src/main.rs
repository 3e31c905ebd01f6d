//! `fusion-bench`: measures whole networks over emulated links, beside what the catalogue
//! forecasts.

mod calibrate;
mod fit;
mod host;
mod measure;
mod peers;
mod plot;
mod prepare;
mod record;
mod run;
mod table;
mod workload;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use fusion_catalogue::{cpu, ot};
use fusion_estimate::{Machine, Network};
use fusion_runtime::Flow;
use fusion_runtime::session::Offline;

use record::{Mode, Record};
use workload::{Folders, WORKLOADS, Workload};

/// Measures private inference on whole networks: time, bytes and rounds of a query, over links with
/// a rate and a delay.
#[derive(Parser)]
#[command(name = "fusion-bench", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Prepare(PrepareArgs),
    Run(RunArgs),
    Table(TableArgs),
    Plot(PlotArgs),
    Calibrate(CalibrateArgs),
}

/// Compile plans of the named workloads with fusionc, and list them in the folder's plans.json
#[derive(clap::Args)]
struct PrepareArgs {
    /// Where plans go
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Workloads, of digits, mnist, mnist-strided, resnet20, squeezenet, mobilenetv2 and resnet50;
    /// all whose files are there if not given
    #[arg(long, value_delimiter = ',')]
    workload: Vec<String>,
    /// What fusionc knows as --backend, with commas between
    #[arg(long, value_parser = backends, default_value = "auto,cheetah")]
    backend: Backends,
    /// Networks to choose backends for
    #[arg(long, value_delimiter = ',', default_value = "lan,wan")]
    network: Vec<String>,
    /// Whether the client checks
    #[arg(long, value_enum, default_value = "semi-honest")]
    mode: Mode,
    /// Queries of the batch
    #[arg(long, value_name = "R", default_value_t = 1)]
    queries: u64,
    /// Bits of position consistency, if the client checks
    #[arg(long, default_value_t = 40.0)]
    lambda: f64,
    /// Folder of the project's models
    #[arg(long, default_value = "models")]
    models: PathBuf,
    /// Folder of real models with data
    #[arg(long, env = "FUSION_CASES", default_value = "../shared/cases")]
    cases: PathBuf,
    /// The machine profile that fusionc chooses backends by; what it finds by itself if not given
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// The compiler; the one beside this program if not given
    #[arg(long)]
    fusionc: Option<PathBuf>,
}

/// Measure prepared plans, print the table, and write the record
#[derive(clap::Args)]
struct RunArgs {
    /// The folder of prepared plans
    plans: PathBuf,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    workload: Vec<String>,
    /// Only these backends
    #[arg(long, value_parser = backends, default_value = "", hide_default_value = true)]
    backend: Backends,
    /// lan, wan, or files with the lines `mbit_per_s = N` and `rtt_ms = N`
    #[arg(long, value_delimiter = ',', default_value = "lan,wan")]
    network: Vec<String>,
    /// Only plans of this mode
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Repetitions; medians are printed
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Run at most so many positions of a batch, and scale times to all of it
    #[arg(long, value_name = "POSITIONS")]
    sample: Option<u64>,
    /// Most positions that go through the layers together
    #[arg(long)]
    micro_batch: Option<u32>,
    /// Micro-batches in flight
    #[arg(long)]
    streams: Option<u8>,
    /// What makes correlated OTs
    #[arg(long, value_enum, default_value = "auto")]
    correlations: Correlations,
    /// A machine profile of fusionc calibrate; if not given, the machine is measured first
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// Run SPU beside it, by this Python (3.11, with spu==0.9.5 and onnx installed): one query of
    /// every workload on every network, in every repetition
    #[arg(long, value_name = "PYTHON")]
    spu: Option<PathBuf>,
    /// SPU's protocols and the bits of their ring
    #[arg(long, value_delimiter = ',', value_name = "PROTOCOL:BITS", requires = "spu", default_value = "cheetah:64")]
    spu_protocol: Vec<String>,
    /// Folder of the project's models, for peers
    #[arg(long, default_value = "models")]
    models: PathBuf,
    /// Folder of real models with data, for peers
    #[arg(long, env = "FUSION_CASES", default_value = "../shared/cases")]
    cases: PathBuf,
    /// Print every layer, too
    #[arg(long)]
    layers: bool,
    /// Where to write the record
    #[arg(short, long, value_name = "RECORD.json")]
    output: Option<PathBuf>,
}

/// Names of backends.
#[derive(Clone)]
struct Backends(Vec<String>);

/// Reads names with commas between them; those within brackets belong to a name, as in
/// `cheetah(leaf=4,pack)`.
fn backends(text: &str) -> Result<Backends, std::convert::Infallible> {
    let mut depth = 0_i32;
    let names = text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth <= 0
    });
    Ok(Backends(names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()))
}

/// What makes correlated OTs.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Correlations {
    Auto,
    Softspoken,
    Silent,
}

impl From<Correlations> for ot::Choice {
    fn from(choice: Correlations) -> ot::Choice {
        match choice {
            Correlations::Auto => ot::Choice::Auto,
            Correlations::Softspoken => ot::Choice::SoftSpoken,
            Correlations::Silent => ot::Choice::Silent,
        }
    }
}

/// Print a record's table again
#[derive(clap::Args)]
struct TableArgs {
    /// A record of fusion-bench run
    record: PathBuf,
    /// Print every layer, too
    #[arg(long)]
    layers: bool,
}

/// Draw the cost of a query over the number of queries, for lambda = 20, 40 and 64
#[derive(clap::Args)]
struct PlotArgs {
    /// A record of fusion-bench run
    record: PathBuf,
    /// The workload to draw
    #[arg(long, default_value = "resnet20")]
    workload: String,
    /// The network to draw
    #[arg(long, default_value = "wan")]
    network: String,
    /// The backend to draw
    #[arg(long, default_value = "auto")]
    backend: String,
    /// The drawing
    #[arg(short, long, value_name = "FILE.svg", default_value = "cost.svg")]
    output: PathBuf,
}

/// Measure how fast this machine computes what protocols are made of: small networks, both parties,
/// on all processors, for about twenty seconds
#[derive(clap::Args)]
struct CalibrateArgs {
    /// Where to write the machine profile
    #[arg(short, long, value_name = "MACHINE.json")]
    output: PathBuf,
    /// Print what every layer took, and how far the profile is off
    #[arg(long)]
    layers: bool,
}

fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    cpu::from_environment().context(cpu::VARIABLE)?;
    match command {
        Command::Prepare(args) => prepare_plans(args),
        Command::Run(args) => run_plans(&args),
        Command::Table(args) => {
            let record = Record::read(&args.record)?;
            print(&record, args.layers);
            Ok(())
        }
        Command::Plot(args) => {
            let record = Record::read(&args.record)?;
            plot::plot(&record, &args.workload, &args.network, &args.backend, &args.output)
        }
        Command::Calibrate(args) => {
            let machine = calibrated(args.layers)?;
            let text = serde_json::to_string_pretty(&machine)? + "\n";
            std::fs::write(&args.output, text).with_context(|| format!("{} cannot be written", args.output.display()))
        }
    }
}

fn prepare_plans(args: PrepareArgs) -> anyhow::Result<()> {
    let named = |name: &String| Workload::named(name).with_context(|| format!("there is no workload {name:?}"));
    let workloads: Vec<Workload> = match args.workload.is_empty() {
        true => WORKLOADS.to_vec(),
        false => args.workload.iter().map(named).collect::<anyhow::Result<_>>()?,
    };
    let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name("fusionc"));
    prepare::prepare(&prepare::Request {
        folder: args.output,
        folders: Folders { models: args.models, cases: args.cases },
        fusionc: args.fusionc.map_or_else(beside, Ok)?,
        machine: args.machine,
        workloads,
        backends: args.backend.0,
        networks: args.network,
        mode: args.mode,
        queries: args.queries,
        lambda: args.lambda,
    })
}

fn run_plans(args: &RunArgs) -> anyhow::Result<()> {
    let wanted = |names: &[String], name: &String| names.is_empty() || names.contains(name);
    let mut plans = prepare::list(&args.plans)?;
    plans.retain(|plan| wanted(&args.workload, &plan.workload) && wanted(&args.backend.0, &plan.backend));
    plans.retain(|plan| args.mode.is_none_or(|mode| plan.mode == mode));
    if plans.is_empty() {
        bail!("{} has no such plan", args.plans.display());
    }
    let host = host::host();
    let machine = match &args.machine {
        Some(path) => read_machine(path)?,
        None => calibrated(false)?,
    };
    let settings = run::Settings {
        folder: args.plans.clone(),
        networks: args.network.iter().map(|name| Ok((name.clone(), network(name)?))).collect::<anyhow::Result<_>>()?,
        repeat: args.repeat.max(1),
        sample: args.sample,
        flow: Flow {
            micro_batch: args.micro_batch,
            streams: args.streams,
            offline: Offline { choice: args.correlations.into(), ..Offline::default() },
            ..Flow::default()
        },
        machine: machine.clone(),
        peers: args.spu.as_ref().map_or(Ok(Vec::new()), |python| spu(python, &args.spu_protocol))?,
        folders: Folders { models: args.models.clone(), cases: args.cases.clone() },
    };
    let mut record = Record {
        record_version: record::VERSION,
        host,
        versions: host::versions(),
        machine,
        rows: Vec::new(),
        peers: Vec::new(),
    };
    // Written after every repetition, so that a long measurement that is cut short is not lost.
    run::run(&plans, &settings, &mut |rows, peers| {
        record.host.load[1] = host::load();
        record.rows = rows.to_vec();
        record.peers = peers.to_vec();
        args.output.as_ref().map_or(Ok(()), |path| record.write(path))
    })?;
    print(&record, args.layers);
    Ok(())
}

/// SPU with each of these protocols.
fn spu(python: &Path, protocols: &[String]) -> anyhow::Result<Vec<peers::Spu>> {
    let party = peers::party("spu_party.py")?;
    let one = |text: &String| {
        let parts = text.split_once(':').filter(|(protocol, _)| ["cheetah", "semi2k"].contains(protocol));
        let field = parts.and_then(|(_, bits)| bits.parse().ok()).filter(|bits| [32, 64, 128].contains(bits));
        let (protocol, field) = parts
            .map(|(protocol, _)| protocol.to_owned())
            .zip(field)
            .with_context(|| format!("--spu-protocol {text:?}: say cheetah or semi2k, a colon, and 32, 64 or 128"))?;
        Ok(peers::Spu { python: python.to_owned(), party: party.clone(), protocol, field })
    };
    protocols.iter().map(one).collect()
}

fn print(record: &Record, layers: bool) {
    print!("{}", table::table(record));
    if layers {
        print!("{}", table::layers(record));
    }
}

fn calibrated(layers: bool) -> anyhow::Result<Machine> {
    let started = std::time::Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut progress = |[repetition, network, of]: [usize; 3]| {
        let text = format!("measuring this machine: repetition {}, network {} of {of}", repetition + 1, network + 1);
        match terminal {
            true => eprint!("\r{text} "),
            false if network == 0 => eprintln!("{text}"),
            false => {}
        }
    };
    let calibration = calibrate::calibrate(&mut progress)?;
    if terminal {
        eprintln!();
    }
    if layers {
        for calibrate::Explained { what, seconds, error } in &calibration.layers {
            println!("{what:<100} {:>10.3} ms {:>+6.0} %", 1e3 * seconds, 100.0 * error);
        }
    }
    let machine = calibration.machine;
    eprintln!(
        "calibrated in {:.0} s: {} with kernels {} and {} threads; {} layers, explained to {:.0} % (median)",
        started.elapsed().as_secs_f64(),
        machine.name,
        machine.form.name(),
        machine.threads,
        calibration.layers.len(),
        100.0 * machine.error
    );
    Ok(machine)
}

fn read_machine(path: &Path) -> anyhow::Result<Machine> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let other_version = || format!("{} is of another version of this program, or damaged", path.display());
    let machine: Machine = serde_json::from_str(&text).with_context(other_version)?;
    if !machine.is_complete() {
        bail!("{}: fusionc calibrate makes a new one", other_version());
    }
    if let Err(why) = machine.is_of(&cpu::processor(), cpu::Form::in_use(), host::threads()) {
        eprintln!("{} is not of this machine as it is used now: {why}", path.display());
    }
    Ok(machine)
}

fn network(name: &str) -> anyhow::Result<Network> {
    if let Some(network) = Network::named(name) {
        return Ok(network);
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("{name} is neither lan, wan nor a file"))?;
    text.parse().with_context(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_within_brackets_belong_to_a_backend() {
        let Ok(Backends(names)) = backends("auto, cheetah(leaf=4,pack),garbled");
        assert_eq!(names, ["auto", "cheetah(leaf=4,pack)", "garbled"]);
        let Ok(Backends(none)) = backends("");
        assert!(none.is_empty());
    }
}
