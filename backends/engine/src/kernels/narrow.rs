//! The kernels for vectors of one or two blocks of 128 bits, written once for every cipher unit
//! that works on such.

use zeroize::Zeroize;

use super::lpn::{BLOCKS, DENSITY, ROWS};
use super::{COLUMNS, RoundKeys};

/// Vectors that are worked on at once, as many as the cipher's pipeline holds.
pub const WIDE: usize = 8;
/// Vectors of positions that are made at once; a group's number of vectors is a multiple of it,
/// for either length.
const AT_ONCE: usize = 10;
/// Tiles that are expanded at once: each leaf's round keys serve so many.
const TILES: usize = 32;

/// One leaf's key stream over [`TILES`] tiles.
type Stream = [u128; TILES];

/// Vectors of blocks. A value of the type is proof that the processor has the instructions.
pub trait Blocks: Copy {
    /// A vector.
    type Vector: Copy;
    /// Its blocks.
    const LEN: usize;

    /// The first [`Blocks::LEN`] blocks.
    fn load(self, blocks: &[u128]) -> Self::Vector;
    /// Writes the first [`Blocks::LEN`] blocks.
    fn store(self, vector: Self::Vector, blocks: &mut [u128]);
    /// Writes the first `4 * Blocks::LEN` words.
    fn store_words(self, vector: Self::Vector, words: &mut [u32]);
    /// Writes the low halves of all blocks.
    fn store_low(self, vector: Self::Vector, words: &mut [u64]);
    /// The block in all places.
    fn splat(self, block: u128) -> Self::Vector;
    /// `first`, `first + 1` and so on; the low halves must not overflow.
    fn count(self, first: u128) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// One round of AES.
    fn round(self, block: Self::Vector, key: Self::Vector) -> Self::Vector;
    /// The last round of AES.
    fn last_round(self, block: Self::Vector, key: Self::Vector) -> Self::Vector;
    /// In every block the halves exchanged.
    fn swap(self, a: Self::Vector) -> Self::Vector;
    /// In every block the high half moved down, or the low half moved up, and zeros.
    fn down(self, a: Self::Vector) -> Self::Vector;
    fn up(self, a: Self::Vector) -> Self::Vector;
    /// Carry-less products of the low halves, and of the high ones.
    fn low(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn high(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The sum of a row and of the blocks at these positions, modulo the number of blocks if that
    /// is a power of two.
    fn gather(self, row: u128, blocks: &[u128], positions: &[u32; DENSITY]) -> u128;
    /// Begins to bring a block nearer.
    fn prefetch(self, blocks: &[u128], index: usize);
}

#[inline(always)]
fn encrypt<C: Blocks, const N: usize>(c: C, keys: &RoundKeys, blocks: &mut [C::Vector; N]) {
    let key = c.splat(keys[0]);
    for block in blocks.iter_mut() {
        *block = c.xor(*block, key);
    }
    for key in &keys[1..10] {
        let key = c.splat(*key);
        for block in blocks.iter_mut() {
            *block = c.round(*block, key);
        }
    }
    let key = c.splat(keys[10]);
    for block in blocks.iter_mut() {
        *block = c.last_round(*block, key);
    }
}

/// `first` and the blocks that follow.
#[inline(always)]
fn count<C: Blocks, const N: usize>(c: C, first: u128) -> [C::Vector; N] {
    let mut blocks = [c.count(first); N];
    for (block, first) in blocks.iter_mut().zip((first..).step_by(C::LEN)) {
        *block = c.count(first);
    }
    blocks
}

/// The first `N` vectors of some blocks.
#[inline(always)]
fn load<C: Blocks, const N: usize>(c: C, blocks: &[u128]) -> [C::Vector; N] {
    let mut vectors = [c.splat(0); N];
    for (vector, blocks) in vectors.iter_mut().zip(blocks.chunks_exact(C::LEN)) {
        *vector = c.load(blocks);
    }
    vectors
}

/// As [`super::Trees::expand`] for trees of `leaves` leaves with these keys.
#[inline(always)]
pub fn expand<C: Blocks>(c: C, keys: &[RoundKeys], leaves: usize, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
    let trees = keys.len() / leaves;
    // One for each leaf, and one for each column of a tree.
    let mut streams: Vec<Stream> = vec![[0; TILES]; leaves + leaves.trailing_zeros() as usize];
    let parts = matrix.chunks_mut(TILES * COLUMNS).zip(sums.chunks_mut(TILES * trees));
    for (first, (matrix, sums)) in (first..).step_by(TILES).zip(parts) {
        for (tree, keys) in keys.chunks_exact(leaves).enumerate() {
            fold(c, keys, first, tree, matrix, sums, &mut streams);
        }
    }
    streams.as_flattened_mut().zeroize();
}

/// One tree over at most [`TILES`] tiles.
#[inline(always)]
fn fold<C: Blocks>(
    c: C,
    keys: &[RoundKeys],
    first: u64,
    tree: usize,
    matrix: &mut [u128],
    sums: &mut [u128],
    streams: &mut [Stream],
) {
    let tiles = matrix.len() / COLUMNS;
    let wanted = tiles.next_multiple_of(WIDE * C::LEN).min(TILES);
    for (keys, stream) in keys.iter().zip(streams.iter_mut()) {
        let stream = &mut stream[..wanted];
        for (first, part) in (first..).step_by(WIDE * C::LEN).zip(stream.chunks_exact_mut(WIDE * C::LEN)) {
            let mut blocks = count::<C, WIDE>(c, first.into());
            encrypt(c, keys, &mut blocks);
            for (block, place) in blocks.into_iter().zip(part.chunks_exact_mut(C::LEN)) {
                c.store(block, place);
            }
        }
    }
    let k = keys.len().trailing_zeros() as usize;
    let (streams, columns) = streams.split_at_mut(keys.len());
    for (bit, column) in columns.iter_mut().enumerate().rev() {
        let (lower, upper) = streams[..2 << bit].split_at_mut(1 << bit);
        for first in (0..wanted).step_by(WIDE * C::LEN) {
            let mut sum = [c.splat(0); WIDE];
            for (lower, upper) in lower.iter_mut().zip(upper.iter()) {
                let (lower, upper) = (&mut lower[first..][..WIDE * C::LEN], &upper[first..][..WIDE * C::LEN]);
                for i in 0..WIDE {
                    let added = c.load(&upper[i * C::LEN..]);
                    sum[i] = c.xor(sum[i], added);
                    c.store(c.xor(c.load(&lower[i * C::LEN..]), added), &mut lower[i * C::LEN..]);
                }
            }
            for (sum, place) in sum.into_iter().zip(column[first..].chunks_exact_mut(C::LEN)) {
                c.store(sum, place);
            }
        }
    }
    let trees = sums.len() / tiles;
    let tiles = matrix.chunks_exact_mut(COLUMNS).zip(sums.chunks_exact_mut(trees));
    for (index, (tile, sums)) in tiles.enumerate() {
        for (block, column) in tile[tree * k..][..k].iter_mut().zip(columns.iter()) {
            *block = column[index];
        }
        sums[tree] = streams[0][index];
    }
}

/// As [`super::Permutation::hash`].
#[inline(always)]
pub fn hash<C: Blocks>(c: C, keys: &RoundKeys, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
    let offset = c.splat(offset);
    let mut words = [0; COLUMNS];
    let len = WIDE * C::LEN;
    let parts = rows.chunks_exact(len).zip(words.chunks_exact_mut(len));
    for (tweak, (rows, words)) in (tweak..).step_by(len).zip(parts) {
        let mut once = load::<C, WIDE>(c, rows);
        for block in &mut once {
            *block = c.xor(*block, offset);
        }
        encrypt(c, keys, &mut once);
        let mut twice = count::<C, WIDE>(c, tweak);
        for (twice, once) in twice.iter_mut().zip(once) {
            *twice = c.xor(*twice, once);
        }
        encrypt(c, keys, &mut twice);
        for ((once, twice), words) in once.into_iter().zip(twice).zip(words.chunks_exact_mut(C::LEN)) {
            c.store_low(c.xor(once, twice), words);
        }
    }
    words
}

/// For every column the sum of its blocks times those of `weights`, as carry-less products of 256
/// bits, low half first.
#[inline(always)]
pub fn weighted_sums<C: Blocks>(c: C, matrix: &[[u128; COLUMNS]], weights: &[u128]) -> [[u128; 2]; COLUMNS] {
    const GROUPS: usize = 4;
    let mut result = [[0; 2]; COLUMNS];
    let zero = c.splat(0);
    for (group, result) in result.chunks_exact_mut(GROUPS * C::LEN).enumerate() {
        let mut sums = [[zero; 3]; GROUPS];
        for (tile, weight) in matrix.iter().zip(weights) {
            let weight = factor(c, c.splat(*weight));
            let blocks = &tile[group * GROUPS * C::LEN..][..GROUPS * C::LEN];
            for (sum, blocks) in sums.iter_mut().zip(blocks.chunks_exact(C::LEN)) {
                *sum = multiply(c, *sum, c.load(blocks), weight);
            }
        }
        for (sum, result) in sums.into_iter().zip(result.chunks_exact_mut(C::LEN)) {
            let mut parts = [[0; 2]; 3];
            for (sum, part) in halves(c, sum).into_iter().zip(&mut parts) {
                c.store(sum, part);
            }
            for (lane, result) in result.iter_mut().enumerate() {
                let [low, cross, high] = parts.map(|part| part[lane]);
                *result = [low ^ cross << 64, high ^ cross >> 64];
            }
        }
    }
    result
}

/// As [`super::Doubler::double`] of the parents in `left`.
#[inline(always)]
pub fn double<C: Blocks>(c: C, keys: &RoundKeys, left: &mut [u128], right: &mut [u128], mask: u128) -> [u128; 2] {
    let (mut sums, mask) = ([c.splat(0); 2], c.splat(mask));
    let len = WIDE * C::LEN;
    if left.len() < len {
        let (mut parents, mut other) = ([0; 2 * WIDE], [0; 2 * WIDE]);
        parents[..left.len()].copy_from_slice(left);
        children::<C, WIDE>(c, keys, &mut parents[..len], &mut other[..len], mask, &mut sums);
        left.copy_from_slice(&parents[..left.len()]);
        right.copy_from_slice(&other[..right.len()]);
        let sum = |nodes: &[u128]| nodes.iter().fold(0, |sum, node| sum ^ node);
        return [sum(left), sum(right)];
    }
    for (left, right) in left.chunks_exact_mut(len).zip(right.chunks_exact_mut(len)) {
        children::<C, WIDE>(c, keys, left, right, mask, &mut sums);
    }
    [add_lanes(c, sums[0]), add_lanes(c, sums[1])]
}

/// Replaces `N` vectors of parents by their left children and writes the right ones, as far as
/// `mask` goes; adds both to `sums`.
#[inline(always)]
fn children<C: Blocks, const N: usize>(
    c: C,
    keys: &RoundKeys,
    left: &mut [u128],
    right: &mut [u128],
    mask: C::Vector,
    sums: &mut [C::Vector; 2],
) {
    // The halves exchanged, and the former high half added to the new one.
    let high = c.splat(u128::MAX << 64);
    let spread = |parent| c.xor(c.swap(parent), c.and(parent, high));
    let mut hashes = load::<C, N>(c, left).map(spread);
    encrypt(c, keys, &mut hashes);
    for (i, hash) in hashes.into_iter().enumerate() {
        // Loaded again: registers are few.
        let parent = c.load(&left[i * C::LEN..]);
        let ours = c.and(c.xor(hash, spread(parent)), mask);
        let theirs = c.xor(ours, c.and(parent, mask));
        c.store(ours, &mut left[i * C::LEN..]);
        c.store(theirs, &mut right[i * C::LEN..]);
        *sums = [c.xor(sums[0], ours), c.xor(sums[1], theirs)];
    }
}

#[inline(always)]
fn add_lanes<C: Blocks>(c: C, vector: C::Vector) -> u128 {
    let mut lanes = [0; 2];
    c.store(vector, &mut lanes);
    lanes[0] ^ lanes[1]
}

/// As [`super::SparseCode::add`] with positions from cipher block `first` on, modulo the length of
/// `secret`, a power of two.
#[inline(always)]
pub fn add_sparse<C: Blocks>(c: C, keys: &RoundKeys, first: u64, secret: &[u128], rows: &mut [u128]) {
    assert!(secret.len().is_power_of_two() && secret.len() <= 1 << 31, "positions are taken modulo the length");
    let mask = secret.len() as u32 - 1;
    let mut now = positions(c, keys, first, mask);
    for (group, rows) in rows.chunks_mut(ROWS).enumerate() {
        let next = positions(c, keys, first + ((group + 1) * BLOCKS) as u64, mask);
        let ahead = next.0.as_chunks::<DENSITY>().0;
        for ((row, positions), ahead) in rows.iter_mut().zip(now.0.as_chunks::<DENSITY>().0).zip(ahead) {
            for position in ahead {
                c.prefetch(secret, *position as usize);
            }
            *row = c.gather(*row, secret, positions);
        }
        now = next;
    }
}

/// Positions of one group of rows, row by row.
#[repr(align(64))]
struct Positions([u32; ROWS * DENSITY]);

/// The positions of one group, from cipher block `first` on.
#[inline(always)]
fn positions<C: Blocks>(c: C, keys: &RoundKeys, first: u64, mask: u32) -> Positions {
    let mask = c.splat(u128::MAX / u128::from(u32::MAX) * u128::from(mask));
    assert!(BLOCKS.is_multiple_of(AT_ONCE * C::LEN), "no position is left at zero");
    let mut positions = Positions([0; ROWS * DENSITY]);
    let parts = positions.0.chunks_exact_mut(4 * AT_ONCE * C::LEN);
    for (first, part) in (first..).step_by(AT_ONCE * C::LEN).zip(parts) {
        let mut blocks: [C::Vector; AT_ONCE] =
            std::array::from_fn(|i| c.count(u128::from(first + (i * C::LEN) as u64)));
        encrypt(c, keys, &mut blocks);
        for (block, part) in blocks.into_iter().zip(part.chunks_exact_mut(4 * C::LEN)) {
            c.store_words(c.and(block, mask), part);
        }
    }
    positions
}

/// `x^63 + x^62 + x^57`: the field's polynomial without its ends, divided by `x^64`.
const POLY: u128 = 0xc200_0000_0000_0000;

/// As [`super::field::product`].
#[inline(always)]
pub fn product<C: Blocks>(c: C, a: u128, b: u128) -> u128 {
    let mut lanes = [0; 2];
    c.store(reduce(c, multiply(c, [c.splat(0); 3], c.splat(a), factor(c, c.splat(b)))), &mut lanes);
    lanes[0]
}

/// As [`super::field::polynomial`] of a multiple of [`Blocks::LEN`] blocks: Horner's rule in every
/// lane with the power of the key of as many lanes as there are, then the lanes' own powers.
#[inline(always)]
pub fn polynomial<C: Blocks>(c: C, key: u128, blocks: &[u128]) -> u128 {
    let powers = [key, product(c, key, key)];
    let base = powers[C::LEN - 1];
    // Its powers, highest first.
    let mut wide = [base; WIDE];
    for i in (0..WIDE - 1).rev() {
        wide[i] = product(c, wide[i + 1], base);
    }
    let (zero, base) = (c.splat(0), factor(c, c.splat(base)));
    let mut powers_of_base = [base; WIDE];
    for (vector, power) in powers_of_base.iter_mut().zip(wide) {
        *vector = factor(c, c.splat(power));
    }
    let mut total = zero;
    let steps = blocks.chunks_exact(WIDE * C::LEN);
    let rest = steps.remainder();
    for step in steps {
        let mut sums = multiply(c, [zero; 3], total, powers_of_base[0]);
        for (i, power) in powers_of_base[1..].iter().enumerate() {
            sums = multiply(c, sums, c.load(&step[i * C::LEN..]), *power);
        }
        total = c.xor(reduce(c, sums), c.load(&step[(WIDE - 1) * C::LEN..]));
    }
    for blocks in rest.chunks_exact(C::LEN) {
        total = c.xor(reduce(c, multiply(c, [zero; 3], total, base)), c.load(blocks));
    }
    let mut lanes = [0; 2];
    c.store(total, &mut lanes);
    let lanes = lanes[..C::LEN].iter().zip(powers[..C::LEN].iter().rev());
    lanes.fold(0, |sum, (lane, power)| sum ^ product(c, *lane, *power))
}

/// What is multiplied by: it, and the sum of its halves.
#[inline(always)]
fn factor<C: Blocks>(c: C, a: C::Vector) -> [C::Vector; 2] {
    [a, c.xor(a, c.swap(a))]
}

/// Adds products to the sums of those of the low halves, of the halves' sums, and of the high
/// halves (Karatsuba).
#[inline(always)]
fn multiply<C: Blocks>(c: C, sums: [C::Vector; 3], a: C::Vector, b: [C::Vector; 2]) -> [C::Vector; 3] {
    let [a, both] = factor(c, a);
    [c.xor(sums[0], c.low(a, b[0])), c.xor(sums[1], c.low(both, b[1])), c.xor(sums[2], c.high(a, b[0]))]
}

/// The sums of the low, of the mixed and of the high products.
#[inline(always)]
fn halves<C: Blocks>(c: C, [low, both, high]: [C::Vector; 3]) -> [C::Vector; 3] {
    [low, c.xor(both, c.xor(low, high)), high]
}

/// The element of the field: twice adds the multiple of its polynomial that clears the lowest 64
/// bits.
#[inline(always)]
fn reduce<C: Blocks>(c: C, sums: [C::Vector; 3]) -> C::Vector {
    let [low, mixed, high] = halves(c, sums);
    let (low, high) = (c.xor(low, c.up(mixed)), c.xor(high, c.down(mixed)));
    let poly = c.splat(POLY);
    let once = c.xor(c.swap(low), c.low(low, poly));
    c.xor(high, c.xor(c.swap(once), c.low(once, poly)))
}
