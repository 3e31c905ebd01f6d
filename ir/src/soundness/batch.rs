//! A batch's shape, and the probability that a wrong label in it goes unseen.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use super::tails::{binomial, first, ln_choose, ln_sum, margin};

/// The largest batch that is reckoned with; a larger one is given no credit at all.
pub const MAX_POSITIONS: u64 = 1 << 32;

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
    /// `K`, known-answer probes: earlier queries with the labels they were accepted with. None may be wrong.
    pub probes: u64,
}

impl Batch {
    /// `N = R B + T + K`, what the batch costs; saturating.
    pub fn positions(&self) -> u64 {
        self.queries.saturating_mul(self.copies).saturating_add(self.public).saturating_add(self.probes)
    }

    /// `p(d)`: an upper bound on the probability that a server which hits `d` fixed positions has a wrong label
    /// accepted, in `0..=1`.
    pub fn hit_probability(&self, hits: u64) -> f64 {
        match self.trivial() {
            Some(bound) => bound,
            None => probability(self.ln_hit(hits, f64::NEG_INFINITY)),
        }
    }

    /// The number of hits `d` that serves a server best, and an upper bound on `p(d)`, which then holds for every
    /// number of hits. No queries: `(0, 0)`.
    pub fn worst_hit(&self) -> (u64, f64) {
        let (hits, ln) = self.ln_worst();
        (hits, probability(Some(ln)))
    }

    /// `-log2` of [`Batch::worst_hit`]'s probability, rounded down; 0 at least, infinite without queries.
    pub fn lambda_bits(&self) -> f64 {
        (-self.ln_worst().1 / LN_2).max(0.0)
    }

    /// Whether `p(d) <= 2^-lambda` for every `d`; not if `lambda_bits` is no number.
    pub fn reaches(&self, lambda_bits: f64) -> bool {
        if lambda_bits <= 0.0 {
            return true;
        }
        if let Some(bound) = self.trivial() {
            return bound == 0.0;
        }
        if lambda_bits.is_nan() {
            return false;
        }
        let limit = -lambda_bits * LN_2;
        let exceeds = |hits: u64| self.ln_hit(hits, limit).is_some();
        !self.likely().into_iter().any(exceeds) && !self.candidates(limit).any(exceeds)
    }

    /// `P[Bin(T, eps) <= u]`, rounded up: the probability that a server which is wrong on a fraction `eps` of the
    /// distribution passes the accuracy check. `eps` outside `0..=1` counts as the nearer end.
    pub fn pass_probability(&self, eps: f64) -> f64 {
        binomial(self.public, eps, 0, self.tolerated)
    }

    /// `P[Bin(T, 1 - accuracy) > u]`, rounded up: the probability that an honest server of that accuracy is rejected.
    pub fn false_reject(&self, accuracy: f64) -> f64 {
        binomial(self.public, 1.0 - accuracy, self.tolerated.saturating_add(1), self.public)
    }

    /// The smallest error rate `eps` that the accuracy check catches with probability `confidence`, that is with
    /// `P[Bin(T, eps) <= u] <= 1 - confidence`, rounded up by at most `2^-40`. `None` if `u >= T`: then it catches nothing.
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

    /// The bound on `p` for shapes that the formula is not meant for: without queries nothing can go wrong; without
    /// copies, or beyond [`MAX_POSITIONS`], nothing is promised.
    pub(super) fn trivial(&self) -> Option<f64> {
        match self {
            Batch { queries: 0, .. } => Some(0.0),
            Batch { copies: 0, .. } => Some(1.0),
            _ => (self.positions() > MAX_POSITIONS).then_some(1.0),
        }
    }

    /// `ln p(d)` rounded up, or `None` if it is at most `floor`.
    ///
    /// In `c` the terms `C(R,c) C(T,d-cB)` are log-concave: the ratio of neighbours is
    /// `(R-c)/(c+1)` times a product of `B` factors `(j-i)/(T-j+i+1)`, and all of them fall as `c` grows and `j` falls.
    fn ln_hit(&self, hits: u64, floor: f64) -> Option<f64> {
        let Batch { queries, copies, public, .. } = *self;
        let (least, most) = self.complete(hits);
        let (positions, margin) = (self.positions(), margin(self.positions()));
        let ways = ln_choose(positions, hits);
        let floor = floor + ways - margin;
        let ln_term = |c: u64| ln_choose(queries, c) + ln_choose(public, hits - c * copies);
        let ln = ln_sum(least, most, floor, ln_term)?;
        Some((ln - ways + margin).min(0.0))
    }

    /// How many queries can be wholly among `hits` hits with the rest on tolerated public samples: least and most,
    /// empty if least exceeds most.
    fn complete(&self, hits: u64) -> (u64, u64) {
        let least = hits.saturating_sub(self.tolerated.min(self.public)).div_ceil(self.copies);
        (least.max(1), (hits / self.copies).min(self.queries))
    }

    /// `max over d` of `ln p(d)`, rounded up, with the `d`.
    fn ln_worst(&self) -> (u64, f64) {
        if let Some(bound) = self.trivial() {
            return (0, bound.ln());
        }
        let raise = |worst: (u64, f64), hits| self.ln_hit(hits, worst.1).map_or(worst, |ln| (hits, ln));
        let worst = self.likely().into_iter().fold((self.copies, f64::NEG_INFINITY), raise);
        self.candidates(worst.1).fold(worst, raise)
    }

    /// Likely worst cases: one query or all, with none or all of the tolerated errors.
    fn likely(&self) -> [u64; 4] {
        let (one, all, tolerated) = (self.copies, self.queries * self.copies, self.tolerated.min(self.public));
        [one, one + tolerated, all, all + tolerated]
    }

    /// Numbers of hits that contain every `d` with `ln p(d) > floor`.
    ///
    /// `p(d)` is the mean of `h(c) = C(R,c) / C(RB,cB)` over the hypergeometric number of hits on copies, restricted
    /// to the `c` of [`Batch::complete`] and to no hit on a probe, so at most the largest `h` there. `h(c+1)/h(c)` is the product of
    /// `(cB+i)/((R-c)B-i)` over `0 < i < B`, which grows with `c`: `h` is log-convex, symmetric, and on `m ..= R-m` at
    /// most `h(m)`. With the first `m` that has `h(m) <= exp(floor)`, all that remains is `d` with some `c < m` or some
    /// `c > R-m`. For `B = 1`, `h` is 1 and says nothing, but there `p(d)` is the probability that at most `u` public
    /// samples are hit, which falls with `d`, less that of no hit on a query, which is none once `d > u`, and for
    /// `d <= u` it is the probability of any hit on a query, which grows with `d` and at `u + 1` is larger still:
    /// the worst is `d = u + 1`. With probes it falls all the same once
    /// `d > u`, but for `d <= u` it may do either, so all of these are tried.
    fn candidates(&self, floor: f64) -> impl Iterator<Item = u64> + use<> {
        let Batch { queries, copies, .. } = *self;
        let tolerated = self.tolerated.min(self.public);
        if copies == 1 {
            let start = if self.probes == 0 { tolerated + 1 } else { 1 };
            return (start..tolerated + 2).chain(0..0);
        }
        let margin = margin(self.positions());
        let small = |c: u64| ln_choose(queries, c) - ln_choose(queries * copies, c * copies) + margin <= floor;
        let end = queries * copies + tolerated + 1;
        match first(1, queries / 2, small) {
            Some(m) => {
                let left_end = ((m - 1) * copies + tolerated + 1).min(end);
                let right_start = (queries - m + 1) * copies;
                (copies..left_end).chain(right_start.max(left_end)..end)
            }
            None => (copies..end).chain(0..0),
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
mod tests {
    use super::*;

    fn batch(queries: u64, copies: u64, public: u64, tolerated: u64) -> Batch {
        Batch { queries, copies, public, tolerated, probes: 0 }
    }

    /// Shapes whose placements can all be tried.
    fn small_shapes() -> impl Iterator<Item = Batch> {
        let shapes = (1..=5u64).flat_map(|r| (1..=4).flat_map(move |b| (0..=6).map(move |t| (r, b, t))));
        let shapes = shapes.filter(|(r, b, t)| r * b + t <= 13);
        let shapes = shapes.flat_map(|(r, b, t)| (0..=t + 1).map(move |u| batch(r, b, t, u)));
        let probes = |b: Batch| (0..=3).map(move |probes| Batch { probes, ..b });
        shapes.flat_map(probes).filter(|b| b.positions() <= 13)
    }

    /// `p(d)` for every `d`, from the client's rule on every set of hit positions.
    fn enumerate(b: Batch) -> Vec<f64> {
        let positions = b.positions();
        let (mut bad, mut all) = (vec![0u32; positions as usize + 1], vec![0u32; positions as usize + 1]);
        for hit in 0u32..1 << positions {
            let hits = hit.count_ones() as usize;
            all[hits] += 1;
            let copies = |query: u64| hit >> (query * b.copies) & ((1 << b.copies) - 1);
            let consistent = (0..b.queries).all(|q| copies(q) == 0 || copies(q) == (1 << b.copies) - 1);
            let wrong = (0..b.queries).any(|q| copies(q) != 0);
            let known = hit >> (b.queries * b.copies);
            let public_errors = u64::from((known & ((1 << b.public) - 1)).count_ones());
            let probe_errors = known >> b.public;
            bad[hits] += u32::from(consistent && wrong && public_errors <= b.tolerated && probe_errors == 0);
        }
        bad.iter().zip(&all).map(|(&bad, &all)| f64::from(bad) / f64::from(all)).collect()
    }

    #[test]
    fn hit_probability_matches_enumeration() {
        let mut shapes = 0;
        for b in small_shapes() {
            let truth = enumerate(b);
            for (hits, &p) in truth.iter().enumerate() {
                let bound = b.hit_probability(hits as u64);
                assert!(bound >= p * (1.0 - 1e-15) && bound - p <= 1e-11 * p, "{b:?} {hits}: {bound} {p}");
            }
            let worst = truth.iter().copied().fold(0.0, f64::max);
            assert!((b.worst_hit().1 - worst).abs() <= 1e-11, "{b:?}");
            shapes += 1;
        }
        assert!(shapes > 1000);
    }

    #[test]
    fn known_answers() {
        let (hits, p) = batch(2, 2, 12, 6).worst_hit();
        assert_eq!((hits, format!("{p:.4}")), (8, "0.1821".into()));
        let (hits, p) = batch(4, 1, 12, 9).worst_hit();
        assert_eq!((hits, format!("{p:.4}")), (10, "0.9918".into()));
        // C(2,1) C(12,6) / C(20,8) of a server that hits one query and six public samples, C(12,4) of both and four.
        let probed = Batch { probes: 4, ..batch(2, 2, 12, 6) };
        let hit = (2.0 * 924.0 + 495.0) / 125_970.0;
        assert!((probed.hit_probability(8) - hit).abs() < 1e-12);
        let truth = enumerate(batch(2, 2, 12, 6));
        assert!((truth[8] - 2343.0 / 12870.0).abs() < 1e-15);
    }

    #[test]
    fn the_search_never_misses_the_worst() {
        for queries in [1u64, 2, 3, 5, 8, 13, 40, 100] {
            for copies in [1, 2, 3, 4, 7, 20] {
                for public in [0u64, 1, 2, 5, 17, 60, 200, 500] {
                    for tolerated in [0, 1, 3, public / 10, public / 4, public / 2, public] {
                        // A different number each time, every third time none.
                        let probes = (queries + public + tolerated) % 3 * (public / 7 + 1);
                        let b = Batch { probes, ..batch(queries, copies, public, tolerated) };
                        let all = (0..=b.positions()).filter_map(|d| b.ln_hit(d, f64::NEG_INFINITY));
                        let worst = all.fold(f64::NEG_INFINITY, f64::max);
                        let (hits, found) = b.ln_worst();
                        // Two numbers of hits may serve equally well, up to the last bit.
                        assert!((found - worst).abs() <= 1e-14 * worst.abs(), "{b:?} {found} {worst}");
                        assert_eq!(b.ln_hit(hits, f64::NEG_INFINITY), Some(found), "{b:?}");
                        let bits = b.lambda_bits();
                        assert!(b.reaches(bits - 1e-9) && !b.reaches(bits + 1e-9), "{b:?} {bits}");
                    }
                }
            }
        }
    }

    #[test]
    fn more_samples_never_hurt_and_more_tolerance_never_helps() {
        for b in small_shapes().filter(|b| b.positions() < 12) {
            let p = b.worst_hit().1;
            let less = |other: Batch| assert!(other.worst_hit().1 <= p * (1.0 + 1e-12), "{b:?} {other:?}");
            less(Batch { public: b.public + 1, ..b });
            less(Batch { copies: b.copies + 1, ..b });
            less(Batch { probes: b.probes + 1, ..b });
            less(Batch { tolerated: b.tolerated.saturating_sub(1), ..b });
        }
    }

    #[test]
    fn accuracy_check() {
        let b = batch(1024, 5, 4, 0);
        let eps = b.smallest_eps(0.99).unwrap();
        assert!((eps - (1.0 - 0.01f64.powf(0.25))).abs() < 1e-9);
        assert!(b.pass_probability(eps) <= 0.01);
        assert!((b.false_reject(0.9) - (1.0 - 0.9f64.powi(4))).abs() < 1e-12);
        assert_eq!(b.false_reject(1.0), 0.0);
        assert_eq!(batch(1, 1, 3, 3).smallest_eps(0.99), None);
        assert_eq!(batch(1, 1, 3, 3).false_reject(0.0), 0.0);
    }

    #[test]
    fn worthless_shapes_are_given_no_credit() {
        assert_eq!(batch(0, 3, 4, 0).worst_hit(), (0, 0.0));
        assert_eq!(batch(0, 0, 0, 0).lambda_bits(), f64::INFINITY);
        assert_eq!(batch(3, 0, 4, 0).worst_hit().1, 1.0);
        assert_eq!(batch(3, 2, 0, 0).worst_hit(), (6, 1.0));
        assert_eq!(batch(3, 2, 5, 5).lambda_bits(), 0.0);
        assert_eq!(batch(u64::MAX, u64::MAX, u64::MAX, u64::MAX).worst_hit().1, 1.0);
        assert_eq!(batch(u64::MAX, 1, 0, 0).lambda_bits(), 0.0);
        assert_eq!(batch(3, 2, 5, 1).hit_probability(u64::MAX), 0.0);
        assert!(!batch(3, 2, 0, 0).reaches(1.0) && batch(3, 2, 0, 0).reaches(0.0));
        assert!(!batch(1, 25, 19, 0).reaches(f64::NAN) && !batch(1, 25, 19, 0).reaches(f64::INFINITY));
        // Beyond the floats, the bound stays above zero.
        let p = batch(1, 2000, 2000, 0).worst_hit().1;
        assert!(p > 0.0 && p < 1e-300 && batch(1, 2000, 2000, 0).lambda_bits() > 3000.0);
    }
}
