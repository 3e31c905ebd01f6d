//! Bytes of tightly packed elements.

/// Bytes of `n` elements of `bits` bits each, packed without gaps and filled up to a whole byte.
pub fn packed_bytes(n: usize, bits: u8) -> u64 {
    (n as u64 * u64::from(bits)).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_filled_up() {
        assert_eq!(packed_bytes(0, 63), 0);
        assert_eq!(packed_bytes(1, 1), 1);
        assert_eq!(packed_bytes(8, 1), 1);
        assert_eq!(packed_bytes(9, 1), 2);
        assert_eq!(packed_bytes(3, 63), 24);
    }
}
