//! What a batch will cost, exactly.

use std::ops::AddAssign;
use std::sync::Arc;

use fusion_catalogue::ot::{OtCount, OtPool, OtSource};
use fusion_catalogue::{Cost, Counts, Steps};
use fusion_ir::Party;
use serde::Serialize;

use crate::session::BatchSize;
use crate::session::handshake;

/// What the plan says beforehand of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes and rounds, handshake included.
    pub predicted: Predicted,
    /// Correlated OTs.
    pub correlations: Correlations,
    ahead_bytes: [u64; 2],
    /// The same on the lane of linear layers on masks.
    masks_ahead_bytes: [u64; 2],
    /// Of a whole micro-batch, and of the smaller one.
    draws: [Arc<[OtCount]>; 2],
    streams: Vec<Stream>,
}

/// The exact part of a forecast, for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Predicted {
    /// Bytes from client to server.
    pub client_to_server: u64,
    /// Bytes from server to client.
    pub server_to_client: u64,
    /// How often the client turns from sending to receiving.
    pub rounds: u64,
}

/// Correlated OTs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Correlations {
    /// In which the client is the receiver.
    pub client_receives_ots: u64,
    /// In which the server is the receiver.
    pub server_receives_ots: u64,
}

/// What one stream of micro-batches is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    micro_batches: Counts,
    supply: OtSource,
    /// How far its generator may be ahead, by the party that waits.
    ahead_bytes: [u64; 2],
}

impl Forecast {
    /// The forecast for a function over a batch of `size`.
    pub fn new(steps: &Steps, size: BatchSize) -> Forecast {
        let BatchSize { schedule, offline, keys } = size;
        let micro_batch = |positions| steps.costs(keys, positions).into_iter().sum::<Cost>();
        let costs = (micro_batch(schedule.whole()), micro_batch(schedule.rest()));
        let on_masks = [schedule.whole(), schedule.rest()].map(|positions| steps.ahead(keys, positions));
        let masks = on_masks.each_ref().map(|parts| parts.iter().cloned().sum::<Cost>());
        let shared = steps.shared(keys);
        let mut all = Tally::default();
        all.add(&handshake::cost(), 1);
        let mut forecast = all.forecast;
        forecast.draws = [&costs.0, &costs.1].map(|cost| cost.draws.as_slice().into());
        for stream in 0..usize::from(schedule.streams.max(1)) {
            let micro_batches = schedule.dealt(stream);
            let times = [micro_batches.whole, micro_batches.rest.into()];
            let mut tally = Tally::default();
            tally.add(&shared.once(), 1);
            tally.add(&costs.0, times[0]);
            tally.add(&costs.1, times[1]);
            forecast += tally.forecast;
            let mut tally = Tally::default();
            masks.iter().zip(times).for_each(|(cost, times)| tally.add(cost, times));
            forecast += tally.forecast;

            let tiles = [costs.0.tiles(), costs.1.tiles()];
            let tiles = [0, 1].map(|receiver| times[0] * tiles[0][receiver] + times[1] * tiles[1][receiver]);
            let supply = offline.choice.supply(tiles);
            let mut stock = OtPool::new(supply);
            let mut generator = supply.setup();
            forecast.draws_of(micro_batches).for_each(|need| generator.then(&stock.draw(&need)));
            let mut tally = Tally::default();
            tally.add(&generator, 1);
            forecast += tally.forecast;
            let ahead_bytes = [Party::Client, Party::Server].map(|party| ahead_bytes(&generator, party));
            forecast.streams.push(Stream { micro_batches, supply, ahead_bytes });
        }
        // The step from one micro-batch to the next, too.
        let mut stream = shared.once();
        stream.then(&costs.0);
        stream.then(&shared.begin(schedule.whole()));
        forecast.ahead_bytes = [Party::Client, Party::Server].map(|party| ahead_bytes(&stream, party));
        forecast.masks_ahead_bytes = [Party::Client, Party::Server].map(|party| masks_ahead_bytes(&on_masks[0], party));
        forecast
    }

    /// What was foretold of a session elsewhere.
    pub(crate) fn told(predicted: Predicted, correlations: Correlations) -> Forecast {
        Forecast { predicted, correlations, ..Forecast::default() }
    }

    /// The most payload that an honest peer may have sent on the lane of a stream's layers before
    /// `party` has received it.
    pub fn ahead_bytes(&self, party: Party) -> u64 {
        self.ahead_bytes[party as usize]
    }

    /// The same on the lane of its linear layers on masks; `None` if there are none.
    pub fn masks_ahead_bytes(&self, party: Party) -> Option<u64> {
        let bytes = self.masks_ahead_bytes;
        (bytes != [0; 2]).then(|| bytes[party as usize])
    }

    /// The same for the lane of the generator of stream number `stream`.
    pub fn generator_ahead_bytes(&self, stream: usize, party: Party) -> u64 {
        self.streams.get(stream).map_or(0, |stream| stream.ahead_bytes[party as usize])
    }

    /// Where the correlations of stream number `stream` come from.
    pub fn supply(&self, stream: usize) -> OtSource {
        self.streams.get(stream).map_or_else(OtSource::default, |stream| stream.supply)
    }

    /// Everything that the layers of stream number `stream` draw, in order.
    pub fn draws(&self, stream: usize) -> impl Iterator<Item = OtCount> + Send + use<> {
        self.draws_of(self.streams.get(stream).map_or_else(Counts::default, |stream| stream.micro_batches))
    }

    fn draws_of(&self, Counts { whole, rest }: Counts) -> impl Iterator<Item = OtCount> + Send + use<> {
        let [one, smaller] = self.draws.clone();
        let micro_batches = (0..whole).map(move |_| one.clone()).chain(rest.then_some(smaller));
        micro_batches.flat_map(|draws| (0..draws.len()).map(move |index| draws[index]))
    }
}

/// The most that the peer may have sent that `party` has not received: it goes on until it needs
/// what `party` sends next. In an exchange it sends before it needs that, so its messages up to the
/// one after next are counted.
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

/// The same of the [parts](Steps::ahead) of linear layers on masks: the client sends a layer's
/// operand before it reads the results of the layer before, so of two neighbouring layers either
/// party's messages may be under way; with those of the first layer, what begins the micro-batch.
fn masks_ahead_bytes(parts: &[Cost], party: Party) -> u64 {
    let of_peer = |cost: &Cost| {
        let messages = cost.messages.iter().filter(|message| message.from != party);
        messages.map(|message| message.payload_bytes).sum::<u64>()
    };
    let sent: Vec<u64> = parts.iter().map(of_peer).collect();
    sent.first().unwrap_or(&0) + sent.windows(2).map(|pair| pair[0] + pair[1]).max().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use fusion_catalogue::Keys;

    use super::*;
    use crate::session::Offline;

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
        let steps = Steps::of(&crate::testing::tiny_plan().function).unwrap();
        let streams: [&[&[usize]]; 4] = [&[&[4, 4, 4, 2]], &[&[4, 4], &[4, 2]], &[&[4, 4], &[4, 4]], &[&[4, 4], &[4]]];
        let cases = [14, 14, 16, 12].into_iter().zip(streams);
        for ((positions, streams), keys) in cases.flat_map(|case| Keys::ALL.map(|keys| (case, keys))) {
            let ([mut up, mut down, mut rounds], mut draws) = ([0; 3], Vec::new());
            let parts = streams.iter().map(|micro_batches| {
                let mut stream = steps.shared(keys).once();
                micro_batches.iter().flat_map(|n| steps.costs(keys, *n)).for_each(|cost| stream.then(&cost));
                let supply = OtSource::for_demand(stream.tiles());
                let mut generator = supply.setup();
                generator.then(&stream.generator(&mut OtPool::new(supply)));
                let masks: Cost = micro_batches.iter().flat_map(|n| steps.ahead(keys, *n)).sum();
                [stream, generator, masks]
            });
            for part in parts.flatten().chain([handshake::cost()]) {
                up += part.bytes(Party::Client);
                down += part.bytes(Party::Server);
                rounds += part.rounds();
                draws.extend(part.draws);
            }
            let (streams_len, offline) = (streams.len() as u8, Offline::default());
            let size = BatchSize::new(positions, 4, streams_len, offline, keys);
            let forecast = Forecast::new(&steps, size);
            let drawn: Vec<OtCount> = (0..streams.len()).flat_map(|stream| forecast.draws(stream)).collect();
            assert_eq!(drawn, draws);
            assert_eq!(forecast.predicted, Predicted { client_to_server: up, server_to_client: down, rounds });
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

    /// Layers on masks: before a party reads an operand or results, the peer may have sent those of
    /// the next layer, too.
    #[test]
    fn of_neighbouring_layers_on_masks_both_may_be_under_way() {
        let text = "function \"f\"\nweight @w0 \"w\" : i8.0[4,64]\nweight @w1 \"v\" : i8.0[9000,4]\n\
                    weight @w2 \"u\" : i8.0[3,9000]\nv0 = input : i26.0~9[64] \"\"\n\
                    v1 = dense v0, @w0 : i26.0~18[4] by cheetah \"\"\nv2 = dense v1, @w1 : i26.0~22[9000] by cheetah \"\"\n\
                    v3 = dense v2, @w2 : i26.0~25[3] by cheetah \"\"\n";
        let steps = Steps::of(&fusion_ir::text::parse(text).unwrap()).unwrap();
        let packings: Vec<_> = steps.iter().filter_map(|step| step.masked(Keys::Ahead)).collect();
        let size = BatchSize::new(3, 3, 1, Offline::default(), Keys::Ahead);
        let forecast = Forecast::new(&steps, size);
        let pair = fusion_catalogue::rlwe::PUBLIC_KEY_BYTES;
        let most = |of: &dyn Fn(usize) -> usize| Some(3 * (of(0) + of(1)).max(of(1) + of(2)) as u64);
        let downloads = most(&|layer| packings[layer].download_bytes());
        assert_eq!(forecast.masks_ahead_bytes(Party::Client), downloads);
        assert_eq!(forecast.masks_ahead_bytes(Party::Server), most(&|layer| pair + packings[layer].upload_bytes()));
        assert!(downloads > Some(3 * packings.iter().map(|packing| packing.download_bytes()).max().unwrap() as u64));
        let size = BatchSize { keys: Keys::Layer, ..size };
        assert_eq!(Forecast::new(&steps, size).masks_ahead_bytes(Party::Client), None);
    }
}
