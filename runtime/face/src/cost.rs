//! What a plan costs, layer by layer, as numbers and as a page.

use fusion_catalogue::Schedule;
use fusion_compiler::cost::{Batch, Costs, mix};
use fusion_compiler::passes::select::{Choice, Target};
use fusion_compiler::{Error, page, suggest};
use fusion_estimate::{Machine, Network};
use fusion_ir::plan::Suggestion;
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

/// What one position costs. Bytes and rounds are exact, for the key pairs that a client has by
/// default, and without the set-up of a session and its oblivious transfers; times are a forecast
/// for both parties.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionCost {
    /// The layers that need both parties, in the order of execution.
    pub layers: Vec<LayerCost>,
    /// Bytes both ways: of the layers, and of the public keys that they share.
    pub bytes: u64,
    /// Round trips of a position by itself.
    pub rounds: u64,
    /// Time, one position among those that go through the layers together.
    pub seconds: f64,
}

/// What one position of `plan` costs, both parties on `machine`.
///
/// # Errors
/// The layers that no protocol carries, if there are any.
pub fn position_cost(plan: &Plan, network: Network, machine: &Machine) -> Result<PositionCost, Error> {
    let target = target(plan, network, machine);
    let layer = |layer: fusion_compiler::cost::Layer| {
        let value = plan.function.value(layer.id);
        LayerCost {
            node: value.node.clone(),
            op: value.op.name(),
            backend: value.backend.to_string(),
            to_server: layer.cost.bytes(Party::Client),
            to_client: layer.cost.bytes(Party::Server),
            rounds: layer.cost.rounds(),
            seconds: layer.seconds,
        }
    };
    let position = Costs::new(plan, &target, None)?.position();
    Ok(PositionCost {
        bytes: position.total.both_ways(),
        rounds: position.total.rounds(),
        seconds: position.seconds,
        layers: position.layers.into_iter().map(layer).collect(),
    })
}

/// The same as a page for a browser, with the batch that the plan suggests, others to compare, and
/// other networks: one file without scripts.
///
/// # Errors
/// As [`position_cost`].
pub fn cost_page(plan: &Plan, network: Network, machine: &Machine) -> Result<String, Error> {
    let target = target(plan, network, machine);
    let costs = Costs::new(plan, &target, None)?;
    let suggested = match plan.suggestion.queries {
        0 => Suggestion { queries: QUERIES, ..plan.suggestion.clone() },
        _ => plan.suggestion.clone(),
    };
    let of = |queries: u64| {
        let mix = mix(plan, Suggestion { queries, ..suggested.clone() })?;
        Ok::<Batch, Error>(costs.batch(mix, Schedule::LARGEST_MICRO_BATCH, Schedule::MOST_STREAMS))
    };
    // Of sizes that no batch can have under this policy there is nothing to say.
    let others: Vec<Batch> = page::SIZES.into_iter().filter_map(|queries| of(queries).ok()).collect();
    Ok(page::cost(&costs, &of(suggested.queries)?, &others))
}

/// The program of `plan` as a page for a browser: its operations, which reads which, and what each
/// sends. No weight is in it.
pub fn program_page(plan: &Plan) -> String {
    page::program(&plan.function, &plan.schema, Some(plan))
}

/// Queries of a plan that suggests no batch.
const QUERIES: u64 = 1024;

fn target(plan: &Plan, network: Network, machine: &Machine) -> Target {
    let positions = plan.function.values.iter().find_map(|value| match &value.op {
        Op::Mix(mix) => Some(fusion_compiler::cost::positions(mix)),
        _ => None,
    });
    let schedule = suggest::schedule(positions.unwrap_or(1));
    Target { network, machine: machine.clone(), schedule, choice: Choice::Auto }
}
