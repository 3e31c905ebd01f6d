//! The passes: what turns the naive function into the plan, in order, one file each.
//!
//! A pass may leave values that nothing reads; [`run`] removes them and verifies the function after
//! every pass, so a pass that breaks an invariant is named at once.

mod assign_widths;
mod commute_relu_max_pool;
pub(crate) mod dead_code;
mod equal_values;
mod fold_constants;
mod fuse_requant_clip;
mod fuse_requant_extend;
mod fuse_requant_relu;
mod fuse_requants;
mod gadgets;
mod join_comparisons;
mod keep_logits_wide;
mod merge_layers;
mod merge_residual;
mod moves_last;
mod peephole;
pub mod select;
mod simplify_shapes;
mod weigh;
mod widths;

use fusion_ir::op::{Mix, Reveal};
use fusion_ir::verify::{explain, verify, verify_executable};
use fusion_ir::{Function, Weights};

pub use select::Target;

use crate::Error;

/// What stands between the names of nodes that one value is of.
pub(crate) const JOINT: char = '+';

/// A function with its weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// What is computed.
    pub function: Function,
    /// With what numbers.
    pub weights: Weights,
}

/// What the passes need to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the client learns.
    pub reveal: Reveal,
    /// The suggested batch, or `None` for a plan without verification.
    pub mix: Option<Mix>,
    /// What backends are chosen for.
    pub target: Target,
}

impl Default for Settings {
    /// The label, without verification, for the default target.
    fn default() -> Settings {
        Settings { reveal: Reveal::Label, mix: None, target: Target::default() }
    }
}

/// One pass.
pub struct Pass {
    /// Its name in messages and filetests.
    pub name: &'static str,
    /// What it is good for.
    pub purpose: &'static str,
    apply: fn(&mut Program, &Settings),
}

/// All passes in the order in which they run.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "simplify_shapes",
        purpose: "join consecutive reshapes and transpositions, drop those that do nothing",
        apply: simplify_shapes::apply,
    },
    Pass {
        name: "commute_relu_max_pool",
        purpose: "take the ReLU after the max-pool, where there are fewer elements",
        apply: commute_relu_max_pool::apply,
    },
    Pass {
        name: "merge_residual",
        purpose: "add a skip connection to the accumulator, before its requantisation",
        apply: merge_residual::apply,
    },
    Pass {
        name: "fuse_requant_relu",
        purpose: "one comparison tree for the ReLU and the rounding",
        apply: fuse_requant_relu::apply,
    },
    Pass {
        name: "fuse_requant_clip",
        purpose: "one comparison tree for both thresholds of a clip",
        apply: fuse_requant_clip::apply,
    },
    Pass {
        name: "keep_logits_wide",
        purpose: "compare the last accumulator as it is instead of requantising it first",
        apply: keep_logits_wide::apply,
    },
    Pass {
        name: "fold_constants",
        purpose: "join consecutive shifts and constant factors, drop those that do nothing",
        apply: fold_constants::apply,
    },
    Pass {
        name: "moves_last",
        purpose: "extend and requantise before moves and repetitions",
        apply: moves_last::apply,
    },
    Pass { name: "fuse_requants", purpose: "one comparison tree for two requantisations", apply: fuse_requants::apply },
    Pass {
        name: "assign_widths",
        purpose: "extend as early as sums allow and once for all readers; the input needs no extension at all",
        apply: assign_widths::apply,
    },
    Pass {
        name: "tidy_shapes",
        purpose: "simplify_shapes once more, after the passes that leave reshapes behind",
        apply: simplify_shapes::apply,
    },
    Pass { name: "merge_layers", purpose: "one linear layer for all of one operand", apply: merge_layers::apply },
    Pass {
        name: "fuse_requant_extend",
        purpose: "one comparison tree for a requantisation and the extension of its result",
        apply: fuse_requant_extend::apply,
    },
    Pass {
        name: "join_comparisons",
        purpose: "comparisons of one kind that do not need each other share their rounds",
        apply: join_comparisons::apply,
    },
    Pass {
        name: "gadgets",
        purpose: "fusion.mix at the input; argmax, fusion.reveal and fusion.check at the output",
        apply: gadgets::apply,
    },
    Pass { name: "select", purpose: "choose a backend for every operation", apply: select::apply },
];

/// Runs the passes from the one named `from` (or the first) up to and including `until` (or the
/// last).
///
/// # Errors
/// [`Error::Verifier`] if a pass leaves a function that is not well formed, which is a bug in it.
pub fn run(program: &mut Program, settings: &Settings, until: Option<&str>) -> Result<(), Error> {
    check("lower", program, false)?;
    for pass in PASSES {
        apply(pass, program, settings);
        check(pass.name, program, pass.name == "select")?;
        if Some(pass.name) == until {
            break;
        }
    }
    Ok(())
}

/// Runs one pass by name, for tests of passes.
///
/// # Errors
/// [`Error::Usage`] if there is no such pass, [`Error::Verifier`] as [`run`].
pub fn run_one(name: &str, program: &mut Program, settings: &Settings) -> Result<(), Error> {
    let known = || PASSES.iter().map(|pass| pass.name).collect::<Vec<_>>().join(", ");
    let pass = PASSES.iter().find(|pass| pass.name == name);
    let pass = pass.ok_or_else(|| Error::Usage(format!("no pass {name:?}; there are {}", known())))?;
    apply(pass, program, settings);
    check(pass.name, program, false)
}

/// Different names of neighbours, in order, as one.
fn joint_name<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut all: Vec<&str> = names.collect();
    all.dedup();
    all.join(&JOINT.to_string())
}

fn apply(pass: &Pass, program: &mut Program, settings: &Settings) {
    (pass.apply)(program, settings);
    dead_code::remove(program);
}

fn check(pass: &'static str, program: &Program, executable: bool) -> Result<(), Error> {
    let function = &program.function;
    let verdict = if executable { verify_executable(function) } else { verify(function) };
    verdict.map_err(|violations| Error::Verifier { pass, text: explain(function, &violations) })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Programs written in the text form. What each pass does is in `tests/filetests/pass`.

    use fusion_ir::text;

    use super::*;

    /// The function of `body` (the lines after the header) with arbitrary small weights.
    pub fn program(body: &str) -> Program {
        let function = text::parse(&format!("function \"f\"\n{body}")).unwrap();
        verify(&function).unwrap_or_else(|violations| panic!("{}", explain(&function, &violations)));
        let elements = |len: usize| (0..len).map(|i| (i * 37 % 13) as i64 - 6).collect();
        let weights = function.weights.iter().map(|w| elements(w.shape.iter().product())).collect();
        Program { function, weights: Weights(weights) }
    }
}
