//! A batch's shape, and what its accuracy check alone says.

use serde::{Deserialize, Serialize};

use std::f64::consts::LN_2;

use super::tails::{binomial, ln_binomial_sum};

/// The largest batch that is reckoned with; a larger one is given no credit at all.
pub const MAX_POSITIONS: u64 = 1 << 32;
/// The most public samples that a batch is given credit for.
const MAX_CREDIT: u64 = 1 << 20;

/// The shape of a verified batch. Any numbers are allowed: what proves nothing is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// `R`, queries.
    pub queries: u64,
    /// `B`, copies of each query.
    pub copies: u64,
    /// `T`, public samples.
    pub public: u64,
    /// `u`, wrong public answers that the client still accepts.
    pub tolerated: u64,
    /// `K`, known-answer probes: earlier queries with the labels they were accepted with. None may
    /// be wrong.
    pub probes: u64,
}

impl Batch {
    /// `N = R B + T + K`, what the batch costs; saturating.
    pub fn positions(&self) -> u64 {
        self.queries.saturating_mul(self.copies).saturating_add(self.public).saturating_add(self.probes)
    }

    /// `P[Bin(T, eps) <= u]`, rounded up: the probability that a server which is wrong on a
    /// fraction `eps` of the distribution passes the accuracy check. `eps` outside `0..=1` counts
    /// as the nearer end.
    pub fn pass_probability(&self, eps: f64) -> f64 {
        binomial(self.public, eps, 0, self.tolerated)
    }

    /// `-log2` of [`Batch::pass_probability`], rounded down, also where that is below the smallest
    /// float; infinite where it is zero.
    pub fn pass_bits(&self, eps: f64) -> f64 {
        (-ln_binomial_sum(self.public, eps, 0, self.tolerated) / LN_2).max(0.0)
    }

    /// `P[Bin(T, 1 - accuracy) > u]`, rounded up: the probability that an honest server of that
    /// accuracy is rejected.
    pub fn false_reject(&self, accuracy: f64) -> f64 {
        binomial(self.public, 1.0 - accuracy, self.tolerated.saturating_add(1), self.public)
    }

    /// The smallest error rate `eps` that the accuracy check catches with probability `confidence`,
    /// that is with `P[Bin(T, eps) <= u] <= 1 - confidence`, rounded up by at most `2^-40`. `None`
    /// if `u >= T`: then it catches nothing.
    pub fn smallest_eps(&self, confidence: f64) -> Option<f64> {
        if self.tolerated >= self.public {
            return None;
        }
        let (mut missed, mut caught) = (0.0, 1.0);
        while caught - missed > 2f64.powi(-40) {
            let eps = 0.5 * (missed + caught);
            if self.pass_probability(eps) <= 1.0 - confidence { caught = eps } else { missed = eps }
        }
        Some(caught)
    }

    /// The probability that a *blind* server passes the accuracy check, rounded up: one whose
    /// answers do not depend on the sample (one label for all, random labels), so that it is right
    /// on at most `share` of the distribution, the largest share that a label has there.
    pub fn blind_probability(&self, share: f64) -> f64 {
        self.pass_probability(1.0 - share)
    }

    /// `-log2` of [`Batch::blind_probability`], as [`Batch::pass_bits`].
    pub fn blind_bits(&self, share: f64) -> f64 {
        self.pass_bits(1.0 - share)
    }

    /// The bound on `p` for shapes that the formula is not meant for: without queries nothing can
    /// go wrong; without copies, or beyond [`MAX_POSITIONS`] and 2^20 public samples, nothing is
    /// promised.
    pub(super) fn trivial(&self) -> Option<f64> {
        match self {
            Batch { queries: 0, .. } => Some(0.0),
            Batch { copies: 0, .. } => Some(1.0),
            _ => (self.positions() > MAX_POSITIONS || self.public > MAX_CREDIT).then_some(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(public: u64, tolerated: u64) -> Batch {
        Batch { queries: 1, copies: 1, public, tolerated, probes: 0 }
    }

    #[test]
    fn accuracy_check() {
        let b = batch(4, 0);
        let eps = b.smallest_eps(0.99).unwrap();
        assert!((eps - (1.0 - 0.01f64.powf(0.25))).abs() < 1e-9);
        assert!(b.pass_probability(eps) <= 0.01);
        assert!((b.false_reject(0.9) - (1.0 - 0.9f64.powi(4))).abs() < 1e-12);
        assert_eq!(b.false_reject(1.0), 0.0);
        assert_eq!(batch(3, 3).smallest_eps(0.99), None);
        assert_eq!(batch(3, 3).false_reject(0.0), 0.0);
    }

    #[test]
    fn blind_servers_pass_as_often_as_their_label_is_right() {
        assert!((batch(40, 0).blind_probability(0.5) - 2f64.powi(-40)).abs() < 1e-20);
        assert!((batch(5000, 0).blind_bits(0.5) - 5000.0).abs() < 1e-6);
        assert_eq!(batch(3, 0).blind_bits(0.0), f64::INFINITY);
        assert_eq!(batch(3, 0).blind_probability(1.0), 1.0);
        assert_eq!(batch(3, 0).blind_probability(0.0), 0.0);
    }
}
