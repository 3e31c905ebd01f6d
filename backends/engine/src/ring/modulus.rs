//! Arithmetic modulo a prime, without branches or divisions on what is reduced.

use fusion_catalogue::rlwe::PRIMES;

/// The two moduli.
pub const MODULI: [Modulus; 2] = [Modulus::new(PRIMES[0]), Modulus::new(PRIMES[1])];

/// A prime below 2^62; those of ciphertexts are below 2^50.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    prime: u64,
}

/// A constant to multiply by modulo a [`Modulus`]: with the quotient `floor(value 2^64 / prime)`
/// (Shoup; Harvey 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    value: u64,
    quotient: u64,
    prime: u64,
}

impl Modulus {
    /// The modulus `prime`, below 2^62.
    pub const fn new(prime: u64) -> Modulus {
        assert!(prime < 1 << 62);
        Modulus { prime }
    }

    /// The prime.
    pub const fn prime(self) -> u64 {
        self.prime
    }

    /// `a + b` of two residues.
    #[inline(always)]
    pub const fn add(self, a: u64, b: u64) -> u64 {
        self.reduce_once(a + b)
    }

    /// `a - b` of two residues.
    #[inline(always)]
    pub const fn sub(self, a: u64, b: u64) -> u64 {
        self.reduce_once(a + self.prime - b)
    }

    /// Half a residue.
    #[inline(always)]
    pub const fn half(self, a: u64) -> u64 {
        (a + (self.prime & (a & 1).wrapping_neg())) >> 1
    }

    /// The residue of a signed integer of magnitude below the prime, without a branch on it.
    #[inline(always)]
    pub const fn reduce_signed(self, value: i64) -> u64 {
        (value + (self.prime as i64 & (value >> 63))) as u64
    }

    /// The constant `value` (a residue), prepared.
    pub const fn factor(self, value: u64) -> Factor {
        Factor { value, quotient: (((value as u128) << 64) / self.prime as u128) as u64, prime: self.prime }
    }

    /// The inverse of a residue that is not 0.
    pub const fn inverse(self, value: u64) -> u64 {
        // Fermat: value^(prime - 2).
        let (mut result, mut power, mut exponent) = (1u128, value as u128, self.prime - 2);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result * power % self.prime as u128;
            }
            power = power * power % self.prime as u128;
            exponent >>= 1;
        }
        result as u64
    }

    /// The integer nearest to zero with this residue.
    #[inline(always)]
    pub const fn centred(self, residue: u64) -> i64 {
        let over = (self.prime / 2) as i64 - residue as i64;
        residue as i64 - (self.prime as i64 & (over >> 63))
    }

    /// A value below twice the prime, reduced without a branch.
    #[inline(always)]
    pub const fn reduce_once(self, value: u64) -> u64 {
        let reduced = value.wrapping_sub(self.prime);
        // All ones iff the subtraction went below zero.
        reduced.wrapping_add(self.prime & ((reduced as i64 >> 63) as u64))
    }
}

impl Factor {
    /// The product with any 64-bit `value`, as a residue.
    #[inline(always)]
    pub const fn times(self, value: u64) -> u64 {
        let quotient = multiply_high(self.quotient, value);
        let product = self.value.wrapping_mul(value).wrapping_sub(quotient.wrapping_mul(self.prime));
        Modulus { prime: self.prime }.reduce_once(product)
    }
}

/// The high word of a product, in halves of words: loops of it become vector code.
#[inline(always)]
pub(crate) const fn multiply_high(a: u64, b: u64) -> u64 {
    const LOW: u64 = u32::MAX as u64;
    let [a, b] = [[a & LOW, a >> 32], [b & LOW, b >> 32]];
    let middle = a[1] * b[0] + ((a[0] * b[0]) >> 32);
    let other = a[0] * b[1] + (middle & LOW);
    a[1] * b[1] + (middle >> 32) + (other >> 32)
}

#[cfg(test)]
mod tests {
    use super::MODULI;
    use super::multiply_high;

    #[test]
    fn high_words_are_those_of_wide_products() {
        for a in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 32, u32::MAX.into()] {
            for b in [0, 3, u64::MAX, 0xfedc_ba98_7654_3210, 1 << 63, u64::MAX << 32] {
                assert_eq!(multiply_high(a, b), ((u128::from(a) * u128::from(b)) >> 64) as u64);
            }
        }
    }

    #[test]
    fn arithmetic_agrees_with_wide_integers() {
        let mut state = 1u64;
        for modulus in MODULI {
            let prime = modulus.prime();
            let edges = [0, 1, 2, prime / 2, prime - 2, prime - 1];
            let random = (0..200).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state % prime
            });
            let values: Vec<u64> = edges.into_iter().chain(random).collect();
            for &a in &values {
                assert_eq!(modulus.reduce_signed(-(a as i64)), (prime - a) % prime);
                assert_eq!(modulus.add(modulus.half(a), modulus.half(a)), a);
                for &b in &values {
                    assert_eq!(modulus.add(a, b), (a + b) % prime);
                    assert_eq!(modulus.sub(a, b), (a + prime - b) % prime);
                    assert_eq!(modulus.factor(a).times(b), (u128::from(a) * u128::from(b) % u128::from(prime)) as u64);
                }
                let wide = u64::MAX - a;
                assert_eq!(
                    modulus.factor(a).times(wide),
                    (u128::from(a) * u128::from(wide) % u128::from(prime)) as u64
                );
                if a > 0 {
                    assert_eq!(modulus.factor(a).times(modulus.inverse(a)), 1);
                }
            }
        }
    }
}
