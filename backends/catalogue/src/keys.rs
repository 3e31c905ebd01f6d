//! Which layers of a position share a key pair of the `cheetah` family.
//!
//! The secret of a pair that serves one layer only has encrypted everything it ever will before the client decrypts
//! anything under it. Of layers that share a pair, a later one's operand may depend on what an earlier one's decryption
//! gave, hence on the secret. So pairs of layers' own spare an assumption on key-dependent messages; they cost the bytes of
//! a public key for every layer. Keys for output packing are large: layers that pack their results share the position's pair.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::linear::Packing;
use crate::{SharedSetup, Step};

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
    pub fn of<'s>(steps: impl IntoIterator<Item = &'s Step> + Clone) -> Keys {
        if !steps.clone().into_iter().any(|step| Keys::Layer.own(step)) {
            return Keys::Position;
        }
        let bytes = |keys| {
            let begin = SharedSetup::of(steps.clone(), keys).begin(1).both_ways();
            begin + steps.clone().into_iter().map(|step| step.cost(keys, 1).both_ways()).sum::<u64>()
        };
        let [by_layer, by_position] = [Keys::Layer, Keys::Position].map(bytes);
        match by_layer.saturating_sub(by_position) <= by_position / LEAST_SHARE {
            true => Keys::Layer,
            false => Keys::Position,
        }
    }

    /// How many pairs a position has.
    pub fn pairs<'s>(self, steps: impl IntoIterator<Item = &'s Step> + Clone) -> usize {
        let own = steps.clone().into_iter().filter(|step| self.own(step)).count();
        own + usize::from(SharedSetup::of(steps, self).public_keys)
    }

    /// Whether a step is a layer with a key pair of its own.
    pub fn own(self, step: &Step) -> bool {
        step.packing().is_some_and(|packing| self.serve_one(packing))
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
    use fusion_ir::{Function, ValueId};

    use super::*;
    use crate::linear::PUBLIC_KEY_BYTES;
    use crate::{FRAME_HEADER_BYTES, Steps};

    /// `convs` pointwise convolutions of so many channels on 16x16 pixels, one after the other.
    fn function(convs: usize, channels: usize, backend: &str) -> Function {
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

    fn chain(convs: usize, channels: usize, backend: &str) -> Steps {
        Steps::of(&function(convs, channels, backend)).unwrap()
    }

    fn bytes(steps: &Steps, keys: Keys) -> u64 {
        steps.costs(keys, 1).iter().map(|cost| cost.both_ways()).sum()
    }

    #[test]
    fn a_pair_for_every_layer_is_one_public_key_each() {
        for (convs, backend, own) in [(1, "cheetah", 1), (5, "cheetah", 5), (5, "crypt_flow2-ot", 0)] {
            let steps = &chain(convs, 4, backend);
            let [layer, position] = [Keys::Layer, Keys::Position].map(|keys| bytes(steps, keys));
            let one = PUBLIC_KEY_BYTES as u64 + FRAME_HEADER_BYTES;
            assert_eq!(layer - position, u64::saturating_sub(own, 1) * one, "{convs} {backend}");
            assert_eq!(steps.iter().filter(|step| Keys::Layer.own(step)).count() as u64, own);
            assert!(steps.iter().all(|step| !Keys::Position.own(step)));
            let pairs = [Keys::Layer, Keys::Position].map(|keys| keys.pairs(steps) as u64);
            assert_eq!(pairs, [own, own.min(1)]);
        }
    }

    #[test]
    fn layers_that_pack_their_results_share_a_pair() {
        let mut function = function(3, 64, "cheetah");
        let packed = chain(3, 64, "cheetah(pack)");
        let packed = packed.get(ValueId(1));
        assert!(packed.packing().unwrap().levels() > 0 && !Keys::Layer.own(packed));
        for (packing, pairs) in [(vec![], [3, 1]), (vec![2], [3, 1]), (vec![1, 3], [2, 1]), (vec![1, 2, 3], [1, 1])] {
            for at in 1..4 {
                let family = if packing.contains(&at) { "cheetah(pack)" } else { "cheetah" };
                function.values[at].backend = self::function(1, 64, family).values[1].backend;
            }
            let steps = Steps::of(&function).unwrap();
            assert_eq!([Keys::Layer, Keys::Position].map(|keys| keys.pairs(&steps)), pairs, "{packing:?}");
        }
        assert_eq!(Keys::of(&Steps::of(&function).unwrap()), Keys::Position, "no layer would have a pair of its own");
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
            let steps = &chain(convs, channels, "cheetah");
            let [layer, position] = [Keys::Layer, Keys::Position].map(|keys| bytes(steps, keys));
            let cheap = 100 * (layer - position) <= position;
            assert_eq!(Keys::of(steps) == Keys::Layer, cheap, "{convs} of {channels}: {layer}, {position}");
            seen[usize::from(cheap)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 1), "{seen:?}");
        // Nothing has a pair of its own: then there is none.
        assert_eq!(Keys::of(&chain(2, 512, "crypt_flow2-ot")), Keys::Position);
        assert_eq!(Keys::of(&chain(1, 512, "crypt_flow2-he")), Keys::Position);
    }
}
