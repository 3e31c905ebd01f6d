//! Vectors modulo `p` as polynomials modulo `p`.

use fusion_catalogue::crypt_flow2::he::{DEGREE, PRIMES, ROW};
use tfhe_ntt::prime64::Plan;

use super::ring::{MODULI, Order, Poly, check};
use crate::ring::{Factor, Modulus};

/// Encodes for one plaintext modulus.
pub struct Encoder {
    plan: Plan,
    modulus: Modulus,
    /// For every slot, the transform's place.
    places: Vec<u16>,
    /// `q mod p`, and what the centred remainder of `q m` by `p` is multiplied with modulo each
    /// prime: `-1/p`.
    q_mod_p: Factor,
    minus_inverse: [Factor; 4],
}

impl Encoder {
    /// For the prime `modulus`.
    ///
    /// # Panics
    /// If it is not 1 mod `2 DEGREE`.
    #[allow(clippy::integer_division_remainder_used, reason = "of the modulus, which is public")]
    pub fn new(modulus: u64) -> Encoder {
        let plan = Plan::try_new(DEGREE, modulus).expect("plaintext moduli are 1 modulo twice the degree");
        check(&plan);
        let order = Order::of(&plan);
        let mut power = 1;
        let mut places = vec![0; DEGREE];
        for slot in 0..ROW {
            places[slot] = order.place(power) as u16;
            places[ROW + slot] = order.place(2 * DEGREE - power) as u16;
            power = power * 3 % (2 * DEGREE);
        }
        let q_mod_p = PRIMES.iter().fold(1u128, |q, prime| q * u128::from(*prime) % u128::from(modulus)) as u64;
        let minus_inverse = MODULI.map(|prime| {
            let residue = prime.factor(1).times(modulus);
            prime.factor(prime.sub(0, prime.inverse(residue)))
        });
        let modulus = Modulus::new(modulus);
        Encoder { plan, modulus, places, q_mod_p: modulus.factor(q_mod_p), minus_inverse }
    }

    /// The prime.
    pub fn modulus(&self) -> u64 {
        self.modulus.prime()
    }

    /// The coefficients of the polynomial with these slots, `DEGREE` residues: the first row, then
    /// the second.
    pub fn coefficients(&self, slots: &[u64]) -> Vec<u64> {
        let mut values = vec![0; DEGREE];
        for (place, slot) in self.places.iter().zip(slots) {
            values[usize::from(*place)] = *slot;
        }
        self.plan.inv(&mut values);
        self.plan.normalize(&mut values);
        values
    }

    /// The slots of the polynomial with these coefficients.
    pub fn slots(&self, mut coefficients: Vec<u64>) -> Vec<u64> {
        self.plan.fwd(&mut coefficients);
        self.places.iter().map(|place| coefficients[usize::from(*place)]).collect()
    }

    /// The residue of a signed number of magnitude below `modulus`.
    pub fn residue(&self, value: i64) -> u64 {
        self.modulus.reduce_signed(value)
    }

    /// A plaintext to multiply with: its coefficients nearest to zero.
    pub fn multiplier(&self, slots: &[u64]) -> Poly {
        let centred = self.coefficients(slots).into_iter().map(|residue| self.modulus.centred(residue));
        Poly::from_signed(&centred.collect::<Vec<i64>>())
    }

    /// `round(q m / p)` for one coefficient, by its residues.
    pub fn scale(&self, coefficient: u64) -> [u64; 4] {
        // q m less its centred remainder by p is a multiple of p; q is 0 modulo each prime.
        let centred = self.modulus.centred(self.q_mod_p.times(coefficient));
        let sign = (centred >> 63) as u64;
        std::array::from_fn(|i| {
            let prime: Modulus = MODULI[i];
            let product = self.minus_inverse[i].times(centred.unsigned_abs());
            product ^ (product ^ prime.sub(0, product)) & sign
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_polynomials_are_products_of_slots() {
        let encoder = Encoder::new(1_032_193);
        let left: Vec<u64> = (0..DEGREE as u64).map(|i| i * i % 1_032_193).collect();
        let right: Vec<u64> = (0..DEGREE as u64).map(|i| (7 * i + 3) % 1_032_193).collect();
        assert_eq!(encoder.slots(encoder.coefficients(&left)), left);
        let [mut a, mut b] = [encoder.coefficients(&left), encoder.coefficients(&right)];
        encoder.plan.fwd(&mut a);
        encoder.plan.fwd(&mut b);
        let mut product = vec![0; DEGREE];
        encoder.plan.mul_accumulate(&mut product, &a, &b);
        encoder.plan.inv(&mut product);
        encoder.plan.normalize(&mut product);
        let expected: Vec<u64> = left.iter().zip(&right).map(|(a, b)| a * b % 1_032_193).collect();
        assert_eq!(encoder.slots(product), expected);
    }

    #[test]
    fn scaling_is_the_nearest_multiple() {
        let encoder = Encoder::new(1_032_193);
        for coefficient in [0u64, 1, 2, 500_000, 516_096, 516_097, 1_032_192] {
            // p times the result is q m less a remainder of at most p / 2, modulo each prime.
            let scaled = encoder.scale(coefficient);
            let remainders = [0, 1, 2, 3].map(|i| {
                let product = MODULI[i].factor(1_032_193).times(scaled[i]);
                MODULI[i].centred(MODULI[i].sub(0, product))
            });
            assert!(remainders.iter().all(|r| *r == remainders[0] && r.abs() <= 1_032_193 / 2));
        }
    }
}
