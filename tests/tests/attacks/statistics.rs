//! Exact confidence intervals of measured rates.

/// Clopper and Pearson's interval of a probability of which `hits` of `trials` were seen, each side
/// missed with probability at most `risk`.
pub fn interval(hits: u64, trials: u64, risk: f64) -> [f64; 2] {
    let solve = |rises: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if rises(middle) { high = middle } else { low = middle }
        }
        0.5 * (low + high)
    };
    let low = if hits == 0 { 0.0 } else { solve(&|p| tail(trials, p, hits, trials) > risk) };
    let high = if hits == trials { 1.0 } else { solve(&|p| tail(trials, p, 0, hits) < risk) };
    [low, high]
}

/// `P[low <= Bin(n, p) <= high]`.
fn tail(n: u64, p: f64, low: u64, high: u64) -> f64 {
    let ln_odds = p.ln() - (-p).ln_1p();
    let mut ln_term = n as f64 * (-p).ln_1p();
    let mut sum = 0.0;
    for k in 0..=high {
        if k > 0 {
            ln_term += ((n - k + 1) as f64 / k as f64).ln() + ln_odds;
        }
        if k >= low {
            sum += ln_term.exp();
        }
    }
    sum
}

#[test]
fn intervals_are_clopper_and_pearsons() {
    // Known answers: the rule of three, and 1 of 10 at 95 %.
    let [low, high] = interval(0, 100, 0.05);
    assert_eq!((low, format!("{high:.4}")), (0.0, "0.0295".into()));
    let [low, high] = interval(1, 10, 0.025);
    assert_eq!((format!("{low:.4}"), format!("{high:.4}")), ("0.0025".into(), "0.4450".into()));
    assert_eq!(interval(5, 5, 0.01)[1], 1.0);
}
