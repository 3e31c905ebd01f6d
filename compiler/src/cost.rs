//! What a plan costs: a position layer by layer, and whole batches.

use fusion_catalogue::ot::{OtPool, OtSource};
use fusion_catalogue::{Cost, Keys, Resolver, Schedule, Step, Steps};
use fusion_estimate::{SessionTime, SessionTrace, suited};
use fusion_ir::op::Mix;
use fusion_ir::plan::Suggestion;
use fusion_ir::{Function, Plan, ValueId};

use crate::passes::select::{Candidate, Scale, Target};
use crate::{Error, suggest};

/// A plan whose layers are resolved, before a network and two machines.
#[derive(Clone, Debug)]
pub struct Costs<'p> {
    plan: &'p Plan,
    target: &'p Target,
    steps: Steps,
    /// Of a position among many.
    keys: Keys,
    /// What the client's user asks for, whatever the batch.
    given: Option<Keys>,
}

/// What one position costs.
#[derive(Clone, Debug)]
pub struct Position {
    /// The layers that need both parties, in the order of execution.
    pub layers: Vec<Layer>,
    /// Their sum, of a position by itself, without oblivious transfers.
    pub total: Cost,
    /// Time, as one position among those that go through the layers together.
    pub seconds: f64,
    /// What a session sets up once, without that of its oblivious transfers.
    pub setup: Cost,
    /// Time until the first position can begin.
    pub setup_s: f64,
}

/// What one layer of one position costs.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its value.
    pub id: ValueId,
    /// Bytes and rounds, exactly.
    pub cost: Cost,
    /// Time, as one position among those that go through the layers together.
    pub seconds: f64,
}

/// The best way to compute a layer that was not chosen. Both times may be negative: choices are
/// made for the whole plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunnerUp {
    /// Who would compute it.
    pub backend: fusion_ir::Backend,
    /// How many seconds longer a position would compute.
    pub computing_s: f64,
    /// How many seconds longer it would wait for the network.
    pub network_s: f64,
}

/// What a batch costs.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Queries, copies and public samples.
    pub mix: Mix,
    /// How it goes through the layers.
    pub schedule: Schedule,
    /// Where its oblivious transfers come from.
    pub supply: OtSource,
    /// All of them, their set-up left out.
    pub draws: Cost,
    /// Bytes for each query, both ways, with everything that a session sends.
    pub query_bytes: u64,
    /// Time in all.
    pub seconds: f64,
}

impl Batch {
    /// How often the program runs.
    pub fn positions(&self) -> u64 {
        positions(&self.mix)
    }

    /// Time for each query.
    pub fn query_s(&self) -> f64 {
        self.seconds / self.mix.queries as f64
    }
}

/// How often a batch runs the program.
pub fn positions(mix: &Mix) -> u64 {
    mix.queries.saturating_mul(mix.copies).saturating_add(mix.public)
}

/// The cheapest batch that meets a suggestion; without copies and public samples if the plan is
/// made for clients who do not verify.
///
/// # Errors
/// [`Error::Usage`] if no batch meets it.
pub fn mix(plan: &Plan, suggestion: Suggestion) -> Result<Mix, Error> {
    match plan.is_verified() {
        true => Ok(suggest::batch(suggestion)?.1),
        false => Ok(Mix { queries: suggestion.queries, copies: 1, public: 0 }),
    }
}

impl<'p> Costs<'p> {
    /// Resolves the layers. Without `keys`, a client's default.
    ///
    /// # Errors
    /// The layers that no protocol carries.
    pub fn new(plan: &'p Plan, target: &'p Target, keys: Option<Keys>) -> Result<Costs<'p>, Error> {
        let steps = Steps::of(&plan.function)?;
        let given = keys;
        let keys = given.unwrap_or_else(|| Keys::of(&steps));
        Ok(Costs { plan, target, steps, keys, given })
    }

    /// The same plan before another network or other machines.
    pub fn before<'q>(&self, target: &'q Target) -> Costs<'q>
    where
        'p: 'q,
    {
        Costs { plan: self.plan, target, steps: self.steps.clone(), keys: self.keys, given: self.given }
    }

    /// What times are forecast for.
    pub fn target(&self) -> &'p Target {
        self.target
    }

    /// The plan.
    pub fn plan(&self) -> &'p Plan {
        self.plan
    }

    /// Which layers share a key pair.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// How many key pairs a position has.
    pub fn key_pairs(&self) -> usize {
        self.keys.pairs(&self.steps)
    }

    /// What one position costs.
    pub fn position(&self) -> Position {
        let session = self.session();
        let together = f64::from(self.target.schedule.micro_batch);
        let shared = self.plan.function.iter().filter(|(_, value)| !value.op.is_local());
        let layer = |(id, _): (ValueId, _)| Layer {
            id,
            cost: self.steps.get(id).cost(self.keys, 1),
            seconds: session.layers[id.index()].seconds / together,
        };
        Position {
            layers: shared.map(layer).collect(),
            total: self.total(self.keys),
            seconds: (session.seconds - session.setup_s) / together,
            setup: self.steps.shared(self.keys).once(),
            setup_s: session.setup_s,
        }
    }

    /// What a batch costs that goes through the layers with at most so many positions together and
    /// so many micro-batches at the same time.
    pub fn batch(&self, mix: Mix, micro_batch: u32, streams: u8) -> Batch {
        let positions = positions(&mix);
        let schedule = Schedule::even(positions, micro_batch, streams);
        let keys = self.given.unwrap_or_else(|| suited(&self.steps, schedule, Some(self.target.network)));
        let position = self.total(keys);
        let (supply, draws) = transfers(&position, positions);
        let mut setup = self.steps.shared(keys).once();
        setup.then(&supply.setup());
        let once = (draws.both_ways() + setup.both_ways()) as f64;
        let each = position.both_ways() as f64 * positions as f64;
        let trace = SessionTrace::new(&self.steps, schedule, keys);
        let seconds = trace.seconds(&self.target.machine, self.target.network);
        let query_bytes = ((each + once) / mix.queries as f64) as u64;
        Batch { mix, schedule, supply, draws, query_bytes, seconds }
    }

    /// All messages of one position, those of linear layers on masks too.
    fn total(&self, keys: Keys) -> Cost {
        self.steps.costs(keys, 1).into_iter().chain(self.steps.ahead(keys, 1)).sum()
    }

    /// For every layer of a [position](Self::position), the best of what was not chosen.
    pub fn runners_up(&self) -> Vec<Option<RunnerUp>> {
        let function = &self.plan.function;
        let mut scale = Scale::new(function, self.target);
        let shared = function.iter().filter(|(_, value)| !value.op.is_local());
        let runner_up = |(id, value): (ValueId, &fusion_ir::Value)| {
            let all = scale.candidates(function, id);
            let chosen = all.iter().find(|candidate| candidate.backend == value.backend)?;
            let other = all.iter().find(|candidate| candidate.backend != chosen.backend)?;
            let together = f64::from(self.target.schedule.micro_batch);
            let more = |of: fn(&Candidate) -> f64| (of(other) - of(chosen)) / together;
            Some(RunnerUp {
                backend: other.backend,
                computing_s: more(|candidate| candidate.computing_s),
                network_s: more(|candidate| candidate.seconds - candidate.computing_s),
            })
        };
        shared.map(runner_up).collect()
    }

    /// The time of one micro-batch.
    fn session(&self) -> SessionTime {
        let schedule = self.target.schedule;
        let schedule = Schedule { positions: u64::from(schedule.micro_batch), ..schedule };
        SessionTrace::new(&self.steps, schedule, self.keys).play(&self.target.machine, self.target.network)
    }
}

/// The oblivious transfers of so many positions that each cost `position`, one by one: where they
/// come from, and what drawing them costs.
pub fn transfers(position: &Cost, positions: u64) -> (OtSource, Cost) {
    let supply = OtSource::for_demand(position.tiles().map(|tiles| tiles * positions));
    let mut stock = OtPool::new(supply);
    let mut draws = Cost::default();
    (0..positions).for_each(|_| draws.then(&position.generator(&mut stock)));
    (supply, draws)
}

/// What each value of a function costs, at whatever stage it is; none of those that no protocol
/// carries as they are.
pub fn of_values(function: &Function) -> Vec<Option<Cost>> {
    let mut resolver = Resolver::default();
    let step = |(id, value): (ValueId, &fusion_ir::Value)| resolver.step(function, id, value.backend).ok();
    let steps: Vec<Option<Step>> = function.iter().map(step).collect();
    let keys = Keys::of(steps.iter().flatten());
    steps.iter().map(|step| step.as_ref().map(|step| step.cost(keys, 1))).collect()
}
