//! The inner loops of sums of products and of transforms: in one form for every processor, one for those with AVX2 and one for those with AVX-512 IFMA.
//!
//! All give canonical residues, so they agree bit for bit. Which one runs is decided once, by what the processor says of itself.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;
#[cfg(target_arch = "x86_64")]
mod ifma_transform;
mod portable;
mod prefetch;
mod transform;

pub use prefetch::prefetch;
pub use transform::Transform;

use super::PRIMES;

/// Values of a spectrum that are worked on together: one vector register, one cache line.
pub const LANES: usize = 8;

/// [`LANES`] neighbouring values of a spectrum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub struct Lanes(pub [u64; LANES]);

/// The same frequencies of both components of a ciphertext, or of a sum of them.
pub type Pair = [Lanes; 2];

/// The most kernels that are multiplied with an operand while it is in registers.
pub const TILE: usize = 6;

/// The most products that are summed before a reduction: the low halves of 52 bits must not overflow a word.
pub const MAX_DEPTH: usize = 2048;

/// One slice of a matrix product: at the same frequencies, a tile of kernels with some rows of operands.
///
/// `kernels` holds `depth` times `U` values, kernel by kernel for each index of the sum. Row `r` of the operands is the `depth`
/// pairs from `starts[r]` on. Adds for kernel `u` and row `r` the sum of `kernel * operand` over the index to
/// `sums[u * starts.len() + r]`, or overwrites it if that is `empty`. All values are residues of prime number `prime`; `depth` is at most [`MAX_DEPTH`].
pub struct Slice<'a> {
    pub prime: usize,
    pub depth: usize,
    pub operands: &'a [Pair],
    pub starts: &'a [usize],
    pub kernels: &'a [Lanes],
    pub empty: bool,
}

impl Slice<'_> {
    /// Adds the products to `sums`, a multiple of the number of rows.
    pub fn add_to(&self, sums: &mut [Pair]) {
        assert!(self.depth <= MAX_DEPTH && sums.len().is_multiple_of(self.starts.len()));
        let tile = sums.len() / self.starts.len();
        assert!(tile <= TILE && self.kernels.len() == tile * self.depth);
        #[cfg(target_arch = "x86_64")]
        if ifma::add_to(self, tile, sums) || avx2::add_to(self, tile, sums) {
            return;
        }
        portable::add_to(self, tile, sums);
    }
}

/// Kernel polynomials of few terms at the same frequencies: each the sum of its weights times the values of powers of `X`.
///
/// `powers` holds the values of the powers in use. Kernel `k` of every unit has `terms[k]` of them, by number, at most
/// [`MAX_TERMS`]. The kernels come in tiles of [`TILE`] units (the last maybe fewer), and in a tile `k` by `k`; so do the `weights`,
/// those of one kernel side by side. All values are residues of prime number `prime`.
pub struct Combinations<'a> {
    pub prime: usize,
    pub units: usize,
    pub powers: &'a [Lanes],
    pub terms: &'a [Vec<u16>],
    pub weights: &'a [u64],
}

/// The most terms of a kernel that is made of powers: beyond, a transform is faster.
pub const MAX_TERMS: usize = fusion_catalogue::linear::FEW_TERMS;

impl Combinations<'_> {
    /// Writes the values of all kernels.
    pub fn write_to(&self, kernels: &mut [Lanes]) {
        let terms: usize = self.terms.iter().map(Vec::len).sum();
        assert!(kernels.len() == self.units * self.terms.len() && self.weights.len() == self.units * terms);
        assert!(self.terms.iter().all(|terms| terms.len() <= MAX_TERMS));
        #[cfg(target_arch = "x86_64")]
        if ifma::combine(self, kernels) {
            return;
        }
        portable::combine(self, kernels);
    }
}

/// Whether this processor has the instructions of [`ifma`] and [`ifma_transform`].
#[cfg(target_arch = "x86_64")]
fn detected_ifma() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")
}

/// Bits of a factor, and of each half of a product, in the instructions for long sums.
const HALF_BITS: u32 = 52;

/// What `high 2^52 + low` is reduced with modulo one of the primes.
struct Reduction {
    prime: u64,
    /// `2^52` and `2^104`, each with its quotient by the prime in units of `2^-52` (Shoup).
    factors: [[u64; 2]; 2],
}

const REDUCTIONS: [Reduction; 2] = [Reduction::new(PRIMES[0]), Reduction::new(PRIMES[1])];

impl Reduction {
    const fn new(prime: u64) -> Reduction {
        let power = (1u128 << HALF_BITS) % prime as u128;
        let square = power * power % prime as u128;
        let factors = [
            [power as u64, ((power << HALF_BITS) / prime as u128) as u64],
            [square as u64, ((square << HALF_BITS) / prime as u128) as u64],
        ];
        Reduction { prime, factors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_sums_of_the_definition() {
        let mut state = 1u64;
        for (number, prime) in PRIMES.into_iter().enumerate() {
            for (tile, rows, depth) in
                [(1, 1, 1), (2, 3, 7), (3, 1, 64), (4, 2, 65), (5, 1, 200), (6, 3, 130), (6, 1, MAX_DEPTH)]
            {
                let mut value = |extreme: bool| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if extreme { prime - 1 } else { (state >> 14) % prime }
                };
                for (extreme, empty) in [(false, false), (true, false), (false, true)] {
                    let mut lanes = || Lanes([(); LANES].map(|()| value(extreme)));
                    let kernels: Vec<Lanes> = (0..tile * depth).map(|_| lanes()).collect();
                    let operands: Vec<Pair> = (0..(rows + 1) * depth).map(|_| [lanes(), lanes()]).collect();
                    let sums: Vec<Pair> = (0..tile * rows).map(|_| [lanes(), lanes()]).collect();
                    // Rows need not be in order.
                    let starts: Vec<usize> = (0..rows).map(|row| (rows - row) * depth).collect();
                    let slice =
                        Slice { prime: number, depth, operands: &operands, starts: &starts, kernels: &kernels, empty };
                    let mut expected = sums.clone();
                    for (i, pair) in expected.iter_mut().enumerate() {
                        for (component, sum) in pair.iter_mut().enumerate() {
                            for (lane, sum) in sum.0.iter_mut().enumerate() {
                                let products = (0..depth).map(|k| {
                                    let operand = operands[starts[i % rows] + k][component].0[lane];
                                    u128::from(operand) * u128::from(kernels[k * tile + i / rows].0[lane])
                                });
                                let before = if empty { 0 } else { u128::from(*sum) };
                                *sum = ((before + products.sum::<u128>()) % u128::from(prime)) as u64;
                            }
                        }
                    }
                    let mut found = sums.clone();
                    portable::add_to(&slice, tile, &mut found);
                    assert!(found == expected, "{tile} {rows} {depth}");
                    #[cfg(target_arch = "x86_64")]
                    for form in [avx2::add_to, ifma::add_to] {
                        let mut found = sums.clone();
                        assert!(!form(&slice, tile, &mut found) || found == expected, "{tile} {rows} {depth}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_form_combines_powers_as_defined() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 14
        };
        for (number, prime) in PRIMES.into_iter().enumerate() {
            for (units, depth, extreme) in [(1, 1, false), (4, 3, false), (6, 2, true), (7, 5, false), (13, 4, true)] {
                let mut residue = || if extreme { prime - 1 } else { next() % prime };
                let powers: Vec<Lanes> = (0..30).map(|_| Lanes([(); LANES].map(|()| residue()))).collect();
                let terms: Vec<Vec<u16>> =
                    (0..depth).map(|k| (0..MAX_TERMS - 5 * k).map(|t| ((7 * t + k) % 30) as u16).collect()).collect();
                let all: usize = terms.iter().map(Vec::len).sum();
                let weights: Vec<u64> = (0..units * all).map(|_| residue()).collect();
                let combinations =
                    Combinations { prime: number, units, powers: &powers, terms: &terms, weights: &weights };
                let (mut expected, mut rest) = (Vec::new(), weights.as_slice());
                for tile in (0..units).step_by(TILE) {
                    for terms in &terms {
                        for _ in 0..TILE.min(units - tile) {
                            let (weights, behind) = rest.split_at(terms.len());
                            rest = behind;
                            expected.push(Lanes(std::array::from_fn(|lane| {
                                let products = terms.iter().zip(weights).map(|(&power, &weight)| {
                                    u128::from(powers[usize::from(power)].0[lane]) * u128::from(weight)
                                });
                                (products.sum::<u128>() % u128::from(prime)) as u64
                            })));
                        }
                    }
                }
                let mut found = vec![Lanes::default(); units * depth];
                portable::combine(&combinations, &mut found);
                assert!(found == expected, "{units} {depth}");
                let mut found = vec![Lanes::default(); units * depth];
                combinations.write_to(&mut found);
                assert!(found == expected, "{units} {depth}");
            }
        }
    }
}
