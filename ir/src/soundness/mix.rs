//! Tampering that is wrong only on some samples: `p_mix(d, eps)`.
//!
//! A server tampers at `d` fixed positions so that a sample's answer there is wrong with
//! probability `eps`, the same for all copies of a sample (another model, a constant label, a lazy
//! answer). With `r ~ Bin(R,eps)` queries, `t ~ Bin(T,eps)` public samples and `k ~ Bin(K,eps)`
//! probes that it is wrong on, `p_mix(d,eps) = E[ sum over c >= 1, j <= u of C(r,c) C(t,j)
//! C(N-rB-t-k, d-cB-j) / C(N,d) ]`.
//!
//! The sum has four indices. It is reckoned here as follows. Let every position be tampered with
//! independently with probability `q = d/N`; given that `d` are, they are a uniform set. Queries
//! and public samples are then independent, and with `x` marking a tampered position, one query
//! contributes `G = (1-eps) (1-q+qx)^B + eps (1-q)^B` if its copies agree on the right label and
//! `F = G + eps q^B x^B` if they agree. So `p_mix P[Bin(N,q) = d]` is the coefficient of `x^d` in
//! `(F^R - G^R) A(x) D(x)`, where `A(x) = sum over k of P[Bin(T,q) = k] P[Bin(k,eps) <= u] x^k` and
//! `D(x) = (1-q+(1-eps)qx)^K`: a probe that is tampered with must come out right. The difference is
//! carried through the powers by `F^2n - G^2n = (F^n - G^n) (F^n + G^n)`, so nothing is ever
//! subtracted.

use super::Batch;
use super::tails::{binomial, ln_binomial, margin};

/// Coefficients this far below a polynomial's largest are dropped, as are those that no float can
/// hold.
const NEGLIGIBLE: f64 = 1e-40;

impl Batch {
    /// `p_mix(d, eps)`: the probability that tampering at `hits` fixed positions, wrong on a
    /// fraction `eps` of the samples, gets at least one wrong label accepted. With `eps = 1` it is
    /// [`Batch::hit_probability`] of a model that is never wrong; with every position tampered with
    /// it is `(1 - (1-eps)^R) P[Bin(T,eps) <= u]`.
    ///
    /// Rounded up, by at most a relative `2^-18` and an absolute `1e-20` for `N` up to `4 * 10^6`.
    /// The time grows as `N`.
    pub fn mix_probability(&self, hits: u64, eps: f64) -> f64 {
        let positions = self.positions();
        if let Some(bound) = self.trivial() {
            return bound;
        }
        if hits == 0 || hits > positions || eps <= 0.0 {
            return 0.0;
        }
        let eps = eps.min(1.0);
        let q = hits as f64 / positions as f64;
        let wrong = some_wrong(self.queries, self.copies, eps, q);
        let known = self.known_right(eps, q);
        let accepted = wrong.terms().map(|(on_copies, weight)| weight * known.weight(hits.checked_sub(on_copies)));
        // Covers the three logarithms and a rounding in each of the multiplications that make up
        // the powers.
        let rounding = 4.0 * margin(positions);
        let conditional = accepted.sum::<f64>().ln() - ln_binomial(positions, q, hits);
        ((conditional + rounding).exp() + 1e-20).min(1.0)
    }

    /// `A(x) D(x)` of the module's doc.
    fn known_right(&self, eps: f64, q: f64) -> Polynomial {
        let public =
            (0..=self.public).map(|k| ln_binomial(self.public, q, k).exp() * binomial(k, eps, 0, self.tolerated));
        let public = Polynomial { start: 0, weights: public.collect() }.trimmed();
        let right = |k: u64| if k == 0 { 1.0 } else { (k as f64 * (-eps).ln_1p()).exp() };
        let probes = (0..=self.probes).map(|k| ln_binomial(self.probes, q, k).exp() * right(k));
        public.times(&Polynomial { start: 0, weights: probes.collect() }.trimmed())
    }
}

/// A polynomial with non-negative coefficients: that of `x^(start + i)` is `weights[i]`; never
/// empty.
#[derive(Clone)]
struct Polynomial {
    start: u64,
    weights: Vec<f64>,
}

/// `F^R - G^R` of the module's doc.
fn some_wrong(queries: u64, copies: u64, eps: f64, q: f64) -> Polynomial {
    let spread = (0..=copies).map(|k| ln_binomial(copies, q, k).exp());
    let mut right = Polynomial { start: 0, weights: spread.map(|mass| (1.0 - eps) * mass).collect() };
    right.weights[0] += eps * ln_binomial(copies, q, 0).exp();
    let wrong = Polynomial { start: copies, weights: vec![eps * ln_binomial(copies, q, copies).exp()] };
    let agree = right.plus(&wrong);

    let one = Polynomial { start: 0, weights: vec![1.0] };
    let (mut agree_power, mut right_power) = (one.clone(), one);
    let mut difference = Polynomial { start: 0, weights: vec![0.0] };
    for bit in (0..=queries.ilog2()).rev() {
        difference = difference.times(&agree_power.plus(&right_power));
        if bit == 0 && queries.is_multiple_of(2) {
            // The powers themselves are not needed any more.
            break;
        }
        agree_power = agree_power.times(&agree_power);
        right_power = right_power.times(&right_power);
        if queries >> bit & 1 == 1 {
            difference = difference.times(&agree).plus(&right_power.times(&wrong));
            agree_power = agree_power.times(&agree);
            right_power = right_power.times(&right);
        }
    }
    difference
}

impl Polynomial {
    /// Exponents and coefficients.
    fn terms(&self) -> impl Iterator<Item = (u64, f64)> {
        (self.start..).zip(self.weights.iter().copied())
    }

    /// The coefficient of `x^exponent`; 0 for none.
    fn weight(&self, exponent: Option<u64>) -> f64 {
        let index = exponent.and_then(|exponent| usize::try_from(exponent.checked_sub(self.start)?).ok());
        index.and_then(|index| self.weights.get(index)).copied().unwrap_or(0.0)
    }

    fn plus(&self, other: &Polynomial) -> Polynomial {
        let start = self.start.min(other.start);
        let end = |p: &Polynomial| p.start + p.weights.len() as u64;
        let mut weights = vec![0.0; (end(self).max(end(other)) - start) as usize];
        for p in [self, other] {
            for (sum, weight) in weights[(p.start - start) as usize..].iter_mut().zip(&p.weights) {
                *sum += weight;
            }
        }
        Polynomial { start, weights }.trimmed()
    }

    fn times(&self, other: &Polynomial) -> Polynomial {
        let (long, short) = if self.weights.len() < other.weights.len() { (other, self) } else { (self, other) };
        let mut weights = vec![0.0; long.weights.len() + short.weights.len() - 1];
        for (i, &factor) in short.weights.iter().enumerate() {
            for (sum, weight) in weights[i..].iter_mut().zip(&long.weights) {
                *sum += factor * weight;
            }
        }
        Polynomial { start: self.start + other.start, weights }.trimmed()
    }

    /// Without the negligible coefficients at both ends.
    fn trimmed(mut self) -> Polynomial {
        let largest = self.weights.iter().copied().fold(0.0, f64::max);
        let floor = (largest * NEGLIGIBLE).max(1e-280);
        let end = self.weights.iter().rposition(|&weight| weight >= floor).map_or(1, |last| last + 1);
        self.weights.truncate(end);
        let dropped = self.weights.iter().position(|&weight| weight >= floor).unwrap_or(0);
        self.weights.drain(..dropped);
        self.start += dropped as u64;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soundness::tails::ln_choose;

    fn choose(n: u64, k: i64) -> f64 {
        u64::try_from(k).map_or(0.0, |k| ln_choose(n, k).exp())
    }

    /// The definition, term by term.
    fn definition(b: Batch, hits: u64, eps: f64) -> f64 {
        let (positions, mut sum) = (b.positions(), 0.0);
        let wrong = |r: u64, t: u64, k: u64| {
            let free = positions - r * b.copies - t - k;
            let pairs = (1..=r).flat_map(|c| (0..=t.min(b.tolerated)).map(move |j| (c, j)));
            let ways = |(c, j)| {
                choose(r, c as i64) * choose(t, j as i64) * choose(free, hits as i64 - (c * b.copies + j) as i64)
            };
            pairs.map(ways).sum::<f64>()
        };
        let mass = |n, k| ln_binomial(n, eps, k).exp();
        for r in 0..=b.queries {
            for t in 0..=b.public {
                for k in 0..=b.probes {
                    sum += mass(b.queries, r) * mass(b.public, t) * mass(b.probes, k) * wrong(r, t, k);
                }
            }
        }
        sum / choose(positions, hits as i64)
    }

    #[test]
    fn matches_the_definition() {
        let shapes =
            [(1, 1, 0, 0), (1, 3, 4, 1), (2, 2, 12, 6), (4, 1, 12, 9), (3, 4, 5, 0), (7, 3, 9, 2), (12, 2, 10, 3)];
        for ((queries, copies, public, tolerated), probes) in
            shapes.into_iter().flat_map(|shape| [0, 1, 4].map(|k| (shape, k)))
        {
            let b = Batch { queries, copies, public, tolerated, probes };
            for eps in [0.0, 0.03, 0.4, 0.9, 1.0] {
                for hits in 0..=b.positions() + 1 {
                    let truth = if hits > b.positions() { 0.0 } else { definition(b, hits, eps) };
                    let p = b.mix_probability(hits, eps);
                    assert!((p - truth).abs() <= 1e-11 * truth + 1e-19, "{b:?} {hits} {eps}: {p} {truth}");
                    assert!(p >= truth * (1.0 - 1e-11));
                }
            }
        }
    }

    #[test]
    fn certain_errors_are_hits_and_hitting_all_is_two_independent_checks() {
        for (queries, copies, public, tolerated) in [(40, 3, 30, 4), (1, 20, 25, 3), (200, 2, 50, 10), (1024, 5, 12, 1)]
        {
            let b = Batch { queries, copies, public, tolerated, probes: 0 };
            for hits in [1, copies, copies + tolerated, 3 * copies + 1, b.positions() / 2, b.positions() - 2] {
                let (mix, hit) = (b.mix_probability(hits, 1.0), b.hit_probability(hits, 1.0));
                assert!((mix - hit).abs() <= 1e-8 * hit + 1e-19, "{b:?} {hits}: {mix} {hit}");
            }
            for eps in [1e-4, 0.01, 0.3, 0.8] {
                let all = b.mix_probability(b.positions(), eps);
                let expected = (1.0 - (1.0 - eps).powi(queries as i32)) * b.pass_probability(eps);
                assert!((all - expected).abs() <= 1e-8, "{b:?} {eps}: {all} {expected}");
                let probed = Batch { probes: 9, ..b };
                let (all, expected) = (probed.mix_probability(probed.positions(), eps), expected * (1.0 - eps).powi(9));
                assert!((all - expected).abs() <= 1e-8, "{probed:?} {eps}: {all} {expected}");
            }
        }
    }

    #[test]
    fn large_batches_and_worthless_ones() {
        let b = Batch { queries: 100_000, copies: 4, public: 300, tolerated: 20, probes: 0 };
        // Lightly wrong everywhere: consistent, and the accuracy check alone stands in the way.
        let p = b.mix_probability(b.positions(), 0.05);
        assert!((p - b.pass_probability(0.05)).abs() < 1e-6);
        // Half of the positions: some of the many wrong queries disagree.
        assert!(b.mix_probability(b.positions() / 2, 0.05) < 1e-15);
        assert_eq!(Batch { queries: 0, ..b }.mix_probability(3, 0.5), 0.0);
        assert_eq!(Batch { copies: 0, ..b }.mix_probability(3, 0.5), 1.0);
        assert_eq!(b.mix_probability(u64::MAX, 0.5), 0.0);
        assert_eq!(b.mix_probability(7, -1.0), 0.0);
    }
}
