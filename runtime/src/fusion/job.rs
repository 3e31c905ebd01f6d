//! What a client brings to a session, planned by its own policy before anything is sent.

use std::collections::HashSet;

use fusion_ir::soundness::{Batch, Demand, Infeasible, MAX_PUBLIC, Policy, largest_share};

use super::inputs::Samples;
use super::known::{self, Known};
use super::mix::{Mix, Sample, shuffled};
use super::row::Row;
use crate::error::{Error, Setting};
use crate::ledger::Entry;

/// A public sample: an input whose right answer the client knows, independent of and unknown to the
/// server.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicSample {
    /// The input.
    pub row: Row,
    /// The right answer.
    pub known: Known,
}

/// A known-answer probe: a query of an earlier batch with everything that was accepted for it,
/// under the same plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The input.
    pub row: Row,
    /// The answer accepted.
    pub answer: Vec<i64>,
}

/// The samples of one session and the shape of its batch.
#[derive(Clone, Debug)]
pub struct Job {
    queries: Vec<Row>,
    public: Vec<PublicSample>,
    probes: Vec<Probe>,
    batch: Batch,
    policy: Option<Policy>,
    repeats: usize,
    entry: Option<Entry>,
}

impl Job {
    /// A batch that meets `policy` at least cost. If there are more public samples than it needs, a
    /// random choice of them is used, since files are often sorted by class.
    ///
    /// # Errors
    /// [`Error::Usage`] if the policy cannot be met with these public samples; it says how many
    /// would do.
    pub fn verified(queries: Vec<Row>, public: Vec<PublicSample>, policy: Policy) -> Result<Job, Error> {
        Job::verified_with(queries, public, |public| Ok(vec![true; public.len()]), Vec::new(), policy)
    }

    /// [`Job::verified`] with a random choice among the public samples that `fresh` prefers, before
    /// any other, and with all of `probes`.
    ///
    /// A public sample that repeats another, a query or a probe is left out: a server that errs on
    /// one errs on both, so it is no evidence of its own. How frequent the most frequent label may
    /// be is judged by the labels, unless the policy says it.
    ///
    /// # Errors
    /// As [`Job::verified`], and those of `fresh`.
    pub fn verified_with(
        queries: Vec<Row>,
        public: Vec<PublicSample>,
        fresh: impl FnOnce(&[PublicSample]) -> Result<Vec<bool>, Error>,
        probes: Vec<Probe>,
        policy: Policy,
    ) -> Result<Job, Error> {
        let given = public.len();
        let public = distinct(&queries, public, &probes);
        let repeats = given - public.len();
        let most = known::most_alike(public.iter().map(|sample| &sample.known));
        let judged =
            Policy { largest_share: policy.largest_share.or(Some(largest_share(most, public.len() as u64))), ..policy };
        let values = public.iter().any(|sample| sample.known.tolerance().is_some());
        let batch = judged
            .plan_with_probes(queries.len() as u64, Some(public.len() as u64), probes.len() as u64)
            .map_err(|infeasible| {
                let given = [most, public.len() as u64];
                refuse(infeasible, &policy, given, values, [queries.len(), probes.len()], repeats)
            })?;
        let fresh = fresh(&public)?;
        let mut public: Vec<_> = shuffled(public.into_iter().zip(fresh).collect())?;
        // Stable: in random order among equals.
        public.sort_by_key(|(_, fresh)| !fresh);
        let public = public.into_iter().take(batch.public as usize).map(|(sample, _)| sample).collect();
        Ok(Job { queries, public, probes, batch, policy: Some(judged), repeats, entry: None })
    }

    /// Every query once, and nothing else: whatever the server answers is believed.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are no queries.
    pub fn unverified(queries: Vec<Row>) -> Result<Job, Error> {
        if queries.is_empty() {
            return Err(Error::Usage("there are no queries".into()));
        }
        let batch = Batch { queries: queries.len() as u64, copies: 1, public: 0, tolerated: 0, probes: 0 };
        Ok(Job { queries, public: Vec::new(), probes: Vec::new(), batch, policy: None, repeats: 0, entry: None })
    }

    /// The batch's shape.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What the client demanded, with the largest share of a label; `None` if nothing is verified.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// The public samples of the batch.
    pub fn public(&self) -> &[PublicSample] {
        &self.public
    }

    /// The known-answer probes of the batch.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Public samples that were left out because they repeat another sample.
    pub fn repeats(&self) -> usize {
        self.repeats
    }

    /// Labels, or values, that are known of each public sample: the least number.
    pub fn known_ranks(&self) -> usize {
        self.public.iter().map(|sample| sample.known.len()).min().unwrap_or(0)
    }

    /// How far from their known value public answers may be; `None` if labels are known.
    pub fn tolerance(&self) -> Option<f64> {
        self.public.iter().find_map(|sample| sample.known.tolerance())
    }

    /// How the client's ledger counts the session; `None` if no ledger is kept.
    pub fn entry(&self) -> Option<Entry> {
        self.entry
    }

    /// Says how the ledger counts the session, for its report.
    pub fn set_entry(&mut self, entry: Entry) {
        self.entry = Some(entry);
    }

    /// A fresh secret arrangement of the batch.
    pub(crate) fn mix(&self) -> Result<Mix, Error> {
        Mix::new(self.queries.len(), self.batch.copies as usize, self.public.len(), self.probes.len())
    }

    /// The right answers, in the order of public samples.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Known> {
        self.public.iter().map(|sample| &sample.known)
    }

    /// The answers that the probes must have, in their order.
    pub(crate) fn probe_answers(&self) -> Vec<&[i64]> {
        self.probes.iter().map(|probe| probe.answer.as_slice()).collect()
    }
}

impl Samples for Job {
    fn input(&self, sample: Sample) -> &[i64] {
        match sample {
            Sample::Query(index) => &self.queries[index].elements,
            Sample::Public(index) => &self.public[index].row.elements,
            Sample::Probe(index) => &self.probes[index].row.elements,
        }
    }
}

/// The public samples that repeat neither one before them, nor a query, nor a probe.
fn distinct(queries: &[Row], mut public: Vec<PublicSample>, probes: &[Probe]) -> Vec<PublicSample> {
    let known = queries.iter().chain(probes.iter().map(|probe| &probe.row));
    let mut known: HashSet<_> = known.map(|row| row.digest).collect();
    public.retain(|sample| known.insert(sample.row.digest));
    public
}

/// The error for public samples that do not meet a policy. Where what lacks is knowledge of how
/// frequent labels are, more samples say more of that too: the number that would do is the least
/// with the same shares.
fn refuse(
    infeasible: Infeasible,
    policy: &Policy,
    [most, available]: [u64; 2],
    values: bool,
    [queries, probes]: [usize; 2],
    repeats: usize,
) -> Error {
    let blind = matches!(
        infeasible,
        Infeasible::PublicSamples { demand: Demand::Blind, .. } | Infeasible::OutOfReach(Demand::Blind)
    );
    let enough = |samples: u64| {
        let most = (most as f64 / available as f64 * samples as f64).ceil() as u64;
        let judged = Policy { largest_share: Some(largest_share(most, samples)), ..*policy };
        judged.plan_with_probes(queries as u64, Some(samples), probes as u64).is_ok()
    };
    let mut text = infeasible.to_string();
    if blind && policy.largest_share.is_none() && available > 0 {
        let (mut few, mut many) = (available, available.max(1));
        while many < MAX_PUBLIC && !enough(many) {
            (few, many) = (many, many * 2);
        }
        while many - few > 1 {
            let middle = few + (many - few) / 2;
            if enough(middle) { many = middle } else { few = middle }
        }
        let catch = match infeasible {
            Infeasible::PublicSamples { catch, .. } => catch,
            _ => None,
        };
        // Where more samples do not help, a label is too frequent, unless something else is out of
        // reach.
        let frequent = most as f64 / available as f64 + 0.05 > policy.accuracy;
        text = match enough(many) {
            true => Infeasible::PublicSamples { available, needed: many, demand: Demand::Blind, catch }.to_string(),
            false if !frequent => infeasible.to_string(),
            false => {
                let alike = if values { "are within the tolerance of one value" } else { "have one label" };
                format!(
                    "{most} of the {available} public samples {alike}: a server that gives it to every input could be \
                     right about as often as the honest model, and no number of such samples tells them apart. Choose \
                     an error rate to be told apart instead, with `catch`"
                )
            }
        };
    }
    if repeats > 0 {
        text += &format!(" ({repeats} public samples repeat another sample and do not count)");
    }
    match infeasible {
        Infeasible::PublicSamples { .. } | Infeasible::OutOfReach(_) => Error::setting(Setting::Catch, text),
        _ => Error::Usage(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distinct samples of ten balanced classes.
    fn public(count: i64) -> Vec<PublicSample> {
        (0..count).map(|x| PublicSample { row: vec![x].into(), known: vec![x % 10].into() }).collect()
    }

    fn queries(count: i64) -> Vec<Row> {
        (1..=count).map(|x| vec![-x].into()).collect()
    }

    #[test]
    fn the_policy_decides_the_batch_and_a_random_choice_fills_it() {
        let policy = Policy { lambda: 5.0, largest_share: Some(0.1), ..Policy::default() };
        let batch = policy.plan(4, Some(1000)).unwrap();
        let choice = || {
            let job = Job::verified(queries(4), public(1000), policy).unwrap();
            assert_eq!(*job.batch(), batch);
            let inputs: Vec<i64> = (0..job.public().len()).map(|at| job.input(Sample::Public(at))[0]).collect();
            let distinct: std::collections::BTreeSet<_> = inputs.iter().collect();
            assert_eq!((inputs.len(), distinct.len()), (batch.public as usize, batch.public as usize));
            assert!(inputs.iter().zip(job.known()).all(|(input, known)| *known == vec![input % 10].into()));
            inputs
        };
        assert_ne!(choice(), choice());
    }

    #[test]
    fn preferred_samples_come_first_and_the_others_fill_up() {
        let policy = Policy { lambda: 5.0, largest_share: Some(0.1), ..Policy::default() };
        let needed = policy.plan(4, Some(1000)).unwrap().public;
        for preferred in [0, 1, needed as i64, 500] {
            let is = |sample: &PublicSample| sample.row.elements[0] < preferred;
            let fresh = |public: &[PublicSample]| Ok(public.iter().map(is).collect());
            let job = Job::verified_with(queries(4), public(1000), fresh, vec![], policy).unwrap();
            let found = job.public().iter().filter(|sample| is(sample)).count() as u64;
            assert_eq!((found, job.public().len() as u64), (needed.min(preferred as u64), needed));
        }
    }

    #[test]
    fn too_few_public_samples_are_refused_with_the_number_that_would_do() {
        let policy = Policy { catch: Some(0.1), ..Policy::default() };
        let needed = policy.plan(4, None).unwrap().public;
        let error = Job::verified(queries(4), public(10), policy).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains(&format!("needs {needed} public samples")) && text.contains("only 10"), "{text}");
        assert!(Job::verified(queries(4), public(needed as i64), policy).is_ok());
    }

    #[test]
    fn how_frequent_labels_are_is_judged_by_the_labels() {
        let policy = Policy { accuracy: 0.9, ..Policy::default() };
        let few = Job::verified(queries(1024), public(30), policy).unwrap_err().to_string();
        let needed: i64 = few.split(' ').find_map(|word| word.parse().ok()).unwrap();
        assert!((40..60).contains(&needed) && few.contains("ignores the inputs"), "{few}");
        let job = Job::verified(queries(1024), public(needed), policy).unwrap();
        let share = job.policy().unwrap().largest_share.unwrap();
        assert!(share > 0.1 && job.batch().blind_probability(share) <= 2f64.powi(-40), "{share}");
        // More labels say more of how frequent they are.
        let more = Job::verified(queries(1024), public(3000), policy).unwrap();
        assert!(more.batch().public < job.batch().public);
        // Who knows better says so.
        let known = Policy { largest_share: Some(0.1), ..policy };
        assert_eq!(Job::verified(queries(1024), public(23), known).unwrap().batch().public, 23);
    }

    #[test]
    fn one_label_for_nearly_all_samples_has_a_message_of_its_own() {
        let policy = Policy { accuracy: 0.97, ..Policy::default() };
        let mut samples = public(400);
        samples.iter_mut().skip(8).for_each(|sample| sample.known = vec![3].into());
        let text = Job::verified(queries(50), samples, policy).unwrap_err().to_string();
        assert!(text.starts_with("393 of the 400 public samples have one label"), "{text}");
    }

    #[test]
    fn samples_that_repeat_others_are_no_evidence() {
        let policy = Policy { lambda: 5.0, largest_share: Some(0.1), ..Policy::default() };
        let twice = [public(100), public(100)].concat();
        let probe = Probe { row: vec![99].into(), answer: vec![9] };
        let queries = vec![vec![0].into(), vec![1].into()];
        let all = |public: &[PublicSample]| Ok(vec![true; public.len()]);
        let job = Job::verified_with(queries.clone(), twice, all, vec![probe], policy).unwrap();
        assert_eq!(job.repeats(), 103);
        let known: Vec<i64> = job.public().iter().map(|sample| sample.row.elements[0]).collect();
        assert!(known.iter().all(|x| (2..99).contains(x)), "{known:?}");
        let same = vec![PublicSample { row: vec![7].into(), known: vec![7].into() }; 60];
        let text = Job::verified(queries, same, policy).unwrap_err().to_string();
        assert!(text.ends_with("(59 public samples repeat another sample and do not count)"), "{text}");
    }

    #[test]
    fn without_queries_there_is_no_job() {
        assert!(matches!(Job::verified(vec![], public(1000), Policy::default()), Err(Error::Usage(_))));
        assert!(matches!(Job::unverified(vec![]), Err(Error::Usage(_))));
    }
}
