//! The inner loops of sums of products, in one form for every processor and one for those with AVX-512 IFMA.
//!
//! Both give canonical residues, so they agree bit for bit. Which one runs is decided once, by what the processor says of itself.

#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use super::Modulus;

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
/// `sums[u * starts.len() + r]`, or overwrites it if that is `empty`. All values are residues of `modulus`; `depth` is at most [`MAX_DEPTH`].
pub struct Slice<'a> {
    pub modulus: Modulus,
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
        if ifma::add_to(self, tile, sums) {
            return;
        }
        portable::add_to(self, tile, sums);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MODULI, PRIMES};
    use super::*;

    #[test]
    fn every_form_gives_the_sums_of_the_definition() {
        let mut state = 1u64;
        for (modulus, prime) in MODULI.into_iter().zip(PRIMES) {
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
                    let slice = Slice { modulus, depth, operands: &operands, starts: &starts, kernels: &kernels, empty };
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
                    let mut found = sums.clone();
                    slice.add_to(&mut found);
                    assert!(found == expected, "{tile} {rows} {depth}");
                }
            }
        }
    }
}
