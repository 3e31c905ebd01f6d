//! What steps share: what is set up once for a session, and once for each position.

use fusion_ir::Party;

use crate::cheetah::interleaved;
use crate::rlwe::public_keys;
use crate::{Cost, Keys, Primitive, Step, crypt_flow2};

/// What the steps of a function need besides their own messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedSetup {
    /// A public key for each position: there are layers of the `cheetah` family without one of
    /// their own that are not computed ahead.
    pub public_keys: bool,
    /// The most levels of [output packing](interleaved) that one of those layers has: keys of so
    /// many for each position.
    pub levels: u32,
    /// The same of layers that are computed [ahead](Step::masked), if there are any. They share a
    /// pair of their own if it is not 0.
    pub ahead: Option<u32>,
    /// The extensions of the `crypt_flow2` family, once for a session.
    pub extensions: bool,
    /// Keys of packed ciphertexts for each position, with rotations by these steps, if there are
    /// such layers.
    pub rotations: Option<Vec<usize>>,
}

impl SharedSetup {
    /// What these steps need with these keys.
    pub fn of<'s>(steps: impl IntoIterator<Item = &'s Step>, keys: Keys) -> SharedSetup {
        let mut shared = SharedSetup::default();
        let mut slots = Vec::new();
        for step in steps {
            match (step.masked(keys), step.levels()) {
                (Some(packing), _) => shared.ahead = shared.ahead.max(Some(packing.levels())),
                (None, Some(levels)) => {
                    shared.public_keys |= !keys.serve_one(levels);
                    shared.levels = levels.max(shared.levels);
                }
                (None, None) => {}
            }
            shared.extensions |= step.extends();
            slots.extend(step.slots());
        }
        shared.rotations = (!slots.is_empty()).then(|| crypt_flow2::he::steps(slots));
        shared
    }

    /// The messages of setting up a session's layers, before any position. Its generator sets up as
    /// its [source](crate::ot::OtSource::setup) does.
    pub fn once(&self) -> Cost {
        if self.extensions { crypt_flow2::ot::setup() } else { Cost::default() }
    }

    /// The messages that begin a micro-batch: the client's keys for each position, as far as layers
    /// share any.
    pub fn begin(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        if self.public_keys {
            cost.then(&public_keys(positions));
        }
        if self.levels > 0 {
            (0..positions).for_each(|_| cost.send(Party::Client, interleaved::key_bytes(self.levels) as u64));
            let keys = positions * self.levels as usize * interleaved::KEYS_PER_LEVEL;
            cost.compute(Primitive::Ciphertext, keys as u64);
        }
        if let Some(rotations) = &self.rotations {
            let bytes = crypt_flow2::he::key_bytes(rotations.len());
            (0..positions).for_each(|_| cost.send(Party::Client, bytes as u64));
            let polynomials = positions * bytes / crypt_flow2::he::POLYNOMIAL_BYTES;
            cost.compute(Primitive::PackedKey, polynomials as u64);
        }
        cost
    }

    /// The messages that begin a micro-batch's layers on masks, on their own channel, likewise.
    pub fn begin_ahead(&self, positions: usize) -> Cost {
        let levels = self.ahead.unwrap_or(0);
        SharedSetup { public_keys: levels > 0, levels, ..SharedSetup::default() }.begin(positions)
    }
}

/// By default, pairs of layers' own add at most one in so many bytes to a position.
const LEAST_SHARE: u64 = 100;

impl Keys {
    /// What parties use unless there is a reason to compute layers ahead. [`Keys::Layer`] if it
    /// gives any layer a pair of its own and adds at most 1 % to what one position sends both ways,
    /// correlations not counted; so it follows from the plan alone.
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
        let shared = SharedSetup::of(steps, self);
        own + usize::from(shared.public_keys) + usize::from(shared.ahead.is_some_and(|levels| levels > 0))
    }

    /// Whether a step is a layer with a key pair of its own.
    pub fn own(self, step: &Step) -> bool {
        step.levels().is_some_and(|levels| self.serve_one(levels))
    }
}

#[cfg(test)]
mod tests {
    use fusion_ir::{Function, ValueId};

    use super::*;
    use crate::rlwe::PUBLIC_KEY_BYTES;
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
