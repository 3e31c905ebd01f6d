//! What a party does to its shares on its own.

use fusion_ir::Party;
use fusion_ir::types::mask;

use crate::bits::Bits;

/// The complement of a bit shared mod 2: one party turns its share.
pub(crate) fn complement(party: Party, bit: &Bits) -> Bits {
    match party {
        Party::Client => bit.clone(),
        Party::Server => bit.not(),
    }
}

/// `x + constant` mod `2^bits`: one party adds.
pub(crate) fn add_constant(party: Party, x: &[u64], constant: u64, bits: u8) -> Vec<u64> {
    match party {
        Party::Client => x.to_vec(),
        Party::Server => x.iter().map(|x| x.wrapping_add(constant) & mask(bits)).collect(),
    }
}

/// `a + b` mod `2^bits`.
pub(crate) fn add(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b) & mask(bits)).collect()
}

/// `a - b` mod `2^bits`.
pub(crate) fn subtract(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a.wrapping_sub(*b) & mask(bits)).collect()
}

/// Faithful truncation (CrypTFlow2, section 4): shares shifted on their own, plus the carry out of
/// what was dropped, mod `2^k`.
pub(crate) fn truncate(x: &[u64], carry: &[u64], shift: u8, k: u8) -> Vec<u64> {
    x.iter().zip(carry).map(|(x, carry)| (x >> shift).wrapping_add(*carry) & mask(k)).collect()
}

/// Whether the number of these bits, lowest first, is `number`.
pub(crate) fn equals(bits: &[Bits], number: usize) -> Bits {
    let matches = bits.iter().enumerate().map(|(i, bit)| if number >> i & 1 == 1 { bit.clone() } else { bit.not() });
    matches.reduce(|all, bit| all.and(&bit)).unwrap_or_default()
}
