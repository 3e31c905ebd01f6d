//! Runs a function over the batch: micro-batches stream through the layers, several streams side by
//! side.
//!
//! A stream is a session of its own, with its own lane, oblivious transfers and thread; of `s`
//! streams, each runs the micro-batches that
//! [`Schedule::numbers`](fusion_catalogue::Schedule::numbers) deals it. While one waits for the
//! network, the other computes. They share nothing that is drawn in order, so both parties' streams
//! fall into step by themselves. Where linear layers are computed on masks, that is done beside
//! each micro-batch, by a thread and on a lane of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fusion_backends::cheetah::Ahead;
use fusion_backends::{MicroBatch, Session};
use fusion_catalogue::Steps;
use fusion_ir::{Op, Party};

use crate::Error;
use crate::forecast::Forecast;
use crate::fusion::inputs::Inputs;
use crate::model::Model;
use crate::session::Agreement;
use crate::transport::{BreakOff, Lane, Link, Meter, Metered, Traffic};

/// What something took: traffic as this party saw it, and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Bytes, messages and rounds.
    pub traffic: Traffic,
    /// Wall time; of streams side by side, the sum of theirs.
    pub time: Duration,
}

/// What a run took, by phase, by layer and by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything that does not depend on the inputs and comes before a micro-batch's first layer:
    /// the streams' set-up and every micro-batch's keys.
    pub offline: Spent,
    /// For each value of the function, over all micro-batches.
    pub layers: Vec<Spent>,
    /// For each stream, everything that crossed its lanes.
    pub streams: Vec<Traffic>,
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
    /// Layers that are done, over all micro-batches.
    pub done: usize,
    /// Its operation.
    pub op: &'a str,
    /// The ONNX node it comes from.
    pub node: &'a str,
    /// Everything sent and received so far.
    pub traffic: Traffic,
}

/// Who watches a run.
pub type Progress<'a> = dyn FnMut(Step<'_>) + Send + 'a;

/// One run of a function over a batch.
pub(crate) struct Executor<'a> {
    pub party: Party,
    pub steps: &'a Arc<Steps>,
    /// The server's weights; `None` at the client.
    pub model: Option<&'a dyn Model>,
    pub agreement: Agreement,
    pub forecast: &'a Forecast,
}

/// What the streams have in common.
struct Common<'a, 'p> {
    inputs: Option<&'a Inputs>,
    progress: Mutex<&'a mut Progress<'p>>,
    meters: Vec<Meter>,
    /// Layers that are done.
    done: AtomicUsize,
    /// What ended the run: of all streams' errors the first that says most.
    error: Mutex<Option<Error>>,
}

/// A stream's channel, and what it counts.
type MeteredLane = (Metered, Meter);

/// A stream's channels.
struct Lanes {
    layers: MeteredLane,
    generator: MeteredLane,
    /// For linear layers on masks.
    masks: Option<MeteredLane>,
}

/// What one stream leaves: what was revealed of each of its micro-batches, and what it took.
type Stream = (Vec<Vec<Vec<i64>>>, Totals);

impl Executor<'_> {
    /// Runs the whole batch over `link`; its control lane is read by `control`. The client gives
    /// the `inputs`, which are its shares of them; the server's are zero.
    ///
    /// The client gets what was revealed about each position, in order and after the last message;
    /// the server gets nothing. Both do the same whatever is revealed.
    pub fn run(
        &self,
        link: &mut dyn Link,
        control: &Meter,
        inputs: Option<&Inputs>,
        progress: &mut Progress<'_>,
    ) -> Result<(Vec<Vec<i64>>, Totals), Error> {
        let mut lanes = Vec::new();
        let mut meters = vec![control.clone()];
        for stream in 0..usize::from(self.agreement.size().schedule.streams) {
            let mut open = |lane, ahead_bytes| -> Result<MeteredLane, Error> {
                let (channel, meter) = Metered::new(link.open(lane, ahead_bytes)?);
                meters.push(meter.clone());
                Ok((channel, meter))
            };
            let layers = open(Lane::layers(stream), self.forecast.ahead_bytes(self.party))?;
            let ahead_bytes = self.forecast.generator_ahead_bytes(stream, self.party);
            let generator = open(Lane::correlations(stream), ahead_bytes)?;
            let masks = self.forecast.masks_ahead_bytes(self.party);
            let masks = masks.map(|ahead_bytes| open(Lane::masks(stream), ahead_bytes)).transpose()?;
            lanes.push((stream, Lanes { layers, generator, masks }));
        }
        let (done, error) = (AtomicUsize::new(0), Mutex::new(None));
        let common = Common { inputs, progress: Mutex::new(progress), meters, done, error };
        let (link, shared) = (&*link, &common);
        let streams: Vec<Option<Stream>> = std::thread::scope(|scope| {
            let run = |(stream, lanes): (usize, Lanes)| scope.spawn(move || self.guarded(link, stream, lanes, shared));
            let threads: Vec<_> = lanes.into_iter().map(run).collect();
            let resume = |panic| std::panic::resume_unwind(panic);
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(resume)).collect()
        });
        if let Some(error) = common.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            link.break_off();
            return Err(error);
        }
        let mut totals = Totals::of(self.steps.function().values.len());
        let mut revealed = Vec::new();
        for (of_stream, took) in streams.into_iter().flatten() {
            totals.add(took);
            revealed.push(of_stream);
        }
        // Streams end at the same time: what they reveal of each micro-batch, put in order.
        let mut micro_batches = vec![Vec::new(); self.micro_batches()];
        for (stream, revealed) in revealed.into_iter().enumerate() {
            let numbers = self.agreement.size().schedule.numbers(stream);
            numbers.zip(revealed).for_each(|(number, revealed)| micro_batches[number] = revealed);
        }
        Ok((micro_batches.into_iter().flatten().collect(), totals))
    }

    /// [`Executor::stream`], which ends the other streams if it fails. If it failed because the
    /// peer closed the connection, the others are left to end by themselves: one of them may still
    /// find, in what has already arrived, why the peer did so.
    fn guarded(&self, link: &dyn Link, stream: usize, lanes: Lanes, common: &Common<'_, '_>) -> Option<Stream> {
        let guard = BreakOff::new(link);
        let outcome = self.stream(link, stream, lanes, common);
        guard.settle(&outcome);
        match outcome {
            Ok(stream) => Some(stream),
            Err(error) => {
                let mut kept = common.error.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.as_ref().is_none_or(|kept| extent(kept) < extent(&error)) {
                    *kept = Some(error);
                }
                None
            }
        }
    }

    /// One stream from its set-up to its last micro-batch.
    fn stream(&self, link: &dyn Link, stream: usize, lanes: Lanes, common: &Common<'_, '_>) -> Result<Stream, Error> {
        let Lanes { layers: (layers, ref meter), generator: (generator, generator_meter), masks } = lanes;
        let (mut masks, masks_meter) = masks.unzip();
        let mut totals = Totals::of(self.steps.function().values.len());
        let setting_up = Stopwatch::start(meter);
        let (id, size) = (self.agreement.stream_id(stream), self.agreement.size());
        let (layers, generator, supply) = (Box::new(layers), Box::new(generator), self.forecast.supply(stream));
        let session = Session::establish(self.party, layers, generator, id, supply)?;
        let session = match size.offline.ahead {
            true => session.preprocess(self.forecast.draws(stream))?,
            false => session.on_demand(),
        };
        let mut session = session.prepare(Arc::clone(self.steps), size.keys)?;
        setting_up.stop(&mut totals.offline);
        let mut revealed = Vec::new();
        for index in size.schedule.numbers(stream) {
            let beginning = Stopwatch::start(meter);
            let positions = size.schedule.range(index);
            // Before the micro-batch's first byte.
            let share = match common.inputs {
                Some(inputs) => inputs.shares(positions.clone())?,
                None => vec![0; positions.len() * self.steps.function().values[0].ty.len()],
            };
            let mut batch = session.begin(positions.len())?;
            beginning.stop(&mut totals.offline);
            let ahead = batch.ahead().zip(masks.as_mut());
            let run = || self.micro_batch(index, batch, share, meter, &mut totals, common);
            let (opened, len) = match ahead {
                Some((ahead, masks)) => self.beside(link, ahead, masks, run)?,
                None => run()?,
            };
            revealed.push(opened.chunks_exact(len.max(1)).map(<[i64]>::to_vec).collect());
        }
        let mut traffic = meter.read();
        for meter in [Some(generator_meter), masks_meter].into_iter().flatten() {
            traffic += meter.read();
            totals.offline.traffic += meter.read();
        }
        totals.streams = vec![traffic];
        Ok((revealed, totals))
    }

    /// `run`, while a thread runs its linear layers on masks. Whichever fails ends the other, and
    /// the error that explains most is the one; if both say as much, that of the layers on masks,
    /// which the other waits for.
    fn beside<T>(
        &self,
        link: &dyn Link,
        ahead: Ahead,
        masks: &mut Metered,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let function = self.steps.function();
        let weights = |id| self.model.map(|model| model.layer(function, function.value(id))).transpose();
        std::thread::scope(|scope| {
            let made = scope.spawn(move || {
                let guard = BreakOff::new(link);
                let made = ahead.run(masks, self.steps, weights);
                guard.settle(&made);
                made
            });
            let guard = BreakOff::new(link);
            let outcome = run();
            guard.settle(&outcome);
            let made = made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (outcome, made) {
                (Err(one), Err(other)) => Err(if extent(&one) <= extent(&other) { other } else { one }),
                (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
                (Ok(outcome), Ok(())) => Ok(outcome),
            }
        })
    }

    fn micro_batches(&self) -> usize {
        self.agreement.size().schedule.micro_batches() as usize
    }

    /// One micro-batch through all layers; what was revealed, and its number of elements per
    /// position. A share is dropped after its last reader.
    fn micro_batch(
        &self,
        index: usize,
        mut batch: MicroBatch<'_>,
        input: Vec<u64>,
        meter: &Meter,
        totals: &mut Totals,
        common: &Common<'_, '_>,
    ) -> Result<(Vec<i64>, usize), Error> {
        let last_uses = self.steps.function().last_uses();
        let mut shares: Vec<Vec<u64>> = Vec::with_capacity(self.steps.function().values.len());
        let mut input = Some(input);
        let mut revealed = (Vec::new(), 0);
        for (id, value) in self.steps.function().iter() {
            self.show(index, id.index(), common);
            let stopwatch = Stopwatch::start(meter);
            let last = |operand: usize| last_uses[operand] == id;
            let share = match &value.op {
                Op::Input(_) => input.take().unwrap_or_default(),
                // Positions are mixed when inputs are made, and checked after the last micro-batch.
                Op::Mix(_) | Op::Check | Op::Reshape => {
                    let operand = value.operands[0].index();
                    if last(operand) { std::mem::take(&mut shares[operand]) } else { shares[operand].clone() }
                }
                Op::Reveal(_) => {
                    let opened = batch.reveal(id, &shares[value.operands[0].index()])?;
                    revealed = (opened.unwrap_or_default(), value.ty.len());
                    Vec::new()
                }
                _ => {
                    let operands: Vec<&[u64]> = value.operands.iter().map(|v| shares[v.index()].as_slice()).collect();
                    let model = self.model.filter(|_| batch.needs_weights(id));
                    let weights = model.map(|model| model.layer(self.steps.function(), value)).transpose()?;
                    batch.run(id, weights.as_deref(), &operands)?
                }
            };
            shares.push(share);
            for operand in value.operands.iter().map(|operand| operand.index()) {
                if last(operand) {
                    shares[operand] = Vec::new();
                }
            }
            stopwatch.stop(&mut totals.layers[id.index()]);
            common.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(revealed)
    }

    /// Tells who watches that value `layer` of micro-batch `index` is next.
    fn show(&self, index: usize, layer: usize, common: &Common<'_, '_>) {
        let value = &self.steps.function().values[layer];
        let mut traffic = Traffic::default();
        common.meters.iter().for_each(|meter| traffic += meter.read());
        let step = Step {
            micro_batch: index,
            micro_batches: self.micro_batches(),
            layer,
            layers: self.steps.function().values.len(),
            done: common.done.load(Ordering::Relaxed),
            op: value.op.name(),
            node: value.node.as_str(),
            traffic,
        };
        (common.progress.lock().unwrap_or_else(PoisonError::into_inner))(step);
    }
}

impl BreakOff<'_> {
    /// Breaks off if that is what this outcome calls for: not if the peer closed the connection.
    fn settle<T>(self, outcome: &Result<T, Error>) {
        if outcome.as_ref().err().is_none_or(|error| extent(error) == 0) {
            self.disarm();
        }
    }
}

/// Ranks errors by how much they explain. A closed connection ranks lowest: whichever party closed
/// it may have done so because of an error that another stream reports.
fn extent(error: &Error) -> u8 {
    use std::io::ErrorKind::{NotConnected, UnexpectedEof};
    match error {
        Error::Peer(fusion_backends::Error::Io(error)) => match error.kind() {
            UnexpectedEof => 0,
            NotConnected => 1,
            _ => 2,
        },
        _ => 3,
    }
}

impl Totals {
    /// Nothing yet, of so many layers.
    pub(crate) fn of(layers: usize) -> Totals {
        Totals { layers: vec![Spent::default(); layers], ..Totals::default() }
    }

    /// All traffic, with `control`, that of the control lane.
    pub fn traffic(&self, control: Traffic) -> Traffic {
        let mut all = control;
        self.streams.iter().for_each(|stream| all += *stream);
        all
    }

    /// Adds what another stream took, or another session at the same time.
    pub(crate) fn add(&mut self, other: Totals) {
        // Streams set up side by side.
        self.offline.traffic += other.offline.traffic;
        self.offline.time = self.offline.time.max(other.offline.time);
        self.layers.iter_mut().zip(other.layers).for_each(|(own, other)| *own += other);
        self.streams.extend(other.streams);
    }
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        self.traffic += other.traffic;
        self.time += other.time;
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
