//! The batch's inputs, gathered before anything is sent.
//!
//! What a processor has read lately it reads again faster. If a position's input were read where
//! its sample lies, copies of a query would be prepared faster than the first of them, and the
//! server could see it in when an upload comes. So every position gets memory of its own before the
//! session's first message. Samples are read once each, in the order in which the user gave them;
//! then all positions are written, in theirs. How recently a position's memory was touched depends
//! on its place in the batch alone, and nothing after that reads a sample.

use std::ops::Range;

use fusion_backends::bits::{pack, unpack};
use fusion_catalogue::packed_bytes;
use fusion_ir::TensorType;
use fusion_ir::types::wrap;

use super::mix::{Mix, Sample};
use crate::Error;

/// Who has the samples.
pub(crate) trait Samples {
    /// The quantised elements of one.
    fn input(&self, sample: Sample) -> &[i64];
}

/// The input of every position, in order.
pub(crate) struct Inputs {
    elements: usize,
    bits: u8,
    /// Bytes of one position.
    each: usize,
    packed: Vec<u8>,
}

/// Bytes of memory that the inputs of so many positions take.
pub(crate) fn memory_bytes(ty: &TensorType, positions: u64) -> u64 {
    positions * packed_bytes(ty.len(), ty.bits)
}

impl Inputs {
    /// Those of the samples that `mix` arranges, all of type `ty`.
    ///
    /// # Errors
    /// [`Error::Bug`] if a sample is not of that type.
    pub fn gather(ty: &TensorType, mix: &Mix, samples: &impl Samples) -> Result<Inputs, Error> {
        let each = packed_bytes(ty.len(), ty.bits) as usize;
        let mut scattered = vec![0; mix.samples().len() * each];
        let places = mix.unmix((0..mix.samples().len()).collect())?;
        let queries = places.queries.iter().map(Vec::as_slice).enumerate().map(|(i, at)| (Sample::Query(i), at));
        let known = |of: fn(usize) -> Sample| move |(i, at)| (of(i), std::slice::from_ref(at));
        let public = places.public.iter().enumerate().map(known(Sample::Public));
        let probes = places.probes.iter().enumerate().map(known(Sample::Probe));
        for (which, positions) in queries.chain(public).chain(probes) {
            let elements: Vec<u64> = samples.input(which).iter().map(|element| wrap(*element, ty.bits)).collect();
            if elements.len() != ty.len() {
                return Err(Error::Bug(format!("{which:?} has {} elements instead of {}", elements.len(), ty.len())));
            }
            let packed = pack(&elements, ty.bits);
            positions.iter().for_each(|at| scattered[at * each..][..each].copy_from_slice(&packed));
        }
        // Written once more, now in order.
        let mut packed = Vec::with_capacity(scattered.len());
        packed.extend_from_slice(&scattered);
        Ok(Inputs { elements: ty.len(), bits: ty.bits, each, packed })
    }

    /// The inputs of the first `sizes[0]` positions, of the next `sizes[1]`, and so on: each in
    /// memory of its own, written in the order of positions.
    ///
    /// # Errors
    /// [`Error::Bug`] if that is not all of them.
    pub fn cut(self, sizes: &[usize]) -> Result<Vec<Inputs>, Error> {
        let Inputs { elements, bits, each, packed } = self;
        if sizes.iter().sum::<usize>() * each != packed.len() {
            return Err(Error::Bug(format!("{} bytes of inputs cannot be cut into {sizes:?}", packed.len())));
        }
        if sizes.len() == 1 {
            return Ok(vec![Inputs { elements, bits, each, packed }]);
        }
        let mut rest = &packed[..];
        let part = |size: &usize| {
            let (part, left) = rest.split_at(size * each);
            rest = left;
            Inputs { elements, bits, each, packed: part.to_vec() }
        };
        Ok(sizes.iter().map(part).collect())
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.packed.len() / self.each.max(1)
    }

    /// All of them, as bytes.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// What [`Inputs::packed`] gave, all of type `ty`; `None` if it is no such inputs' or of no
    /// position.
    pub fn from_packed(ty: &TensorType, packed: Vec<u8>) -> Option<Inputs> {
        let each = packed_bytes(ty.len(), ty.bits) as usize;
        let whole = each > 0 && !packed.is_empty() && packed.len().is_multiple_of(each);
        whole.then_some(Inputs { elements: ty.len(), bits: ty.bits, each, packed })
    }

    /// The shares of `positions`, one after the other: of the parties' sum, the client's share is
    /// all.
    ///
    /// # Errors
    /// [`Error::Bug`] if there are no such positions.
    pub fn shares(&self, positions: Range<usize>) -> Result<Vec<u64>, Error> {
        let missing = || Error::Bug(format!("there are no inputs of positions {positions:?}"));
        let packed = self.packed.get(positions.start * self.each..positions.end * self.each).ok_or_else(missing)?;
        let mut shares = Vec::with_capacity(positions.len() * self.elements);
        for one in packed.chunks_exact(self.each.max(1)) {
            shares.extend(unpack(one, self.elements, self.bits)?);
        }
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use fusion_ir::Sign;

    use super::*;

    /// Samples as a function gives them.
    struct Given<'s>(&'s dyn Fn(Sample) -> &'s [i64]);

    impl Samples for Given<'_> {
        fn input(&self, sample: Sample) -> &[i64] {
            (self.0)(sample)
        }
    }

    fn ty(bits: u8) -> TensorType {
        TensorType { shape: vec![5], bits, frac: 0, magnitude: bits - 2, sign: Sign::Any }
    }

    /// Another input for every sample.
    fn elements(sample: Sample) -> Vec<i64> {
        let first = match sample {
            Sample::Query(i) => i,
            Sample::Public(i) => 20 + i,
            Sample::Probe(i) => 40 + i,
        };
        (0..5).map(|i| first as i64 - 7 * i).collect()
    }

    fn all() -> Vec<Sample> {
        let [queries, public, probes] =
            [(Sample::Query as fn(usize) -> Sample, 6), (Sample::Public, 5), (Sample::Probe, 2)]
                .map(|(of, count)| (0..count).map(of));
        queries.chain(public).chain(probes).collect()
    }

    #[test]
    fn every_position_has_its_samples_elements() {
        for bits in [8, 13, 16, 24] {
            let (ty, mix) = (ty(bits), Mix::new(6, 3, 5, 2).unwrap());
            let values: Vec<Vec<i64>> = all().into_iter().map(elements).collect();
            let place = |sample| all().iter().position(|other| *other == sample).unwrap();
            let inputs = Inputs::gather(&ty, &mix, &Given(&|sample| values[place(sample)].as_slice())).unwrap();
            for positions in [0..25, 3..4, 20..25, 7..7] {
                let expected = mix.samples()[positions.clone()].iter().flat_map(|sample| elements(*sample));
                let expected: Vec<u64> = expected.map(|element| wrap(element, bits)).collect();
                assert_eq!(inputs.shares(positions).unwrap(), expected);
            }
            assert_eq!(inputs.packed.len() as u64, memory_bytes(&ty, 25));
            assert!(inputs.shares(20..26).is_err());
        }
    }

    #[test]
    fn parts_are_the_whole_in_order_and_survive_as_bytes() {
        let (ty, mix) = (ty(13), Mix::new(6, 3, 5, 2).unwrap());
        let values: Vec<Vec<i64>> = all().into_iter().map(elements).collect();
        let place = |sample| all().iter().position(|other| *other == sample).unwrap();
        let gather = || Inputs::gather(&ty, &mix, &Given(&|sample| values[place(sample)].as_slice())).unwrap();
        let whole = gather().shares(0..25).unwrap();
        for sizes in [&[25][..], &[9, 8, 8], &[1, 23, 1]] {
            let parts = gather().cut(sizes).unwrap();
            assert_eq!(parts.iter().map(Inputs::positions).collect::<Vec<_>>(), sizes);
            let read = |part: &Inputs| Inputs::from_packed(&ty, part.packed().to_vec()).unwrap();
            let shares = |part: &Inputs| read(part).shares(0..part.positions()).unwrap();
            assert_eq!(parts.iter().flat_map(shares).collect::<Vec<_>>(), whole);
        }
        assert!(gather().cut(&[9, 8, 7]).is_err() && gather().cut(&[26]).is_err());
        let packed = gather().packed;
        assert!(Inputs::from_packed(&ty, packed[1..].to_vec()).is_none() && Inputs::from_packed(&ty, vec![]).is_none());
    }

    #[test]
    fn samples_are_read_once_each_and_in_an_order_that_says_nothing_of_the_mix() {
        for _ in 0..20 {
            let (mix, read) = (Mix::new(6, 3, 5, 2).unwrap(), RefCell::new(Vec::new()));
            let sample = |sample| {
                read.borrow_mut().push(sample);
                [0; 5].as_slice()
            };
            Inputs::gather(&ty(16), &mix, &Given(&sample)).unwrap();
            assert_eq!(*read.borrow(), all());
        }
    }

    #[test]
    fn what_the_session_reads_is_no_ones_sample() {
        /// Only what borrows nothing has this bound.
        fn owns_everything<T: 'static>(_: &T) {}
        let mix = Mix::new(2, 4, 0, 0).unwrap();
        let samples = [vec![1; 5], vec![2; 5]];
        let of = |sample| match sample {
            Sample::Query(i) => samples[i].as_slice(),
            _ => &[],
        };
        let inputs = Inputs::gather(&ty(16), &mix, &Given(&of)).unwrap();
        owns_everything(&inputs);
        assert!(Inputs::gather(&ty(16), &mix, &Given(&|_| &[1, 2])).is_err());
        // Copies too have memory of their own: as much as so many samples would.
        assert_eq!(inputs.packed.len(), 8 * inputs.each);
    }
}
