//! What a plan costs, layer by layer.

use fusion_catalogue::{Keys, Schedule, Steps, Unsupported};
use fusion_compiler::suggest;
use fusion_estimate::{Machine, Network, SessionTrace};
use fusion_ir::{Op, Party, Plan};

/// What one layer of one position costs.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCost {
    /// The ONNX node it comes from.
    pub node: String,
    /// The operation of the IR.
    pub op: &'static str,
    /// Which protocols carry it.
    pub backend: String,
    /// Bytes that the client sends.
    pub to_server: u64,
    /// Bytes that the server sends.
    pub to_client: u64,
    /// Round trips.
    pub rounds: u64,
    /// Time, one position among those that go through the layers together.
    pub seconds: f64,
}

/// The layers of `plan` that need both parties, in the order of execution. Bytes and rounds are
/// exact, for the key pairs that a client has by default, and without the set-up of a session and
/// its oblivious transfers; times are a forecast for both parties on `machine`.
///
/// # Errors
/// The layers that no protocol carries, if there are any.
pub fn layer_costs(plan: &Plan, network: Network, machine: &Machine) -> Result<Vec<LayerCost>, Vec<Unsupported>> {
    let steps = Steps::of(&plan.function)?;
    let keys = Keys::of(&steps);
    let positions = plan.function.values.iter().find_map(|value| match &value.op {
        Op::Mix(mix) => Some(mix.queries.saturating_mul(mix.copies).saturating_add(mix.public)),
        _ => None,
    });
    let schedule = suggest::schedule(positions.unwrap_or(1));
    let together = u64::from(schedule.micro_batch);
    let session = SessionTrace::new(&steps, Schedule { positions: together, ..schedule }, keys).play(machine, network);
    let shared = plan.function.iter().filter(|(_, value)| !value.op.is_local());
    let layer = |(id, value): (fusion_ir::ValueId, &fusion_ir::Value)| {
        let cost = steps.get(id).cost(keys, 1);
        LayerCost {
            node: value.node.clone(),
            op: value.op.name(),
            backend: value.backend.to_string(),
            to_server: cost.bytes(Party::Client),
            to_client: cost.bytes(Party::Server),
            rounds: cost.rounds(),
            seconds: session.layers[id.index()].seconds / together as f64,
        }
    };
    Ok(shared.map(layer).collect())
}
