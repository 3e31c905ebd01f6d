//! The inner loops of oblivious transfer, each in portable Rust and for the vectors, ciphers and
//! carry-less multiplications of the other [forms](Form). All give identical bits.
//!
//! A matrix of bits is kept in *tiles* of 128 rows. Tile `t` of a matrix of 128 columns is the 128
//! blocks `matrix[128 t ..]`, block `c` being its part of column `c`: bit `r` is row `128 t + r`.

mod columns;
pub(crate) mod field;
mod ggm;
mod lpn;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod narrow;
mod permutation;
pub(crate) mod ring;
mod trees;

#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), path = "absent.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arm.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86/mod.rs")]
mod vector;

pub(crate) use columns::ColumnHash;
use fusion_catalogue::cpu::Form;
pub(crate) use ggm::{Doubler, set};
pub(crate) use lpn::SparseCode;
pub(crate) use permutation::Permutation;
pub(crate) use trees::Trees;
use vector::Vector;

/// The expanded key of AES-128.
pub(crate) type RoundKeys = [u128; 11];

/// The kernels of the form in use; none if it is the portable one.
fn in_use() -> Option<Vector> {
    static IN_USE: std::sync::OnceLock<Option<Vector>> = std::sync::OnceLock::new();
    *IN_USE.get_or_init(|| Vector::of(Form::in_use()))
}

/// The kernels of every form that this processor can run.
#[cfg(test)]
fn all() -> Vec<Option<Vector>> {
    Form::available().into_iter().map(Vector::of).collect()
}

/// Columns of a matrix, and rows of a tile.
pub(crate) const COLUMNS: usize = 128;

/// Transposes one tile: afterwards block `r` is row `r`, bit `c` being column `c`.
pub(crate) fn transpose(tile: &mut [u128; COLUMNS]) {
    match in_use() {
        Some(vector) => vector.transpose(tile),
        None => transpose_portable(tile),
    }
}

/// Writes bit `bit` (below 64) of every value to `words`, 64 to a word.
///
/// # Panics
/// If there are fewer words than are needed.
pub(crate) fn plane(values: &[u64], bit: u8, words: &mut [u64]) {
    let (chunks, rest) = values.as_chunks::<64>();
    let (full, last) = words.split_at_mut(chunks.len());
    match in_use() {
        Some(vector) => vector.plane(chunks, bit, full),
        None => full.iter_mut().zip(chunks).for_each(|(word, chunk)| *word = plane_portable(chunk, bit)),
    }
    if !rest.is_empty() {
        last[0] = plane_portable(rest, bit);
    }
}

/// Bit 0 of every row, as one block.
pub(crate) fn lowest_bits(rows: &[u128; COLUMNS]) -> u128 {
    match in_use() {
        Some(vector) => vector.lowest_bits(rows),
        None => lowest_bits_portable(rows),
    }
}

fn lowest_bits_portable(rows: &[u128; COLUMNS]) -> u128 {
    rows.iter().rev().fold(0, |bits, row| bits << 1 | row & 1)
}

fn plane_portable(values: &[u64], bit: u8) -> u64 {
    values.iter().enumerate().fold(0, |word, (i, value)| word | (value >> bit & 1) << i)
}

fn transpose_portable(tile: &mut [u128; COLUMNS]) {
    let mut lanes = [0u64; 2 * COLUMNS];
    for (pair, block) in lanes.chunks_exact_mut(2).zip(tile.iter()) {
        pair.copy_from_slice(&[*block as u64, (*block >> 64) as u64]);
    }
    // The largest blocks move between whole lanes, the others within them.
    for row in 0..COLUMNS / 2 {
        lanes.swap(2 * row + 1, 2 * (row + COLUMNS / 2));
    }
    swap_blocks::<32>(&mut lanes, 0x0000_0000_ffff_ffff);
    swap_blocks::<16>(&mut lanes, 0x0000_ffff_0000_ffff);
    swap_blocks::<8>(&mut lanes, 0x00ff_00ff_00ff_00ff);
    swap_blocks::<4>(&mut lanes, 0x0f0f_0f0f_0f0f_0f0f);
    swap_blocks::<2>(&mut lanes, 0x3333_3333_3333_3333);
    swap_blocks::<1>(&mut lanes, 0x5555_5555_5555_5555);
    for (block, pair) in tile.iter_mut().zip(lanes.chunks_exact(2)) {
        *block = u128::from(pair[0]) | u128::from(pair[1]) << 64;
    }
}

/// In every block of `2 SIDE x 2 SIDE` bits, exchanges the upper right and the lower left quarter.
fn swap_blocks<const SIDE: usize>(lanes: &mut [u64; 2 * COLUMNS], mask: u64) {
    for rows in lanes.chunks_exact_mut(4 * SIDE) {
        let (upper, lower) = rows.split_at_mut(2 * SIDE);
        for (a, b) in upper.iter_mut().zip(lower) {
            let moved = (*a >> SIDE ^ *b) & mask;
            *b ^= moved;
            *a ^= moved << SIDE;
        }
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    pub(super) fn random(n: usize, seed: u64) -> Vec<u128> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        (0..n).map(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())).collect()
    }

    #[test]
    fn transposition_moves_every_bit() {
        let columns: [u128; COLUMNS] = random(COLUMNS, 1).try_into().unwrap();
        for vector in all() {
            let mut rows = columns;
            match vector {
                Some(vector) => vector.transpose(&mut rows),
                None => transpose_portable(&mut rows),
            }
            for (r, row) in rows.iter().enumerate() {
                for (c, column) in columns.iter().enumerate() {
                    assert_eq!(row >> c & 1, column >> r & 1);
                }
            }
        }
    }

    #[test]
    fn lowest_bits_are_in_the_order_of_the_rows() {
        let rows: [u128; COLUMNS] = random(COLUMNS, 9).try_into().unwrap();
        let bits = lowest_bits_portable(&rows);
        all().into_iter().flatten().for_each(|vector| assert_eq!(vector.lowest_bits(&rows), bits));
        assert!(rows.iter().enumerate().all(|(r, row)| bits >> r & 1 == row & 1));
    }

    #[test]
    fn planes_are_the_bits() {
        let values: Vec<u64> = random(200, 2).iter().map(|block| *block as u64).collect();
        for (n, bit) in [(0usize, 0), (1, 63), (64, 5), (200, 17), (192, 0)] {
            let mut plane = vec![0; n.div_ceil(64)];
            super::plane(&values[..n], bit, &mut plane);
            for vector in all().into_iter().flatten() {
                let (chunks, _) = values[..n].as_chunks();
                let mut words = vec![0; chunks.len()];
                vector.plane(chunks, bit, &mut words);
                assert_eq!(words, plane[..chunks.len()]);
            }
            for i in 0..plane.len() * 64 {
                let expected = if i < n { values[i] >> bit & 1 } else { 0 };
                assert_eq!(plane[i / 64] >> (i % 64) & 1, expected);
            }
        }
    }
}
