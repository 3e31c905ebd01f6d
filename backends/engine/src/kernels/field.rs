//! Arithmetic in `GF(2^128)`, represented as POLYVAL's field (RFC 8452): the product of `a` and `b`
//! is `a b x^-128`.

use aes::Block;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

/// The neutral element of the product: `x^128 mod x^128 + x^127 + x^126 + x^121 + 1`.
pub(crate) const ONE: u128 = 1 << 127 | 1 << 126 | 1 << 121 | 1;

/// The product of `a` and `b`.
pub(crate) fn product(a: u128, b: u128) -> u128 {
    match super::in_use() {
        Some(vector) => vector.product(a, b),
        None => polynomial_portable(a, &[b]),
    }
}

/// The polynomial `sum key^(n - i) blocks[i]` over all `n` blocks: POLYVAL. For two different
/// sequences of blocks it has the same value for at most `n` of the `2^128` keys.
pub(crate) fn polynomial(key: u128, blocks: &[u128]) -> u128 {
    match super::in_use() {
        Some(vector) if blocks.len().is_multiple_of(4) => vector.polynomial(key, blocks),
        _ => polynomial_portable(key, blocks),
    }
}

/// `key^n` in time that depends only on `bits`, for `n < 2^bits`.
pub(crate) fn power(key: u128, n: usize, bits: u32) -> u128 {
    (0..bits).rev().fold(ONE, |power, bit| {
        let square = product(power, power);
        let chosen = ((n >> bit & 1) as u128).wrapping_neg();
        product(square, key & chosen | ONE & !chosen)
    })
}

fn polynomial_portable(key: u128, blocks: &[u128]) -> u128 {
    let mut hash = Polyval::new(&key.to_le_bytes().into());
    for block in blocks {
        hash.update(&[Block::from(block.to_le_bytes())]);
    }
    u128::from_le_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    #[test]
    fn products_and_polynomials_are_the_same_in_all_forms() {
        let vectors = || super::super::all().into_iter().flatten();
        let values = random(8, 1);
        for pair in values.as_chunks::<2>().0 {
            let expected = polynomial_portable(pair[0], &[pair[1]]);
            assert_eq!(product(pair[0], pair[1]), expected);
            vectors().for_each(|vector| assert_eq!(vector.product(pair[0], pair[1]), expected));
        }
        for n in [0, 1, 3, 4, 8, 28, 32, 36, 64, 100, 1024] {
            let blocks = random(n, 2);
            let expected = polynomial_portable(values[0], &blocks);
            assert_eq!(polynomial(values[0], &blocks), expected, "{n} blocks");
            for vector in vectors().filter(|_| n.is_multiple_of(4)) {
                assert_eq!(vector.polynomial(values[0], &blocks), expected, "{n} blocks");
            }
        }
    }

    #[test]
    fn the_field_is_polyvals() {
        // RFC 8452, appendix A: both products of POLYVAL's example.
        let block = |text: &str| u128::from_str_radix(text, 16).unwrap().swap_bytes();
        let key = block("25629347589242761d31f826ba4b757b");
        let blocks = [block("4f4f95668c83dfb6401762bb2d01a262"), block("d1a24ddd2721d006bbe45f20d3c9f362")];
        assert_eq!(polynomial(key, &blocks), block("f7a3b47b846119fae5b7866cf5e5b77e"));
        assert_eq!(product(key, ONE), key);
    }

    #[test]
    fn powers_are_weights_of_the_polynomial() {
        let key = random(1, 3)[0];
        for (n, place) in [(4, 0), (8, 5), (32, 31)] {
            let mut blocks = vec![0; n];
            blocks[place] = ONE;
            assert_eq!(polynomial(key, &blocks), power(key, n - place, 6));
        }
        assert_eq!(power(key, 0, 6), ONE);
    }
}
