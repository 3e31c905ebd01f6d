//! What the client's user wants of a run, and what is concluded from it.

use fusion_catalogue::{Keys, Schedule, Steps};
use fusion_estimate::{Network, suited};
use fusion_ir::op::Reveal;
use fusion_ir::soundness::{self, Batch, Policy};
use fusion_ir::{Party, Plan};

use crate::answers::Answers;
use crate::fusion::{Findings, Job};
use crate::memory::{self, Memory};
use crate::report::{self, ClientBatch, ClientReport, Run, Verdict};
use crate::session::{BatchSize, Offline, hello};
use crate::{Error, Setting};

/// How the client's batch goes through the layers; `None` is a choice by what fits in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Most positions of a micro-batch, at least 1.
    pub micro_batch: Option<u32>,
    /// Most micro-batches at the same time, at least 1; by default as many as memory holds, up to
    /// [`Schedule::MOST_STREAMS`].
    pub streams: Option<u8>,
    /// What either party's process may take, by forecast; by default [`memory::LIMIT_BYTES`].
    pub memory_bytes: Option<u64>,
    /// Sessions of the client's process at the same time, which share its memory; at least 1, by
    /// default that. A server has its own to itself.
    pub sessions: Option<usize>,
    /// How correlations are made.
    pub offline: Offline,
    /// Which layers share key pairs, and whether they are computed ahead; by default what is
    /// [suited] to the network.
    pub keys: Option<Keys>,
    /// The network to the server, if it is known.
    pub network: Option<Network>,
}

impl Flow {
    /// The batch of `positions` positions as this flow has it.
    ///
    /// # Errors
    /// [`Error::Usage`] if it asks for nothing at once, or not even one position fits in memory.
    pub fn size(self, steps: &Steps, positions: usize) -> Result<BatchSize, Error> {
        if self.micro_batch == Some(0) || self.streams == Some(0) {
            return Err(Error::Usage("a micro-batch has at least one position, and at least one is in flight".into()));
        }
        // Pairs of layers' own never take less than shared ones.
        let (positions, (largest, streams)) = (positions as u64, self.room(steps, self.keys.unwrap_or(Keys::Layer))?);
        let schedule = match self.micro_batch {
            // A server may have less room for more of a size that it does not choose itself.
            Some(given) => {
                Schedule::new(positions, given, self.streams.unwrap_or(Schedule::USUAL_STREAMS.min(streams)))
            }
            None => Schedule::even(positions, largest, streams),
        };
        let size = |keys| BatchSize { schedule, offline: self.offline, keys };
        let memory = Memory::new(steps);
        let fits = |keys| {
            let parties = [Party::Client, Party::Server].into_iter().zip(self.limits());
            parties.into_iter().all(|(party, limit)| memory.peak_bytes(party, size(keys)) <= limit)
        };
        let suited = || match suited(steps, schedule, self.network) {
            // What is made ahead takes memory, too.
            Keys::Ahead if !fits(Keys::Ahead) => Keys::of(steps),
            keys => keys,
        };
        Ok(size(self.keys.unwrap_or_else(suited)))
    }

    /// The largest micro-batch within the memory with these keys, and how many of them may be in
    /// flight: more than usual where that makes none smaller.
    ///
    /// # Errors
    /// [`Error::Usage`] if not even one position fits.
    pub fn room(self, steps: &Steps, keys: Keys) -> Result<(u32, u8), Error> {
        let (limits, memory) = (self.limits(), Memory::new(steps));
        let most = self.micro_batch.unwrap_or(Schedule::LARGEST_MICRO_BATCH);
        let fitting = |streams| memory.fitting(limits, most, streams, keys);
        let usual = fitting(self.streams.unwrap_or(Schedule::USUAL_STREAMS));
        let streams = match (self.streams, &usual) {
            (Some(given), _) => given.min(Schedule::MOST_STREAMS),
            (None, Ok(usual)) if fitting(Schedule::MOST_STREAMS).is_ok_and(|more| more == *usual) => {
                Schedule::MOST_STREAMS
            }
            (None, _) => Schedule::USUAL_STREAMS,
        };
        // Who says how many go together need not be told what fits.
        Ok((self.micro_batch.map_or(usual, Ok)?, streams))
    }

    /// What a session may take of either party's memory, the client's first.
    fn limits(self) -> [u64; 2] {
        let limit = self.memory_bytes.unwrap_or(memory::LIMIT_BYTES);
        [limit / self.sessions.unwrap_or(1).max(1) as u64, limit]
    }
}

/// The verdict on a batch whose largest session had this schedule and these keys.
pub(crate) fn conclude(
    job: &Job,
    revealed: Answers<'_>,
    findings: Findings,
    (schedule, keys): (Schedule, Keys),
    run: Run,
) -> ClientReport {
    let batch = job.batch();
    // A public sample that an earlier session had says nothing new; the errors tolerated may all
    // fall on the fresh ones.
    let fresh = job.entry().map_or(batch.public, |entry| entry.public_fresh);
    let evidence = Batch { public: fresh, ..*batch };
    let verified = job.policy().is_some();
    let accepted = !verified || findings.accepted(batch);
    let policy = job.policy().copied().unwrap_or(Policy { lambda: 0.0, ..Policy::default() });
    // A value at random is right as often as the best one, at most.
    let classes = if revealed.values().is_some() { 0 } else { revealed.classes().count as u64 };
    let proven = soundness::Forecast::new(batch, &policy, classes);
    let ranks = revealed.ranks();
    let answers = Some(findings.answers).filter(|_| accepted);
    let first = |answer: &Vec<i64>| revealed.meaning(answer).first().copied().unwrap_or(-1);
    let labels = |answer: &Vec<i64>| revealed.meaning(answer);
    let values = |answers: &Vec<Vec<i64>>| answers.iter().map(|answer| revealed.reals(answer)).collect();
    ClientReport {
        report_version: report::VERSION,
        role: "client",
        verdict: Verdict {
            accepted,
            verified,
            consistent: findings.consistent,
            public_correct: findings.public_correct,
            public_total: batch.public,
            tolerated: batch.tolerated,
            probes_correct: findings.probes_correct,
            probes_total: batch.probes,
            revealed: revealed.reveal().to_string(),
            ranks_verified: job.known_ranks(),
            tolerance: job.tolerance(),
            accuracy_claimed: policy.accuracy,
            largest_share: policy.share(),
            lambda_requested: policy.lambda,
            lambda_achieved_bits: proven.lambda_bits,
            relabel_all_bits: proven.relabel_all_bits,
            forced_label_bits: proven.forced_bits,
            constant_label_bits: proven.constant_bits,
            random_labels_bits: if classes == 0 { proven.constant_bits } else { proven.random_bits },
            smallest_eps_99: evidence.smallest_eps(soundness::CONFIDENCE),
            servers: 1,
        },
        batch: ClientBatch {
            queries: batch.queries,
            copies: batch.copies,
            public: batch.public,
            probes: batch.probes,
            positions: batch.positions(),
            micro_batch: schedule.micro_batch,
            streams: schedule.streams,
            keys,
        },
        shards: Vec::new(),
        ledger: job.entry(),
        labels: answers.as_ref().filter(|_| ranks > 0).map(|answers| answers.iter().map(first).collect()),
        values: answers.as_ref().filter(|_| ranks == 0).map(values),
        top_labels: answers.as_ref().filter(|_| ranks > 1).map(|answers| answers.iter().map(labels).collect()),
        answers,
        run,
    }
}

/// Refuses a plan that opens more than the client's user wants: a label says least, of ranked
/// labels fewer say less, and logits say most. Values are something else than labels.
///
/// # Errors
/// [`Error::Setting`] says what the plan reveals.
pub fn check_reveal(plan: &Plan, wanted: Reveal) -> Result<(), Error> {
    let extent = |reveal| match reveal {
        Reveal::Label => 1,
        Reveal::TopK(k) => u32::from(k),
        Reveal::Logits | Reveal::Value => u32::MAX,
    };
    let kind = |reveal| reveal == Reveal::Value;
    match hello::revealed(&plan.function) {
        Some(found) if kind(found) != kind(wanted) => Err(Error::setting(
            Setting::Reveal(found),
            format!("the plan reveals {found} for every position, not {wanted}"),
        )),
        Some(found) if extent(found) > extent(wanted) => Err(Error::setting(
            Setting::Reveal(found),
            format!("the plan reveals {found} for every position, more than {wanted}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_reveal_more_than_wanted_are_refused() {
        let plan = crate::testing::tiny_plan();
        let revealing = |what: Reveal| {
            let mut plan = plan.clone();
            plan.function.values[4].op = fusion_ir::Op::Reveal(what);
            plan
        };
        let order = [Reveal::Label, Reveal::TopK(2), Reveal::TopK(5), Reveal::Logits];
        for (i, found) in order.into_iter().enumerate() {
            for (j, wanted) in order.into_iter().enumerate() {
                let checked = check_reveal(&revealing(found), wanted);
                assert_eq!(checked.is_ok(), i <= j, "{found} where {wanted} is wanted");
                if let Err(error) = checked {
                    assert_eq!(error.exit_code(), 2);
                    assert!(
                        matches!(error, Error::Setting { setting: Setting::Reveal(what), .. } if what == found),
                        "{error}"
                    );
                }
            }
        }
    }
}
