//! The plan file: what a compilation leaves and both parties execute.
//!
//! ```text
//! magic "FUSION\r\n", version u32
//! section: tag u8, length u64, SHA-256 of the payload, payload      (integers little-endian)
//!     tag 1  public     function, suggestion, provenance             in both files
//!     tag 2  weights    every element, in ceil(bits / 8) bytes       in the server's file only
//!     tag 3  demo       samples for a first run                      in the server's file only
//! ```
//!
//! The plan's digest is that of its public section, so the server's and the client's file of one compilation share it;
//! the parties compare it before anything else. Nothing public is derived from weights but the number formats.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::function::{Function, Weight, Weights};
use crate::op::Op;
use crate::verify::{Violation, explain, verify_executable};

/// The version that this code writes and reads.
pub const VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"FUSION\r\n";
const CHECKSUM_BYTES: usize = 32;

/// A compiled program.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The program of one position.
    pub function: Function,
    /// What the compiler suggests for a verified batch; the client's own policy decides.
    pub suggestion: Suggestion,
    /// What made the plan.
    pub provenance: Provenance,
    /// The model's elements: in the server's plan only.
    pub weights: Option<Weights>,
    /// Samples for a first run: in the server's plan only.
    pub demo: Option<Demo>,
}

/// The compiler's suggestion for a verified batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Queries.
    pub queries: u64,
    /// Bits of position consistency.
    pub lambda_bits: f64,
    /// Smallest error rate to catch, if asked for.
    pub catch: Option<f64>,
    /// The model's claimed accuracy.
    pub accuracy: Option<f64>,
}

/// What made a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The compiler's name and version.
    pub compiler: String,
    /// Whether formats come from real calibration data; if not, expect wrong answers.
    pub calibrated: bool,
}

/// Samples to try a plan with. The server has seen them, so they prove nothing about a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demo {
    /// Quantised inputs, row-major.
    pub inputs: Vec<Vec<i64>>,
    /// One label each.
    pub labels: Vec<i64>,
    /// Whether the labels were given with the data; if not, they are the model's own answers.
    pub labelled: bool,
}

/// Why bytes are not a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Something else altogether.
    #[error("this is not a Fusion plan")]
    NotAPlan,
    /// Made by a later compiler.
    #[error(
        "the plan has version {found}, this program reads version {VERSION}: update it, or compile the model again"
    )]
    Version {
        /// The file's version.
        found: u32,
    },
    /// The file ends too early.
    #[error("the plan is truncated in its {section}")]
    Truncated {
        /// Where.
        section: &'static str,
    },
    /// A checksum or an encoding is wrong.
    #[error("the plan is corrupt in its {section}")]
    Corrupt {
        /// Where.
        section: &'static str,
    },
    /// The function in it must not be executed.
    #[error("the plan's function is not acceptable:\n{0}")]
    Unacceptable(String),
}

#[derive(Serialize, Deserialize)]
struct Public {
    function: Function,
    suggestion: Suggestion,
    provenance: Provenance,
}

const PUBLIC: (u8, &str) = (1, "public section");
const WEIGHTS: (u8, &str) = (2, "weights");
const DEMO: (u8, &str) = (3, "demo samples");

impl Plan {
    /// The plan's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        write_section(&mut bytes, PUBLIC, &self.public_bytes());
        if let Some(weights) = &self.weights {
            write_section(&mut bytes, WEIGHTS, &encode_weights(&self.function.weights, weights));
        }
        if let Some(demo) = &self.demo {
            write_section(&mut bytes, DEMO, &encode(demo));
        }
        bytes
    }

    /// Reads a plan's file and verifies its function, which may come from an adversary.
    ///
    /// # Errors
    /// Everything that keeps the plan from being executed; see [`PlanError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Plan, PlanError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(PlanError::NotAPlan)?;
        let found = u32::from_le_bytes(*take(&mut rest).ok_or(PlanError::Truncated { section: "header" })?);
        if found != VERSION {
            return Err(PlanError::Version { found });
        }
        let public = read_section(&mut rest, PUBLIC)?.ok_or(PlanError::Truncated { section: PUBLIC.1 })?;
        let Public { function, suggestion, provenance } = decode(public, PUBLIC)?;
        verify_executable(&function).map_err(|violations| unacceptable(&function, &violations))?;
        let weights = read_section(&mut rest, WEIGHTS)?;
        let weights = weights.map(|payload| decode_weights(&function.weights, payload)).transpose()?;
        let demo: Option<Demo> = read_section(&mut rest, DEMO)?.map(|payload| decode(payload, DEMO)).transpose()?;
        if demo.as_ref().is_some_and(|demo| !demo.fits(&function)) {
            return Err(PlanError::Corrupt { section: DEMO.1 });
        }
        if !rest.is_empty() {
            return Err(PlanError::Corrupt { section: "end" });
        }
        Ok(Plan { function, suggestion, provenance, weights, demo })
    }

    /// What the parties compare: SHA-256 of the public section.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.public_bytes()).into()
    }

    /// The same plan without anything private.
    pub fn for_client(&self) -> Plan {
        Plan { weights: None, demo: None, ..self.clone() }
    }

    /// Whether the program ends in a check by the client.
    pub fn is_verified(&self) -> bool {
        self.function.values.iter().any(|value| value.op == Op::Check)
    }

    fn public_bytes(&self) -> Vec<u8> {
        let Plan { function, suggestion, provenance, .. } = self.clone();
        encode(&Public { function, suggestion, provenance })
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

fn unacceptable(function: &Function, violations: &[Violation]) -> PlanError {
    // A hostile function may be huge; its explanation is for people.
    let text = if function.values.len() <= 4096 { explain(function, violations) } else { violations[0].to_string() };
    PlanError::Unacceptable(text)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plans hold no type that postcard cannot write")
}

fn decode<'b, T: Deserialize<'b>>(payload: &'b [u8], section: (u8, &'static str)) -> Result<T, PlanError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        _ => Err(PlanError::Corrupt { section: section.1 }),
    }
}

fn write_section(bytes: &mut Vec<u8>, section: (u8, &str), payload: &[u8]) {
    bytes.push(section.0);
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(Sha256::digest(payload));
    bytes.extend(payload);
}

/// The next section's payload if it is the one asked for.
fn read_section<'b>(rest: &mut &'b [u8], section: (u8, &'static str)) -> Result<Option<&'b [u8]>, PlanError> {
    let truncated = PlanError::Truncated { section: section.1 };
    if rest.first() != Some(&section.0) {
        return Ok(None);
    }
    *rest = &rest[1..];
    let length = u64::from_le_bytes(*take(rest).ok_or(truncated.clone())?);
    let checksum: &[u8; CHECKSUM_BYTES] = take(rest).ok_or(truncated.clone())?;
    let length = usize::try_from(length).ok().filter(|length| *length <= rest.len()).ok_or(truncated)?;
    let (payload, after) = rest.split_at(length);
    *rest = after;
    if Sha256::digest(payload)[..] != checksum[..] {
        return Err(PlanError::Corrupt { section: section.1 });
    }
    Ok(Some(payload))
}

fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(head)
}

fn element_bytes(weight: &Weight) -> usize {
    usize::from(weight.bits).div_ceil(8)
}

fn encode_weights(declared: &[Weight], weights: &Weights) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (weight, elements) in declared.iter().zip(&weights.0) {
        for element in elements {
            bytes.extend(&element.to_le_bytes()[..element_bytes(weight)]);
        }
    }
    bytes
}

fn decode_weights(declared: &[Weight], payload: &[u8]) -> Result<Weights, PlanError> {
    let corrupt = PlanError::Corrupt { section: WEIGHTS.1 };
    let mut rest = payload;
    let mut weights = Vec::with_capacity(declared.len());
    for weight in declared {
        let size = element_bytes(weight);
        let total = weight.shape.iter().product::<usize>() * size;
        let (bytes, after) = rest.split_at_checked(total).ok_or(corrupt.clone())?;
        rest = after;
        let limit = 1i64 << (weight.bits - 1);
        let element = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[8 - size..].copy_from_slice(bytes);
            let element = i64::from_le_bytes(word) >> (64 - 8 * size);
            (-limit..limit).contains(&element).then_some(element)
        };
        weights.push(bytes.chunks_exact(size).map(element).collect::<Option<_>>().ok_or(corrupt.clone())?);
    }
    if rest.is_empty() { Ok(Weights(weights)) } else { Err(corrupt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    fn plan() -> Plan {
        let function = parse(
            "function \"f\"\nweight @w0 \"w\" : i12.4[3,2]\nweight @w1 \"b\" : i20.8[3]\n\
             v0 = input : i20.4~9[2] by local \"x\"\nv1 = dense v0, @w0, @w1 : i20.8~18[3] by cheetah \"d\"\n\
             v2 = argmax v1 : i3.0~2+[1] by cheetah \"a\"\nv3 = fusion.reveal v2 what=label : i3.0~2+[1] by cheetah \"a\"\n",
        )
        .unwrap();
        let weights = Weights(vec![vec![-2048, 2047, 0, -1, 1, 77], vec![-(1 << 19), 5, (1 << 19) - 1]]);
        let demo = Demo { inputs: vec![vec![1, -2], vec![3, 4]], labels: vec![0, 2], labelled: true };
        let provenance = Provenance { compiler: "test".into(), calibrated: true };
        Plan { function, suggestion: Suggestion::default(), provenance, weights: Some(weights), demo: Some(demo) }
    }

    #[test]
    fn plans_survive_the_file() {
        let plan = plan();
        assert_eq!(Plan::from_bytes(&plan.to_bytes()).as_ref(), Ok(&plan));
        let client = plan.for_client();
        assert_eq!(Plan::from_bytes(&client.to_bytes()).as_ref(), Ok(&client));
        assert_eq!(client.digest(), plan.digest());
    }

    #[test]
    fn the_clients_file_does_not_depend_on_weights_or_samples() {
        let one = plan();
        let mut other = plan();
        other.weights = Some(Weights(vec![vec![1; 6], vec![2; 3]]));
        other.demo = None;
        assert_eq!(one.for_client().to_bytes(), other.for_client().to_bytes());
        assert_eq!(one.digest(), other.digest());
        other.function.values[1].ty.magnitude = 17;
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused() {
        let bytes = plan().to_bytes();
        let client = plan().for_client().to_bytes();
        for end in 0..bytes.len() {
            // Cut exactly behind its public section, the server's plan is the client's.
            let cut = Plan::from_bytes(&bytes[..end]);
            assert!(cut.is_err() || cut.is_ok_and(|plan| plan.demo.is_none()), "{end}");
        }
        assert_eq!(
            Plan::from_bytes(&bytes[..client.len() - 1]),
            Err(PlanError::Truncated { section: "public section" })
        );
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Plan::from_bytes(&bytes).is_err(), "byte {at}");
        }
        assert_eq!(Plan::from_bytes(b"GIF89a"), Err(PlanError::NotAPlan));
    }

    #[test]
    fn newer_versions_are_named() {
        let mut bytes = plan().to_bytes();
        bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
        assert_eq!(Plan::from_bytes(&bytes), Err(PlanError::Version { found: 9 }));
    }

    #[test]
    fn hostile_functions_and_elements_are_refused() {
        let mut early = plan().for_client();
        early.function.values[2].op = Op::Reveal(crate::op::Reveal::Logits);
        assert!(matches!(Plan::from_bytes(&early.to_bytes()), Err(PlanError::Unacceptable(_))));
        let mut wide = plan();
        wide.weights = Some(Weights(vec![vec![2048; 6], vec![0; 3]]));
        assert_eq!(Plan::from_bytes(&wide.to_bytes()), Err(PlanError::Corrupt { section: "weights" }));
        let mut short = plan();
        short.weights = Some(Weights(vec![vec![1; 5], vec![0; 3]]));
        assert_eq!(Plan::from_bytes(&short.to_bytes()), Err(PlanError::Corrupt { section: "weights" }));
        let mut demo = plan();
        demo.demo = Some(Demo { inputs: vec![vec![1]], labels: vec![1], labelled: true });
        assert_eq!(Plan::from_bytes(&demo.to_bytes()), Err(PlanError::Corrupt { section: "demo samples" }));
    }
}
