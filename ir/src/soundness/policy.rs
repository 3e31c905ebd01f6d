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
    /// Accuracy: a server that is wrong on this fraction of the distribution is caught with
    /// probability [`CONFIDENCE`]; in `0..=1`, more than `1 - accuracy`. `None` demands instead
    /// that a blind server, whose answers do not depend on the input, passes with probability at
    /// most `2^-lambda`.
    pub catch: Option<f64>,
    /// The largest share of a label in the distribution, in `0..=1`: what a blind server is right
    /// on at most. [`largest_share`](super::largest_share) bounds it from labels; `None` is one
    /// half, two balanced classes.
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
    /// `lambda` 40, false rejects 1 %, and a model that is never wrong: no public error is
    /// tolerated.
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
    /// No batch of at most [`MAX_COPIES`] copies and [`MAX_PUBLIC`] public samples meets the
    /// demand.
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
    /// The cheapest batch, in positions `R B + T`, for `queries` queries and at most
    /// `public_available` public samples (`None`: as many as needed) that meets all demands
    /// together. Of equally cheap batches the one with the most public samples, since those prove
    /// accuracy too.
    ///
    /// # Errors
    /// All of [`Infeasible`] but `Unmet`: what cannot be met, and where more public samples would
    /// do, how many.
    pub fn plan(&self, queries: u64, public_available: Option<u64>) -> Result<Batch, Infeasible> {
        self.plan_with_probes(queries, public_available, 0)
    }

    /// [`Policy::plan`] for a batch that holds `probes` known-answer probes besides: the more there
    /// are, the fewer copies and public samples `lambda` needs. Some public sample stays, and not
    /// every error is tolerated: probes alone would say nothing about accuracy.
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
        // What public samples alone must do, whatever the probes: not every error is tolerated,
        // which would prove nothing, and relabelling everything is noticed.
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

    /// Whether a given batch meets the demands; `copies` is none, it only shapes plans. Fewer
    /// tolerated errors than `tolerate` are fine.
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

    /// `u` for `public` public samples: `tolerate`, or the least that rejects an honest server
    /// rarely enough.
    pub fn tolerated(&self, public: u64) -> u64 {
        let rare = |u: u64| binomial(public, 1.0 - self.accuracy, u + 1, public) <= self.false_reject;
        self.tolerate.unwrap_or_else(|| first(0, public, rare).unwrap_or(public))
    }

    /// How often a label that is not the model's is an error: as often as the model is right.
    fn right(&self) -> f64 {
        if cfg!(fusion_ablate = "without-relabelling") { 1.0 } else { self.accuracy }
    }

    /// The largest share of a label that is reckoned with.
    pub fn share(&self) -> f64 {
        self.largest_share.unwrap_or(0.5)
    }

    /// Whether a batch's public samples meet the demand on accuracy: `catch`, or blind servers.
    fn accurate(&self, batch: &Batch) -> bool {
        match self.catch {
            Some(catch) => batch.pass_probability(catch) <= 1.0 - CONFIDENCE,
            None => cfg!(fusion_ablate = "without-blind") || batch.blind_bits(self.share()) >= self.lambda,
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

    /// The cheapest batch with `least` to `available` public samples, looked for under a budget of
    /// positions that doubles, so that no shape is examined that is much dearer than the answer.
    /// Probes do not count: there is no choice.
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
    /// A batch that reaches lambda still does with one copy more of each query: whatever is hit
    /// among the new copies, the rest is a batch of the old shape. So the least `T` only grows as
    /// the copies get fewer, and every search starts where the one before ended.
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

    /// The least `T` in `least ..= most`, with its `u`, that meets the demand on accuracy,
    /// `false_reject` and `reaches`.
    ///
    /// For a fixed `u`, a batch that reaches lambda still does with one public sample more: if the
    /// server hits that one, it does with the rest no better than with one hit fewer and no more
    /// tolerated, else no better than before. So for a fixed `u` there is a least `T`, it grows
    /// with `u`, and the least `u` grows with `T`: going to and fro between the two from below ends
    /// at the least pair that satisfies both, if there is one.
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
            ". They do to catch a server that is wrong on {:.1} % of inputs with 99 %, and nothing less: \
             `catch` {catch} accepts that",
            100.0 * catch
        ),
        None => String::new(),
    }
}

fn hint(demand: Demand) -> &'static str {
    match demand {
        Demand::Blind => {
            ": one label is so frequent that giving it always is right about as often as the honest model. Choose \
             an error rate to be told apart instead, with `catch`"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
