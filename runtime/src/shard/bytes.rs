//! Shards and what they left as bytes, for other processes of the client's.

use std::time::Duration;

use fusion_catalogue::{Keys, Schedule};
use fusion_ir::{Op, Plan};
use serde::{Deserialize, Serialize};

use super::{Answered, Shard};
use crate::Error;
use crate::executor::{Spent, Totals};
use crate::forecast::{Correlations, Predicted};
use crate::fusion::inputs::Inputs;
use crate::transport::Traffic;

/// What a shard's bytes begin with: this, the plan's digest, the batch's id, its number, and how
/// many there are.
const MAGIC: &[u8; 16] = b"fusion shard 1\r\n";
const HEADER_BYTES: usize = MAGIC.len() + 32 + 32 + 4 + 4;
/// Of what a shard left.
const FORMAT: u32 = 1;
/// Most shards of a batch.
pub(super) const MOST_SHARDS: usize = 1 << 20;

impl Shard {
    /// The shard as bytes. They hold its inputs in the clear.
    pub fn to_bytes(&self, plan: &Plan) -> Vec<u8> {
        let numbers = [self.number, self.of].map(|number| (number as u32).to_le_bytes());
        [&MAGIC[..], &plan.digest(), &self.batch, &numbers.concat(), self.inputs.packed()].concat()
    }

    /// What [`Shard::to_bytes`] gave under the same plan.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is none.
    pub fn from_bytes(plan: &Plan, bytes: &[u8]) -> Result<Shard, Error> {
        let refuse = |why: &str| Error::Usage(format!("these bytes are no shard: {why}"));
        let (header, packed) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| refuse("too few"))?;
        let rest = header.strip_prefix(MAGIC).ok_or_else(|| refuse("they begin otherwise"))?;
        let rest = rest.strip_prefix(&plan.digest()).ok_or_else(|| refuse("they are of another plan"))?;
        let (batch, rest) = rest.split_first_chunk().ok_or_else(|| refuse("too few"))?;
        let number = |at: usize| {
            let bytes = rest.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(|bytes| u32::from_le_bytes(bytes) as usize).ok_or_else(|| refuse("too few"))
        };
        let (number, of) = (number(0)?, number(4)?);
        if number >= of || of > MOST_SHARDS {
            return Err(refuse("there is none of this number"));
        }
        let inputs = Inputs::from_packed(&plan.function.values[0].ty, packed.to_vec());
        Ok(Shard { batch: *batch, number, of, inputs: inputs.ok_or_else(|| refuse("its inputs are not whole"))? })
    }
}

/// [`Answered`] but for its answers, as it is written. Times are in nanoseconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    plan: [u8; 32],
    batch: [u8; 32],
    number: usize,
    server: String,
    micro_batch: u32,
    streams: u8,
    keys: String,
    positions: u64,
    offline: [u64; 6],
    layers: Vec<[u64; 6]>,
    lanes: Vec<[u64; 5]>,
    control: [u64; 5],
    time: u64,
    predicted: [u64; 3],
    correlations: [u64; 2],
    memory_bytes: u64,
}

impl Answered {
    /// What the shard left as bytes. They hold what was revealed, in the clear, as numbers of 64
    /// bits each: other sessions of the batch may still run, and neither how long this takes nor
    /// how long it is may depend on an answer.
    ///
    /// # Errors
    /// [`Error::Bug`]: everything has a text.
    pub fn to_bytes(&self, plan: &Plan) -> Result<Vec<u8>, Error> {
        let written = Written {
            format: FORMAT,
            plan: plan.digest(),
            batch: self.batch,
            number: self.number,
            server: self.server.clone(),
            micro_batch: self.schedule.micro_batch,
            streams: self.schedule.streams,
            keys: self.keys.to_string(),
            positions: self.schedule.positions,
            offline: of_spent(&self.totals.offline),
            layers: self.totals.layers.iter().map(of_spent).collect(),
            lanes: self.totals.streams.iter().map(of_traffic).collect(),
            control: of_traffic(&self.control),
            time: nanoseconds(self.time),
            predicted: [self.predicted.client_to_server, self.predicted.server_to_client, self.predicted.rounds],
            correlations: [self.correlations.client_receives_ots, self.correlations.server_receives_ots],
            memory_bytes: self.memory_bytes,
        };
        let written = serde_json::to_vec(&written).map_err(|error| Error::Bug(error.to_string()))?;
        let mut bytes = [&(written.len() as u64).to_le_bytes()[..], &written].concat();
        bytes.extend(self.answers.iter().flatten().flat_map(|element| element.to_le_bytes()));
        Ok(bytes)
    }

    /// What [`Answered::to_bytes`] gave under the same plan.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is none.
    pub fn from_bytes(plan: &Plan, bytes: &[u8]) -> Result<Answered, Error> {
        let refuse = |why: &dyn std::fmt::Display| Error::Usage(format!("these bytes are no shard's answers: {why}"));
        let (size, rest) = bytes.split_first_chunk().ok_or_else(|| refuse(&"too few"))?;
        let split = usize::try_from(u64::from_le_bytes(*size)).ok().and_then(|size| rest.split_at_checked(size));
        let (written, answers) = split.ok_or_else(|| refuse(&"too few"))?;
        let read: Written = serde_json::from_slice(written).map_err(|error| refuse(&error))?;
        if read.format != FORMAT {
            return Err(refuse(&"another version of this program wrote them"));
        }
        if read.plan != plan.digest() {
            return Err(refuse(&"they are of another plan"));
        }
        let revealed = plan.function.values.iter().rev().find(|value| matches!(value.op, Op::Reveal(_)));
        let len = revealed.map_or(0, |value| value.ty.len());
        let elements: Vec<i64> = answers.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        let size = read.positions.checked_mul(8 * len as u64);
        let whole = len > 0 && read.positions > 0 && size == Some(answers.len() as u64);
        if !whole || read.layers.len() != plan.function.values.len() || read.micro_batch == 0 || read.streams == 0 {
            return Err(refuse(&"they are not whole"));
        }
        let keys: Keys = read.keys.parse().map_err(|error| refuse(&error))?;
        let (positions, micro_batch, streams) = (read.positions, read.micro_batch, read.streams);
        let [client_to_server, server_to_client, rounds] = read.predicted;
        let [client_receives_ots, server_receives_ots] = read.correlations;
        let streams_of = read.lanes.into_iter().map(traffic).collect();
        let layers = read.layers.into_iter().map(spent).collect();
        Ok(Answered {
            batch: read.batch,
            number: read.number,
            server: read.server,
            schedule: Schedule { positions, micro_batch, streams },
            keys,
            answers: elements.chunks_exact(len).map(<[i64]>::to_vec).collect(),
            totals: Totals { offline: spent(read.offline), layers, streams: streams_of },
            control: traffic(read.control),
            time: Duration::from_nanos(read.time),
            predicted: Predicted { client_to_server, server_to_client, rounds },
            correlations: Correlations { client_receives_ots, server_receives_ots },
            memory_bytes: read.memory_bytes,
            elsewhere: true,
        })
    }
}

fn of_traffic(traffic: &Traffic) -> [u64; 5] {
    let Traffic { sent_bytes, received_bytes, sent_messages, received_messages, rounds } = *traffic;
    [sent_bytes, received_bytes, sent_messages, received_messages, rounds]
}

fn traffic([sent_bytes, received_bytes, sent_messages, received_messages, rounds]: [u64; 5]) -> Traffic {
    Traffic { sent_bytes, received_bytes, sent_messages, received_messages, rounds }
}

fn of_spent(spent: &Spent) -> [u64; 6] {
    let [a, b, c, d, e] = of_traffic(&spent.traffic);
    [a, b, c, d, e, nanoseconds(spent.time)]
}

fn spent([a, b, c, d, e, time]: [u64; 6]) -> Spent {
    Spent { traffic: traffic([a, b, c, d, e]), time: Duration::from_nanos(time) }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
