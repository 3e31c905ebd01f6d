//! Linear maps mod `2^bits`: sums of products, formed in numbers that hold them.

use std::num::Wrapping;

use rayon::prelude::*;

use super::number::Number;
use super::planes::Planes;
use crate::op::Conv;
use crate::types::{TensorType, signed};

/// In which numbers sums are formed. The result is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    /// Integers mod `2^64`: the time does not depend on the elements, so they may be shares.
    Ring,
    /// Floats where no sum of these very elements can leave the integers that floats hold; else as
    /// [`Sums::Ring`].
    Fastest,
}

/// A convolution with its numbers.
pub(super) struct Convolution<'a> {
    /// The geometry.
    pub conv: &'a Conv,
    /// `[C_out, C_in / groups, kh, kw]`.
    pub kernel: &'a [usize],
    /// The kernel's elements.
    pub weight: &'a [i64],
    /// `[C_out]`.
    pub bias: Option<&'a [i64]>,
}

/// Every integer of at most this magnitude is a float.
const EXACT: u64 = 1 << 53;
/// Products below which splitting the work costs more than it gains.
const WORTHWHILE: usize = 1 << 16;

impl Convolution<'_> {
    /// The convolution of `x`, of type `x_ty`, as elements of `ty`.
    pub fn apply(&self, x: &[i64], x_ty: &TensorType, ty: &TensorType, sums: Sums) -> Vec<i64> {
        let terms: usize = self.kernel[1..].iter().product();
        let alone = self.kernel[0] == self.conv.groups;
        // Rows and columns of a block of sums: as many as registers hold.
        match (sums == Sums::Fastest && floats_hold(terms, self.weight, x), alone) {
            (true, false) => self.product::<f64, 4, 4>(x, x_ty, ty),
            (true, true) => self.product::<f64, 1, 16>(x, x_ty, ty),
            (false, false) => self.product::<Wrapping<i64>, 4, 4>(x, x_ty, ty),
            (false, true) => self.product::<Wrapping<i64>, 1, 8>(x, x_ty, ty),
        }
    }

    fn product<T: Number, const M: usize, const N: usize>(
        &self,
        x: &[i64],
        x_ty: &TensorType,
        ty: &TensorType,
    ) -> Vec<i64> {
        let &[c_out, per_group, kh, kw] = self.kernel else { unreachable!("a kernel has four axes") };
        let (pixels, area) = (ty.shape[1] * ty.shape[2], kh * kw);
        let planes = Planes::<T>::new(self.conv, [kh, kw], x, &x_ty.shape, [ty.shape[1], ty.shape[2]], N);
        let terms = || (0..per_group).flat_map(|c| planes.taps.iter().map(move |tap| (c, *tap)));
        let places: Vec<usize> = terms().map(|(c, (_, place))| c * planes.channel + place).collect();
        let rows_per_group = c_out / self.conv.groups;
        let some_rows = |first: usize, y: &mut [i64]| {
            // The kernels of `M` output channels side by side; beyond the last channel they are
            // zero.
            let mut weights = vec![[T::default(); M]; places.len()];
            for row in 0..y.len() / pixels {
                let kernel = &self.weight[(first + row) * per_group * area..];
                weights.iter_mut().zip(terms()).for_each(|(w, (c, (tap, _)))| w[row] = T::of(kernel[c * area + tap]));
            }
            let image = &planes.elements[first / rows_per_group * per_group * planes.channel..];
            let wide = (ty.shape[1] - 1) * planes.line + ty.shape[2];
            let blocks = wide.div_ceil(N);
            let mut sums = vec![T::default(); M * blocks * N];
            for block in 0..blocks {
                // Nothing lies there if no kernel element ever meets the image; then there are no
                // places either.
                let image = image.get(block * N..).unwrap_or_default();
                let found = block_product::<T, M, N>(&weights, image, &places);
                for (row, found) in found.iter().enumerate() {
                    sums[(row * blocks + block) * N..][..N].copy_from_slice(found);
                }
            }
            for (row, y) in y.chunks_exact_mut(pixels).enumerate() {
                let bias = self.bias.map_or(0, |bias| bias[first + row]);
                let lines = sums[row * blocks * N..].chunks(planes.line);
                for (y, sums) in y.chunks_exact_mut(ty.shape[2]).zip(lines) {
                    y.iter_mut().zip(sums).for_each(|(y, sum)| {
                        *y = signed(sum.integer().wrapping_add(bias) as u64, ty.bits);
                    });
                }
            }
        };
        let mut y = vec![0i64; c_out * pixels];
        let per_row = pixels * places.len().max(1);
        let groups = y.par_chunks_exact_mut(rows_per_group * pixels).enumerate();
        groups.with_min_len(WORTHWHILE.div_ceil(rows_per_group * per_row)).for_each(|(group, y)| {
            let blocks = y.par_chunks_mut(M * pixels).enumerate();
            let first = group * rows_per_group;
            blocks.with_min_len(WORTHWHILE.div_ceil(M * per_row)).for_each(|(i, y)| some_rows(first + i * M, y));
        });
        y
    }
}

/// `M` kernels times what they meet at `N` consecutive outputs.
#[inline(always)]
fn block_product<T: Number, const M: usize, const N: usize>(
    weights: &[[T; M]],
    image: &[T],
    places: &[usize],
) -> [[T; N]; M] {
    let mut sums = [[T::default(); N]; M];
    for (weights, place) in weights.iter().zip(places) {
        let (x, _) = image[*place..].split_first_chunk::<N>().expect("there are elements to spare");
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = sums[m][n] + weights[m] * x[n];
            }
        }
    }
    sums
}

/// The matrix of `weight` times the vector `x`, plus `bias`, mod `2^bits`.
pub(super) fn dense(weight: &[i64], x: &[i64], bias: Option<&[i64]>, rows: usize, bits: u8) -> Vec<i64> {
    let n = x.len();
    let mut y = vec![0i64; rows];
    y.par_iter_mut().enumerate().with_min_len(WORTHWHILE.div_ceil(n.max(1))).for_each(|(row, y)| {
        let products = weight[row * n..][..n].iter().zip(x);
        let sum = products.fold(0i64, |sum, (w, x)| sum.wrapping_add(w.wrapping_mul(*x)));
        *y = signed(sum.wrapping_add(bias.map_or(0, |bias| bias[row])) as u64, bits);
    });
    y
}

/// The products of matrices `[b, m, k]` and `[b, k, n]`, mod `2^bits`. The time does not depend on
/// the elements.
///
/// # Panics
/// If there are not so many elements.
pub fn mat_mul(x: &[i64], y: &[i64], [b, m, k, n]: [usize; 4], bits: u8) -> Vec<i64> {
    assert_eq!([x.len(), y.len()], [b * m * k, b * k * n], "elements of {b} products of {m}x{k} and {k}x{n}");
    let mut z = vec![0i64; b * m * n];
    let rows = z.par_chunks_exact_mut(n.max(1)).zip(x.par_chunks_exact(k.max(1))).enumerate();
    rows.with_min_len(WORTHWHILE.div_ceil((k * n).max(1))).for_each(|(row, (z, x))| {
        let y = &y[row / m * k * n..][..k * n];
        for (x, y) in x.iter().zip(y.chunks_exact(n)) {
            z.iter_mut().zip(y).for_each(|(z, y)| *z = z.wrapping_add(x.wrapping_mul(*y)));
        }
        z.iter_mut().for_each(|z| *z = signed(*z as u64, bits));
    });
    z
}

/// Whether floats hold every sum of `terms` products of these elements, in whatever order they are
/// added.
pub(super) fn floats_hold(terms: usize, weight: &[i64], x: &[i64]) -> bool {
    let most = |x: &[i64]| u128::from(x.iter().fold(0, |most: u64, x| most.max(x.unsigned_abs())));
    let (weight, x) = (most(weight).max(1), most(x).max(1));
    weight.checked_mul(x).and_then(|most| most.checked_mul(terms.max(1) as u128)).is_some_and(|m| m < u128::from(EXACT))
}
