//! The noise of products of shared matrices, measured on what the server computes of them, against
//! the deviation that the flood is reckoned to hide.

use std::collections::BTreeSet;
use std::ops::Range;

use fusion_catalogue::cheetah::{Packings, Product};
use fusion_catalogue::linear::Matrices;
use fusion_catalogue::rlwe::POLYNOMIAL_BYTES;
use fusion_ir::types::mask;
use zeroize::Zeroizing;

use super::cipher::Hiding;
use super::{Ciphertext, ClientKey, PublicKey, Scale, Tree};
use crate::families::cheetah::product::CrossTerm;
use crate::ring::sample::{Stream, stream};
use crate::ring::{DEGREE, MODULI, Poly, Spectrum};

/// One term of products, and shares of the matrix that is encrypted and of the other.
struct Case<'p> {
    product: &'p Product,
    term: usize,
    client: Vec<u64>,
    server: Vec<u64>,
}

impl Case<'_> {
    /// What is left of every wanted coefficient beyond its plaintext, re-randomised but not
    /// flooded, in deviations of all that the flood is to hide.
    fn noise(&self, rng: &mut Stream) -> Vec<f64> {
        let term = &self.product.terms()[self.term];
        let (packing, levels) = (&*term.packing, term.packing.levels());
        let cross = CrossTerm::new(self.product, self.term);
        let (operand, kernel) = (cross.operands(&self.client), cross.kernel(&self.server));
        let mut seed = [0; 32];
        seed.iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
        let mut key = ClientKey::from_seed(Zeroizing::new(seed));
        let mut public = PublicKey::decode(key.public()).unwrap();
        if levels > 0 {
            public.set_packing_keys(&key.packing_keys(levels), levels).unwrap();
        }
        let (scale, seeds) = (Scale::new(self.product.acc_bits()), key.next_upload());
        let encrypt = |index: usize| {
            let mut plaintext = [0; DEGREE];
            for run in packing.operand(index) {
                for i in 0..run.len {
                    plaintext[run.coefficient + i * run.stride] = operand[run.element + i * run.step];
                }
            }
            let mut bytes = [0; POLYNOMIAL_BYTES];
            key.encrypt(&seeds, index as u64, &scale, &plaintext, &mut bytes);
            let ciphertext = Ciphertext::decode(&seeds.public, index as u64, &bytes, &scale, &[0; DEGREE]);
            ciphertext.unwrap().into_components()
        };
        let operands: Vec<[Spectrum; 2]> = (0..packing.operands()).map(encrypt).collect();
        let sum = |number: usize| {
            let (unit, tile) = (number / packing.tiles(), number % packing.tiles());
            let mut sum = [Spectrum::zero(), Spectrum::zero()];
            for k in 0..packing.products() {
                let mut polynomial = Poly::zero();
                for term in packing.kernel(unit, k) {
                    let weight = kernel[term.element];
                    polynomial.add_signed_to(term.coefficient, if term.negative { -weight } else { weight });
                }
                let polynomial = Spectrum::of(polynomial);
                let operand = &operands[packing.first_operand(unit, tile) + k];
                sum.iter_mut().zip(operand).for_each(|(sum, operand)| sum.add_product(operand, &polynomial));
            }
            Ciphertext::from_components(sum)
        };
        let expected = self.expected(&operand, &kernel);
        let deviation = packing.noise(self.product.digit_bits(self.term)).unwrap().weighted_deviation();
        let mut found = Vec::new();
        for result in 0..packing.results() {
            let numbers = result << levels..packing.sums().min((result + 1) << levels);
            let mut ciphertext = match levels {
                0 => sum(result),
                _ => {
                    let mut tree = Tree::default();
                    numbers.for_each(|number| tree.push(sum(number), levels, &public));
                    tree.finish(levels, &public)
                }
            };
            let all = Range { start: 0, end: DEGREE };
            let hidden = ciphertext.hide(&public, &scale, rng, &[all], Hiding { rerandomise: true, flood: false });
            let mut product = Spectrum::zero();
            product.add_product(&Spectrum::of(hidden.a), &key.secret);
            let product = product.into_poly();
            for run in packing.result(result) {
                for i in 0..run.len {
                    let at = run.coefficient + i * run.stride;
                    let encoded = scale.encode(expected[run.element + i * run.step]);
                    let product = product.coefficient(at);
                    let off = [0, 1].map(|j| MODULI[j].sub(MODULI[j].sub(hidden.b[j][at], product[j]), encoded[j]));
                    let mut noise = Poly::zero();
                    noise.add_to(0, off);
                    found.push(noise.small_coefficient(0) as f64 / deviation);
                }
            }
        }
        found
    }

    /// The layer's results mod `2^acc`, by definition: pointwise, in groups.
    fn expected(&self, operand: &[u64], kernel: &[i64]) -> Vec<u64> {
        let geometry = self.product.terms()[self.term].packing.geometry();
        let (pixels, channels, outputs) = (geometry.input[2], geometry.group()[0], geometry.group()[1]);
        let mut results = Vec::new();
        for output in 0..geometry.outputs {
            for pixel in 0..pixels {
                let of_channel = |channel: usize| {
                    let x = operand[(output / outputs * channels + channel) * pixels + pixel];
                    x.wrapping_mul(kernel[output * channels + channel] as u64)
                };
                let sum = (0..channels).map(of_channel).fold(0, u64::wrapping_add);
                results.push(sum & mask(self.product.acc_bits()));
            }
        }
        results
    }
}

/// Root of the mean square.
fn deviation(noise: &[f64]) -> f64 {
    (noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64).sqrt()
}

/// The share whose digits are all as far below zero as they can be, or, one less far, above.
fn extreme(product: &Product, term: usize, below: bool) -> u64 {
    let width = product.digit_bits(term);
    let digit = if below { (1u64 << (width - 1)).wrapping_neg() } else { (1 << (width - 1)) - 1 };
    let digits = 0..product.terms()[term].digits;
    digits.fold(0u64, |share, i| share.wrapping_add(digit << (width * i))) & mask(product.acc_bits())
}

/// With every number of digits, with output packing and without, of shares that are uniform and of
/// shares that are as far out as can be.
#[test]
fn products_have_no_more_noise_than_is_reckoned() {
    let mut rng = stream(&[1; 32], 0);
    let mut seen = BTreeSet::new();
    for packed in [false, true] {
        for (acc_bits, extents) in [(24, [32, 64, 32]), (30, [32, 64, 32]), (33, [32, 48, 24]), (34, [24, 700, 8])] {
            let [rows, inner, columns] = extents;
            let matrices = Matrices { batch: 1, rows, inner, columns };
            let product = Product::of(&matrices, acc_bits, packed, &mut Packings::default()).unwrap();
            for term in [0, 1] {
                let lens = [matrices.operand_lens()[term], matrices.operand_lens()[1 - term]];
                let mut case = |pick: &mut dyn FnMut(&mut Stream) -> [u64; 2]| {
                    let picked: Vec<[u64; 2]> = (0..lens[0].max(lens[1])).map(|_| pick(&mut rng)).collect();
                    let [client, server] = [0, 1].map(|at| picked[..lens[at]].iter().map(|pair| pair[at]).collect());
                    Case { product: &product, term, client, server }.noise(&mut rng)
                };
                let ring = mask(acc_bits);
                let uniform = case(&mut |rng| [rng.next_u64() & ring, rng.next_u64() & ring]);
                let top = 1u64 << (acc_bits - 1);
                let edges = [0, 1, top - 1, top, top + 1, ring];
                let far = [true, false].map(|below| extreme(&product, term, below));
                let extreme = case(&mut |rng| {
                    let bits = rng.next_u64();
                    [edges[(bits >> 1) as usize % edges.len()], far[(bits & 1) as usize]]
                });
                let digits = product.terms()[term].digits;
                let context = format!("{extents:?} at {acc_bits} bits, {digits} digits, packed {packed}");
                for (name, noise, least) in [("uniform", uniform, 0.3), ("extreme", extreme, 0.5)] {
                    let largest = noise.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                    println!("{context}, {name}: {:.3} deviations, at most {largest:.2}", deviation(&noise));
                    assert!(largest < 6.5, "{context}, {name}: {largest} deviations");
                    assert!((least..1.02).contains(&deviation(&noise)), "{context}, {name}: {}", deviation(&noise));
                }
                seen.insert((digits, product.terms()[term].packing.levels() > 0));
            }
        }
    }
    for digits in 1..=3 {
        assert!(seen.contains(&(digits, false)) && seen.contains(&(digits, true)), "{digits}: {seen:?}");
    }
}
