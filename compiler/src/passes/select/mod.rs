//! Chooses who computes each value: the parties by themselves where no message is needed, otherwise
//! what takes the least time on the [`Target`] by the catalogue's forecast.
//!
//! Choices are made together, not one by one: the sum of all layers' times and of what layers cost
//! or save each other is minimised exactly (`eliminate`): keys and set-up that a family needs once
//! are a cost of all its values together. Shares are additive mod 2^bits under every backend, so
//! passing a value from one to another is free.
//!
//! A sum does not know that micro-batches in flight fill each other's waiting, nor who runs ahead
//! of whom. So it is minimised for several shares of the waiting, and of what comes out, and of
//! every single backend, that is taken whose whole session is forecast to be the shortest.

mod eliminate;
mod shared;

use std::cmp::Ordering;

use fusion_catalogue::linear::Refusal;
use fusion_catalogue::ot::{self, OtSource, TILE_ROWS};
use fusion_catalogue::{Cost, Keys, Primitive, Resolver, Schedule, SharedSetup, Step};
use fusion_estimate::{Clock, SessionTrace};
use fusion_estimate::{Machine, Network};
use fusion_ir::backend::{Backend, Cheetah};
use fusion_ir::{Function, Party, ValueId};

use super::{Program, Settings};
use eliminate::{Term, least};
use shared::SharedPart;

/// What backends are chosen for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Between the parties.
    pub network: Network,
    /// How fast the parties compute.
    pub machine: Machine,
    /// The batch, of at least one position: what the positions of a micro-batch share, such as
    /// rounds, counts once.
    pub schedule: Schedule,
    /// What may be chosen.
    pub choice: Choice,
}

/// How much of a layer's waiting time counts, as a fraction. The minimisation runs once for each: 1
/// is a micro-batch by itself, which pays for every wait; 0 is one whose waits other micro-batches
/// fill completely. The choices that come out are then compared as whole sessions.
const WAITING: [f64; 4] = [1.0, 0.5, 0.2, 0.0];

/// What may be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Whatever is cheapest.
    #[default]
    Auto,
    /// One backend for everything that is not local.
    Always(Backend),
}

impl Default for Target {
    /// A LAN between two machines of the kind that the default profile is of.
    fn default() -> Target {
        let (network, machine) = (Network::LAN, Machine::default());
        Target { network, machine, schedule: Schedule::new(1, 1, 1), choice: Choice::Auto }
    }
}

/// One way to compute a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Who computes it.
    pub backend: Backend,
    /// How.
    pub step: Step,
    /// What that costs on a micro-batch.
    pub cost: Cost,
    /// Seconds of it that are computation.
    pub computing_s: f64,
    /// Seconds of it in which neither party computes and no link carries anything: other
    /// micro-batches may fill them.
    pub waiting_s: f64,
    /// Seconds in all, by itself.
    pub seconds: f64,
}

/// Weighs the ways to compute a function's values for a target.
pub struct Scale<'t> {
    target: &'t Target,
    /// Where correlations come from.
    supply: OtSource,
    resolver: Resolver,
}

impl Scale<'_> {
    /// For a function, by what it draws now: silent correlations are cheaper than others, but only
    /// large batches have them.
    pub fn new<'t>(function: &Function, target: &'t Target) -> Scale<'t> {
        let mut resolver = Resolver::default();
        let course = resolver.steps(function).map(|steps| SessionTrace::new(&steps, target.schedule, Keys::Position));
        Scale { target, supply: course.map_or_else(|_| OtSource::default(), |course| course.supply(0)), resolver }
    }

    /// Every way to compute value `id` that the protocols have, the fastest first; of those that do
    /// the same, one. Nothing for a local operation.
    pub fn candidates(&mut self, function: &Function, id: ValueId) -> Vec<Candidate> {
        let op = &function.value(id).op;
        let mut backends = fusion_catalogue::candidates(op);
        if let (Choice::Always(backend), false) = (self.target.choice, backends.is_empty()) {
            backends = vec![backend.for_op(op)];
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for backend in backends {
            let Ok(step) = self.resolver.step(function, id, backend) else { continue };
            let cost = step.cost(Keys::Position, self.target.schedule.whole());
            if candidates.iter().all(|other| other.cost != cost) {
                candidates.push(self.candidate(backend, step, cost));
            }
        }
        candidates.sort_by(|a, b| a.seconds.partial_cmp(&b.seconds).unwrap_or(Ordering::Equal));
        candidates
    }

    /// Seconds of value `id` by itself, the fastest way; infinitely many if no protocol carries it.
    pub fn seconds(&mut self, function: &Function, id: ValueId) -> f64 {
        if function.value(id).op.is_local() {
            let cost = self.local(function, id, &[]);
            return self.target.machine.seconds(&cost);
        }
        self.candidates(function, id).first().map_or(f64::INFINITY, |fastest| fastest.seconds)
    }

    fn candidate(&self, backend: Backend, step: Step, cost: Cost) -> Candidate {
        let Target { network, machine, .. } = self.target;
        // Correlations are made ahead, so nobody waits for their messages; their bytes and
        // computations are there all the same.
        let (primitive, bytes) = self.supply.each();
        let mut making = Cost::default();
        let rows = cost.tiles().map(|tiles| tiles * TILE_ROWS);
        making.compute(primitive, rows[0] + rows[1]);
        for need in &cost.draws {
            making.compute(Primitive::Hash, need.client_receives.hashes() + need.server_receives.hashes());
        }
        let sending_s = rows[0].max(rows[1]) as f64 * bytes * network.seconds_per_byte();
        let computing_s = machine.seconds(&cost) + machine.seconds(&making);
        let seconds = Clock::new(*network).run(&cost, computing_s) + sending_s;
        let link_s = [Party::Client, Party::Server].map(|party| cost.bytes(party) as f64 * network.seconds_per_byte());
        let waiting_s = (seconds - computing_s - sending_s - link_s[0].max(link_s[1])).max(0.0);
        Candidate { backend, step, cost, computing_s, waiting_s, seconds }
    }

    /// What a value costs that has no candidates: nothing where no protocol carries it.
    fn local(&mut self, function: &Function, id: ValueId, candidates: &[Candidate]) -> Cost {
        if !candidates.is_empty() {
            return Cost::default();
        }
        let step = self.resolver.step(function, id, Backend::Local);
        step.map_or_else(|_| Cost::default(), |step| step.cost(Keys::Position, self.target.schedule.whole()))
    }

    /// The backend of a value that has no candidates.
    fn fallback(&mut self, function: &Function, id: ValueId, candidates: &[Candidate]) -> Backend {
        let op = &function.value(id).op;
        if op.is_local() || !candidates.is_empty() {
            return Backend::Local;
        }
        let default = Backend::Cheetah(Cheetah::default());
        let Choice::Always(backend) = self.target.choice else { return default };
        // What the chosen family does not have is the default one's. What it has, but not for so
        // much, it is to refuse: like all that no protocol carries, by name after the passes.
        match self.resolver.step(function, id, backend) {
            Err(Refusal::Scalars { .. }) => backend.for_op(op),
            _ => default,
        }
    }

    /// The options with the least sum of times, of which so much of the waiting counts that nothing
    /// else fills.
    fn together(&self, all: &[Vec<Candidate>], waiting: f64) -> Vec<usize> {
        // Values with nothing to choose have one option, which costs nothing.
        let options: Vec<usize> = all.iter().map(|candidates| candidates.len().max(1)).collect();
        let counted = |candidate: &Candidate| candidate.seconds - (1.0 - waiting) * candidate.waiting_s;
        let alone = |(index, candidates): (usize, &Vec<Candidate>)| Term {
            choices: vec![index],
            values: candidates.iter().map(counted).collect(),
        };
        let terms = all.iter().enumerate().filter(|(_, candidates)| !candidates.is_empty()).map(alone).collect();
        let mut picked = least_with_shared(self.target, all, options, terms);
        picked.truncate(all.len());
        picked
    }

    /// The options that have one backend for everything, as far as it can: the default one takes
    /// its place where it cannot.
    fn single(&self, all: &[Vec<Candidate>]) -> Vec<Vec<usize>> {
        let mut backends: Vec<Backend> = all.iter().flatten().map(|candidate| candidate.backend).collect();
        backends.sort_unstable_by_key(|backend| format!("{backend}"));
        backends.dedup();
        let way = |backend: Backend| {
            let pick = |candidates: &Vec<Candidate>| {
                let of = |wanted| candidates.iter().position(|candidate| candidate.backend == wanted);
                of(backend).or_else(|| of(Backend::Cheetah(Cheetah::default()))).unwrap_or(0)
            };
            all.iter().map(pick).collect()
        };
        backends.into_iter().map(way).collect()
    }

    /// What the whole batch takes with these options; `local` is what the values cost that have
    /// none.
    fn session_s(&self, all: &[Vec<Candidate>], local: &[Cost], picked: &[usize]) -> f64 {
        let Target { network, machine, schedule, .. } = self.target;
        let micro_batch = schedule.whole();
        let chosen: Vec<Option<&Candidate>> =
            all.iter().zip(picked).map(|(candidates, option)| candidates.get(*option)).collect();
        let steps = chosen.iter().flatten().map(|candidate| &candidate.step);
        let keys = Keys::of(steps.clone());
        let layer = |(candidate, local): (&Option<&Candidate>, &Cost)| match candidate {
            Some(candidate) if keys.own(&candidate.step) => candidate.step.cost(keys, micro_batch),
            Some(candidate) => candidate.cost.clone(),
            None => local.clone(),
        };
        let layers = chosen.iter().zip(local).map(layer);
        let shared = SharedSetup::of(steps, keys);
        let course = SessionTrace {
            setup: shared.once(),
            whole: std::iter::once(shared.begin(micro_batch)).chain(layers).collect(),
            rest: Vec::new(),
            masks: Default::default(),
            masked: Vec::new(),
            // As if the last micro-batch were a whole one, too.
            schedule: Schedule { positions: schedule.micro_batches() * micro_batch as u64, ..*schedule },
            correlations: match self.supply {
                OtSource::SoftSpoken(_) => ot::Choice::SoftSpoken,
                OtSource::Silent(_) => ot::Choice::Silent,
            },
        };
        course.seconds(machine, *network)
    }
}

pub(super) fn apply(program: &mut Program, settings: &Settings) {
    let function = &mut program.function;
    let mut scale = Scale::new(function, &settings.target);
    let ids = (0..function.values.len() as u32).map(ValueId);
    let all: Vec<Vec<Candidate>> = ids.clone().map(|id| scale.candidates(function, id)).collect();
    let local: Vec<Cost> =
        ids.clone().zip(&all).map(|(id, candidates)| scale.local(function, id, candidates)).collect();
    let fallbacks: Vec<Backend> =
        ids.zip(&all).map(|(id, candidates)| scale.fallback(function, id, candidates)).collect();
    let mut ways: Vec<Vec<usize>> = WAITING.iter().map(|waiting| scale.together(&all, *waiting)).collect();
    ways.extend(scale.single(&all));
    ways.dedup();
    let seconds = |way: &Vec<usize>| match ways.len() {
        1 => 0.0,
        _ => scale.session_s(&all, &local, way),
    };
    let seconds: Vec<f64> = ways.iter().map(seconds).collect();
    let best = (1..ways.len()).fold(0, |best, way| if seconds[way] < seconds[best] { way } else { best });
    choose(function, &all, &ways[best], &fallbacks);
}

/// Sets the backend of every value to the candidate that `picked` says, or to its fallback if it
/// has none.
fn choose(function: &mut Function, all: &[Vec<Candidate>], picked: &[usize], fallbacks: &[Backend]) {
    for (((value, candidates), option), fallback) in function.values.iter_mut().zip(all).zip(picked).zip(fallbacks) {
        value.backend = candidates.get(*option).map_or(*fallback, |candidate| candidate.backend);
    }
}

/// [`least`], with what candidates need once: for every [`SharedPart`] a choice whether to have it,
/// which costs its time, and for every value a term that excludes what needs a part that is not
/// there.
fn least_with_shared(
    target: &Target,
    all: &[Vec<Candidate>],
    mut options: Vec<usize>,
    mut terms: Vec<Term>,
) -> Vec<usize> {
    for part in SharedPart::ALL {
        let choice = options.len();
        let needs = |(index, candidates): (usize, &Vec<Candidate>)| {
            let without = |candidate: &Candidate| match part.serves(&candidate.step) {
                true => f64::INFINITY,
                false => 0.0,
            };
            let values: Vec<f64> = candidates.iter().flat_map(|candidate| [without(candidate), 0.0]).collect();
            let matters = values.iter().any(|value| *value > 0.0);
            matters.then(|| Term { choices: vec![index, choice], values })
        };
        let needs: Vec<Term> = all.iter().enumerate().filter_map(needs).collect();
        if !needs.is_empty() {
            options.push(2);
            terms.push(Term { choices: vec![choice], values: vec![0.0, part.seconds(all, target)] });
            terms.extend(needs);
        }
    }
    least(&options, terms)
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::Steps;
    use fusion_ir::Value;
    use fusion_ir::backend::CryptFlow2;

    use super::*;

    fn function() -> Function {
        fusion_ir::text::parse(
            "function \"f\"\nweight @w0 \"w\" : i8.0[4,8]\nv0 = input : i28.0~9[8] \"\"\n\
             v1 = dense v0, @w0 : i28.0~18[4] \"\"\nv2 = requant_relu v1 shift=12 : i16.-12~6+[4] \"\"\n\
             v3 = reshape v2 : i16.-12~6+[2,2] \"\"\nv4 = extend v3 : i28.-12~6+[2,2] \"\"\n",
        )
        .unwrap()
    }

    fn selected(target: Target) -> Vec<Backend> {
        let mut program = Program { function: function(), ..Program::default() };
        apply(&mut program, &Settings { target, ..Settings::default() });
        program.function.values.iter().map(|value| value.backend).collect()
    }

    fn machine(costs: &[(Primitive, f64)]) -> Machine {
        Machine { nanoseconds: costs.iter().copied().collect(), ..Machine::default() }
    }

    #[test]
    fn every_value_gets_who_computes_it() {
        let backends = selected(Target::default());
        assert_eq!((backends[0], backends[3]), (Backend::Local, Backend::Local));
        assert!([1, 2, 4].iter().all(|at| !matches!(backends[*at], Backend::Local | Backend::Unselected)));
        let one = Backend::Cheetah(Cheetah { leaf_bits: 1, ..Cheetah::default() });
        let always = selected(Target { choice: Choice::Always(one), ..Target::default() });
        assert_eq!(always, [Backend::Local, one, one, Backend::Local, one]);
    }

    #[test]
    fn the_network_and_the_machine_decide() {
        let all = Scale::new(&function(), &Target::default()).candidates(&function(), ValueId(2));
        let chosen = |target: Target| {
            let backend = selected(target)[2];
            &all.iter().find(|candidate| candidate.backend == backend).unwrap().cost
        };
        let least = |of: &dyn Fn(&Cost) -> u64| all.iter().map(|candidate| of(&candidate.cost)).min().unwrap();
        // Where messages take long there are few of them.
        let far = Network { mbit_per_s: 1e9, rtt_ms: 1e3 };
        let messages = |cost: &Cost| cost.messages.len() as u64;
        assert_eq!(messages(chosen(Target { network: far, ..Target::default() })), least(&messages));
        let near = Network { mbit_per_s: 1e9, rtt_ms: 1e-6 };
        let slow_ots = [Primitive::CorrelatedOt, Primitive::SilentOt, Primitive::ColumnOt].map(|ot| (ot, 1e9));
        let slow_ots = Target { machine: machine(&slow_ots), network: near, ..Target::default() };
        // Bytes count with those of the correlations, and no family's set-up pays for so little.
        let slow = Network { mbit_per_s: 1e-6, rtt_ms: 1e-6 };
        let slow = Target { machine: machine(&[]), network: slow, ..Target::default() };
        for (target, joins) in [(slow_ots, true), (slow, false)] {
            let found = selected(target.clone())[2];
            let weighed = Scale::new(&function(), &target).candidates(&function(), ValueId(2));
            let joined = |candidate: &&Candidate| joins || !matches!(candidate.backend, Backend::CryptFlow2(_));
            assert_eq!(weighed.iter().find(joined).map(|candidate| candidate.backend), Some(found));
        }
    }

    #[test]
    fn a_family_is_joined_only_if_it_pays_for_its_set_up() {
        let near = Network { mbit_per_s: 1e9, rtt_ms: 1e-6 };
        let dense = |base_ot| {
            let machine = machine(&[(Primitive::Ciphertext, 1e9), (Primitive::BaseOt, base_ot)]);
            selected(Target { network: near, machine, ..Target::default() })[1]
        };
        assert_eq!(dense(0.0), Backend::CryptFlow2(CryptFlow2::Ot));
        assert_eq!(dense(1e9), Backend::Cheetah(Cheetah::default()));
    }

    #[test]
    fn results_are_packed_where_layers_that_share_the_keys_are_enough() {
        let convolutions = |layers: usize| {
            let mut text = String::from(
                "function \"f\"\nweight @w0 \"w\" : i8.0[64,64,1,1]\nv0 = input : i28.0~9[64,14,14] \"\"\n",
            );
            for layer in 1..=layers {
                let operation = "strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : i28.0~18[64,14,14] \"\"";
                text.push_str(&format!("v{layer} = conv v{}, @w0 {operation}\n", layer - 1));
            }
            fusion_ir::text::parse(&text).unwrap()
        };
        let packed = |layers, switch_ns| {
            let network = Network { mbit_per_s: 10.0, rtt_ms: 1e-6 };
            let machine = machine(&[(Primitive::KeySwitch, switch_ns)]);
            let target = Target { network, machine, ..Target::default() };
            let mut program = Program { function: convolutions(layers), ..Program::default() };
            apply(&mut program, &Settings { target, ..Settings::default() });
            let packs =
                |value: &&Value| matches!(value.backend, Backend::Cheetah(Cheetah { output_packing: true, .. }));
            program.function.values.iter().filter(packs).count()
        };
        assert_eq!([packed(1, 0.0), packed(40, 0.0), packed(40, 1e9)], [0, 40, 0]);
    }

    #[test]
    fn the_fastest_comes_first_with_what_it_costs() {
        let candidates = |id| Scale::new(&function(), &Target::default()).candidates(&function(), ValueId(id));
        let all = candidates(2);
        assert_eq!(all.len(), 6);
        assert!(all.windows(2).all(|pair| pair[0].seconds <= pair[1].seconds));
        assert!(all.iter().all(|candidate| candidate.computing_s < candidate.seconds));
        // Leaves do not matter to an extension whose sign is known.
        assert_eq!(candidates(4).len(), 3);
    }

    #[test]
    fn no_single_backend_is_forecast_to_be_faster() {
        for (network, positions, streams) in [(Network::LAN, 1, 1), (Network::WAN, 1, 1), (Network::WAN, 64, 2)] {
            let schedule = Schedule::new(positions, 16, streams);
            let target = |choice| Target { network, schedule, choice, ..Target::default() };
            let seconds = |choice| {
                let mut function = function();
                let backends = selected(target(choice));
                function.values.iter_mut().zip(backends).for_each(|(value, backend)| value.backend = backend);
                let steps = Steps::of(&function).unwrap();
                let course = SessionTrace::new(&steps, schedule, Keys::of(&steps));
                course.seconds(&Machine::default(), network)
            };
            let auto = seconds(Choice::Auto);
            let leaves = [1, 2, 3, 4].map(|leaf_bits| Cheetah { leaf_bits, ..Cheetah::default() });
            let [ot, he] = [CryptFlow2::Ot, CryptFlow2::He].map(Backend::CryptFlow2);
            for single in leaves.map(Backend::Cheetah).into_iter().chain([ot, he]) {
                assert!(auto <= seconds(Choice::Always(single)), "{single} on {network:?}");
            }
        }
    }

    fn products(extent: usize) -> Function {
        fusion_ir::text::parse(&format!(
            "function \"f\"\nv0 = input : i30.0~9[1,{extent},{extent}] \"\"\n\
             v1 = mat_mul v0, v0 : i30.0~29[1,{extent},{extent}] \"large\"\nv2 = relu v1 : i30.0~29+[1,{extent},{extent}] \"r\"\n"
        ))
        .unwrap()
    }

    #[test]
    fn large_products_have_no_candidates_that_multiply_scalars() {
        for (extent, by_scalars) in [(16, true), (512, false)] {
            let function = products(extent);
            let candidates = Scale::new(&function, &Target::default()).candidates(&function, ValueId(1));
            let scalars = candidates.iter().any(|candidate| matches!(candidate.step, Step::Compare(_)));
            assert_eq!(scalars, by_scalars, "{extent}");
            assert!(candidates.iter().any(|candidate| matches!(candidate.step, Step::Product(_))), "{extent}");
        }
    }

    /// What was asked for by name and is too large is refused by name, not computed otherwise; and
    /// `ot` is no choice of other operations.
    #[test]
    fn a_backend_that_multiplies_scalars_refuses_large_products() {
        for (name, relu) in [("cheetah(ot)", "cheetah"), ("garbled", "garbled"), ("crypt_flow2-ot", "crypt_flow2-ot")] {
            let choice = Choice::Always(name.parse().unwrap());
            let by = |extent| {
                let mut program = Program { function: products(extent), ..Program::default() };
                apply(
                    &mut program,
                    &Settings { target: Target { choice, ..Target::default() }, ..Settings::default() },
                );
                let backends = [1, 2].map(|at| program.function.values[at].backend.to_string());
                (backends, Steps::of(&program.function).map_err(|refused| refused[0].to_string()))
            };
            let (backends, steps) = by(16);
            assert_eq!((backends, steps.is_ok()), ([name.into(), relu.into()], true));
            let (backends, steps) = by(512);
            assert_eq!(backends, [name, relu]);
            let said = steps.unwrap_err();
            assert!(said.starts_with("mat_mul large: ") && said.contains("134217728 multiplications"), "{said}");
        }
    }
}
