//! The client: plans batches, runs them, and keeps its ledger.

use std::time::{Duration, Instant};

use fusion_estimate::{Machine, Network, SessionTrace};
use fusion_ir::Plan;
use fusion_ir::op::Reveal;
use fusion_ir::soundness::Policy;

use super::event::{Event, Watch};
use super::samples;
use crate::client::check_reveal;
use crate::forecast::{Forecast, Predicted};
use crate::fusion::{Probe, PublicSample, Row};
use crate::input::Samples;
use crate::ledger::{Ledger, Outcome};
use crate::session::handshake::{self, CONTROL_AHEAD_BYTES};
use crate::transport::{Dial, Identity, Lane, Met};
use crate::{Answers, ClientReport, Error, Flow, Job, resolve, run_client};

/// The party that has the inputs and checks the answers.
#[derive(Clone, Debug)]
pub struct Client {
    plan: Plan,
    flow: Flow,
    ledger: Option<Ledger>,
}

/// A server that would serve.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it is called.
    pub name: String,
    /// Who it is.
    pub identity: Identity,
    /// Whether bytes leave this machine without encryption and authentication.
    pub exposed: bool,
    /// How long it took to connect, the handshake of TLS included.
    pub connected: Duration,
    /// The network to it, with the rate of the slower direction; `None` if the server had no time
    /// to let it be measured.
    pub network: Option<Network>,
}

impl Client {
    /// A client that counts its sessions in `ledger` and accepts that `plan` reveals as much as
    /// `wanted`, and no more.
    ///
    /// # Errors
    /// [`Error::Usage`] if the plan reveals more.
    pub fn new(plan: Plan, wanted: Reveal, ledger: Ledger) -> Result<Client, Error> {
        Ok(Client::without_ledger(plan, wanted)?.with_ledger(ledger))
    }

    /// A client without a ledger. Nobody then counts how often a server had a chance to cheat, or
    /// notices that public samples are used a second time: for tests and demonstrations.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn without_ledger(plan: Plan, wanted: Reveal) -> Result<Client, Error> {
        check_reveal(&plan, wanted)?;
        Ok(Client { plan, flow: Flow::default(), ledger: None })
    }

    /// The same client, which counts its sessions in `ledger`.
    pub fn with_ledger(self, ledger: Ledger) -> Client {
        Client { ledger: Some(ledger), ..self }
    }

    /// The same client, whose batches go through the layers as `flow` says.
    pub fn flow(self, flow: Flow) -> Client {
        Client { flow, ..self }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What an answer means.
    pub fn answers(&self) -> Answers<'_> {
        Answers::new(&self.plan)
    }

    /// Quantises samples that lie one after the other in `elements`; of a plan with a
    /// [prefix](fusion_ir::prefix) these are rows of numbers, which it makes samples of.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no sample, a part of one, a column that takes texts, or an
    /// element that the plan's format does not take.
    pub fn samples(&self, elements: &[f32]) -> Result<Samples, Error> {
        samples::quantise(elements, &self.plan)
    }

    /// Public samples with one label each.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are not as many labels as samples, or a label that no class has.
    pub fn public(&self, rows: Vec<Row>, labels: &[i64]) -> Result<Vec<PublicSample>, Error> {
        samples::public(rows, labels, self.answers().classes().count)
    }

    /// Public samples with known values, one after the other in `values`, as many of each as the
    /// plan reveals. An answer is right if all its values are at most `tolerance` away.
    ///
    /// # Errors
    /// [`Error::Usage`] if the plan reveals no values, there are not as many as needed, or a number
    /// is not finite or the tolerance negative.
    pub fn public_values(&self, rows: Vec<Row>, values: &[f64], tolerance: f64) -> Result<Vec<PublicSample>, Error> {
        let Some(ty) = self.answers().values() else {
            return Err(Error::Usage("the plan reveals labels, not values".into()));
        };
        samples::valued(rows, values, ty.len(), tolerance, ty.frac)
    }

    /// A batch that meets `policy` at least cost. Public samples that the ledger does not know are
    /// preferred.
    ///
    /// # Errors
    /// [`Error::Usage`] if the policy cannot be met with these public samples; it says how many
    /// would do. [`Error::State`] if the ledger cannot be used.
    pub fn verified(
        &self,
        queries: Vec<Row>,
        public: Vec<PublicSample>,
        probes: Vec<Probe>,
        policy: Policy,
    ) -> Result<Job, Error> {
        let fresh = |public: &[PublicSample]| match &self.ledger {
            Some(ledger) => ledger.fresh(public.iter().map(|sample| &sample.row)),
            None => Ok(vec![true; public.len()]),
        };
        Job::verified_with(queries, public, fresh, probes, policy)
    }

    /// Asks a server whether it would serve this client under this plan. Neither side counts that
    /// as a session.
    ///
    /// # Errors
    /// Those of `server`, and [`Error::Peer`] says why it would not.
    pub fn ask(&self, server: impl Dial) -> Result<Asked, Error> {
        let began = Instant::now();
        let Met { mut link, identity, name, exposed } = server.dial()?;
        let connected = began.elapsed();
        let mut control = link.open(Lane::CONTROL, CONTROL_AHEAD_BYTES)?;
        let network = handshake::ask(&mut *control, &self.plan, handshake::nonce()?)?;
        Ok(Asked { name, identity, exposed, connected, network })
    }

    /// What a session of so many positions would take, on machines like `machine`: seconds, and
    /// bytes both ways.
    ///
    /// # Errors
    /// Those of [`Flow::size`].
    pub fn foretell(&self, positions: u64, machine: &Machine, network: Network) -> Result<(f64, u64), Error> {
        let steps = resolve(&self.plan.function)?;
        let size = self.flow.size(&steps, positions as usize)?;
        let Predicted { client_to_server, server_to_client, .. } = Forecast::new(&steps, size).predicted;
        let trace = SessionTrace::new(&steps, size.schedule, size.keys);
        Ok((trace.seconds(machine, network), client_to_server + server_to_client))
    }

    /// Runs a batch as one session. An error does not mean that the session does not count: from
    /// the first byte on it does, and nothing here tries again.
    ///
    /// # Errors
    /// Those of `server` and of [`run_client`]; [`Error::State`] if the ledger cannot be used, and
    /// then nothing was sent.
    pub fn run(&self, mut job: Job, server: impl Dial, watch: &mut Watch<'_>) -> Result<ClientReport, Error> {
        let Met { link, name, exposed, .. } = server.dial()?;
        watch(Event::Connected { name: &name, exposed });
        if let Some(ledger) = &self.ledger {
            let entry = ledger.start(&job, &self.plan, &name)?;
            job.set_entry(entry);
            watch(Event::Counted { entry, public: job.batch().public });
        }
        let concluded = run_client(link, &self.plan, &job, self.flow, &mut |step| watch(Event::Step(step)));
        if let (Some(ledger), Some(entry)) = (&self.ledger, job.entry())
            // It counts as started in any case, so what was concluded stands.
            && let Err(error) = ledger.finish(entry.session, outcome(&concluded))
        {
            watch(Event::Unrecorded { session: entry.session, error: &error });
        }
        concluded
    }
}

fn outcome(concluded: &Result<ClientReport, Error>) -> Outcome {
    match concluded {
        Ok(report) if !report.verdict.verified => Outcome::Unverified,
        Ok(report) if report.verdict.accepted => Outcome::Accepted,
        Ok(_) => Outcome::Rejected,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
