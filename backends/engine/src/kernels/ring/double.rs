//! Arithmetic modulo a prime below 2^50 in double precision, for processors with fused
//! multiply-add.
//!
//! A product of integers is kept as two doubles: `high`, which is `a b` rounded, and
//! `low = a b - high`, which a fused multiply-add gives exactly. With an integer `q` near `a b / p`
//! the residue `(high - q p) + low` is exact too (van der Hoeven, Lecerf, Quintin: "Modular SIMD
//! arithmetic in Mathemagix", ACM TOMS 2016, section 3). Rounding is to nearest, and to an integer
//! by adding `1.5 * 2^52`.
//!
//! Bounds are in units of the prime. A factor is a residue of magnitude at most 1/2 with its
//! quotient by the prime; times a value of magnitude at most 4 it gives one of magnitude below 5/8:
//! the quotient is off by at most `2^-55` times the value, below `2^52`, and 1/2 by rounding.

use fusion_catalogue::cpu::Form;
use pulp::{NullaryFnOnce, Simd};

use super::LANES;

/// Bits of the low digit of a sum of products.
pub const DIGIT_BITS: u32 = 51;

/// `2^52`: added to a smaller integer that is not negative, it puts this into a double's low bits.
const INTEGER: f64 = 4503599627370496.0;
/// What, added to a value of magnitude up to `2^51`, rounds it to an integer.
const ROUND: f64 = 1.5 * INTEGER;

/// Vectors of doubles, and of words of as many bits.
pub trait Vectors: Simd {
    /// Kernels that are multiplied with an operand while it is in registers.
    const KERNELS: usize;

    /// Every word shifted to the right by [`DIGIT_BITS`].
    fn high_digit(self, words: Self::u64s) -> Self::u64s;

    /// Exchanges rows and columns.
    fn transpose(self, block: &mut [f64; LANES * LANES]);
}

/// What is compiled for every kind of vectors.
pub trait Kernel {
    /// Does it with vectors of kind `S`. Must be inlined.
    fn run<S: Vectors>(self, simd: S);
}

/// Runs `kernel` with the vectors of a form; says whether the form has any.
pub fn run(form: Form, kernel: impl Kernel) -> bool {
    match form {
        #[cfg(target_arch = "x86_64")]
        Form::Avx512 | Form::Avx512Ifma => match pulp::x86::V4::try_new() {
            Some(simd) => simd.vectorize(With(simd, kernel)),
            None => return false,
        },
        #[cfg(target_arch = "x86_64")]
        Form::Avx2 | Form::Avx2Vaes => match pulp::x86::V3::try_new() {
            Some(simd) => simd.vectorize(With(simd, kernel)),
            None => return false,
        },
        #[cfg(target_arch = "aarch64")]
        Form::Neon => match pulp::aarch64::Neon::try_new() {
            Some(simd) => simd.vectorize(With(simd, kernel)),
            None => return false,
        },
        _ => return false,
    }
    true
}

struct With<S, K>(S, K);

impl<S: Vectors, K: Kernel> NullaryFnOnce for With<S, K> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.1.run(self.0);
    }
}

#[cfg(target_arch = "x86_64")]
impl Vectors for pulp::x86::V4 {
    const KERNELS: usize = 3;

    #[inline(always)]
    fn high_digit(self, words: Self::u64s) -> Self::u64s {
        self.shr_const_u64x8::<DIGIT_BITS>(words)
    }

    #[inline(always)]
    fn transpose(self, block: &mut [f64; LANES * LANES]) {
        use pulp::cast;
        let rows = Self::as_mut_simd_f64s(block).0;
        let avx512 = self.avx512f;
        // Of two rows each: the even columns, the odd ones; then by the lanes of 128 bits.
        let mut pairs = [rows[0]; LANES];
        for i in 0..LANES / 2 {
            let (even, odd) = (cast(rows[2 * i]), cast(rows[2 * i + 1]));
            pairs[i] = cast(avx512._mm512_unpacklo_pd(even, odd));
            pairs[i + 4] = cast(avx512._mm512_unpackhi_pd(even, odd));
        }
        for odd in 0..2 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| cast(pairs[4 * odd + i]));
            let low = [avx512._mm512_shuffle_f64x2::<0x88>(a, b), avx512._mm512_shuffle_f64x2::<0x88>(c, d)];
            let high = [avx512._mm512_shuffle_f64x2::<0xdd>(a, b), avx512._mm512_shuffle_f64x2::<0xdd>(c, d)];
            rows[odd] = cast(avx512._mm512_shuffle_f64x2::<0x88>(low[0], low[1]));
            rows[odd + 2] = cast(avx512._mm512_shuffle_f64x2::<0x88>(high[0], high[1]));
            rows[odd + 4] = cast(avx512._mm512_shuffle_f64x2::<0xdd>(low[0], low[1]));
            rows[odd + 6] = cast(avx512._mm512_shuffle_f64x2::<0xdd>(high[0], high[1]));
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vectors for pulp::x86::V3 {
    const KERNELS: usize = 2;

    #[inline(always)]
    fn high_digit(self, words: Self::u64s) -> Self::u64s {
        self.shr_const_u64x4::<{ DIGIT_BITS as i32 }>(words)
    }

    #[inline(always)]
    fn transpose(self, block: &mut [f64; LANES * LANES]) {
        use pulp::cast;
        let avx = self.avx;
        let rows = Self::as_mut_simd_f64s(block).0;
        // The quarter whose first vector is number `first`, transposed.
        let quarter = |rows: &[Self::f64s], first: usize| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| cast(rows[first + 2 * i]));
            let low = [avx._mm256_unpacklo_pd(a, b), avx._mm256_unpacklo_pd(c, d)];
            let high = [avx._mm256_unpackhi_pd(a, b), avx._mm256_unpackhi_pd(c, d)];
            [
                cast(avx._mm256_permute2f128_pd::<0x20>(low[0], low[1])),
                cast(avx._mm256_permute2f128_pd::<0x20>(high[0], high[1])),
                cast(avx._mm256_permute2f128_pd::<0x31>(low[0], low[1])),
                cast(avx._mm256_permute2f128_pd::<0x31>(high[0], high[1])),
            ]
        };
        for (first, other) in [(0, 0), (1, 8), (9, 9)] {
            let (ours, theirs): ([Self::f64s; 4], [Self::f64s; 4]) = (quarter(rows, first), quarter(rows, other));
            for i in 0..4 {
                rows[other + 2 * i] = ours[i];
                rows[first + 2 * i] = theirs[i];
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Vectors for pulp::aarch64::Neon {
    const KERNELS: usize = super::TILE;

    #[inline(always)]
    fn high_digit(self, words: Self::u64s) -> Self::u64s {
        self.shr_const_u64x2::<{ DIGIT_BITS as i32 }>(words)
    }

    #[inline(always)]
    fn transpose(self, block: &mut [f64; LANES * LANES]) {
        for row in 0..LANES {
            for column in 0..row {
                block.swap(row * LANES + column, column * LANES + row);
            }
        }
    }
}

/// Makes integers below `2^52` the doubles of the same values, as bits.
pub fn doubles(values: &mut [u64]) {
    values.iter_mut().for_each(|value| *value = (f64::from_bits(*value | INTEGER.to_bits()) - INTEGER).to_bits());
}

/// A residue and what it is multiplied by: it, of magnitude at most 1/2, and its quotient by the
/// prime.
pub fn factor(prime: u64, residue: u64) -> [f64; 2] {
    let centred = residue as f64 - if residue > prime / 2 { prime as f64 } else { 0.0 };
    [centred, centred / prime as f64]
}

/// A prime and constants, in registers.
#[derive(Clone, Copy)]
pub struct Field<S: Vectors> {
    pub simd: S,
    prime: S::f64s,
    inverse: S::f64s,
    round: S::f64s,
}

impl<S: Vectors> Field<S> {
    #[inline(always)]
    pub fn new(simd: S, prime: u64) -> Field<S> {
        let prime = prime as f64;
        Field {
            simd,
            prime: simd.splat_f64s(prime),
            inverse: simd.splat_f64s(1.0 / prime),
            round: simd.splat_f64s(ROUND),
        }
    }

    /// Integers below `2^52` as doubles.
    #[inline(always)]
    pub fn double(self, words: S::u64s) -> S::f64s {
        let simd = self.simd;
        let bits = simd.or_u64s(words, simd.splat_u64s(INTEGER.to_bits()));
        simd.sub_f64s(simd.transmute_f64s_u64s(bits), simd.splat_f64s(INTEGER))
    }

    /// The reverse of [`Field::double`].
    #[inline(always)]
    pub fn word(self, values: S::f64s) -> S::u64s {
        let simd = self.simd;
        let bits = simd.transmute_u64s_f64s(simd.add_f64s(values, simd.splat_f64s(INTEGER)));
        simd.xor_u64s(bits, simd.splat_u64s(INTEGER.to_bits()))
    }

    /// A value of magnitude at most 4 times a factor: of magnitude below 5/8.
    #[inline(always)]
    pub fn times(self, value: S::f64s, [factor, quotient]: [S::f64s; 2]) -> S::f64s {
        let simd = self.simd;
        let quotient = simd.sub_f64s(simd.mul_add_f64s(value, quotient, self.round), self.round);
        self.remainder(value, factor, simd.mul_f64s(value, factor), quotient)
    }

    /// The product of two residues, of magnitude below 1.
    #[inline(always)]
    pub fn product(self, a: S::f64s, b: S::f64s) -> S::f64s {
        let simd = self.simd;
        let high = simd.mul_f64s(a, b);
        let quotient = simd.sub_f64s(simd.mul_add_f64s(high, self.inverse, self.round), self.round);
        self.remainder(a, b, high, quotient)
    }

    /// `a b - quotient prime`, with `high` the product of `a` and `b` rounded.
    #[inline(always)]
    fn remainder(self, a: S::f64s, b: S::f64s, high: S::f64s, quotient: S::f64s) -> S::f64s {
        let simd = self.simd;
        let low = simd.mul_add_f64s(a, b, simd.neg_f64s(high));
        simd.add_f64s(simd.negate_mul_add_f64s(quotient, self.prime, high), low)
    }

    /// A value of magnitude below 7, reduced to a magnitude of at most 1/2 and a rounding error.
    #[inline(always)]
    pub fn reduced(self, value: S::f64s) -> S::f64s {
        let simd = self.simd;
        let quotient = simd.sub_f64s(simd.mul_add_f64s(value, self.inverse, self.round), self.round);
        simd.negate_mul_add_f64s(quotient, self.prime, value)
    }

    /// The residue of a value of magnitude below 1.
    #[inline(always)]
    pub fn canonical(self, value: S::f64s) -> S::f64s {
        let simd = self.simd;
        let negative = simd.less_than_f64s(value, simd.splat_f64s(0.0));
        simd.select_f64s(negative, simd.add_f64s(value, self.prime), value)
    }
}
