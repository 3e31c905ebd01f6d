//! Products of shared matrices: digits, bytes and noise at the sizes that networks have.

use fusion_catalogue::cheetah::noise::Noise;
use fusion_catalogue::cheetah::{Packings, Product, product};
use fusion_catalogue::compare::{Comparison, Nonlinear};
use fusion_catalogue::linear::{Matrices, Refusal};
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, SEED_BYTES};
use fusion_catalogue::{FRAME_HEADER_BYTES, Keys, Primitive, Step, Steps, Unsupported, candidates};
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

/// As few digits as can be hidden, and by how many bits: what SECURITY.md and decision 62 say.
#[test]
fn digits_and_hiding_bits_of_attention_are_known_at_every_width() {
    for (batch, extents) in ATTENTION {
        for packed in [false, true] {
            for acc_bits in 2..=34 {
                let product = product(batch, extents, acc_bits, packed);
                assert_eq!(product.levels() > 0, packed, "{extents:?} at {acc_bits}");
                for (at, term) in product.terms().iter().enumerate() {
                    let context = format!("{batch} of {extents:?} at {acc_bits} bits, packed {packed}, term {at}");
                    let most = match acc_bits {
                        ..=product::ONE_DIGIT_BITS => 1..=1,
                        // By the sums' lengths.
                        25 | 26 => 1..=2,
                        27..=product::GOOD_ACC_BITS => 2..=2,
                        _ => 3..=3,
                    };
                    assert!(most.contains(&term.digits), "{context}: {} digits", term.digits);
                    let hiding_bits = term.packing.noise(product.digit_bits(at)).unwrap().hiding_bits();
                    let known = if matches!(acc_bits, 32 | 33) { 40.0..43.0 } else { 40.0..85.0 };
                    assert!(known.contains(&hiding_bits), "{context}: {hiding_bits} bits");
                }
            }
        }
    }
}

/// By the length of sums: 64, 128 and 197 products.
#[test]
fn some_products_have_room_beside_one_digit() {
    let widest = |(batch, extents)| product::one_digit_bits(&matrices(batch, extents));
    assert_eq!(ATTENTION.map(widest), [25, 25, 25, 24, 25, 25]);
}

/// Where two digits of 33 bits end, in products for each result.
#[test]
fn two_digits_hold_sums_of_known_length() {
    let holds = |products: usize, levels| Noise::new(33, 17, products, levels).is_ok();
    for (inner, levels) in [(762, 0), (474, 6)] {
        assert!(holds(2 * inner, levels) && !holds(2 * inner + 2, levels), "{inner} {levels}");
    }
    let digits = |inner, packed| product(1, [64, inner, 64], 33, packed).terms().each_ref().map(|term| term.digits);
    assert_eq!([digits(762, false), digits(763, false)], [[2, 2], [3, 3]]);
    assert_eq!([digits(474, true), digits(475, true)], [[2, 2], [3, 3]]);
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

/// Steps of one product of matrices `[1, rows, inner]` and `[1, inner, columns]` by `backend`,
/// whose factors are parts of one input.
fn steps(count: usize, [rows, inner, columns]: [usize; 3], bits: u8, backend: &str) -> Result<Steps, Vec<Unsupported>> {
    let ty = |shape: &[usize]| format!("i{bits}.0~9{shape:?} by local \"\"\n").replace(", ", ",");
    let most = rows.max(columns) * inner;
    let mut text = format!("function \"f\"\nv0 = input : {}", ty(&[most]));
    for (at, shape) in [(1, [1, rows, inner]), (3, [1, inner, columns])] {
        let len: usize = shape.iter().product();
        text += &format!("v{at} = slice v0 start=[0] : {}v{} = reshape v{at} : {}", ty(&[len]), at + 1, ty(&shape));
    }
    for at in 0..count {
        let result = ty(&[1, rows, columns]).replace("local \"\"", &format!("{backend} \"product {at}\""));
        text += &format!("v{} = mat_mul v2, v4 : {result}", at + 5);
    }
    Steps::of(&fusion_ir::text::parse(&text).unwrap())
}

/// Whoever is to multiply scalar by scalar: by name, or as what a family has.
const SCALARS: [&str; 4] = ["cheetah(ot)", "crypt_flow2-ot", "crypt_flow2-he", "garbled"];

#[test]
fn large_products_are_not_computed_scalar_by_scalar() {
    for backend in SCALARS {
        let refused = steps(1, [512, 512, 512], 30, backend).unwrap_err();
        assert_eq!(
            refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "mat_mul product 0: the product of 512x512 and 512x512 matrices: 134217728 multiplications are more than the \
              4194304 that are done one by one: have them done by ciphertexts, as backend cheetah does"
            ],
            "{backend}"
        );
        // At the limit, and one row beyond it.
        assert!(steps(1, [256, 128, 128], 30, backend).is_ok(), "{backend}");
        let refused = steps(1, [257, 128, 128], 30, backend).unwrap_err();
        assert!(matches!(refused[0].why, Refusal::Scalars { whole: None, .. }), "{backend}");
    }
    assert!(matches!(steps(1, [512, 512, 512], 30, "cheetah").unwrap().iter().nth(5), Some(Step::Product(_))));
}

/// Rings that ciphertexts do not carry: by OTs if it is small, else refused with what ciphertexts
/// lack.
#[test]
fn what_ciphertexts_do_not_carry_is_computed_by_ots_if_it_is_small() {
    for backend in ["cheetah", "cheetah(pack)"] {
        let small = steps(1, [16, 16, 16], 40, backend).unwrap();
        assert!(matches!(small.iter().nth(5), Some(Step::Compare(_))), "{backend}");
        let refused = steps(1, [512, 64, 512], 40, backend).unwrap_err();
        let said = refused[0].to_string();
        assert!(said.contains("16777216 multiplications") && said.contains("40 bits is wider than 34"), "{said}");
        assert!(matches!(&refused[0].why, Refusal::Scalars { whole: Some(_), .. }));
    }
}

/// A function of many, each of them small enough, is refused before anything of it is priced.
#[test]
fn all_products_that_are_computed_scalar_by_scalar_are_few() {
    let extents = [256, 128, 128];
    for backend in SCALARS {
        assert!(steps(4, extents, 30, backend).is_ok());
        let refused = steps(6, extents, 30, backend).unwrap_err();
        let nodes: Vec<&str> = refused.iter().map(|unsupported| unsupported.node.as_str()).collect();
        assert_eq!(nodes, ["product 4", "product 5"], "{backend}");
        assert_eq!(refused[0].why, Refusal::ScalarsInAll(5 * (1 << 22)));
    }
    assert!(steps(40, extents, 30, "cheetah").is_ok());
}

/// Waves that are alike are priced once, and cost as much as they do one by one.
#[test]
fn products_of_scalars_cost_what_their_waves_cost() {
    let matrices = matrices(3, [70, 64, 80]);
    let price = |comparison: &Comparison, n: usize| {
        let mut cost = fusion_catalogue::Cost::default();
        cost.exchange([n as u64, u64::from(*comparison == Comparison::Mul { bits: 30 })]);
        cost
    };
    for positions in [1, 2, 5] {
        let asked = std::cell::RefCell::new(Vec::new());
        let counted = |comparison: &Comparison, n: usize| {
            asked.borrow_mut().push(n);
            price(comparison, n)
        };
        let cost = Nonlinear::MatMul { bits: 30, matrices }.cost(&counted, positions);
        let waves = matrices.sums(30, positions).map(|sums| price(&Comparison::Mul { bits: 30 }, sums.len() * 64));
        assert_eq!(cost, waves.sum());
        assert!(asked.borrow().len() <= 2 && cost.messages.len() > 4 * positions, "{asked:?}");
        let sent = cost.bytes(fusion_ir::Party::Client) - 8 * (cost.messages.len() / 2) as u64;
        assert_eq!(sent, positions as u64 * matrices.products());
    }
}
