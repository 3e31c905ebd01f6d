//! The number-theoretic transform for AVX-512 IFMA: Harvey's butterflies (2014) on 52-bit words,
//! three stages for each time that a polynomial passes through registers.
//!
//! The stages are those of [`super::tables`].
#![expect(
    unsafe_code,
    reason = "vector intrinsics: loads and stores of whole vectors, and calls guarded by the processor's features"
)]

use std::arch::x86_64::*;

use super::tables::{BLOCKS, Tables, VECTORS};
use super::{HALF_BITS, LANES, Lanes, detected_ifma};

/// Columns of [`LANES`] vectors that are worked on at once.
const COLUMNS: usize = 2;

/// A vector of a polynomial.
type Vector = [u64; LANES];

/// A residue with its quotient by the prime in units of `2^-52` (Shoup).
pub fn factor(prime: u64, value: u64) -> [u64; 2] {
    [value, ((u128::from(value) << HALF_BITS) / u128::from(prime)) as u64]
}

/// Coefficients to values, all of them residues, [`DEGREE`](fusion_catalogue::rlwe::DEGREE) of
/// each, if this processor can; says whether it could.
pub fn forward(tables: &Tables, polynomial: &mut [u64]) -> bool {
    if !detected_ifma() {
        return false;
    }
    let (vectors, _) = polynomial.as_chunks_mut();
    // SAFETY: the processor has both features.
    unsafe { tables.forward_vectors(vectors.try_into().expect("the degree")) };
    true
}

/// Values to coefficients, as [`forward`].
pub fn inverse(tables: &Tables, polynomial: &mut [u64]) -> bool {
    if !detected_ifma() {
        return false;
    }
    let (vectors, _) = polynomial.as_chunks_mut();
    // SAFETY: the processor has both features.
    unsafe { tables.inverse_vectors(vectors.try_into().expect("the degree")) };
    true
}

impl Tables {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_vectors(&self, vectors: &mut [Vector; VECTORS]) {
        let field = Field::new(self.prime);
        let (far, near) = self.forward.groups.split_at(1 + LANES);
        for (group, roots) in far.iter().enumerate() {
            let (first, step) = if group == 0 { (0, BLOCKS) } else { ((group - 1) * BLOCKS, LANES) };
            for at in (first..first + step).step_by(COLUMNS) {
                let mut columns = gather(vectors, at, 1, step);
                field.forth(&mut columns, |_, i| splat_both(&roots[i]));
                scatter(vectors, at, 1, step, &columns);
            }
        }
        let blocks = vectors.as_chunks_mut::<{ COLUMNS * LANES }>().0.iter_mut();
        let (roots, lanes) = (near.as_chunks::<COLUMNS>().0, self.forward.lanes.as_chunks::<COLUMNS>().0);
        for (blocks, (roots, lanes)) in blocks.zip(roots.iter().zip(lanes)) {
            let mut columns = gather(blocks, 0, LANES, 1);
            field.forth(&mut columns, |column, i| splat_both(&roots[column][i]));
            columns = [transpose(&columns[0]), transpose(&columns[1])];
            field.forth(&mut columns, |column, i| load_both(&lanes[column][i]));
            for value in columns.as_flattened_mut() {
                *value = below(below(*value, field.two), field.one);
            }
            scatter(blocks, 0, LANES, 1, &columns);
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_vectors(&self, vectors: &mut [Vector; VECTORS]) {
        let field = Field::new(self.prime);
        let (far, near) = self.inverse.groups.split_at(1 + LANES);
        let blocks = vectors.as_chunks_mut::<{ COLUMNS * LANES }>().0.iter_mut();
        let (roots, lanes) = (near.as_chunks::<COLUMNS>().0, self.inverse.lanes.as_chunks::<COLUMNS>().0);
        for (blocks, (roots, lanes)) in blocks.zip(roots.iter().zip(lanes)) {
            let mut columns = gather(blocks, 0, LANES, 1);
            field.back(&mut columns, |column, i| load_both(&lanes[column][i]));
            columns = [transpose(&columns[0]), transpose(&columns[1])];
            field.back(&mut columns, |column, i| splat_both(&roots[column][i]));
            scatter(blocks, 0, LANES, 1, &columns);
        }
        for (group, roots) in far[1..].iter().enumerate() {
            for at in (group * BLOCKS..group * BLOCKS + LANES).step_by(COLUMNS) {
                let mut columns = gather(vectors, at, 1, LANES);
                field.back(&mut columns, |_, i| splat_both(&roots[i]));
                scatter(vectors, at, 1, LANES, &columns);
            }
        }
        for at in (0..BLOCKS).step_by(COLUMNS) {
            let mut columns = gather(vectors, at, 1, BLOCKS);
            field.back_by_two(&mut columns, |_, i| splat_both(&far[0][i]));
            field.end(&mut columns, |i| splat_both(&self.last[i]));
            scatter(vectors, at, 1, BLOCKS, &columns);
        }
    }
}

/// The prime, in registers.
struct Field {
    one: __m512i,
    two: __m512i,
    /// `2^52` less the prime.
    minus: __m512i,
}

/// What passes through registers at once: several columns, so that there is always something that
/// does not wait for a product.
type Columns = [[__m512i; LANES]; COLUMNS];

/// A factor in registers, with its quotient.
type Factor = [__m512i; 2];

impl Field {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(prime: u64) -> Field {
        Field { one: splat(prime), two: splat(2 * prime), minus: splat((1 << HALF_BITS) - prime) }
    }

    /// Three stages forth on values below four times the prime, which they stay; `root(column, i)`
    /// is the `i`-th of their roots.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forth(&self, columns: &mut Columns, root: impl Fn(usize, usize) -> Factor) {
        for i in 0..4 {
            for (column, values) in columns.iter_mut().enumerate() {
                self.butterfly(values, [i, i + 4], root(column, 0));
            }
        }
        for i in [0, 1, 4, 5] {
            for (column, values) in columns.iter_mut().enumerate() {
                self.butterfly(values, [i, i + 2], root(column, 1 + i / 4));
            }
        }
        for i in 0..4 {
            for (column, values) in columns.iter_mut().enumerate() {
                self.butterfly(values, [2 * i, 2 * i + 1], root(column, 3 + i));
            }
        }
    }

    /// Three stages back on values below twice the prime, which they stay; `root(column, i)` is the
    /// `i`-th of their roots.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn back(&self, columns: &mut Columns, root: impl Fn(usize, usize) -> Factor) {
        self.back_by_two(columns, &root);
        for i in 0..4 {
            for (column, values) in columns.iter_mut().enumerate() {
                self.butterfly_back(values, [i, i + 4], root(column, 0));
            }
        }
    }

    /// The first two of the stages of [`Field::back`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn back_by_two(&self, columns: &mut Columns, root: impl Fn(usize, usize) -> Factor) {
        for i in 0..4 {
            for (column, values) in columns.iter_mut().enumerate() {
                self.butterfly_back(values, [2 * i, 2 * i + 1], root(column, 3 + i));
            }
        }
        for i in [0, 1, 4, 5] {
            for (column, values) in columns.iter_mut().enumerate() {
                self.butterfly_back(values, [i, i + 2], root(column, 1 + i / 4));
            }
        }
    }

    /// The last stage back, with the division by the degree: sums times the first factor,
    /// differences times the second. Gives residues.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn end(&self, columns: &mut Columns, last: impl Fn(usize) -> Factor) {
        for i in 0..4 {
            for values in columns.iter_mut() {
                let (left, right) = (values[i], values[i + 4]);
                let difference = _mm512_sub_epi64(_mm512_add_epi64(left, self.two), right);
                values[i] = below(self.times(_mm512_add_epi64(left, right), last(0)), self.one);
                values[i + 4] = below(self.times(difference, last(1)), self.one);
            }
        }
    }

    /// `left + root right` and `left - root right`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn butterfly(&self, values: &mut [__m512i; LANES], [left, right]: [usize; 2], root: Factor) {
        let (sum, product) = (below(values[left], self.two), self.times(values[right], root));
        values[left] = _mm512_add_epi64(sum, product);
        values[right] = _mm512_sub_epi64(_mm512_add_epi64(sum, self.two), product);
    }

    /// `left + right` and `root (left - right)`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn butterfly_back(&self, values: &mut [__m512i; LANES], [left, right]: [usize; 2], root: Factor) {
        let sum = _mm512_add_epi64(values[left], values[right]);
        let difference = _mm512_sub_epi64(_mm512_add_epi64(values[left], self.two), values[right]);
        values[left] = below(sum, self.two);
        values[right] = self.times(difference, root);
    }

    /// `value`, below four times the prime, times a factor: below twice the prime.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn times(&self, value: __m512i, [factor, quotient]: Factor) -> __m512i {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, value, quotient);
        let product = _mm512_madd52lo_epu64(zero, value, factor);
        let difference = _mm512_madd52lo_epu64(product, quotient, self.minus);
        _mm512_and_si512(difference, splat((1 << HALF_BITS) - 1))
    }
}

/// `value - by` where that is not negative.
#[inline]
#[target_feature(enable = "avx512f")]
fn below(value: __m512i, by: __m512i) -> __m512i {
    _mm512_min_epu64(value, _mm512_sub_epi64(value, by))
}

/// Exchanges rows and columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
    let low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    // Of four rows each: columns 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    let mut fours = [[_mm512_setzero_si512(); 4]; 2];
    for (half, fours) in fours.iter_mut().enumerate() {
        let rows = &rows[4 * half..];
        let even = [_mm512_unpacklo_epi64(rows[0], rows[1]), _mm512_unpacklo_epi64(rows[2], rows[3])];
        let odd = [_mm512_unpackhi_epi64(rows[0], rows[1]), _mm512_unpackhi_epi64(rows[2], rows[3])];
        fours[0] = _mm512_permutex2var_epi64(even[0], low, even[1]);
        fours[1] = _mm512_permutex2var_epi64(odd[0], low, odd[1]);
        fours[2] = _mm512_permutex2var_epi64(even[0], high, even[1]);
        fours[3] = _mm512_permutex2var_epi64(odd[0], high, odd[1]);
    }
    let mut columns = [_mm512_setzero_si512(); LANES];
    for i in 0..4 {
        columns[i] = _mm512_shuffle_i64x2::<0x44>(fours[0][i], fours[1][i]);
        columns[i + 4] = _mm512_shuffle_i64x2::<0xee>(fours[0][i], fours[1][i]);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(value: u64) -> __m512i {
    _mm512_set1_epi64(value as i64)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat_both([factor, quotient]: &[u64; 2]) -> Factor {
    [splat(*factor), splat(*quotient)]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_both([factor, quotient]: &[Lanes; 2]) -> Factor {
    [load(&factor.0), load(&quotient.0)]
}

/// Columns that begin at `first`, `first + next` and so on: in each every `step`-th vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn gather(vectors: &[Vector], first: usize, next: usize, step: usize) -> Columns {
    let mut columns = [[_mm512_setzero_si512(); LANES]; COLUMNS];
    for (column, values) in columns.iter_mut().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            *value = load(&vectors[first + column * next + i * step]);
        }
    }
    columns
}

/// The reverse of [`gather`].
#[inline]
#[target_feature(enable = "avx512f")]
fn scatter(vectors: &mut [Vector], first: usize, next: usize, step: usize, columns: &Columns) {
    for (column, values) in columns.iter().enumerate() {
        for (i, value) in values.iter().enumerate() {
            store(&mut vectors[first + column * next + i * step], *value);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(vector: &Vector) -> __m512i {
    // SAFETY: a vector is 64 bytes.
    unsafe { _mm512_loadu_si512(vector.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(vector: &mut Vector, value: __m512i) {
    // SAFETY: a vector is 64 bytes.
    unsafe { _mm512_storeu_si512(vector.as_mut_ptr().cast(), value) }
}
