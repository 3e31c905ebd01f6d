//! The bounds against every placement and every way in which the model errs, on small batches.

use super::*;

/// Accuracies that are tried everywhere.
const ACCURACIES: [f64; 4] = [1.0, 0.97, 0.7, 0.3];

fn batch(queries: u64, copies: u64, public: u64, tolerated: u64) -> Batch {
    Batch { queries, copies, public, tolerated, probes: 0 }
}

/// Shapes whose placements can all be tried.
fn small_shapes(positions: u64) -> impl Iterator<Item = Batch> {
    let shapes = (1..=5u64).flat_map(|r| (1..=4).flat_map(move |b| (0..=6).map(move |t| (r, b, t))));
    let shapes = shapes.flat_map(|(r, b, t)| (0..=t + 1).map(move |u| batch(r, b, t, u)));
    let probes = |b: Batch| (0..=3).map(move |probes| Batch { probes, ..b });
    shapes.flat_map(probes).filter(move |b| b.positions() <= positions)
}

/// For every `d`: the probability that the client accepts although a label is wrong, from its rule
/// on every set of hit positions and every set of public samples on which the model is right. The
/// server is the model elsewhere.
///
/// With `better`, it is better than the model elsewhere: copies of a query that the model gets
/// wrong always agree, probes that it gets wrong are always as before, and only queries that the
/// model gets right count.
fn enumerate(b: Batch, accuracy: f64, better: bool) -> Vec<f64> {
    let positions = b.positions();
    let weigh = |right: u32, of: u64| {
        let count = right.count_ones() as i32;
        accuracy.powi(count) * (1.0 - accuracy).powi(of as i32 - count)
    };
    let errs = |of: u64| if accuracy == 1.0 { (1u32 << of) - 1..1 << of } else { 0..1 << of };
    let (mut bad, mut all) = (vec![0.0; positions as usize + 1], vec![0u32; positions as usize + 1]);
    for hit in 0u32..1 << positions {
        let hits = hit.count_ones() as usize;
        all[hits] += 1;
        let full = (1u32 << b.copies) - 1;
        let copies = |query: u64| hit >> (query * b.copies) & full;
        let known = hit >> (b.queries * b.copies);
        let probes = known >> b.public;
        let as_before: f64 = match better {
            true => errs(b.probes).filter(|right| probes & right == 0).map(|right| weigh(right, b.probes)).sum(),
            false => f64::from(u8::from(probes == 0)),
        };
        let unnoticed: f64 = errs(b.public)
            .filter(|right| u64::from((known & right).count_ones()) <= b.tolerated)
            .map(|right| weigh(right, b.public))
            .sum();
        let captured: f64 = if better {
            let agree = |right: &u32| (0..b.queries).all(|q| right >> q & 1 == 0 || [0, full].contains(&copies(q)));
            let some = |right: &u32| (0..b.queries).any(|q| right >> q & 1 == 1 && copies(q) == full);
            errs(b.queries).filter(agree).filter(some).map(|right| weigh(right, b.queries)).sum()
        } else {
            let agree = (0..b.queries).all(|q| [0, full].contains(&copies(q)));
            f64::from(u8::from(agree && (0..b.queries).any(|q| copies(q) == full)))
        };
        bad[hits] += captured * unnoticed * as_before;
    }
    bad.iter().zip(&all).map(|(&bad, &all)| bad / f64::from(all)).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[test]
fn hit_probability_matches_enumeration() {
    let mut shapes = 0;
    for b in small_shapes(11) {
        for accuracy in ACCURACIES {
            let truth = enumerate(b, accuracy, false);
            for (hits, &p) in truth.iter().enumerate() {
                let bound = b.hit_probability(hits as u64, accuracy);
                assert!(bound >= p * (1.0 - 1e-15) && bound - p <= 1e-11 * p, "{b:?} {accuracy} {hits}: {bound} {p}");
            }
            let worst = b.worst_hit(accuracy).1;
            assert!((worst - largest(&truth)).abs() <= 1e-11, "{b:?} {accuracy}");
            shapes += 1;
        }
    }
    assert!(shapes > 3000, "{shapes}");
}

#[test]
fn no_better_server_beats_the_bound() {
    let (mut shapes, mut closest) = (0, f64::INFINITY);
    for b in small_shapes(10) {
        for accuracy in ACCURACIES {
            let stated = 2f64.powf(-b.lambda_bits(accuracy));
            let exact = largest(&enumerate(b, accuracy, false));
            let better = largest(&enumerate(b, accuracy, true));
            assert!(stated >= exact.max(better) * (1.0 - 1e-12), "{b:?} {accuracy}: {stated} {exact} {better}");
            if accuracy == 1.0 {
                assert!((stated - exact).abs() <= 1e-11 && exact == better, "{b:?}");
            }
            closest = if better > exact { closest.min(stated / better) } else { closest };
            shapes += 1;
        }
    }
    // There are such servers, and the bound is not far from what they get.
    assert!(shapes > 2000 && closest < 1.1, "{shapes} {closest}");
}

#[test]
fn known_answers() {
    let (hits, p) = batch(2, 2, 12, 6).worst_hit(1.0);
    assert_eq!((hits, format!("{p:.4}")), (8, "0.1821".into()));
    let (hits, p) = batch(4, 1, 12, 9).worst_hit(1.0);
    assert_eq!((hits, format!("{p:.4}")), (10, "0.9918".into()));
    // C(2,1) C(12,6) / C(20,8) of a server that hits one query and six public samples, C(12,4) of
    // both and four.
    let probed = Batch { probes: 4, ..batch(2, 2, 12, 6) };
    let hit = (2.0 * 924.0 + 495.0) / 125_970.0;
    assert!((probed.hit_probability(8, 1.0) - hit).abs() < 1e-12);
    let truth = enumerate(batch(2, 2, 12, 6), 1.0, false);
    assert!((truth[8] - 2343.0 / 12870.0).abs() < 1e-15);
}

#[test]
fn relabelling_everything_passes_where_the_model_errs() {
    // What the formula for a model that is never wrong says of these, and what a server that
    // relabels all has.
    for (queries, copies, public, tolerated, accuracy, stated, real) in
        [(1024, 5, 8, 3, 0.9, 44.7, 11.2), (10_000, 4, 9, 5, 0.8, 43.3, 3.5)]
    {
        let b = batch(queries, copies, public, tolerated);
        let all = b.hit_probability(b.positions(), accuracy);
        let tail = ln_binomial_sum(public, accuracy, 0, tolerated).exp();
        assert!((all - tail).abs() <= 1e-6 * tail, "{b:?}");
        assert!((-all.log2() - real).abs() < 0.1, "{b:?}: {}", -all.log2());
        assert!((b.lambda_bits(1.0) - stated).abs() < 0.1, "{b:?}: {}", b.lambda_bits(1.0));
        assert!(b.lambda_bits(accuracy) <= real + 0.1, "{b:?}");
    }
}

#[test]
fn the_search_never_misses_the_worst() {
    for queries in [1u64, 2, 3, 5, 8, 13, 40, 100] {
        for copies in [1, 2, 3, 4, 7, 20] {
            for public in [0u64, 1, 2, 5, 17, 60, 200] {
                for tolerated in [0, 1, 3, public / 10, public / 4, public / 2, public] {
                    // A different number each time, every third time none; the same for accuracies.
                    let probes = (queries + public + tolerated) % 3 * (public / 7 + 1);
                    let b = Batch { probes, ..batch(queries, copies, public, tolerated) };
                    let accuracy = ACCURACIES[((queries + copies + public + tolerated) % 4) as usize];
                    let unnoticed = b.unnoticed(accuracy);
                    let relabelled = Relabelled::new(b, &unnoticed);
                    let all = (0..=b.positions()).filter_map(|d| relabelled.ln_hit(d, f64::NEG_INFINITY));
                    let worst = all.fold(f64::NEG_INFINITY, f64::max);
                    let (hits, found) = relabelled.ln_worst(f64::NEG_INFINITY);
                    // Two numbers of hits may serve equally well, up to the last bit.
                    assert!((found - worst).abs() <= 1e-14 * worst.abs(), "{b:?} {accuracy} {found} {worst}");
                    assert_eq!(relabelled.ln_hit(hits, f64::NEG_INFINITY), Some(found), "{b:?} {accuracy}");
                    let limit = found.max(-1e9);
                    assert!(relabelled.within(limit + 1e-9) && !relabelled.within(limit - 1e-9), "{b:?} {accuracy}");
                }
            }
        }
    }
}

#[test]
fn reaching_agrees_with_the_bits() {
    for queries in [1u64, 2, 7, 64, 65, 300, 1024] {
        for (copies, public, tolerated, accuracy) in
            [(5, 23, 4, 0.9), (3, 60, 4, 0.97), (8, 40, 15, 0.7), (2, 4, 0, 1.0), (1, 30, 2, 0.95)]
        {
            let b = batch(queries, copies, public, tolerated);
            let bits = b.lambda_bits(accuracy);
            assert!(b.reaches(bits - 1e-6, accuracy) && !b.reaches(bits + 1e-6, accuracy), "{b:?} {accuracy} {bits}");
        }
    }
}

/// As [`enumerate`], of a server that forces one label where it hits. Each sample has one of three
/// kinds: the model is right with another label, that label is its truth, or the model is wrong.
fn enumerate_forced(b: Batch, accuracy: f64, share: f64) -> Vec<f64> {
    let positions = b.positions();
    let weights = [accuracy - share, share, 1.0 - accuracy];
    let kinds = |of: u64| (0..3u32.pow(of as u32)).map(move |code| (0..of as u32).map(move |i| code / 3u32.pow(i) % 3));
    let (mut bad, mut all) = (vec![0.0; positions as usize + 1], vec![0u32; positions as usize + 1]);
    for hit in 0u32..1 << positions {
        let hits = hit.count_ones() as usize;
        all[hits] += 1;
        let full = (1u32 << b.copies) - 1;
        let copies = |query: usize| hit >> (query as u64 * b.copies) & full;
        let known = hit >> (b.queries * b.copies);
        let weight = |kinds: &[u32]| kinds.iter().map(|kind| weights[*kind as usize]).product::<f64>();
        let mut captured = 0.0;
        for kinds in kinds(b.queries).map(Iterator::collect::<Vec<_>>) {
            let guards = || (0..kinds.len()).filter(|query| kinds[*query] == 0);
            let agree = guards().all(|query| [0, full].contains(&copies(query)));
            captured += f64::from(u8::from(agree && guards().any(|query| copies(query) == full))) * weight(&kinds);
        }
        let mut unnoticed = 0.0;
        for kinds in kinds(b.public).map(Iterator::collect::<Vec<_>>) {
            let errors = (0..kinds.len()).filter(|at| known >> at & 1 == 1 && kinds[*at] != 1).count() as u64;
            unnoticed += f64::from(u8::from(errors <= b.tolerated)) * weight(&kinds);
        }
        bad[hits] += captured * unnoticed;
    }
    bad.iter().zip(&all).map(|(&bad, &all)| bad / f64::from(all)).collect()
}

#[test]
fn no_forced_label_beats_its_bound() {
    let mut closest = f64::INFINITY;
    for b in small_shapes(9).filter(|b| b.probes == 0 && b.public <= 4 && b.tolerated < b.public) {
        for (accuracy, share) in [(0.9, 0.1), (0.9, 0.5), (0.7, 0.6), (1.0, 0.5)] {
            let (stated, truth) = (2f64.powf(-b.forced_bits(accuracy, share)), enumerate_forced(b, accuracy, share));
            let worst = largest(&truth);
            assert!(stated >= worst * (1.0 - 1e-12), "{b:?} {accuracy} {share}: {stated} {worst}");
            closest = closest.min(stated / worst);
        }
    }
    assert!(closest < 1.2, "{closest}");
}

#[test]
fn a_frequent_label_is_forced_more_easily() {
    let b = batch(1024, 5, 107, 18);
    let bits = [0.0, 0.1, 0.5, 0.8, 0.9].map(|share| b.forced_bits(0.9, share));
    assert!(bits.windows(2).all(|pair| pair[0] > pair[1]), "{bits:?}");
    assert!(bits[2] > 38.0 && bits[4] < 1.0, "{bits:?}");
}

#[test]
fn blocks_cost_next_to_nothing() {
    for (queries, accuracy) in [(65, 0.7), (200, 0.9), (1000, 0.8)] {
        let b = batch(queries, 4, 80, 25);
        let unnoticed = b.unnoticed(accuracy);
        let (mut worst, mut exact) = (f64::NEG_INFINITY, 0.0);
        for r in (0..=queries).rev() {
            let bound = Relabelled::new(Batch { queries: r.max(1), ..b }, &unnoticed).ln_worst(f64::NEG_INFINITY).1;
            worst = bound.max(worst);
            exact += (ln_binomial_sum(queries, accuracy, r, r) + worst).exp();
        }
        let exact = exact.ln();
        let found = b.ln_mean(accuracy, &unnoticed, f64::INFINITY);
        assert!(found >= exact - 1e-9 && found <= exact + 0.05, "{b:?}: {found} {exact}");
    }
}

#[test]
fn more_samples_never_hurt_and_more_tolerance_never_helps() {
    for b in small_shapes(11) {
        for accuracy in ACCURACIES {
            let bits = b.lambda_bits(accuracy);
            let less = |other: Batch| assert!(other.lambda_bits(accuracy) >= bits - 1e-9, "{b:?} {other:?} {accuracy}");
            less(Batch { public: b.public + 1, ..b });
            less(Batch { copies: b.copies + 1, ..b });
            less(Batch { probes: b.probes + 1, ..b });
            less(Batch { tolerated: b.tolerated.saturating_sub(1), ..b });
            assert!(b.lambda_bits((accuracy + 0.1).min(1.0)) >= bits - 1e-9, "{b:?} {accuracy}");
        }
    }
}

#[test]
fn worthless_shapes_are_given_no_credit() {
    assert_eq!(batch(0, 3, 4, 0).worst_hit(1.0), (0, 0.0));
    assert_eq!(batch(0, 0, 0, 0).lambda_bits(1.0), f64::INFINITY);
    assert_eq!(batch(3, 0, 4, 0).worst_hit(1.0).1, 1.0);
    assert_eq!(batch(3, 2, 0, 0).worst_hit(0.9), (6, 1.0));
    assert_eq!(batch(3, 2, 5, 5).lambda_bits(1.0), 0.0);
    assert_eq!(batch(u64::MAX, u64::MAX, u64::MAX, u64::MAX).worst_hit(0.9).1, 1.0);
    assert_eq!(batch(u64::MAX, 1, 0, 0).lambda_bits(1.0), 0.0);
    assert_eq!(batch(3, 2, 1 << 31, 0).lambda_bits(0.9), 0.0);
    assert_eq!(batch(3, 2, 5, 1).hit_probability(u64::MAX, 1.0), 0.0);
    assert!(!batch(3, 2, 0, 0).reaches(1.0, 1.0) && batch(3, 2, 0, 0).reaches(0.0, 1.0));
    assert!(!batch(1, 25, 19, 0).reaches(f64::NAN, 1.0) && !batch(1, 25, 19, 0).reaches(f64::INFINITY, 1.0));
    assert!(batch(3, 5, 19, 2).lambda_bits(f64::NAN) < 1.0);
    // Beyond the floats, the bound stays above zero.
    let b = batch(1, 2000, 2000, 0);
    let p = b.worst_hit(1.0).1;
    assert!(p > 0.0 && p < 1e-300 && b.lambda_bits(1.0) > 3000.0);
}
