//! Resize and Upsample. Along each axis the result is a linear map of the data whose matrix is
//! known: a choice of elements (nearest), or a mean of neighbours (linear, cubic).

use ndarray::{Array2, ArrayD};

use super::super::call::{Call, Made, axis};
use super::{linear, shape};
use crate::nn::NodeId;

/// One axis that changes.
#[derive(Clone, Copy, Debug)]
struct Axis {
    at: usize,
    /// Elements before.
    extent: usize,
    /// Elements after.
    result: usize,
    scale: f32,
    /// The part of the data that is looked at, as parts of its extent.
    region: [f32; 2],
}

/// Positions so near to halfway between two elements are halfway for onnxruntime.
const TIE: f64 = 1e-6;

/// How positions become elements.
struct Rule {
    mode: String,
    transformation: String,
    nearest: String,
    cubic_a: f32,
    exclude_outside: bool,
}

pub(in super::super) fn resize(call: &mut Call) -> Made {
    let x = call.data(0)?;
    if call.int("antialias", 0) != 0 {
        return Err("antialias is not supported: runtimes disagree about it at the borders".into());
    }
    let rule = rule(call)?;
    let axes = axes(call, &call.shape(x), &rule)?;
    let mut y = x;
    let mut outside: Vec<(Axis, Vec<bool>)> = Vec::new();
    for axis in axes {
        let positions: Vec<f32> = (0..axis.result).map(|i| rule.position(&axis, i)).collect();
        if rule.transformation == "tf_crop_and_resize" {
            let last = (axis.extent - 1) as f32;
            outside.push((axis, positions.iter().map(|p| !(0.0..=last).contains(p)).collect()));
        }
        y = if rule.mode == "nearest" {
            let picked: Vec<usize> = positions.iter().map(|p| rule.nearest(*p, &axis)).collect::<Result<_, _>>()?;
            picks(call, y, &axis, &picked)?
        } else {
            along(call, y, axis.at, &rule.matrix(&positions, axis.extent))?
        };
    }
    extrapolated(call, y, &outside)
}

/// The elements outside of the data, along whichever axis, are one number.
fn extrapolated(call: &mut Call, y: NodeId, outside: &[(Axis, Vec<bool>)]) -> Made {
    if !outside.iter().any(|(_, out)| out.contains(&true)) {
        return Ok(y);
    }
    let value = call.float("extrapolation_value", 0.0);
    let inside = ArrayD::from_shape_fn(call.shape(y), |at| {
        let out = outside.iter().any(|(axis, out)| out[at[axis.at]]);
        if out { 0.0 } else { 1.0 }
    });
    let shift = inside.mapv(|inside| if inside == 0.0 { value } else { 0.0 });
    call.affine(y, &inside, &shift)
}

fn rule(call: &Call) -> Result<Rule, String> {
    let text = |name: &str, default: &str| match call.text(name) {
        "" => default.to_string(),
        other => other.to_string(),
    };
    // Before operator set 11 there was one transformation.
    let old = call.opset < 11 || call.node.op_type == "Upsample";
    let mode = match text("mode", "nearest").as_str() {
        "bilinear" | "trilinear" => "linear".to_string(),
        mode => mode.to_string(),
    };
    if !matches!(mode.as_str(), "nearest" | "linear" | "cubic") {
        return Err(format!("mode {mode:?}"));
    }
    Ok(Rule {
        mode,
        transformation: if old { "asymmetric".into() } else { text("coordinate_transformation_mode", "half_pixel") },
        nearest: if old { "floor".into() } else { text("nearest_mode", "round_prefer_floor") },
        cubic_a: call.float("cubic_coeff_a", -0.75),
        exclude_outside: call.int("exclude_outside", 0) != 0,
    })
}

/// The axes that change, by scales or sizes.
fn axes(call: &Call, shape: &[usize], rule: &Rule) -> Result<Vec<Axis>, String> {
    let rank = shape.len();
    let named = match call.ints("axes") {
        Some(given) => given.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<usize>, _>>()?,
        None => (0..rank).collect(),
    };
    let old = call.opset < 11 || call.node.op_type == "Upsample";
    let scales: Vec<f32> = match call.attribute("scales") {
        Some(scales) => scales.floats.clone(),
        None => {
            call.optional_floats(if old { 1 } else { 2 }, "its scales")?.map_or(Vec::new(), |s| s.into_iter().collect())
        }
    };
    let sizes = if old || !scales.is_empty() { None } else { call.integers(3, "its sizes")? };
    let region: Vec<f32> = match rule.transformation.as_str() {
        "tf_crop_and_resize" => call.floats(1, "its region")?.into_iter().collect(),
        _ => Vec::new(),
    };
    if ![0, 2 * named.len()].contains(&region.len()) {
        return Err(format!("a region of {} numbers for {} axes", region.len(), named.len()));
    }
    let given = sizes.as_ref().map_or(scales.len(), Vec::len);
    if given != named.len() {
        return Err(format!("{given} scales or sizes for {} axes", named.len()));
    }
    let extents: Vec<usize> = named.iter().map(|at| shape[*at]).collect();
    let kept = !matches!(call.text("keep_aspect_ratio_policy"), "" | "stretch");
    if kept && call.ints("axes").is_some_and(|axes| axes.iter().any(|axis| *axis < 0)) {
        return Err(
            "axes counted from the end with a ratio that is kept: runtimes disagree; count from the front".into()
        );
    }
    let results = match &sizes {
        Some(sizes) => sized(call, &extents, sizes)?,
        None => extents.iter().zip(&scales).map(|(n, scale)| ((*n as f32 * scale).floor() as usize, *scale)).collect(),
    };
    let mut axes = Vec::new();
    for (i, (result, scale)) in results.into_iter().enumerate() {
        let (at, extent) = (named[i], extents[i]);
        if result == 0 || result > 1 << 16 || !(scale > 0.0 && scale.is_finite()) {
            return Err(format!("axis {at} of {extent} becomes one of {result} by a scale of {scale}"));
        }
        let whole = extent as f32 * scale == result as f32;
        if matches!(rule.transformation.as_str(), "align_corners" | "tf_crop_and_resize") && !whole {
            return Err(format!(
                "{} with a scale of {scale} on {extent} elements: runtimes disagree; give sizes instead of scales",
                rule.transformation
            ));
        }
        if old && rule.mode == "nearest" && scale < 1.0 {
            return Err("it makes images smaller before operator set 11: runtimes disagree about that".into());
        }
        let region = if region.is_empty() { [0.0, 1.0] } else { [region[i], region[named.len() + i]] };
        if result == extent && extent > 1 && region != [0.0, 1.0] {
            return Err(format!(
                "its region is a part of axis {at}, whose {extent} elements stay as many: runtimes disagree; crop by \
                 a Slice"
            ));
        }
        if sizes.is_none() && result == extent && extent > 1 && scale != 1.0 {
            return Err(format!(
                "a scale of {scale} leaves the {extent} elements of axis {at} as many: runtimes disagree; give sizes \
                 instead of scales"
            ));
        }
        let axis = Axis { at, extent, result, scale, region };
        if result != extent || scale != 1.0 {
            axes.push(axis);
        }
    }
    Ok(axes)
}

/// Extents and scales from sizes.
fn sized(call: &Call, extents: &[usize], sizes: &[i64]) -> Result<Vec<(usize, f32)>, String> {
    let ratios = || extents.iter().zip(sizes).map(|(n, size)| *size as f32 / *n as f32);
    let scale = match call.text("keep_aspect_ratio_policy") {
        "" | "stretch" => {
            let whole = |(size, scale): (&i64, f32)| (usize::try_from(*size).unwrap_or(0), scale);
            return Ok(sizes.iter().zip(ratios()).map(whole).collect());
        }
        "not_larger" => ratios().fold(f32::INFINITY, f32::min),
        "not_smaller" => ratios().fold(0.0, f32::max),
        other => return Err(format!("keep_aspect_ratio_policy {other:?}")),
    };
    Ok(extents.iter().map(|n| ((*n as f32 * scale).round() as usize, scale)).collect())
}

impl Rule {
    /// Where result element `i` lies among the data, rounded where onnxruntime rounds it: to
    /// float32 at every step but those of `half_pixel_symmetric` behind its offset.
    fn position(&self, axis: &Axis, i: usize) -> f32 {
        let Axis { extent, result, scale, region, .. } = *axis;
        let (i, last, steps) = (i as f32, (extent - 1) as f32, (result.max(2) - 1) as f32);
        match self.transformation.as_str() {
            "asymmetric" => i / scale,
            "align_corners" if result == 1 => 0.0,
            "align_corners" => i * last / steps,
            "pytorch_half_pixel" if result == 1 => 0.0,
            "tf_crop_and_resize" if result == 1 => 0.5 * (region[0] + region[1]) * last,
            "tf_crop_and_resize" => region[0] * last + i * (region[1] - region[0]) * last / steps,
            "half_pixel_symmetric" => {
                let adjustment = result as f32 / (scale * extent as f32);
                let offset = extent as f32 / 2.0 * (1.0 - adjustment);
                (f64::from(offset) + (f64::from(i) + 0.5) / f64::from(scale) - 0.5) as f32
            }
            _ => (i + 0.5) / scale - 0.5,
        }
    }

    /// The element nearest to a position.
    fn nearest(&self, position: f32, axis: &Axis) -> Result<usize, String> {
        let below = position.floor();
        let part = position - below;
        let tie = (f64::from(part) - 0.5).abs() < TIE;
        let nearest = match self.nearest.as_str() {
            "floor" => below,
            "ceil" => position.ceil(),
            "round_prefer_floor" if part > 0.5 && !tie => below + 1.0,
            "round_prefer_floor" => below,
            "round_prefer_ceil" if part > 0.5 || tie => below + 1.0,
            "round_prefer_ceil" => below,
            other => return Err(format!("nearest_mode {other:?}")),
        };
        Ok((nearest.max(0.0) as usize).min(axis.extent - 1))
    }

    /// For each position, the coefficients of all `extent` elements.
    fn matrix(&self, positions: &[f32], extent: usize) -> Array2<f32> {
        let mut matrix = Array2::zeros((positions.len(), extent));
        for (mut row, position) in matrix.outer_iter_mut().zip(positions) {
            let below = position.floor();
            let part = f64::from(position - below);
            let taps: Vec<(i64, f64)> = if self.mode == "linear" {
                vec![(0, 1.0 - part), (1, part)]
            } else {
                (-1..3).map(|tap| (tap, cubic(part - tap as f64, f64::from(self.cubic_a)))).collect()
            };
            let inside = |tap: i64| (0..extent as i64).contains(&(below as i64 + tap));
            let dropped = |tap: i64| self.mode == "cubic" && self.exclude_outside && !inside(tap);
            let kept = || taps.iter().filter(|(tap, _)| !dropped(*tap));
            let sum: f64 = kept().map(|(_, c)| c).sum();
            for (tap, c) in kept() {
                // What is outside is the border's.
                let at = (below as i64 + tap).clamp(0, extent as i64 - 1) as usize;
                row[at] += (c / sum) as f32;
            }
        }
        matrix
    }
}

/// Keys' kernel of cubic convolution.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// Elements along an axis, in the given order; each several times if that is all.
fn picks(call: &mut Call, x: NodeId, axis: &Axis, picked: &[usize]) -> Made {
    let times = axis.result / axis.extent;
    let repeats = times * axis.extent == axis.result && picked.iter().enumerate().all(|(i, at)| *at == i / times);
    if !repeats {
        return shape::pick(call, x, axis.at, picked);
    }
    let mut extents = call.shape(x);
    extents.insert(axis.at + 1, 1);
    let columns = call.b.reshape(x, &extents);
    extents[axis.at + 1] = times;
    let y = call.b.expand(columns, &extents)?;
    extents.remove(axis.at + 1);
    extents[axis.at] = axis.result;
    Ok(call.b.reshape(y, &extents))
}

/// A linear map along one axis: `matrix` has a row for each element of the result.
fn along(call: &mut Call, x: NodeId, at: usize, matrix: &Array2<f32>) -> Made {
    let mut perm: Vec<usize> = (0..call.shape(x).len()).collect();
    let last = perm.len() - 1;
    perm.swap(at, last);
    let moved = call.b.transpose(x, &perm);
    let y = linear::by_constant(call, moved, &matrix.t().to_owned().into_dyn())?;
    Ok(call.b.transpose(y, &perm))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What onnxruntime 1.32 takes: positions that are ties but for float32's rounding, and ones
    /// that are none.
    #[test]
    fn elements_near_ties_are_onnxruntimes() {
        let picked = |transformation: &str, nearest: &str, [extent, result]: [usize; 2], scale: Option<f32>, i| {
            let (transformation, nearest) = (transformation.into(), nearest.into());
            let rule = Rule { mode: "nearest".into(), transformation, nearest, cubic_a: -0.75, exclude_outside: false };
            let scale = scale.unwrap_or(result as f32 / extent as f32);
            let axis = Axis { at: 0, extent, result, scale, region: [0.0, 1.0] };
            rule.nearest(rule.position(&axis, i), &axis).unwrap()
        };
        for (transformation, nearest, extents, scale, i, element) in [
            ("half_pixel", "round_prefer_floor", [14, 19], None, 9, 6),
            ("half_pixel", "round_prefer_ceil", [20, 6], None, 4, 15),
            ("half_pixel", "round_prefer_floor", [21, 27], Some(1.3), 19, 14),
            ("asymmetric", "round_prefer_floor", [7, 38], None, 19, 3),
            ("asymmetric", "round_prefer_ceil", [7, 2], None, 1, 4),
            // 1.2e-6 from the tie.
            ("asymmetric", "round_prefer_floor", [5, 29], Some(15.0 / 2.500_001_2), 15, 3),
            ("half_pixel_symmetric", "floor", [3, 1], None, 0, 0),
            ("half_pixel_symmetric", "floor", [3, 11], None, 5, 0),
            ("half_pixel_symmetric", "ceil", [19, 41], None, 20, 10),
            ("half_pixel_symmetric", "ceil", [5, 45], Some(9.06), 22, 3),
            ("half_pixel_symmetric", "round_prefer_ceil", [6, 9], Some(1.55), 4, 3),
            ("half_pixel_symmetric", "round_prefer_floor", [6, 33], Some(5.55), 16, 2),
        ] {
            let found = picked(transformation, nearest, extents, scale, i);
            assert_eq!(found, element, "{transformation} {nearest} {extents:?} {i}");
        }
    }

    #[test]
    fn keys_kernel_is_one_at_zero_and_none_at_other_integers() {
        assert_eq!([0.0, 1.0, -1.0, 2.0, 2.5].map(|x| cubic(x, -0.5)), [1.0, 0.0, 0.0, 0.0, 0.0]);
        // Anchored by the kernel's known value halfway: 9/16 and -1/16 for a = -1/2.
        assert_eq!([0.5, 1.5].map(|x| cubic(x, -0.5)), [0.5625, -0.0625]);
    }
}
