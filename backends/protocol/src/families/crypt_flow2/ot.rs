//! What oblivious-transfer extension of CrypTFlow2's kind costs: IKNP for correlated OTs in both
//! directions, KKOT for OTs of one among up to 16, which the client receives.
//!
//! IKNP (Ishai, Kilian, Nissim, Petrank, CRYPTO 2003) is SoftSpoken with `k = 1`, consistency check
//! included. KKOT (Kolesnikov and Kumaresan, CRYPTO 2013) encodes a choice of `w` bits as its
//! Walsh-Hadamard codeword of 256 bits, any two of which differ in 128. The `2^(8-w)` positions in
//! which no codeword differs from another are not sent.

use crate::ot::{SECURITY_BITS, SoftSpoken, batches};
use crate::{Cost, Primitive};

/// Choice bits of KKOT's OTs.
pub const WIDTHS: std::ops::RangeInclusive<usize> = 1..=4;

/// Length of the Walsh-Hadamard codewords.
pub const CODE_BITS: usize = 256;

/// Rows of a tile.
const TILE_ROWS: usize = 128;
/// Bytes of a point of the base OTs' group.
const POINT_BYTES: u64 = 32;
/// Base OTs run together.
const RUNS_KKOT: u64 = CODE_BITS as u64 / SECURITY_BITS;

/// The extension of correlated OTs.
pub fn iknp() -> SoftSpoken {
    SoftSpoken::new(1).expect("1 is a valid parameter")
}

/// Bytes of the message, receiver to sender, that extends by `n` correlated OTs with the
/// consistency check; none if there are none.
pub fn iknp_bytes(n: usize) -> u64 {
    batches(n.div_ceil(TILE_ROWS) as u64).map(|tiles| iknp().batch_bytes(tiles)).sum()
}

/// Positions of a codeword that are sent for choices of `width` bits.
pub fn sent_positions(width: usize) -> usize {
    CODE_BITS - (CODE_BITS >> width)
}

/// Bytes of the part of a message, client to server, that makes `n` OTs of one among `2^width`.
pub fn kkot_bytes(width: usize, n: usize) -> u64 {
    // Of the last tile, only the bytes that hold rows.
    let (tiles, rest) = (n / TILE_ROWS, n % TILE_ROWS);
    (sent_positions(width) * (tiles * TILE_ROWS / 8 + rest.div_ceil(8))) as u64
}

/// The two exchanges that set the family's extensions up: base OTs of IKNP in both directions and
/// of KKOT (the receiver's two points and the sender's one for each), then IKNP's check of the key
/// streams.
pub fn setup() -> Cost {
    let run = |runs: u64| runs * SECURITY_BITS * POINT_BYTES;
    let mut cost = Cost::default();
    cost.exchange([2 * run(1) + run(1 + RUNS_KKOT), 2 * run(1 + RUNS_KKOT) + run(1)]);
    cost.compute(Primitive::BaseOt, (2 + RUNS_KKOT) * SECURITY_BITS);
    cost.exchange([iknp().tree_bytes() * iknp().trees() as u64; 2]);
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ot_costs_what_its_code_says() {
        // Plotkin's bound for so many codewords at distance 128: repeated simplex codes reach it.
        assert_eq!([1, 2, 3, 4].map(sent_positions), [128, 192, 224, 240]);
        assert_eq!(kkot_bytes(4, 128), 240 * 16);
        assert_eq!(kkot_bytes(4, 130) - kkot_bytes(4, 128), 240);
        assert_eq!(kkot_bytes(3, 0), 0);
        let bits = iknp_bytes(1 << 20) as f64 * 8.0 / (1 << 20) as f64;
        assert!((127.0..128.0).contains(&bits), "{bits}");
    }
}
