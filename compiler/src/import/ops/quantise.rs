//! QuantizeLinear and DequantizeLinear. The integer never exists: what the network has is the real
//! number that it stands for, limited to the integers' range and rounded to a multiple of the
//! scale.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::DatumType;

use ndarray::ArrayD;

use super::super::call::{Call, Kind, Made, Wire, number, uniform};
use super::activation::limited;
use super::linear::Operand;
use crate::nn::{NodeId, Op};

pub(in super::super) fn quantise(call: &mut Call) -> Result<Vec<Wire>, String> {
    let x = call.data(0)?;
    if call.int("block_size", 0) != 0 {
        return Err("a scale for each block of activations is not supported".into());
    }
    let span = range(call, 2)?;
    limited_to(call, x, 1, 2, span)
}

/// `y` as integers with the scale and the zero point that are inputs there.
pub(super) fn requantised(call: &mut Call, y: NodeId, scale_at: usize, zero_at: usize) -> Result<Vec<Wire>, String> {
    let span = range(call, zero_at)?;
    limited_to(call, y, scale_at, zero_at, span)
}

fn limited_to(
    call: &mut Call,
    x: NodeId,
    scale_at: usize,
    zero_at: usize,
    (least, most): (f32, f32),
) -> Result<Vec<Wire>, String> {
    let (scale, zero) = (scale(call, scale_at)?, zero(call, zero_at)?);
    // A limit of 0 has no sign.
    let real = |integer: f32| Some(f64::from((integer - zero) * scale) + 0.0);
    let y = limited(call, x, real(least), real(most));
    let y = call.b.unary(Op::Round { step: scale }, y);
    Ok(vec![Wire::Data(y, Kind::Quantised { scale, zero })])
}

pub(in super::super) fn dequantise(call: &mut Call) -> Made {
    if call.int("block_size", 0) != 0 {
        return Err("a scale for each block of activations is not supported".into());
    }
    match real(call, 0, 1, 2, 1)? {
        Operand::Data(x) => Ok(x),
        Operand::Const(_) => Err("reads no data".into()),
    }
}

/// The real numbers that the integers of input `at` stand for, by the scale and the zero point at
/// two others; constants may have one of each for every index of `axis`. Another scale or zero
/// point than data were made with gives another real number.
pub(super) fn real(
    call: &mut Call,
    at: usize,
    scale_at: usize,
    zero_at: usize,
    axis: usize,
) -> Result<Operand, String> {
    if call.constant(at).is_some() {
        let integers = call.floats(at, "the integers")?;
        let scale = call.floats(scale_at, "its scale")?;
        let zero = call.optional_floats(zero_at, "its zero point")?.unwrap_or_else(|| number(0.0));
        let [scale, zero] = [scale, zero].map(|c| along(&c, integers.ndim(), axis));
        let (scale, zero) = (scale?, zero?);
        let fits = |c: &ArrayD<f32>| c.broadcast(integers.shape()).map(|c| c.to_owned());
        let (scale, zero) = fits(&scale).zip(fits(&zero)).ok_or("its scales do not fit")?;
        return Ok(Operand::Const((integers - zero) * scale));
    }
    let x = call.data(at)?;
    let (scale, zero) = (scale(call, scale_at)?, zero(call, zero_at)?);
    let (factor, shift) = match call.kind(at) {
        Some(Kind::Quantised { scale: first, zero: origin }) => (scale / first, (origin - zero) * scale),
        Some(Kind::Integer(_) | Kind::Narrow) => (scale, -zero * scale),
        _ => return Err("it reads no integers".into()),
    };
    call.affine(x, &number(factor), &number(shift)).map(Operand::Data)
}

/// One number, or one for each index of `axis` of `rank`, so that it repeats along the others.
pub(super) fn along(c: &ArrayD<f32>, rank: usize, axis: usize) -> Result<ArrayD<f32>, String> {
    if c.len() != 1 && c.ndim() != 1 {
        return Ok(c.clone());
    }
    let extents: Vec<usize> = (0..rank).map(|i| if i == axis { c.len() } else { 1 }).collect();
    let extents = if c.len() == 1 { vec![1; rank] } else { extents };
    ArrayD::from_shape_vec(extents, c.iter().copied().collect()).map_err(|e| e.to_string())
}

fn scale(call: &Call, at: usize) -> Result<f32, String> {
    match uniform(&call.floats(at, "its scale")?) {
        Some(scale) if scale > 0.0 => Ok(scale),
        Some(scale) => Err(format!("a scale of {scale}")),
        None => Err("a scale for each channel of activations is not supported".into()),
    }
}

fn zero(call: &Call, at: usize) -> Result<f32, String> {
    let Some(zero) = call.optional_floats(at, "its zero point")? else { return Ok(0.0) };
    uniform(&zero).ok_or_else(|| "a zero point for each channel of activations is not supported".into())
}

/// The smallest and the largest integer. Their type is the zero point's, else an attribute's, else
/// uint8.
fn range(call: &Call, zero_at: usize) -> Result<(f32, f32), String> {
    let declared = match call.int("output_dtype", 0) {
        0 => None,
        code => Some(i32::try_from(code).ok().and_then(|code| DataType::try_from(code).ok())),
    };
    let declared = declared.map(|known| known.ok_or("its output_dtype is unknown")).transpose()?;
    let of_zero = match call.constant(zero_at).map(|zero| zero.datum_type()) {
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
