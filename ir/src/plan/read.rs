//! Reading a plan's file in one pass, whole or without its weights.

use std::io::{ErrorKind, Read};
use std::ops::Range;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{DEMO, Demo, MAGIC, PUBLIC, Plan, PlanError, Public, VERSION, WEIGHTS, element_bytes};
use crate::function::{Function, Weight, WeightId, Weights};
use crate::verify::{Violation, explain, verify_executable};

type Checksum = [u8; 32];
/// A section's number and what people call it.
type Section = (u8, &'static str);

/// Bytes that are read at once where they are not kept.
const PIECE_BYTES: u64 = 1 << 16;

/// Where each weight lies in a plan's file, and what it was when the file was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWeights(Vec<Place>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    bytes: Range<u64>,
    checksum: Checksum,
}

impl StoredWeights {
    /// The bytes of the file that hold weight `id`; none if there is no such weight.
    pub fn bytes(&self, id: WeightId) -> Range<u64> {
        self.0.get(id.index()).map_or(0..0, |place| place.bytes.clone())
    }

    /// The elements of weight `id` of `function`, out of [these](StoredWeights::bytes) of the
    /// file's bytes.
    ///
    /// # Errors
    /// [`PlanError::Changed`] if they are no longer what they were.
    pub fn decode(&self, function: &Function, id: WeightId, bytes: &[u8]) -> Result<Vec<i64>, PlanError> {
        let same = self.0.get(id.index()).is_some_and(|place| Sha256::digest(bytes)[..] == place.checksum[..]);
        let weight = function.weights.get(id.index()).filter(|_| same).ok_or(PlanError::Changed)?;
        decode_weight(weight, bytes).ok_or(PlanError::Changed)
    }
}

impl Plan {
    /// Reads a plan's file and verifies its function, which may come from an adversary.
    ///
    /// # Errors
    /// Everything that keeps the plan from being executed; see [`PlanError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Plan, PlanError> {
        let mut weights = Vec::new();
        let (plan, has_weights) = Source::new(bytes).plan(true, |weight, _, bytes| {
            weights.push(decode_weight(weight, bytes)?);
            Some(())
        })?;
        Ok(Plan { weights: has_weights.then_some(Weights(weights)), ..plan })
    }

    /// As [`Plan::from_bytes`] of everything that `file` gives, but leaves weights and demo samples
    /// where they are: every checksum and every weight is checked, and one weight at a time is in
    /// memory. Says where the weights lie, if the file has any.
    ///
    /// # Errors
    /// As [`Plan::from_bytes`], and [`PlanError::Unreadable`].
    pub fn scan(file: impl Read) -> Result<(Plan, Option<StoredWeights>), PlanError> {
        let mut places = Vec::new();
        let (plan, has_weights) = Source::new(file).plan(false, |weight, start, bytes| {
            decode_weight(weight, bytes)?;
            let checksum = Sha256::digest(bytes).into();
            places.push(Place { bytes: start..start + bytes.len() as u64, checksum });
            Some(())
        })?;
        Ok((plan, has_weights.then_some(StoredWeights(places))))
    }
}

impl Demo {
    fn fits(&self, function: &Function) -> bool {
        let ty = &function.values[0].ty;
        let limit = 1i64 << (ty.bits - 1);
        let in_range =
            |sample: &Vec<i64>| sample.len() == ty.len() && sample.iter().all(|x| (-limit..limit).contains(x));
        self.inputs.len() == self.labels.len() && self.inputs.iter().all(in_range)
    }
}

/// A file that is read from its beginning. Nothing is allocated on its word: memory grows with what
/// really comes.
struct Source<R> {
    reader: R,
    /// Bytes read.
    at: u64,
}

impl<R: Read> Source<R> {
    fn new(reader: R) -> Source<R> {
        Source { reader, at: 0 }
    }

    /// The whole file without its weights, and whether it has any. Each of them is given to
    /// `weight`, with its place in the file, which says whether it is one. Demo samples are kept if
    /// they are wanted.
    fn plan(
        mut self,
        demo_wanted: bool,
        mut weight: impl FnMut(&Weight, u64, &[u8]) -> Option<()>,
    ) -> Result<(Plan, bool), PlanError> {
        if self.some(MAGIC.len() as u64)? != MAGIC {
            return Err(PlanError::NotAPlan);
        }
        let found = u32::from_le_bytes(self.array("header")?);
        if found != VERSION {
            return Err(PlanError::Version { found });
        }
        let mut tag = self.tag()?;
        if tag != Some(PUBLIC.0) {
            return Err(truncated(PUBLIC));
        }
        let Public { function, suggestion, provenance, schema } = decode(&self.payload(PUBLIC)?, PUBLIC)?;
        verify_executable(&function).map_err(|violations| unacceptable(&function, &violations))?;
        schema.check(&function)?;
        tag = self.tag()?;
        let has_weights = tag == Some(WEIGHTS.0);
        if has_weights {
            self.weights(&function, &mut weight)?;
            tag = self.tag()?;
        }
        let mut demo: Option<Demo> = None;
        if tag == Some(DEMO.0) {
            if demo_wanted {
                demo = Some(decode(&self.payload(DEMO)?, DEMO)?);
            } else {
                self.pass_over(DEMO)?;
            }
            tag = self.tag()?;
        }
        if demo.as_ref().is_some_and(|demo| !demo.fits(&function)) {
            return Err(corrupt(DEMO));
        }
        match tag {
            None => Ok((Plan { function, suggestion, provenance, schema, weights: None, demo }, has_weights)),
            Some(_) => Err(PlanError::Corrupt { section: "end" }),
        }
    }

    /// The weights' section.
    fn weights(
        &mut self,
        function: &Function,
        weight: &mut impl FnMut(&Weight, u64, &[u8]) -> Option<()>,
    ) -> Result<(), PlanError> {
        let (length, checksum) = self.header(WEIGHTS)?;
        let bytes_of = |weight: &Weight| weight.shape.iter().product::<usize>() as u64 * element_bytes(weight) as u64;
        if function.weights.iter().map(bytes_of).fold(0, u64::saturating_add) != length {
            return Err(corrupt(WEIGHTS));
        }
        let mut hash = Sha256::new();
        for declared in &function.weights {
            let start = self.at;
            let bytes = self.whole(bytes_of(declared), WEIGHTS)?;
            hash.update(&bytes);
            weight(declared, start, &bytes).ok_or(corrupt(WEIGHTS))?;
        }
        check(hash, checksum, WEIGHTS)
    }

    /// A section's payload.
    fn payload(&mut self, section: Section) -> Result<Vec<u8>, PlanError> {
        let (length, checksum) = self.header(section)?;
        let payload = self.whole(length, section)?;
        check(Sha256::new_with_prefix(&payload), checksum, section)?;
        Ok(payload)
    }

    /// A section of which nothing is wanted but that it is whole.
    fn pass_over(&mut self, section: Section) -> Result<(), PlanError> {
        let (mut left, checksum) = self.header(section)?;
        let mut hash = Sha256::new();
        while left > 0 {
            let piece = self.whole(left.min(PIECE_BYTES), section)?;
            hash.update(&piece);
            left -= piece.len() as u64;
        }
        check(hash, checksum, section)
    }

    /// A section's length and checksum, after its tag.
    fn header(&mut self, section: Section) -> Result<(u64, Checksum), PlanError> {
        Ok((u64::from_le_bytes(self.array(section.1)?), self.array(section.1)?))
    }

    /// The next section's tag, or the end of the file.
    fn tag(&mut self) -> Result<Option<u8>, PlanError> {
        Ok(self.some(1)?.first().copied())
    }

    fn array<const N: usize>(&mut self, section: &'static str) -> Result<[u8; N], PlanError> {
        self.some(N as u64)?.try_into().map_err(|_| PlanError::Truncated { section })
    }

    /// `length` bytes of a section.
    fn whole(&mut self, length: u64, section: Section) -> Result<Vec<u8>, PlanError> {
        let bytes = self.some(length)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(truncated(section)) }
    }

    /// At most `length` bytes; fewer only at the end of the file.
    fn some(&mut self, length: u64) -> Result<Vec<u8>, PlanError> {
        let mut bytes = Vec::new();
        let unreadable = |error: std::io::Error| match error.kind() {
            ErrorKind::OutOfMemory => PlanError::Unreadable("it does not fit in memory".into()),
            _ => PlanError::Unreadable(error.to_string()),
        };
        self.reader.by_ref().take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}

fn truncated(section: Section) -> PlanError {
    PlanError::Truncated { section: section.1 }
}

fn corrupt(section: Section) -> PlanError {
    PlanError::Corrupt { section: section.1 }
}

fn check(hash: Sha256, checksum: Checksum, section: Section) -> Result<(), PlanError> {
    if hash.finalize()[..] == checksum[..] { Ok(()) } else { Err(corrupt(section)) }
}

fn unacceptable(function: &Function, violations: &[Violation]) -> PlanError {
    // A hostile function may be huge; its explanation is for people.
    let text = if function.values.len() <= 4096 { explain(function, violations) } else { violations[0].to_string() };
    PlanError::Unacceptable(text)
}

fn decode<'b, T: Deserialize<'b>>(payload: &'b [u8], section: Section) -> Result<T, PlanError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        _ => Err(corrupt(section)),
    }
}

/// A weight's elements, if these bytes are as many and each is in its range.
fn decode_weight(weight: &Weight, bytes: &[u8]) -> Option<Vec<i64>> {
    let size = element_bytes(weight);
    let limit = 1i64 << (weight.bits - 1);
    let element = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[8 - size..].copy_from_slice(bytes);
        let element = i64::from_le_bytes(word) >> (64 - 8 * size);
        (-limit..limit).contains(&element).then_some(element)
    };
    let whole = bytes.len() == weight.shape.iter().product::<usize>() * size;
    if whole { bytes.chunks_exact(size).map(element).collect() } else { None }
}
