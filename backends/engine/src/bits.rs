//! Tight packing of ring elements and of single bits: the one wire format of both.
//!
//! Elements of `bits` bits follow each other without gaps, least significant bit first within each
//! byte. The bits that fill up the last byte are zero, and a message in which they are not is
//! refused.

use fusion_catalogue::packed_bytes;
use fusion_ir::types::mask;
use rayon::prelude::*;
use zeroize::Zeroize;

use crate::threads::WORTHWHILE;
use crate::{Error, kernels};

/// Packs `values` of `bits` bits each (`1..=64`) into [`packed_bytes`] bytes. Higher bits are
/// ignored.
pub fn pack(values: &[u64], bits: u8) -> Vec<u8> {
    let mut bytes = vec![0; packed_bytes(values.len(), bits) as usize];
    let parts = bytes.par_chunks_mut(WORTHWHILE / 8 * usize::from(bits)).zip(values.par_chunks(WORTHWHILE));
    parts.for_each(|(bytes, values)| pack_into(values, bits, bytes));
    bytes
}

/// [`pack`] into the memory given.
///
/// # Panics
/// If `bytes` is not as long as the packed values.
pub fn pack_into(values: &[u64], bits: u8, bytes: &mut [u8]) {
    assert_eq!(bytes.len() as u64, packed_bytes(values.len(), bits));
    let (mask, bits) = (mask(bits), u32::from(bits));
    let (words, end) = bytes.as_chunks_mut();
    let mut words = words.iter_mut();
    let (mut pending, mut held) = (0u64, 0u32);
    for value in values {
        let value = value & mask;
        pending |= value << held;
        held += bits;
        if held >= 64 {
            if let Some(word) = words.next() {
                *word = pending.to_le_bytes();
            }
            held -= 64;
            // In two steps, since the first may be by all 64 bits.
            pending = value >> 1 >> (bits - 1 - held);
        }
    }
    let rest = pending.to_le_bytes();
    match words.next() {
        Some(word) => *word = rest,
        None => end.copy_from_slice(&rest[..end.len()]),
    }
}

/// Unpacks `n` elements of `bits` bits each (`1..=64`); every element is below `2^bits`.
///
/// Refuses bytes of any other length, and filling that is not zero, as [`Error::PeerMisbehaved`].
pub fn unpack(bytes: &[u8], n: usize, bits: u8) -> Result<Vec<u64>, Error> {
    let expected = packed_bytes(n, bits);
    if bytes.len() as u64 != expected {
        return Err(Error::PeerMisbehaved(format!("{} bytes for {n} elements of {bits} bits", bytes.len())));
    }
    let mut values = vec![0; n];
    let parts = values.par_chunks_mut(WORTHWHILE).zip(bytes.par_chunks(WORTHWHILE / 8 * usize::from(bits)));
    parts.try_for_each(|(values, bytes)| unpack_into(bytes, bits, values))?;
    Ok(values)
}

/// [`unpack`] into the memory given.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_into(bytes: &[u8], bits: u8, values: &mut [u64]) -> Result<(), Error> {
    let n = values.len();
    if bytes.len() as u64 != packed_bytes(n, bits) {
        return Err(Error::PeerMisbehaved(format!("{} bytes for {n} elements of {bits} bits", bytes.len())));
    }
    let mask = mask(bits);
    let whole = unpack_groups(bytes, bits, mask, values);
    let (values, bytes) = (&mut values[whole * GROUP..], &bytes[whole * usize::from(bits)..]);
    let bits = u32::from(bits);
    let mut words = words_of(bytes);
    let (mut pending, mut held) = (0u64, 0u32);
    for value in values {
        if held >= bits {
            *value = pending & mask;
            // In two steps, since an element may be a whole word.
            pending = pending >> 1 >> (bits - 1);
            held -= bits;
        } else {
            let next = words.next().unwrap_or(0);
            *value = (pending | next << held) & mask;
            pending = next >> 1 >> (bits - held - 1);
            held += 64 - bits;
        }
    }
    if pending != 0 {
        return Err(Error::PeerMisbehaved("packed elements end in bits that are not zero".into()));
    }
    Ok(())
}

/// Elements that begin and end with bytes, whatever their width.
const GROUP: usize = 8;

/// Unpacks groups of [`GROUP`] elements from the beginning, by a word each wherever that begins, if
/// no word would end behind `bytes`; returns how many groups.
fn unpack_groups(bytes: &[u8], bits: u8, mask: u64, values: &mut [u64]) -> usize {
    const WORD_BYTES: usize = 8;
    let bits = usize::from(bits);
    // An element begins at any of a byte's bits, and its word has to hold all of it.
    if bits + GROUP - 1 > 64 {
        return 0;
    }
    let places = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| (i * bits / 8, i * bits % 8));
    let groups = bytes.windows(bits + WORD_BYTES).step_by(bits).zip(values.as_chunks_mut::<GROUP>().0);
    let mut count = 0;
    for (bytes, values) in groups {
        for (value, (byte, bit)) in values.iter_mut().zip(places) {
            let word = bytes[byte..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            *value = word >> bit & mask;
        }
        count += 1;
    }
    count
}

/// Every bit of some words as 0 or 1.
pub(crate) fn each_bit(words: &[u64]) -> impl Iterator<Item = u64> + '_ {
    (0..64 * words.len()).map(|i| words[i / 64] >> (i % 64) & 1)
}

/// A sequence of bits, 64 to a word, least significant first. The unused bits of the last word are
/// zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// Overwrites all bits with zeros.
    pub fn wipe(&mut self) {
        self.words.as_mut_slice().zeroize();
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Bits {
        Bits { words: vec![0; len.div_ceil(64)], len }
    }

    /// The first `len` bits of `words`, which must hold that many.
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Bits {
        assert!(words.len() >= len.div_ceil(64));
        words.truncate(len.div_ceil(64));
        if let (Some(last), rest @ 1..) = (words.last_mut(), len % 64) {
            *last &= (1 << rest) - 1;
        }
        Bits { words, len }
    }

    /// Bit `index` of every value.
    pub fn plane(values: &[u64], index: u8) -> Bits {
        let mut plane = Bits::zeros(values.len());
        kernels::plane(values, index, &mut plane.words);
        plane
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bits, 64 to a word.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Every bit as 0 or 1.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        each_bit(&self.words).take(self.len)
    }

    /// The words of `len` bits each, a multiple of 64 (but for the last ones), for several threads.
    pub(crate) fn parts(&self, len: usize) -> impl IndexedParallelIterator<Item = &[u64]> {
        self.words.par_chunks(len / 64)
    }

    /// `len` bits from `start` on, which must be there.
    pub fn slice(&self, start: usize, len: usize) -> Bits {
        assert!(start + len <= self.len);
        let (shift, whole) = (start % 64, len.div_ceil(64));
        let words = &self.words[start / 64..];
        if shift == 0 {
            return Bits::from_words(words[..whole].to_vec(), len);
        }
        let next = words.iter().skip(1).chain([&0]);
        let pieces = words.iter().zip(next).map(|(low, high)| low >> shift | high << (64 - shift));
        Bits::from_words(pieces.take(whole).collect(), len)
    }

    /// Appends `more`.
    pub fn extend(&mut self, more: &Bits) {
        let shift = self.len % 64;
        self.len += more.len;
        if shift == 0 {
            self.words.extend_from_slice(&more.words);
            return;
        }
        for word in &more.words {
            if let Some(last) = self.words.last_mut() {
                *last |= word << shift;
            }
            self.words.push(word >> (64 - shift));
        }
        self.words.truncate(self.len.div_ceil(64));
    }

    /// Bitwise combination with `other` of the same length; `f` must map zeros to zero.
    pub fn zip(&self, other: &Bits, f: impl Fn(u64, u64) -> u64) -> Bits {
        assert_eq!(self.len, other.len);
        let words = self.words.iter().zip(&other.words).map(|(a, b)| f(*a, *b));
        Bits { words: words.collect(), len: self.len }
    }

    /// Bitwise sum mod 2.
    pub fn xor(&self, other: &Bits) -> Bits {
        self.zip(other, |a, b| a ^ b)
    }

    /// Bitwise product.
    pub fn and(&self, other: &Bits) -> Bits {
        self.zip(other, |a, b| a & b)
    }

    /// Bitwise complement.
    pub fn not(&self) -> Bits {
        Bits::from_words(self.words.iter().map(|word| !word).collect(), self.len)
    }

    /// The wire format: [`packed_bytes`] of `len` elements of one bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(self.len.div_ceil(8));
        bytes
    }

    /// Reads `len` bits; refuses what [`unpack`] refuses.
    pub fn from_bytes(bytes: &[u8], len: usize) -> Result<Bits, Error> {
        if bytes.len() != len.div_ceil(8) {
            return Err(Error::PeerMisbehaved(format!("{} bytes for {len} bits", bytes.len())));
        }
        let words: Vec<u64> = words_of(bytes).collect();
        let bits = Bits::from_words(words.clone(), len);
        if bits.words != words {
            return Err(Error::PeerMisbehaved("packed bits end in bits that are not zero".into()));
        }
        Ok(bits)
    }
}

/// Little-endian words; the last one is filled up with zeros.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (words, end) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..end.len()].copy_from_slice(end);
    let last = (!end.is_empty()).then_some(u64::from_le_bytes(last));
    words.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn known_packings() {
        assert_eq!(pack(&[1, 2, 3], 4), [0x21, 0x03]);
        assert_eq!(pack(&[0x1ff, 0x002], 12), [0xff, 0x21, 0x00]);
        assert_eq!(pack(&[u64::MAX; 2], 64), [0xff; 16]);
        assert_eq!(unpack(&[0x21, 0x03], 3, 4).unwrap(), [1, 2, 3]);
        assert_eq!(Bits::plane(&[1, 2, 3, 0, 2], 1).to_bytes(), [0b10110]);
    }

    #[test]
    fn elements_of_every_width_come_back() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for bits in 1..=64 {
            for n in [0, 1, 7, 63, 64, 65, 129, 300] {
                let values: Vec<u64> = (0..n).map(|_| rng.next_u64() & mask(bits)).collect();
                let bytes = pack(&values, bits);
                assert_eq!(bytes.len() as u64, packed_bytes(n, bits));
                assert_eq!(unpack(&bytes, n, bits).unwrap(), values);
            }
        }
    }

    #[test]
    fn wrong_lengths_and_filling_are_refused() {
        assert!(unpack(&[0x21, 0x03, 0], 3, 4).is_err());
        assert!(unpack(&[0x21], 3, 4).is_err());
        assert!(unpack(&[0x21, 0x13], 3, 4).is_err());
        assert!(Bits::from_bytes(&[0xff, 0x01], 9).is_ok());
        assert!(Bits::from_bytes(&[0xff, 0x03], 9).is_err());
        assert!(Bits::from_bytes(&[0xff], 9).is_err());
    }

    #[test]
    fn bits_slice_and_extend_at_every_offset() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let words: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        let all = Bits::from_words(words, 300);
        let expected: Vec<u64> = all.iter().collect();
        for cut in 0..=300 {
            let (mut left, right) = (all.slice(0, cut), all.slice(cut, 300 - cut));
            assert!(left.iter().eq(expected[..cut].iter().copied()));
            assert!(right.iter().eq(expected[cut..].iter().copied()));
            left.extend(&right);
            assert_eq!(left, all);
            assert_eq!(Bits::from_bytes(&right.to_bytes(), right.len()).unwrap(), right);
        }
        assert_eq!(all.xor(&all), Bits::zeros(300));
        assert_eq!(all.and(&all.not()), Bits::zeros(300));
        assert_eq!(all.not().not(), all);
    }
}
