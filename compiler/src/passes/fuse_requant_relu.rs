//! `relu(requant(x))` becomes `requant_relu(x)`: one comparison tree gives both the sign and the
//! carry out of the dropped bits, provided the result keeps no more bits than the shift leaves.

use fusion_ir::{Op, Sign, ValueId};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let function = &mut program.function;
    let users = function.users();
    for relu in 0..function.values.len() {
        if function.values[relu].op != Op::Relu {
            continue;
        }
        let requant = function.values[relu].operands[0];
        let Op::Requant { shift } = function.value(requant).op else { continue };
        let x = function.value(requant).operands[0];
        let left = function.value(x).ty.bits - shift;
        let kept = function.values[relu].ty.bits;
        if users[requant.index()] != [ValueId(relu as u32)] || kept > left {
            continue;
        }
        let value = &mut function.values[relu];
        value.op = Op::RequantRelu { shift };
        value.operands = vec![x];
        value.ty.sign = if kept == left { Sign::NonNegative } else { Sign::Any };
    }
}
