//! What a client demands, and the cheapest batch that meets it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::tails::{binomial, first};
use super::{Batch, MAX_POSITIONS};

/// The probability with which [`Policy::catch`] is caught.
pub const CONFIDENCE: f64 = 0.99;
/// The largest number of copies that [`Policy::plan`] considers.
pub const MAX_COPIES: u64 = 1 << 12;
/// The largest number of public samples that [`Policy::plan`] considers.
pub const MAX_PUBLIC: u64 = 1 << 16;

/// A client's demands. They are the client's own: no plan and no server can lower them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Position consistency, in bits ([`Batch::lambda_bits`]); `>= 0`.
    pub lambda: f64,
    /// Accuracy: a server that is wrong on this fraction of the distribution is caught with probability
    /// [`CONFIDENCE`]; in `0..=1`, more than `1 - accuracy`. `None` demands instead that a blind server, whose
    /// answers do not depend on the input, passes with probability at most `2^-lambda`.
    pub catch: Option<f64>,
    /// The largest share of a label in the distribution, in `0..=1`: what a blind server is right on at most.
    /// [`largest_share`](super::largest_share) bounds it from labels; `None` is one half, two balanced classes.
    pub largest_share: Option<f64>,
    /// An honest server is rejected with probability at most this, in `0..=1`.
    pub false_reject: f64,
    /// The least accuracy of the honest model, as claimed, `0.01..=1`.
    pub accuracy: f64,
    /// A fixed `u` instead of the least that meets `false_reject`, which is then no demand.
    pub tolerate: Option<u64>,
    /// A fixed `B`.
    pub copies: Option<u64>,
}

impl Default for Policy {
    /// `lambda` 40, false rejects 1 %, and a model that is never wrong: no public error is tolerated.
    fn default() -> Policy {
        Policy {
            lambda: 40.0,
            catch: None,
            largest_share: None,
            false_reject: 0.01,
            accuracy: 1.0,
            tolerate: None,
            copies: None,
        }
    }
}

/// One of the things a [`Policy`] demands of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// [`Policy::lambda`], in bits.
    Lambda,
    /// [`Policy::catch`], an error rate.
    Catch,
    /// Blind servers, in bits, where there is no [`Policy::catch`].
    Blind,
    /// [`Policy::false_reject`], a probability.
    FalseReject,
    /// [`Policy::tolerate`], a number of public samples.
    Tolerate,
}

/// Why a policy and a batch do not go together.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Infeasible {
    /// A number of the policy is outside its range.
    #[error("{name} must be {range}, but is {value}")]
    Range {
        /// The field.
        name: &'static str,
        /// What is allowed.
        range: &'static str,
        /// What was given.
        value: f64,
    },
    /// There are no queries, or more than [`MAX_POSITIONS`].
    #[error("a batch needs between 1 and {MAX_POSITIONS} queries, but {queries} were given")]
    Queries {
        /// What was given.
        queries: u64,
    },
    /// An honest server is wrong as often as the error rate that is to be caught.
    #[error(
        "an error rate of {catch} cannot be told from an honest server that is wrong on {honest:.4} of its answers"
    )]
    Indistinguishable {
        /// [`Policy::catch`].
        catch: f64,
        /// `1 - accuracy`.
        honest: f64,
    },
    /// Too few public samples.
    #[error(
        "the policy needs {needed} public samples for this many queries, but there are only {available}: with fewer, \
         {}{}", why(*demand), alternative(*catch)
    )]
    PublicSamples {
        /// What there is.
        available: u64,
        /// What would do: the cheapest batch's number.
        needed: u64,
        /// What those there are do not meet.
        demand: Demand,
        /// A [`Policy::catch`] that they do meet, if there is one.
        catch: Option<f64>,
    },
    /// No batch of at most [`MAX_COPIES`] copies and [`MAX_PUBLIC`] public samples meets the demand.
    #[error("no batch of reasonable size meets the demand on {0}{hint}", hint = hint(*.0))]
    OutOfReach(Demand),
    /// The batch does not meet the demand.
    #[error("the batch does not meet the demand on {demand}: {asked} was asked for, {reached} is reached")]
    Unmet {
        /// Which.
        demand: Demand,
        /// What the policy says.
        asked: f64,
        /// What the batch has.
        reached: f64,
    },
}

impl Policy {
    /// The cheapest batch, in positions `R B + T`, for `queries` queries and at most `public_available` public samples
    /// (`None`: as many as needed) that meets all demands together. Of equally cheap batches the one with the most public
    /// samples, since those prove accuracy too.
    ///
    /// # Errors
    /// All of [`Infeasible`] but `Unmet`: what cannot be met, and where more public samples would do, how many.
    pub fn plan(&self, queries: u64, public_available: Option<u64>) -> Result<Batch, Infeasible> {
        self.plan_with_probes(queries, public_available, 0)
    }

    /// [`Policy::plan`] for a batch that holds `probes` known-answer probes besides: the more there are, the fewer copies
    /// and public samples `lambda` needs. Some public sample stays, and not every error is tolerated: probes alone would
    /// say nothing about accuracy.
    ///
    /// # Errors
    /// As [`Policy::plan`].
    pub fn plan_with_probes(
        &self,
        queries: u64,
        public_available: Option<u64>,
        probes: u64,
    ) -> Result<Batch, Infeasible> {
        self.validate()?;
        if queries == 0 || queries > MAX_POSITIONS {
            return Err(Infeasible::Queries { queries });
        }
        let available = public_available.unwrap_or(MAX_PUBLIC).min(MAX_PUBLIC);
        // What public samples alone must do, whatever the probes: not every error is tolerated, which would prove
        // nothing, and relabelling everything is noticed.
        let useful = |(public, tolerated)| {
            let all = Batch { queries: 1, copies: 1, public, tolerated, probes: 0 };
            self.lambda == 0.0 || (tolerated < public && all.pass_bits(self.right()) >= self.lambda)
        };
        let Some((least, _)) = self.least_public(0, MAX_PUBLIC, useful) else {
            return Err(Infeasible::OutOfReach(self.on_accuracy()));
        };
        if let Some(batch) = self.cheapest(queries, least, available, probes) {
            return Ok(batch);
        }
        match self.cheapest(queries, least, MAX_PUBLIC, probes) {
            Some(batch) => Err(self.too_few(queries, available, batch.public, probes)),
            None => Err(Infeasible::OutOfReach(Demand::Lambda)),
        }
    }

    /// Whether a given batch meets the demands; `copies` is none, it only shapes plans. Fewer tolerated errors than
    /// `tolerate` are fine.
    ///
    /// # Errors
    /// [`Infeasible::Unmet`] with the first demand that is not met, or a number out of range.
    pub fn check(&self, batch: &Batch) -> Result<(), Infeasible> {
        self.validate()?;
        if batch.queries == 0 {
            return Err(Infeasible::Queries { queries: 0 });
        }
        let unmet = |demand, asked, reached| Err(Infeasible::Unmet { demand, asked, reached });
        if !batch.reaches(self.lambda, self.right()) {
            return unmet(Demand::Lambda, self.lambda, batch.lambda_bits(self.accuracy));
        }
        if !self.accurate(batch) {
            return match self.catch {
                Some(catch) => unmet(Demand::Catch, catch, batch.smallest_eps(CONFIDENCE).unwrap_or(1.0)),
                None => unmet(Demand::Blind, self.lambda, batch.blind_bits(self.share())),
            };
        }
        match self.tolerate {
            Some(tolerate) if batch.tolerated > tolerate => {
                unmet(Demand::Tolerate, tolerate as f64, batch.tolerated as f64)
            }
            None if batch.false_reject(self.accuracy) > self.false_reject => {
                unmet(Demand::FalseReject, self.false_reject, batch.false_reject(self.accuracy))
            }
            _ => Ok(()),
        }
    }

    /// `u` for `public` public samples: `tolerate`, or the least that rejects an honest server rarely enough.
    pub fn tolerated(&self, public: u64) -> u64 {
        let rare = |u: u64| binomial(public, 1.0 - self.accuracy, u + 1, public) <= self.false_reject;
        self.tolerate.unwrap_or_else(|| first(0, public, rare).unwrap_or(public))
    }

    /// How often a label that is not the model's is an error: as often as the model is right.
    fn right(&self) -> f64 {
        if cfg!(feature = "without-relabelling") { 1.0 } else { self.accuracy }
    }

    /// The largest share of a label that is reckoned with.
    pub fn share(&self) -> f64 {
        self.largest_share.unwrap_or(0.5)
    }

    /// Whether a batch's public samples meet the demand on accuracy: `catch`, or blind servers.
    fn accurate(&self, batch: &Batch) -> bool {
        match self.catch {
            Some(catch) => batch.pass_probability(catch) <= 1.0 - CONFIDENCE,
            None => cfg!(feature = "without-blind") || batch.blind_bits(self.share()) >= self.lambda,
        }
    }

    /// Which demand on accuracy there is.
    fn on_accuracy(&self) -> Demand {
        match self.catch {
            Some(_) => Demand::Catch,
            None if self.lambda > 0.0 => Demand::Blind,
            None => Demand::FalseReject,
        }
    }

    /// The error for `available` public samples where `needed` would do.
    fn too_few(&self, queries: u64, available: u64, needed: u64, probes: u64) -> Infeasible {
        let tolerated = self.tolerated(available);
        let batch = Batch { queries, copies: 1, public: available, tolerated, probes };
        let demand = if self.accurate(&batch) { Demand::Lambda } else { self.on_accuracy() };
        // To three digits, upwards.
        let caught = batch.smallest_eps(CONFIDENCE).map(|eps| (eps * 1000.0).ceil() / 1000.0);
        let enough = |catch: &f64| {
            let lax = Policy { catch: Some(*catch), ..*self };
            lax.plan_with_probes(queries, Some(available), probes).is_ok()
        };
        let catch = caught.filter(|_| demand != Demand::Lambda).filter(enough);
        Infeasible::PublicSamples { available, needed, demand, catch }
    }

    fn validate(&self) -> Result<(), Infeasible> {
        let inside = |name, least, range, value: f64| {
            if (least..=1.0).contains(&value) { Ok(()) } else { Err(Infeasible::Range { name, range, value }) }
        };
        inside("accuracy", 0.01, "between 0.01 and 1", self.accuracy)?;
        inside("false-reject", 0.0, "between 0 and 1", self.false_reject)?;
        inside("largest-share", 0.0, "between 0 and 1", self.share())?;
        if !(self.lambda >= 0.0 && self.lambda.is_finite()) {
            return Err(Infeasible::Range { name: "lambda", range: "finite and not negative", value: self.lambda });
        }
        if self.copies == Some(0) {
            return Err(Infeasible::Range { name: "copies", range: "at least 1", value: 0.0 });
        }
        if self.false_reject == 0.0 && self.accuracy < 1.0 && self.tolerate.is_none() {
            // A model that is ever wrong may be wrong on every public sample.
            return Err(Infeasible::OutOfReach(Demand::FalseReject));
        }
        let Some(catch) = self.catch else { return Ok(()) };
        inside("catch", 0.0, "between 0 and 1", catch)?;
        let honest = 1.0 - self.accuracy;
        // The larger error rate passes more rarely, so one of them passes too often or too rarely.
        let conflict = catch <= honest && 1.0 - self.false_reject > 1.0 - CONFIDENCE;
        if conflict && self.tolerate.is_none() {
            return Err(Infeasible::Indistinguishable { catch, honest });
        }
        Ok(())
    }

    /// The cheapest batch with `least` to `available` public samples, looked for under a budget of positions that
    /// doubles, so that no shape is examined that is much dearer than the answer. Probes do not count: there is no choice.
    fn cheapest(&self, queries: u64, least: u64, available: u64, probes: u64) -> Option<Batch> {
        let most_copies = self.copies.unwrap_or(MAX_COPIES);
        let dearest = queries.saturating_mul(most_copies).saturating_add(available).min(MAX_POSITIONS);
        let mut budget = queries + least;
        loop {
            let within = self.cheapest_within(queries, least, available, probes, budget);
            if within.is_some() || budget >= dearest {
                return within;
            }
            budget = budget.saturating_mul(2).min(dearest);
        }
    }

    /// The cheapest batch of at most `budget` positions besides its probes.
    ///
    /// A batch that reaches lambda still does with one copy more of each query: whatever is hit among the new copies, the
    /// rest is a batch of the old shape. So the least `T` only grows as the copies get fewer, and every search starts
    /// where the one before ended.
    fn cheapest_within(&self, queries: u64, least: u64, available: u64, probes: u64, mut budget: u64) -> Option<Batch> {
        let (mut cheapest, mut least) = (None, least);
        let shape = |copies, public, tolerated| Batch { queries, copies, public, tolerated, probes };
        let fewest = self.copies.unwrap_or(1);
        let affordable = self.copies.unwrap_or(MAX_COPIES).min(budget / queries);
        // No use in more copies than make do with the least of all public samples.
        let tolerated = self.tolerated(least);
        let plenty =
            first(fewest, affordable, |copies| shape(copies, least, tolerated).reaches(self.lambda, self.right()));
        for copies in (fewest..=plenty.unwrap_or(affordable)).rev() {
            let reaches = |(public, tolerated)| shape(copies, public, tolerated).reaches(self.lambda, self.right());
            let most = available.min(budget.saturating_sub(queries * copies));
            if let Some((public, tolerated)) = self.least_public(least, most, reaches) {
                let batch = shape(copies, public, tolerated);
                (cheapest, budget, least) = (Some(batch), batch.positions() - probes, public);
            } else {
                least = least.max(most + 1);
            }
        }
        cheapest
    }

    /// The least `T` in `least ..= most`, with its `u`, that meets the demand on accuracy, `false_reject` and `reaches`.
    ///
    /// For a fixed `u`, a batch that reaches lambda still does with one public sample more: if the server hits that one,
    /// it does with the rest no better than with one hit fewer and no more tolerated, else no better than before. So
    /// for a fixed `u` there is a least `T`, it grows with `u`, and the least `u` grows with `T`: going to and fro
    /// between the two from below ends at the least pair that satisfies both, if there is one.
    fn least_public(&self, least: u64, most: u64, reaches: impl Fn((u64, u64)) -> bool) -> Option<(u64, u64)> {
        let mut public = least;
        loop {
            let tolerated = self.tolerated(public);
            let enough = |public: u64| {
                let batch = Batch { queries: 1, copies: 1, public, tolerated, probes: 0 };
                self.accurate(&batch) && reaches((public, tolerated))
            };
            let next = first(public, most, enough)?;
            if next == public {
                return Some((public, tolerated));
            }
            public = next;
        }
    }
}

impl std::fmt::Display for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Demand::Lambda => "lambda",
            Demand::Catch => "catch",
            Demand::Blind => "servers that ignore the inputs",
            Demand::FalseReject => "false-reject",
            Demand::Tolerate => "tolerate",
        })
    }
}

/// What could pass with too few public samples.
fn why(demand: Demand) -> &'static str {
    match demand {
        Demand::Blind => "a server that ignores the inputs (one label for all, or labels at random) may pass",
        Demand::Catch => "a server with the error rate to catch may pass",
        _ => "a server that changes labels may pass",
    }
}

fn alternative(catch: Option<f64>) -> String {
    match catch {
        Some(catch) => format!(
            ". They do to catch a server that is wrong on {:.1} % of inputs with 99 %, and nothing less: catch {catch} \
             accepts that",
            100.0 * catch
        ),
        None => String::new(),
    }
}

fn hint(demand: Demand) -> &'static str {
    match demand {
        Demand::Blind => {
            ": one label is so frequent that giving it always is right about as often as the honest model. Choose an \
             error rate to catch instead"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(accuracy: f64, catch: Option<f64>) -> Policy {
        Policy { accuracy, catch, ..Policy::default() }
    }

    /// A policy that relies on position consistency alone.
    fn sighted() -> Policy {
        Policy { largest_share: Some(0.0), ..Policy::default() }
    }

    #[test]
    fn copies_for_many_queries() {
        for (queries, copies) in [(1024, 5), (16384, 4), (1_000_000, 3)] {
            let batch = Policy::default().plan(queries, None).unwrap();
            assert_eq!((batch.copies, batch.tolerated), (copies, 0), "{queries}");
            assert_eq!(Policy::default().check(&batch), Ok(()));
            let batch = policy(0.9, None).plan(queries, None).unwrap();
            assert_eq!((batch.copies, batch.public), (copies, 107), "{queries}");
        }
    }

    #[test]
    fn public_samples_against_servers_that_relabel_everything() {
        for (accuracy, public) in [(1.0, 1), (0.97, 12), (0.9, 23), (0.8, 51), (0.76, 72)] {
            let claims = Policy { accuracy, largest_share: Some(0.0), copies: Some(60), ..Policy::default() };
            let batch = claims.plan(1, None).unwrap();
            assert!(batch.public >= public, "{accuracy}: {batch:?}");
            let all = |public: u64| {
                let batch = Batch { public, tolerated: claims.tolerated(public), ..batch };
                batch.tolerated < public && batch.hit_probability(batch.positions(), accuracy) <= 2f64.powi(-40)
            };
            assert!(all(public) && !(1..public).any(all), "{accuracy}");
        }
    }

    #[test]
    fn public_samples_against_blind_servers() {
        for (largest_share, accuracy, public) in [(0.5, 0.9, 107), (0.5, 0.97, 67), (0.1, 0.9, 23), (0.1, 0.97, 18)] {
            let claims = Policy { accuracy, largest_share: Some(largest_share), ..Policy::default() };
            let batch = claims.plan(1024, None).unwrap();
            assert_eq!(batch.public, public, "{largest_share} {accuracy}");
            assert!(batch.blind_probability(largest_share) <= 2f64.powi(-40));
            // What they cost, beside what position consistency alone asked for under a model that is never wrong.
            let most = if largest_share == 0.5 { 1.1 } else { 1.03 };
            assert!(batch.positions() as f64 <= 5124.0 * most, "{batch:?}");
        }
    }

    #[test]
    fn a_label_as_frequent_as_the_model_is_right_is_out_of_reach() {
        let fraud = Policy { accuracy: 0.99, largest_share: Some(0.99), ..Policy::default() };
        let error = fraud.plan(100, None).unwrap_err();
        assert_eq!(error, Infeasible::OutOfReach(Demand::Blind));
        assert!(error.to_string().contains("Choose an error rate to catch"), "{error}");
        assert!(Policy { catch: Some(0.05), ..fraud }.plan(100, None).is_ok());
    }

    #[test]
    fn one_query() {
        for (accuracy, positions) in [(1.0, 44), (0.97, 56), (0.9, 75), (0.76, 149)] {
            let batch = Policy { accuracy, ..sighted() }.plan(1, None).unwrap();
            assert_eq!(batch.positions(), positions, "{accuracy}: {batch:?}");
        }
    }

    #[test]
    fn lambda_alone_proves_little_about_accuracy() {
        let batch = sighted().plan(1024, None).unwrap();
        assert_eq!(batch.public, 4);
        assert_eq!(format!("{:.2}", batch.smallest_eps(CONFIDENCE).unwrap()), "0.68");
    }

    /// The plan by trying everything, with `u` from its definition.
    fn cheapest_by_trial(policy: &Policy, queries: u64, available: u64, probes: u64, budget: u64) -> Option<u64> {
        let shapes = (1..=budget).flat_map(|copies| (0..=available.min(budget)).map(move |public| (copies, public)));
        let shapes = shapes.filter(|(copies, public)| queries * copies + public <= budget);
        let batches = shapes.flat_map(|(copies, public)| {
            let tolerated = policy.tolerate.map_or(0..=public, |u| u..=u);
            tolerated.map(move |tolerated| Batch { queries, copies, public, tolerated, probes })
        });
        let batches = batches.filter(|b| policy.copies.is_none_or(|copies| copies == b.copies));
        // Without probes, such batches are all there is.
        let batches = batches.filter(|batch| policy.lambda == 0.0 || batch.tolerated < batch.public);
        batches.filter(|batch| policy.check(batch).is_ok()).map(|batch| batch.positions()).min()
    }

    #[test]
    fn nothing_cheaper_is_missed() {
        let budget = 36;
        for queries in [1, 2, 3, 7, 20] {
            for (lambda, accuracy, catch) in [
                (5.0, 1.0, None),
                (8.0, 0.9, None),
                (12.0, 0.97, Some(0.2)),
                (6.0, 0.7, Some(0.6)),
                (0.0, 0.95, Some(0.3)),
            ] {
                for (available, tolerate, copies) in
                    [(60, None, None), (9, None, None), (3, Some(0), None), (60, Some(2), None), (60, None, Some(2))]
                {
                    let largest_share = [Some(0.0), Some(0.2), None][(queries % 3) as usize];
                    let policy = Policy { lambda, accuracy, catch, tolerate, copies, largest_share, ..sighted() };
                    let probes = queries % 3 * (available / 3);
                    let truth = cheapest_by_trial(&policy, queries, available, probes, budget);
                    let planned = policy.plan_with_probes(queries, Some(available), probes);
                    if let Ok(batch) = planned {
                        assert_eq!(policy.check(&batch), Ok(()), "{policy:?} {batch:?}");
                        assert!(batch.public <= available);
                    }
                    let found =
                        planned.ok().map(|batch| batch.positions()).filter(|&positions| positions - probes <= budget);
                    assert_eq!(found, truth, "{policy:?} {queries} {available}");
                }
            }
        }
    }

    #[test]
    fn all_demands_together() {
        let demands = policy(0.76, Some(0.4));
        let batch = demands.plan(1024, None).unwrap();
        assert_eq!(demands.check(&batch), Ok(()));
        assert!(batch.smallest_eps(CONFIDENCE).unwrap() <= 0.4);
        assert!(batch.false_reject(0.76) <= 0.01);
        assert!(batch.lambda_bits(0.76) >= 40.0);
        // One public sample fewer, and no tolerance does.
        let fewer = batch.public - 1;
        assert!((0..=fewer).all(|u| demands.check(&Batch { public: fewer, tolerated: u, ..batch }).is_err()));
        let demand = Demand::Catch;
        assert_eq!(
            demands.plan(1024, Some(fewer)),
            Err(Infeasible::PublicSamples { available: fewer, needed: batch.public, demand, catch: Some(0.402) })
        );
        // A million queries with a demanding accuracy check.
        let batch = policy(0.97, Some(0.05)).plan(1_000_000, None).unwrap();
        assert!(batch.copies == 3 && batch.public > 1000);
    }

    #[test]
    fn few_public_samples_cost_copies() {
        let plenty = sighted().plan(1, None).unwrap();
        let few = sighted().plan(1, Some(5)).unwrap();
        assert!(few.public <= 5 && few.copies > plenty.copies && few.lambda_bits(1.0) >= 40.0);
        let (needed, demand) = (plenty.public, Demand::Lambda);
        let error = sighted().plan(1, Some(1)).unwrap_err();
        assert_eq!(error, Infeasible::PublicSamples { available: 1, needed, demand, catch: None });
        assert!(error.to_string().contains(&plenty.public.to_string()));
    }

    #[test]
    fn too_few_for_blind_servers_names_what_they_can_do() {
        let error = policy(0.9, None).plan(1024, Some(60)).unwrap_err();
        let Infeasible::PublicSamples { available: 60, needed: 107, demand: Demand::Blind, catch: Some(catch) } = error
        else {
            panic!("{error:?}")
        };
        assert!(policy(0.9, Some(catch)).plan(1024, Some(60)).is_ok());
        assert!(policy(0.9, Some(catch - 0.05)).plan(1024, Some(60)).is_err());
        let text = error.to_string();
        assert!(text.contains("ignores the inputs") && text.contains(&format!("catch {catch} accepts that")), "{text}");
    }

    #[test]
    fn probes_save_copies_and_public_samples() {
        let policy = sighted();
        let (plain, probed) = (policy.plan(1, None).unwrap(), policy.plan_with_probes(1, None, 1000).unwrap());
        assert_eq!((probed.probes, policy.check(&probed)), (1000, Ok(())));
        assert!(probed.copies + probed.public < (plain.copies + plain.public) / 2, "{probed:?}");
        // Accuracy is no business of theirs, nor are blind servers.
        assert!(Policy::default().plan_with_probes(4, None, 1000).unwrap().public >= 40);
        let demands = Policy { catch: Some(0.1), ..policy };
        assert!(demands.plan_with_probes(4, None, 1000).unwrap().smallest_eps(CONFIDENCE).unwrap() <= 0.1);
        let error = policy.plan_with_probes(1, Some(0), 1000).unwrap_err();
        let (needed, demand) = (probed.public, Demand::Blind);
        assert_eq!(error, Infeasible::PublicSamples { available: 0, needed, demand, catch: None });
    }

    #[test]
    fn unmet_demands_are_named() {
        let batch = Batch { queries: 10, copies: 3, public: 40, tolerated: 4, probes: 0 };
        let default = sighted();
        let unmet = |policy: Policy| match policy.check(&batch) {
            Err(Infeasible::Unmet { demand, .. }) => Some(demand),
            other => panic!("{other:?}"),
        };
        let lax = Policy { lambda: 2.0, accuracy: 0.99, ..default };
        assert_eq!(lax.check(&batch), Ok(()));
        assert_eq!(unmet(Policy { lambda: 40.0, ..lax }), Some(Demand::Lambda));
        assert_eq!(unmet(Policy { catch: Some(0.1), ..lax }), Some(Demand::Catch));
        assert_eq!(unmet(Policy { largest_share: Some(0.9), ..lax }), Some(Demand::Blind));
        assert_eq!(unmet(Policy { accuracy: 0.8, ..lax }), Some(Demand::FalseReject));
        assert_eq!(unmet(Policy { tolerate: Some(3), ..lax }), Some(Demand::Tolerate));
        assert_eq!(Policy { tolerate: Some(5), accuracy: 0.2, ..lax }.check(&batch), Ok(()));
        assert_eq!(lax.check(&Batch { queries: 0, ..batch }), Err(Infeasible::Queries { queries: 0 }));
    }

    #[test]
    fn extreme_demands_are_errors() {
        let default = Policy::default();
        assert_eq!(default.plan(0, None), Err(Infeasible::Queries { queries: 0 }));
        assert!(matches!(default.plan(u64::MAX, None), Err(Infeasible::Queries { .. })));
        assert!(matches!(default.plan(1, Some(0)), Err(Infeasible::PublicSamples { available: 0, .. })));
        for lambda in [f64::NAN, f64::INFINITY, -1.0] {
            let result = Policy { lambda, ..default }.plan(3, None);
            assert!(matches!(result, Err(Infeasible::Range { name: "lambda", .. })), "{result:?}");
        }
        for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert!(matches!(policy(bad, None).plan(3, None), Err(Infeasible::Range { name: "accuracy", .. })));
            assert!(matches!(policy(1.0, Some(bad)).plan(3, None), Err(Infeasible::Range { name: "catch", .. })));
        }
        let result = Policy { lambda: 1e9, ..default }.plan(3, None);
        assert_eq!(result, Err(Infeasible::OutOfReach(Demand::Blind)));
        assert_eq!(
            policy(1.0, Some(0.0)).plan(3, None),
            Err(Infeasible::Indistinguishable { catch: 0.0, honest: 0.0 })
        );
        assert!(matches!(policy(0.76, Some(0.2)).plan(3, None), Err(Infeasible::Indistinguishable { .. })));
        let result = policy(0.76, Some(0.2401)).plan(3, None);
        assert_eq!(result, Err(Infeasible::OutOfReach(Demand::Catch)));
        let never = Policy { false_reject: 0.0, ..policy(0.9, None) };
        assert_eq!(never.plan(3, None), Err(Infeasible::OutOfReach(Demand::FalseReject)));
        assert!(matches!(Policy { copies: Some(0), ..default }.plan(3, None), Err(Infeasible::Range { .. })));
        assert_eq!(
            Policy { copies: Some(2), accuracy: 0.76, ..default }.plan(3, None),
            Err(Infeasible::OutOfReach(Demand::Lambda))
        );
        assert_eq!(Policy { lambda: 0.0, ..default }.plan(3, None).unwrap().positions(), 3);
        let big = Policy { lambda: 1000.0, ..default }.plan(1, None).unwrap();
        assert!(big.lambda_bits(1.0) >= 1000.0);
    }
}
