//! What a batch will cost, exactly.

use std::ops::AddAssign;

use fusion_catalogue::Cost;
use fusion_ir::{Function, Op, Party, ValueId};

use crate::Error;
use crate::report::{Correlations, Predicted};
use crate::session::BatchSize;
use crate::session::handshake;

/// What the plan foretells for one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes and rounds, handshake included.
    pub predicted: Predicted,
    /// Correlated OTs.
    pub correlations: Correlations,
    ahead_bytes: [u64; 2],
}

impl Forecast {
    /// The forecast for `function` over a batch of `size`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the protocols cannot carry one of its layers.
    pub fn new(function: &Function, size: BatchSize) -> Result<Forecast, Error> {
        let BatchSize { positions, micro_batch, streams } = size;
        let [micro_batch, streams] = [u64::from(micro_batch.max(1)), u64::from(streams.max(1))];
        let (whole, rest) = (positions / micro_batch, positions % micro_batch);
        let costs = (micro_batch_cost(function, micro_batch)?, micro_batch_cost(function, rest)?);
        let mut all = Tally::default();
        all.add(&handshake::cost(), 1);
        let mut forecast = all.forecast;
        for stream in 0..streams {
            // Micro-batches are dealt in turn; a smaller one is the last of all.
            let mut tally = Tally::default();
            tally.add(&fusion_catalogue::setup(function), 1);
            tally.add(&costs.0, whole / streams + u64::from(stream < whole % streams));
            if rest > 0 && stream == whole % streams {
                tally.add(&costs.1, 1);
            }
            forecast += tally.forecast;
        }
        let [setup, begin] =
            [fusion_catalogue::setup(function), fusion_catalogue::begin(function, micro_batch as usize)];
        let mut stream = setup;
        // The step from one micro-batch to the next, too.
        [&costs.0, &begin].into_iter().for_each(|part| stream.then(part));
        forecast.ahead_bytes = [Party::Client, Party::Server].map(|party| ahead_bytes(&stream, party));
        Ok(forecast)
    }

    /// The most payload that an honest peer may have sent on a stream's lane before `party` has received it.
    pub fn ahead_bytes(&self, party: Party) -> u64 {
        self.ahead_bytes[party as usize]
    }
}

/// The most that the peer may have sent that `party` has not received: it goes on until it needs what `party` sends next. In an
/// exchange it sends before it needs that, so its messages up to the one after next are counted.
fn ahead_bytes(cost: &Cost, party: Party) -> u64 {
    let (mut most, mut before_last, mut since_last) = (0, 0, 0);
    for message in &cost.messages {
        if message.from == party {
            (before_last, since_last) = (since_last, 0);
        } else {
            since_last += message.payload_bytes;
            most = most.max(before_last + since_last);
        }
    }
    most
}

impl AddAssign for Forecast {
    fn add_assign(&mut self, other: Forecast) {
        self.predicted.client_to_server += other.predicted.client_to_server;
        self.predicted.server_to_client += other.predicted.server_to_client;
        self.predicted.rounds += other.predicted.rounds;
        self.correlations.client_receives_ots += other.correlations.client_receives_ots;
        self.correlations.server_receives_ots += other.correlations.server_receives_ots;
    }
}

/// Adds up costs without keeping their messages.
#[derive(Default)]
struct Tally {
    forecast: Forecast,
    last: Option<Party>,
}

impl Tally {
    /// Adds `times` runs of `cost`, one after the other.
    fn add(&mut self, cost: &Cost, times: u64) {
        let ends = (cost.messages.first(), cost.messages.last());
        let (Some(first), Some(last), 1..) = (ends.0, ends.1, times) else {
            return;
        };
        let turns = |last: Party| u64::from(last == Party::Client && first.from == Party::Server);
        let Forecast { predicted, correlations, .. } = &mut self.forecast;
        predicted.client_to_server += times * cost.bytes(Party::Client);
        predicted.server_to_client += times * cost.bytes(Party::Server);
        predicted.rounds += times * cost.rounds() + (times - 1) * turns(last.from) + self.last.map_or(0, turns);
        correlations.client_receives_ots += times * cost.client_receives_ots;
        correlations.server_receives_ots += times * cost.server_receives_ots;
        self.last = Some(last.from);
    }
}

fn micro_batch_cost(function: &Function, positions: u64) -> Result<Cost, Error> {
    let positions = positions as usize;
    let mut cost = fusion_catalogue::begin(function, positions);
    for (id, _) in function.iter() {
        cost.then(&layer_cost(function, id, positions)?);
    }
    Ok(cost)
}

fn layer_cost(function: &Function, id: ValueId, positions: usize) -> Result<Cost, Error> {
    let value = function.value(id);
    match &value.op {
        Op::Input | Op::Mix(_) | Op::Check => Ok(Cost::default()),
        Op::Reveal(_) => Ok(fusion_catalogue::reveal(&value.ty, positions)),
        _ => fusion_catalogue::layer(function, id, positions)
            .map_err(|why| Error::Usage(format!("the plan's {} {}: {why}", value.op.name(), value.node))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(senders: &str) -> Cost {
        let mut cost = Cost { client_receives_ots: 2, server_receives_ots: 5, ..Cost::default() };
        for (index, sender) in senders.chars().enumerate() {
            cost.send(if sender == 'c' { Party::Client } else { Party::Server }, 10 + index as u64);
        }
        cost
    }

    #[test]
    fn a_tally_equals_the_messages_one_after_the_other() {
        for senders in [["c", "s", "s"], ["s", "cs", "c"], ["csc", "sc", "cc"], ["s", "sc", "s"], ["cs", "csc", "sccs"]]
        {
            for times in [0, 1, 2, 5] {
                let (mut tally, mut all) = (Tally::default(), Cost::default());
                for (part, times) in senders.iter().zip([1, times, 1]) {
                    tally.add(&cost(part), times);
                    (0..times).for_each(|_| all.then(&cost(part)));
                }
                let Forecast { predicted, correlations, .. } = tally.forecast;
                assert_eq!(predicted.client_to_server, all.bytes(Party::Client));
                assert_eq!(predicted.server_to_client, all.bytes(Party::Server));
                assert_eq!(predicted.rounds, all.rounds(), "{senders:?} x {times}");
                assert_eq!(correlations.client_receives_ots, all.client_receives_ots);
                assert_eq!(correlations.server_receives_ots, all.server_receives_ots);
            }
        }
    }

    #[test]
    fn the_forecast_adds_streams_whose_micro_batches_alternate() {
        let function = crate::testing::tiny_plan().function;
        let streams: [&[&[u64]]; 4] = [&[&[4, 4, 4, 2]], &[&[4, 4], &[4, 2]], &[&[4, 4], &[4, 4]], &[&[4, 4], &[4]]];
        for (positions, streams) in [14, 14, 16, 12].into_iter().zip(streams) {
            let [mut up, mut down, mut rounds] = [0; 3];
            let parts = streams.iter().map(|micro_batches| {
                let mut stream = fusion_catalogue::setup(&function);
                micro_batches.iter().for_each(|n| stream.then(&micro_batch_cost(&function, *n).unwrap()));
                stream
            });
            for part in parts.chain([handshake::cost()]) {
                up += part.bytes(Party::Client);
                down += part.bytes(Party::Server);
                rounds += part.rounds();
            }
            let size = BatchSize { positions, micro_batch: 4, streams: streams.len() as u8 };
            let forecast = Forecast::new(&function, size).unwrap().predicted;
            assert_eq!(forecast, Predicted { client_to_server: up, server_to_client: down, rounds });
        }
    }

    #[test]
    fn a_peer_is_ahead_by_what_it_sends_before_it_needs_an_answer() {
        // Sizes are 10, 11, 12 and so on.
        for (senders, at_client, at_server) in
            [("c", 0, 10), ("cs", 11, 10), ("ccs", 12, 21), ("cscs", 24, 22), ("csscs", 37, 13), ("cssscc", 36, 29)]
        {
            let cost = cost(senders);
            assert_eq!([ahead_bytes(&cost, Party::Client), ahead_bytes(&cost, Party::Server)], [at_client, at_server]);
        }
    }
}
