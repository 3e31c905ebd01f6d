//! Automorphisms of the ring, and what else a change of key is made of.

use fusion_catalogue::cheetah::interleaved::{DIGIT_BITS, DIGITS, KEYS_PER_LEVEL};

use super::residues::Residues;
use super::{DEGREE, MODULI, PRIMES, Poly, Spectrum, vectorised};

/// An automorphism `X -> X^power`.
///
/// On values it is a permutation: the image of `f` at a point is `f` at that point's power. Which
/// value belongs to which point is the transform's business, so it is read off the transform of
/// `X`.
pub struct Automorphism {
    /// For each prime and each point where its power is.
    places: [Box<[u16; DEGREE]>; PRIMES.len()],
}

impl Automorphism {
    /// The automorphism `X -> X^power`, an odd power below twice the degree.
    pub fn new(power: usize) -> Automorphism {
        assert!(power % 2 == 1 && power < 2 * DEGREE);
        let [points, powers] = [1, power].map(|exponent| Spectrum::of(monomial(exponent)));
        let [points, powers] = [&points, &powers].map(|spectrum| spectrum.groups().as_flattened().chunks(DEGREE));
        let mut tables = points.zip(powers).map(|(points, powers)| {
            let mut sorted: Vec<(u64, u16)> = points.iter().copied().zip(0..).collect();
            sorted.sort_unstable();
            let mut places = Box::new([0; DEGREE]);
            for (place, power) in places.iter_mut().zip(powers) {
                let found = sorted.binary_search_by_key(power, |(point, _)| *point);
                *place = sorted[found.expect("odd powers of roots are roots")].1;
            }
            places
        });
        Automorphism { places: std::array::from_fn(|_| tables.next().expect("one for each prime")) }
    }

    /// The image of `spectrum`.
    pub fn apply(&self, spectrum: &Spectrum) -> Spectrum {
        let mut image = Spectrum::from_memory(Poly(Residues::any()));
        let halves = image.groups_mut().as_flattened_mut().as_chunks_mut::<DEGREE>().0;
        let values = spectrum.groups().as_flattened().as_chunks::<DEGREE>().0;
        for ((image, values), places) in halves.iter_mut().zip(values).zip(&self.places) {
            for (image, place) in image.iter_mut().zip(places.iter()) {
                *image = values[usize::from(*place) % DEGREE];
            }
        }
        image
    }
}

/// `X^exponent` for an exponent below twice the degree.
pub fn monomial(exponent: usize) -> Poly {
    let mut monomial = Poly::zero();
    monomial.add_signed_to(exponent % DEGREE, if exponent < DEGREE { 1 } else { -1 });
    monomial
}

impl Spectrum {
    /// Adds `other`.
    pub fn add(&mut self, other: &Spectrum) {
        self.with(other, |modulus, value, other| modulus.add(value, other));
    }

    /// Makes of `self` and `other` half their sum and half their difference modulo `q`.
    pub fn halve(&mut self, other: &mut Spectrum) {
        let halves = self.groups_mut().as_flattened_mut().chunks_mut(DEGREE);
        let others = other.groups_mut().as_flattened_mut().chunks_mut(DEGREE);
        for ((values, others), modulus) in halves.zip(others).zip(MODULI) {
            vectorised(|| {
                for (value, other) in values.iter_mut().zip(others) {
                    let [sum, difference] = [modulus.add(*value, *other), modulus.sub(*value, *other)];
                    [*value, *other] = [modulus.half(sum), modulus.half(difference)];
                }
            });
        }
    }

    fn with(&mut self, other: &Spectrum, each: impl Fn(super::Modulus, u64, u64) -> u64) {
        let halves = self.groups_mut().as_flattened_mut().chunks_mut(DEGREE);
        for ((values, others), modulus) in halves.zip(other.groups().as_flattened().chunks(DEGREE)).zip(MODULI) {
            vectorised(|| {
                values.iter_mut().zip(others).for_each(|(value, other)| *value = each(modulus, *value, *other))
            });
        }
    }
}

/// What digit number `index` of [`digits`] weighs: a power of two modulo one of the primes, and 0
/// modulo the other.
pub fn digit_weight(index: usize) -> [u64; PRIMES.len()] {
    std::array::from_fn(|prime| if prime == index / DIGITS { 1 << (DIGIT_BITS as usize * (index % DIGITS)) } else { 0 })
}

/// The digits of `poly`, small polynomials that times their [weights](digit_weight) add up to it:
/// the residues modulo either prime, taken nearest to zero, in signed digits of [`DIGIT_BITS`]
/// bits.
pub fn digits(poly: &Poly) -> impl Iterator<Item = Poly> {
    (0..KEYS_PER_LEVEL).map(|index| {
        let mut digit = Poly(Residues::any());
        let (prime, place) = (index / DIGITS, index % DIGITS);
        let [first, second] = digit.halves_mut();
        vectorised(|| {
            for ((first, second), residue) in first.iter_mut().zip(second).zip(poly.halves()[prime]) {
                let digit = signed_digit(MODULI[prime].centred(*residue), place);
                *first = MODULI[0].reduce_signed(digit);
                *second = MODULI[1].reduce_signed(digit);
            }
        });
        digit
    })
}

/// Digit number `place` of `value`.
#[inline(always)]
fn signed_digit(value: i64, place: usize) -> i64 {
    const HALF: i64 = 1 << (DIGIT_BITS - 1);
    // Half a digit at every place but the last makes all of these unsigned.
    const HALVES: i64 = {
        let (mut halves, mut place) = (0, 0);
        while place + 1 < DIGITS {
            halves += HALF << (DIGIT_BITS as usize * place);
            place += 1;
        }
        halves
    };
    let rest = (value + HALVES) >> (DIGIT_BITS as usize * place);
    if place + 1 == DIGITS { rest } else { (rest & (2 * HALF - 1)) - HALF }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{stream, uniform};
    use super::*;

    #[test]
    fn images_are_those_of_the_definition() {
        let poly = uniform(&mut stream(&[1; 32], 0));
        for power in [1, 3, 1 + DEGREE, 1 + DEGREE / 2, 1 + DEGREE / 32, 2 * DEGREE - 1] {
            let mut expected = Poly::zero();
            for index in 0..DEGREE {
                let exponent = index * power % (2 * DEGREE);
                let value = poly.coefficient(index);
                let negated = [0, 1].map(|i| MODULI[i].sub(0, value[i]));
                expected.add_to(exponent % DEGREE, if exponent < DEGREE { value } else { negated });
            }
            assert_eq!(Automorphism::new(power).apply(&Spectrum::of(poly.clone())).into_poly(), expected);
        }
    }

    #[test]
    fn halves_add_up_again() {
        let [left, right] = [1, 2].map(|number| uniform(&mut stream(&[2; 32], number)));
        let [mut sum, mut difference] = [&left, &right].map(|poly| Spectrum::of(poly.clone()));
        sum.halve(&mut difference);
        let mut twice = difference.clone();
        twice.add(&difference);
        let mut all = sum.clone();
        all.add(&difference);
        assert_eq!(all.into_poly(), left);
        twice.add(&Spectrum::of(right));
        assert_eq!(twice.into_poly(), left);
    }

    #[test]
    fn digits_are_small_and_make_up_their_polynomial() {
        let mut poly = uniform(&mut stream(&[3; 32], 0));
        // Residues next to half of a prime have the largest last digits.
        for (i, offset) in [0, 1, 2].into_iter().enumerate() {
            let value = poly.coefficient(i);
            let largest = [0, 1].map(|j| MODULI[j].sub(PRIMES[j] / 2 + offset, value[j]));
            poly.add_to(i, largest);
        }
        let mut sum = Poly::zero();
        let last = 50 - DIGIT_BITS * (DIGITS as u32 - 1);
        for (index, digit) in digits(&poly).enumerate() {
            let bits = if index % DIGITS == DIGITS - 1 { last } else { DIGIT_BITS };
            let weight = digit_weight(index);
            for i in 0..DEGREE {
                assert!(digit.small_coefficient(i).unsigned_abs() <= 1 << (bits - 1));
                let digit = digit.coefficient(i);
                sum.add_to(i, [0, 1].map(|j| MODULI[j].factor(weight[j]).times(digit[j])));
            }
        }
        assert_eq!(sum, poly);
    }
}
