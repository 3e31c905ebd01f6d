//! Forecasts of time: the exact messages on a [`Network`], and in between the computations on a [`Machine`].
//!
//! A session is played message by message: who waits for whom, and when the link's two directions and the processors are free.
//! What a layer computes is taken to happen before its first message, at both parties and for all of its
//! processors: where the parties take turns their times add up, so it does not matter when, and where they compute at once
//! the machine's profile counts both as one. Streams that are in flight together compute one after the other.

use fusion_ir::{Function, Party};

use crate::ot::{Stock, Supply};
use crate::{Cost, FRAME_HEADER_BYTES, Machine, Network, begin, layer, linear, setup};

/// One stream alone: when the parties are done with everything so far.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    shared: Shared,
    stream: Ready,
}

/// What one layer takes on all its micro-batches, from when its stream reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerTime {
    /// Seconds in all, waiting for other streams included.
    pub seconds: f64,
    /// Seconds of it that are computation.
    pub computing_s: f64,
}

/// What a session takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionTime {
    /// Seconds in all, set-up included.
    pub seconds: f64,
    /// Seconds of it before the first micro-batch can begin.
    pub setup_s: f64,
    /// For each value of the function, over all micro-batches.
    pub layers: Vec<LayerTime>,
}

/// How a batch goes through the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Positions in all.
    pub positions: usize,
    /// Most positions that go through the layers together, at least 1.
    pub micro_batch: usize,
    /// Micro-batches in flight, at least 1.
    pub streams: usize,
}

impl Clock {
    /// Both parties begin at zero.
    pub fn new(network: Network) -> Clock {
        Clock { shared: Shared::new(network), stream: Ready::default() }
    }

    /// Seconds until the later party is done.
    pub fn seconds(&self) -> f64 {
        self.stream.both()
    }

    /// Both parties compute for `computing_s` seconds and exchange the messages of `cost`; how much later it is.
    pub fn run(&mut self, cost: &Cost, computing_s: f64) -> f64 {
        let before = self.seconds();
        steps(cost, computing_s).iter().for_each(|step| self.shared.take(step, &mut self.stream));
        self.seconds() - before
    }
}

/// What a batch takes.
///
/// # Errors
/// If the protocols cannot carry a layer.
pub fn session(
    function: &Function,
    flow: Flow,
    machine: &Machine,
    network: Network,
) -> Result<SessionTime, linear::Unsupported> {
    let Flow { positions, micro_batch, streams } = flow;
    let (micro_batch, streams) = (micro_batch.max(1), streams.max(1));
    let supply = supply(function, flow)?;
    let (stock, first_rounds) = Stock::begun(supply);
    let parts = |size| parts(function, size, machine, stock.clone());
    let [whole, rest] = [micro_batch, positions % micro_batch].map(parts);
    let (whole, rest) = (whole?, rest?);
    let mut time = SessionTime { layers: vec![LayerTime::default(); function.values.len()], ..SessionTime::default() };
    let mut shared = Shared::new(network);
    let count = positions.div_ceil(micro_batch);
    let batch = |index: usize| if (index + 1) * micro_batch <= positions { &whole } else { &rest };
    let mut running: Vec<Running> = (0..streams.min(count.max(1))).map(Running::new).collect();
    let mut setup = setup(function);
    setup.then(&supply.setup());
    setup.then(&first_rounds);
    let setup_steps = steps(&setup, machine.seconds(&setup));
    for stream in &mut running {
        setup_steps.iter().for_each(|step| shared.take(step, &mut stream.ready));
    }
    time.setup_s = running.iter().map(|stream| stream.ready.both()).fold(f64::INFINITY, f64::min);
    let unfinished = |stream: &&mut Running| stream.batch < count;
    while let Some(stream) = running.iter_mut().filter(unfinished).min_by(|a, b| a.next().total_cmp(&b.next())) {
        let parts = batch(stream.batch);
        let part = &parts[stream.part];
        if stream.step == 0 {
            stream.began = stream.ready.both();
        }
        if let Some(step) = part.steps.get(stream.step) {
            shared.take(step, &mut stream.ready);
            stream.step += 1;
        }
        if stream.step == part.steps.len() {
            if let Some(layer) = part.layer {
                time.layers[layer].seconds += stream.ready.both() - stream.began;
                time.layers[layer].computing_s += part.computing_s;
            }
            (stream.part, stream.step) = (stream.part + 1, 0);
        }
        if stream.part == parts.len() {
            (stream.batch, stream.part) = (stream.batch + streams, 0);
        }
    }
    time.seconds = running.iter().map(|stream| stream.ready.both()).fold(0.0, f64::max);
    Ok(time)
}

/// When each party of a stream could go on.
#[derive(Clone, Copy, Debug, Default)]
struct Ready([f64; 2]);

impl Ready {
    fn both(&self) -> f64 {
        self.0[0].max(self.0[1])
    }
}

/// What all streams share, by when it is free.
#[derive(Clone, Copy, Debug)]
struct Shared {
    network: Network,
    /// By sender.
    link: [f64; 2],
    processors: f64,
}

/// What happens next in a stream.
enum Step {
    Compute(f64),
    Send(Party, u64),
    Exchange([u64; 2]),
}

/// Consecutive steps of a micro-batch.
struct Part {
    /// The layer they are of; `None` for the keys.
    layer: Option<usize>,
    computing_s: f64,
    steps: Vec<Step>,
}

/// A stream on its way: which micro-batch, part and step come next.
struct Running {
    ready: Ready,
    batch: usize,
    part: usize,
    step: usize,
    began: f64,
}

impl Running {
    fn new(first: usize) -> Running {
        Running { ready: Ready::default(), batch: first, part: 0, step: 0, began: 0.0 }
    }

    /// When it could take its next step.
    fn next(&self) -> f64 {
        self.ready.0[0].min(self.ready.0[1])
    }
}

impl Shared {
    fn new(network: Network) -> Shared {
        Shared { network, link: [0.0; 2], processors: 0.0 }
    }

    fn take(&mut self, step: &Step, stream: &mut Ready) {
        match *step {
            // Nothing is waited for.
            Step::Compute(0.0) => {}
            Step::Compute(seconds) => {
                stream.0.iter_mut().for_each(|ready| *ready = ready.max(self.processors) + seconds);
                self.processors = stream.0[0].min(stream.0[1]);
            }
            Step::Send(from, bytes) => {
                let arrival = self.send(from, bytes, stream);
                let receiver = &mut stream.0[from.peer() as usize];
                *receiver = receiver.max(arrival);
            }
            Step::Exchange(bytes) => {
                let parties = [Party::Client, Party::Server];
                let arrivals = parties.map(|from| self.send(from, bytes[from as usize], stream));
                for from in parties {
                    let receiver = &mut stream.0[from.peer() as usize];
                    *receiver = receiver.max(arrivals[from as usize]);
                }
            }
        }
    }

    /// Puts a message on the link; when it arrives.
    fn send(&mut self, from: Party, bytes: u64, stream: &Ready) -> f64 {
        let free = &mut self.link[from as usize];
        *free = free.max(stream.0[from as usize]) + bytes as f64 * self.network.seconds_per_byte();
        *free + self.network.rtt_s() / 2.0
    }
}

/// Where the correlations of each stream come from, if all draw alike.
fn supply(function: &Function, flow: Flow) -> Result<Supply, linear::Unsupported> {
    let mut tiles = [0; 2];
    for (id, _) in function.iter() {
        let one = layer(function, id, flow.micro_batch)?.tiles();
        tiles = [tiles[0] + one[0], tiles[1] + one[1]];
    }
    let times = flow.positions.div_ceil(flow.micro_batch.max(1)).div_ceil(flow.streams.max(1));
    Ok(Supply::for_demand(tiles.map(|tiles| tiles * times as u64)))
}

/// A micro-batch of `positions`, keys first. Correlations are made out of `stock`, before the layer that needs them.
fn parts(
    function: &Function,
    positions: usize,
    machine: &Machine,
    mut stock: Stock,
) -> Result<Vec<Part>, linear::Unsupported> {
    let part = |layer, cost: &Cost| {
        let computing_s = machine.seconds(cost);
        Part { layer, computing_s, steps: steps(cost, computing_s) }
    };
    let mut parts = vec![part(None, &begin(function, positions))];
    for (id, _) in function.iter() {
        let cost = layer(function, id, positions)?.with_generator(&mut stock);
        parts.push(part(Some(id.index()), &cost));
    }
    Ok(parts)
}

fn steps(cost: &Cost, computing_s: f64) -> Vec<Step> {
    let mut steps = vec![Step::Compute(computing_s)];
    let mut exchanges = cost.exchanges.iter().peekable();
    let mut messages = cost.messages.iter().enumerate();
    while let Some((place, message)) = messages.next() {
        let bytes = message.payload_bytes + FRAME_HEADER_BYTES;
        // In an exchange the server's message is the next one and leaves before the client's has arrived.
        let exchanged = exchanges.next_if(|other| **other == place + 1).and_then(|_| messages.next());
        steps.push(match exchanged {
            Some((_, other)) => Step::Exchange([bytes, other.payload_bytes + FRAME_HEADER_BYTES]),
            None => Step::Send(message.from, bytes),
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte takes a microsecond, the way ten milliseconds.
    const NETWORK: Network = Network { mbit_per_s: 8.0, rtt_ms: 20.0 };

    fn close(found: f64, expected_ms: f64) {
        assert!((found * 1e3 - expected_ms).abs() < 1e-6, "{found} s, {expected_ms} ms expected");
    }

    #[test]
    fn a_question_and_its_answer_take_a_round_trip_and_an_exchange_half_of_one() {
        let mut question = Cost::default();
        question.send(Party::Client, 1000 - 8);
        question.send(Party::Server, 3000 - 8);
        close(Clock::new(NETWORK).run(&question, 0.5), 500.0 + 1.0 + 10.0 + 3.0 + 10.0);
        let mut exchange = Cost::default();
        exchange.exchange([1000 - 8, 3000 - 8]);
        close(Clock::new(NETWORK).run(&exchange, 0.5), 500.0 + 3.0 + 10.0);
        exchange.then(&exchange.clone());
        // The server, which received earlier, answers earlier: a short and a long message make one round trip.
        close(Clock::new(NETWORK).run(&exchange, 0.0), (1.0 + 10.0) + (3.0 + 10.0));
    }

    #[test]
    fn messages_one_way_share_the_link_and_nobody_waits() {
        let mut stream = Cost::default();
        (0..5).for_each(|_| stream.send(Party::Server, 1000 - 8));
        let mut clock = Clock::new(NETWORK);
        close(clock.run(&stream, 0.0), 5.0 + 10.0);
        // The server is still at zero, but the link is not free before.
        close(clock.run(&stream, 0.0), 5.0);
    }

    #[test]
    fn a_session_is_its_set_up_and_its_micro_batches() {
        let function = fusion_ir::text::parse(
            "function \"f\"\nweight @w0 \"w\" : i8.0[4,64]\nv0 = input : i16.0~9[64] \"\"\n\
             v1 = relu v0 : i16.0~9+[64] \"\"\nv2 = dense v1, @w0 : i16.0~14[4] \"\"\n",
        )
        .unwrap();
        let machine = Machine::default();
        let of = |positions, micro_batch, streams| {
            session(&function, Flow { positions, micro_batch, streams }, &machine, NETWORK).unwrap()
        };
        let (one, four, five) = (of(1, 4, 1), of(4, 4, 1), of(5, 4, 1));
        assert_eq!(one.setup_s, four.setup_s);
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
        close(five.seconds - five.setup_s, one.seconds + four.seconds - 2.0 * one.setup_s);
        close(five.layers[1].seconds, one.layers[1].seconds + four.layers[1].seconds);
        assert!(four.seconds < 4.0 * one.seconds && five.layers[1].computing_s > 0.0);

        // Two streams wait for the network together; computations and bytes take as long as ever.
        let (alone, together) = (of(8, 1, 1), of(8, 1, 2));
        assert!(together.seconds < 0.8 * alone.seconds, "{} {}", together.seconds, alone.seconds);
        assert!(together.seconds > alone.seconds / 2.0);
        close(together.layers[1].computing_s, alone.layers[1].computing_s);
        let slow = Network { mbit_per_s: 0.1, rtt_ms: 1e-3 };
        let of = |streams| session(&function, Flow { positions: 8, micro_batch: 1, streams }, &machine, slow).unwrap();
        let bytes = layer(&function, fusion_ir::ValueId(1), 8).unwrap().bytes(Party::Client);
        assert!(of(2).seconds > bytes as f64 * slow.seconds_per_byte());
        assert_eq!(of(3).layers.len(), 3);
    }
}
