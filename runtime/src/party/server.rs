//! The server: answers clients on its model, within limits and budgets.

use fusion_catalogue::Keys;
use fusion_ir::{Plan, Weights};

use super::event::{Event, Watch};
use crate::executor::Progress;
use crate::server::Guest;
use crate::session::{Admission, BatchSize, Limits};
use crate::transport::{Identity, Listen, Met};
use crate::{Budget, Error, Flow, Model, PlanFile, ServerReport, resolve};

/// The party that has the model.
#[derive(Debug)]
pub struct Server {
    source: Source,
    limits: Limits,
    budget: Option<Budget>,
}

/// Where the program and the weights are.
#[derive(Debug)]
enum Source {
    File(PlanFile),
    Memory(Plan, Weights),
}

/// One session, served.
#[derive(Clone, Debug)]
pub struct Served {
    /// What the client is called.
    pub name: String,
    /// What it took.
    pub report: ServerReport,
}

impl Server {
    /// A server whose weights stay in the plan's file, which must not change while it serves.
    ///
    /// # Errors
    /// [`Error::Usage`] if `flow`'s memory does not hold one position.
    pub fn of_file(file: PlanFile, flow: Flow) -> Result<Server, Error> {
        let limits = Limits::of(file.plan(), flow)?;
        Ok(Server { source: Source::File(file), limits, budget: None })
    }

    /// A server with a whole plan in memory.
    ///
    /// # Errors
    /// [`Error::Usage`] if the plan has no weights, or `flow`'s memory does not hold one position.
    pub fn of_plan(mut plan: Plan, flow: Flow) -> Result<Server, Error> {
        let limits = Limits::of(&plan, flow)?;
        let weights = plan.weights.take();
        let weights = weights.ok_or_else(|| Error::Usage("the plan has no weights: it is a client's".into()))?;
        plan.demo = None;
        Ok(Server { source: Source::Memory(plan, weights), limits, budget: None })
    }

    /// The same server, which accepts sessions of at most this size.
    pub fn limits(self, limits: Limits) -> Server {
        Server { limits, ..self }
    }

    /// The same server, which answers each client as much as `budget` says; else as much as it asks
    /// for.
    pub fn budget(self, budget: Budget) -> Server {
        Server { budget: Some(budget), ..self }
    }

    /// The program, without weights.
    pub fn plan(&self) -> &Plan {
        match &self.source {
            Source::File(file) => file.plan(),
            Source::Memory(program, _) => program,
        }
    }

    /// Waits for the next client and serves it one session.
    ///
    /// # Errors
    /// Those of `listener` and of [`run_server_if`](crate::run_server_if); other clients may still
    /// be served.
    pub fn serve(&self, listener: &mut impl Listen, watch: &mut Watch<'_>) -> Result<Served, Error> {
        self.serve_peer(listener.accept()?, watch)
    }

    /// Serves one session to a client who is there.
    ///
    /// # Errors
    /// As [`run_server_if`](crate::run_server_if).
    pub fn serve_peer(&self, client: Met, watch: &mut Watch<'_>) -> Result<Served, Error> {
        let Met { link, name, identity, exposed } = client;
        watch(Event::Connected { name: &name, exposed });
        let guest = Guest::receive(link)?;
        let admission = &mut |size: BatchSize| self.spend(&identity, size);
        let report = self.serve_guest(guest, admission, &mut |step| watch(Event::Step(step)))?;
        Ok(Served { name, report })
    }

    /// Serves one session to a client whose hello has arrived, if `admission` allows it. Budgets
    /// are `admission`'s business.
    ///
    /// # Errors
    /// As [`run_server_if`](crate::run_server_if).
    pub fn serve_guest(
        &self,
        guest: Guest,
        admission: &mut Admission<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<ServerReport, Error> {
        let model: &dyn Model = match &self.source {
            Source::File(file) => file,
            Source::Memory(_, weights) => weights,
        };
        guest.serve(admission, self.plan(), model, self.limits, progress)
    }

    /// Takes a session's positions from the client's budget, if there are budgets.
    ///
    /// # Errors
    /// As [`Budget::spend`].
    pub fn spend(&self, client: &Identity, size: BatchSize) -> Result<(), Error> {
        self.budget.as_ref().map_or(Ok(()), |budget| budget.spend(client, size.schedule.positions))
    }

    /// Whether the client's budget would do for a session; nothing is taken.
    ///
    /// # Errors
    /// As [`Budget::spend`].
    pub fn afford(&self, client: &Identity, size: BatchSize) -> Result<(), Error> {
        self.budget.as_ref().map_or(Ok(()), |budget| budget.afford(client, size.schedule.positions))
    }
}

impl Limits {
    /// Positions of one session, unless told otherwise.
    pub const POSITIONS: u64 = 1 << 20;

    /// Micro-batches as large as `flow`'s memory holds, or as `flow` says.
    ///
    /// # Errors
    /// [`Error::Usage`] if not even one position fits, or the protocols cannot carry a layer.
    pub fn of(plan: &Plan, flow: Flow) -> Result<Limits, Error> {
        let steps = resolve(&plan.function)?;
        let (micro_batch, streams) = flow.room(&steps, Keys::Layer)?;
        // It does as many at the same time then, too; that none fit is no reason to serve nobody.
        let flow = Flow { streams: Some(streams), ..flow };
        let ahead = flow.room(&steps, Keys::Ahead).map_or(0, |(largest, _)| largest.min(micro_batch));
        Ok(Limits { positions: Limits::POSITIONS, micro_batch, streams, ahead })
    }
}
