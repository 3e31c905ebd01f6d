//! The inner loops of sums of products and of transforms, in every [form](Form): in Rust for any
//! processor; in double precision, written once for vectors of every length; and for AVX-512 IFMA.
//!
//! All give canonical residues, so they agree bit for bit.

mod double;
mod double_sums;
mod double_transform;
#[cfg(target_arch = "x86_64")]
mod ifma;
#[cfg(target_arch = "x86_64")]
mod ifma_transform;
mod portable;
mod prefetch;
mod tables;
mod transform;

pub use prefetch::prefetch;
pub use transform::Transform;

use fusion_catalogue::cpu::Form;

use fusion_catalogue::rlwe::PRIMES;

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

/// The most products that are summed before a reduction: the low halves of 52 bits must not
/// overflow a word.
pub const MAX_DEPTH: usize = 2048;

/// Makes residues *factors*: what products are taken of, kept as the form in use needs them.
pub fn make_factors(residues: &mut [u64]) {
    factors(Form::in_use(), residues);
}

fn factors(form: Form, residues: &mut [u64]) {
    match form {
        Form::Portable | Form::Avx512Ifma => {}
        Form::Neon | Form::Avx2 | Form::Avx2Vaes | Form::Avx512 => double::doubles(residues),
    }
}

/// One slice of a matrix product: at the same frequencies, a tile of kernels with some rows of
/// operands.
///
/// `kernels` holds `depth` times `U` values, kernel by kernel for each index of the sum. Row `r` of
/// the operands is the `depth` pairs from `starts[r]` on. Adds for kernel `u` and row `r` the sum
/// of `kernel * operand` over the index to `sums[u * starts.len() + r]`, or overwrites it if that
/// is `empty`. Sums are residues of prime number `prime`, the others [factors](make_factors) of it;
/// `depth` is at most [`MAX_DEPTH`].
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
        self.add_in(Form::in_use(), sums);
    }

    fn add_in(&self, form: Form, sums: &mut [Pair]) {
        assert!(self.depth <= MAX_DEPTH && sums.len().is_multiple_of(self.starts.len()));
        let tile = sums.len() / self.starts.len();
        assert!(tile <= TILE && self.kernels.len() == tile * self.depth);
        let done = match form {
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Ifma => ifma::add_to(self, tile, sums),
            _ => double_sums::add_to(form, self, tile, sums),
        };
        if !done {
            portable::add_to(self, tile, sums);
        }
    }
}

/// Kernel polynomials of few terms at the same frequencies: each the sum of its weights times the
/// values of powers of `X`.
///
/// `powers` holds the values of the powers in use. Kernel `k` of every unit has `terms[k]` of them,
/// by number, at most [`MAX_TERMS`]. The kernels come in tiles of [`TILE`] units (the last maybe
/// fewer), and in a tile `k` by `k`; so do the `weights`, those of one kernel side by side. All
/// values are [factors](make_factors) of prime number `prime`.
pub struct Combinations<'a> {
    pub prime: usize,
    pub units: usize,
    pub powers: &'a [Lanes],
    pub terms: &'a [Vec<u16>],
    pub weights: &'a [u64],
}

/// The most terms of a kernel that is made of powers: beyond, a transform is faster.
pub const MAX_TERMS: usize = fusion_catalogue::cheetah::FEW_TERMS;

impl Combinations<'_> {
    /// Writes the values of all kernels.
    pub fn write_to(&self, kernels: &mut [Lanes]) {
        self.write_in(Form::in_use(), kernels);
    }

    fn write_in(&self, form: Form, kernels: &mut [Lanes]) {
        let terms: usize = self.terms.iter().map(Vec::len).sum();
        assert!(kernels.len() == self.units * self.terms.len() && self.weights.len() == self.units * terms);
        assert!(self.terms.iter().all(|terms| terms.len() <= MAX_TERMS));
        let done = match form {
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Ifma => ifma::combine(self, kernels),
            _ => double_sums::combine(form, self, kernels),
        };
        if !done {
            portable::combine(self, kernels);
        }
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
                    for form in Form::available() {
                        let [mut operands, mut kernels] = [operands.as_flattened().to_vec(), kernels.clone()];
                        operands.iter_mut().chain(&mut kernels).for_each(|lanes| factors(form, &mut lanes.0));
                        let slice = Slice { operands: operands.as_chunks().0, kernels: &kernels, ..slice };
                        let mut found = sums.clone();
                        slice.add_in(form, &mut found);
                        assert!(found == expected, "{form:?} {tile} {rows} {depth}");
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
                for form in Form::available() {
                    let ([mut powers, mut expected], mut weights) =
                        ([&powers, &expected].map(Vec::clone), weights.clone());
                    powers.iter_mut().chain(&mut expected).for_each(|lanes| factors(form, &mut lanes.0));
                    factors(form, &mut weights);
                    let mut found = vec![Lanes::default(); units * depth];
                    Combinations { powers: &powers, weights: &weights, ..combinations }.write_in(form, &mut found);
                    assert!(found == expected, "{form:?} {units} {depth}");
                }
            }
        }
    }
}
