//! Runs a function over the batch, one micro-batch after the other.

use std::time::{Duration, Instant};

use fusion_backends::Error;
use fusion_backends::session::{MicroBatch, Session};
use fusion_ir::types::wrap;
use fusion_ir::{Function, Op, Weights};

use crate::transport::{Meter, Traffic};

/// What something took: traffic as this party saw it, and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Bytes, messages and rounds.
    pub traffic: Traffic,
    /// Wall time.
    pub time: Duration,
}

/// What a run took, by phase and by layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything that does not depend on the inputs and comes before a micro-batch's first layer: the session's set-up
    /// and every micro-batch's keys.
    pub offline: Spent,
    /// For each value of the function, over all micro-batches.
    pub layers: Vec<Spent>,
}

/// What a run is about to do.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The micro-batch, from 0.
    pub micro_batch: usize,
    /// How many there are.
    pub micro_batches: usize,
    /// The value about to be computed, as an index.
    pub layer: usize,
    /// How many there are.
    pub layers: usize,
    /// Its operation.
    pub op: &'a str,
    /// The ONNX node it comes from.
    pub node: &'a str,
    /// Everything sent and received so far.
    pub traffic: Traffic,
}

/// Who watches a run.
pub type Progress<'a> = dyn FnMut(Step<'_>) + 'a;

/// One run of a function over a batch.
pub(crate) struct Executor<'a> {
    pub session: Session,
    pub function: &'a Function,
    /// The server's; `None` at the client.
    pub weights: Option<&'a Weights>,
    pub meter: Meter,
    pub totals: Totals,
}

impl Executor<'_> {
    /// Runs `positions` positions in micro-batches of at most `micro_batch`. `input` gives a position's input, of which this
    /// party's share is made: the client's is the input itself, the server (which gives `None`) holds zero.
    ///
    /// The client gets what was revealed about each position, in order; the server gets nothing. Both do the same whatever
    /// is revealed.
    pub fn run<'i>(
        &mut self,
        positions: usize,
        micro_batch: usize,
        mut input: impl FnMut(usize) -> Option<&'i [i64]>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Vec<i64>>, Error> {
        self.totals.layers.resize(self.function.values.len(), Spent::default());
        let ty = &self.function.values[0].ty;
        let micro_batches = positions.div_ceil(micro_batch);
        let mut revealed = Vec::with_capacity(positions);
        for index in 0..micro_batches {
            let range = index * micro_batch..positions.min((index + 1) * micro_batch);
            let count = range.len();
            let mut share = Vec::with_capacity(count * ty.len());
            for position in range {
                match input(position) {
                    Some(elements) => share.extend(elements.iter().map(|element| wrap(*element, ty.bits))),
                    None => share.resize(share.len() + ty.len(), 0),
                }
            }
            let mut step = |layer: usize, traffic| {
                let value = &self.function.values[layer];
                let layers = self.function.values.len();
                let (op, node) = (value.op.name(), value.node.as_str());
                progress(Step { micro_batch: index, micro_batches, layer, layers, op, node, traffic });
            };
            let stopwatch = Stopwatch::start(&self.meter);
            let mut batch = self.session.begin(count)?;
            stopwatch.stop(&mut self.totals.offline);
            let opened = self.micro_batch(&mut batch, share, &mut step)?;
            if let Some((elements, len)) = opened {
                revealed.extend(elements.chunks_exact(len).map(<[i64]>::to_vec));
            }
        }
        Ok(revealed)
    }

    /// One micro-batch through all layers; what was revealed and its number of elements per position. A share is dropped
    /// after its last reader.
    fn micro_batch(
        &mut self,
        batch: &mut MicroBatch,
        input: Vec<u64>,
        step: &mut dyn FnMut(usize, Traffic),
    ) -> Result<Option<(Vec<i64>, usize)>, Error> {
        let last_uses = self.function.last_uses();
        let mut shares: Vec<Vec<u64>> = Vec::with_capacity(self.function.values.len());
        let mut input = Some(input);
        let mut revealed = None;
        for (id, value) in self.function.iter() {
            step(id.index(), self.meter.read());
            let stopwatch = Stopwatch::start(&self.meter);
            let share = match &value.op {
                Op::Input => input.take().unwrap_or_default(),
                // Positions are mixed when inputs are made, and checked after the last micro-batch.
                Op::Mix(_) | Op::Check => shares[value.operands[0].index()].clone(),
                Op::Reveal(_) => {
                    let opened = self.session.reveal(&value.ty, &shares[value.operands[0].index()])?;
                    revealed = opened.map(|elements| (elements, value.ty.len()));
                    Vec::new()
                }
                _ => {
                    let operands: Vec<&[u64]> = value.operands.iter().map(|v| shares[v.index()].as_slice()).collect();
                    self.session.run(batch, self.function, id, self.weights, &operands)?
                }
            };
            shares.push(share);
            for operand in &value.operands {
                if last_uses[operand.index()] == id {
                    shares[operand.index()] = Vec::new();
                }
            }
            stopwatch.stop(&mut self.totals.layers[id.index()]);
        }
        Ok(revealed)
    }
}

/// Measures what happens between its start and its stop.
pub(crate) struct Stopwatch<'m> {
    meter: &'m Meter,
    traffic: Traffic,
    started: Instant,
}

impl<'m> Stopwatch<'m> {
    pub fn start(meter: &'m Meter) -> Self {
        Stopwatch { meter, traffic: meter.read(), started: Instant::now() }
    }

    /// Adds what happened to `spent`.
    pub fn stop(self, spent: &mut Spent) {
        spent.traffic += self.meter.read() - self.traffic;
        spent.time += self.started.elapsed();
    }
}
