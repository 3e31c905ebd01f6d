//! The server's run: handshake, then the whole batch through the protocols. It learns nothing but
//! the batch's size.

use std::time::Instant;

use fusion_ir::{Party, Plan};

use crate::Error;
use crate::executor::{Executor, Progress, Spent};
use crate::forecast::Forecast;
use crate::memory::Memory;
use crate::model::Model;
use crate::report::{self, Run, ServerBatch, ServerReport};
use crate::session::handshake::{self, Admission, CONTROL_AHEAD_BYTES, Limits, nonce};
use crate::steps::resolve;
use crate::transport::{Lane, Link, Metered};

/// Serves one session as the server over `link`, to anyone and within `limits`.
///
/// # Errors
/// [`Error::Usage`] if the plan has no weights or a layer that the protocols cannot carry;
/// [`Error::Peer`] if the client or the connection fails.
pub fn run_server(
    link: Box<dyn Link>,
    plan: &Plan,
    limits: Limits,
    progress: &mut Progress<'_>,
) -> Result<ServerReport, Error> {
    let weights = plan.weights.as_ref();
    let weights = weights.ok_or_else(|| Error::Usage("the plan has no weights: give the server plan.bin".into()))?;
    run_server_if(&mut |_| Ok(()), link, plan, weights, limits, progress)
}

/// [`run_server`] with the weights of `model`, if `admission` allows a session of the size that the
/// client asks for. It is asked before anything that depends on the model is computed; what it
/// objects is told to the client.
///
/// # Errors
/// As [`run_server`], and what `admission` objects or `model` lacks.
pub fn run_server_if(
    admission: &mut Admission<'_>,
    link: Box<dyn Link>,
    plan: &Plan,
    model: &dyn Model,
    limits: Limits,
    progress: &mut Progress<'_>,
) -> Result<ServerReport, Error> {
    let steps = resolve(&plan.function)?;
    let started = Instant::now();
    let mut link = link;
    let (mut control, control_meter) = Metered::new(link.open(Lane::CONTROL, CONTROL_AHEAD_BYTES)?);
    let (session_id, size) = handshake::server(&mut control, plan, limits, admission, nonce()?)?;
    let forecast = Forecast::new(&steps, size);
    let memory_bytes = Memory::new(&steps).peak_bytes(Party::Server, size);
    let executor =
        Executor { party: Party::Server, steps: &steps, model: Some(model), session_id, size, forecast: &forecast };
    let (_, totals) = executor.run(&mut *link, &control_meter, None, progress)?;
    // Sends what is still queued, then hangs up.
    drop((control, link));
    let total = Spent { traffic: totals.traffic(control_meter.read()), time: started.elapsed() };

    Ok(ServerReport {
        report_version: report::VERSION,
        role: "server",
        batch: ServerBatch {
            positions: size.schedule.positions,
            micro_batch: size.schedule.micro_batch,
            streams: size.schedule.streams,
            keys: size.keys,
        },
        run: Run::new(Party::Server, plan, total, &totals, &forecast, memory_bytes),
    })
}
