//! Forecasts of time: the exact messages on a [`Network`], and in between the computations on a
//! [`Machine`].
//!
//! A session is played message by message: who waits for whom, and when the link's two directions
//! and the processors are free. What a layer computes is taken to happen before its first message,
//! at both parties and for all of its processors: where the parties take turns their times add up,
//! so it does not matter when, and where they compute at once the machine's profile counts both as
//! one. Streams that are in flight together, and who makes their correlations ahead of their
//! layers, compute one after the other.

use fusion_catalogue::ot::{Choice, OtSource};
use fusion_catalogue::{Cost, Keys, Schedule, Steps};

use crate::link::{Ready, Shared, steps};
use crate::profile::{Machine, Network};
use crate::stream::{LayerTime, Part, Running};

/// One stream alone: when the parties are done with everything so far.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    shared: Shared,
    stream: Ready,
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

impl Clock {
    /// Both parties begin at zero.
    pub fn new(network: Network) -> Clock {
        Clock { shared: Shared::new(network), stream: Ready::default() }
    }

    /// Seconds until the later party is done.
    pub fn seconds(&self) -> f64 {
        self.stream.both()
    }

    /// Both parties compute for `computing_s` seconds and exchange the messages of `cost`; how much
    /// later it is.
    pub fn run(&mut self, cost: &Cost, computing_s: f64) -> f64 {
        let before = self.seconds();
        steps(cost, computing_s).iter().for_each(|step| self.shared.take(step, &mut self.stream));
        self.seconds() - before
    }
}

/// What a session sends and computes.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTrace {
    /// Of the layers' side of every stream, once.
    pub setup: Cost,
    /// Of a whole micro-batch: what begins it, then every value of the function.
    pub whole: Vec<Cost>,
    /// Of a smaller one, likewise.
    pub rest: Vec<Cost>,
    /// Of the linear layers on masks of either, [part by part](Steps::ahead).
    pub masks: [Vec<Cost>; 2],
    /// For each value whether it is such a layer.
    pub masked: Vec<bool>,
    /// How the batch is cut up.
    pub schedule: Schedule,
    /// What makes correlations.
    pub correlations: Choice,
}

impl SessionTrace {
    /// That of a function on a batch.
    pub fn new(steps: &Steps, schedule: Schedule, keys: Keys) -> SessionTrace {
        let counts = schedule.counts();
        SessionTrace {
            setup: steps.shared(keys).once(),
            whole: if counts.whole > 0 { steps.costs(keys, schedule.whole()) } else { Vec::new() },
            rest: if counts.rest { steps.costs(keys, schedule.rest()) } else { Vec::new() },
            masks: [schedule.whole(), schedule.rest()].map(|positions| steps.ahead(keys, positions)),
            masked: steps.iter().map(|step| step.masked(keys).is_some()).collect(),
            schedule,
            correlations: Choice::Auto,
        }
    }

    /// Where the correlations of stream number `stream` come from.
    pub fn supply(&self, stream: usize) -> OtSource {
        let dealt = self.schedule.dealt(stream);
        let tiles = |costs: &[Cost], times: u64| {
            let all = costs.iter().map(Cost::tiles).fold([0; 2], |sum, tiles| [sum[0] + tiles[0], sum[1] + tiles[1]]);
            all.map(|tiles| tiles * times)
        };
        let (whole, rest) = (tiles(&self.whole, dealt.whole), tiles(&self.rest, dealt.rest.into()));
        self.correlations.supply([whole[0] + rest[0], whole[1] + rest[1]])
    }

    /// Seconds in all. Only the first micro-batches of a long batch are played; all others take
    /// what these do on average once all streams are under way.
    pub fn seconds(&self, machine: &Machine, network: Network) -> f64 {
        let streams = u64::from(self.schedule.streams.max(1));
        let (first, some) = (streams, 3 * streams);
        let counts = self.schedule.counts();
        if counts.whole <= some {
            return self.play(machine, network).seconds;
        }
        let of = |micro_batches: u64| {
            let positions = micro_batches * self.schedule.whole() as u64;
            SessionTrace { schedule: Schedule { positions, ..self.schedule }, ..self.clone() }
                .play(machine, network)
                .seconds
        };
        let [first_s, some_s] = [first, some].map(of);
        let share = if counts.rest { 1.0 } else { 0.0 };
        some_s + (some_s - first_s) / (some - first) as f64 * ((counts.whole - some) as f64 + share)
    }

    /// What it takes.
    pub fn play(&self, machine: &Machine, network: Network) -> SessionTime {
        let [whole, rest] = [&self.whole, &self.rest].map(|costs| Part::all(costs, machine, &self.masked));
        let [masks, masks_rest] = [0, 1].map(|of| Part::all(&self.masks[of], machine, &[]));
        let on_masks = |number: usize| match number < self.schedule.counts().whole as usize {
            true => masks.as_slice(),
            false => masks_rest.as_slice(),
        };
        let Schedule { positions, micro_batch, streams } = self.schedule;
        let schedule = Schedule::new(positions, micro_batch, streams);
        let parts = |number: usize| match number < self.schedule.counts().whole as usize {
            true => whole.as_slice(),
            false => rest.as_slice(),
        };
        let values = self.whole.len().max(self.rest.len()).saturating_sub(1);
        let mut time = SessionTime { layers: vec![LayerTime::default(); values], ..SessionTime::default() };
        let mut shared = Shared::new(network);
        let mut running: Vec<Running> = (0..schedule.streams.into())
            .map(|stream| {
                let supply = self.supply(stream);
                let mut setup = supply.setup();
                setup.then(&self.setup);
                let mut ready = Ready::default();
                steps(&setup, machine.seconds(&setup)).iter().for_each(|step| shared.take(step, &mut ready));
                Running::new(schedule.numbers(stream).collect(), ready, supply)
            })
            .collect();
        time.setup_s = running.iter().map(Running::ready_s).fold(f64::INFINITY, f64::min);
        loop {
            // Whatever can go on first goes on: a stream's layers, who makes its correlations, or
            // who runs its linear layers on masks.
            let layers =
                running.iter().enumerate().filter_map(|(at, stream)| Some((stream.next(parts)?, at, Who::Layers)));
            let makers =
                running.iter().enumerate().filter_map(|(at, stream)| Some((stream.maker.next(parts)?, at, Who::Maker)));
            let masks = running
                .iter()
                .enumerate()
                .filter_map(|(at, stream)| Some((stream.masks.next(on_masks)?, at, Who::Masks)));
            let all = layers.chain(makers).chain(masks);
            let Some((_, at, who)) = all.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            match who {
                Who::Maker => running[at].maker.go_on(parts, machine, &mut shared),
                Who::Masks => running[at].masks.go_on(on_masks, &mut shared),
                Who::Layers => running[at].go_on(parts, &mut shared, &mut time.layers),
            }
        }
        time.seconds = running.iter().map(Running::ready_s).fold(0.0, f64::max);
        time
    }
}

/// Who goes on in a stream.
enum Who {
    Layers,
    Maker,
    Masks,
}

#[cfg(test)]
mod tests {
    use fusion_ir::Party;

    use super::*;

    /// A byte takes a microsecond, the way ten milliseconds.
    const NETWORK: Network = Network { mbit_per_s: 8.0, rtt_ms: 20.0 };

    const KEYS: Keys = Keys::Position;

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
        // The server, which received earlier, answers earlier: a short and a long message make one
        // round trip.
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

    /// A comparison and a linear layer.
    fn small() -> Steps {
        let function = fusion_ir::text::parse(
            "function \"f\"\nweight @w0 \"w\" : i8.0[4,64]\nv0 = input : i16.0~9[64] \"\"\n\
             v1 = relu v0 : i16.0~9+[64] \"\"\nv2 = dense v1, @w0 : i16.0~14[4] \"\"\n",
        );
        Steps::of(&function.unwrap()).unwrap()
    }

    #[test]
    fn a_session_is_its_set_up_and_its_micro_batches() {
        let steps = small();
        let machine = Machine::default();
        let of = |positions, micro_batch, streams| {
            SessionTrace::new(&steps, Schedule { positions, micro_batch, streams }, KEYS).play(&machine, NETWORK)
        };
        let (one, four, five) = (of(1, 4, 1), of(4, 4, 1), of(5, 4, 1));
        assert_eq!(one.setup_s, four.setup_s);
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 0.05, "{a} {b}");
        close(five.seconds - five.setup_s, one.seconds + four.seconds - 2.0 * one.setup_s);
        close(five.layers[1].seconds, one.layers[1].seconds + four.layers[1].seconds);
        assert!(four.seconds < 4.0 * one.seconds && five.layers[1].computing_s > 0.0);

        // Two streams wait for the network together; computations and bytes take as long as ever.
        let (alone, together) = (of(8, 1, 1), of(8, 1, 2));
        assert!(together.seconds < 0.8 * alone.seconds, "{} {}", together.seconds, alone.seconds);
        assert!(together.seconds > alone.seconds / 2.0);
        close(together.layers[1].computing_s, alone.layers[1].computing_s);
        let slow = Network { mbit_per_s: 0.1, rtt_ms: 1e-3 };
        let schedule = |streams| Schedule { positions: 8, micro_batch: 1, streams };
        let of = |streams| SessionTrace::new(&steps, schedule(streams), KEYS).play(&machine, slow);
        let bytes = steps.get(fusion_ir::ValueId(1)).cost(KEYS, 8).bytes(Party::Client);
        assert!(of(2).seconds > bytes as f64 * slow.seconds_per_byte());
        assert_eq!(of(3).layers.len(), 3);
    }

    #[test]
    fn long_batches_take_what_their_first_micro_batches_promise() {
        let steps = small();
        let machine = Machine::default();
        for (positions, streams) in [(7, 1), (8, 2), (402, 1), (402, 2), (400, 3)] {
            let course = SessionTrace::new(&steps, Schedule { positions, micro_batch: 4, streams }, KEYS);
            let (played, said) = (course.play(&machine, NETWORK).seconds, course.seconds(&machine, NETWORK));
            assert!((said / played - 1.0).abs() < 0.03, "{positions} in {streams} streams: {said} for {played}");
        }
    }
}
