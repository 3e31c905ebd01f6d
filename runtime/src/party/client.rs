//! The client: plans batches, runs them, and keeps its ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use fusion_backends::Error as PeerError;
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
use crate::shard::{Answered, Shard, Spread, run_together};
use crate::transport::{Dial, Identity, Lane, Met, Told, Turn, dial_all};
use crate::{Answers, ClientReport, Error, Flow, Job, Setting, resolve};

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
    /// When a session's turn would have come, if the server says.
    pub turn: Option<Turn>,
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
        let turn = link.told().and_then(|told| told());
        Ok(Asked { name, identity, exposed, connected, network, turn })
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

    /// Runs a batch with one server, as one session. An error does not mean that the session does
    /// not count: from the first byte on it does, and nothing here tries again.
    ///
    /// # Errors
    /// Those of `server` and of [`run_client`](crate::run_client); [`Error::State`] if the ledger
    /// cannot be used, and then nothing was sent.
    pub fn run(&self, job: Job, server: impl Dial, watch: &mut Watch<'_>) -> Result<ClientReport, Error> {
        let cut = Spread::new(&self.plan, &job, self.flow, 1)?;
        let met = server.dial()?;
        self.run_cut(job, cut, vec![met], self.flow, watch)
    }

    /// Runs a batch over several servers that offer the same plan, all at once: one secret order of
    /// all positions, of which each server gets a part, one entry of the ledger, one verdict after
    /// the last part. The sessions share this process's memory.
    ///
    /// # Errors
    /// As [`Client::run`]; [`Error::Shard`] says which server failed. The whole batch has failed
    /// then, the sessions with the others are broken off, and all of it counts.
    pub fn run_on<D: Dial + Clone + Send>(
        &self,
        job: Job,
        servers: &[D],
        watch: &mut Watch<'_>,
    ) -> Result<ClientReport, Error> {
        let flow = Flow { sessions: Some(servers.len()), ..self.flow };
        let cut =
            Spread::new(&self.plan, &job, flow, servers.len()).map_err(|error| of_several(error, servers.len()))?;
        if servers.len() > 1 {
            // One server of another plan, or that lets nobody in, is not to cost the whole batch.
            self.reach_all(servers)?;
        }
        let met = dial_all(servers)?;
        self.run_cut(job, cut, met, flow, watch)
    }

    /// Whether all of `servers` would serve this client under this plan; nothing counts.
    fn reach_all<D: Dial + Clone + Send>(&self, servers: &[D]) -> Result<(), Error> {
        let reach = |server: D| {
            let Met { mut link, name, .. } = server.dial()?;
            let mut control = link.open(Lane::CONTROL, CONTROL_AHEAD_BYTES)?;
            let asked = handshake::reach(&mut *control, &self.plan, handshake::nonce()?);
            asked.map_err(|error| of_server(&name, error).into())
        };
        let reach = &reach;
        std::thread::scope(|scope| {
            let ask = |server: &D| {
                let server = server.clone();
                scope.spawn(move || reach(server))
            };
            let threads: Vec<_> = servers.iter().map(ask).collect();
            let resume = |panic| std::panic::resume_unwind(panic);
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(resume))
        })
    }

    fn run_cut(
        &self,
        job: Job,
        (spread, shards): (Spread, Vec<Shard>),
        met: Vec<Met>,
        flow: Flow,
        watch: &mut Watch<'_>,
    ) -> Result<ClientReport, Error> {
        met.iter().for_each(|Met { name, exposed, .. }| watch(Event::Connected { name, exposed: *exposed }));
        let names: Vec<&str> = met.iter().map(|met| met.name.as_str()).collect();
        let begun = self.count(job, spread, &names, watch)?;
        let told = met.iter().filter_map(|met| met.link.told()).collect();
        let answered = telling_turns(told, watch, |watch| {
            run_together(shards, met, &self.plan, flow, &mut |step| tell(watch, Event::Step(step)))
        });
        match answered {
            Ok(answered) => self.conclude(begun, answered, watch),
            Err(error) => {
                self.abandon(begun, &error.to_string(), watch);
                Err(error)
            }
        }
    }

    /// Begins a batch whose `shards` shards run elsewhere, with any of `servers`: from here on it
    /// counts, whatever becomes of it. What is begun stays with this process; shards go to
    /// [`Client::answer`], each once.
    ///
    /// # Errors
    /// Those of [`Spread::new`]; [`Error::State`] if the ledger cannot be used.
    pub fn begin(
        &self,
        job: Job,
        shards: usize,
        servers: &[&str],
        watch: &mut Watch<'_>,
    ) -> Result<(Begun, Vec<Shard>), Error> {
        let (spread, cut) = Spread::new(&self.plan, &job, self.flow, shards)?;
        Ok((self.count(job, spread, servers, watch)?, cut))
    }

    /// Runs one shard as a session, on whatever machine of the client's. It is not counted here,
    /// but where the batch was begun.
    ///
    /// # Errors
    /// Those of `server` and of [`Shard::run`]. The batch cannot be concluded then, and nothing may
    /// run the shard again.
    pub fn answer(&self, shard: Shard, server: impl Dial, watch: &mut Watch<'_>) -> Result<Answered, Error> {
        let Met { link, name, exposed, .. } = server.dial().map_err(shard.failure("its server"))?;
        watch(Event::Connected { name: &name, exposed });
        let failure = shard.failure(&name);
        let told = link.told().into_iter().collect();
        let answered = telling_turns(told, watch, |watch| {
            shard.run(link, &name, &self.plan, self.flow, &mut |step| tell(watch, Event::Step(step)))
        });
        answered.map_err(failure)
    }

    /// Whether a server would serve this client under this plan: [`Client::ask`] without measuring
    /// the network.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn reach<D: Dial + Clone + Send>(&self, server: D) -> Result<(), Error> {
        self.reach_all(&[server])
    }

    /// Looks at the answers of all shards at once.
    ///
    /// # Errors
    /// [`Error::Usage`] if `answered` are not the batch's shards, each once: it has failed then.
    pub fn conclude(
        &self,
        begun: Begun,
        answered: Vec<Answered>,
        watch: &mut Watch<'_>,
    ) -> Result<ClientReport, Error> {
        let Begun { job, spread } = begun;
        let concluded = spread.conclude(&self.plan, &job, answered);
        self.finish(&job, outcome(&concluded), watch);
        concluded
    }

    /// Writes down that a batch has failed, and why. Nothing of it is looked at.
    pub fn abandon(&self, begun: Begun, why: &str, watch: &mut Watch<'_>) {
        self.finish(&begun.job, Outcome::Failed(why.into()), watch);
    }

    fn finish(&self, job: &Job, outcome: Outcome, watch: &mut Watch<'_>) {
        if let (Some(ledger), Some(entry)) = (&self.ledger, job.entry())
            // It counts as started in any case, so what was concluded stands.
            && let Err(error) = ledger.finish(entry.session, outcome)
        {
            watch(Event::Unrecorded { session: entry.session, error: &error });
        }
    }

    /// Writes down that a batch starts now.
    fn count(&self, mut job: Job, mut spread: Spread, servers: &[&str], watch: &mut Watch<'_>) -> Result<Begun, Error> {
        if let Some(ledger) = &self.ledger {
            let entry = ledger.start(&job, &self.plan, &servers.join(", "))?;
            job.set_entry(entry);
            watch(Event::Counted { entry, public: job.batch().public });
        }
        spread.begin();
        Ok(Begun { job, spread })
    }
}

/// A batch that has begun: its samples, its secret order, and its place in the ledger.
pub struct Begun {
    job: Job,
    spread: Spread,
}

/// What says nothing of samples and their order.
impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").field("spread", &self.spread).finish_non_exhaustive()
    }
}

/// A peer's failure with its name.
fn of_server(name: &str, error: PeerError) -> PeerError {
    match error {
        PeerError::PeerMisbehaved(why) => PeerError::PeerMisbehaved(format!("{name}: {why}")),
        PeerError::PeerIncompatible(why) => PeerError::PeerIncompatible(format!("{name}: {why}")),
        PeerError::Io(error) => PeerError::Io(std::io::Error::new(error.kind(), format!("{name}: {error}"))),
    }
}

/// A limit of memory is each session's part of it, which is said.
fn of_several(error: Error, sessions: usize) -> Error {
    match error {
        Error::Setting { setting: setting @ Setting::Memory { .. }, why } if sessions > 1 => {
            Error::setting(setting, format!("with {sessions} sessions at the same time {why}"))
        }
        error => error,
    }
}

/// `run`, while a thread tells when the servers say anything about their session's turn.
fn telling_turns<T>(told: Vec<Told>, watch: &mut Watch<'_>, run: impl FnOnce(&Mutex<&mut Watch<'_>>) -> T) -> T {
    let (watch, over) = (Mutex::new(watch), AtomicBool::new(false));
    let look = || {
        let mut shown: Vec<Option<Turn>> = vec![None; told.len()];
        while !over.load(Ordering::Acquire) {
            for (told, shown) in told.iter().zip(&mut shown) {
                let turn = told();
                if let Some(turn) = turn.filter(|_| turn != *shown) {
                    tell(&watch, Event::Waiting(turn));
                    *shown = Some(turn);
                }
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    };
    std::thread::scope(|scope| {
        let teller = (!told.is_empty()).then(|| scope.spawn(look));
        let end = Ending { over: &over, teller: teller.as_ref().map(|teller| teller.thread()) };
        let outcome = run(&watch);
        drop(end);
        outcome
    })
}

/// How often a client looks whether there is news of its turn.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Ends who tells of turns, also if there is a panic.
struct Ending<'a> {
    over: &'a AtomicBool,
    teller: Option<&'a Thread>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.teller.into_iter().for_each(Thread::unpark);
    }
}

fn tell(watch: &Mutex<&mut Watch<'_>>, event: Event<'_>) {
    (watch.lock().unwrap_or_else(PoisonError::into_inner))(event);
}

fn outcome(concluded: &Result<ClientReport, Error>) -> Outcome {
    match concluded {
        Ok(report) if !report.verdict.verified => Outcome::Unverified,
        Ok(report) if report.verdict.accepted => Outcome::Accepted,
        Ok(_) => Outcome::Rejected,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
