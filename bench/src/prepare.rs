//! Plans for the workloads, made by `fusionc`, and a list of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use ndarray::{ArrayD, Axis, Slice};
use ndarray_npy::{read_npy, write_npy};
use serde::{Deserialize, Serialize};

use crate::record::Mode;
use crate::workload::{Folders, Workload};

/// The list's file within a folder of plans.
pub const LIST: &str = "plans.json";

/// A plan and what it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Name of the workload.
    pub workload: String,
    /// `--backend` of the compilation.
    pub backend: String,
    /// `--network` of the compilation; `None` if the backend is fixed, and no network matters.
    pub network: Option<String>,
    /// Whether the client checks.
    pub mode: Mode,
    /// Queries that backends were chosen for.
    pub queries: u64,
    /// `--lambda` of the compilation.
    pub lambda: f64,
    /// The server's plan, within the folder.
    pub file: PathBuf,
}

/// Everything to compile.
pub struct Request {
    /// Where plans go.
    pub folder: PathBuf,
    /// Where models come from.
    pub folders: Folders,
    /// The compiler.
    pub fusionc: PathBuf,
    /// Its `--machine`.
    pub machine: Option<PathBuf>,
    /// Which workloads.
    pub workloads: Vec<Workload>,
    /// Which backends.
    pub backends: Vec<String>,
    /// Which networks, for backends that depend on it.
    pub networks: Vec<String>,
    /// Whether the client checks.
    pub mode: Mode,
    /// Queries of the batch.
    pub queries: u64,
    /// Bits of position consistency, if it does.
    pub lambda: f64,
}

/// Compiles all that is asked for, and adds it to the folder's list.
///
/// # Errors
/// If a file is missing or a compilation fails.
pub fn prepare(request: &Request) -> anyhow::Result<()> {
    std::fs::create_dir_all(&request.folder)?;
    for workload in &request.workloads {
        let model = workload.model(&request.folders);
        if !model.is_file() {
            eprintln!("skipped: {} has no {}", workload.name, model.display());
            continue;
        }
        let calibrate = request.folder.join(format!("{}.npy", workload.name));
        cut(&workload.inputs(&request.folders), workload.calibrate, &calibrate)?;
        for backend in &request.backends {
            let networks: Vec<Option<&String>> = match backend.as_str() {
                "auto" => request.networks.iter().map(Some).collect(),
                _ => vec![None],
            };
            for network in networks {
                compile(request, workload, &model, &calibrate, backend, network)?;
            }
        }
    }
    Ok(())
}

/// The plans in a folder.
///
/// # Errors
/// If there is no list, or it is damaged.
pub fn list(folder: &Path) -> anyhow::Result<Vec<Prepared>> {
    let path = folder.join(LIST);
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("{} cannot be read: run fusion-bench prepare first", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no list of plans", path.display()))
}

fn compile(
    request: &Request,
    workload: &Workload,
    model: &Path,
    calibrate: &Path,
    backend: &str,
    network: Option<&String>,
) -> anyhow::Result<()> {
    let mode = match request.mode {
        Mode::SemiHonest => "semi-honest",
        Mode::Verified => "verified",
    };
    let network_name = network.map_or("any", String::as_str);
    let file = format!("{}.{backend}.{network_name}.{mode}.{}.bin", workload.name, request.queries).replace('/', "_");
    eprintln!("compiling {file}: {}", workload.about);
    let mut command = Command::new(&request.fusionc);
    command.arg("compile").arg(model).arg("--calibrate").arg(calibrate).args(["--backend", backend]);
    command.arg("--queries").arg(request.queries.to_string());
    command.arg("-o").arg(request.folder.join(&file));
    if let Some(network) = network {
        command.args(["--network", network]);
    }
    if let Some(machine) = &request.machine {
        command.arg("--machine").arg(machine);
    }
    match request.mode {
        Mode::SemiHonest => command.arg("--no-verify"),
        Mode::Verified => command.arg("--lambda").arg(request.lambda.to_string()),
    };
    let output = command.output().with_context(|| format!("{} cannot be started", request.fusionc.display()))?;
    if !output.status.success() {
        bail!("fusionc refuses {}: {}", workload.name, String::from_utf8_lossy(&output.stderr).trim());
    }
    let prepared = Prepared {
        workload: workload.name.into(),
        backend: backend.into(),
        network: network.cloned(),
        mode: request.mode,
        queries: request.queries,
        lambda: request.lambda,
        file: file.into(),
    };
    let mut plans = if request.folder.join(LIST).exists() { list(&request.folder)? } else { Vec::new() };
    plans.retain(|other| other.file != prepared.file);
    plans.push(prepared);
    std::fs::write(request.folder.join(LIST), serde_json::to_string_pretty(&plans)? + "\n")?;
    Ok(())
}

/// Writes the first `count` samples of the array in `from` to `to`.
fn cut(from: &Path, count: usize, to: &Path) -> anyhow::Result<()> {
    let all: ArrayD<f32> = read_npy(from).with_context(|| format!("{} cannot be read", from.display()))?;
    ensure!(all.ndim() > 0, "{} holds no samples", from.display());
    let some = all.slice_axis(Axis(0), Slice::from(..count.min(all.len_of(Axis(0)))));
    write_npy(to, &some.as_standard_layout().to_owned()).with_context(|| format!("{} cannot be written", to.display()))
}
