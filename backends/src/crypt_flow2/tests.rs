//! This family keeps the laws of comparisons; its wire stays as it is.

use fusion_catalogue::Cost;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::crypt_flow2::{compare, ot};
use fusion_ir::Party;

use super::Ctx;
use crate::compare::Compare;
use crate::compare::laws::{Family, Noting, comparison_laws};
use crate::ot::Extensions;

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

    fn session(&self, party: Party, channel: &mut Noting, run: &mut dyn FnMut(&mut dyn Compare)) {
        let extensions = &mut Extensions::establish(party, channel, &[6; 32]).expect("honest peer");
        run(&mut Ctx { party, channel, extensions });
    }
}

comparison_laws!(CryptFlow2);
