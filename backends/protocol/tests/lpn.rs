//! Holds the sets of silent OT to the count of attacks in `security/`: 128 bits, and 100 with 40
//! bits of the noise leaked.
//!
//! The decisive attack is counted here a second time: information-set decoding on the part of a
//! sparse code that is densest.

use fusion_catalogue::ot::Ferret;

const TABLE: &str = include_str!("../security/lpn.csv");
/// Bits leaked, and the least cost demanded.
const DEMANDS: [(u32, f64); 2] = [(0, 128.0), (40, 100.0)];
/// Ones in a row of the code.
const ONES: i32 = 10;

#[test]
fn every_shipped_set_withstands_every_attack_in_the_table() {
    let mut lines = TABLE.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heads = lines.next().unwrap();
    assert_eq!((&heads[..4], heads.len()), (&["log_k", "depth", "trees", "leak"][..], 19));
    for set in Ferret::SETS {
        for (leak, demand) in DEMANDS {
            let line = lines.next().expect("a line for every set and leak: run security/lpn.py --write");
            let numbers: Vec<f64> = line.iter().map(|field| field.parse().unwrap()).collect();
            let described = [set.log_k.into(), set.depth.into(), set.trees as f64, leak.into()];
            assert_eq!(numbers[..4], described, "run security/lpn.py --write");
            for (attack, bits) in heads.iter().zip(&numbers).skip(4) {
                assert!(*bits >= demand, "{set:?} falls to {attack} at 2^{bits} with {leak} bits leaked");
            }
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn every_shipped_set_withstands_the_decisive_attack_counted_again() {
    let column = TABLE.lines().next().unwrap().split(',').position(|head| head == "restricted_isd").unwrap();
    let mut lines = TABLE.lines().skip(1);
    for set in Ferret::SETS {
        for (leak, demand) in DEMANDS {
            let bits = decoding_bits(set, leak.into());
            assert!(bits >= demand, "{set:?} falls at 2^{bits} with {leak} bits leaked");
            let listed: f64 = lines.next().unwrap().split(',').nth(column).unwrap().parse().unwrap();
            assert!((bits - listed).abs() < 0.2, "{bits} here, {listed} in the table");
        }
    }
}

#[test]
fn weaker_sets_fail() {
    let fails = |set| DEMANDS.into_iter().any(|(leak, demand)| decoding_bits(set, leak.into()) < demand);
    for set in Ferret::SETS {
        assert!(fails(Ferret { log_k: set.log_k - 1, ..set }));
        assert!(fails(Ferret { depth: set.depth + 1, ..set }));
        assert!(fails(Ferret { trees: set.trees * 11 / 10, ..set }));
    }
    // Sets that are in use elsewhere, secure against the attacks on random codes.
    for (log_k, depth, trees) in [(17, 11, 1170), (18, 12, 1520), (19, 13, 1900)] {
        let bits = decoding_bits(Ferret { log_k, depth, trees }, 0.0);
        assert!((60.0..80.0).contains(&bits), "{bits}");
    }
}

#[test]
fn binomials_are_exact() {
    for (n, m, expected) in
        [(10.0, 3.0, 120.0_f64), (52.0, 5.0, 2_598_960.0), (1000.0, 2.0, 499_500.0), (9.0, 0.0, 1.0)]
    {
        assert!((log_binomial(n, m) - expected.log2()).abs() < 1e-9);
    }
    // Three consecutive halves, from the beta function.
    assert!((log_factorial(0.5) - (std::f64::consts::PI.sqrt() / 2.0).log2()).abs() < 1e-9);
}

/// Binary logarithm of the operations on bits that find the noise of a round.
fn decoding_bits(set: Ferret, leak: f64) -> f64 {
    let (k, trees, block) = ((1_u64 << set.log_k) as f64, set.trees as f64, (1_u64 << set.depth) as f64);
    let rows = k * densest(k, trees * block);
    // Of each block so many places are guessed to be right, and these are known to be.
    let (guessed, known) = (rows / trees, block * (1.0 - (-leak / trees).exp2()));
    if known >= guessed {
        return 0.0;
    }
    let wrong = (guessed - known) / (block - known);
    let elimination = (10.0 * rows * rows).min(block.powf(2.8));
    let mut best = f64::INFINITY;
    for errors in [0, 2, 4, 6, 8, 10, 12] {
        let p = f64::from(errors);
        let hit = log_binomial(trees, p) + p * wrong.log2() + (trees - p) * (1.0 - wrong).log2();
        for extra in 0..9 {
            let extra = f64::from(extra);
            let weight = p / 2.0 + extra;
            let base = log_binomial(rows / 2.0, weight / 2.0).exp2();
            let representations = log_binomial(p, p / 2.0) + log_binomial(rows - p, extra);
            let middle = (log_binomial(rows, weight) - representations).exp2();
            let entries = base + middle;
            let work = (elimination + entries * entries.log2().max(1.0)).log2();
            best = best.min(work - hit.min(0.0));
        }
    }
    best
}

/// The smallest share of `k` columns within which some choice of them has as many of `n` rows as
/// columns.
///
/// By the first moment: the binary logarithm of the expected number of such choices is not
/// negative.
fn densest(k: f64, n: f64) -> f64 {
    let expected = |share: f64| {
        let (inside, wanted) = (share.powi(ONES), share * k / n);
        let choices = k * (-share * share.log2() - (1.0 - share) * (1.0 - share).log2());
        let rarity = wanted * (wanted / inside).log2() + (1.0 - wanted) * ((1.0 - wanted) / (1.0 - inside)).log2();
        choices - n * rarity
    };
    let random = (k / n).powf(1.0 / f64::from(ONES - 1));
    let steps = 1_000_000;
    let shares = (1..steps).map(|step| random * f64::from(step) / f64::from(steps));
    shares.into_iter().find(|share| expected(*share) >= 0.0).unwrap_or(random)
}

fn log_binomial(n: f64, m: f64) -> f64 {
    if m > n { f64::NEG_INFINITY } else { log_factorial(n) - log_factorial(m) - log_factorial(n - m) }
}

/// Stirling's series, from 20 on; below by the recurrence.
fn log_factorial(x: f64) -> f64 {
    if x < 20.0 {
        return log_factorial(x + 1.0) - (x + 1.0).log2();
    }
    let natural =
        x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3));
    natural / std::f64::consts::LN_2
}
