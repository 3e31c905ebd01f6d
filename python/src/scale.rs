//! What a batch over many machines would take.

use fusion::{Fleet, Flow, Machine};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};
use crate::plan::{Plan, network};

/// A forecast for each number of machines, as JSON.
#[pyfunction]
#[pyo3(signature = (plan, positions, machines, *, network, uplink, spread, memory))]
#[expect(clippy::too_many_arguments, reason = "they have names in Python")]
pub fn scale(
    py: Python<'_>,
    plan: &Plan,
    positions: u64,
    machines: Vec<u64>,
    network: &str,
    uplink: Option<f64>,
    spread: f64,
    memory: Option<u64>,
) -> PyResult<String> {
    let fleet = Fleet { network: self::network(network)?, uplink_mbit_per_s: uplink, spread };
    let (plan, flow) = (plan.plan.clone(), Flow { memory_bytes: memory, ..Flow::default() });
    let work = move || fusion::scale(&plan, flow, positions, &machines, &Machine::like_this(), fleet);
    let scaled = py.detach(work).map_err(of_session)?;
    serde_json::to_string(&scaled).map_err(|error| UsageError::new_err(error.to_string()))
}
