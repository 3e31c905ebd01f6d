//! What linear layers on masks take, beside the micro-batch that waits for them.

use fusion_backends::cheetah::Ahead;
use fusion_catalogue::{Keys, Steps};
use fusion_ir::Party;

use super::{WEIGHT_BYTES, WORD_BYTES};

/// What they take of one position, and whatever the positions; nothing if there are none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Masks {
    /// What is made of all layers.
    all: u64,
    /// The largest layer while it is made, what is made of it and of the one before included.
    making: u64,
    /// The largest layer when its turn comes, beside shares.
    applying: u64,
    /// Weights that wait for their layer's turn.
    weights: u64,
    /// Those of the largest layer as they are read, and as they are kept.
    reading: u64,
}

impl Masks {
    pub(super) fn of(steps: &Steps, party: Party) -> Masks {
        let mut masks = Masks::default();
        for packing in steps.iter().filter_map(|step| step.masked(Keys::Ahead)) {
            let [operand, result] = [packing.geometry().input_len(), packing.geometry().output_len()];
            let [operand, result] = [operand, result].map(|elements| elements as u64 * WORD_BYTES);
            let messages = packing.upload_bytes() as u64 + packing.download_bytes() as u64;
            let (made, making, applying) = match party {
                // The masks of this layer and of the one before; what is sent when its turn comes.
                Party::Client => (operand + result, 2 * (operand + result) + messages, 2 * operand),
                // No share of the operand. What came, and it with the own share as signed numbers;
                // products, and their sums with the masks.
                Party::Server => (result, operand + 2 * result + messages, 3 * operand + 3 * result),
            };
            masks.all += made;
            masks.making = masks.making.max(making);
            masks.applying = masks.applying.max(applying);
            if party == Party::Server {
                let weights = (packing.geometry().weight_len() + packing.geometry().outputs) as u64;
                masks.weights += weights * WORD_BYTES;
                masks.reading = masks.reading.max(weights * (WEIGHT_BYTES + WORD_BYTES));
            }
        }
        masks
    }

    /// On so many positions.
    pub(super) fn bytes(&self, positions: u64) -> u64 {
        let Masks { all, making, applying, weights, reading } = *self;
        let one = positions * making + reading;
        // A layer that takes more than what may wait does so alone.
        let waiting = (positions * all + weights).min((Ahead::MOST_BYTES as u64).max(one));
        waiting + one + positions * applying
    }
}
