//! What to compile and how.

use std::path::PathBuf;

use fusion_ir::op::{Mix, Reveal};
use fusion_ir::plan::Suggestion;
use fusion_table::LabelFile;

use crate::Error;
use crate::import::{self, Imported};
use crate::memory::Memory;
use crate::nn::{Graph, trees};
use crate::passes::{Settings, Target};
use crate::quantise::Precision;
use crate::schema::Names;

/// What to compile and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ONNX file.
    pub model: PathBuf,
    /// Calibration samples.
    pub calibrate: Option<PathBuf>,
    /// Labels of the calibration samples.
    pub labels: Option<LabelFile>,
    /// What the input's elements and the classes are called, if the user says it.
    pub names: Names,
    /// The input's extents, batch axis first.
    pub input_shape: Option<Vec<usize>>,
    /// Which of the model's results has the scores, and what the client does itself.
    pub part: import::Part,
    /// Number formats.
    pub precision: Precision,
    /// Whether formats become finer than that where rounding would change labels.
    pub refine: bool,
    /// What the client learns.
    pub reveal: Reveal,
    /// The suggested batch, with its suggested copies and public samples; `None` for a plan without
    /// verification.
    pub verify: Option<(Suggestion, Mix)>,
    /// What backends are chosen for.
    pub target: Target,
    /// What the model may ask for.
    pub memory: Memory,
    /// What must hold for there to be a plan.
    pub checks: Checks,
    /// What of the shape of decision trees is hidden.
    pub hide_shape: Option<trees::HideShape>,
}

/// What is checked of a compilation before it is one.
#[derive(Clone, Debug)]
pub struct Checks {
    /// What the user's own runtime answers for the calibration samples, scores or labels; else
    /// tract is asked.
    pub expected: Option<LabelFile>,
    /// The least fraction of calibration samples whose fixed-point label is the float model's.
    pub min_agreement: f64,
    /// Whether calibration samples that are too far beyond the input's format count as ones with
    /// another label, since evaluation and client refuse such samples by default.
    pub refuse_clipped: bool,
    /// How far a value may be from the float model's to count as the same; by default
    /// [`NEAR`](crate::compare::NEAR) of the range of the model's values.
    pub tolerance: Option<f64>,
}

impl Default for Checks {
    fn default() -> Self {
        Checks { expected: None, min_agreement: 0.95, refuse_clipped: true, tolerance: None }
    }
}

impl Options {
    /// The formats of a network, simplified to `graph`.
    ///
    /// # Errors
    /// As [`Precision::check`].
    pub(super) fn precision(&self, network: &Imported, graph: &Graph) -> Result<Precision, Error> {
        let asked = self.precision.check()?;
        Ok(if self.refine && network.tabular { asked.of(graph) } else { asked })
    }

    /// Formats of these widths, and of no others, if one is given; else the compiler chooses.
    ///
    /// # Errors
    /// As [`Precision::check`].
    pub fn widths(&mut self, activation_bits: Option<u8>, weight_bits: Option<u8>) -> Result<(), Error> {
        let worst_case = self.precision.worst_case;
        self.precision = Precision { worst_case, ..Precision::of_widths(activation_bits, weight_bits).check()? };
        self.refine = activation_bits.is_none() && weight_bits.is_none();
        Ok(())
    }

    /// What is compiled if nothing but the model is said.
    pub fn new(model: PathBuf) -> Self {
        Options {
            model,
            calibrate: None,
            labels: None,
            names: Names::default(),
            input_shape: None,
            part: import::Part::default(),
            precision: Precision::default(),
            refine: true,
            reveal: Reveal::Label,
            verify: None,
            target: Target::default(),
            memory: Memory::default(),
            checks: Checks::default(),
            hide_shape: None,
        }
    }

    /// Which part of the model is wanted, and as what.
    pub fn part(&self) -> import::Part {
        import::Part { values: self.reveal == Reveal::Value, ..self.part.clone() }
    }

    /// What the passes need to know.
    pub(super) fn settings(&self) -> Settings {
        Settings { reveal: self.reveal, mix: self.verify.as_ref().map(|(_, mix)| *mix), target: self.target.clone() }
    }
}
