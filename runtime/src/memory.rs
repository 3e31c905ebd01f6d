//! How much memory a run takes, forecast from the plan: what each layer keeps while it runs, and
//! the shares that wait for later layers.
//!
//! A run's peak is that of its largest layer, and what is there all the time: the inputs, the
//! server's workspace and the largest layer's weights, the generator of correlations and the pads
//! that it has in store. Of streams side by side each has its own. What the system's allocator
//! keeps to itself is not in it.

mod ahead;

use fusion_backends::cheetah::linear::workspace_bytes;
use fusion_backends::ot::Generator;
use fusion_catalogue::cheetah::{Packing, interleaved};
use fusion_catalogue::compare::WAVE;
use fusion_catalogue::crypt_flow2::he;
use fusion_catalogue::ot::{Ferret, OtCount, Ots};
use fusion_catalogue::rlwe::{DEGREE, PRIMES, PUBLIC_KEY_BYTES};
use fusion_catalogue::step::{Linear, Product};
use fusion_catalogue::{Keys, Schedule, Step, Steps};
use fusion_ir::{Party, WeightId};

use self::ahead::Masks;
use crate::fusion::inputs;
use crate::session::{BatchSize, Offline};
use crate::{Error, Setting};

/// What either party's process may take unless its user says otherwise.
pub const LIMIT_BYTES: u64 = 4_000_000_000;

/// An element of a share, an input or a weight.
const WORD_BYTES: u64 = 8;
/// What a process takes before it does anything: its code, its threads.
pub const PROCESS_BYTES: u64 = 12 << 20;
/// What a comparison keeps of an element of its wave beside pads: the bits of shares, generate and
/// propagate, or the leaves' message.
const COMPARED_BYTES: u64 = 24;
/// What a generator of correlations works with: the rows that silent OT's rounds use up in both
/// directions, those of one's next round, and messages and the draw being made.
const GENERATOR_BYTES: u64 = 3 * 16 * Ferret::B12.base_rows() + (7 << 20);
/// What OT extension works with in both directions, at most, and for each byte of pads, of which an
/// OT has a quarter at least.
const EXTENSION_BYTES: u64 = 2 * (5 << 20);
const EXTENSION_BYTES_PER_PAD: u64 = 4 * 21;
/// An RLWE key pair, by party: the client's secret and public key and the message with the latter;
/// the message and what the server reads.
const PAIR_BYTES: [u64; 2] =
    [SPECTRUM_BYTES + 2 * PUBLIC_KEY_BYTES as u64, 2 * SPECTRUM_BYTES + PUBLIC_KEY_BYTES as u64];
/// A transformed polynomial.
const SPECTRUM_BYTES: u64 = (PRIMES.len() * DEGREE) as u64 * WORD_BYTES;
/// A layer's weight: its element, and what is read of the file.
const WEIGHT_BYTES: u64 = 8 + 2;

/// What the layers of a function take.
#[derive(Clone, Debug)]
pub struct Memory {
    layers: Vec<Layer>,
    /// Elements of the weights of the layer with most.
    weights: u64,
    /// Pads of all layers for one position, by party.
    pads: Pads,
    /// An input by its elements, and as it waits for its turn.
    input: u64,
    waiting_input: u64,
    /// Of packed ciphertexts at the server: one position's keys, and its rotated operands in the
    /// largest layer.
    packed: [u64; 2],
    /// Of [`Keys::ALL`].
    pairs: [Pairs; Keys::ALL.len()],
    /// Linear layers on masks, by party.
    masks: [Masks; 2],
}

/// Key pairs of one position that there are at the same time.
#[derive(Clone, Copy, Debug)]
struct Pairs {
    keys: Keys,
    count: u64,
    /// Keys for output packing at the server, with what waits for them.
    packing: u64,
    /// What the client sends of them at once, before any layer.
    messages: u64,
}

#[derive(Clone, Debug)]
struct Layer {
    /// Elements of all shares that are alive while it runs, its result's included.
    alive: u64,
    result: u64,
    kind: Kind,
    /// Whether it may be computed on a mask.
    goes_ahead: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A linear layer.
    Linear(Linear),
    /// Products of shared matrices.
    Product(Product),
    /// A comparison.
    Compared(Compared),
    Local,
}

/// What a comparison of one position takes.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// Elements that are compared together, and how often as many, one after the other.
    elements: u64,
    turns: u64,
    /// Pads of all that it draws, by party.
    pads: Pads,
}

/// Bytes of pads by party, and of a session with layers ahead.
#[derive(Clone, Copy, Debug, Default)]
struct Pads {
    usual: [u64; 2],
    ahead: [u64; 2],
}

impl Memory {
    /// Reads off a function's steps what its layers take.
    pub fn new(steps: &Steps) -> Memory {
        let function = steps.function();
        let last_uses = function.last_uses();
        let len = |id: fusion_ir::ValueId| function.value(id).ty.len() as u64;
        let (mut layers, mut alive) = (Vec::new(), 0);
        for (id, value) in function.iter() {
            alive += len(id);
            let operand = value.operands.first().map_or(0, |operand| len(*operand));
            let kind = match steps.get(id) {
                Step::Linear(linear) => Kind::Linear(linear.clone()),
                Step::Product(product) => Kind::Product(product.clone()),
                Step::Local(_) => Kind::Local,
                step @ (Step::Compare(_) | Step::Reveal(_)) => {
                    let result = len(id);
                    let pads = Pads::of(step);
                    let (elements, turns) = match step {
                        Step::Compare(compare) => compare.operation.together(operand, result),
                        _ => (operand.max(result), 1),
                    };
                    Kind::Compared(Compared { elements: elements.max(1), turns, pads })
                }
            };
            let goes_ahead = steps.get(id).masked(Keys::Ahead).is_some();
            layers.push(Layer { alive, result: len(id), kind, goes_ahead });
            let mut dropped: Vec<_> =
                value.operands.iter().filter(|operand| last_uses[operand.index()] == id).collect();
            dropped.sort();
            dropped.dedup();
            alive -= dropped.into_iter().map(|operand| len(*operand)).sum::<u64>();
        }
        let elements = |id: WeightId| function.weight(id).shape.iter().product::<usize>() as u64;
        let of_layer = function.values.iter().map(|value| value.op.weights().map(elements).sum::<u64>());
        let weights = of_layer.max().unwrap_or(0);
        let pads = layers.iter().fold(Pads::default(), |sum, layer: &Layer| sum.and(layer.pads()));
        let input = function.values.first().map_or(0, |value| value.ty.len() as u64);
        let waiting_input = function.values.first().map_or(0, |value| inputs::memory_bytes(&value.ty, 1));
        let pairs = Keys::ALL.map(|keys| Pairs::of(steps, keys));
        let rotations = steps.shared(Keys::Position).rotations;
        let rotations = rotations.map_or(0, |rotations| he::key_memory_bytes(rotations.len()));
        let operands = steps.iter().filter_map(Step::slots).map(he::Slots::operand_memory_bytes);
        let packed = [rotations, operands.max().unwrap_or(0)];
        let masks = [Party::Client, Party::Server].map(|party| Masks::of(steps, party));
        Memory { layers, weights, pads, input, waiting_input, packed, pairs, masks }
    }

    /// The most bytes that `party`'s process takes at once for a batch of `size`.
    pub fn peak_bytes(&self, party: Party, size: BatchSize) -> u64 {
        PROCESS_BYTES + self.session_bytes(party, size)
    }

    /// What a batch of `size` adds to that of a process which runs others, too.
    pub fn session_bytes(&self, party: Party, size: BatchSize) -> u64 {
        let Schedule { positions, micro_batch, streams } = size.schedule;
        let (micro_batch, streams) = (u64::from(micro_batch), u64::from(streams));
        // One for layers on masks, which are beside the others, and one for these.
        let mut workspaces = [[0; 3]; 2];
        let (mut most, mut wave) = (0, 0);
        for layer in &self.layers {
            if party == Party::Server {
                let workspace = &mut workspaces[usize::from(layer.goes_ahead && size.keys == Keys::Ahead)];
                for (packing, positions) in layer.kind.packings(micro_batch as usize) {
                    let own = workspace_bytes(packing, positions);
                    workspace.iter_mut().zip(own).for_each(|(most, own)| *most = own.max(*most));
                }
            }
            most = most.max(layer.bytes(party, micro_batch));
            wave = wave.max(layer.wave_bytes(party, micro_batch, size.keys));
        }
        // What a wave has used is in small pieces, which the allocator keeps for the next one.
        let mut stream = most + wave + workspaces.iter().flatten().sum::<u64>();
        for pairs in self.pairs.iter().filter(|pairs| pairs.keys == size.keys) {
            let packing = if party == Party::Client { pairs.messages } else { pairs.packing };
            stream += micro_batch * (pairs.count * PAIR_BYTES[party as usize] + packing);
        }
        if party == Party::Server {
            let [keys, operands] = self.packed;
            stream += micro_batch * keys + micro_batch.min(he::POSITIONS_AT_ONCE as u64) * operands;
        }
        if size.keys == Keys::Ahead {
            stream += self.masks[party as usize].bytes(micro_batch);
        }
        // The generator is as far ahead as it may be, or done.
        let per_stream = positions.div_ceil(streams.max(1));
        let pads = per_stream * self.pads.of_party(party, size.keys);
        let extension = (EXTENSION_BYTES_PER_PAD * pads).min(EXTENSION_BYTES);
        stream += pads.min(Generator::AHEAD_BYTES as u64) + (pads + extension).min(GENERATOR_BYTES);
        let inputs = match party {
            // No more samples than positions.
            Party::Client => positions * (self.input * WORD_BYTES + self.waiting_input),
            Party::Server => {
                stream += self.weights * WEIGHT_BYTES;
                0
            }
        };
        inputs + streams * stream
    }

    /// The largest micro-batch of at most `most` positions with which `streams` streams of each
    /// party stay within its limit, the client's first, with these keys. Of [`Keys::Layer`] and
    /// [`Keys::Position`], the former never take less.
    ///
    /// # Errors
    /// [`Error::Setting`] if not even one position does; it says what would do.
    pub fn fitting(&self, limits_bytes: [u64; 2], most: u32, streams: u8, keys: Keys) -> Result<u32, Error> {
        let peaks = |micro_batch: u32| {
            let positions = u64::from(micro_batch) * u64::from(streams);
            let size = BatchSize::new(positions, micro_batch, streams, Offline::default(), keys);
            [Party::Client, Party::Server].map(|party| self.peak_bytes(party, size))
        };
        let fit = |micro_batch: u32| peaks(micro_batch).iter().zip(limits_bytes).all(|(peak, limit)| *peak <= limit);
        if let Some((peak, limit)) = peaks(1).into_iter().zip(limits_bytes).find(|(peak, limit)| peak > limit) {
            let [needed, limit] = [peak, limit].map(|bytes| bytes.div_ceil(1_000_000));
            let text = format!("one position at a time takes about {needed} MB, more than the limit of {limit} MB");
            return Err(Error::setting(Setting::Memory { streams }, text));
        }
        let (mut fits, mut too_large) = (1, most.max(1).saturating_add(1));
        while fits + 1 < too_large {
            let middle = fits.midpoint(too_large);
            if fit(middle) { fits = middle } else { too_large = middle }
        }
        Ok(fits)
    }
}

/// A size in bytes, from a number with a unit, as users write it.
///
/// # Errors
/// What a size is.
pub fn size(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let number = |unit: &str| upper.strip_suffix(unit).map(str::trim).and_then(|number| number.parse::<f64>().ok());
    let found = [("GB", 1e9), ("MB", 1e6)].into_iter().find_map(|(unit, bytes)| Some(number(unit)? * bytes));
    match found {
        Some(bytes) if bytes.is_finite() && bytes >= 1.0 => Ok(bytes as u64),
        _ => Err("a size is a number with a unit, 3.5GB or 800MB for example".into()),
    }
}

impl Pads {
    /// Those of one position.
    fn of(step: &Step) -> Pads {
        let bytes = |keys| {
            let draws = step.cost(keys, 1).draws;
            [Party::Client, Party::Server].map(|party| draws.iter().map(|need| pad_bytes(need, party)).sum())
        };
        Pads { usual: bytes(Keys::Position), ahead: bytes(Keys::Ahead) }
    }

    fn of_party(&self, party: Party, keys: Keys) -> u64 {
        let pads = if keys == Keys::Ahead { self.ahead } else { self.usual };
        pads[party as usize]
    }

    /// Both together.
    fn and(self, other: Pads) -> Pads {
        let sum = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        Pads { usual: sum(self.usual, other.usual), ahead: sum(self.ahead, other.ahead) }
    }
}

impl Pairs {
    fn of(steps: &Steps, keys: Keys) -> Pairs {
        let (mut count, shared) = (0, steps.shared(keys));
        let own = |masked| steps.iter().any(|step| keys.own(step) && step.masked(keys).is_some() == masked);
        count += u64::from(own(false)) + u64::from(shared.public_keys);
        // Of layers on masks, those of the one whose results are awaited, and of the next one.
        let levels = [shared.levels, shared.ahead.unwrap_or(0)];
        count += 2 * u64::from(own(true)) + u64::from(levels[1] > 0);
        let of_levels = |of: &dyn Fn(u32) -> u64| levels.into_iter().filter(|levels| *levels > 0).map(of).sum();
        let packing = of_levels(&interleaved::memory_bytes);
        Pairs { keys, count, packing, messages: of_levels(&|levels| interleaved::key_bytes(levels) as u64) }
    }
}

impl Layer {
    /// Pads that it draws for one position.
    fn pads(&self) -> Pads {
        match &self.kind {
            Kind::Compared(compared) => compared.pads,
            _ => Pads::default(),
        }
    }

    /// What it takes beside shares to compare as many elements as are compared at once.
    fn wave_bytes(&self, party: Party, positions: u64, keys: Keys) -> u64 {
        let Kind::Compared(Compared { elements, turns, pads }) = self.kind else { return 0 };
        let at_once = (positions * elements).min(WAVE as u64);
        at_once * COMPARED_BYTES + at_once * pads.of_party(party, keys) / (turns * elements)
    }

    /// What one stream keeps while this layer runs, without the server's workspace and without what
    /// comparing takes.
    fn bytes(&self, party: Party, positions: u64) -> u64 {
        match &self.kind {
            Kind::Local | Kind::Compared(_) => positions * self.alive * WORD_BYTES,
            Kind::Linear(linear) => {
                linear.layer().peak_bytes(party, positions, self.alive * WORD_BYTES, self.result * WORD_BYTES)
            }
            Kind::Product(product) => {
                product.products().peak_bytes(party, positions, self.alive * WORD_BYTES, self.result * WORD_BYTES)
            }
        }
    }
}

impl Kind {
    /// The layers that the server's workspace serves, each with how many positions of a micro-batch
    /// go through it together.
    fn packings(&self, micro_batch: usize) -> Vec<(&Packing, usize)> {
        match self {
            Kind::Linear(Linear::Cheetah(packing)) => vec![(packing, micro_batch)],
            Kind::Product(Product::Cheetah(product)) => {
                product.terms().iter().map(|term| (&*term.packing, 1)).collect()
            }
            Kind::Linear(_) | Kind::Product(_) | Kind::Compared(_) | Kind::Local => Vec::new(),
        }
    }
}

/// What `party` keeps of the pads of one draw.
fn pad_bytes(need: &OtCount, party: Party) -> u64 {
    // A sender keeps both pads of an OT, a receiver one and its choice; tables have more of both.
    let sent = |ots: &Ots| {
        let tables: u64 = ots.tables().map(|(width, n)| (2u64 << width) * n).sum();
        2 * ots.bits + 4 * ots.pairs + 128 * ots.words + tables
    };
    let received = |ots: &Ots| {
        let tables: u64 = ots.tables().map(|(width, n)| (2 + width as u64) * n).sum();
        2 * ots.bits + 3 * ots.pairs + 65 * ots.words + tables
    };
    (sent(&need.received_by(party.peer())) + received(&need.received_by(party))) / 8
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resolve;

    const KEYS: Keys = Keys::Layer;

    fn large() -> Arc<Steps> {
        let mut function = crate::testing::tiny_plan().function;
        for value in &mut function.values[..2] {
            value.ty.shape = vec![1 << 18];
        }
        function.weights[0].shape = vec![3, 1 << 18];
        resolve(&function).unwrap()
    }

    #[test]
    fn more_at_once_takes_more() {
        let memory = Memory::new(&large());
        for party in [Party::Client, Party::Server] {
            let peak = |micro_batch, streams| {
                let (offline, keys) = (Offline::default(), KEYS);
                memory.peak_bytes(party, BatchSize::new(64, micro_batch, streams, offline, keys))
            };
            assert!(peak(1, 1) < peak(8, 1) && peak(8, 1) < peak(8, 2) && peak(8, 2) < peak(16, 2));
            // Nothing is shared between positions but what is there for all of them.
            assert!(peak(16, 1) < 16 * peak(1, 1));
        }
    }

    #[test]
    fn the_micro_batch_is_the_largest_within_the_limit() {
        let memory = Memory::new(&large());
        let peak = |micro_batch: u32, streams: u8| {
            let size = BatchSize::new(
                u64::from(micro_batch) * u64::from(streams),
                micro_batch,
                streams,
                Offline::default(),
                KEYS,
            );
            [Party::Client, Party::Server].map(|party| memory.peak_bytes(party, size)).into_iter().max().unwrap()
        };
        for streams in [1, 2] {
            for micro_batch in [1, 2, 7, 20] {
                let limit = peak(micro_batch, streams);
                assert_eq!(memory.fitting([limit; 2], 64, streams, KEYS).unwrap(), micro_batch);
                assert_eq!(memory.fitting([limit; 2], micro_batch.min(5), streams, KEYS).unwrap(), micro_batch.min(5));
            }
        }
        let error = memory.fitting([1_000_000; 2], 64, 2, KEYS).unwrap_err();
        assert!(error.to_string().contains("more than the limit of 1 MB"), "{error}");
        assert!(matches!(error, Error::Setting { setting: Setting::Memory { streams: 2 }, .. }));
        assert_eq!(memory.fitting([u64::MAX; 2], 64, 2, KEYS).unwrap(), 64);
    }

    #[test]
    fn sizes_have_units() {
        for (text, found) in [("4GB", 4_000_000_000), ("3.5gb", 3_500_000_000), ("800 MB", 800_000_000)] {
            assert_eq!(size(text), Ok(found));
        }
        for text in ["", "4", "GB", "-1GB", "0MB", "infGB", "nanMB", "1KB", "4GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    /// Which protocol carries a layer decides whether it fits and what it takes, not what another
    /// one would do with it.
    #[test]
    fn every_linear_layer_is_measured_by_its_own_protocol() {
        let dense = |backend: &str| {
            let text = format!(
                "function \"f\"\nweight @w0 \"w\" : i16.0[3,60000]\nv0 = input : i34.0~19[60000] \"\"\n\
                 v1 = dense v0, @w0 : i34.0~33[3] by {backend} \"fc\"\n"
            );
            resolve(&fusion_ir::text::parse(&text).unwrap()).map(|steps| Memory::new(&steps))
        };
        let refused = dense("cheetah").unwrap_err().to_string();
        assert!(refused.contains("fc") && refused.contains("too noisy"), "{refused}");
        let memory = dense("crypt_flow2-ot").unwrap();
        let peak = |micro_batch| {
            let (offline, keys) = (Offline::default(), KEYS);
            let size = BatchSize::new(64, micro_batch, 1, offline, keys);
            memory.peak_bytes(Party::Server, size) as usize
        };
        // All weights' bits for one position: every one an OT, with a vector of one word.
        assert!((60_000 * 3 * 16 * 16..256 << 20).contains(&peak(1)), "{}", peak(1));
        assert!(peak(1) < peak(64) && memory.fitting([LIMIT_BYTES; 2], 64, 2, KEYS).unwrap() == 64);

        let window = |backend: &str| {
            let text = format!(
                "function \"f\"\nweight @w0 \"w\" : i8.0[3,1,66,66]\nv0 = input : i28.0~9[1,66,66] \"\"\n\
                 v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : \
                 i28.0~27[3,1,1] by {backend} \"all\"\n"
            );
            resolve(&fusion_ir::text::parse(&text).unwrap()).map(|_| ())
        };
        assert!(window("cheetah").unwrap_err().to_string().contains("4096"));
        window("crypt_flow2-ot").unwrap();
    }

    /// Messages and shares grow with the micro-batch; of the server's workspace, one position's is
    /// there.
    #[test]
    fn products_of_matrices_are_worked_off_position_by_position() {
        let function = |backend: &str| {
            let text = format!(
                "function \"f\"\nv0 = input : i30.0~9[2,64,64] \"\"\nv1 = mat_mul v0, v0 : i30.0~29[2,64,64] by {backend} \"\"\n"
            );
            Memory::new(&resolve(&fusion_ir::text::parse(&text).unwrap()).unwrap())
        };
        let peak = |memory: &Memory, party, micro_batch| {
            let (offline, keys) = (Offline::default(), KEYS);
            memory.peak_bytes(party, BatchSize::new(64, micro_batch, 1, offline, keys))
        };
        for backend in ["cheetah", "cheetah(pack)"] {
            let memory = function(backend);
            let Kind::Product(Product::Cheetah(product)) = &memory.layers[1].kind else { panic!("{backend}") };
            for (party, bytes) in [
                (Party::Client, product.upload_bytes()),
                (Party::Server, product.upload_bytes() + product.download_bytes()),
            ] {
                let [one, eight] = [1, 8].map(|micro_batch| peak(&memory, party, micro_batch));
                assert!((eight - one) as usize > 7 * bytes, "{backend} {party:?}");
            }
            let packings = memory.layers[1].kind.packings(8);
            assert!(packings.len() == 2 && packings.iter().all(|(_, positions)| *positions == 1));
        }
    }

    #[test]
    fn key_pairs_count_as_many_as_there_are_at_a_time() {
        let layers = |second: &str| {
            let ty = "i28.0~9[64,14,14]";
            let conv = "@w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1";
            fusion_ir::text::parse(&format!(
                "function \"f\"\nweight @w0 \"w\" : i8.0[64,64,1,1]\nv0 = input : {ty} \"\"\n\
                 v1 = conv v0, {conv} : {ty} by cheetah \"\"\nv2 = conv v1, {conv} : {ty} by {second} \"\"\n"
            ))
            .unwrap()
        };
        for (second, more) in [("cheetah", 0), ("cheetah(pack)", 1)] {
            let memory = Memory::new(&resolve(&layers(second)).unwrap());
            for party in [Party::Client, Party::Server] {
                let [layer, position] = [Keys::Layer, Keys::Position].map(|keys| {
                    let offline = Offline::default();
                    memory.peak_bytes(party, BatchSize::new(8, 4, 2, offline, keys))
                });
                assert_eq!(layer - position, more * 2 * 4 * PAIR_BYTES[party as usize], "{second} {party:?}");
            }
        }
    }

    /// What is made ahead and waits, another workspace beside that of the micro-batch, and pairs of
    /// the layer before: the more the larger it is, and so fewer fit.
    #[test]
    fn layers_ahead_take_more_and_fewer_positions_fit() {
        let mixed = "function \"f\"\nweight @w0 \"w\" : i8.0[64,64,1,1]\nv0 = input : i26.0~9[64,8,8] \"\"\n\
                     v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : \
                     i26.0~18[64,8,8] by cheetah \"\"\nv2 = mat_mul v0, v0 : i26.0~18[64,8,8] by cheetah \"\"\n";
        let mixed = resolve(&fusion_ir::text::parse(mixed).unwrap()).unwrap();
        // A product has a pair of its own, beside those of layers that go ahead.
        assert_eq!(Keys::ALL.map(|keys| Pairs::of(&mixed, keys).count), [1, 1, 3]);
        let both = [Party::Client, Party::Server];
        for steps in [large(), mixed] {
            let memory = Memory::new(&steps);
            let peak = |party, micro_batch: u32, streams: u8, keys| {
                let positions = u64::from(micro_batch) * u64::from(streams);
                let size = BatchSize::new(positions, micro_batch, streams, Offline::default(), keys);
                memory.peak_bytes(party, size)
            };
            for party in both {
                for streams in [1, 2] {
                    let [layer, ahead] = [Keys::Layer, Keys::Ahead].map(|keys| peak(party, 4, streams, keys));
                    let packing = steps.iter().find_map(|step| step.masked(Keys::Ahead)).unwrap();
                    // At least masks or sums that wait, and one more pair for each position.
                    let made = 4 * packing.geometry().output_len() as u64 * WORD_BYTES;
                    let more = u64::from(streams) * (made + 4 * PAIR_BYTES[party as usize]);
                    assert!(ahead >= layer + more, "{party:?}: {ahead} bytes, {layer} in the other order");
                }
                assert!(peak(party, 1, 1, Keys::Ahead) < peak(party, 8, 1, Keys::Ahead));
            }
            let limits = both.map(|party| peak(party, 4, 1, Keys::Ahead));
            let fitting = |keys| memory.fitting(limits, 64, 1, keys).unwrap();
            assert_eq!(fitting(Keys::Ahead), 4);
            assert!(fitting(Keys::Layer) > 4);
        }
    }

    #[test]
    fn a_share_counts_until_its_last_reader() {
        let function = fusion_ir::text::parse(
            "function \"f\"\nv0 = input : i8.0~4[100] \"\"\nv1 = scale v0 factor=3 : i8.0~6[100] \"\"\n\
             v2 = scale v1 factor=2 : i8.0~7[100] \"\"\nv3 = add v0, v2 : i8.0~7[100] \"\"\n\
             v4 = truncate v3 : i4.0~3[100] \"\"\n",
        )
        .unwrap();
        let memory = Memory::new(&resolve(&function).unwrap());
        let alive: Vec<u64> = memory.layers.iter().map(|layer| layer.alive).collect();
        assert_eq!(alive, [100, 200, 300, 300, 200]);
    }
}
