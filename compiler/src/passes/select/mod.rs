//! Chooses who computes each value: the parties by themselves where no message is needed, otherwise what takes the least time on the
//! [`Target`] by the catalogue's forecast.
//!
//! Choices are made together, not one by one: the sum of all layers' times and of what layers cost or save each other is
//! minimised exactly ([`eliminate`]). Shares are additive mod 2^bits under every backend, so passing a value from one to
//! another is free.

mod eliminate;

use std::cmp::Ordering;

use fusion_catalogue::time::Clock;
use fusion_catalogue::{Cost, Machine, Network};
use fusion_ir::op::{Backend, Cheetah};
use fusion_ir::{Function, Op, Value, ValueId};

use super::{Program, Settings};
use eliminate::{Term, least};

/// What backends are chosen for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Between the parties.
    pub network: Network,
    /// How fast the parties compute.
    pub machine: Machine,
    /// Positions that go through the layers together: what they share, such as rounds, counts once.
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
        Target { network, machine, micro_batch: 1, choice: Choice::Auto }
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
    let picked = least(&options, terms);
    for ((value, candidates), option) in function.values.iter_mut().zip(&all).zip(picked) {
        value.backend = match candidates.get(option) {
            Some(candidate) => candidate.backend,
            None if value.op.is_local() => Backend::Local,
            // What no protocol carries is refused by name after the passes.
            None => Backend::Cheetah(Cheetah::default()),
        };
    }
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
        Op::Reveal(_) => vec![default],
        _ => [default.leaf_bits, 2, 1, 4].map(|leaf_bits| Cheetah { leaf_bits, ..default }).to_vec(),
    };
    variants.into_iter().map(Backend::Cheetah).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_catalogue::Primitive;

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
        assert!([1, 2, 4].iter().all(|at| matches!(backends[*at], Backend::Cheetah(_))));
        let one = Backend::Cheetah(Cheetah { leaf_bits: 1, output_packing: false });
        let always = selected(Target { choice: Choice::Always(one), ..Target::default() });
        assert_eq!(always, [Backend::Local, one, one, Backend::Local, one]);
    }

    #[test]
    fn the_network_and_the_machine_decide() {
        let leaf = |target: Target| match selected(target)[2] {
            Backend::Cheetah(cheetah) => cheetah.leaf_bits,
            other => panic!("{other}"),
        };
        let all = candidates(&function(), ValueId(2), &Target::default());
        let with_leaf = |leaf_bits| {
            let backend = Backend::Cheetah(Cheetah { leaf_bits, output_packing: false });
            &all.iter().find(|candidate| candidate.backend == backend).unwrap().cost
        };
        let flights = |leaf_bits| with_leaf(leaf_bits).exchanges.len() as u64;
        let ots = |leaf_bits| with_leaf(leaf_bits).work[&Primitive::CorrelatedOt];
        let least = |of: &dyn Fn(u8) -> u64| (1..=4).map(of).min().unwrap();
        // Wide leaves make shallow trees.
        let far = Network { mbit_per_s: 1e9, rtt_ms: 1e3 };
        assert_eq!(flights(leaf(Target { network: far, ..Target::default() })), least(&flights));
        assert!(flights(1) > least(&flights));
        let near = Network { mbit_per_s: 1e9, rtt_ms: 1e-6 };
        let slow_ots = machine(&[(Primitive::CorrelatedOt, 1e9)]);
        assert_eq!(ots(leaf(Target { machine: slow_ots, network: near, ..Target::default() })), least(&ots));
        assert!(ots(1) > least(&ots));
    }

    #[test]
    fn the_fastest_comes_first_with_what_it_costs() {
        let candidates = candidates(&function(), ValueId(2), &Target::default());
        assert_eq!(candidates.len(), 4);
        assert!(candidates.windows(2).all(|pair| pair[0].seconds <= pair[1].seconds));
        assert!(candidates.iter().all(|candidate| candidate.computing_s < candidate.seconds));
        // Leaves do not matter to an extension whose sign is known.
        assert_eq!(super::candidates(&function(), ValueId(4), &Target::default()).len(), 1);
    }
}
