//! This family keeps the laws of comparisons; a garbler that cheats learns nothing and causes no
//! failure.

use fusion_catalogue::Cost;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::garbled::Circuit;
use fusion_catalogue::ot::OtSource;
use fusion_ir::Party;

use super::{Ctx, Engine};
use crate::channel::pair;
use crate::compare::Compare;
use crate::compare::laws::{Family, comparison_laws};
use crate::ot::{Generator, ideal};
use crate::{Channel, Kind};
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// The family under test, without parameters.
struct Garbled;

impl Family for Garbled {
    fn variants() -> Vec<Garbled> {
        vec![Garbled]
    }

    fn setup(&self) -> Cost {
        Cost::default()
    }

    fn cost(&self, operation: &Comparison, n: usize) -> Cost {
        Circuit::of(operation).cost(n)
    }

    fn session(
        &self,
        party: Party,
        channel: &mut dyn Channel,
        mut correlations: Generator,
        run: &mut dyn FnMut(&mut dyn Compare),
    ) {
        let correlations = &mut correlations;
        let state = &mut <Engine as crate::families::Engine>::new(&[6; 32]).expect("randomness");
        run(&mut Ctx { party, channel, correlations, state });
    }
}

comparison_laws!(Garbled);

#[test]
fn whatever_a_garbler_sends_the_client_goes_on() {
    let operation = Comparison::RequantRelu { bits: 12, shift: 4, k: 8 };
    let circuit = Circuit::of(&operation);
    let ((mut left, mut right), (dealer, their_dealer)) = (pair(), ideal::pair(1));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            Generator::dealt(their_dealer).draw(&circuit.need(3)).expect("a dealer never fails");
            right.receive(Kind::Comparison, circuit.choice_bytes(3) as usize).expect("the client's choices");
            let mut garbage = vec![0x5a; circuit.garbled_bytes(3) as usize];
            // Twenty-four bits of meaning fill their bytes.
            garbage[17] = 1;
            right.send(Kind::Comparison, garbage).expect("the client listens");
        });
        let correlations = &mut Generator::dealt(dealer);
        let state = &mut <Engine as crate::families::Engine>::new(&[6; 32]).expect("randomness");
        let mut ctx = Ctx { party: Party::Client, channel: &mut left, correlations, state };
        let share = ctx.compare(&operation, &[&[1, 2, 3]]).expect("no failure depends on a label").swap_remove(0);
        assert!(share.len() == 3 && share.iter().all(|x| *x < 1 << 8));
    });
}

#[test]
fn the_wire_is_as_it_was() {
    let operation = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
    let wire = crate::ot::wire(OtSource::default(), |party, channel, correlations| {
        let rng = ChaCha20Rng::seed_from_u64(10 + party as u64);
        let state = &mut Engine { hash: super::GateHash::new(&[3; 32]), rng };
        let own: Vec<u64> = (0..100).map(|i| ((i + 7) * (i + 1)) << (8 * party as u8)).collect();
        Ctx { party, channel, correlations, state }.compare(&operation, &[&own]).expect("honest peer");
    });
    assert_eq!(wire, ["2a51877fcadd1c37", "610739ffb121c845"]);
}
