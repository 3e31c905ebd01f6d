//! Products of shared matrices: digits, bytes and noise at the sizes that networks have.

use fusion_catalogue::cheetah::{Packings, Product, product};
use fusion_catalogue::compare::Nonlinear;
use fusion_catalogue::linear::Matrices;
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, SEED_BYTES};
use fusion_catalogue::{FRAME_HEADER_BYTES, Keys, Primitive, candidates};
use fusion_ir::Op;

fn matrices(batch: usize, [rows, inner, columns]: [usize; 3]) -> Matrices {
    Matrices { batch, rows, inner, columns }
}

/// Scores and values of attention: of a small and a base BERT, and of a small vision transformer.
const ATTENTION: [(usize, [usize; 3]); 6] = [
    (2, [128, 64, 128]),
    (2, [128, 128, 64]),
    (12, [128, 64, 128]),
    (12, [128, 128, 64]),
    (3, [197, 64, 197]),
    (3, [197, 197, 64]),
];

fn product(batch: usize, extents: [usize; 3], acc_bits: u8, packed: bool) -> Product {
    Product::of(&matrices(batch, extents), acc_bits, packed, &mut Packings::default()).unwrap()
}

/// Bytes both ways by ciphertexts, and scalar by scalar as the default backend has it.
fn bytes(product: &Product) -> [u64; 2] {
    let scalars = Nonlinear::MatMul { bits: product.acc_bits(), matrices: *product.matrices() };
    let by = fusion_catalogue::families::FAMILIES[0].compare(candidates(&Op::Relu)[0]).unwrap();
    [product.cost(Keys::Position, 1).both_ways(), by.protocols().cost(&scalars, 1).both_ways()]
}

#[test]
fn attention_takes_two_digits_at_the_widths_that_the_compiler_makes() {
    for (batch, extents) in ATTENTION {
        for packed in [false, true] {
            for acc_bits in [28, 30, 32, product::GOOD_ACC_BITS] {
                let product = product(batch, extents, acc_bits, packed);
                assert_eq!(product.terms().each_ref().map(|term| term.digits), [2, 2], "{extents:?} at {acc_bits}");
                assert_eq!(product.levels() > 0, packed);
            }
            assert!(product(batch, extents, 34, packed).terms().iter().all(|term| term.digits == 3));
            assert!(product(batch, extents, 24, packed).terms().iter().all(|term| term.digits == 1));
        }
    }
}

#[test]
fn large_products_take_a_fraction_of_the_bytes_and_small_ones_more() {
    for (batch, extents) in ATTENTION {
        let [plain, packed] = [false, true].map(|packed| bytes(&product(batch, extents, 32, packed)));
        assert!(plain[0] * 40 < plain[1] && packed[0] * 2 < plain[0], "{extents:?}: {plain:?} {packed:?}");
    }
    let [small, scalars] = bytes(&product(1, [4, 4, 4], 32, false));
    assert!(small > 10 * scalars, "{small} {scalars}");
}

/// By hand: the operand of a term has 2 heads of 2 x 64 channels, as many pixels as there are rows.
#[test]
fn the_messages_of_two_heads_are_known() {
    for packed in [false, true] {
        let product = product(2, [128, 64, 128], 32, packed);
        let polynomials: usize = product.terms().iter().map(|term| term.packing.operands()).sum();
        let elements = 2 * 2 * 64 * 128;
        assert!(product.terms().iter().all(|term| term.packing.geometry().input_len() == elements));
        assert!(polynomials >= 2 * elements / 4096);
        let cost = product.cost(Keys::Layer, 3);
        let (up, down) = (2 * SEED_BYTES + polynomials * POLYNOMIAL_BYTES, product.download_bytes());
        let sizes: Vec<u64> = cost.messages.iter().map(|message| message.payload_bytes).collect();
        match packed {
            // Keys for packing are the position's.
            true => assert_eq!(sizes, [3 * up as u64, 3 * down as u64]),
            false => assert_eq!(sizes[1..], [3 * up as u64, 3 * down as u64]),
        }
        assert_eq!(cost.rounds(), 1);
        assert!(cost.draws.is_empty());
        // Nothing is shared by positions.
        let one = product.cost(Keys::Layer, 1);
        let work = |primitive| [&cost, &one].map(|cost| cost.work.get(&primitive).copied().unwrap_or(0));
        for primitive in [Primitive::Ciphertext, Primitive::Kernel, Primitive::KernelTerm, Primitive::Product] {
            let [three, one] = work(primitive);
            assert_eq!(three, 3 * one, "{primitive:?}");
        }
        assert_eq!(cost.both_ways(), sizes.iter().sum::<u64>() + FRAME_HEADER_BYTES * sizes.len() as u64);
    }
}
