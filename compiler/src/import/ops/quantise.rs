//! QuantizeLinear and DequantizeLinear. The integer never exists: what the network has is the real
//! number that it stands for, limited to the integers' range and rounded to a multiple of the
//! scale.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::DatumType;

use super::super::call::{Call, Kind, Made, Wire, number, uniform};
use super::activation::limited;
use crate::nn::Op;

pub(in super::super) fn quantise(call: &mut Call) -> Result<Vec<Wire>, String> {
    let x = call.data(0)?;
    let (scale, zero) = (scale(call)?, zero(call)?);
    let (least, most) = range(call)?;
    // A limit of 0 has no sign.
    let real = |integer: f32| Some(f64::from((integer - zero) * scale) + 0.0);
    let y = limited(call, x, real(least), real(most));
    let y = call.b.unary(Op::Round { step: scale }, y);
    Ok(vec![Wire::Data(y, Kind::Quantised { scale, zero })])
}

/// Another scale or zero point than the integer was made with gives another real number.
pub(in super::super) fn dequantise(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let (scale, zero) = (scale(call)?, zero(call)?);
    let (factor, shift) = match call.kind(0) {
        Some(Kind::Quantised { scale: first, zero: origin }) => (scale / first, (origin - zero) * scale),
        Some(Kind::Integer | Kind::Narrow) => (scale, -zero * scale),
        _ => return Err("it reads no integers".into()),
    };
    call.affine(x, &number(factor), &number(shift))
}

fn scale(call: &Call) -> Result<f32, String> {
    if call.int("block_size", 0) != 0 {
        return Err("a scale for each block of activations is not supported".into());
    }
    match uniform(&call.floats(1, "its scale")?) {
        Some(scale) if scale > 0.0 => Ok(scale),
        Some(scale) => Err(format!("a scale of {scale}")),
        None => Err("a scale for each channel of activations is not supported".into()),
    }
}

fn zero(call: &Call) -> Result<f32, String> {
    let Some(zero) = call.optional_floats(2, "its zero point")? else { return Ok(0.0) };
    uniform(&zero).ok_or_else(|| "a zero point for each channel of activations is not supported".into())
}

/// The smallest and the largest integer. Their type is the zero point's, else an attribute's, else
/// uint8.
fn range(call: &Call) -> Result<(f32, f32), String> {
    let declared = match call.int("output_dtype", 0) {
        0 => None,
        code => Some(i32::try_from(code).ok().and_then(|code| DataType::try_from(code).ok())),
    };
    let declared = declared.map(|known| known.ok_or("its output_dtype is unknown")).transpose()?;
    let of_zero = match call.constant(2).map(|zero| zero.datum_type()) {
        None => None,
        Some(DatumType::U8) => Some(DataType::Uint8),
        Some(DatumType::I8) => Some(DataType::Int8),
        Some(DatumType::U16) => Some(DataType::Uint16),
        Some(DatumType::I16) => Some(DataType::Int16),
        Some(other) => return Err(format!("a zero point of type {other:?} is not supported")),
    };
    if let (Some(declared), Some(of_zero)) = (declared, of_zero)
        && declared != of_zero
    {
        return Err("its zero point is not of the type output_dtype says".into());
    }
    match declared.or(of_zero).unwrap_or(DataType::Uint8) {
        DataType::Uint8 => Ok((0.0, 255.0)),
        DataType::Int8 => Ok((-128.0, 127.0)),
        DataType::Uint16 => Ok((0.0, 65535.0)),
        DataType::Int16 => Ok((-32768.0, 32767.0)),
        DataType::Uint4 => Ok((0.0, 15.0)),
        DataType::Int4 => Ok((-8.0, 7.0)),
        other => Err(format!("integers of type {} are not supported", super::super::tensors::type_name(other as i32))),
    }
}
