//! Position consistency: the probability that a server which relabels fixed positions has a wrong
//! label accepted.
//!
//! A position is *hit* if its answer differs from the honest model's on every sample. Where the
//! honest model is wrong on a public sample, the answer at a hit position may be the right one, so
//! of `j` hit public samples only those count as errors on which the model is right: `Bin(j, a)` of
//! them, `a` being its accuracy. With `G(j) = P[Bin(j, a) <= u]`, a server that hits `d` fixed
//! positions and answers the others as the model does gets a label accepted that is not the model's
//! with probability at most
//!
//! `p(d; a) = sum of C(R,c) C(T,j) G(j) / C(N,d)` over `c >= 1`, `c B + j = d`.
//!
//! A server may also answer differently, or better, where the model is wrong: only the queries that
//! the model gets right guard the rest then. Given those, say `r` queries and `k` probes, and what
//! is hit of the others, the remaining hits are a uniform placement in a batch of `r` queries and
//! `k` probes. So a query that the model gets right is accepted with another label with probability
//! at most `P(r, k) = max over d of p(d; a)`. With `Q(r, k) = max over r' >= r of P(r', k)`, which
//! falls in `r` and `k`, and `Q(0, k) = Q(1, k)`, the bound of a batch is `E Q(r, k)` over
//! `r ~ Bin(R, a)` and `k ~ Bin(K, a)`. It is at least `P(R, K)`, is `P(R, K)` for `a = 1`, and
//! only falls where the model is better than claimed.
//!
//! The same argument bounds one label that is *forced* at fixed positions. If it is the truth on a
//! share `s` of inputs at most, the queries that guard are those that the model gets right with
//! another label, `a - s` of all, and a hit public sample is an error unless that label is its own:
//! `G(j) = P[Bin(j, 1 - s) <= u]`.

use std::f64::consts::LN_2;

use super::Batch;
use super::tails::{first, ln_binomial_sum, ln_choose, ln_sum, margin};

/// Numbers of queries that the model gets right are taken together where they differ by no more
/// than one part in this many: `P(r') <= (r'/r) P(r)` for `r' >= r`.
const BLOCK: u64 = 64;
/// Summands smaller by this factor, in the logarithm, are not looked at closely.
const NEGLIGIBLE: f64 = 30.0 * LN_2;

impl Batch {
    /// `p(d; a)`: an upper bound on the probability that a server which hits `hits` fixed
    /// positions, and is the honest model elsewhere, has a label accepted that is not the model's;
    /// in `0..=1`. `accuracy` is the model's.
    pub fn hit_probability(&self, hits: u64, accuracy: f64) -> f64 {
        match self.trivial() {
            Some(bound) => bound,
            None => probability(Relabelled::new(*self, &self.unnoticed(accuracy)).ln_hit(hits, f64::NEG_INFINITY)),
        }
    }

    /// The number of hits `d` that serves a server best, and an upper bound on `p(d; a)`, which
    /// then holds for every number of hits. No queries: `(0, 0)`.
    pub fn worst_hit(&self, accuracy: f64) -> (u64, f64) {
        match self.trivial() {
            Some(bound) => (0, bound),
            None => {
                let (hits, ln) = Relabelled::new(*self, &self.unnoticed(accuracy)).ln_worst(f64::NEG_INFINITY);
                (hits, probability(Some(ln)))
            }
        }
    }

    /// `-log2` of an upper bound, for every number of hits, on the probability that a query which
    /// the model gets right is accepted with another label, of a server that never gives the
    /// model's label at the positions it hits, and is as good as the model or better at the others.
    /// `accuracy` is the model's, at least. Rounded down; 0 at least, infinite without queries.
    pub fn lambda_bits(&self, accuracy: f64) -> f64 {
        self.bits(accuracy, accuracy)
    }

    /// [`Batch::lambda_bits`] of a server that gives one label at the positions it hits, which is
    /// right on a share of at most `share` of all inputs.
    pub fn forced_bits(&self, accuracy: f64, share: f64) -> f64 {
        self.bits((accuracy - share).max(0.0), 1.0 - share)
    }

    /// The bound where a query guards the rest with probability `guards`, and a hit public sample
    /// is an error with probability `errors`.
    fn bits(&self, guards: f64, errors: f64) -> f64 {
        let ln = match self.trivial() {
            Some(bound) => bound.ln(),
            None => self.ln_mean(guards, &self.unnoticed(errors), f64::INFINITY),
        };
        (-ln / LN_2).max(0.0)
    }

    /// Whether [`Batch::lambda_bits`] is at least `lambda_bits`; not if that is no number.
    pub fn reaches(&self, lambda_bits: f64, accuracy: f64) -> bool {
        if lambda_bits <= 0.0 {
            return true;
        }
        if let Some(bound) = self.trivial() {
            return bound == 0.0;
        }
        if lambda_bits.is_nan() {
            return false;
        }
        let (limit, unnoticed) = (-lambda_bits * LN_2, self.unnoticed(accuracy));
        let exact = Relabelled::new(*self, &unnoticed).within(limit);
        exact && (accuracy >= 1.0 || self.ln_mean(accuracy, &unnoticed, limit) <= limit)
    }

    /// `ln G(j)` for `j = 0 ..= T`, as far as they are finite.
    fn unnoticed(&self, accuracy: f64) -> Vec<f64> {
        let ln = |j| ln_binomial_sum(j, accuracy, 0, self.tolerated);
        (0..=self.public).map(ln).take_while(|ln| ln.is_finite()).collect()
    }

    /// `ln E Q(r, k)` for `r ~ Bin(R, accuracy)`, `k ~ Bin(K, accuracy)`, rounded up; or some
    /// larger number than `limit` if it exceeds that. Fewer probes than some number are so rare
    /// that `Q = 1` may be taken there.
    fn ln_mean(&self, accuracy: f64, unnoticed: &[f64], limit: f64) -> f64 {
        if accuracy >= 1.0 {
            return Relabelled::new(*self, unnoticed).ln_worst(f64::NEG_INFINITY).1;
        }
        let with = |probes: u64| Batch { probes, ..*self }.ln_mean_queries(accuracy, unnoticed, limit);
        if self.probes == 0 {
            return with(0);
        }
        let fewer = |probes: u64| ln_binomial_sum(self.probes, accuracy, 0, probes);
        let credited = |rare: f64| first(0, self.probes, |probes| fewer(probes) > rare).unwrap_or(self.probes);
        let target = if limit.is_finite() { limit } else { with(credited(-NEGLIGIBLE)) };
        let probes = credited(target - NEGLIGIBLE);
        let rest = if probes == 0 { f64::NEG_INFINITY } else { fewer(probes - 1) };
        ln_add(with(probes), rest)
    }

    /// `ln E Q(r, K)`, as [`Batch::ln_mean`]: from `R` downwards by blocks, each with its
    /// probability and the bound at its lower end, until what is left counts for nothing even with
    /// `Q = 1`.
    fn ln_mean_queries(&self, accuracy: f64, unnoticed: &[f64], limit: f64) -> f64 {
        let queries = self.queries;
        let deviation = (queries as f64 * accuracy * (1.0 - accuracy)).sqrt();
        let usual = (queries as f64 * accuracy + 3.0 * deviation) as u64;
        let (mut most, mut worst, mut total) = (queries, f64::NEG_INFINITY, f64::NEG_INFINITY);
        loop {
            // Blocks are wider where hardly anything is in them; few queries are taken one by one.
            let width = if most > usual { (most / 8).min(most - usual) } else { most / BLOCK };
            let least = if queries <= BLOCK { most } else { (most - width).max(1) };
            let mass = ln_binomial_sum(queries, accuracy, least, most);
            // Bounds this much smaller than the sum so far, or than the limit, are as good as
            // larger ones.
            let enough = if limit.is_finite() { total.max(limit) } else { total };
            let excess = (most as f64 / least as f64).ln();
            let floor = (worst - excess).max(enough - NEGLIGIBLE);
            let block = Relabelled::new(Batch { queries: least, ..*self }, unnoticed);
            worst = (block.ln_worst(floor).1 + excess).min(0.0);
            total = ln_add(total, mass + worst);
            most = least - 1;
            let rest = ln_binomial_sum(queries, accuracy, 0, most);
            if total > limit || least == 1 {
                return ln_add(total, rest + worst);
            }
            if rest <= total - NEGLIGIBLE {
                return ln_add(total, rest);
            }
        }
    }
}

/// `ln (exp(a) + exp(b))`, rounded up.
fn ln_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    match large {
        f64::NEG_INFINITY => large,
        _ => large + (small - large).exp().ln_1p() + (1.0 + large.abs()) * 2f64.powi(-50),
    }
}

/// A batch against servers that are the honest model where they do not hit.
struct Relabelled<'a> {
    batch: Batch,
    /// `ln G(j)`, falling in `j` and log-concave: `G(j)` is the chance that `u + 1` successes take
    /// more than `j` trials.
    unnoticed: &'a [f64],
}

impl<'a> Relabelled<'a> {
    fn new(batch: Batch, unnoticed: &'a [f64]) -> Relabelled<'a> {
        Relabelled { batch, unnoticed }
    }

    /// `ln p(d; a)` rounded up, or `None` if it is at most `floor`.
    fn ln_hit(&self, hits: u64, floor: f64) -> Option<f64> {
        self.ln_accepted(hits, 1, floor)
    }

    /// The same with at least `complete` queries hit on all copies; with 0, also those batches in
    /// which none is.
    ///
    /// In `c` the terms `C(R,c) C(T,d-cB) G(d-cB)` are log-concave: the ratio of neighbours is
    /// `(R-c)/(c+1)` times a product of `B` factors `(j-i)/(T-j+i+1)` and `G(j-B)/G(j)`, and all of
    /// them fall as `c` grows and `j` falls.
    fn ln_accepted(&self, hits: u64, complete: u64, floor: f64) -> Option<f64> {
        let Batch { queries, copies, public, .. } = self.batch;
        let most_public = self.unnoticed.len() as u64 - 1;
        let least = hits.saturating_sub(most_public).div_ceil(copies).max(complete);
        let most = (hits / copies).min(queries);
        let (positions, margin) = (self.batch.positions(), margin(self.batch.positions()));
        let ways = ln_choose(positions, hits);
        let floor = floor + ways - margin;
        let ln_term = |c: u64| {
            let j = hits - c * copies;
            ln_choose(queries, c) + ln_choose(public, j) + self.unnoticed[j as usize]
        };
        let ln = ln_sum(least, most, floor, ln_term)?;
        Some((ln - ways + margin).min(0.0))
    }

    /// Whether `p(d; a) <= exp(limit)` for every `d`.
    fn within(&self, limit: f64) -> bool {
        let exceeds = |hits: u64| self.ln_hit(hits, limit).is_some();
        !self.likely().into_iter().any(exceeds) && !self.candidates(limit).any(exceeds)
    }

    /// `max over d` of `ln p(d; a)`, rounded up, with the `d`; not less than `floor`.
    fn ln_worst(&self, floor: f64) -> (u64, f64) {
        let raise = |worst: (u64, f64), hits| self.ln_hit(hits, worst.1).map_or(worst, |ln| (hits, ln));
        let worst = self.likely().into_iter().fold((self.batch.copies, floor), raise);
        self.candidates(worst.1).fold(worst, raise)
    }

    /// Likely worst cases: one query or all, with no public sample, the tolerated number, or all.
    fn likely(&self) -> [u64; 6] {
        let Batch { queries, copies, public, tolerated, .. } = self.batch;
        let (all, tolerated) = (queries * copies, tolerated.min(public));
        [copies, copies + tolerated, all, all + tolerated, all + public, copies + 1]
    }

    /// Numbers of hits that contain every `d` with `ln p(d; a) > floor`.
    ///
    /// `p(d; a)` is the mean of `h(c) G(j)`, `h(c) = C(R,c) / C(RB,cB)`, over the hypergeometric
    /// number of hits on copies, restricted to the terms of the sum, so at most the largest
    /// `h(c) G(j)` there. `h(c+1)/h(c)` is the product of `(cB+i)/((R-c)B-i)` over `0 < i < B`,
    /// which grows with `c`: `h` is log-convex, symmetric, and on `m ..= R-m` at most `h(m)`. With
    /// the first `m` that has `h(m) <= exp(floor)`, all that remains is `d` with some `c < m` or
    /// some `c > R-m`, and a `j` with `G(j) > exp(floor)`. For `B = 1`, `h` is 1 and says nothing,
    /// but there `p(d; a)` is at most the probability that nothing is noticed, whether or not a
    /// query is hit, and that falls with `d`.
    fn candidates(&self, floor: f64) -> Box<dyn Iterator<Item = u64> + '_> {
        let Batch { queries, copies, .. } = self.batch;
        let unnoticed = self.unnoticed.partition_point(|ln| *ln > floor) as u64;
        let end = queries * copies + unnoticed;
        if copies == 1 {
            return Box::new((1..end).take_while(move |hits| self.ln_accepted(*hits, 0, floor).is_some()));
        }
        let margin = margin(self.batch.positions());
        let small = |c: u64| ln_choose(queries, c) - ln_choose(queries * copies, c * copies) + margin <= floor;
        match first(1, queries / 2, small) {
            Some(m) => {
                let left_end = ((m - 1) * copies + unnoticed).min(end);
                let right_start = (queries - m + 1) * copies;
                Box::new((copies..left_end).chain(right_start.max(left_end)..end))
            }
            None => Box::new(copies..end),
        }
    }
}

/// The probability of this logarithm, never rounded to zero by underflow.
fn probability(ln: Option<f64>) -> f64 {
    match ln {
        None | Some(f64::NEG_INFINITY) => 0.0,
        Some(ln) => ln.exp().clamp(f64::MIN_POSITIVE, 1.0),
    }
}

#[cfg(test)]
mod tests;
