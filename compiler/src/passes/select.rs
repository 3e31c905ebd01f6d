//! Chooses who computes each value: the parties by themselves where no message is needed, otherwise the `cheetah` family, which has every
//! operation.

use fusion_ir::op::{Backend, Cheetah};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    for value in &mut program.function.values {
        value.backend = if value.op.is_local() { Backend::Local } else { Backend::Cheetah(Cheetah::default()) };
    }
}
