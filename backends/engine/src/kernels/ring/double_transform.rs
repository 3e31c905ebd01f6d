//! The number-theoretic transform in double precision, three stages for each time that a polynomial
//! passes through registers.
//!
//! The stages are those of [`super::tables`]. Values are integers of either sign, reduced only
//! before they grow beyond what a product takes; bounds are in units of the prime.

use fusion_catalogue::cpu::Form;
use pulp::bytemuck;

use super::double::{self, Field, Kernel, Vectors, run};
use super::tables::{BLOCKS, Tables};
use super::{LANES, Lanes};
use fusion_catalogue::rlwe::DEGREE;

/// A residue, of magnitude at most 1/2, with its quotient by the prime; as the bits of doubles.
pub fn factor(prime: u64, value: u64) -> [u64; 2] {
    double::factor(prime, value).map(f64::to_bits)
}

/// Coefficients to values, all of them residues, [`DEGREE`] of each, with the vectors of a form;
/// says whether it has any.
pub fn forward(form: Form, tables: &Tables, polynomial: &mut [u64]) -> bool {
    run(form, Forward { tables, polynomial })
}

/// Values to coefficients, as [`forward`].
pub fn inverse(form: Form, tables: &Tables, polynomial: &mut [u64]) -> bool {
    run(form, Inverse { tables, polynomial })
}

struct Forward<'a> {
    tables: &'a Tables,
    polynomial: &'a mut [u64],
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run<S: Vectors>(self, simd: S) {
        let Forward { tables, polynomial } = self;
        let polynomial: &mut [f64; DEGREE] = bytemuck::cast_slice_mut(polynomial).try_into().expect("the degree");
        let (parts, field) = (LANES / S::F64_LANES, Field::new(simd, tables.prime));
        let vectors = S::as_mut_simd_f64s(polynomial).0;
        let (far, near) = tables.forward.groups.split_at(1 + LANES);
        for at in 0..BLOCKS * parts {
            // Residues are below 1; three stages later values are below 23/8.
            let column = doubles(field, gather::<S>(vectors, at, BLOCKS * parts));
            scatter::<S>(vectors, at, BLOCKS * parts, forth(field, column, |i| splat(simd, &far[0][i])));
        }
        for (roots, vectors) in far[1..].iter().zip(vectors.chunks_exact_mut(BLOCKS * parts)) {
            for at in 0..LANES * parts {
                let column = reduced_half(field, gather::<S>(vectors, at, LANES * parts));
                scatter::<S>(vectors, at, LANES * parts, forth(field, column, |i| splat(simd, &roots[i])));
            }
        }
        let blocks = polynomial.as_chunks_mut::<{ LANES * LANES }>().0.iter_mut();
        for (block, (roots, lanes)) in blocks.zip(near.iter().zip(&tables.forward.lanes)) {
            let vectors = S::as_mut_simd_f64s(block).0;
            for at in 0..parts {
                let column = reduced_half(field, gather::<S>(vectors, at, parts));
                scatter::<S>(vectors, at, parts, forth(field, column, |i| splat(simd, &roots[i])));
            }
            simd.transpose(block);
            let vectors = S::as_mut_simd_f64s(block).0;
            for at in 0..parts {
                let mut column = forth(field, gather::<S>(vectors, at, parts), |i| load::<S>(&lanes[i], at));
                for value in &mut column {
                    *value = simd.transmute_f64s_u64s(field.word(field.canonical(field.reduced(*value))));
                }
                scatter::<S>(vectors, at, parts, column);
            }
        }
    }
}

struct Inverse<'a> {
    tables: &'a Tables,
    polynomial: &'a mut [u64],
}

impl Kernel for Inverse<'_> {
    #[inline(always)]
    fn run<S: Vectors>(self, simd: S) {
        let Inverse { tables, polynomial } = self;
        let polynomial: &mut [f64; DEGREE] = bytemuck::cast_slice_mut(polynomial).try_into().expect("the degree");
        let (parts, field) = (LANES / S::F64_LANES, Field::new(simd, tables.prime));
        let (far, near) = tables.inverse.groups.split_at(1 + LANES);
        let blocks = polynomial.as_chunks_mut::<{ LANES * LANES }>().0.iter_mut();
        for (block, (roots, lanes)) in blocks.zip(near.iter().zip(&tables.inverse.lanes)) {
            let vectors = S::as_mut_simd_f64s(block).0;
            for at in 0..parts {
                let column = doubles(field, gather::<S>(vectors, at, parts));
                scatter::<S>(vectors, at, parts, back(field, column, |i| load::<S>(&lanes[i], at)));
            }
            simd.transpose(block);
            let vectors = S::as_mut_simd_f64s(block).0;
            for at in 0..parts {
                let column = gather::<S>(vectors, at, parts);
                scatter::<S>(vectors, at, parts, back(field, column, |i| splat(simd, &roots[i])));
            }
        }
        let vectors = S::as_mut_simd_f64s(polynomial).0;
        for (roots, vectors) in far[1..].iter().zip(vectors.chunks_exact_mut(BLOCKS * parts)) {
            for at in 0..LANES * parts {
                let column = gather::<S>(vectors, at, LANES * parts);
                scatter::<S>(vectors, at, LANES * parts, back(field, column, |i| splat(simd, &roots[i])));
            }
        }
        let last = [splat(simd, &tables.last[0]), splat(simd, &tables.last[1])];
        for at in 0..BLOCKS * parts {
            let column = gather::<S>(vectors, at, BLOCKS * parts);
            let column = end(field, back_by_two(field, column, |i| splat(simd, &far[0][i])), last);
            scatter::<S>(vectors, at, BLOCKS * parts, column);
        }
    }
}

/// Values that pass through registers together.
type Column<S> = [<S as pulp::Simd>::f64s; LANES];
/// A factor in registers, with its quotient.
type Factor<S> = [<S as pulp::Simd>::f64s; 2];

/// Three stages forth; `root(i)` is the `i`-th of their roots. Values below `b <= 11/4` become
/// values below `b + 15/8`.
#[inline(always)]
fn forth<S: Vectors>(field: Field<S>, mut column: Column<S>, root: impl Fn(usize) -> Factor<S>) -> Column<S> {
    let first = root(0);
    for i in 0..4 {
        butterfly(field, &mut column, [i, i + 4], first);
    }
    for (half, i) in [(0, 0), (0, 1), (1, 4), (1, 5)] {
        butterfly(field, &mut column, [i, i + 2], root(1 + half));
    }
    for i in 0..4 {
        butterfly(field, &mut column, [2 * i, 2 * i + 1], root(3 + i));
    }
    column
}

/// What the first of three stages forth adds to and subtracts from, reduced.
#[inline(always)]
fn reduced_half<S: Vectors>(field: Field<S>, mut column: Column<S>) -> Column<S> {
    for value in &mut column[..LANES / 2] {
        *value = field.reduced(*value);
    }
    column
}

/// `left + root right` and `left - root right`.
#[inline(always)]
fn butterfly<S: Vectors>(field: Field<S>, column: &mut Column<S>, [left, right]: [usize; 2], root: Factor<S>) {
    let product = field.times(column[right], root);
    column[right] = field.simd.sub_f64s(column[left], product);
    column[left] = field.simd.add_f64s(column[left], product);
}

/// Three stages back; `root(i)` is the `i`-th of their roots. Values below 1 stay below 1, but for
/// a rounding error.
#[inline(always)]
fn back<S: Vectors>(field: Field<S>, column: Column<S>, root: impl Fn(usize) -> Factor<S>) -> Column<S> {
    let mut column = back_by_two(field, column, &root);
    let first = root(0);
    for i in 0..4 {
        butterfly_back(field, &mut column, [i, i + 4], first);
    }
    for value in &mut column[1..4] {
        *value = field.reduced(*value);
    }
    column
}

/// The first two of the stages of [`back`]. What added up twice, below 4, is reduced; the others
/// are below 5/4.
#[inline(always)]
fn back_by_two<S: Vectors>(field: Field<S>, mut column: Column<S>, root: impl Fn(usize) -> Factor<S>) -> Column<S> {
    for i in 0..4 {
        butterfly_back(field, &mut column, [2 * i, 2 * i + 1], root(3 + i));
    }
    for (half, i) in [(0, 0), (0, 1), (1, 4), (1, 5)] {
        butterfly_back(field, &mut column, [i, i + 2], root(1 + half));
    }
    for i in [0, 4] {
        column[i] = field.reduced(column[i]);
    }
    column
}

/// `left + right` and `root (left - right)`.
#[inline(always)]
fn butterfly_back<S: Vectors>(field: Field<S>, column: &mut Column<S>, [left, right]: [usize; 2], root: Factor<S>) {
    let difference = field.simd.sub_f64s(column[left], column[right]);
    column[left] = field.simd.add_f64s(column[left], column[right]);
    column[right] = field.times(difference, root);
}

/// The last stage back, with the division by the degree: sums times the first factor, differences
/// times the second. Gives residues.
#[inline(always)]
fn end<S: Vectors>(field: Field<S>, mut column: Column<S>, last: [Factor<S>; 2]) -> Column<S> {
    let simd = field.simd;
    for i in 0..4 {
        let (left, right) = (column[i], column[i + 4]);
        let values =
            [field.times(simd.add_f64s(left, right), last[0]), field.times(simd.sub_f64s(left, right), last[1])];
        column[i] = simd.transmute_f64s_u64s(field.word(field.canonical(values[0])));
        column[i + 4] = simd.transmute_f64s_u64s(field.word(field.canonical(values[1])));
    }
    column
}

/// The words that are kept in a column's places, as doubles.
#[inline(always)]
fn doubles<S: Vectors>(field: Field<S>, mut column: Column<S>) -> Column<S> {
    for value in &mut column {
        *value = field.double(field.simd.transmute_u64s_f64s(*value));
    }
    column
}

#[inline(always)]
fn splat<S: Vectors>(simd: S, factor: &[u64; 2]) -> Factor<S> {
    [simd.splat_f64s(f64::from_bits(factor[0])), simd.splat_f64s(f64::from_bits(factor[1]))]
}

/// One part of the lanes.
#[inline(always)]
fn load<S: Vectors>(factor: &[Lanes; 2], part: usize) -> Factor<S> {
    let part = |lanes: &Lanes| S::as_simd_f64s(bytemuck::cast_ref::<_, [f64; LANES]>(&lanes.0)).0[part];
    [part(&factor[0]), part(&factor[1])]
}

/// Every `step`-th vector from `first` on.
#[inline(always)]
fn gather<S: Vectors>(vectors: &[S::f64s], first: usize, step: usize) -> Column<S> {
    let mut column = [vectors[first]; LANES];
    for i in 1..LANES {
        column[i] = vectors[first + i * step];
    }
    column
}

/// The reverse of [`gather`].
#[inline(always)]
fn scatter<S: Vectors>(vectors: &mut [S::f64s], first: usize, step: usize, column: Column<S>) {
    for i in 0..LANES {
        vectors[first + i * step] = column[i];
    }
}
