//! Comparisons keep the laws; tournaments are the interpreter's; hostile messages are refused.

use std::sync::{Arc, Mutex};

use chacha20::ChaCha20Rng;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::compare::{arg_max, max_pool, piecewise, top_k};
use fusion_catalogue::ot::OtSource;
use fusion_catalogue::{Cost, Message};
use fusion_ir::interp::apply_public;
use fusion_ir::op::{Piecewise, Window};
use fusion_ir::types::mask;
use fusion_ir::{Op, Party, TensorType};
use rand_core::SeedableRng;

use super::Ctx;
use crate::channel::pair;
use crate::compare::laws::{Family, comparison_laws, elements, reconstruct, share, ty};
use crate::compare::{self, Compare};
use crate::ot::{Generator, ideal};
use crate::tap::{self, Log, logged, watched};
use crate::{Channel, Error, Kind};

comparison_laws!(Trees);

/// The comparisons of this folder, by the most bits of a leaf.
struct Trees(u8);

impl Family for Trees {
    fn variants() -> Vec<Trees> {
        (1..=4).map(Trees).collect()
    }

    fn setup(&self) -> Cost {
        Cost::default()
    }

    fn cost(&self, operation: &Comparison, n: usize) -> Cost {
        operation.cost(self.0, n)
    }

    fn session(
        &self,
        party: Party,
        channel: &mut dyn Channel,
        mut correlations: Generator,
        run: &mut dyn FnMut(&mut dyn Compare),
    ) {
        let correlations = &mut correlations;
        run(&mut Ctx { party, channel, correlations, leaves: self.0.into() });
    }
}

/// Both parties' results of `run` on one established session, and the client's messages after
/// set-up.
fn both<T: Send>(leaf_bits: u8, run: impl Fn(&mut Ctx) -> T + Sync) -> ([T; 2], Vec<Message>, Vec<u8>) {
    let (left, right) = pair();
    let dealers = ideal::pair(1);
    let side = |party, inner, dealer| {
        let (log, sent) = (Log::default(), Arc::<Mutex<Vec<u8>>>::default());
        let noted = Arc::clone(&sent);
        let mut channel = watched(logged(inner, party, &log), move |kind, message| {
            if let (Kind::Comparison, tap::Message::Sending(payload)) = (kind, message) {
                noted.lock().expect("no panic").extend_from_slice(payload);
            }
        });
        let mut correlations = Generator::dealt(dealer);
        let result =
            run(&mut Ctx { party, channel: &mut channel, correlations: &mut correlations, leaves: leaf_bits.into() });
        (result, log.lock().expect("no panic").clone(), sent.lock().expect("no panic").clone())
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, right, dealers.1));
        let (client, messages, sent) = side(Party::Client, left, dealers.0);
        let (server, ..) = server.join().expect("server");
        ([client, server], messages, sent)
    })
}

#[test]
fn max_pools_and_argmaxes_are_the_interpreters() {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let window = |kernel, strides, pads| Window { kernel, strides, pads };
    let windows = [
        (window([2, 2], [2, 2], [0, 0, 0, 0]), 7, 6, 3),
        (window([3, 3], [2, 2], [1, 1, 1, 1]), 9, 8, 3),
        (window([3, 3], [1, 1], [0, 0, 0, 0]), 3, 5, 1),
        (window([2, 5], [3, 1], [1, 4, 0, 2]), 8, 5, 3),
        (window([1, 1], [2, 2], [0, 0, 0, 0]), 4, 4, 2),
        (window([4, 4], [1, 1], [0, 0, 0, 0]), 3, 3, 2),
        // More images than are pooled at once.
        (window([2, 2], [2, 2], [0, 0, 0, 0]), 256, 256, 17),
    ];
    let (bits, index_bits) = (11, 9);
    let images: Vec<Vec<i64>> = windows.iter().map(|(_, h, w, n)| elements(n * h * w, bits, &mut rng)).collect();
    let classes = [1, 2, 3, 10, 33];
    const POSITIONS: usize = 4;
    let vectors: Vec<Vec<i64>> = classes
        .iter()
        .map(|n| elements(POSITIONS * n, bits, &mut rng).iter().map(|x| x >> 2).collect::<Vec<i64>>())
        .collect();
    let mut split = |all: &Vec<Vec<i64>>| -> [Vec<Vec<u64>>; 2] {
        let (client, server) = all.iter().map(|x| share(x, bits, &mut rng)).unzip();
        [client, server]
    };
    let (image_shares, vector_shares) = (split(&images), split(&vectors));
    let (results, messages, _) = both(3, |ctx| {
        let mut results = Vec::new();
        for ((window, height, width, _), x) in windows.iter().zip(&image_shares[ctx.party as usize]) {
            results.push(compare::max_pool(ctx, bits, window, *height, *width, x).expect("honest peer"));
        }
        for (classes, x) in classes.iter().zip(&vector_shares[ctx.party as usize]) {
            results.push(compare::arg_max(ctx, bits, index_bits, *classes, x).expect("honest peer"));
        }
        results
    });
    let mut found = results[0].iter().zip(&results[1]);
    let mut cost = Cost::default();
    let price = |comparison: &Comparison, n| comparison.cost(3, n);
    for ((window, height, width, images), x) in windows.iter().zip(&images) {
        let shape = |rows, columns| TensorType { shape: vec![*images, rows, columns], ..ty(bits, 0) };
        let [rows, columns] = window.output(*height, *width).unwrap_or_default();
        let from = shape(*height, *width);
        let expected = apply_public(&Op::MaxPool(window.clone()), &[x], &[&from], &shape(rows, columns));
        let (client, server) = found.next().expect("one result each");
        assert_eq!(reconstruct(client, server, bits), expected, "{window:?}");
        cost.then(&max_pool(&price, bits, window, [*height, *width], *images));
    }
    for (n, x) in classes.iter().zip(&vectors) {
        let label = |x: &[i64]| apply_public(&Op::ArgMax, &[x], &[&ty(bits, *n)], &ty(index_bits, 1))[0];
        let (client, server) = found.next().expect("one result each");
        assert_eq!(reconstruct(client, server, index_bits), x.chunks_exact(*n).map(label).collect::<Vec<i64>>());
        cost.then(&arg_max(&price, bits, index_bits, *n, POSITIONS));
    }
    assert_eq!(messages, cost.messages);
}

#[test]
fn top_ks_and_piecewise_functions_are_the_interpreters() {
    let mut rng = ChaCha20Rng::seed_from_u64(14);
    const POSITIONS: usize = 3;
    let ranked: Vec<(usize, usize, Vec<i64>)> = [(1, 1), (2, 1), (3, 3), (10, 5), (33, 4), (40, 40)]
        .map(|(n, k)| {
            // Small elements make ties.
            let x = elements(POSITIONS * n, 12, &mut rng).iter().map(|x| x >> 7).collect();
            (n, k, x)
        })
        .into();
    let functions: Vec<(u8, Piecewise, Vec<i64>)> = [2, 5, 17, 40, 63]
        .into_iter()
        .flat_map(|bits| [1, 2, 7].map(|knots| (bits, knots)))
        .map(|(bits, knots)| {
            let mut constant = || elements(10, bits, &mut rng)[9];
            let (first_slope, offset) = (constant(), constant());
            let mut knots: Vec<(i64, i64)> = (0..knots).map(|_| (constant(), constant())).collect();
            knots.sort_unstable();
            let function = Piecewise { first_slope, slope_frac: 0, offset, knots };
            (bits, function, elements(70, bits, &mut rng))
        })
        .collect();
    let mut split = |x: &[i64], bits| -> [Vec<u64>; 2] { share(x, bits, &mut rng).into() };
    let ranked_shares: Vec<_> = ranked.iter().map(|(_, _, x)| split(x, 12)).collect();
    let function_shares: Vec<_> = functions.iter().map(|(bits, _, x)| split(x, *bits)).collect();
    for leaf_bits in [1, 4] {
        let (results, messages, _) = both(leaf_bits, |ctx| {
            let (mut results, party) = (Vec::new(), ctx.party as usize);
            for ((n, k, _), x) in ranked.iter().zip(&ranked_shares) {
                results.push(compare::top_k(ctx, 12, 8, *n, *k, &x[party]).expect("honest peer"));
            }
            for ((bits, function, _), x) in functions.iter().zip(&function_shares) {
                results.push(compare::piecewise(ctx, *bits, function, &x[party]).expect("honest peer"));
            }
            results
        });
        let mut found = results[0].iter().zip(&results[1]);
        let mut cost = Cost::default();
        let price = |comparison: &Comparison, n| comparison.cost(leaf_bits, n);
        for (n, k, x) in &ranked {
            let op = Op::TopK { k: *k as u16 };
            let best = |x: &[i64]| apply_public(&op, &[x], &[&ty(12, *n)], &ty(8, *k));
            let (client, server) = found.next().expect("one result each");
            assert_eq!(reconstruct(client, server, 8), x.chunks_exact(*n).flat_map(best).collect::<Vec<i64>>());
            cost.then(&top_k(&price, 12, 8, *n, *k, POSITIONS));
        }
        for (bits, function, x) in &functions {
            let ty = ty(*bits, x.len());
            let expected = apply_public(&Op::Piecewise(function.clone()), &[x], &[&ty], &ty);
            let (client, server) = found.next().expect("one result each");
            assert_eq!(reconstruct(client, server, *bits), expected, "{function:?}");
            cost.then(&piecewise(&price, *bits, function.knots.len(), x.len()));
        }
        assert_eq!(messages, cost.messages);
    }
}

#[test]
fn messages_look_random_whatever_the_shares_are() {
    for share in [0, mask(28)] {
        let (_, _, sent) = both(3, |ctx| {
            let operation = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
            super::run(ctx, &operation, &[&[share; 512]]).expect("honest peer")
        });
        let ones: u32 = sent.iter().map(|byte| byte.count_ones()).sum();
        let (bits, ones) = (sent.len() as f64 * 8.0, f64::from(ones));
        assert!((ones - bits / 2.0).abs() < 5.0 * bits.sqrt() / 2.0, "{ones} of {bits} bits are one");
    }
}

#[test]
fn filling_that_is_not_zero_is_refused() {
    let ([client, _], _, _) = both(3, |ctx| {
        let operation = Comparison::Sign { bits: 2 };
        if ctx.party == Party::Client {
            let result = super::run(ctx, &operation, &[&[1]]);
            return matches!(result, Err(Error::PeerMisbehaved(_)));
        }
        ctx.correlations.draw(&operation.need(3, 1)).expect("honest peer");
        ctx.channel.send(Kind::Comparison, vec![0x80]).expect("the client listens");
        // The client may send its own part first: whoever hangs up before that is another fault.
        let _ = ctx.channel.receive(Kind::Comparison, 1);
        true
    });
    assert!(client);
}

#[test]
fn the_wire_is_as_it_was() {
    let digests = |leaf_bits: u8, work: fn(&mut Ctx, &[u64])| {
        crate::ot::wire(OtSource::default(), |party, channel, correlations| {
            let own: Vec<u64> = (0..100).map(|i| ((i + 7) * (i + 1)) << (8 * party as u8)).collect();
            work(&mut Ctx { party, channel, correlations, leaves: leaf_bits.into() }, &own);
        })
    };
    let requant_relu = |ctx: &mut Ctx, own: &[u64]| {
        let operation = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
        super::run(ctx, &operation, &[own]).expect("honest peer");
    };
    let requant_clip = |ctx: &mut Ctx, own: &[u64]| {
        let operation = Comparison::RequantClip { bits: 28, shift: 12, k: 15, limit: 1536 };
        super::run(ctx, &operation, &[own]).expect("honest peer");
    };
    let step = |ctx: &mut Ctx, own: &[u64]| {
        super::run(ctx, &Comparison::Step { bits: 34, k: 4 }, &[own]).expect("honest peer");
    };
    let product = |ctx: &mut Ctx, own: &[u64]| {
        super::run(ctx, &Comparison::Mul { bits: 28 }, &[own, own]).expect("honest peer");
    };
    let clip = |ctx: &mut Ctx, own: &[u64]| {
        let knots = vec![(0, 1), (1536, -1)];
        let function = Piecewise { first_slope: 0, slope_frac: 0, offset: 0, knots };
        compare::piecewise(ctx, 28, &function, own).expect("honest peer");
    };
    let top_k = |ctx: &mut Ctx, own: &[u64]| drop(compare::top_k(ctx, 28, 6, 25, 3, own).expect("honest peer"));
    let found = [
        digests(1, requant_relu),
        digests(2, requant_relu),
        digests(3, requant_relu),
        digests(4, requant_relu),
        digests(3, requant_clip),
        digests(3, product),
        digests(3, clip),
        digests(3, top_k),
        digests(3, step),
    ];
    let known = [
        ["5d1187a1f15e85e3", "4c8e283a323c7bef"],
        ["24c6141ef95dc993", "ca68f2dd1e2b97db"],
        ["2fbd1cb0a7817e9b", "99203436b6ae17cc"],
        ["6ff237ed0b0b5edb", "9eec3bf0180e35a0"],
        ["6fa50febfc999767", "89fd7cbf0fd7d1a1"],
        ["f685d26bfe7a08dd", "d7310dfb57e7bbcc"],
        ["c5919eb9dd3c980d", "494765d0ab128e0a"],
        ["fefca49482daaf75", "dab7dd344606e044"],
        ["9701b0ff54d99fa3", "36e48b0a8a2c5b8a"],
    ];
    assert_eq!(found, known);
}
