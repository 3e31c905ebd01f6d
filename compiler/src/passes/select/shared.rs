//! What some backends need once, however many values use them: keys of each position, extensions of
//! a session.

use fusion_catalogue::crypt_flow2::he;
use fusion_catalogue::{Cost, SharedSetup, Step};
use fusion_estimate::Clock;

use super::{Candidate, Target};

/// A part of the [`SharedSetup`], which is paid for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SharedPart {
    /// Every position's public key, for linear layers of the `cheetah` family; as if they shared
    /// it.
    PublicKeys,
    /// Every position's keys for output packing, beside its public key.
    PackingKeys,
    /// OT extensions of the `crypt_flow2` family.
    Extensions,
    /// Every position's rotation keys, for its packed ciphertexts.
    RotationKeys,
}

impl SharedPart {
    /// Every one.
    pub const ALL: [SharedPart; 4] =
        [SharedPart::PublicKeys, SharedPart::PackingKeys, SharedPart::Extensions, SharedPart::RotationKeys];

    /// Whether a step needs it.
    pub fn serves(self, step: &Step) -> bool {
        match self {
            SharedPart::PublicKeys => step.levels().is_some(),
            SharedPart::PackingKeys => step.levels().is_some_and(|levels| levels > 0),
            SharedPart::Extensions => step.extends(),
            SharedPart::RotationKeys => step.slots().is_some(),
        }
    }

    /// Seconds that it takes, shared out to every micro-batch, if all candidates that could need it
    /// do.
    pub fn seconds(self, all: &[Vec<Candidate>], target: &Target) -> f64 {
        let steps = || all.iter().flatten().map(|candidate| &candidate.step);
        let none = SharedSetup::default();
        let begin = |shared: SharedSetup| time(&shared.begin(target.schedule.whole()), target);
        let public_keys = || SharedSetup { public_keys: true, ..none.clone() };
        let seconds = match self {
            SharedPart::PublicKeys => begin(public_keys()),
            SharedPart::PackingKeys => {
                let levels = steps().filter_map(Step::levels).max().unwrap_or(0);
                begin(SharedSetup { levels, ..public_keys() }) - begin(public_keys())
            }
            SharedPart::Extensions => {
                let once = SharedSetup { extensions: true, ..none.clone() }.once();
                time(&once, target) / target.schedule.micro_batches() as f64
            }
            SharedPart::RotationKeys => {
                let rotations = Some(he::steps(steps().filter_map(Step::slots)));
                begin(SharedSetup { rotations, ..none.clone() })
            }
        };
        seconds.max(0.0)
    }
}

fn time(cost: &Cost, target: &Target) -> f64 {
    Clock::new(target.network).run(cost, target.machine.seconds(cost))
}
