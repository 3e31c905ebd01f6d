//! Chooses who computes each value: the parties by themselves where no message is needed, otherwise what takes the least time on the
//! [`Target`] by the catalogue's forecast.
//!
//! Choices are made together, not one by one: the sum of all layers' times and of what layers cost or save each other is
//! minimised exactly (`eliminate`): keys and set-up that a family needs once are a cost of all its values together. Shares are additive mod 2^bits under every backend, so passing a value from one to
//! another is free.

mod eliminate;
mod facility;

use std::cmp::Ordering;

use fusion_catalogue::ot::{Ferret, Stock, Supply};
use fusion_catalogue::time::Clock;
use fusion_catalogue::{Cost, Machine, Network};
use fusion_ir::op::{Backend, Cheetah, CryptFlow2};
use fusion_ir::{Function, Op, Value, ValueId};

use super::{Program, Settings};
use eliminate::{Term, least};
use facility::Facility;

/// What backends are chosen for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Between the parties.
    pub network: Network,
    /// How fast the parties compute.
    pub machine: Machine,
    /// Positions of the batch, at least 1.
    pub positions: usize,
    /// Positions that go through the layers together, at least 1: what they share, such as rounds, counts once.
    pub micro_batch: usize,
    /// What may be chosen.
    pub choice: Choice,
}

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
        Target { network, machine, positions: 1, micro_batch: 1, choice: Choice::Auto }
    }
}

/// One way to compute a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Who computes it.
    pub backend: Backend,
    /// What that costs on a micro-batch.
    pub cost: Cost,
    /// Seconds of it that are computation.
    pub computing_s: f64,
    /// Seconds in all, by itself.
    pub seconds: f64,
}

/// Every way to compute value `id` that the protocols have, the fastest first; of those that do the same, one. Nothing for a
/// local operation.
pub fn candidates(function: &Function, id: ValueId, target: &Target) -> Vec<Candidate> {
    let value = function.value(id);
    if value.op.is_local() {
        return Vec::new();
    }
    let mut trial = function.clone();
    let of = |backend| {
        trial.values[id.index()].backend = backend;
        let cost = fusion_catalogue::layer(&trial, id, target.micro_batch).ok()?;
        // Correlations as in the middle of a large session.
        let cost = cost.with_generator(&mut Stock::begun(Supply::Silent(Ferret::B12)).0);
        let computing_s = target.machine.seconds(&cost);
        let seconds = Clock::new(target.network).run(&cost, computing_s);
        Some(Candidate { backend, cost, computing_s, seconds })
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    for candidate in backends(value, target.choice).into_iter().filter_map(of) {
        if candidates.iter().all(|other| other.cost != candidate.cost) {
            candidates.push(candidate);
        }
    }
    candidates.sort_by(|a, b| a.seconds.partial_cmp(&b.seconds).unwrap_or(Ordering::Equal));
    candidates
}

pub(super) fn apply(program: &mut Program, settings: &Settings) {
    let function = &mut program.function;
    let all: Vec<Vec<Candidate>> = function.iter().map(|(id, _)| candidates(function, id, &settings.target)).collect();
    // Values with nothing to choose have one option, which costs nothing.
    let options: Vec<usize> = all.iter().map(|candidates| candidates.len().max(1)).collect();
    let alone = |(index, candidates): (usize, &Vec<Candidate>)| Term {
        choices: vec![index],
        values: candidates.iter().map(|candidate| candidate.seconds).collect(),
    };
    let terms = all.iter().enumerate().filter(|(_, candidates)| !candidates.is_empty()).map(alone).collect();
    let picked = least_with_facilities(function, &settings.target, &all, options, terms);
    for ((value, candidates), option) in function.values.iter_mut().zip(&all).zip(picked) {
        value.backend = match candidates.get(option) {
            Some(candidate) => candidate.backend,
            None if value.op.is_local() => Backend::Local,
            // What no protocol carries is refused by name after the passes.
            None => Backend::Cheetah(Cheetah::default()),
        };
    }
}

/// [`least`], with what candidates need once: for every [`Facility`] a choice whether to have it, which costs its time, and for every
/// value a term that excludes what needs a facility that is not there.
fn least_with_facilities(
    function: &Function,
    target: &Target,
    all: &[Vec<Candidate>],
    mut options: Vec<usize>,
    mut terms: Vec<Term>,
) -> Vec<usize> {
    for facility in Facility::ALL {
        let choice = options.len();
        let needs = |(index, candidates): (usize, &Vec<Candidate>)| {
            let value = &function.values[index];
            let without = |candidate: &Candidate| match facility.serves(value, candidate.backend) {
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
            terms.push(Term { choices: vec![choice], values: vec![0.0, facility.seconds(function, target)] });
            terms.extend(needs);
        }
    }
    least(&options, terms)
}

/// What setting up a session takes.
fn setup(function: &Function, _target: &Target) -> Cost {
    fusion_catalogue::setup(function)
}

/// What a value that is not local may be computed by; of equally fast ones the first is taken.
fn backends(value: &Value, choice: Choice) -> Vec<Backend> {
    if let Choice::Always(backend) = choice {
        return vec![backend];
    }
    let default = Cheetah::default();
    let variants = match value.op {
        Op::Conv(_) | Op::Dense { .. } => {
            [false, true].map(|packing| Cheetah { output_packing: packing, ..default }).to_vec()
        }
        Op::Reveal(_) => return vec![Backend::Cheetah(default)],
        _ => [default.leaf_bits, 2, 1, 4].map(|leaf_bits| Cheetah { leaf_bits, ..default }).to_vec(),
    };
    let [ot, he] = [CryptFlow2::Ot, CryptFlow2::He].map(Backend::CryptFlow2);
    let others = [ot, he, Backend::Garbled];
    variants.into_iter().map(Backend::Cheetah).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_catalogue::Primitive;
    use fusion_ir::Party;

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
        let one = Backend::Cheetah(Cheetah { leaf_bits: 1, output_packing: false });
        let always = selected(Target { choice: Choice::Always(one), ..Target::default() });
        assert_eq!(always, [Backend::Local, one, one, Backend::Local, one]);
    }

    #[test]
    fn the_network_and_the_machine_decide() {
        let all = candidates(&function(), ValueId(2), &Target::default());
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
        let ots = |cost: &Cost| cost.client_receives_ots + cost.server_receives_ots;
        let slow_ots = machine(&[(Primitive::CorrelatedOt, 1e9)]);
        assert_eq!(ots(chosen(Target { machine: slow_ots, network: near, ..Target::default() })), least(&ots));
        let bytes = |cost: &Cost| cost.bytes(Party::Client).max(cost.bytes(Party::Server));
        let slow = Network { mbit_per_s: 1e-6, rtt_ms: 1e-6 };
        let no_time = machine(&[]);
        assert_eq!(bytes(chosen(Target { machine: no_time, network: slow, ..Target::default() })), least(&bytes));
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
        let candidates = candidates(&function(), ValueId(2), &Target::default());
        assert_eq!(candidates.len(), 6);
        assert!(candidates.windows(2).all(|pair| pair[0].seconds <= pair[1].seconds));
        assert!(candidates.iter().all(|candidate| candidate.computing_s < candidate.seconds));
        // Leaves do not matter to an extension whose sign is known.
        assert_eq!(super::candidates(&function(), ValueId(4), &Target::default()).len(), 3);
    }
}
