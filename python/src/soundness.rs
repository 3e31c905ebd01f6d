//! What a batch proves, before there is one.

use fusion::{Forecast, Policy};
use pyo3::prelude::*;

use crate::errors::UsageError;

/// The cheapest batch that meets a policy, and what it proves, as JSON.
#[pyfunction]
#[pyo3(signature = (queries, *, lambda_bits, catch, accuracy, false_reject, classes, largest_share, copies, tolerate, available))]
#[expect(clippy::too_many_arguments, reason = "they have names in Python")]
pub fn soundness(
    queries: u64,
    lambda_bits: f64,
    catch: Option<f64>,
    accuracy: f64,
    false_reject: f64,
    classes: u64,
    largest_share: Option<f64>,
    copies: Option<u64>,
    tolerate: Option<u64>,
    available: Option<u64>,
) -> PyResult<String> {
    let largest_share = largest_share.or(Some(1.0 / classes.max(1) as f64));
    let policy = Policy { lambda: lambda_bits, catch, largest_share, false_reject, accuracy, tolerate, copies };
    let batch = policy.plan(queries, available).map_err(|why| UsageError::new_err(why.to_string()))?;
    let forecast = Forecast::new(&batch, &policy, classes);
    serde_json::to_string(&forecast).map_err(|error| UsageError::new_err(error.to_string()))
}
