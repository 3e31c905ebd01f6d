//! The circuits of all operations, on numbers as wires, lowest bit first.

use fusion_catalogue::compare::Comparison;
use fusion_catalogue::garbled::Circuit;
use fusion_ir::Party;
use fusion_ir::types::mask;

use super::Ctx;
use super::gates::{Gates, Wire};
use super::run::{Number, run};
use crate::Error;
use crate::compare::shares::subtract;

/// [`Compare::compare`](crate::compare::Compare::compare) by one circuit.
pub(super) fn compare(ctx: &mut Ctx, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let circuit = Circuit::of(operation);
    let number = |values: Vec<u64>, bits: u8| Number { values, bits };
    // Public constants are added by the server.
    let plus = |x: &[u64], constant: u64, bits: u8| -> Vec<u64> {
        let constant = if ctx.party == Party::Server { constant } else { 0 };
        x.iter().map(|x| x.wrapping_add(constant) & mask(bits)).collect()
    };
    let rounding = |shift: u8| 1u64 << (shift - 1);
    assert_eq!(operands.len(), operation.operands(), "operands of {operation:?}");
    let x = operands[0];
    match *operation {
        Comparison::Sign { bits } => run(ctx, &circuit, &[number(x.to_vec(), bits)], &[1], &|_, mut x| {
            vec![x[0].split_off(usize::from(bits) - 1)]
        }),
        Comparison::Step { bits, k } => run(ctx, &circuit, &[number(x.to_vec(), bits)], &[k], &|gates, x| {
            let zero = gates.constant(false);
            let mut result = vec![zero; usize::from(k)];
            result[0] = gates.not(&top(&x[0]));
            vec![result]
        }),
        Comparison::Relu { bits } => {
            run(ctx, &circuit, &[number(x.to_vec(), bits)], &[bits], &|gates, x| vec![positive(gates, &x[0], 0, bits)])
        }
        Comparison::Requant { bits, shift, k } => {
            let x = number(plus(x, rounding(shift), bits), bits);
            run(ctx, &circuit, &[x], &[k], &|_, x| vec![shifted(&x[0], shift, k)])
        }
        Comparison::RequantRelu { bits, shift, k } => {
            let x = number(plus(x, rounding(shift), bits), bits);
            run(ctx, &circuit, &[x], &[k], &|gates, x| vec![positive(gates, &x[0], shift, k)])
        }
        Comparison::RequantClip { bits, shift, k, limit } => {
            let x = number(plus(x, rounding(shift), bits), bits);
            run(ctx, &circuit, &[x], &[k], &|gates, x| vec![clipped(gates, &x[0][usize::from(shift)..], limit, k)])
        }
        Comparison::Extend { bits, k, .. } => {
            run(ctx, &circuit, &[number(x.to_vec(), bits)], &[k], &|_, x| vec![shifted(&x[0], 0, k)])
        }
        Comparison::Max { bits } => {
            let (a, b) = (x, operands[1]);
            // The larger is a less the difference where that is negative.
            let difference = number(subtract(a, b, bits), bits);
            let lost = run(ctx, &circuit, &[difference], &[bits], &|gates, x| {
                let negative = top(&x[0]);
                vec![gates.gate(&negative, &x[0])]
            })?;
            Ok(vec![subtract(a, &lost[0], bits)])
        }
        Comparison::MaxIndex { bits, index_bits } => {
            let [a, b, i, j] = [0, 1, 2, 3].map(|at| operands[at]);
            let differences = [number(subtract(a, b, bits), bits), number(subtract(i, j, index_bits), index_bits)];
            let lost = run(ctx, &circuit, &differences, &[bits, index_bits], &|gates, x| {
                let negative = top(&x[0]);
                x.iter().map(|x| gates.gate(&negative, x)).collect()
            })?;
            Ok(vec![subtract(a, &lost[0], bits), subtract(i, &lost[1], index_bits)])
        }
        Comparison::Mul { bits } | Comparison::Square { bits } => {
            let operands = [x, operands.last().copied().unwrap_or(x)].map(|x| number(x.to_vec(), bits));
            run(ctx, &circuit, &operands, &[bits], &|gates, x| vec![multiply(gates, &x[0], &x[1])])
        }
    }
}

pub(super) fn arg_max(ctx: &mut Ctx, bits: u8, index_bits: u8, classes: usize, x: &[u64]) -> Result<Vec<u64>, Error> {
    assert!(x.len().is_multiple_of(classes.max(1)), "not a whole number of vectors");
    let circuit = Circuit::arg_max(bits, index_bits, classes);
    let class = |class: usize| Number { values: x.iter().skip(class).step_by(classes).copied().collect(), bits };
    let operands: Vec<Number> = (0..classes).map(class).collect();
    let best = run(ctx, &circuit, &operands, &[index_bits], &|gates, x| {
        let constant = |gates: &Gates, index: usize| -> Vec<Wire> {
            (0..index_bits).map(|bit| gates.constant(index >> bit & 1 == 1)).collect()
        };
        let players = x.into_iter().enumerate().map(|(index, x)| (x, constant(gates, index))).collect();
        let winner = fusion_ir::interp::tournament(players, |left, right| better(gates, left, right));
        vec![winner.map(|(_, index)| index).unwrap_or_default()]
    })?;
    Ok(best.into_iter().flatten().collect())
}

/// A number and what goes with it.
type Player = (Vec<Wire>, Vec<Wire>);

/// The right player if the left one's number less its own is negative, else the left one.
fn better(gates: &mut Gates, left: Player, right: Player) -> Player {
    let negative = top(&difference(gates, &left.0, &right.0));
    let mut choose = |left: Vec<Wire>, right: Vec<Wire>| -> Vec<Wire> {
        let chosen = left.iter().zip(&right).map(|(a, b)| {
            let differs = gates.xor(a, b);
            let change = gates.and(&negative, &differs);
            gates.xor(a, &change)
        });
        chosen.collect()
    };
    (choose(left.0, right.0), choose(left.1, right.1))
}

/// `a - b` mod 2 to the width: the complement of the complement of `a` plus `b`.
fn difference(gates: &mut Gates, a: &[Wire], b: &[Wire]) -> Vec<Wire> {
    let complement: Vec<Wire> = a.iter().map(|a| gates.not(a)).collect();
    gates.add(&complement, b).iter().map(|wire| gates.not(wire)).collect()
}

/// `k` bits from `shift` on, where the number is not negative.
fn positive(gates: &mut Gates, x: &[Wire], shift: u8, k: u8) -> Vec<Wire> {
    let positive = gates.not(&top(x));
    gates.gate(&positive, &x[usize::from(shift)..usize::from(shift + k)])
}

/// The number, at least 0 and at most `limit`, in `k` bits.
fn clipped(gates: &mut Gates, x: &[Wire], limit: u64, k: u8) -> Vec<Wire> {
    let positive = gates.not(&top(x));
    // Whether it is below the limit, as far as its lowest bits go: not in those below the limit's
    // lowest one.
    let first = limit.trailing_zeros() as usize;
    let mut below = gates.not(&x[first]);
    for (place, bit) in x.iter().enumerate().take(x.len() - 1).skip(first + 1) {
        below = if limit >> place & 1 == 1 {
            let not_below = gates.not(&below);
            let above = gates.and(bit, &not_below);
            gates.not(&above)
        } else {
            let clear = gates.not(bit);
            gates.and(&clear, &below)
        };
    }
    let between = gates.and(&positive, &below);
    let above = gates.xor(&positive, &between);
    let mut result = gates.gate(&between, &x[..usize::from(k) - 1]);
    for (_, bit) in result.iter_mut().enumerate().filter(|(place, _)| limit >> place & 1 == 1) {
        *bit = gates.xor(bit, &above);
    }
    result.push(gates.constant(false));
    result
}

/// `k` bits from `shift` on, past the end as many times the sign as are needed.
fn shifted(x: &[Wire], shift: u8, k: u8) -> Vec<Wire> {
    let place = |i: u8| usize::from(shift + i).min(x.len() - 1);
    (0..k).map(|i| x[place(i)].clone()).collect()
}

/// The product mod 2 to the width.
fn multiply(gates: &mut Gates, a: &[Wire], b: &[Wire]) -> Vec<Wire> {
    let mut product = gates.gate(&b[0], a);
    for (place, bit) in b.iter().enumerate().skip(1) {
        let multiple = gates.gate(bit, &a[..a.len() - place]);
        let sum = gates.add(&product[place..], &multiple);
        product.truncate(place);
        product.extend(sum);
    }
    product
}

fn top(x: &[Wire]) -> Wire {
    x.last().cloned().unwrap_or(Wire(Vec::new()))
}
