//! Float kernels of the interpreter: one sample, row-major slices.

use fusion_ir::op::Window;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};

use super::{Conv, Dense};

/// Convolution by unfolding the image, so that each group is one matrix product. `out` is
/// `[C_out, rows, columns]`.
pub(super) fn conv(conv: &Conv, x: &[f32], shape: &[usize], out: &[usize]) -> Vec<f32> {
    let [c_out, per_group, kh, kw] = [0, 1, 2, 3].map(|axis| conv.weight.shape()[axis]);
    let pixels = out[1] * out[2];
    let mut y: Vec<f32> = conv.bias.iter().flat_map(|b| std::iter::repeat_n(*b, pixels)).collect();
    let (inner, rows) = (per_group * kh * kw, c_out / conv.groups);
    let weight = conv.weight.as_standard_layout();
    let weight = weight.as_slice().expect("standard layout is contiguous");
    let mut columns = vec![0f32; inner * pixels];
    for group in 0..conv.groups {
        unfold(conv, x, shape, out, group, &mut columns);
        let kernel = &weight[group * rows * inner..][..rows * inner];
        let target = &mut y[group * rows * pixels..][..rows * pixels];
        let a = ArrayView2::from_shape((rows, inner), kernel).expect("kernel of one group");
        let b = ArrayView2::from_shape((inner, pixels), &columns).expect("unfolded image");
        let mut c = ArrayViewMut2::from_shape((rows, pixels), target).expect("channels of one group");
        general_mat_mul(1.0, &a, &b, 1.0, &mut c);
    }
    y
}

/// Row `(c, i, j)` of `columns` holds what kernel element `(c, i, j)` of `group` meets at each
/// output pixel.
fn unfold(conv: &Conv, x: &[f32], shape: &[usize], out: &[usize], group: usize, columns: &mut [f32]) {
    let [height, width] = [shape[1], shape[2]];
    let [per_group, kh, kw] = [1, 2, 3].map(|axis| conv.weight.shape()[axis]);
    let mut at = 0;
    for c in group * per_group..(group + 1) * per_group {
        let image = &x[c * height * width..][..height * width];
        for i in 0..kh {
            for j in 0..kw {
                for row in 0..out[1] {
                    let source = (row * conv.strides[0] + i * conv.dilations[0]).checked_sub(conv.pads[0]);
                    let source = source.filter(|r| *r < height).map(|r| &image[r * width..][..width]);
                    let line = &mut columns[at..][..out[2]];
                    at += out[2];
                    let Some(source) = source else {
                        line.fill(0.0);
                        continue;
                    };
                    let (shift, pad, stride) = (j * conv.dilations[1], conv.pads[1], conv.strides[1]);
                    // The columns that the kernel's element meets inside the image.
                    let first = pad.saturating_sub(shift).div_ceil(stride).min(out[2]);
                    let end = (width + pad).saturating_sub(shift).div_ceil(stride).clamp(first, out[2]);
                    line[..first].fill(0.0);
                    line[end..].fill(0.0);
                    let met = &source[(first * stride + shift).saturating_sub(pad).min(width)..];
                    match stride {
                        1 => line[first..end].copy_from_slice(&met[..end - first]),
                        _ => line[first..end]
                            .iter_mut()
                            .zip(met.iter().step_by(stride))
                            .for_each(|(to, from)| *to = *from),
                    }
                }
            }
        }
    }
}

/// `weight * x + bias`.
pub(super) fn dense(dense: &Dense, x: &[f32]) -> Vec<f32> {
    let product = dense.weight.dot(&ArrayView1::from(x));
    product.iter().zip(&dense.bias).map(|(y, b)| y + b).collect()
}

/// Products of the matrices `x` of extents `shape`, `[b, m, k]`, and `y`, `[b, k, n]`.
pub(super) fn mat_mul(x: &[f32], y: &[f32], shape: &[usize], n: usize) -> Vec<f32> {
    let (m, k) = (shape[1], shape[2]);
    let mut z = vec![0f32; x.len() / k * n];
    for ((x, y), z) in x.chunks_exact(m * k).zip(y.chunks_exact(k * n)).zip(z.chunks_exact_mut(m * n)) {
        let a = ArrayView2::from_shape((m, k), x).expect("a matrix of the batch");
        let b = ArrayView2::from_shape((k, n), y).expect("a matrix of the batch");
        let mut c = ArrayViewMut2::from_shape((m, n), z).expect("a matrix of the batch");
        general_mat_mul(1.0, &a, &b, 0.0, &mut c);
    }
    z
}

/// Folds the elements of each window that lie inside the image.
pub(super) fn pool(
    window: &Window,
    x: &[f32],
    shape: &[usize],
    out: &[usize],
    start: f32,
    fold: fn(f32, f32) -> f32,
) -> Vec<f32> {
    let [height, width] = [shape[1], shape[2]];
    let span = |at: usize, axis: usize, extent: usize| {
        let from = at * window.strides[axis];
        let end = (from + window.kernel[axis]).saturating_sub(window.pads[axis]).min(extent);
        from.saturating_sub(window.pads[axis])..end
    };
    let mut y = Vec::with_capacity(out.iter().product());
    for image in x.chunks_exact(height * width) {
        for row in 0..out[1] {
            for column in 0..out[2] {
                let lines = span(row, 0, height).map(|r| &image[r * width..][..width]);
                let inside = lines.flat_map(|line| &line[span(column, 1, width)]);
                y.push(inside.fold(start, |sum, value| fold(sum, *value)));
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    /// The definition of a convolution, term by term.
    fn naive(conv: &Conv, x: &[f32], shape: &[usize], out: &[usize]) -> Vec<f32> {
        let per_group = conv.weight.shape()[1];
        let rows = conv.weight.shape()[0] / conv.groups;
        let mut y = Vec::new();
        for m in 0..out[0] {
            for row in 0..out[1] {
                for column in 0..out[2] {
                    let mut sum = conv.bias[m];
                    for ((_, c, i, j), w) in conv.weight.indexed_iter().filter(|((o, ..), _)| *o == m) {
                        let r = (row * conv.strides[0] + i * conv.dilations[0]) as isize - conv.pads[0] as isize;
                        let q = (column * conv.strides[1] + j * conv.dilations[1]) as isize - conv.pads[1] as isize;
                        if (0..shape[1] as isize).contains(&r) && (0..shape[2] as isize).contains(&q) {
                            let channel = m / rows * per_group + c;
                            sum += w * x[(channel * shape[1] + r as usize) * shape[2] + q as usize];
                        }
                    }
                    y.push(sum);
                }
            }
        }
        y
    }

    #[test]
    fn unfolded_convolution_is_the_definition() {
        for (groups, strides, pads, dilations) in
            [(1, [1, 1], [0; 4], [1, 1]), (2, [2, 1], [0, 1, 1, 0], [1, 2]), (4, [3, 2], [2, 0, 1, 3], [2, 1])]
        {
            let shape = [4, 7, 6];
            let count = |from: std::ops::Range<i32>| from.map(|i| (i * 37 % 17 - 8) as f32).collect::<Vec<_>>();
            let weight = Array4::from_shape_vec((8, 4 / groups, 3, 2), count(0..(32 / groups * 6) as i32)).unwrap();
            let op = Conv { weight, bias: count(0..8), strides, pads, dilations, groups };
            let geometry =
                fusion_ir::op::Conv { weight: fusion_ir::WeightId(0), bias: None, strides, pads, dilations, groups };
            let [rows, columns] = geometry.output(shape[1], shape[2], [3, 2]).unwrap();
            let (x, out) = (count(5..5 + 168), [8, rows, columns]);
            assert_eq!(conv(&op, &x, &shape, &out), naive(&op, &x, &shape, &out));
        }
    }

    #[test]
    fn pools_skip_padding() {
        let window = Window { kernel: [2, 2], strides: [2, 2], pads: [1, 0, 0, 1] };
        let x = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0];
        let max = pool(&window, &x, &[1, 2, 3], &[1, 1, 2], f32::NEG_INFINITY, f32::max);
        assert_eq!(max, [-1.0, -3.0]);
        assert_eq!(pool(&window, &x, &[1, 2, 3], &[1, 1, 2], 0.0, |a, b| a + b), [-3.0, -3.0]);
    }
}
