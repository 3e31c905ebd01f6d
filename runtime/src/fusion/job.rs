//! What a client brings to a session, planned by its own policy before anything is sent.

use fusion_ir::soundness::{Batch, Policy};

use super::mix::{Mix, Sample, shuffled};
use crate::Error;
use crate::ledger::Entry;

/// A public sample: an input whose label the client knows, independent of and unknown to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicSample {
    /// Quantised input.
    pub input: Vec<i64>,
    /// Its label.
    pub label: i64,
}

/// A known-answer probe: a query of an earlier batch with the label that was accepted for it, under the same plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Quantised input.
    pub input: Vec<i64>,
    /// The label accepted.
    pub label: i64,
}

/// The samples of one session and the shape of its batch.
#[derive(Clone, Debug)]
pub struct Job {
    queries: Vec<Vec<i64>>,
    public: Vec<PublicSample>,
    probes: Vec<Probe>,
    batch: Batch,
    policy: Option<Policy>,
    entry: Option<Entry>,
}

impl Job {
    /// A batch that meets `policy` at least cost. If there are more public samples than it needs, a random choice of them is
    /// used, since files are often sorted by class.
    ///
    /// # Errors
    /// [`Error::Usage`] if the policy cannot be met with these public samples; it says how many would do.
    pub fn verified(queries: Vec<Vec<i64>>, public: Vec<PublicSample>, policy: Policy) -> Result<Job, Error> {
        Job::verified_with(queries, public, |public| Ok(vec![true; public.len()]), Vec::new(), policy)
    }

    /// [`Job::verified`] with a random choice among the public samples that `fresh` prefers, before any other, and with
    /// all of `probes`.
    ///
    /// # Errors
    /// As [`Job::verified`], and those of `fresh`.
    pub fn verified_with(
        queries: Vec<Vec<i64>>,
        public: Vec<PublicSample>,
        fresh: impl FnOnce(&[PublicSample]) -> Result<Vec<bool>, Error>,
        probes: Vec<Probe>,
        policy: Policy,
    ) -> Result<Job, Error> {
        let batch = policy
            .plan_with_probes(queries.len() as u64, Some(public.len() as u64), probes.len() as u64)
            .map_err(|infeasible| Error::Usage(infeasible.to_string()))?;
        let fresh = fresh(&public)?;
        let mut public: Vec<_> = shuffled(public.into_iter().zip(fresh).collect())?;
        // Stable: in random order among equals.
        public.sort_by_key(|(_, fresh)| !fresh);
        let public = public.into_iter().take(batch.public as usize).map(|(sample, _)| sample).collect();
        Ok(Job { queries, public, probes, batch, policy: Some(policy), entry: None })
    }

    /// Every query once, and nothing else: whatever the server answers is believed.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are no queries.
    pub fn unverified(queries: Vec<Vec<i64>>) -> Result<Job, Error> {
        if queries.is_empty() {
            return Err(Error::Usage("there are no queries".into()));
        }
        let batch = Batch { queries: queries.len() as u64, copies: 1, public: 0, tolerated: 0, probes: 0 };
        Ok(Job { queries, public: Vec::new(), probes: Vec::new(), batch, policy: None, entry: None })
    }

    /// The batch's shape.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What the client demanded; `None` if nothing is verified.
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

    /// The quantised input of a sample of [`Job::mix`].
    pub(crate) fn input(&self, sample: Sample) -> &[i64] {
        match sample {
            Sample::Query(index) => &self.queries[index],
            Sample::Public(index) => &self.public[index].input,
            Sample::Probe(index) => &self.probes[index].input,
        }
    }

    /// The known labels, in the order of public samples.
    pub(crate) fn public_labels(&self) -> Vec<i64> {
        self.public.iter().map(|sample| sample.label).collect()
    }

    /// The labels that the probes must have, in their order.
    pub(crate) fn probe_labels(&self) -> Vec<i64> {
        self.probes.iter().map(|probe| probe.label).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(count: i64) -> Vec<PublicSample> {
        (0..count).map(|label| PublicSample { input: vec![label], label }).collect()
    }

    #[test]
    fn the_policy_decides_the_batch_and_a_random_choice_fills_it() {
        let policy = Policy { lambda: 5.0, ..Policy::default() };
        let batch = policy.plan(4, Some(1000)).unwrap();
        let choice = || {
            let job = Job::verified(vec![vec![0]; 4], public(1000), policy).unwrap();
            assert_eq!(*job.batch(), batch);
            let labels = job.public_labels();
            let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
            assert_eq!((labels.len(), distinct.len()), (batch.public as usize, batch.public as usize));
            assert!((0..labels.len()).all(|index| job.input(Sample::Public(index)) == [labels[index]]));
            labels
        };
        assert_ne!(choice(), choice());
    }

    #[test]
    fn preferred_samples_come_first_and_the_others_fill_up() {
        let policy = Policy { lambda: 5.0, ..Policy::default() };
        let needed = policy.plan(4, Some(1000)).unwrap().public;
        for preferred in [0, 1, needed as i64, 500] {
            let fresh = |public: &[PublicSample]| Ok(public.iter().map(|sample| sample.label < preferred).collect());
            let job = Job::verified_with(vec![vec![0]; 4], public(1000), fresh, vec![], policy).unwrap();
            let found = job.public_labels().iter().filter(|label| **label < preferred).count() as u64;
            assert_eq!((found, job.public().len() as u64), (needed.min(preferred as u64), needed));
        }
    }

    #[test]
    fn too_few_public_samples_are_refused_with_the_number_that_would_do() {
        let policy = Policy { catch: Some(0.1), ..Policy::default() };
        let needed = policy.plan(4, None).unwrap().public;
        let error = Job::verified(vec![vec![0]; 4], public(10), policy).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains(&format!("needs {needed} public samples")) && text.contains("only 10"), "{text}");
        assert!(Job::verified(vec![vec![0]; 4], public(needed as i64), policy).is_ok());
    }

    #[test]
    fn without_queries_there_is_no_job() {
        assert!(matches!(Job::verified(vec![], public(10), Policy::default()), Err(Error::Usage(_))));
        assert!(matches!(Job::unverified(vec![]), Err(Error::Usage(_))));
    }
}
