//! Linear maps mod `2^bits`: sums of products, formed in numbers that hold them.

use std::num::Wrapping;

use pulp::{Arch, NullaryFnOnce};
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
        self.apply_with(Arch::new(), x, x_ty, ty, sums)
    }

    /// The same with vectors that this processor has.
    pub fn apply_with(&self, arch: Arch, x: &[i64], x_ty: &TensorType, ty: &TensorType, sums: Sums) -> Vec<i64> {
        let terms: usize = self.kernel[1..].iter().product();
        let alone = self.kernel[0] == self.conv.groups;
        let floats = sums == Sums::Fastest && floats_hold(terms, self.weight, x);
        // Rows and columns of a block of sums: as many as registers hold.
        match (arch, floats, alone) {
            #[cfg(target_arch = "x86_64")]
            (Arch::V4(_), true, false) => self.product::<f64, 8, 8>(arch, x, x_ty, ty),
            #[cfg(target_arch = "x86_64")]
            (Arch::V4(_), true, true) => self.product::<f64, 1, 32>(arch, x, x_ty, ty),
            #[cfg(target_arch = "x86_64")]
            (Arch::V4(_), false, false) => self.product::<Wrapping<i64>, 8, 8>(arch, x, x_ty, ty),
            #[cfg(target_arch = "x86_64")]
            (Arch::V3(_), true, false) => self.product::<f64, 4, 8>(arch, x, x_ty, ty),
            (_, true, false) => self.product::<f64, 4, 4>(arch, x, x_ty, ty),
            (_, true, true) => self.product::<f64, 1, 16>(arch, x, x_ty, ty),
            (_, false, false) => self.product::<Wrapping<i64>, 4, 4>(arch, x, x_ty, ty),
            (_, false, true) => self.product::<Wrapping<i64>, 1, 8>(arch, x, x_ty, ty),
        }
    }

    fn product<T: Number, const M: usize, const N: usize>(
        &self,
        arch: Arch,
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
            arch.dispatch(Blocks::<T, M, N> { weights: &weights, image, places: &places, sums: &mut sums });
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

/// `M` kernels times what they meet at all outputs, `N` at a time.
struct Blocks<'a, T, const M: usize, const N: usize> {
    /// Of each place.
    weights: &'a [[T; M]],
    image: &'a [T],
    places: &'a [usize],
    /// `M` rows.
    sums: &'a mut [T],
}

impl<T: Number, const M: usize, const N: usize> NullaryFnOnce for Blocks<'_, T, M, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let blocks = self.sums.len() / (M * N);
        for block in 0..blocks {
            // Nothing lies there if no kernel element ever meets the image; then there are no
            // places either.
            let image = self.image.get(block * N..).unwrap_or_default();
            let mut sums = [[T::default(); N]; M];
            for (weights, place) in self.weights.iter().zip(self.places) {
                let (x, _) = image[*place..].split_first_chunk::<N>().expect("there are elements to spare");
                for m in 0..M {
                    for n in 0..N {
                        sums[m][n] = sums[m][n] + weights[m] * x[n];
                    }
                }
            }
            for (row, found) in sums.iter().enumerate() {
                self.sums[(row * blocks + block) * N..][..N].copy_from_slice(found);
            }
        }
    }
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
    let arch = Arch::new();
    rows.with_min_len(WORTHWHILE.div_ceil((k * n).max(1))).for_each(|(row, (z, x))| {
        arch.dispatch(Row { x, y: &y[row / m * k * n..][..k * n], z, bits });
    });
    z
}

/// A row of a product: `x` times the matrix `y`.
struct Row<'a> {
    x: &'a [i64],
    y: &'a [i64],
    z: &'a mut [i64],
    bits: u8,
}

impl NullaryFnOnce for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (x, y) in self.x.iter().zip(self.y.chunks_exact(self.z.len())) {
            self.z.iter_mut().zip(y).for_each(|(z, y)| *z = z.wrapping_add(x.wrapping_mul(*y)));
        }
        self.z.iter_mut().for_each(|z| *z = signed(*z as u64, self.bits));
    }
}

/// Whether floats hold every sum of `terms` products of these elements, in whatever order they are
/// added.
pub(super) fn floats_hold(terms: usize, weight: &[i64], x: &[i64]) -> bool {
    let most = |x: &[i64]| u128::from(x.iter().fold(0, |most: u64, x| most.max(x.unsigned_abs())));
    let (weight, x) = (most(weight).max(1), most(x).max(1));
    weight.checked_mul(x).and_then(|most| most.checked_mul(terms.max(1) as u128)).is_some_and(|m| m < u128::from(EXACT))
}
