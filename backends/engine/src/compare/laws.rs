//! What every implementation of [`Comparison`] must satisfy: equality with the interpreter for all
//! widths, shifts and edge values, and exactly the predicted messages. [`comparison_laws`] makes
//! the tests of one implementation.

use chacha20::ChaCha20Rng;
use fusion_catalogue::compare::{Comparison, WAVE};
use fusion_catalogue::{Cost, Message};
use fusion_ir::interp::{apply_public, max};
use fusion_ir::types::{Sign, mask, signed, wrap};
use fusion_ir::{Op, Party, TensorType};
use rand_core::{Rng, SeedableRng};

use super::Compare;
use crate::Channel;
use crate::channel::pair;
use crate::ot::{Generator, ideal};
use crate::tap::{Log, logged};

/// A family of protocols under test.
pub(crate) trait Family: Sync + Sized {
    /// Everything about it that is a parameter: all of these keep the laws.
    fn variants() -> Vec<Self>;

    /// What its set-up costs.
    fn setup(&self) -> Cost;

    /// What a comparison of `n` elements costs.
    fn cost(&self, operation: &Comparison, n: usize) -> Cost;

    /// Sets one party up, with random OTs from `correlations`, and hands it over.
    fn session(
        &self,
        party: Party,
        channel: &mut dyn Channel,
        correlations: Generator,
        run: &mut dyn FnMut(&mut dyn Compare),
    );
}

/// One line gives an implementation every test.
macro_rules! comparison_laws {
    ($family:ty) => {
        #[test]
        fn signs_and_relus() {
            $crate::compare::laws::signs_and_relus::<$family>();
        }
        #[test]
        fn requantisations() {
            $crate::compare::laws::requantisations::<$family>();
        }
        #[test]
        fn extensions() {
            $crate::compare::laws::extensions::<$family>();
        }
        #[test]
        fn maxima() {
            $crate::compare::laws::maxima::<$family>();
        }
        #[test]
        fn products() {
            $crate::compare::laws::products::<$family>();
        }
        #[test]
        fn all_shares_of_small_widths() {
            $crate::compare::laws::all_shares_of_small_widths::<$family>();
        }
        #[test]
        fn more_than_a_wave() {
            $crate::compare::laws::more_than_a_wave::<$family>();
        }
    };
}

pub(crate) use comparison_laws;

/// One operation on one set of operands, with what it must give.
struct Case {
    operation: Comparison,
    operands: Vec<Vec<i64>>,
    /// Widths of the operands.
    widths: Vec<u8>,
    expected: Vec<Vec<i64>>,
    /// Widths of the results.
    result_widths: Vec<u8>,
}

/// Runs all cases on random shares, in every variant.
fn check<F: Family>(cases: &[Case], seed: u64) {
    check_shares::<F>(cases, &random_shares(cases, &mut ChaCha20Rng::seed_from_u64(seed)));
}

/// For each case the client's and the server's shares of its operands.
fn random_shares(cases: &[Case], rng: &mut ChaCha20Rng) -> Vec<[Vec<Vec<u64>>; 2]> {
    let mut split = |case: &Case| -> [Vec<Vec<u64>>; 2] {
        let operands = case.operands.iter().zip(&case.widths);
        let (client, server) = operands.map(|(x, bits)| share(x, *bits, rng)).unzip();
        [client, server]
    };
    cases.iter().map(&mut split).collect()
}

fn check_shares<F: Family>(cases: &[Case], shares: &[[Vec<Vec<u64>>; 2]]) {
    F::variants().iter().for_each(|family| check_session(family, cases, shares));
}

/// Runs all cases in one session.
fn check_session<F: Family>(family: &F, cases: &[Case], shares: &[[Vec<Vec<u64>>; 2]]) {
    let (results, messages) = both_of(family, |ctx| {
        let run = |(case, shares): (&Case, &[Vec<Vec<u64>>; 2])| {
            let operands: Vec<&[u64]> = shares[ctx.party() as usize].iter().map(Vec::as_slice).collect();
            ctx.compare(&case.operation, &operands).expect("honest peer")
        };
        cases.iter().zip(shares).map(run).collect::<Vec<_>>()
    });
    let mut cost = family.setup();
    let [client, server] = results;
    for (case, (client, server)) in cases.iter().zip(client.iter().zip(&server)) {
        cost.then(&family.cost(&case.operation, case.operands[0].len()));
        assert_eq!(client.len(), case.expected.len());
        for (i, (client, server)) in client.iter().zip(server).enumerate() {
            let bits = case.result_widths[i];
            assert_eq!(reconstruct(client, server, bits), case.expected[i], "{:?} result {i}", case.operation);
        }
    }
    assert_eq!(messages, cost.messages);
}

/// Both parties' results of `run`, and the client's messages, set-up included.
pub(crate) fn both_of<F: Family, T: Send>(
    family: &F,
    run: impl Fn(&mut dyn Compare) -> T + Sync,
) -> ([T; 2], Vec<Message>) {
    let (left, right) = pair();
    let dealers = ideal::pair(1);
    let side = |party, inner, dealer| {
        let log = Log::default();
        let mut channel = logged(inner, party, &log);
        let mut result = None;
        family.session(party, &mut channel, Generator::dealt(dealer), &mut |ctx| result = Some(run(ctx)));
        drop(channel);
        (result.expect("a session runs"), std::mem::take(&mut *log.lock().expect("no panic")))
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, right, dealers.1));
        let (client, messages) = side(Party::Client, left, dealers.0);
        ([client, server.join().expect("server").0], messages)
    })
}

pub(crate) fn share(x: &[i64], bits: u8, rng: &mut ChaCha20Rng) -> (Vec<u64>, Vec<u64>) {
    let client: Vec<u64> = x.iter().map(|_| rng.next_u64() & mask(bits)).collect();
    let server = x.iter().zip(&client).map(|(x, c)| wrap(*x, bits).wrapping_sub(*c) & mask(bits)).collect();
    (client, server)
}

pub(crate) fn reconstruct(client: &[u64], server: &[u64], bits: u8) -> Vec<i64> {
    assert_eq!(client.len(), server.len());
    let sum = |(c, s): (&u64, &u64)| {
        assert!(*c <= mask(bits) && *s <= mask(bits), "shares are reduced");
        signed(c.wrapping_add(*s) & mask(bits), bits)
    };
    client.iter().zip(server).map(sum).collect()
}

/// `n` elements: first edge values, then random ones.
pub(crate) fn elements(n: usize, bits: u8, rng: &mut ChaCha20Rng) -> Vec<i64> {
    let most = (mask(bits) >> 1) as i64;
    let edges = [0, -1, 1, most, -most - 1, most - 1, -most, most / 2, most / 2 + 1];
    let edges = edges.into_iter().map(|x| signed(x as u64, bits));
    let random = std::iter::repeat_with(|| signed(rng.next_u64(), bits));
    edges.chain(random).take(n).collect()
}

const SIZES: [usize; 6] = [64, 1, 0, 129, 63, 200];
const WIDTHS: [u8; 9] = [2, 3, 4, 7, 16, 28, 33, 62, 63];

pub(crate) fn ty(bits: u8, n: usize) -> TensorType {
    TensorType { shape: vec![n], bits, frac: 0, magnitude: 1, sign: Sign::Any }
}

/// A case of one operand whose meaning is that of `op`.
fn case(operation: Comparison, op: Op, x: Vec<i64>, bits: u8, k: u8) -> Case {
    let (from, to) = (ty(bits, x.len()), ty(k, x.len()));
    let expected = vec![apply_public(&op, &[&x], &[&from], &to)];
    Case { operation, operands: vec![x], widths: vec![bits], expected, result_widths: vec![k] }
}

pub(crate) fn signs_and_relus<F: Family>() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut cases = Vec::new();
    for (bits, n) in WIDTHS.into_iter().zip(SIZES.into_iter().cycle()) {
        let x = elements(n, bits, &mut rng);
        // A sign is one bit: as a signed number of that width, -1 says negative.
        let negative = x.iter().map(|x| -i64::from(*x < 0)).collect();
        let operation = Comparison::Sign { bits };
        let (operands, widths) = (vec![x.clone()], vec![bits]);
        cases.push(Case { operation, operands, widths, expected: vec![negative], result_widths: vec![1] });
        cases.push(case(Comparison::Relu { bits }, Op::Relu, x.clone(), bits, bits));
        for k in [2, 5, 34, 63] {
            cases.push(case(Comparison::Step { bits, k }, Op::Step, x.clone(), bits, k));
        }
    }
    check::<F>(&cases, 2);
}

pub(crate) fn requantisations<F: Family>() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut cases = Vec::new();
    let mut add = |bits: u8, shift: u8, k: u8, n, rng: &mut ChaCha20Rng| {
        let x = elements(n, bits, rng);
        cases.push(case(Comparison::Requant { bits, shift, k }, Op::Requant { shift }, x.clone(), bits, k));
        if k <= bits - shift {
            let operation = Comparison::RequantRelu { bits, shift, k };
            cases.push(case(operation, Op::RequantRelu { shift }, x.clone(), bits, k));
            let limit = 1 + rng.next_u64() % mask(k - 1);
            for limit in [limit, 1 << limit.ilog2()] {
                let operation = Comparison::RequantClip { bits, shift, k, limit };
                let op = Op::RequantClip { shift, limit: limit as i64 };
                // Some of them on both sides of the limit.
                let mut x = x.clone();
                for (x, near) in x.iter_mut().skip(9).zip(0..6) {
                    *x = signed((limit << shift).wrapping_add(near).wrapping_sub((1 << (shift - 1)) + 3), bits);
                }
                cases.push(case(operation, op, x, bits, k));
            }
        }
    };
    for bits in [2, 28, 63] {
        for shift in 1..bits {
            let exact = (bits - shift).max(2);
            for k in [exact, (exact / 2).max(2), (exact + 1).min(63), 63] {
                add(bits, shift, k, 19, &mut rng);
            }
        }
    }
    for n in SIZES {
        for _ in 0..4 {
            let bits = 2 + (rng.next_u64() % 62) as u8;
            let shift = 1 + (rng.next_u64() % u64::from(bits - 1)) as u8;
            let k = 2 + (rng.next_u64() % 62) as u8;
            add(bits, shift, k, n, &mut rng);
        }
    }
    check::<F>(&cases, 4);
}

pub(crate) fn extensions<F: Family>() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut cases = Vec::new();
    for (bits, n) in WIDTHS.into_iter().zip(SIZES.into_iter().cycle()) {
        for k in [bits + 1, bits + 2, (bits + 63) / 2, 63] {
            if k <= bits || k > 63 {
                continue;
            }
            let x = elements(n, bits, &mut rng);
            let positive = x.iter().map(|x| x & (mask(bits) >> 1) as i64).collect();
            cases.push(case(Comparison::Extend { bits, k, sign: Sign::Any }, Op::Extend, x, bits, k));
            let known = Comparison::Extend { bits, k, sign: Sign::NonNegative };
            cases.push(case(known, Op::Extend, positive, bits, k));
        }
    }
    check::<F>(&cases, 6);
}

pub(crate) fn maxima<F: Family>() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut cases = Vec::new();
    for (bits, n) in WIDTHS.into_iter().zip(SIZES.into_iter().cycle()) {
        let a = elements(n, bits, &mut rng);
        let mut b = elements(n, bits, &mut rng);
        b.reverse();
        b.iter_mut().zip(&a).step_by(5).for_each(|(b, a)| *b = *a);
        let best: Vec<i64> = a.iter().zip(&b).map(|(a, b)| max(*a, *b, bits)).collect();
        let index_bits = 2 + bits % 7;
        let [i, j] = [0, 1].map(|_| elements(n, index_bits, &mut rng));
        let right = a.iter().zip(&b).map(|(a, b)| signed(a.wrapping_sub(*b) as u64, bits) < 0);
        let index = right.zip(i.iter().zip(&j)).map(|(right, (i, j))| if right { *j } else { *i }).collect();
        cases.push(Case {
            operation: Comparison::Max { bits },
            operands: vec![a.clone(), b.clone()],
            widths: vec![bits; 2],
            expected: vec![best.clone()],
            result_widths: vec![bits],
        });
        cases.push(Case {
            operation: Comparison::MaxIndex { bits, index_bits },
            operands: vec![a, b, i, j],
            widths: vec![bits, bits, index_bits, index_bits],
            expected: vec![best, index],
            result_widths: vec![bits, index_bits],
        });
    }
    check::<F>(&cases, 8);
}

pub(crate) fn products<F: Family>() {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    let mut cases = Vec::new();
    for (bits, n) in WIDTHS.into_iter().zip(SIZES.into_iter().cycle()) {
        let [a, b] = [0, 1].map(|_| elements(n, bits, &mut rng));
        let ty = ty(bits, n);
        let expected = vec![apply_public(&Op::Mul, &[&a, &b], &[&ty, &ty], &ty)];
        let squares = vec![apply_public(&Op::Mul, &[&a, &a], &[&ty, &ty], &ty)];
        let (operands, widths, result_widths) = (vec![a.clone()], vec![bits], vec![bits]);
        let operation = Comparison::Square { bits };
        cases.push(Case { operation, operands, widths, expected: squares, result_widths });
        let (operands, widths) = (vec![a, b], vec![bits; 2]);
        cases.push(Case { operation: Comparison::Mul { bits }, operands, widths, expected, result_widths: vec![bits] });
    }
    check::<F>(&cases, 13);
}

pub(crate) fn all_shares_of_small_widths<F: Family>() {
    let mut cases = Vec::new();
    let mut shares = Vec::new();
    for bits in 2..=5u8 {
        let size = 1u64 << bits;
        let client: Vec<u64> = (0..size * size).map(|i| i / size).collect();
        let server: Vec<u64> = (0..size * size).map(|i| i % size).collect();
        let x = reconstruct(&client, &server, bits);
        let mut add = |case| {
            cases.push(case);
            shares.push([vec![client.clone()], vec![server.clone()]]);
        };
        add(case(Comparison::Relu { bits }, Op::Relu, x.clone(), bits, bits));
        let ty = ty(bits, x.len());
        let squares = vec![apply_public(&Op::Mul, &[&x, &x], &[&ty, &ty], &ty)];
        let (operands, widths, result_widths) = (vec![x.clone()], vec![bits], vec![bits]);
        let operation = Comparison::Square { bits };
        add(Case { operation, operands, widths, expected: squares, result_widths });
        (2..=6).for_each(|k| add(case(Comparison::Step { bits, k }, Op::Step, x.clone(), bits, k)));
        add(case(Comparison::Extend { bits, k: 7, sign: Sign::Any }, Op::Extend, x.clone(), bits, 7));
        for (shift, k) in (1..bits).flat_map(|shift| (2..=6).map(move |k| (shift, k))) {
            let op = Op::Requant { shift };
            add(case(Comparison::Requant { bits, shift, k }, op, x.clone(), bits, k));
            if k <= bits - shift {
                let op = Op::RequantRelu { shift };
                add(case(Comparison::RequantRelu { bits, shift, k }, op, x.clone(), bits, k));
                for limit in 1..=mask(k - 1) {
                    let op = Op::RequantClip { shift, limit: limit as i64 };
                    add(case(Comparison::RequantClip { bits, shift, k, limit }, op, x.clone(), bits, k));
                }
            }
        }
    }
    check_shares::<F>(&cases, &shares);
}

pub(crate) fn more_than_a_wave<F: Family>() {
    let x = elements(WAVE + 70, 4, &mut ChaCha20Rng::seed_from_u64(9));
    let y = elements(WAVE / 8 + 70, 2, &mut ChaCha20Rng::seed_from_u64(11));
    let ty = ty(2, y.len());
    let expected = vec![apply_public(&Op::Mul, &[&y, &y], &[&ty, &ty], &ty)];
    let (operands, widths) = (vec![y.clone(), y], vec![2; 2]);
    let product = Case { operation: Comparison::Mul { bits: 2 }, operands, widths, expected, result_widths: vec![2] };
    let cases = [case(Comparison::Relu { bits: 4 }, Op::Relu, x, 4, 4), product];
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    let shares = random_shares(&cases, &mut rng);
    let family = &F::variants()[F::variants().len() / 3];
    check_session(family, &cases, &shares);
}
