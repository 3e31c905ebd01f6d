//! The roots of unity of the transforms that are written here, in the order in which their stages
//! need them.
//!
//! The stages are those of decimation in time going forth, values bit-reversed: nine whose
//! butterflies pair vectors with vectors, then, in each block of [`LANES`] vectors transposed,
//! three that would pair neighbours.

use super::{LANES, Lanes};
use crate::ring::modulus::Modulus;
use fusion_catalogue::rlwe::DEGREE;

/// Vectors of a polynomial.
pub const VECTORS: usize = DEGREE / LANES;
/// Blocks of [`LANES`] vectors.
pub const BLOCKS: usize = VECTORS / LANES;
/// Factors of three stages.
pub const FACTORS: usize = 7;

/// Roots of unity modulo one prime. Each is kept as two words, whatever a form needs to multiply by
/// it.
pub struct Tables {
    pub prime: u64,
    pub forward: Roots,
    pub inverse: Roots,
    /// The inverse of the degree, and it times the root of the inverse's last stage.
    pub last: [[u64; 2]; 2],
}

/// What values are multiplied by in one direction.
pub struct Roots {
    /// Of nine stages, by three: first one group, then eight, then one for every block.
    pub groups: Vec<[[u64; 2]; FACTORS]>,
    /// Of the three stages within vectors, for every block.
    pub lanes: Vec<[[Lanes; 2]; FACTORS]>,
}

impl Tables {
    /// The tables for a primitive root of order twice the degree, of factors as `factor` gives
    /// them.
    pub fn new(modulus: Modulus, root: u64, factor: impl Fn(u64) -> [u64; 2]) -> Tables {
        let root = modulus.factor(root);
        let powers: Vec<u64> = std::iter::successors(Some(1), |power| Some(root.times(*power))).take(DEGREE).collect();
        // Block `i` of the `m` of a stage has the power whose exponent is `m + i`, bit-reversed.
        let roots: Vec<u64> =
            (0..DEGREE).map(|i| powers[(i.reverse_bits() >> (usize::BITS - DEGREE.ilog2())) % DEGREE]).collect();
        let inverses: Vec<u64> = roots.iter().map(|root| modulus.inverse(*root)).collect();
        let scale = modulus.inverse(DEGREE as u64);
        let last = [scale, modulus.factor(scale).times(inverses[1])];
        Tables {
            prime: modulus.prime(),
            forward: Roots::new(&roots, &factor),
            inverse: Roots::new(&inverses, &factor),
            last: last.map(&factor),
        }
    }
}

impl Roots {
    /// The tables of bit-reversed `roots`.
    fn new(roots: &[u64], factor: &impl Fn(u64) -> [u64; 2]) -> Roots {
        // Of three stages that begin with block `i` of `m`: one root, two, four.
        let of = |number: usize| {
            let numbers = [1, 2, 2, 4, 4, 4, 4].iter().zip([0, 0, 1, 0, 1, 2, 3]);
            let mut numbers = numbers.map(|(times, offset)| times * number + offset);
            [(); FACTORS].map(|()| factor(roots[numbers.next().expect("seven")]))
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
