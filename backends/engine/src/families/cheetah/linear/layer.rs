//! What the server computes one linear layer from, and how its results leave.

use std::collections::HashMap;

use fusion_catalogue::cheetah::{Packing, Run};

use crate::ring::MAX_TERMS;
use crate::ring::sample::{Seed, stream};
use crate::rlwe::{Ciphertext, PublicKey, Scale};

/// What one layer is computed from.
pub(super) struct Layer<'a> {
    pub(super) packing: &'a Packing,
    pub(super) scale: Scale,
    pub(super) keys: &'a [PublicKey],
    pub(super) weight: &'a [i64],
    pub(super) few_terms: Option<&'a FewTerms>,
    /// Of all masks, re-randomisations and floods: one stream per result polynomial and position.
    pub(super) seed: Seed,
}

/// Where the result polynomials of every position belong that are not yet written: those of one
/// position come in order.
pub(super) struct Downloads<'a> {
    packing: &'a Packing,
    /// Of every position the rest of all `a` and of all `b`.
    rests: Vec<[&'a mut [u8]; 2]>,
}

impl<'a> Downloads<'a> {
    pub(super) fn new(packing: &'a Packing, bytes: &'a mut [u8]) -> Downloads<'a> {
        let positions = bytes.chunks_mut(packing.download_bytes());
        Downloads { packing, rests: positions.map(|bytes| bytes.split_at_mut(packing.a_bytes()).into()).collect() }
    }

    /// The place of a position's next result, number `result` of all.
    pub(super) fn next(&mut self, position: usize, result: usize) -> [&'a mut [u8]; 2] {
        let a_bytes = self.packing.a_bytes() / self.packing.results();
        let [a, b] = self.rests[position].each_mut().map(std::mem::take);
        let (a, a_rest) = a.split_at_mut(a_bytes);
        let (b, b_rest) = b.split_at_mut(self.packing.b_bytes(result));
        self.rests[position] = [a_rest, b_rest];
        [a, b]
    }
}

impl Layer<'_> {
    /// Turns result number `index` of a position into what the client gets; leaves its memory.
    pub(super) fn mask(
        &self,
        position: usize,
        index: usize,
        ciphertext: &mut Ciphertext,
        share: &[u64],
        result: &mut [&mut [u8]; 2],
    ) {
        let (packing, elements) = (self.packing, self.packing.geometry().output_len());
        let share = &share[position * elements..][..elements];
        let mut rng = stream(&self.seed, (position * packing.results() + index) as u64);
        let len = packing.result_len(index);
        let (mut wanted, mut masks) = (Vec::new(), Vec::with_capacity(len));
        for Run { element, step, coefficient, stride, len } in packing.result(index) {
            debug_assert_eq!(step, 1);
            match stride {
                1 => wanted.push(coefficient..coefficient + len),
                _ => wanted.extend((0..len).map(|i| coefficient + i * stride).map(|place| place..place + 1)),
            }
            masks.extend(share[element..element + len].iter().map(|share| share.wrapping_neg()));
        }
        let [a, b] = result;
        ciphertext.write_result(&self.keys[position], &self.scale, &mut rng, &wanted, &mut masks, [a, b]);
    }
}

/// What the kernels of a layer have in common if they have few terms.
pub(super) struct FewTerms {
    /// Of the powers of `X` in use.
    pub(super) exponents: Vec<u16>,
    /// Of each product the powers in its kernels, by number.
    pub(super) terms: Vec<Vec<u16>>,
}

impl FewTerms {
    /// The most powers: what a cache holds of all frequencies of a slice, beside kernels and sums.
    const POWERS: usize = 128;

    /// `None` if a kernel has more than [`MAX_TERMS`] terms, or all together more than
    /// [`FewTerms::POWERS`].
    pub(super) fn new(packing: &Packing) -> Option<FewTerms> {
        let mut few = FewTerms { exponents: Vec::new(), terms: Vec::with_capacity(packing.products()) };
        let mut numbers = HashMap::new();
        for product in 0..packing.products() {
            let mut terms = Vec::new();
            for term in packing.full_units().flat_map(|unit| packing.kernel(unit, product)) {
                let exponent = term.coefficient as u16;
                let number = *numbers.entry(exponent).or_insert_with(|| {
                    few.exponents.push(exponent);
                    few.exponents.len() as u16 - 1
                });
                terms.push(number);
                if terms.len() > MAX_TERMS || few.exponents.len() > FewTerms::POWERS {
                    return None;
                }
            }
            few.terms.push(terms);
        }
        Some(few)
    }
}
