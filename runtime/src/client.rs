//! The client's run: handshake, the whole batch through the protocols, hang up, and only then look at the answers.

use std::time::Instant;

use fusion_ir::op::Reveal;
use fusion_ir::soundness::{Batch, CONFIDENCE};
use fusion_ir::{Function, Op, Party, Plan, interp};

use crate::Error;
use crate::executor::{Executor, Progress, Spent};
use crate::forecast::Forecast;
use crate::fusion::mix::Unmixed;
use crate::fusion::{Findings, Job, check::check};
use crate::memory::{self, Memory};
use crate::report::{self, ClientBatch, ClientReport, Run, Verdict};
use crate::session::handshake::{self, BatchSize, CONTROL_AHEAD_BYTES, Offline, nonce};
use crate::transport::{Lane, Link, Metered};

/// How the client's batch goes through the layers; `None` is a choice by what fits in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Most positions of a micro-batch, at least 1.
    pub micro_batch: Option<u32>,
    /// Most micro-batches at the same time, at least 1; by default [`Lane::STREAMS`].
    pub streams: Option<u8>,
    /// What either party's process may take, by forecast; by default [`memory::LIMIT_BYTES`].
    pub memory_bytes: Option<u64>,
    /// How correlations are made.
    pub offline: Offline,
}

/// Runs `job` as the client over `link`.
///
/// The report has labels exactly if the answers were accepted, or if the job is unverified. The link is closed before
/// any answer is looked at, so nothing that the server sees depends on the verdict.
///
/// # Errors
/// [`Error::Peer`] if the server or the connection fails: then nothing is concluded. [`Error::Usage`], before
/// anything is sent, if `flow` asks for nothing at once or the protocols cannot carry a layer of the plan.
pub fn run_client(
    link: Box<dyn Link>,
    plan: &Plan,
    job: &Job,
    flow: Flow,
    progress: &mut Progress<'_>,
) -> Result<ClientReport, Error> {
    let mix = job.mix()?;
    let size = flow.size(&plan.function, mix.samples().len())?;
    let forecast = Forecast::new(&plan.function, size)?;
    let memory_bytes = Memory::new(&plan.function)?.peak_bytes(Party::Client, size);

    let started = Instant::now();
    let mut link = link;
    let (mut control, control_meter) = Metered::new(link.open(Lane::CONTROL, CONTROL_AHEAD_BYTES)?);
    let session_id = handshake::client(&mut control, plan, size, nonce()?)?;
    let executor =
        Executor { party: Party::Client, function: &plan.function, model: None, session_id, size, forecast: &forecast };
    let input = |position: usize| Some(job.input(mix.samples()[position]));
    let (answers, totals) = executor.run(&mut *link, &control_meter, &input, progress)?;
    // Hangs up. From here on the client is silent, whatever it finds.
    drop((control, link));
    let total = Spent { traffic: totals.traffic(control_meter.read()), time: started.elapsed() };

    let answers = mix.unmix(answers)?;
    let findings =
        check(&answers, &job.public_labels(), &job.probe_labels(), classes(&plan.function), label_of(&plan.function));
    let rankings = rankings(&plan.function, &answers);
    let run = Run::new(Party::Client, plan, total, &totals, &forecast, memory_bytes);
    Ok(conclude(job, findings, rankings, size, run))
}

impl Flow {
    /// The batch of `positions` positions as this flow has it.
    ///
    /// # Errors
    /// [`Error::Usage`] if it asks for nothing at once, or the protocols cannot carry a layer of `function`.
    pub fn size(self, function: &Function, positions: usize) -> Result<BatchSize, Error> {
        if self.micro_batch == Some(0) || self.streams == Some(0) {
            return Err(Error::Usage("a micro-batch has at least one position, and at least one is in flight".into()));
        }
        let micro_batch = match self.micro_batch {
            Some(given) => given,
            None => even(positions as u64, self.largest(function)?, self.streams()),
        };
        Ok(BatchSize::new(positions as u64, micro_batch, self.streams(), self.offline))
    }

    /// The largest micro-batch within the memory.
    ///
    /// # Errors
    /// [`Error::Usage`] if not even one position fits, or the protocols cannot carry a layer of `function`.
    pub fn largest(self, function: &Function) -> Result<u32, Error> {
        let limit = self.memory_bytes.unwrap_or(memory::LIMIT_BYTES);
        Memory::new(function)?.fitting(limit, memory::LARGEST_MICRO_BATCH, self.streams())
    }

    /// The most micro-batches at the same time.
    pub fn streams(self) -> u8 {
        self.streams.unwrap_or(Lane::STREAMS as u8)
    }
}

fn conclude(job: &Job, findings: Findings, rankings: Option<Vec<Vec<i64>>>, size: BatchSize, run: Run) -> ClientReport {
    let batch = job.batch();
    // A public sample that an earlier session had says nothing new; the errors tolerated may all fall on the fresh ones.
    let fresh = job.entry().map_or(batch.public, |entry| entry.public_fresh);
    let evidence = Batch { public: fresh, ..*batch };
    let accepted = job.policy().is_none() || findings.accepted(batch);
    ClientReport {
        report_version: report::VERSION,
        role: "client",
        verdict: Verdict {
            accepted,
            verified: job.policy().is_some(),
            consistent: findings.consistent,
            public_correct: findings.public_correct,
            public_total: batch.public,
            tolerated: batch.tolerated,
            probes_correct: findings.probes_correct,
            probes_total: batch.probes,
            lambda_requested: job.policy().map_or(0.0, |policy| policy.lambda),
            lambda_achieved_bits: batch.lambda_bits(),
            smallest_eps_99: evidence.smallest_eps(CONFIDENCE),
        },
        batch: ClientBatch {
            queries: batch.queries,
            copies: batch.copies,
            public: batch.public,
            probes: batch.probes,
            positions: batch.positions(),
            micro_batch: size.micro_batch,
            streams: size.streams,
        },
        ledger: job.entry(),
        labels: accepted.then_some(findings.labels),
        top_labels: rankings.filter(|_| accepted),
        run,
    }
}

/// The micro-batch, at most `largest`, that gives every stream equally much to do, unless all positions fit in one.
fn even(positions: u64, largest: u32, streams: u8) -> u32 {
    let least = positions.div_ceil(u64::from(largest));
    let count = if least > 1 { least.next_multiple_of(u64::from(streams)) } else { 1 };
    // Not more than the largest, which was a u32.
    positions.div_ceil(count) as u32
}

/// Refuses a plan that opens more than the client's user wants: a label says least, of ranked labels fewer say less, and logits say most.
///
/// # Errors
/// [`Error::Usage`] says what the plan reveals.
pub fn check_reveal(plan: &Plan, wanted: Reveal) -> Result<(), Error> {
    let extent = |reveal| match reveal {
        Reveal::Label => 1,
        Reveal::TopK(k) => u32::from(k),
        Reveal::Logits => u32::MAX,
    };
    match handshake::revealed(&plan.function) {
        Some(found) if extent(found) > extent(wanted) => Err(Error::Usage(format!(
            "the plan reveals {found} for every position, more than {wanted}: --reveal {found} accepts that"
        ))),
        _ => Ok(()),
    }
}

/// The number of classes: the logits that the plan takes the largest of, or reveals.
pub fn classes(function: &Function) -> usize {
    interp::logits_of(function).map_or(0, |logits| function.value(logits).ty.len())
}

/// How the label is read off what a function reveals about one position; -1 if that is nothing it could reveal.
pub fn label_of(function: &Function) -> impl Fn(&Vec<i64>) -> i64 + use<'_> {
    |revealed| interp::labels(function, revealed).first().copied().unwrap_or(-1)
}

/// The labels of every query, best first, if the function reveals several.
fn rankings(function: &Function, answers: &Unmixed<Vec<i64>>) -> Option<Vec<Vec<i64>>> {
    let several = function.values.iter().any(|value| matches!(value.op, Op::Reveal(Reveal::TopK(_))));
    several.then(|| answers.queries.iter().filter_map(|copies| copies.first()).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_get_equally_much_and_no_micro_batch_is_too_large() {
        let cases =
            [(5, 64, 2, 5), (64, 64, 2, 64), (65, 64, 2, 33), (200, 64, 2, 50), (130, 64, 2, 33), (130, 64, 1, 44)];
        for (positions, largest, streams, micro_batch) in cases {
            assert_eq!(even(positions, largest, streams), micro_batch, "{positions} by {largest}");
        }
        for positions in 1..300 {
            assert!((1..=7).contains(&even(positions, 7, 2)));
        }
    }

    #[test]
    fn plans_that_reveal_more_than_wanted_are_refused() {
        let plan = crate::testing::tiny_plan();
        let revealing = |what: Reveal| {
            let mut plan = plan.clone();
            plan.function.values[4].op = Op::Reveal(what);
            plan
        };
        let order = [Reveal::Label, Reveal::TopK(2), Reveal::TopK(5), Reveal::Logits];
        for (i, found) in order.into_iter().enumerate() {
            for (j, wanted) in order.into_iter().enumerate() {
                let checked = check_reveal(&revealing(found), wanted);
                assert_eq!(checked.is_ok(), i <= j, "{found} where {wanted} is wanted");
                if let Err(error) = checked {
                    assert_eq!(error.exit_code(), 2);
                    assert!(error.to_string().contains(&format!("--reveal {found}")), "{error}");
                }
            }
        }
    }
}
