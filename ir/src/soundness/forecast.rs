//! What a batch is worth, in one record for people and for tests.

use std::fmt;

use serde::Serialize;

use super::{Batch, CONFIDENCE, Policy};

/// The guarantees and the cost of a batch. Its `Display` is a short table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// `R`, queries.
    pub queries: u64,
    /// `B`, copies of each query.
    pub copies: u64,
    /// `T`, public samples.
    pub public: u64,
    /// `u`, wrong public answers that are still accepted.
    pub tolerated: u64,
    /// `K`, known-answer probes, none of which may be wrong.
    pub probes: u64,
    /// `R B + T + K`, evaluations of the model.
    pub positions: u64,
    /// Evaluations per query.
    pub overhead: f64,
    /// The honest model's least accuracy, as claimed, `0..=1`. The next three rest on it.
    pub accuracy: f64,
    /// Position consistency, [`Batch::lambda_bits`]: `-log2` of the probability that a server which
    /// relabels fixed positions has a wrong label accepted, rounded down.
    pub lambda_bits: f64,
    /// The number of hit positions that serves a server best which is the honest model elsewhere.
    pub worst_hits: u64,
    /// The probability that it then gets a wrong label accepted, rounded up.
    pub worst_probability: f64,
    /// `-log2` of the probability that a server which relabels every position passes, rounded down.
    pub relabel_all_bits: f64,
    /// The largest share of a label among inputs, `0..=1`.
    pub largest_share: f64,
    /// `-log2` of the probability that a server which gives that label to every input passes,
    /// rounded down.
    pub constant_bits: f64,
    /// Classes.
    pub classes: u64,
    /// `-log2` of the probability that a server which gives one label at fixed positions, and is
    /// the honest model or better elsewhere, has it accepted where the model is right with another
    /// one; rounded down.
    pub forced_bits: f64,
    /// `-log2` of the probability that a server which draws labels at random passes, rounded down.
    pub random_bits: f64,
    /// The smallest error rate caught with probability 99 %, rounded up; none if every public error
    /// is tolerated.
    pub smallest_eps_99: Option<f64>,
    /// The probability that an honest server of that accuracy is rejected, rounded up.
    pub false_reject: f64,
}

impl Forecast {
    /// The forecast for a batch under the claims of `policy`, for a model of `classes` classes, at
    /// least 1.
    pub fn new(batch: &Batch, policy: &Policy, classes: u64) -> Forecast {
        let (accuracy, largest_share) = (policy.accuracy, policy.share());
        let (worst_hits, worst_probability) = batch.worst_hit(accuracy);
        let positions = batch.positions();
        Forecast {
            queries: batch.queries,
            copies: batch.copies,
            public: batch.public,
            tolerated: batch.tolerated,
            probes: batch.probes,
            positions,
            overhead: positions as f64 / batch.queries.max(1) as f64,
            accuracy,
            lambda_bits: batch.lambda_bits(accuracy),
            worst_hits,
            worst_probability,
            relabel_all_bits: batch.pass_bits(accuracy),
            largest_share,
            constant_bits: batch.blind_bits(largest_share),
            forced_bits: batch.forced_bits(accuracy, largest_share),
            classes,
            random_bits: batch.blind_bits(1.0 / classes.max(1) as f64),
            smallest_eps_99: batch.smallest_eps(CONFIDENCE),
            false_reject: batch.false_reject(accuracy),
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |value: f64, places| -down(-100.0 * value, places);
        let mut row = |name: &str, value: String| writeln!(f, "{name:<38}{value}");
        row("queries R", self.queries.to_string())?;
        row("copies of each B", self.copies.to_string())?;
        row("public samples T", format!("{}, of which u = {} may be answered wrongly", self.public, self.tolerated))?;
        if self.probes > 0 {
            row("known-answer probes K", self.probes.to_string())?;
        }
        let sum = if self.probes > 0 { "positions R B + T + K" } else { "positions R B + T" };
        row(sum, format!("{}, {:.2} per query", self.positions, self.overhead))?;
        row("honest server rejected", format!("{:.2} % of the time at most", percent(self.false_reject, 2.0)))?;
        // The claim as it was made, without the noise of a product of floats.
        let claim = (self.accuracy * 1e11).round() / 1e9;
        writeln!(f, "\nIf the honest model is right on at least {claim} % of inputs, these servers pass:")?;
        let mut row = |name: &str, value: String| writeln!(f, "{name:<38}{value}");
        row(
            "  all labels changed, chosen positions",
            power(self.lambda_bits, &format!("the most with {} hit", self.worst_hits)),
        )?;
        row("  other labels everywhere", power(self.relabel_all_bits, "never the model's label"))?;
        let share = percent(self.largest_share, 1.0);
        row("  one label for all inputs", power(self.constant_bits, &format!("right on at most {share} % of inputs")))?;
        row("  one label, chosen positions", power(self.forced_bits, "the model elsewhere"))?;
        row("  labels at random", power(self.random_bits, &format!("among {} classes", self.classes)))?;
        match self.smallest_eps_99 {
            Some(eps) => {
                let eps = percent(eps, 1.0);
                row(&format!("  wrong on {eps:.1} % or more of inputs"), "1 % at most: caught with 99 %".into())?;
                row(&format!("  wrong on less than {eps:.1} %"), "nothing is said: such a server may pass".into())
            }
            None => row("  wrong on any share of inputs", "nothing is said: such a server may pass".into()),
        }
    }
}

/// A probability by its bits, in words.
fn power(bits: f64, remark: &str) -> String {
    match bits {
        f64::INFINITY => format!("never ({remark})"),
        _ if bits < 0.1 => format!("no bound ({remark})"),
        _ => format!("2^-{:.1} at most ({remark})", down(bits, 1.0)),
    }
}

/// `value` with so many decimal places, rounded down.
fn down(value: f64, places: f64) -> f64 {
    let scale = 10f64.powf(places);
    (value * scale).floor() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(accuracy: f64) -> Policy {
        Policy { accuracy, ..Policy::default() }
    }

    #[test]
    fn says_what_the_batch_says() {
        let batch = Batch { queries: 2, copies: 2, public: 12, tolerated: 6, probes: 0 };
        let forecast = Forecast::new(&batch, &claims(0.9), 4);
        assert_eq!((forecast.positions, forecast.overhead), (16, 8.0));
        assert_eq!(forecast.lambda_bits, batch.lambda_bits(0.9));
        assert_eq!((forecast.worst_hits, forecast.worst_probability), batch.worst_hit(0.9));
        assert_eq!(forecast.smallest_eps_99, batch.smallest_eps(0.99));
        assert_eq!(forecast.false_reject, batch.false_reject(0.9));
        assert!((forecast.relabel_all_bits + batch.pass_probability(0.9).log2()).abs() < 1e-9);
        assert_eq!(forecast.constant_bits, batch.pass_bits(0.5));
        assert_eq!(forecast.random_bits, batch.pass_bits(0.75));
    }

    #[test]
    fn prints_in_the_safe_direction() {
        let batch = Batch { queries: 1024, copies: 5, public: 4, tolerated: 0, probes: 0 };
        let text = Forecast::new(&batch, &claims(1.0), 2).to_string();
        assert!(text.contains("chosen positions2^-44.7 at most (the most with 5 hit)"), "{text}");
        assert!(text.contains("other labels everywhere             never"), "{text}");
        assert!(
            text.contains("one label for all inputs            2^-3.9 at most (right on at most 50 % of inputs)"),
            "{text}"
        );
        assert!(text.contains("wrong on 68.4 % or more of inputs"), "{text}");
        assert!(text.contains("5124, 5.00 per query"), "{text}");
        assert!(!text.contains("probes") && text.lines().all(|line| line.len() <= 100), "{text}");
        let probed = Batch { queries: 2, copies: 3, public: 4, tolerated: 0, probes: 5 };
        let text = Forecast::new(&probed, &claims(1.0), 2).to_string();
        assert!(text.contains("known-answer probes K                 5\n"), "{text}");
        assert!(text.contains("positions R B + T + K                 15, 7.50 per query"), "{text}");
        let nothing = Batch { queries: 0, copies: 0, public: 2, tolerated: 2, probes: 0 };
        let text = Forecast::new(&nothing, &claims(0.5), 2).to_string();
        assert!(text.contains("any share of inputs        nothing is said"), "{text}");
    }
}
