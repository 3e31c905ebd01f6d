//! Plans.

use std::path::PathBuf;
use std::sync::Arc;

use fusion::{Answers, Compiled, Machine, Network, cost_page, position_cost, program_page};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::errors::{StateError, UsageError, in_arguments, of_compiler};

/// What the parties execute.
#[pyclass(frozen, module = "fusion")]
pub struct Plan {
    pub plan: Arc<fusion::Plan>,
    facts: Option<Facts>,
}

/// What only the compilation knows.
#[derive(Clone)]
struct Facts {
    agreement: String,
    warnings: Vec<String>,
}

impl Plan {
    /// A plan fresh from the compiler.
    pub fn compiled(compiled: Compiled) -> Plan {
        let Compiled { plan, summary } = compiled;
        let warnings = summary.warnings.iter().map(|warning| in_arguments(warning)).collect();
        let facts = Facts { agreement: in_arguments(&summary.agreement.to_string()), warnings };
        Plan { plan: Arc::new(plan), facts: Some(facts) }
    }

    fn answers(&self) -> Answers<'_> {
        Answers::new(&self.plan)
    }
}

#[pymethods]
impl Plan {
    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Plan> {
        let plan = fusion::Plan::from_bytes(bytes).map_err(|error| UsageError::new_err(error.to_string()))?;
        Ok(Plan { plan: Arc::new(plan), facts: None })
    }

    #[staticmethod]
    fn load(path: PathBuf) -> PyResult<Plan> {
        let bytes =
            std::fs::read(&path).map_err(|error| UsageError::new_err(format!("{}: {error}", path.display())))?;
        Plan::from_bytes(&bytes).map_err(|error| UsageError::new_err(format!("{}: {error}", path.display())))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.plan.to_bytes())
    }

    fn save(&self, path: PathBuf) -> PyResult<()> {
        let written = std::fs::write(&path, self.plan.to_bytes());
        written.map_err(|error| StateError::new_err(format!("{}: {error}", path.display())))
    }

    fn client(&self) -> Plan {
        Plan { plan: Arc::new(self.plan.for_client()), facts: self.facts.clone() }
    }

    fn dump(&self) -> String {
        self.plan.function.to_string()
    }

    /// The program as a page.
    fn program_page(&self) -> String {
        program_page(&self.plan)
    }

    /// What it costs as a page.
    #[pyo3(signature = (network = "lan"))]
    fn cost_page(&self, py: Python<'_>, network: &str) -> PyResult<String> {
        let network = self::network(network)?;
        py.detach(|| cost_page(&self.plan, network, &Machine::like_this())).map_err(of_compiler)
    }

    #[getter]
    fn digest(&self) -> String {
        self.plan.digest().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[getter]
    fn input_shape(&self) -> Vec<usize> {
        self.plan.function.values.first().map_or(Vec::new(), |input| input.ty.shape.clone())
    }

    #[getter]
    fn classes(&self) -> usize {
        self.answers().classes().count
    }

    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.plan.schema.classes.clone()
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.plan.schema.columns.clone()
    }

    #[getter]
    fn reveal(&self) -> String {
        self.answers().reveal().to_string()
    }

    #[getter]
    fn is_verified(&self) -> bool {
        self.plan.is_verified()
    }

    #[getter]
    fn has_weights(&self) -> bool {
        self.plan.weights.is_some()
    }

    #[getter]
    fn public_constants(&self) -> usize {
        self.plan.schema.prefix.as_ref().map_or(0, |prefix| prefix.constants())
    }

    #[getter]
    fn agreement(&self) -> Option<&str> {
        self.facts.as_ref().map(|facts| facts.agreement.as_str())
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.facts.as_ref().map_or(Vec::new(), |facts| facts.warnings.clone())
    }

    /// The layers of a position, and its bytes, rounds and seconds.
    #[pyo3(signature = (network = "lan"))]
    fn cost<'py>(&self, py: Python<'py>, network: &str) -> PyResult<(Vec<Bound<'py, PyDict>>, u64, u64, f64)> {
        let network = self::network(network)?;
        let cost = position_cost(&self.plan, network, &Machine::like_this()).map_err(of_compiler)?;
        let row = |cost: fusion::LayerCost| {
            let row = PyDict::new(py);
            row.set_item("node", cost.node)?;
            row.set_item("operation", cost.op)?;
            row.set_item("backend", cost.backend)?;
            row.set_item("to_server", cost.to_server)?;
            row.set_item("to_client", cost.to_client)?;
            row.set_item("rounds", cost.rounds)?;
            row.set_item("seconds", cost.seconds)?;
            Ok(row)
        };
        let layers = cost.layers.into_iter().map(row).collect::<PyResult<_>>()?;
        Ok((layers, cost.bytes, cost.rounds, cost.seconds))
    }
}

/// A network of this name, or of these numbers: `MBIT/RTT`.
pub fn network(text: &str) -> PyResult<Network> {
    let numbers = || {
        let (mbit, rtt) = text.split_once('/')?;
        let positive = |text: &str| text.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
        Some(Network { mbit_per_s: positive(mbit)?, rtt_ms: positive(rtt)? })
    };
    let network = Network::named(text).or_else(numbers);
    network.ok_or_else(|| UsageError::new_err(format!("network {text:?} is none of lan, wan, MBIT_PER_S/RTT_MS")))
}
