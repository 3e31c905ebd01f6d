//! What a curious client could read off its results if the server hid less: each measure against
//! circuit privacy is switched off, weights come out, and with it on the same attack finds nothing.
//!
//! Switching the modulus also rounds the weight-dependent noise away most of the time. Nothing
//! rests on that: one attack on `b` takes the result before it is switched, another as it is sent.

use std::ops::Range;

use fusion_catalogue::cheetah::noise::B_EXTRA_BITS;
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, PRIMES, RESIDUE_BITS, SEED_BYTES};
use fusion_ir::types::{mask, signed};
use zeroize::Zeroizing;

use super::cipher::{Hidden, Hiding};
use super::key::decode_polynomial;
use super::{Ciphertext, ClientKey, PublicKey, Scale, Tree, UploadSeeds};
use crate::bits::{pack, unpack};
use crate::ring::sample::{Stream, add_error, stream, ternary, uniform};
use crate::ring::{DEGREE, MODULI, Poly, Spectrum};

const ACC_BITS: u8 = 30;
/// The largest magnitude of a weight.
const LARGEST: i64 = 1 << 11;
/// Taps of a kernel: three by three, in rows of 58.
const TAPS: [usize; 9] = [0, 1, 2, 58, 59, 60, 116, 117, 118];

/// Levels of a packed result.
const LEVELS: u32 = 2;

/// Coefficients that an attack compares.
const COMPARED: usize = 32;

/// A client, what it remembers of one upload of one polynomial, and the server's sum: that
/// polynomial times a kernel.
struct Layer {
    key: ClientKey,
    public: PublicKey,
    seeds: UploadSeeds,
    scale: Scale,
    /// What it sent.
    b: Poly,
    sum: Ciphertext,
}

/// The polynomial with these weights at these coefficients.
fn kernel(taps: &[usize], weights: &[i64]) -> Poly {
    let mut kernel = Poly::zero();
    taps.iter().zip(weights).for_each(|(&tap, &weight)| kernel.add_signed_to(tap, weight));
    kernel
}

fn times(left: Poly, right: Poly) -> Poly {
    let mut product = Spectrum::zero();
    product.add_product(&Spectrum::of(left), &Spectrum::of(right));
    product.into_poly()
}

fn times_secret(a: Poly, key: &ClientKey) -> Poly {
    let mut product = Spectrum::zero();
    product.add_product(&Spectrum::of(a), &key.secret);
    product.into_poly()
}

/// A random weight.
fn weight(rng: &mut Stream) -> i64 {
    (rng.next_u64() % (2 * LARGEST as u64)) as i64 - LARGEST
}

impl Layer {
    fn new(kernel: Poly) -> Layer {
        let mut key = ClientKey::from_seed(Zeroizing::new([1; 32]));
        let public = PublicKey::decode(key.public()).unwrap();
        let (seeds, scale) = (key.next_upload(), Scale::new(ACC_BITS));
        // A first layer, of which the client chooses the operand and the server has no share: zero,
        // encoded without error.
        let mut bytes = [0; POLYNOMIAL_BYTES];
        key.encrypt(&seeds, 0, &scale, &[0; DEGREE], &mut bytes);
        let operand = Ciphertext::decode(&seeds.public, 0, &bytes, &scale, &[0; DEGREE]).unwrap();
        let b = decode_polynomial(&bytes).unwrap();
        let kernel = Spectrum::of(kernel);
        let sum = operand.into_components().map(|component| {
            let mut product = Spectrum::zero();
            product.add_product(&component, &kernel);
            product
        });
        Layer { key, public, seeds, scale, b, sum: Ciphertext::from_components(sum) }
    }

    /// The same with the sum packed: with other sums, which are empty.
    fn packed(kernel: Poly) -> Layer {
        let mut layer = Layer::new(kernel);
        layer.public.set_packing_keys(&layer.key.packing_keys(LEVELS), LEVELS).unwrap();
        let (mut tree, mut sum) = (Tree::default(), Ciphertext::zero());
        std::mem::swap(&mut layer.sum, &mut sum);
        tree.push(sum, LEVELS, &layer.public);
        layer.sum = tree.finish(LEVELS, &layer.public);
        layer
    }

    /// The result, all of it wanted, before its modulus is switched.
    fn hidden(&mut self, hiding: Hiding) -> Hidden {
        let all = Range { start: 0, end: DEGREE };
        self.sum.hide(&self.public, &self.scale, &mut stream(&[3; 32], 0), &[all], hiding)
    }

    /// What is left of `b - a s` of a result beyond the plaintext, a multiple of `q / t` but for a
    /// few units.
    fn noise(&mut self, hiding: Hiding) -> Vec<f64> {
        let hidden = self.hidden(hiding);
        let product = times_secret(hidden.a, &self.key);
        let noise = |i: usize| {
            let product = product.coefficient(i);
            let phase = [0, 1].map(|j| MODULI[j].sub(hidden.b[j][i], product[j]));
            let mut switched = [0];
            self.scale.switch_b([&[phase[0]], &[phase[1]]], &mut switched);
            let plaintext = self.scale.decode(switched[0], 0);
            let encoded = self.scale.encode(plaintext);
            let mut noise = Poly::zero();
            noise.add_to(0, [0, 1].map(|j| MODULI[j].sub(phase[j], encoded[j])));
            noise.small_coefficient(0) as f64
        };
        (0..DEGREE).map(noise).collect()
    }

    /// Both components of the result as the client gets them, with masks of zero.
    fn result(&mut self, hiding: Hiding) -> (Vec<u64>, Vec<u64>) {
        let widths = [self.scale.a_bits(), self.scale.b_bits()];
        let [mut a, mut b] = widths.map(|bits| vec![0; DEGREE / 8 * usize::from(bits)]);
        self.hidden(hiding).switch(&self.scale, &mut [0; DEGREE], [&mut a, &mut b]);
        let [a, b] = [(a, widths[0]), (b, widths[1])].map(|(bytes, bits)| unpack(&bytes, DEGREE, bits).unwrap());
        (a, b)
    }
}

/// Tries every single weight: which explain the returned `a`, and which the returned `b`.
fn weights_that_fit(weight: i64, hiding: Hiding) -> [Vec<i64>; 2] {
    const TAP: usize = 5;
    let mut layer = Layer::new(kernel(&[TAP], &[weight]));
    // All this is the client's own or was sent to it.
    let (returned_a, returned_b) = layer.result(hiding);
    let a = uniform(&mut stream(&layer.seeds.public, 0));
    let products = |sent: &Poly, weight: i64| {
        let times =
            |i: usize, j: usize| MODULI[j].factor(MODULI[j].reduce_signed(weight)).times(sent.coefficient(i)[j]);
        [0, 1].map(|j| (0..COMPARED).map(|i| times(i, j)).collect::<Vec<u64>>())
    };
    let a_fits = |&weight: &i64| {
        let ([first, second], mut switched) = (products(&a, weight), [0; COMPARED]);
        layer.scale.switch_a([&first, &second], &mut switched);
        switched == returned_a[TAP..][..COMPARED]
    };
    let b_fits = |&weight: &i64| {
        let ([first, second], mut switched) = (products(&layer.b, weight), [0; COMPARED]);
        layer.scale.switch_b([&first, &second], &mut switched);
        switched == returned_b[TAP..][..COMPARED]
    };
    [(-LARGEST..LARGEST).filter(a_fits).collect(), (-LARGEST..LARGEST).filter(b_fits).collect()]
}

/// Estimates the weights from the noise of a result, by least squares on the client's own errors.
fn estimates(weights: &[i64], hiding: Hiding) -> Vec<f64> {
    let mut layer = Layer::new(kernel(&TAPS, weights));
    let noise = layer.noise(hiding);
    let mut errors = Poly::zero();
    add_error(&mut errors, &mut stream(&layer.seeds.errors, 0));
    let shifted: Vec<Vec<f64>> = TAPS
        .iter()
        .map(|&tap| {
            let shifted = times(errors.clone(), kernel(&[tap], &[1]));
            (0..DEGREE).map(|i| shifted.small_coefficient(i) as f64).collect()
        })
        .collect();
    // Gauss-Seidel on the normal equations: shifts of independent errors are nearly orthogonal.
    let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
    let (mut rest, mut estimates) = (noise, vec![0.0; TAPS.len()]);
    for _ in 0..50 {
        for (estimate, shifted) in estimates.iter_mut().zip(&shifted) {
            let step = dot(&rest, shifted) / dot(shifted, shifted);
            *estimate += step;
            rest.iter_mut().zip(shifted).for_each(|(rest, error)| *rest -= step * error);
        }
    }
    estimates
}

#[test]
fn only_rerandomisation_keeps_a_weight_out_of_the_returned_a() {
    let mut rng = stream(&[4; 32], 0);
    for _ in 0..4 {
        let weight = weight(&mut rng);
        assert_eq!(weights_that_fit(weight, Hiding { rerandomise: false, ..Hiding::FULL })[0], [weight]);
        assert_eq!(weights_that_fit(weight, Hiding::FULL)[0], []);
    }
}

#[test]
fn only_the_flood_keeps_a_weight_out_of_the_returned_b_where_it_is_not_rerandomised() {
    let mut rng = stream(&[6; 32], 0);
    for _ in 0..4 {
        let weight = weight(&mut rng);
        assert_eq!(weights_that_fit(weight, Hiding { rerandomise: false, flood: false })[1], [weight]);
        assert_eq!(weights_that_fit(weight, Hiding { rerandomise: false, flood: true })[1], []);
        assert_eq!(weights_that_fit(weight, Hiding::FULL)[1], []);
    }
}

#[test]
fn only_the_flood_keeps_the_weights_out_of_the_noise() {
    let mut rng = stream(&[5; 32], 0);
    let weights: Vec<i64> = TAPS.iter().map(|_| weight(&mut rng)).collect();
    let off = |hiding| {
        let pairs = estimates(&weights, hiding).into_iter().zip(&weights);
        pairs.map(|(estimate, &weight)| (estimate - weight as f64).abs()).fold(0.0, f64::max)
    };
    // The noise of re-randomisation alone blurs them by a few units of thousands.
    assert!(off(Hiding { rerandomise: false, flood: false }) < 0.5);
    assert!(off(Hiding { rerandomise: true, flood: false }) < 8.0);
    assert!(off(Hiding { rerandomise: false, flood: true }) > f64::exp2(40.0));
    assert!(off(Hiding::FULL) > f64::exp2(40.0));
}

/// In a product of secret matrices the weights are digits of a share of the server's, as wide as
/// the flood allows: with all of them a client has the share.
#[test]
fn only_the_flood_keeps_a_share_out_of_the_noise_of_its_digits() {
    let mut rng = stream(&[7; 32], 0);
    let digit_bits = ACC_BITS.div_ceil(2);
    let share = rng.next_u64() & mask(ACC_BITS);
    let low = signed(share, digit_bits);
    let high = signed(share.wrapping_sub(low as u64) >> digit_bits, digit_bits);
    // And one of largest magnitude.
    let digits = [low, high, -(1 << (digit_bits - 1))];
    let found = |hiding| {
        let weights = [digits[0], digits[1], digits[2], 0, 0, 0, 0, 0, 0];
        [0, 1, 2].map(|at| estimates(&weights, hiding)[at])
    };
    let off = |found: [f64; 3]| found.iter().zip(digits).map(|(f, d)| (f - d as f64).abs()).fold(0.0, f64::max);
    let bare = found(Hiding { rerandomise: false, flood: false });
    let [low, high, _] = bare.map(|digit| digit.round() as i64);
    assert_eq!(low.wrapping_add(high << digit_bits) as u64 & mask(ACC_BITS), share);
    assert!(off(bare) < 0.5);
    assert!(off(found(Hiding { rerandomise: true, flood: false })) < 8.0);
    assert!(off(found(Hiding { rerandomise: false, flood: true })) > f64::exp2(40.0));
    assert!(off(found(Hiding::FULL)) > f64::exp2(40.0));
}

/// What a client can compute of a packed result for each weight it thinks of: all but what the
/// server adds to hide it.
struct Guess {
    weight: i64,
    result: (Vec<u64>, Vec<u64>),
    noise: Vec<f64>,
}

fn packed(weight: i64) -> Layer {
    Layer::packed(kernel(&[4 << LEVELS], &[weight]))
}

fn guesses() -> Vec<Guess> {
    let nothing = Hiding { rerandomise: false, flood: false };
    let guess = |weight| Guess { weight, result: packed(weight).result(nothing), noise: packed(weight).noise(nothing) };
    (-12..12).map(guess).collect()
}

/// The guesses that explain a returned `a`, a returned `b`, and the noise before the modulus is
/// switched but for that of re-randomisation.
fn packed_weights_that_fit(guesses: &[Guess], weight: i64, hiding: Hiding) -> [Vec<i64>; 3] {
    let (a, b) = packed(weight).result(hiding);
    let noise = packed(weight).noise(hiding);
    let near = |guess: &Guess| noise.iter().zip(&guess.noise).all(|(noise, guess)| (noise - guess).abs() < 4096.0);
    let fits: [&dyn Fn(&Guess) -> bool; 3] = [&|guess| guess.result.0 == a, &|guess| guess.result.1 == b, &near];
    fits.map(|fits| guesses.iter().filter(|guess| fits(guess)).map(|guess| guess.weight).collect())
}

#[test]
fn weights_come_out_of_packed_results_too_unless_all_is_hidden() {
    let guesses = guesses();
    let none: &[i64] = &[];
    for weight in [-11, 1, 8] {
        let fitting = |rerandomise, flood| packed_weights_that_fit(&guesses, weight, Hiding { rerandomise, flood });
        assert_eq!(fitting(false, false), [[weight], [weight], [weight]]);
        // What a change of key adds depends on weights through all digits: without the flood it
        // says which they are.
        let [a, b, noise] = fitting(true, false);
        assert_eq!((a.as_slice(), b.as_slice(), noise.as_slice()), (none, none, [weight].as_slice()));
        let [a, b, noise] = fitting(false, true);
        assert_eq!((a.as_slice(), b.as_slice(), noise.as_slice()), ([weight].as_slice(), none, none));
        assert_eq!(fitting(true, true), [none, none, none]);
    }
}

/// A client's public key whose `b` is the constant `q / 3t`, as sent: no encryption of zero.
fn malformed_key(honest: &[u8]) -> Vec<u8> {
    let third = (PRIMES.iter().map(|prime| u128::from(*prime)).product::<u128>() >> ACC_BITS) / 3;
    let mut b = Poly::zero();
    b.add_to(0, PRIMES.map(|prime| (third % u128::from(prime)) as u64));
    [&honest[..SEED_BYTES], &pack(b.residues(), RESIDUE_BITS as u8)].concat()
}

/// The server's `u`, as a client guesses it from the coefficients of `b` that it gets: the share of
/// right guesses.
fn share_of_u_guessed(layer: &mut Layer) -> f64 {
    // What it uploaded is zero, without an error. The mask is a multiple of `q / t`, so what is
    // below that is `u b` and the flood.
    layer.sum = Ciphertext::from_components([Spectrum::of(uniform(&mut stream(&[9; 32], 0))), Spectrum::zero()]);
    let (_, b) = layer.result(Hiding::FULL);
    let thirds = |b: &u64| (3.0 * (b & mask(B_EXTRA_BITS)) as f64 / f64::from(B_EXTRA_BITS).exp2()).round() as i64;
    // The first that comes of the server's stream is `u`.
    let u = ternary(&mut stream(&[3; 32], 0));
    let u = (0..DEGREE).map(|i| u.small_coefficient(i));
    b.iter().zip(u).filter(|(b, u)| thirds(b).rem_euclid(3) == u.rem_euclid(3)).count() as f64 / DEGREE as f64
}

#[test]
fn a_malformed_public_key_gives_the_client_what_its_results_are_rerandomised_with() {
    let mut layer = Layer::new(kernel(&[0], &[1]));
    // With an honest key it guesses.
    let guessed = share_of_u_guessed(&mut layer);
    assert!((0.3..0.37).contains(&guessed), "{guessed}");
    // The flood reaches a sixth of `q / t` once in hundreds of coefficients.
    layer.public = PublicKey::decode(&malformed_key(layer.key.public())).unwrap();
    let known = share_of_u_guessed(&mut layer);
    assert!(known > 0.995, "{known}");
    println!("a malformed public key tells {known} of the coefficients of u that are returned");
}
