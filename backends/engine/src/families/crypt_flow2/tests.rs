//! This family keeps the laws of comparisons; its wire stays as it is.

use fusion_catalogue::Cost;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::crypt_flow2::{compare, ot};
use fusion_catalogue::ot::OtSource;
use fusion_ir::Party;

use super::Ctx;
use crate::Channel;
use crate::compare::Compare;
use crate::compare::laws::{Family, comparison_laws};
use crate::ot::{Extensions, Generator};
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// The family under test, without parameters.
pub(crate) struct CryptFlow2;

impl Family for CryptFlow2 {
    fn variants() -> Vec<CryptFlow2> {
        vec![CryptFlow2]
    }

    fn setup(&self) -> Cost {
        ot::setup()
    }

    fn cost(&self, operation: &Comparison, n: usize) -> Cost {
        compare::cost(operation, n)
    }

    fn session(&self, party: Party, channel: &mut dyn Channel, _: Generator, run: &mut dyn FnMut(&mut dyn Compare)) {
        let extensions = &mut Extensions::establish(party, channel, &[6; 32]).expect("honest peer");
        run(&mut Ctx { party, channel, extensions });
    }
}

comparison_laws!(CryptFlow2);

#[test]
fn the_wire_is_as_it_was() {
    let operation = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
    let wire = crate::ot::wire(OtSource::default(), |party, channel, _| {
        let rng = ChaCha20Rng::seed_from_u64(10 + party as u64);
        let extensions = &mut Extensions::establish_with(party, channel, &[3; 32], rng).expect("honest peer");
        let own: Vec<u64> = (0..100).map(|i| ((i + 7) * (i + 1)) << (8 * party as u8)).collect();
        super::run(&mut Ctx { party, channel, extensions }, &operation, &[&own]).expect("honest peer");
    });
    assert_eq!(wire, ["cd41f65dd298491c", "374e9fa52c95b45b"]);
}
