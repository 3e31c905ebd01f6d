//! Forecasts of time: the exact messages on a [`Network`], and in between the computations on a [`Machine`].
//!
//! A [`Clock`] follows both parties and both directions of the link. What a layer computes is taken to happen before its first
//! message, at both parties: where the parties take turns their times add up, so it does not matter when, and where they
//! compute at once the machine's profile counts both as one.

use fusion_ir::{Function, Party, ValueId};

use crate::{Cost, Machine, Network, begin, layer, linear, setup};

/// When the parties are done with everything so far, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    network: Network,
    /// By party: when it could send its next message.
    ready: [f64; 2],
    /// By sender: when the link is free.
    free: [f64; 2],
}

impl Clock {
    /// Both parties begin at zero.
    pub fn new(network: Network) -> Clock {
        Clock { network, ready: [0.0; 2], free: [0.0; 2] }
    }

    /// When the later party is done.
    pub fn seconds(&self) -> f64 {
        self.ready[0].max(self.ready[1])
    }

    /// Both parties compute for `computing_s` seconds and exchange the messages of `cost`; how much later it is.
    pub fn run(&mut self, cost: &Cost, computing_s: f64) -> f64 {
        let before = self.seconds();
        self.ready.iter_mut().for_each(|ready| *ready += computing_s);
        let mut exchanges = cost.exchanges.iter().peekable();
        let mut at = 0;
        while let Some(message) = cost.messages.get(at) {
            // In an exchange the server's message is the next one and leaves before the client's has arrived.
            let exchanged = exchanges.next_if(|place| **place == at + 1).and(cost.messages.get(at + 1));
            let arrivals = [Some(message), exchanged].map(|message| {
                let message = message?;
                Some((message.from.peer(), self.send(message.from, message.payload_bytes)))
            });
            for (receiver, arrival) in arrivals.into_iter().flatten() {
                let ready = &mut self.ready[receiver as usize];
                *ready = ready.max(arrival);
            }
            at += if exchanged.is_some() { 2 } else { 1 };
        }
        self.seconds() - before
    }

    /// Puts a message on the link; when it arrives.
    fn send(&mut self, from: Party, payload_bytes: u64) -> f64 {
        let sending = (payload_bytes + crate::FRAME_HEADER_BYTES) as f64 * self.network.seconds_per_byte();
        let free = &mut self.free[from as usize];
        *free = free.max(self.ready[from as usize]) + sending;
        *free + self.network.rtt_s() / 2.0
    }
}

/// What one layer takes on a micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerTime {
    /// Seconds in all.
    pub seconds: f64,
    /// Seconds of it that are computation.
    pub computing_s: f64,
}

/// What a session takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionTime {
    /// Seconds in all, set-up included.
    pub seconds: f64,
    /// Seconds until the first micro-batch can begin.
    pub setup_s: f64,
    /// For each value of the function, over all micro-batches.
    pub layers: Vec<LayerTime>,
}

/// What `positions` positions take in micro-batches of at most `micro_batch`, one after the other.
///
/// # Errors
/// If the protocols cannot carry a layer.
///
/// # Panics
/// If `micro_batch` is 0.
pub fn session(
    function: &Function,
    positions: usize,
    micro_batch: usize,
    machine: &Machine,
    network: Network,
) -> Result<SessionTime, linear::Unsupported> {
    let mut clock = Clock::new(network);
    let setup = setup();
    let setup_s = clock.run(&setup, machine.seconds(&setup));
    let mut time = SessionTime { setup_s, layers: vec![LayerTime::default(); function.values.len()], seconds: 0.0 };
    for (size, times) in [(micro_batch, positions / micro_batch), (positions % micro_batch, 1)] {
        if size == 0 || times == 0 {
            continue;
        }
        let keys = begin(size);
        time.seconds += times as f64 * clock.run(&keys, machine.seconds(&keys));
        for (id, _) in function.iter() {
            let one = layer_time(function, id, size, machine, &mut clock)?;
            let layer = &mut time.layers[id.index()];
            layer.seconds += times as f64 * one.seconds;
            layer.computing_s += times as f64 * one.computing_s;
        }
    }
    time.seconds += setup_s + time.layers.iter().map(|layer| layer.seconds).sum::<f64>();
    Ok(time)
}

fn layer_time(
    function: &Function,
    id: ValueId,
    positions: usize,
    machine: &Machine,
    clock: &mut Clock,
) -> Result<LayerTime, linear::Unsupported> {
    let cost = layer(function, id, positions)?;
    let computing_s = machine.seconds(&cost);
    Ok(LayerTime { seconds: clock.run(&cost, computing_s), computing_s })
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
        let function =
            fusion_ir::text::parse("function \"f\"\nv0 = input : i16.0~9[64] \"\"\nv1 = relu v0 : i16.0~9+[64] \"\"\n")
                .unwrap();
        let machine = Machine::default();
        let of = |positions, micro_batch| session(&function, positions, micro_batch, &machine, NETWORK).unwrap();
        let (one, four, five) = (of(1, 4), of(4, 4), of(5, 4));
        assert_eq!(one.setup_s, four.setup_s);
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
        close(five.seconds - five.setup_s, one.seconds + four.seconds - 2.0 * one.setup_s);
        close(five.layers[1].seconds, one.layers[1].seconds + four.layers[1].seconds);
        assert!(four.seconds < 4.0 * one.seconds && five.layers[1].computing_s > 0.0);
    }
}
