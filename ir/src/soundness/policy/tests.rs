//! Plans against everything that could have been planned, and known answers.

use super::*;

fn policy(accuracy: f64, catch: Option<f64>) -> Policy {
    Policy { accuracy, catch, ..Policy::default() }
}

/// A policy that relies on position consistency alone.
fn sighted() -> Policy {
    Policy { largest_share: Some(0.0), ..Policy::default() }
}

#[test]
fn copies_for_many_queries() {
    for (queries, copies) in [(1024, 5), (16384, 4), (1_000_000, 3)] {
        let batch = Policy::default().plan(queries, None).unwrap();
        assert_eq!((batch.copies, batch.tolerated), (copies, 0), "{queries}");
        assert_eq!(Policy::default().check(&batch), Ok(()));
        let batch = policy(0.9, None).plan(queries, None).unwrap();
        assert_eq!((batch.copies, batch.public), (copies, 107), "{queries}");
    }
}

#[test]
fn public_samples_against_servers_that_relabel_everything() {
    for (accuracy, public) in [(1.0, 1), (0.97, 12), (0.9, 23), (0.8, 51), (0.76, 72)] {
        let claims = Policy { accuracy, largest_share: Some(0.0), copies: Some(60), ..Policy::default() };
        let batch = claims.plan(1, None).unwrap();
        assert!(batch.public >= public, "{accuracy}: {batch:?}");
        let all = |public: u64| {
            let batch = Batch { public, tolerated: claims.tolerated(public), ..batch };
            batch.tolerated < public && batch.hit_probability(batch.positions(), accuracy) <= 2f64.powi(-40)
        };
        assert!(all(public) && !(1..public).any(all), "{accuracy}");
    }
}

#[test]
fn public_samples_against_blind_servers() {
    for (largest_share, accuracy, public) in [(0.5, 0.9, 107), (0.5, 0.97, 67), (0.1, 0.9, 23), (0.1, 0.97, 18)] {
        let claims = Policy { accuracy, largest_share: Some(largest_share), ..Policy::default() };
        let batch = claims.plan(1024, None).unwrap();
        assert_eq!(batch.public, public, "{largest_share} {accuracy}");
        assert!(batch.blind_probability(largest_share) <= 2f64.powi(-40));
        // What they cost, beside what position consistency alone asked for under a model that is
        // never wrong.
        let most = if largest_share == 0.5 { 1.1 } else { 1.03 };
        assert!(batch.positions() as f64 <= 5124.0 * most, "{batch:?}");
    }
}

#[test]
fn a_label_as_frequent_as_the_model_is_right_is_out_of_reach() {
    let fraud = Policy { accuracy: 0.99, largest_share: Some(0.99), ..Policy::default() };
    let error = fraud.plan(100, None).unwrap_err();
    assert_eq!(error, Infeasible::OutOfReach(Demand::Blind));
    assert!(error.to_string().contains("Choose an error rate to be told apart instead, with `catch`"), "{error}");
    assert!(Policy { catch: Some(0.05), ..fraud }.plan(100, None).is_ok());
}

#[test]
fn one_query() {
    for (accuracy, positions) in [(1.0, 44), (0.97, 56), (0.9, 75), (0.76, 149)] {
        let batch = Policy { accuracy, ..sighted() }.plan(1, None).unwrap();
        assert_eq!(batch.positions(), positions, "{accuracy}: {batch:?}");
    }
}

#[test]
fn lambda_alone_proves_little_about_accuracy() {
    let batch = sighted().plan(1024, None).unwrap();
    assert_eq!(batch.public, 4);
    assert_eq!(format!("{:.2}", batch.smallest_eps(CONFIDENCE).unwrap()), "0.68");
}

/// The plan by trying everything, with `u` from its definition.
fn cheapest_by_trial(policy: &Policy, queries: u64, available: u64, probes: u64, budget: u64) -> Option<u64> {
    let shapes = (1..=budget).flat_map(|copies| (0..=available.min(budget)).map(move |public| (copies, public)));
    let shapes = shapes.filter(|(copies, public)| queries * copies + public <= budget);
    let batches = shapes.flat_map(|(copies, public)| {
        let tolerated = policy.tolerate.map_or(0..=public, |u| u..=u);
        tolerated.map(move |tolerated| Batch { queries, copies, public, tolerated, probes })
    });
    let batches = batches.filter(|b| policy.copies.is_none_or(|copies| copies == b.copies));
    // Without probes, such batches are all there is.
    let batches = batches.filter(|batch| policy.lambda == 0.0 || batch.tolerated < batch.public);
    batches.filter(|batch| policy.check(batch).is_ok()).map(|batch| batch.positions()).min()
}

#[test]
fn nothing_cheaper_is_missed() {
    let budget = 36;
    for queries in [1, 2, 3, 7, 20] {
        for (lambda, accuracy, catch) in
            [(5.0, 1.0, None), (8.0, 0.9, None), (12.0, 0.97, Some(0.2)), (6.0, 0.7, Some(0.6)), (0.0, 0.95, Some(0.3))]
        {
            for (available, tolerate, copies) in
                [(60, None, None), (9, None, None), (3, Some(0), None), (60, Some(2), None), (60, None, Some(2))]
            {
                let largest_share = [Some(0.0), Some(0.2), None][(queries % 3) as usize];
                let policy = Policy { lambda, accuracy, catch, tolerate, copies, largest_share, ..sighted() };
                let probes = queries % 3 * (available / 3);
                let truth = cheapest_by_trial(&policy, queries, available, probes, budget);
                let planned = policy.plan_with_probes(queries, Some(available), probes);
                if let Ok(batch) = planned {
                    assert_eq!(policy.check(&batch), Ok(()), "{policy:?} {batch:?}");
                    assert!(batch.public <= available);
                }
                let found =
                    planned.ok().map(|batch| batch.positions()).filter(|&positions| positions - probes <= budget);
                assert_eq!(found, truth, "{policy:?} {queries} {available}");
            }
        }
    }
}

#[test]
fn all_demands_together() {
    let demands = policy(0.76, Some(0.4));
    let batch = demands.plan(1024, None).unwrap();
    assert_eq!(demands.check(&batch), Ok(()));
    assert!(batch.smallest_eps(CONFIDENCE).unwrap() <= 0.4);
    assert!(batch.false_reject(0.76) <= 0.01);
    assert!(batch.lambda_bits(0.76) >= 40.0);
    // One public sample fewer, and no tolerance does.
    let fewer = batch.public - 1;
    assert!((0..=fewer).all(|u| demands.check(&Batch { public: fewer, tolerated: u, ..batch }).is_err()));
    let demand = Demand::Catch;
    assert_eq!(
        demands.plan(1024, Some(fewer)),
        Err(Infeasible::PublicSamples { available: fewer, needed: batch.public, demand, catch: Some(0.402) })
    );
    // A million queries with a demanding accuracy check.
    let batch = policy(0.97, Some(0.05)).plan(1_000_000, None).unwrap();
    assert!(batch.copies == 3 && batch.public > 1000);
}

#[test]
fn few_public_samples_cost_copies() {
    let plenty = sighted().plan(1, None).unwrap();
    let few = sighted().plan(1, Some(5)).unwrap();
    assert!(few.public <= 5 && few.copies > plenty.copies && few.lambda_bits(1.0) >= 40.0);
    let (needed, demand) = (plenty.public, Demand::Lambda);
    let error = sighted().plan(1, Some(1)).unwrap_err();
    assert_eq!(error, Infeasible::PublicSamples { available: 1, needed, demand, catch: None });
    assert!(error.to_string().contains(&plenty.public.to_string()));
}

#[test]
fn too_few_for_blind_servers_names_what_they_can_do() {
    let error = policy(0.9, None).plan(1024, Some(60)).unwrap_err();
    let Infeasible::PublicSamples { available: 60, needed: 107, demand: Demand::Blind, catch: Some(catch) } = error
    else {
        panic!("{error:?}")
    };
    assert!(policy(0.9, Some(catch)).plan(1024, Some(60)).is_ok());
    assert!(policy(0.9, Some(catch - 0.05)).plan(1024, Some(60)).is_err());
    let text = error.to_string();
    assert!(text.contains("ignores the inputs") && text.contains(&format!("`catch` {catch} accepts that")), "{text}");
}

#[test]
fn probes_save_copies_and_public_samples() {
    let policy = sighted();
    let (plain, probed) = (policy.plan(1, None).unwrap(), policy.plan_with_probes(1, None, 1000).unwrap());
    assert_eq!((probed.probes, policy.check(&probed)), (1000, Ok(())));
    assert!(probed.copies + probed.public < (plain.copies + plain.public) / 2, "{probed:?}");
    // Accuracy is no business of theirs, nor are blind servers.
    assert!(Policy::default().plan_with_probes(4, None, 1000).unwrap().public >= 40);
    let demands = Policy { catch: Some(0.1), ..policy };
    assert!(demands.plan_with_probes(4, None, 1000).unwrap().smallest_eps(CONFIDENCE).unwrap() <= 0.1);
    let error = policy.plan_with_probes(1, Some(0), 1000).unwrap_err();
    let (needed, demand) = (probed.public, Demand::Blind);
    assert_eq!(error, Infeasible::PublicSamples { available: 0, needed, demand, catch: None });
}

#[test]
fn unmet_demands_are_named() {
    let batch = Batch { queries: 10, copies: 3, public: 40, tolerated: 4, probes: 0 };
    let default = sighted();
    let unmet = |policy: Policy| match policy.check(&batch) {
        Err(Infeasible::Unmet { demand, .. }) => Some(demand),
        other => panic!("{other:?}"),
    };
    let lax = Policy { lambda: 2.0, accuracy: 0.99, ..default };
    assert_eq!(lax.check(&batch), Ok(()));
    assert_eq!(unmet(Policy { lambda: 40.0, ..lax }), Some(Demand::Lambda));
    assert_eq!(unmet(Policy { catch: Some(0.1), ..lax }), Some(Demand::Catch));
    assert_eq!(unmet(Policy { largest_share: Some(0.9), ..lax }), Some(Demand::Blind));
    assert_eq!(unmet(Policy { accuracy: 0.8, ..lax }), Some(Demand::FalseReject));
    assert_eq!(unmet(Policy { tolerate: Some(3), ..lax }), Some(Demand::Tolerate));
    assert_eq!(Policy { tolerate: Some(5), accuracy: 0.2, ..lax }.check(&batch), Ok(()));
    assert_eq!(lax.check(&Batch { queries: 0, ..batch }), Err(Infeasible::Queries { queries: 0 }));
}

#[test]
fn extreme_demands_are_errors() {
    let default = Policy::default();
    assert_eq!(default.plan(0, None), Err(Infeasible::Queries { queries: 0 }));
    assert!(matches!(default.plan(u64::MAX, None), Err(Infeasible::Queries { .. })));
    assert!(matches!(default.plan(1, Some(0)), Err(Infeasible::PublicSamples { available: 0, .. })));
    for lambda in [f64::NAN, f64::INFINITY, -1.0] {
        let result = Policy { lambda, ..default }.plan(3, None);
        assert!(matches!(result, Err(Infeasible::Range { name: "lambda", .. })), "{result:?}");
    }
    for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        assert!(matches!(policy(bad, None).plan(3, None), Err(Infeasible::Range { name: "accuracy", .. })));
        assert!(matches!(policy(1.0, Some(bad)).plan(3, None), Err(Infeasible::Range { name: "catch", .. })));
    }
    let result = Policy { lambda: 1e9, ..default }.plan(3, None);
    assert_eq!(result, Err(Infeasible::OutOfReach(Demand::Blind)));
    assert_eq!(policy(1.0, Some(0.0)).plan(3, None), Err(Infeasible::Indistinguishable { catch: 0.0, honest: 0.0 }));
    assert!(matches!(policy(0.76, Some(0.2)).plan(3, None), Err(Infeasible::Indistinguishable { .. })));
    let result = policy(0.76, Some(0.2401)).plan(3, None);
    assert_eq!(result, Err(Infeasible::OutOfReach(Demand::Catch)));
    let never = Policy { false_reject: 0.0, ..policy(0.9, None) };
    assert_eq!(never.plan(3, None), Err(Infeasible::OutOfReach(Demand::FalseReject)));
    assert!(matches!(Policy { copies: Some(0), ..default }.plan(3, None), Err(Infeasible::Range { .. })));
    assert_eq!(
        Policy { copies: Some(2), accuracy: 0.76, ..default }.plan(3, None),
        Err(Infeasible::OutOfReach(Demand::Lambda))
    );
    assert_eq!(Policy { lambda: 0.0, ..default }.plan(3, None).unwrap().positions(), 3);
    let big = Policy { lambda: 1000.0, ..default }.plan(1, None).unwrap();
    assert!(big.lambda_bits(1.0) >= 1000.0);
}
