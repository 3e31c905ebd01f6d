//! Which layers of a position share a key pair of the `cheetah` family.
//!
//! The secret of a pair that serves one layer only has encrypted everything it ever will before the client decrypts
//! anything under it. Of layers that share a pair, a later one's operand may depend on what an earlier one's decryption
//! gave, hence on the secret. So pairs of layers' own spare an assumption on key-dependent messages; they cost the bytes of
//! a public key for every layer. Keys for output packing are large: layers that pack their results share the position's pair.

use std::fmt;
use std::str::FromStr;

use fusion_ir::{Backend, Function, Op, Party, ValueId};
use serde::Serialize;

use crate::linear::Packing;
use crate::{Demand, begin, layer};

/// How many key pairs of the `cheetah` family a position has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// One for every layer that does not pack its results, and one for all that do.
    Layer,
    /// One for all layers.
    Position,
}

/// By default, pairs of layers' own add at most one in so many bytes to a position.
const LEAST_SHARE: u64 = 100;

impl Keys {
    /// What parties use unless the client's user asks for something else. [`Keys::Layer`] if it gives any layer a pair of its own and adds at
    /// most 1 % to what one position sends both ways, correlations not counted; so it follows from the plan alone.
    pub fn of(function: &Function) -> Keys {
        let ids = || function.iter().map(|(id, _)| id);
        if !ids().any(|id| Keys::Layer.own(function, id)) {
            return Keys::Position;
        }
        let bytes = |keys| {
            let layers = ids().map(|id| layer(function, id, keys, 1).unwrap_or_default());
            let costs = std::iter::once(begin(function, keys, 1)).chain(layers);
            costs.map(|cost| cost.bytes(Party::Client) + cost.bytes(Party::Server)).sum::<u64>()
        };
        let [by_layer, by_position] = [Keys::Layer, Keys::Position].map(bytes);
        match by_layer.saturating_sub(by_position) <= by_position / LEAST_SHARE {
            true => Keys::Layer,
            false => Keys::Position,
        }
    }

    /// How many pairs a position of `function` has.
    pub fn pairs(self, function: &Function) -> usize {
        let own = function.iter().filter(|(id, _)| self.own(function, *id)).count();
        own + usize::from(Demand::of(function, self).public_keys)
    }

    /// Whether value `id` is a layer with a key pair of its own.
    pub fn own(self, function: &Function, id: ValueId) -> bool {
        let value = function.value(id);
        let other = matches!(value.backend, Backend::CryptFlow2(_) | Backend::Garbled);
        let linear = matches!(value.op, Op::Conv(_) | Op::Dense { .. }) && !other;
        // A layer that cannot be carried is refused where its cost is asked for.
        linear && Packing::new(function, id).is_ok_and(|packing| self.serve_one(&packing))
    }

    /// Whether a layer with this packing has a key pair of its own.
    pub fn serve_one(self, packing: &Packing) -> bool {
        self == Keys::Layer && packing.levels() == 0
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Keys::Layer => "layer",
            Keys::Position => "position",
        })
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Keys, String> {
        let known = [Keys::Layer, Keys::Position].into_iter().find(|keys| keys.to_string() == text);
        known.ok_or_else(|| format!("{text} is neither layer nor position"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FRAME_HEADER_BYTES;
    use crate::linear::PUBLIC_KEY_BYTES;

    /// `convs` pointwise convolutions of so many channels on 16x16 pixels, one after the other.
    fn chain(convs: usize, channels: usize, backend: &str) -> Function {
        let ty = format!("i20.0~9[{channels},16,16]");
        let mut text = format!("function \"f\"\nweight @w0 \"w\" : i8.0[{channels},{channels},1,1]\n");
        text += &format!("v0 = input : {ty} \"\"\n");
        for at in 1..=convs {
            text += &format!(
                "v{at} = conv v{}, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : {ty} by {backend} \"\"\n",
                at - 1
            );
        }
        fusion_ir::text::parse(&text).unwrap()
    }

    fn bytes(function: &Function, keys: Keys) -> u64 {
        let layers = function.iter().map(|(id, _)| layer(function, id, keys, 1).unwrap());
        let costs = std::iter::once(begin(function, keys, 1)).chain(layers);
        costs.map(|cost| cost.bytes(Party::Client) + cost.bytes(Party::Server)).sum()
    }

    #[test]
    fn a_pair_for_every_layer_is_one_public_key_each() {
        for (convs, backend, own) in [(1, "cheetah", 1), (5, "cheetah", 5), (5, "crypt_flow2-ot", 0)] {
            let function = chain(convs, 4, backend);
            let [layer, position] = [Keys::Layer, Keys::Position].map(|keys| bytes(&function, keys));
            let one = PUBLIC_KEY_BYTES as u64 + FRAME_HEADER_BYTES;
            assert_eq!(layer - position, u64::saturating_sub(own, 1) * one, "{convs} {backend}");
            assert_eq!(function.iter().filter(|(id, _)| Keys::Layer.own(&function, *id)).count() as u64, own);
            assert!(function.iter().all(|(id, _)| !Keys::Position.own(&function, id)));
            let pairs = [Keys::Layer, Keys::Position].map(|keys| keys.pairs(&function) as u64);
            assert_eq!(pairs, [own, own.min(1)]);
        }
    }

    #[test]
    fn layers_that_pack_their_results_share_a_pair() {
        let mut function = chain(3, 64, "cheetah");
        let packed = Packing::new(&chain(3, 64, "cheetah(pack)"), ValueId(1)).unwrap();
        assert!(packed.levels() > 0 && !Keys::Layer.serve_one(&packed));
        for (packing, pairs) in [(vec![], [3, 1]), (vec![2], [3, 1]), (vec![1, 3], [2, 1]), (vec![1, 2, 3], [1, 1])] {
            for at in 1..4 {
                let family = if packing.contains(&at) { "cheetah(pack)" } else { "cheetah" };
                function.values[at].backend = chain(1, 64, family).values[1].backend;
            }
            assert_eq!([Keys::Layer, Keys::Position].map(|keys| keys.pairs(&function)), pairs, "{packing:?}");
        }
        assert_eq!(Keys::of(&function), Keys::Position, "no layer would have a pair of its own");
    }

    #[test]
    fn choices_are_read_as_they_are_written() {
        for keys in [Keys::Layer, Keys::Position] {
            assert_eq!(keys.to_string().parse(), Ok(keys));
        }
        assert!("none".parse::<Keys>().unwrap_err().contains("neither layer nor position"));
    }

    #[test]
    fn by_default_it_adds_one_per_cent_at_most() {
        let mut seen = [0, 0];
        for (convs, channels) in [(1, 1), (2, 1), (2, 64), (2, 512), (3, 512), (3, 2048), (9, 64), (9, 2048)] {
            let function = chain(convs, channels, "cheetah");
            let [layer, position] = [Keys::Layer, Keys::Position].map(|keys| bytes(&function, keys));
            let cheap = 100 * (layer - position) <= position;
            assert_eq!(Keys::of(&function) == Keys::Layer, cheap, "{convs} of {channels}: {layer}, {position}");
            seen[usize::from(cheap)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 1), "{seen:?}");
        // Nothing has a pair of its own: then there is none.
        assert_eq!(Keys::of(&chain(2, 512, "crypt_flow2-ot")), Keys::Position);
        assert_eq!(Keys::of(&chain(1, 512, "crypt_flow2-he")), Keys::Position);
    }
}
