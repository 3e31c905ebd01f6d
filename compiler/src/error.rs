//! Errors, split by blame: the model, the user's files and options, or a pass of this compiler.

use std::fmt;
use std::path::PathBuf;

use crate::agreement::Disagreement;

/// One ONNX node that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node's name in the ONNX model, or the name of its first output if it has none.
    pub node: String,
    /// Its ONNX operator.
    pub op: String,
    /// Why it is refused.
    pub why: String,
}

/// What can go wrong in the compiler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model uses what Fusion does not support; every such node is listed.
    #[error("{}", Listed(.0))]
    Unsupported(Vec<Unsupported>),
    /// The ONNX file is corrupt, inconsistent, or holds numbers that are none.
    #[error("model {path}: {why}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A data file or plan is not what it should be.
    #[error("{path}: {why}")]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An option makes no sense, or none here.
    #[error("{0}")]
    Usage(String),
    /// Fixed point gives other labels than the model's own meaning in float, too often.
    #[error("{0}")]
    Disagreement(Box<Disagreement>),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A pass made a function that is not well formed. Always a bug in the pass.
    #[error("after pass {pass} (a bug in the compiler):\n{text}")]
    Verifier {
        /// The pass.
        pass: &'static str,
        /// The function with the offending lines marked.
        text: String,
    },
}

impl Error {
    /// The process exit code that this error stands for: 1 for a bug, 2 for bad usage or input.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Verifier { .. } => 1,
            _ => 2,
        }
    }
}

impl From<Vec<fusion_catalogue::Unsupported>> for Error {
    /// Layers that no protocol would carry.
    fn from(layers: Vec<fusion_catalogue::Unsupported>) -> Error {
        let named = |layer: fusion_catalogue::Unsupported| Unsupported {
            node: layer.node,
            op: layer.op.into(),
            why: layer.why.to_string(),
        };
        Error::Unsupported(layers.into_iter().map(named).collect())
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op.as_str() {
            // What is no node.
            "input" | "model" | "weight" => write!(f, "{} {:?}: {}", self.op, self.node, self.why),
            op => write!(f, "node {:?} ({op}): {}", self.node, self.why),
        }
    }
}

struct Listed<'a>(&'a [Unsupported]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.0.iter().all(|one| !matches!(one.op.as_str(), "input" | "model" | "weight"));
        let plural = match (nodes, self.0.len()) {
            (true, 1) => "node is",
            (true, _) => "nodes are",
            (false, 1) => "thing is",
            (false, _) => "things are",
        };
        write!(f, "{} {plural} not supported:", self.0.len())?;
        self.0.iter().try_for_each(|node| write!(f, "\n  {node}"))
    }
}
