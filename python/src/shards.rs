//! A batch whose shards run in other processes.

use std::sync::{Arc, Mutex, PoisonError};

use fusion::{Answered, Dial, Met, Shard, Switch};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::{Client, Job, Ran, ran};
use crate::errors::{UsageError, of_session};
use crate::interrupt::interruptible;

/// A batch that has begun. It holds the secret order of its positions, so it is not pickled.
#[pyclass(frozen, module = "fusion")]
pub struct Begun {
    client: Arc<fusion::Client>,
    begun: Mutex<Option<fusion::Begun>>,
}

/// Begins a batch of so many shards: from here on it counts. With the shards as bytes, which hold
/// their inputs in the clear.
#[pyfunction]
pub fn begin<'py>(
    py: Python<'py>,
    client: &Client,
    job: &Job,
    shards: usize,
) -> PyResult<(Begun, Vec<Bound<'py, PyBytes>>)> {
    let (job, of) = (job.take()?, client.client.clone());
    let servers: Vec<String> = client.servers.iter().map(|server| server.address.clone()).collect();
    let work = move || {
        let names: Vec<&str> = servers.iter().map(String::as_str).collect();
        of.begin(job, shards, &names, &mut |_| ())
    };
    let (begun, shards) = py.detach(work).map_err(of_session)?;
    let plan = client.client.plan();
    let shards = shards.iter().map(|shard| PyBytes::new(py, &shard.to_bytes(plan))).collect();
    Ok((Begun { client: client.client.clone(), begun: Mutex::new(Some(begun)) }, shards))
}

/// Runs a shard with the client's only server: what it left, as bytes that hold its answers in the
/// clear.
#[pyfunction]
pub fn answer<'py>(py: Python<'py>, client: &Client, shard: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let [server] = &client.servers[..] else {
        return Err(UsageError::new_err("a shard is one server's"));
    };
    let shard = Shard::from_bytes(client.client.plan(), shard).map_err(of_session)?;
    let (client, server, switch) = (client.client.clone(), server.clone(), Switch::default());
    let through = switch.clone();
    let work = move || {
        let dial = || -> Result<Met, fusion::Error> { through.connect((&server).dial()?) };
        client.answer(shard, dial, &mut |_| ())?.to_bytes(client.plan())
    };
    let answered = interruptible(py, work, || switch.turn_off())?.map_err(of_session)?;
    Ok(PyBytes::new(py, &answered))
}

/// Whether each of the client's servers would serve it; nothing is counted, and no network
/// measured.
#[pyfunction]
pub fn reach(py: Python<'_>, client: &Client) -> PyResult<()> {
    let (client, servers) = (client.client.clone(), client.servers.clone());
    let work = move || servers.iter().try_for_each(|server| client.reach(server));
    interruptible(py, work, || ())?.map_err(of_session)
}

#[pymethods]
impl Begun {
    /// Looks at what all shards left, each once.
    fn conclude(&self, answered: Vec<Bound<'_, PyBytes>>) -> PyResult<Ran> {
        let read = |bytes: &Bound<'_, PyBytes>| Answered::from_bytes(self.client.plan(), bytes.as_bytes());
        let answered: Result<Vec<_>, _> = answered.iter().map(read).collect();
        let begun = self.take()?;
        let concluded = match answered {
            Ok(answered) => self.client.conclude(begun, answered, &mut |_| ()),
            Err(error) => {
                self.client.abandon(begun, &error.to_string(), &mut |_| ());
                Err(error)
            }
        };
        ran(&self.client, &concluded.map_err(of_session)?)
    }

    /// Writes down that a shard failed, and with it the batch.
    fn abandon(&self, why: &str) -> PyResult<()> {
        self.client.abandon(self.take()?, why, &mut |_| ());
        Ok(())
    }
}

impl Begun {
    fn take(&self) -> PyResult<fusion::Begun> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        begun.ok_or_else(|| UsageError::new_err("this batch has ended"))
    }
}
