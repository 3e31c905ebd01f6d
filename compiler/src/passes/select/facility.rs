//! What some backends need once, however many values use them: keys of each position, extensions of a session.

use fusion_catalogue::time::Clock;
use fusion_catalogue::{Cost, Keys, begin, setup};
use fusion_ir::op::{Backend, Cheetah, CryptFlow2};
use fusion_ir::{Function, Op, Value};

use super::Target;

/// Something that is paid for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Facility {
    /// Every position's public key, for linear layers of the `cheetah` family; as if they shared it.
    PublicKeys,
    /// Every position's keys for output packing, beside its public key.
    PackingKeys,
    /// OT extensions of the `crypt_flow2` family.
    Extensions,
    /// Every position's rotation keys, for its packed ciphertexts.
    RotationKeys,
}

impl Facility {
    /// Every one.
    pub const ALL: [Facility; 4] =
        [Facility::PublicKeys, Facility::PackingKeys, Facility::Extensions, Facility::RotationKeys];

    /// Whether `value` needs it under `backend`.
    pub fn serves(self, value: &Value, backend: Backend) -> bool {
        let linear = matches!(value.op, Op::Conv(_) | Op::Dense { .. });
        match self {
            Facility::PublicKeys => linear && matches!(backend, Backend::Cheetah(_)),
            Facility::PackingKeys => linear && packs(backend),
            Facility::Extensions => matches!(backend, Backend::CryptFlow2(_)) && !matches!(value.op, Op::Reveal(_)),
            Facility::RotationKeys => linear && backend == Backend::CryptFlow2(CryptFlow2::He),
        }
    }

    /// Seconds that it takes, shared out to every micro-batch; for `function`, whose layers may all need it.
    pub fn seconds(self, function: &Function, target: &Target) -> f64 {
        let cheetah = Backend::Cheetah(Cheetah::default());
        let packed = Backend::Cheetah(Cheetah { output_packing: true, ..Cheetah::default() });
        let [ot, he] = [CryptFlow2::Ot, CryptFlow2::He].map(Backend::CryptFlow2);
        let keys = |backend| time(&begin(&all_by(function, backend), Keys::Position, target.schedule.whole()), target);
        let extensions = |backend| time(&setup(&all_by(function, backend)), target);
        let seconds = match self {
            Facility::PublicKeys => keys(cheetah),
            Facility::PackingKeys => keys(packed) - keys(cheetah),
            Facility::Extensions => (extensions(ot) - extensions(cheetah)) / target.schedule.micro_batches() as f64,
            Facility::RotationKeys => keys(he),
        };
        seconds.max(0.0)
    }
}

/// Whether it is the `cheetah` family with output packing.
fn packs(backend: Backend) -> bool {
    matches!(backend, Backend::Cheetah(cheetah) if cheetah.output_packing)
}

/// The function with everything that is not local by `backend`.
fn all_by(function: &Function, backend: Backend) -> Function {
    let mut function = function.clone();
    for value in &mut function.values {
        value.backend = if value.op.is_local() { Backend::Local } else { backend };
    }
    function
}

fn time(cost: &Cost, target: &Target) -> f64 {
    Clock::new(target.network).run(cost, target.machine.seconds(cost))
}
