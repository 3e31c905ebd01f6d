//! What a type, a weight and an input's formats are by themselves, whatever reads them.

use super::{MAX_ELEMENTS, Rule};
use crate::function::Weight;
use crate::input::{Feature, InputFormat, MAX_FRAC, MAX_OFFSET, ORDERED_BITS};
use crate::types::{MAX_BITS, MIN_BITS, TensorType};

/// A value's type.
pub(super) fn check_type(ty: &TensorType) -> Rule<()> {
    if !(MIN_BITS..=MAX_BITS).contains(&ty.bits) || ty.magnitude >= ty.bits {
        return Err(format!("{} bits with magnitude {}", ty.bits, ty.magnitude));
    }
    if !(-64..=64).contains(&ty.frac) {
        return Err(format!("{} fractional bits", ty.frac));
    }
    check_extents(&ty.shape)
}

fn check_extents(shape: &[usize]) -> Rule<()> {
    let elements = shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
    match elements {
        Some(n) if (1..=MAX_ELEMENTS).contains(&n) && shape.len() <= 8 => Ok(()),
        _ => Err(format!("shape {shape:?}")),
    }
}

/// A weight's width, point and extents.
pub(super) fn check_weight(weight: &Weight) -> Rule<()> {
    if !(MIN_BITS..=MAX_BITS).contains(&weight.bits) || !(-64..=64).contains(&weight.frac) {
        return Err(format!("{} bits with {} fractional", weight.bits, weight.frac));
    }
    check_extents(&weight.shape)
}

/// The formats of an input of type `ty`.
pub(super) fn check_input(format: &InputFormat, ty: &TensorType) -> Rule<()> {
    let InputFormat { axis, features, ordered } = format;
    if *ordered && (!features.is_empty() || (ty.bits, ty.frac) != (ORDERED_BITS, 0) || ty.magnitude != ORDERED_BITS - 1)
    {
        return Err(format!("ordered numbers are {ORDERED_BITS}-bit integers without formats of their own"));
    }
    if features.is_empty() {
        return Ok(());
    }
    if ty.shape.get(*axis) != Some(&features.len()) {
        return Err(format!("{} features along axis {axis} of {:?}", features.len(), ty.shape));
    }
    let fits =
        |f: &Feature| f.frac.unsigned_abs() <= MAX_FRAC.unsigned_abs() && f.offset.unsigned_abs() <= MAX_OFFSET as u64;
    match features.iter().position(|feature| !fits(feature)) {
        Some(at) => Err(format!("feature {at} is out of range")),
        None => Ok(()),
    }
}
