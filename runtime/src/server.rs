//! The server's run: handshake, then the whole batch through the protocols. It learns nothing but
//! the batch's size.

use std::time::Instant;

use fusion_ir::{Party, Plan};

use crate::Error;
use crate::executor::{Executor, Progress, Spent, Totals};
use crate::forecast::Forecast;
use crate::memory::Memory;
use crate::model::Model;
use crate::report::{self, Run, ServerBatch, ServerReport};
use crate::session::handshake::{self, CONTROL_AHEAD_BYTES, nonce};
use crate::session::{Admission, Arrival, BatchSize, Limits};
use crate::steps::resolve;
use crate::transport::{Lane, Link, Meter, Metered};

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
    // What can be refused is refused before the client is looked at.
    resolve(&plan.function)?;
    Guest::receive(link)?.serve(admission, plan, model, limits, progress)
}

/// A client whose hello has arrived.
pub struct Guest {
    link: Box<dyn Link>,
    control: Metered,
    meter: Meter,
    arrival: Arrival,
}

impl Guest {
    /// Waits for the hello of the client at the other end of `link`.
    ///
    /// # Errors
    /// [`Error::Peer`] if there comes none, or none of this protocol; the client is told.
    pub fn receive(mut link: Box<dyn Link>) -> Result<Guest, Error> {
        let (mut control, meter) = Metered::new(link.open(Lane::CONTROL, CONTROL_AHEAD_BYTES)?);
        let arrival = Arrival::receive(&mut control).inspect_err(|_| link.see_off())?;
        Ok(Guest { link, control, meter, arrival })
    }

    /// The plan that the client holds.
    pub fn plan_digest(&self) -> [u8; 32] {
        self.arrival.plan_digest()
    }

    /// Whether the client only asks whether it would be served, and no session is to start.
    pub fn asks_for_nothing(&self) -> bool {
        self.arrival.asks_for_nothing()
    }

    /// Tells the client why it is not served, as far as that is its business, and hangs up.
    pub fn refuse(mut self, why: &Error) {
        handshake::refuse(&mut self.control, why);
        self.link.see_off();
    }

    /// Serves the session that the client asks for, as [`run_server_if`].
    ///
    /// # Errors
    /// As [`run_server_if`].
    pub fn serve(
        self,
        admission: &mut Admission<'_>,
        plan: &Plan,
        model: &dyn Model,
        limits: Limits,
        progress: &mut Progress<'_>,
    ) -> Result<ServerReport, Error> {
        let Guest { mut link, mut control, meter, arrival } = self;
        let steps = resolve(&plan.function)?;
        let mut started = Instant::now();
        let admission = &mut |size| {
            admission(size)?;
            // Waiting for its turn is no part of the session.
            started = Instant::now();
            Ok(())
        };
        let answered = arrival.answer(&mut control, plan, limits, admission, nonce()?);
        let agreement = answered.inspect_err(|_| link.see_off())?;
        let size = agreement.size();
        let forecast = Forecast::new(&steps, size);
        let memory_bytes = Memory::new(&steps).peak_bytes(Party::Server, size);
        let executor =
            Executor { party: Party::Server, steps: &steps, model: Some(model), agreement, forecast: &forecast };
        let (_, totals) = executor.run(&mut *link, &meter, None, progress)?;
        // The client may still be reading.
        link.see_off();
        drop((control, link));
        let total = Spent { traffic: totals.traffic(meter.read()), time: started.elapsed() };
        Ok(report(plan, size, &totals, total, &forecast, memory_bytes))
    }
}

fn report(
    plan: &Plan,
    size: BatchSize,
    totals: &Totals,
    total: Spent,
    forecast: &Forecast,
    memory_bytes: u64,
) -> ServerReport {
    ServerReport {
        report_version: report::VERSION,
        role: "server",
        batch: ServerBatch {
            positions: size.schedule.positions,
            micro_batch: size.schedule.micro_batch,
            streams: size.schedule.streams,
            keys: size.keys,
        },
        run: Run::new(Party::Server, plan, total, totals, forecast, memory_bytes),
    }
}
