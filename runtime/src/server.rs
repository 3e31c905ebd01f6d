//! The server's run: handshake, then the whole batch through the protocols. It learns nothing but the batch's size.

use std::time::Instant;

use fusion_backends::Channel;
use fusion_backends::session::Session;
use fusion_ir::{Party, Plan};

use crate::Error;
use crate::executor::{Executor, Progress, Spent, Stopwatch, Totals};
use crate::forecast::Forecast;
use crate::report::{self, Run, ServerBatch, ServerReport};
use crate::session::handshake::{self, Admission, Limits, nonce};
use crate::transport::Metered;

/// Serves one session as the server over `channel`, to anyone and within `limits`.
///
/// # Errors
/// [`Error::Usage`] if the plan has no weights or a layer that the protocols cannot carry; [`Error::Peer`] if the client or the connection fails.
pub fn run_server(
    channel: Box<dyn Channel>,
    plan: &Plan,
    limits: Limits,
    progress: &mut Progress<'_>,
) -> Result<ServerReport, Error> {
    run_server_if(&mut |_| Ok(()), channel, plan, limits, progress)
}

/// [`run_server`] if `admission` allows a session of the size that the client asks for. It is asked before anything that
/// depends on the model is computed; what it objects is told to the client.
///
/// # Errors
/// As [`run_server`], and what `admission` objects.
pub fn run_server_if(
    admission: &mut Admission<'_>,
    channel: Box<dyn Channel>,
    plan: &Plan,
    limits: Limits,
    progress: &mut Progress<'_>,
) -> Result<ServerReport, Error> {
    let weights = plan.weights.as_ref();
    let weights = weights.ok_or_else(|| Error::Usage("the plan has no weights: give the server plan.bin".into()))?;

    let started = Instant::now();
    let (mut channel, meter) = Metered::new(channel);
    let (session_id, size) = handshake::server(&mut channel, plan, limits, admission, nonce()?)?;
    let positions =
        usize::try_from(size.positions).map_err(|_| Error::Bug("the limit on positions is too high".into()))?;
    let forecast = Forecast::new(&plan.function, size)?;
    let mut totals = Totals::default();
    let setting_up = Stopwatch::start(&meter);
    let session = Session::establish(Party::Server, Box::new(channel), session_id)?;
    setting_up.stop(&mut totals.offline);
    let function = &plan.function;
    let mut executor = Executor { session, function, weights: Some(weights), meter: meter.clone(), totals };
    executor.run(positions, size.micro_batch as usize, |_| None, progress)?;
    let Executor { session, totals, .. } = executor;
    // Sends what is still queued, then hangs up.
    drop(session);
    let total = Spent { traffic: meter.read(), time: started.elapsed() };

    Ok(ServerReport {
        report_version: report::VERSION,
        role: "server",
        batch: ServerBatch { positions: size.positions, micro_batch: size.micro_batch },
        run: Run::new(Party::Server, plan, total, &totals, forecast.predicted, forecast.correlations),
    })
}
