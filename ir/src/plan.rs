//! The plan file: what a compilation leaves and both parties execute.
//!
//! ```text
//! magic "FUSION\r\n", version u32
//! section: tag u8, length u64, SHA-256 of the payload, payload      (integers little-endian)
//!     tag 1  public     function, suggestion, provenance, names      in both files
//!     tag 2  weights    every element, in ceil(bits / 8) bytes       in the server's file only
//!     tag 3  demo       samples for a first run                      in the server's file only
//! ```
//!
//! The plan's digest is that of its public section, so the server's and the client's file of one
//! compilation share it; the parties compare it before anything else. Nothing public is derived
//! from weights but the number formats.
//!
//! A file is read in one pass, whole ([`Plan::from_bytes`]) or without its weights
//! ([`Plan::scan`]), which then are [read one at a time](StoredWeights).

mod read;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use read::StoredWeights;

use crate::function::{Function, Weight, Weights};
use crate::op::Op;
use crate::schema::{Schema, SchemaError};

/// The version that this code writes and reads.
pub const VERSION: u32 = 7;

const MAGIC: &[u8; 8] = b"FUSION\r\n";

/// A compiled program.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The program of one position.
    pub function: Function,
    /// What the compiler suggests for a verified batch; the client's own policy decides.
    pub suggestion: Suggestion,
    /// What made the plan.
    pub provenance: Provenance,
    /// What the input's elements and the classes are called.
    pub schema: Schema,
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
    /// Its names are not names of the function's inputs and classes.
    #[error("the plan's names are not acceptable: {0}")]
    Names(#[from] SchemaError),
    /// The file is no longer what it was when it was read first.
    #[error("the plan's weights have changed since it was opened")]
    Changed,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Serialize, Deserialize)]
struct Public {
    function: Function,
    suggestion: Suggestion,
    provenance: Provenance,
    schema: Schema,
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
        let Plan { function, suggestion, provenance, schema, .. } = self.clone();
        encode(&Public { function, suggestion, provenance, schema })
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plans hold no type that postcard cannot write")
}

fn write_section(bytes: &mut Vec<u8>, section: (u8, &str), payload: &[u8]) {
    bytes.push(section.0);
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(Sha256::digest(payload));
    bytes.extend(payload);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::WeightId;
    use crate::prefix::Prefix;
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
        let schema = Schema { columns: vec!["age".into(), "income".into()], ..Schema::default() };
        Plan {
            function,
            suggestion: Suggestion::default(),
            provenance,
            schema,
            weights: Some(weights),
            demo: Some(demo),
        }
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
    fn a_scan_finds_all_but_weights_and_samples_and_says_where_the_weights_are() {
        let plan = plan();
        let bytes = plan.to_bytes();
        let (scanned, stored) = Plan::scan(&bytes[..]).unwrap();
        assert_eq!((&scanned, scanned.digest()), (&plan.for_client(), plan.digest()));
        let stored = stored.unwrap();
        let place = |id| stored.bytes(id).start as usize..stored.bytes(id).end as usize;
        let ids = [WeightId(0), WeightId(1)];
        let weights = ids.map(|id| stored.decode(&plan.function, id, &bytes[place(id)]).unwrap());
        assert_eq!(Some(Weights(weights.to_vec())), plan.weights);
        assert_eq!(stored.decode(&plan.function, WeightId(2), &[]), Err(PlanError::Changed));
        for at in place(ids[0]) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(stored.decode(&plan.function, ids[0], &bytes[place(ids[0])]), Err(PlanError::Changed));
        }
        assert_eq!(stored.decode(&plan.function, ids[0], &bytes[place(ids[0])][1..]), Err(PlanError::Changed));
        assert_eq!(Plan::scan(&plan.for_client().to_bytes()[..]).unwrap(), (plan.for_client(), None));
    }

    #[test]
    fn a_scan_refuses_what_a_reader_refuses() {
        let bytes = plan().to_bytes();
        let scan = |bytes: &[u8]| Plan::scan(bytes).map(|(plan, _)| plan);
        let read = |bytes: &[u8]| Plan::from_bytes(bytes).map(|plan| plan.for_client());
        for end in 0..=bytes.len() {
            assert_eq!(scan(&bytes[..end]), read(&bytes[..end]), "{end}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            // What is no sample is told by its checksum only.
            assert!(scan(&bytes).is_err() && read(&bytes).is_err(), "byte {at}");
        }
        let broken = |_: &mut [u8]| Err::<usize, _>(std::io::Error::other("the disk is on fire"));
        let error = Plan::scan(Reader(broken)).unwrap_err();
        assert_eq!(error.to_string(), "cannot be read: the disk is on fire");
    }

    struct Reader<F>(F);

    impl<F: FnMut(&mut [u8]) -> std::io::Result<usize>> std::io::Read for Reader<F> {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            (self.0)(bytes)
        }
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
        let mut names = plan();
        names.schema.columns.pop();
        assert!(matches!(Plan::from_bytes(&names.to_bytes()), Err(PlanError::Names(_))));
        let classes = vec!["yes".into(), "no".into(), "\u{7}".into()];
        names.schema = Schema { classes, ..Schema::default() };
        assert!(matches!(Plan::from_bytes(&names.to_bytes()), Err(PlanError::Names(_))));
        let number = |column| crate::prefix::Element::Number { column, steps: vec![] };
        let prefix = |columns| Some(Prefix { shape: vec![3], elements: columns, ..Prefix::default() });
        names.schema = Schema { prefix: prefix(vec![number(2), number(0)]), ..Schema::default() };
        assert!(Plan::from_bytes(&names.to_bytes()).is_ok());
        for columns in [vec![number(2)], vec![number(3), number(0)]] {
            names.schema.prefix = prefix(columns);
            assert!(matches!(Plan::from_bytes(&names.to_bytes()), Err(PlanError::Names(_))));
        }
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
