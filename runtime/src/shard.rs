//! A batch over several sessions: one secret order of all positions, cut into shards, and one
//! verdict after the last of them.
//!
//! The client draws one permutation of the whole batch ([`Spread`]) and cuts the arranged positions
//! into ranges. A [`Shard`] is one range's inputs and nothing else: it says neither which positions
//! are copies nor what is known of any. Each is an ordinary session with some server, and leaves an
//! [`Answered`], at which nobody looks. Only [`Spread::conclude`] does, when all are there. Servers
//! who compare notes are so no more than one server with the whole batch.
//!
//! A batch with one server is one shard ([`run_client`]).
//!
//! The three steps take and give bytes, so that shards may run in other processes and on other
//! machines of the client's. A shard's bytes are inputs in the clear: they go nowhere else.

mod bytes;
mod together;

use std::time::{Duration, Instant};

use fusion_catalogue::{Keys, Schedule};
use fusion_ir::{Party, Plan};

use crate::answers::Answers;
use crate::client::conclude;
use crate::executor::{Executor, Progress, Spent, Totals};
use crate::forecast::{Correlations, Forecast, Predicted};
use crate::fusion::inputs::Inputs;
use crate::fusion::{Mix, check::check};
use crate::memory::Memory;
use crate::report::{ClientReport, Run, ShardRun};
use crate::session::handshake::{self, CONTROL_AHEAD_BYTES, nonce};
use crate::steps::resolve;
use crate::transport::{Identity, Lane, Link, Met, Metered, Traffic};
use crate::{Error, Flow, Job};

pub(crate) use together::run_together;

/// Which position of a batch holds which sample, and how the positions are cut: the client's
/// secret, which leaves its process in no form.
pub struct Spread {
    id: [u8; 32],
    mix: Mix,
    sizes: Vec<usize>,
    started: Instant,
}

/// The inputs of one shard, in the order in which they are sent.
pub struct Shard {
    batch: [u8; 32],
    number: usize,
    of: usize,
    inputs: Inputs,
}

/// What a shard's session left. Nothing of it has been looked at.
pub struct Answered {
    batch: [u8; 32],
    number: usize,
    server: String,
    schedule: Schedule,
    keys: Keys,
    answers: Vec<Vec<i64>>,
    totals: Totals,
    control: Traffic,
    time: Duration,
    predicted: Predicted,
    correlations: Correlations,
    memory_bytes: u64,
    /// Whether it ran in another process.
    elsewhere: bool,
}

/// Runs `job` as the client over `link`.
///
/// The report has labels exactly if the answers were accepted, or if the job is unverified. The
/// link is closed before any answer is looked at, so nothing that the server sees depends on the
/// verdict.
///
/// # Errors
/// [`Error::Peer`] if the server or the connection fails: then nothing is concluded.
/// [`Error::Usage`], before anything is sent, if `flow` asks for nothing at once or the protocols
/// cannot carry a layer of the plan.
pub fn run_client(
    link: Box<dyn Link>,
    plan: &Plan,
    job: &Job,
    flow: Flow,
    progress: &mut Progress<'_>,
) -> Result<ClientReport, Error> {
    let (spread, whole) = Spread::new(plan, job, flow, 1)?;
    let met = Met { link, name: String::new(), identity: Identity::named(""), exposed: false };
    let answered = run_together(whole, vec![met], plan, flow, progress)?;
    spread.conclude(plan, job, answered)
}

impl Spread {
    /// Draws the secret order of `job`'s batch, reads all its samples, and cuts it into `shards`
    /// shards, whose sizes differ by one position at most and depend on nothing but these two
    /// numbers.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer positions than shards, or `flow` asks for nothing at
    /// once or does not fit in memory.
    pub fn new(plan: &Plan, job: &Job, flow: Flow, shards: usize) -> Result<(Spread, Vec<Shard>), Error> {
        let mix = job.mix()?;
        let positions = mix.samples().len();
        if shards == 0 || shards > positions.min(bytes::MOST_SHARDS) {
            return Err(Error::Usage(format!("a batch of {positions} positions cannot be cut into {shards} shards")));
        }
        let sizes: Vec<usize> =
            (0..shards).map(|number| positions / shards + usize::from(number < positions % shards)).collect();
        let steps = resolve(&plan.function)?;
        sizes.iter().try_for_each(|size| flow.size(&steps, *size).map(drop))?;
        // All samples are read here, and nowhere else before the last message.
        let inputs = Inputs::gather(&plan.function.values[0].ty, &mix, job)?;
        let batch = nonce()?;
        let shard = |(number, inputs)| Shard { batch, number, of: shards, inputs };
        let cut = inputs.cut(&sizes)?.into_iter().enumerate().map(shard).collect();
        Ok((Spread { id: batch, mix, sizes, started: Instant::now() }, cut))
    }

    /// Says that the first shard begins now: the batch's time counts from here.
    pub fn begin(&mut self) {
        self.started = Instant::now();
    }

    /// Puts the answers of all shards together and looks at them. Whoever calls this has hung up
    /// on every server.
    ///
    /// # Errors
    /// [`Error::Usage`] if `answered` are not these shards, each once.
    pub fn conclude(&self, plan: &Plan, job: &Job, mut answered: Vec<Answered>) -> Result<ClientReport, Error> {
        let elapsed = self.started.elapsed();
        answered.sort_by_key(|shard| shard.number);
        let fits = |(shard, (number, size)): (&Answered, (usize, &usize))| {
            shard.batch == self.id && shard.number == number && shard.answers.len() == *size
        };
        if answered.len() != self.sizes.len() || !answered.iter().zip(self.sizes.iter().enumerate()).all(fits) {
            let numbers: Vec<usize> = answered.iter().map(|shard| shard.number + 1).collect();
            return Err(Error::Usage(format!(
                "a batch of {} shards needs its own answers of each once, not those of {numbers:?}",
                self.sizes.len()
            )));
        }
        // The largest comes first.
        let largest = (answered[0].schedule, answered[0].keys);
        let shards = if answered.len() == 1 { Vec::new() } else { answered.iter().map(Answered::run).collect() };
        let (mut totals, mut traffic) = (Totals::of(plan.function.values.len()), Traffic::default());
        let (mut forecast, mut memory_bytes, mut answers) = (Forecast::default(), 0, Vec::new());
        let elsewhere = answered.iter().any(|shard| shard.elsewhere);
        for shard in answered {
            traffic += shard.totals.traffic(shard.control);
            totals.add(shard.totals);
            forecast += Forecast::told(shard.predicted, shard.correlations);
            // Of several processes the largest.
            memory_bytes =
                if elsewhere { shard.memory_bytes.max(memory_bytes) } else { memory_bytes + shard.memory_bytes };
            answers.extend(shard.answers);
        }
        let answers = self.mix.unmix(answers)?;
        let revealed = Answers::new(plan);
        let findings = check(&answers, job.known(), &job.probe_answers(), |answer| revealed.meaning(answer));
        let total = Spent { traffic, time: elapsed };
        let mut run = Run::new(Party::Client, plan, total, &totals, &forecast, memory_bytes);
        if elsewhere {
            // This process has computed nothing.
            run.memory_peak_bytes = None;
        }
        let mut report = conclude(job, revealed, findings, largest, run);
        report.verdict.servers = self.sizes.len();
        Ok(ClientReport { shards, ..report })
    }
}

impl Shard {
    /// Which it is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many positions it has.
    pub fn positions(&self) -> usize {
        self.inputs.positions()
    }

    /// Runs it as a session over `link` with the server called `name`, and hangs up. Nothing is
    /// concluded, whatever the server did.
    ///
    /// # Errors
    /// [`Error::Peer`] if the server or the connection fails: the whole batch is then void.
    /// [`Error::Usage`], before anything is sent, if `flow` asks for nothing at once or the
    /// protocols cannot carry a layer of the plan.
    pub fn run(
        self,
        link: Box<dyn Link>,
        name: &str,
        plan: &Plan,
        flow: Flow,
        progress: &mut Progress<'_>,
    ) -> Result<Answered, Error> {
        let steps = resolve(&plan.function)?;
        let size = flow.size(&steps, self.positions())?;
        let forecast = Forecast::new(&steps, size);
        let memory_bytes = Memory::new(&steps).peak_bytes(Party::Client, size);
        let started = Instant::now();
        let mut link = link;
        let (mut control, control_meter) = Metered::new(link.open(Lane::CONTROL, CONTROL_AHEAD_BYTES)?);
        let agreement = handshake::client(&mut control, plan, size, nonce()?)?;
        let executor = Executor { party: Party::Client, steps: &steps, model: None, agreement, forecast: &forecast };
        let (answers, totals) = executor.run(&mut *link, &control_meter, Some(&self.inputs), progress)?;
        // Hangs up. From here on the client is silent, whatever it finds.
        drop((control, link));
        let Forecast { predicted, correlations, .. } = forecast;
        Ok(Answered {
            batch: self.batch,
            number: self.number,
            server: name.to_owned(),
            schedule: size.schedule,
            keys: size.keys,
            answers,
            totals,
            control: control_meter.read(),
            time: started.elapsed(),
            predicted,
            correlations,
            memory_bytes,
            elsewhere: false,
        })
    }

    /// What a user is told of a failure with `server`: whose it was, if there are several.
    pub(crate) fn failure(&self, server: &str) -> impl FnOnce(Error) -> Error + use<> {
        let (server, number, of) = (server.to_owned(), self.number + 1, self.of);
        move |error| if of == 1 { error } else { Error::Shard { server, number, of, error: Box::new(error) } }
    }
}

impl Answered {
    /// Which shard's it is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    fn run(&self) -> ShardRun {
        let traffic = self.totals.traffic(self.control);
        ShardRun {
            server: self.server.clone(),
            positions: self.schedule.positions,
            micro_batch: self.schedule.micro_batch,
            streams: self.schedule.streams,
            client_to_server: traffic.sent_bytes,
            server_to_client: traffic.received_bytes,
            rounds: traffic.rounds,
            seconds: self.time.as_secs_f64(),
        }
    }
}

/// What says nothing of the permutation.
impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spread").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

/// What says nothing of the inputs.
impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shard { number, of, .. } = self;
        f.debug_struct("Shard").field("number", number).field("of", of).finish_non_exhaustive()
    }
}

/// What says nothing of the answers.
impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answered { number, server, .. } = self;
        f.debug_struct("Answered").field("number", number).field("server", server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::{Probe, PublicSample, Sample};
    use crate::testing::tiny_plan;
    use fusion_ir::soundness::Policy;

    /// Two queries in two copies each, one public sample, one probe.
    fn job() -> Job {
        let row = |x: i64| vec![x, -x].into();
        let public = vec![PublicSample { row: row(2), known: vec![0].into() }];
        let probes = vec![Probe { row: row(3), answer: vec![0] }];
        let policy = Policy { lambda: 0.0, catch: Some(1.0), copies: Some(2), ..Policy::default() };
        Job::verified_with(vec![row(0), row(1)], public, |public| Ok(vec![true; public.len()]), probes, policy).unwrap()
    }

    #[test]
    fn each_sample_is_as_often_in_each_shard_and_copies_part_as_chance_has_it() {
        const DRAWS: usize = 6_000;
        let (plan, job) = (tiny_plan(), job());
        assert_eq!(job.batch().positions(), 6);
        // Of each sample how often it lies in each of two shards, and how often a query's copies
        // lie in the first both.
        let (mut found, mut together) = ([[0u32; 2]; 4], 0u32);
        for _ in 0..DRAWS {
            let (spread, shards) = Spread::new(&plan, &job, Flow::default(), 2).unwrap();
            assert_eq!(spread.sizes, [3, 3]);
            let mut first = 0;
            for (number, shard) in shards.iter().enumerate() {
                let inputs = shard.inputs.shares(0..3).unwrap();
                for (at, input) in inputs.chunks_exact(2).enumerate() {
                    // What is sent is what the secret order says.
                    let expected = match spread.mix.samples()[3 * number + at] {
                        Sample::Query(index) => index as u64,
                        Sample::Public(_) => 2,
                        Sample::Probe(_) => 3,
                    };
                    assert_eq!(input[0], expected);
                    found[expected as usize][number] += 1;
                    first += u32::from(number == 0 && expected == 0);
                }
            }
            together += u32::from(first == 2);
        }
        // Six deviations of a binomial with these means.
        let near = |count: u32, draws: f64, p: f64| {
            (f64::from(count) - draws * p).abs() < 6.0 * (draws * p * (1.0 - p)).sqrt()
        };
        for [one, other] in &found[..2] {
            assert_eq!(one + other, 2 * DRAWS as u32);
            // The two copies of one draw are not independent: their number has less spread than
            // that.
            assert!(near(*one, 2.0 * DRAWS as f64, 0.5), "{found:?}");
        }
        assert!(found[2..].iter().all(|[one, _]| near(*one, DRAWS as f64, 0.5)), "{found:?}");
        // Both among three places of six: 3 of 15 pairs. A permutation for each shard, with a copy
        // in each, would never have them there; none at all, always or never.
        assert!(near(together, DRAWS as f64, 0.2), "{together}");
    }

    #[test]
    fn sizes_follow_from_the_numbers_of_positions_and_shards() {
        for (shards, expected) in [(1, &[6][..]), (2, &[3, 3]), (4, &[2, 2, 1, 1]), (6, &[1; 6])] {
            assert_eq!(Spread::new(&tiny_plan(), &job(), Flow::default(), shards).unwrap().0.sizes, expected);
        }
        for shards in [0, 7] {
            assert_eq!(Spread::new(&tiny_plan(), &job(), Flow::default(), shards).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn sessions_share_the_clients_memory_and_leave_the_servers_alone() {
        let steps = resolve(&tiny_plan().function).unwrap();
        let memory = Memory::new(&steps);
        let peaks = |micro_batch: u32| {
            let keys = Keys::Layer;
            let size = crate::session::BatchSize::new(
                u64::from(micro_batch),
                micro_batch,
                1,
                crate::session::Offline::default(),
                keys,
            );
            [Party::Client, Party::Server].map(|party| memory.peak_bytes(party, size))
        };
        let [client, server] = peaks(8);
        let room = |sessions, memory_bytes| {
            let flow = Flow { sessions, streams: Some(1), memory_bytes: Some(memory_bytes), ..Flow::default() };
            flow.room(&steps, Keys::Layer).unwrap().0
        };
        let alone = room(None, client.max(server));
        assert!(alone >= 8);
        assert_eq!(
            room(Some(3), 3 * client.max(server)),
            memory.fitting([client.max(server), 3 * server], 64, 1, Keys::Layer).unwrap()
        );
        assert!(room(Some(3), 3 * client.max(server)) >= alone, "the server has thrice the memory");
    }
}
