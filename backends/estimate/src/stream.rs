//! A stream of micro-batches on its way through the layers, and who makes its correlations.

use std::collections::VecDeque;

use fusion_catalogue::Cost;
use fusion_catalogue::ot::{OtPool, OtSource};

use crate::link::{Ready, Shared, Step, steps};
use crate::profile::Machine;

/// What one layer takes on all its micro-batches, from when its stream reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerTime {
    /// Seconds in all, waiting for other streams included.
    pub seconds: f64,
    /// Seconds of it that are computation.
    pub computing_s: f64,
}

/// Consecutive steps of a micro-batch.
pub(crate) struct Part<'c> {
    /// The layer they are of; `None` for the keys.
    layer: Option<usize>,
    computing_s: f64,
    steps: Vec<Step>,
    /// What it costs, with the correlations that it draws first.
    cost: &'c Cost,
    /// Whether it is a linear layer that was computed on a mask before.
    masked: bool,
}

/// A stream on its way: which micro-batch, part and step come next.
pub(crate) struct Running {
    ready: Ready,
    /// The numbers of its micro-batches that are not done, the one it is at first.
    left: VecDeque<usize>,
    part: usize,
    step: usize,
    began: f64,
    pub maker: Maker,
    pub masks: Masks,
}

/// Who runs a stream's linear layers on masks, micro-batch by micro-batch, from when its layers
/// begin it.
pub(crate) struct Masks {
    ready: Ready,
    /// Micro-batches that were begun and are not through.
    begun: VecDeque<usize>,
    part: usize,
    step: usize,
    /// When the layers were done that have not had their turn.
    made: VecDeque<f64>,
}

/// Who makes a stream's correlations, ahead of its layers: for which micro-batch and part, and step
/// by step.
pub(crate) struct Maker {
    ready: Ready,
    stock: OtPool,
    left: VecDeque<usize>,
    part: usize,
    steps: VecDeque<Step>,
    /// When those were ready that are not drawn yet.
    made: VecDeque<f64>,
}

impl<'c> Part<'c> {
    /// Those of a micro-batch: what begins it, then every value.
    /// Of `masked` values linear layers are computed before.
    pub fn all(costs: &'c [Cost], machine: &Machine, masked: &[bool]) -> Vec<Part<'c>> {
        let part = |(index, cost): (usize, &'c Cost)| {
            let (computing_s, layer) = (machine.seconds(cost), index.checked_sub(1));
            let masked = layer.is_some_and(|layer| masked.get(layer).copied().unwrap_or(false));
            Part { layer, computing_s, steps: steps(cost, computing_s), cost, masked }
        };
        costs.iter().enumerate().map(part).collect()
    }
}

impl Running {
    /// One that runs the micro-batches of these numbers when it is set up.
    pub fn new(numbers: VecDeque<usize>, ready: Ready, supply: OtSource) -> Running {
        let stock = OtPool::new(supply);
        let maker =
            Maker { ready, stock, left: numbers.clone(), part: 0, steps: VecDeque::new(), made: VecDeque::new() };
        let masks = Masks { ready, begun: VecDeque::new(), part: 0, step: 0, made: VecDeque::new() };
        let mut running = Running { ready, left: numbers, part: 0, step: 0, began: 0.0, maker, masks };
        running.begin();
        running
    }

    /// When both parties are done with everything so far.
    pub fn ready_s(&self) -> f64 {
        self.ready.both()
    }

    /// When it could take its next step; `None` if it has none, or waits for correlations.
    pub fn next<'p>(&self, parts: impl Fn(usize) -> &'p [Part<'p>]) -> Option<f64> {
        let part = parts(*self.left.front()?).get(self.part)?;
        let earliest = self.ready.0[0].min(self.ready.0[1]);
        match self.step {
            0 if !part.cost.draws.is_empty() => self.maker.made.front().map(|made| earliest.max(*made)),
            0 if part.masked => self.masks.made.front().map(|made| earliest.max(*made)),
            _ => Some(earliest),
        }
    }

    /// Takes it.
    pub fn go_on<'p>(&mut self, parts: impl Fn(usize) -> &'p [Part<'p>], shared: &mut Shared, times: &mut [LayerTime]) {
        let Some(&number) = self.left.front() else { return };
        let parts = parts(number);
        let part = &parts[self.part];
        if self.step == 0 {
            self.began = self.ready.both();
            if !part.cost.draws.is_empty() {
                let made = self.maker.made.pop_front().unwrap_or(0.0);
                self.ready.0.iter_mut().for_each(|ready| *ready = ready.max(made));
            }
            if part.masked {
                let made = self.masks.made.pop_front().unwrap_or(0.0);
                self.ready.0.iter_mut().for_each(|ready| *ready = ready.max(made));
            }
        }
        if let Some(step) = part.steps.get(self.step) {
            shared.take(step, &mut self.ready);
            self.step += 1;
        }
        if self.step == part.steps.len() {
            if let Some(layer) = part.layer {
                times[layer].seconds += self.ready.both() - self.began;
                times[layer].computing_s += part.computing_s;
            }
            (self.part, self.step) = (self.part + 1, 0);
        }
        if self.part == parts.len() {
            self.left.pop_front();
            self.part = 0;
            self.begin();
        }
    }

    /// Its next micro-batch, on masks too.
    fn begin(&mut self) {
        self.masks.begun.extend(self.left.front());
        let began = self.ready;
        self.masks.ready.0.iter_mut().zip(began.0).for_each(|(ready, began)| *ready = ready.max(began));
    }
}

impl Masks {
    /// Parts before the first that a layer is done with: see
    /// [`Steps::ahead`](fusion_catalogue::Steps::ahead).
    const BEFORE: usize = 2;

    /// When it could take its next step; `None` if all are through.
    pub fn next<'p>(&self, parts: impl Fn(usize) -> &'p [Part<'p>]) -> Option<f64> {
        parts(*self.begun.front()?).get(self.part).map(|_| self.ready.0[0].min(self.ready.0[1]))
    }

    /// Takes it.
    pub fn go_on<'p>(&mut self, parts: impl Fn(usize) -> &'p [Part<'p>], shared: &mut Shared) {
        let Some(parts) = self.begun.front().map(|number| parts(*number)) else { return };
        if let Some(step) = parts[self.part].steps.get(self.step) {
            shared.take(step, &mut self.ready);
            self.step += 1;
        }
        if self.step == parts[self.part].steps.len() {
            if self.part >= Masks::BEFORE {
                self.made.push_back(self.ready.both());
            }
            (self.part, self.step) = (self.part + 1, 0);
        }
        if self.part == parts.len() {
            self.begun.pop_front();
            self.part = 0;
        }
    }
}

impl Maker {
    /// When it could take its next step; `None` when everything is made.
    pub fn next<'p>(&self, parts: impl Fn(usize) -> &'p [Part<'p>]) -> Option<f64> {
        parts(*self.left.front()?).get(self.part).map(|_| self.ready.0[0].min(self.ready.0[1]))
    }

    /// Takes it.
    pub fn go_on<'p>(&mut self, parts: impl Fn(usize) -> &'p [Part<'p>], machine: &Machine, shared: &mut Shared) {
        let Some(&number) = self.left.front() else { return };
        let parts = parts(number);
        let draws = &parts[self.part].cost;
        if !draws.draws.is_empty() {
            if self.steps.is_empty() {
                let cost = draws.generator(&mut self.stock);
                self.steps = steps(&cost, machine.seconds(&cost)).into();
            }
            if let Some(step) = self.steps.pop_front() {
                shared.take(&step, &mut self.ready);
            }
            if !self.steps.is_empty() {
                return;
            }
            self.made.push_back(self.ready.both());
        }
        self.part += 1;
        if self.part == parts.len() {
            self.left.pop_front();
            self.part = 0;
        }
    }
}
