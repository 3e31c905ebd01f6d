//! What a batch is worth, in one record for people and for tests.

use std::fmt;

use serde::Serialize;

use super::{Batch, CONFIDENCE};

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
    /// Position consistency: `-log2` of the probability below, rounded down.
    pub lambda_bits: f64,
    /// The number of hit positions that serves a malicious server best.
    pub worst_hits: u64,
    /// The probability that it then gets a wrong label accepted, rounded up.
    pub worst_probability: f64,
    /// The smallest error rate caught with probability 99 %, rounded up; none if every public error is tolerated.
    pub smallest_eps_99: Option<f64>,
    /// The honest model's claimed accuracy, `0..=1`.
    pub accuracy: f64,
    /// The probability that an honest server of that accuracy is rejected, rounded up.
    pub false_reject: f64,
}

impl Forecast {
    /// The forecast for a batch and a claimed accuracy in `0..=1`.
    pub fn new(batch: &Batch, accuracy: f64) -> Forecast {
        let (worst_hits, worst_probability) = batch.worst_hit();
        let positions = batch.positions();
        Forecast {
            queries: batch.queries,
            copies: batch.copies,
            public: batch.public,
            tolerated: batch.tolerated,
            probes: batch.probes,
            positions,
            overhead: positions as f64 / batch.queries.max(1) as f64,
            lambda_bits: batch.lambda_bits(),
            worst_hits,
            worst_probability,
            smallest_eps_99: batch.smallest_eps(CONFIDENCE),
            accuracy,
            false_reject: batch.false_reject(accuracy),
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<34}{value}");
        row("queries R", self.queries.to_string())?;
        row("copies of each B", self.copies.to_string())?;
        row("public samples T", self.public.to_string())?;
        row("public errors tolerated u", self.tolerated.to_string())?;
        if self.probes > 0 {
            row("known-answer probes K", self.probes.to_string())?;
        }
        let sum = if self.probes > 0 { "positions R B + T + K" } else { "positions R B + T" };
        row(sum, format!("{}, {:.2} per query", self.positions, self.overhead))?;
        let bits = format!("2^-{:.1}", down(self.lambda_bits, 1.0));
        row("wrong label at fixed positions", format!("{bits} at most, with {} hit", self.worst_hits))?;
        let caught = match self.smallest_eps_99 {
            Some(eps) => format!("{:.1} % or more", -down(-100.0 * eps, 1.0)),
            None => "none".into(),
        };
        row("error rate caught with 99 %", caught)?;
        let honest =
            format!("{:.2} % at accuracy {:.1} %", -down(-100.0 * self.false_reject, 2.0), 100.0 * self.accuracy);
        row("honest server rejected", honest)
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

    #[test]
    fn says_what_the_batch_says() {
        let batch = Batch { queries: 2, copies: 2, public: 12, tolerated: 6, probes: 0 };
        let forecast = Forecast::new(&batch, 0.9);
        assert_eq!((forecast.positions, forecast.overhead, forecast.worst_hits), (16, 8.0, 8));
        assert_eq!(forecast.lambda_bits, batch.lambda_bits());
        assert_eq!(forecast.worst_probability, batch.worst_hit().1);
        assert_eq!(forecast.smallest_eps_99, batch.smallest_eps(0.99));
        assert_eq!(forecast.false_reject, batch.false_reject(0.9));
    }

    #[test]
    fn prints_in_the_safe_direction() {
        let text =
            Forecast::new(&Batch { queries: 1024, copies: 5, public: 4, tolerated: 0, probes: 0 }, 1.0).to_string();
        assert!(text.contains("2^-44.7 at most"), "{text}");
        assert!(text.contains("68.4 % or more"), "{text}");
        assert!(text.contains("5124, 5.00 per query"), "{text}");
        assert!(!text.contains("probes"), "{text}");
        let probed = Batch { queries: 2, copies: 3, public: 4, tolerated: 0, probes: 5 };
        let text = Forecast::new(&probed, 1.0).to_string();
        assert!(text.contains("known-answer probes K             5\n"), "{text}");
        assert!(text.contains("positions R B + T + K             15, 7.50 per query"), "{text}");
        let text = Forecast::new(&Batch { queries: 0, copies: 0, public: 2, tolerated: 2, probes: 0 }, 0.5).to_string();
        assert!(text.contains("none"), "{text}");
    }
}
