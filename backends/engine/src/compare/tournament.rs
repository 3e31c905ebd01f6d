//! Max-pool and argmax as tournaments in the order that [`fusion_ir::interp::tournament`] defines,
//! top-k as the network of [`Network::top_k`].

use fusion_catalogue::compare::Comparison;
use fusion_catalogue::compare::Pool;
use fusion_ir::Party;
use fusion_ir::network::Network;
use fusion_ir::op::Window;
use fusion_ir::types::{mask, wrap};

use super::Compare;
use crate::Error;

/// Shares of [`Op::MaxPool`](fusion_ir::Op::MaxPool) over `x`, images of `height x width` one after
/// the other (channels within positions). Exchanges the messages of
/// [`fusion_catalogue::compare::max_pool`].
///
/// # Panics
/// If `x` is not a whole number of images.
#[allow(clippy::integer_division_remainder_used, reason = "of sizes, which are public")]
pub fn max_pool(
    ctx: &mut dyn Compare,
    bits: u8,
    window: &Window,
    height: usize,
    width: usize,
    x: &[u64],
) -> Result<Vec<u64>, Error> {
    let image_len = (height * width).max(1);
    assert!(x.len().is_multiple_of(image_len), "not a whole number of images");
    let pool = Pool::new(window, height, width);
    let mut result = Vec::with_capacity(x.len() / image_len * pool.down.len() * pool.across.len());
    for images in x.chunks(pool.images_at_once() * image_len) {
        let mut rows = Groups::default();
        for image in images.chunks_exact(image_len) {
            for row in &pool.rows {
                for across in &pool.across {
                    rows.push(across.clone().map(|column| [image[row * width + column]]));
                }
            }
        }
        let mut better = |[left]: [Vec<u64>; 1], [right]: [Vec<u64>; 1]| {
            let best = ctx.compare(&Comparison::Max { bits }, &[&left, &right])?;
            Ok(best.try_into().expect("one result"))
        };
        let across = rows.play(&mut better)?;
        let mut columns = Groups::default();
        for image in across.chunks_exact((pool.rows.len() * pool.across.len()).max(1)) {
            for down in &pool.down {
                for column in 0..pool.across.len() {
                    columns.push(down.clone().map(|row| image[row * pool.across.len() + column]));
                }
            }
        }
        result.extend(columns.play(&mut better)?.into_iter().flatten());
    }
    Ok(result)
}

/// Shares mod `2^index_bits` of [`Op::ArgMax`](fusion_ir::Op::ArgMax) of every `classes` elements
/// of `x`. Exchanges the messages of [`fusion_catalogue::compare::arg_max`].
///
/// # Panics
/// If `x` is not a whole number of vectors.
pub fn arg_max(ctx: &mut dyn Compare, bits: u8, index_bits: u8, classes: usize, x: &[u64]) -> Result<Vec<u64>, Error> {
    assert!(x.len().is_multiple_of(classes.max(1)), "not a whole number of vectors");
    // Indices are public at first: the server's share is the index, the client's nothing.
    let index = |i: usize| match ctx.party() {
        Party::Client => 0,
        Party::Server => wrap(i as i64, index_bits),
    };
    let mut groups = Groups::default();
    for vector in x.chunks_exact(classes.max(1)) {
        groups.push(vector.iter().enumerate().map(|(i, x)| [*x, index(i)]));
    }
    let best = groups.play(|[left, left_index], [right, right_index]| {
        let operation = Comparison::MaxIndex { bits, index_bits };
        let best = ctx.compare(&operation, &[&left, &right, &left_index, &right_index])?;
        Ok(best.try_into().expect("maximum and index"))
    })?;
    Ok(best.into_iter().map(|[_, index]| index).collect())
}

/// Shares mod `2^index_bits` of [`Op::TopK`](fusion_ir::Op::TopK) of every `classes` elements of
/// `x`. Exchanges the messages of [`fusion_catalogue::compare::top_k`].
///
/// # Panics
/// If `x` is not a whole number of vectors.
#[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
pub fn top_k(
    ctx: &mut dyn Compare,
    bits: u8,
    index_bits: u8,
    classes: usize,
    k: usize,
    x: &[u64],
) -> Result<Vec<u64>, Error> {
    assert!(x.len().is_multiple_of(classes.max(1)), "not a whole number of vectors");
    let key_bits = bits + index_bits;
    // Multiplying by 2^index_bits also widens the ring: what the shares wrap by falls out of it.
    let constant = |value: usize| match ctx.party() {
        Party::Client => 0,
        Party::Server => value as u64,
    };
    let key =
        |(i, x): (usize, &u64)| (x << index_bits).wrapping_add(constant(classes - 1 - i % classes)) & mask(key_bits);
    let last = constant(classes.saturating_sub(1));
    let mut keys: Vec<u64> = x.iter().enumerate().map(key).collect();
    let Network { layers, top } = Network::top_k(classes, k);
    for layer in layers {
        let mut sides = [Vec::new(), Vec::new()];
        for vector in keys.chunks_exact(classes) {
            for pair in &layer {
                sides.iter_mut().zip(pair).for_each(|(side, place)| side.push(vector[*place]));
            }
        }
        let [left, right] = &sides;
        let larger = ctx.compare(&Comparison::Max { bits: key_bits }, &[left, right])?.swap_remove(0);
        let mut larger = larger.iter();
        for vector in keys.chunks_exact_mut(classes) {
            for ([i, j], larger) in layer.iter().zip(larger.by_ref()) {
                let sum = vector[*i].wrapping_add(vector[*j]);
                (vector[*i], vector[*j]) = (*larger, sum.wrapping_sub(*larger) & mask(key_bits));
            }
        }
    }
    let index = |key: u64| last.wrapping_sub(key) & mask(index_bits);
    Ok(keys.chunks_exact(classes.max(1)).flat_map(|vector| top.iter().map(|place| index(vector[*place]))).collect())
}

/// Players of `N` values each, in groups that play their own tournaments side by side.
struct Groups<const N: usize> {
    players: Vec<[u64; N]>,
    sizes: Vec<usize>,
}

impl<const N: usize> Default for Groups<N> {
    fn default() -> Groups<N> {
        Groups { players: Vec::new(), sizes: Vec::new() }
    }
}

impl<const N: usize> Groups<N> {
    fn push(&mut self, group: impl IntoIterator<Item = [u64; N]>) {
        let before = self.players.len();
        self.players.extend(group);
        self.sizes.push(self.players.len() - before);
    }

    /// The winner of every group, zeros for an empty one. `better` gets the values of all left and
    /// all right players of one level, and returns those of the winners.
    fn play<F>(mut self, mut better: F) -> Result<Vec<[u64; N]>, Error>
    where
        F: FnMut([Vec<u64>; N], [Vec<u64>; N]) -> Result<[Vec<u64>; N], Error>,
    {
        while self.sizes.iter().any(|size| *size > 1) {
            let mut sides = [(); 2].map(|()| [(); N].map(|()| Vec::new()));
            for group in self.groups() {
                for pair in group.as_chunks::<2>().0 {
                    for (side, player) in sides.iter_mut().zip(pair) {
                        side.iter_mut().zip(player).for_each(|(values, value)| values.push(*value));
                    }
                }
            }
            let [left, right] = sides;
            let winners = better(left, right)?;
            let mut next = Groups::default();
            let mut numbers = 0..;
            for group in self.groups() {
                let (pairs, odd) = group.as_chunks::<2>();
                let won = numbers.by_ref().take(pairs.len()).map(|i: usize| winners.each_ref().map(|values| values[i]));
                next.push(won.chain(odd.iter().copied()));
            }
            self = next;
        }
        Ok(self.groups().map(|group| group.first().copied().unwrap_or([0; N])).collect())
    }

    fn groups(&self) -> impl Iterator<Item = &[[u64; N]]> {
        let mut rest = &self.players[..];
        self.sizes.iter().map(move |size| {
            let (group, after) = rest.split_at(*size);
            rest = after;
            group
        })
    }
}
