//! The number-theoretic transform for AVX-512 IFMA: Harvey's butterflies (2014) on 52-bit words, three stages for each time that a
//! polynomial passes through registers.
//!
//! The transform's stages in their usual order (decimation in time going forth, values bit-reversed): nine whose butterflies pair
//! vectors with vectors, then, in each block of [`LANES`] vectors transposed, three that would pair neighbours.
#![expect(
    unsafe_code,
    reason = "vector intrinsics: loads and stores of whole vectors, and calls guarded by the processor's features"
)]

use std::arch::x86_64::*;

use super::super::{DEGREE, Modulus};
use super::{HALF_BITS, LANES, Lanes, detected_ifma};

/// Vectors of a polynomial.
const VECTORS: usize = DEGREE / LANES;
/// Blocks of [`LANES`] vectors.
const BLOCKS: usize = VECTORS / LANES;
/// Columns of [`LANES`] vectors that are worked on at once.
const COLUMNS: usize = 2;
/// Factors of three stages.
const FACTORS: usize = 7;

/// A vector of a polynomial.
type Vector = [u64; LANES];

/// Roots of unity modulo one prime.
pub struct Tables {
    prime: u64,
    forward: Roots,
    inverse: Roots,
    /// The inverse of the degree, and it times the root of the inverse's last stage.
    last: [[u64; 2]; 2],
}

/// What values are multiplied by in one direction: factors and their quotients by the prime in units of `2^-52` (Shoup).
struct Roots {
    /// Of nine stages, by three: first one group, then eight, then one for every block.
    groups: Vec<[[u64; 2]; FACTORS]>,
    /// Of the three stages within vectors, for every block.
    lanes: Vec<[[Lanes; 2]; FACTORS]>,
}

impl Tables {
    /// The tables for a primitive root of order twice the degree; `None` if this processor cannot use them.
    pub fn new(modulus: Modulus, root: u64) -> Option<Tables> {
        if !detected_ifma() {
            return None;
        }
        let factor = modulus.factor(root);
        let powers: Vec<u64> =
            std::iter::successors(Some(1), |power| Some(factor.times(*power))).take(DEGREE).collect();
        // Block `i` of the `m` of a stage has the power whose exponent is `m + i`, bit-reversed.
        let roots: Vec<u64> =
            (0..DEGREE).map(|i| powers[(i.reverse_bits() >> (usize::BITS - DEGREE.ilog2())) % DEGREE]).collect();
        let inverses: Vec<u64> = roots.iter().map(|root| modulus.inverse(*root)).collect();
        let scale = modulus.inverse(DEGREE as u64);
        let last = [scale, modulus.factor(scale).times(inverses[1])];
        let with_quotient = |value| with_quotient(modulus.prime(), value);
        Some(Tables {
            prime: modulus.prime(),
            forward: Roots::new(modulus.prime(), &roots),
            inverse: Roots::new(modulus.prime(), &inverses),
            last: last.map(with_quotient),
        })
    }

    /// Coefficients to values, all of them residues, [`DEGREE`] of each.
    pub fn forward(&self, polynomial: &mut [u64]) {
        let (vectors, _) = polynomial.as_chunks_mut();
        // SAFETY: there are tables only if the processor has both features.
        unsafe { self.forward_vectors(vectors.try_into().expect("the degree")) };
    }

    /// Values to coefficients, all of them residues, [`DEGREE`] of each.
    pub fn inverse(&self, polynomial: &mut [u64]) {
        let (vectors, _) = polynomial.as_chunks_mut();
        // SAFETY: there are tables only if the processor has both features.
        unsafe { self.inverse_vectors(vectors.try_into().expect("the degree")) };
    }

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

impl Roots {
    /// The tables of bit-reversed `roots`.
    fn new(prime: u64, roots: &[u64]) -> Roots {
        // Of three stages that begin with block `i` of `m`: one root, two, four.
        let of = |number: usize| {
            let numbers = [1, 2, 2, 4, 4, 4, 4].iter().zip([0, 0, 1, 0, 1, 2, 3]);
            let mut numbers = numbers.map(|(times, offset)| times * number + offset);
            [(); FACTORS].map(|()| with_quotient(prime, roots[numbers.next().expect("seven")]))
        };
        let firsts = [1].into_iter().chain(LANES..2 * LANES).chain(BLOCKS..2 * BLOCKS);
        let lanes = |block: usize| {
            let mut lanes = [[Lanes::default(); 2]; FACTORS];
            for lane in 0..LANES {
                for (all, factor) in lanes.iter_mut().zip(of(VECTORS + block * LANES + lane)) {
                    all.iter_mut().zip(factor).for_each(|(lanes, value)| lanes.0[lane] = value);
                }
            }
            lanes
        };
        Roots { groups: firsts.map(of).collect(), lanes: (0..BLOCKS).map(lanes).collect() }
    }
}

fn with_quotient(prime: u64, value: u64) -> [u64; 2] {
    [value, ((u128::from(value) << HALF_BITS) / u128::from(prime)) as u64]
}

/// The prime, in registers.
struct Field {
    one: __m512i,
    two: __m512i,
    /// `2^52` less the prime.
    minus: __m512i,
}

/// What passes through registers at once: several columns, so that there is always something that does not wait for a product.
type Columns = [[__m512i; LANES]; COLUMNS];

/// A factor in registers, with its quotient.
type Factor = [__m512i; 2];

impl Field {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(prime: u64) -> Field {
        Field { one: splat(prime), two: splat(2 * prime), minus: splat((1 << HALF_BITS) - prime) }
    }

    /// Three stages forth on values below four times the prime, which they stay; `root(column, i)` is the `i`-th of their roots.
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

    /// Three stages back on values below twice the prime, which they stay; `root(column, i)` is the `i`-th of their roots.
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

    /// The last stage back, with the division by the degree: sums times the first factor, differences times the second. Gives residues.
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
