//! What a plan costs, as a page.

use std::collections::BTreeMap;

use fusion_estimate::Network;
use fusion_ir::op::Mix;
use fusion_ir::{Party, Plan};
use fusion_page::{Cell, Column, Kind, Page, Table, Width, bytes, seconds};

use crate::cost::{Batch, Costs, Position, RunnerUp};
use crate::passes::select::Target;

/// Numbers of queries that are worth comparing.
pub const SIZES: [u64; 4] = [1, 8, 64, 1024];
/// Networks that are worth comparing, beside the one that is asked about.
const NETWORKS: [(&str, Network); 3] =
    [("lan", Network::LAN), ("wan", Network::WAN), ("home office", Network { mbit_per_s: 50.0, rtt_ms: 20.0 })];

/// The page of `batch`, with batches of other sizes to compare.
pub fn cost(costs: &Costs<'_>, batch: &Batch, others: &[Batch]) -> String {
    let position = costs.position();
    let mut page = Page::new("cost of a plan");
    heading(&mut page, costs, &position, batch);
    figures(&mut page, costs, &position, batch);
    operations(&mut page, costs.plan(), &position);
    layers(&mut page, costs, &position);
    sizes(&mut page, batch, others);
    networks(&mut page, costs, batch);
    provenance(&mut page, costs);
    page.finish()
}

/// `3000 Mbit/s and 0.8 ms`.
fn spoken(network: Network) -> String {
    format!("{} Mbit/s and {} ms", network.mbit_per_s, network.rtt_ms)
}

fn heading(page: &mut Page, costs: &Costs<'_>, position: &Position, batch: &Batch) {
    let Mix { queries, copies, public } = batch.mix;
    let each = format!(
        "One position takes {} and {} rounds; among others, about {} each over {}.",
        bytes(position.total.both_ways()),
        position.total.rounds(),
        seconds(position.seconds),
        spoken(costs.target().network),
    );
    let all = match costs.plan().is_verified() {
        true => format!(
            "A verified batch of {queries} queries is {copies} copies of each and {public} public samples: {} and about {} per query.",
            bytes(batch.query_bytes),
            seconds(batch.query_s())
        ),
        false => format!(
            "Nothing is verified: the client trusts the server. A query of {queries} takes {} and about {}.",
            bytes(batch.query_bytes),
            seconds(batch.query_s())
        ),
    };
    page.heading("plain", &costs.plan().function.name, &[each, all]);
}

fn figures(page: &mut Page, costs: &Costs<'_>, position: &Position, batch: &Batch) {
    let mut setup = position.setup.clone();
    setup.then(&batch.supply.setup());
    let Mix { queries, copies, public } = batch.mix;
    page.section("The batch");
    page.note("Bytes and rounds of a position and of the set-up are exact, a batch's as exact as its numbers of positions, micro-batches and \
         streams; times are a forecast of this network and these machines. What is said of a query has \
         everything that a session sends; of a position, all but its oblivious transfers.");
    page.figures(&[
        ("queries", queries.to_string()),
        ("copies of each", copies.to_string()),
        ("public samples", public.to_string()),
        ("positions in all", batch.positions().to_string()),
        ("time", seconds(batch.seconds)),
        ("both ways, in all", bytes(batch.query_bytes * queries)),
        ("per query", bytes(batch.query_bytes)),
        ("set-up, once", bytes(setup.both_ways())),
        ("oblivious transfers", bytes(batch.draws.both_ways())),
        ("micro-batches of", format!("{}, {} in flight", batch.schedule.micro_batch, batch.schedule.streams)),
        ("key pairs of a position", costs.key_pairs().to_string()),
    ]);
}

/// Time and bytes, by kind of operation.
fn operations(page: &mut Page, plan: &Plan, position: &Position) {
    let mut sums = BTreeMap::<&str, (usize, f64, u64, u64)>::new();
    for layer in &position.layers {
        let sum = sums.entry(plan.function.value(layer.id).op.name()).or_default();
        sum.0 += 1;
        sum.1 += layer.seconds;
        sum.2 += layer.cost.bytes(Party::Client);
        sum.3 += layer.cost.bytes(Party::Server);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|(_, one), (_, other)| other.1.total_cmp(&one.1));
    let most = |of: fn(&(usize, f64, u64, u64)) -> f64| sums.iter().map(|(_, sum)| of(sum)).fold(0.0, f64::max);
    let (slowest, most_up, most_down) = (most(|sum| sum.1), most(|sum| sum.2 as f64), most(|sum| sum.3 as f64));
    page.section("What takes time and traffic");
    let mut columns = vec![Column::Words("Operation"), Column::Numbers("Layers")];
    columns.extend(["Time", "To the server", "To the client"].map(Column::Words));
    let mut table = Table::new("What takes time and traffic", Width::Whole, &columns);
    for (name, (layers, time, up, down)) in &sums {
        table.row(&[
            Cell::Text((*name).into()),
            Cell::Number(layers.to_string()),
            Cell::bar(Kind::Time, *time, slowest, seconds(*time)),
            Cell::bar(Kind::Up, *up as f64, most_up, bytes(*up)),
            Cell::bar(Kind::Down, *down as f64, most_down, bytes(*down)),
        ]);
    }
    page.table(table);
}

fn layers(page: &mut Page, costs: &Costs<'_>, position: &Position) {
    let largest = |of: &dyn Fn(usize) -> f64| (0..position.layers.len()).map(of).fold(0.0, f64::max);
    let time = |at: usize| position.layers[at].seconds;
    let up = |at: usize| position.layers[at].cost.bytes(Party::Client);
    let down = |at: usize| position.layers[at].cost.bytes(Party::Server);
    let (slowest, most_up, most_down) = (largest(&time), largest(&|at| up(at) as f64), largest(&|at| down(at) as f64));
    page.section("Layers");
    page.note(&format!(
        "Of one position; times as one among {} that go through the layers together. The last column is the best \
         protocol that was not chosen, and how much longer a position would take with it alone.",
        costs.target().schedule.micro_batch
    ));
    let mut columns = vec![Column::Words("Node"), Column::Words("Operation"), Column::Words("Protocol")];
    columns.extend(["Time", "To the server", "To the client"].map(Column::Words));
    columns.extend([Column::Numbers("Rounds"), Column::Words("Runner-up")]);
    let mut table = Table::new("Layers", Width::Whole, &columns);
    for (at, (layer, other)) in position.layers.iter().zip(costs.runners_up()).enumerate() {
        let value = costs.plan().function.value(layer.id);
        table.row(&[
            Cell::Code(value.node.clone()),
            Cell::Text(value.op.name().into()),
            Cell::Text(value.backend.to_string()),
            Cell::bar(Kind::Time, time(at), slowest, seconds(time(at))),
            Cell::bar(Kind::Up, up(at) as f64, most_up, bytes(up(at))),
            Cell::bar(Kind::Down, down(at) as f64, most_down, bytes(down(at))),
            Cell::Number(layer.cost.rounds().to_string()),
            Cell::Status(other.as_ref().map(runner_up).unwrap_or_default()),
        ]);
    }
    page.table(table);
}

fn runner_up(other: &RunnerUp) -> String {
    format!("{} {:+.2} ms", other.backend, 1e3 * (other.computing_s + other.network_s))
}

/// Batches of other sizes under the same policy.
fn sizes(page: &mut Page, batch: &Batch, others: &[Batch]) {
    let others = others.iter().filter(|other| other.mix.queries != batch.mix.queries);
    let mut all: Vec<&Batch> = others.chain([batch]).collect();
    all.sort_by_key(|one| one.mix.queries);
    let most = |of: fn(&Batch) -> f64| all.iter().map(|one| of(one)).fold(0.0, f64::max);
    let (slowest, most_bytes) = (most(Batch::query_s), most(|one| one.query_bytes as f64));
    page.section("Larger and smaller batches");
    page.note("Under the same policy: what verification and set-up add to a query, the more queries share them.");
    let mut columns = ["Queries", "Copies", "Public", "Positions"].map(Column::Numbers).to_vec();
    columns.extend(["Time of a query", "Traffic of a query"].map(Column::Words));
    let mut table = Table::new("Larger and smaller batches", Width::Whole, &columns);
    for one in all {
        let Mix { queries, copies, public } = one.mix;
        let [asked, copies, public] = [queries, copies, public].map(|count| Cell::Number(count.to_string()));
        let cells = [
            asked,
            copies,
            public,
            Cell::Number(one.positions().to_string()),
            Cell::bar(Kind::Time, one.query_s(), slowest, seconds(one.query_s())),
            Cell::bar(Kind::Up, one.query_bytes as f64, most_bytes, bytes(one.query_bytes)),
        ];
        if queries == batch.mix.queries { table.this(&cells) } else { table.row(&cells) }
    }
    page.table(table);
}

/// The same plan over other networks.
fn networks(page: &mut Page, costs: &Costs<'_>, batch: &Batch) {
    let here = costs.target().network;
    let mut all = vec![("this one", here)];
    all.extend(NETWORKS.into_iter().filter(|(_, network)| *network != here));
    let of = |network: Network| {
        let target = Target { network, ..costs.target().clone() };
        let costs = costs.before(&target);
        let schedule = batch.schedule;
        costs.batch(batch.mix, schedule.micro_batch, schedule.streams).query_s()
    };
    let times: Vec<f64> = all.iter().map(|(_, network)| of(*network)).collect();
    let slowest = times.iter().copied().fold(0.0, f64::max);
    page.section("Other networks");
    page.note("The same plan; one that is compiled for the other network may be faster there.");
    let columns = ["Network", "What it is", "Time of a query"].map(Column::Words);
    let mut table = Table::new("Other networks", Width::Whole, &columns);
    for ((name, network), time) in all.into_iter().zip(times) {
        let time = Cell::bar(Kind::Time, time, slowest, seconds(time));
        let cells = [Cell::Text(name.into()), Cell::Text(spoken(network)), time];
        if name == "this one" { table.this(&cells) } else { table.row(&cells) }
    }
    page.table(table);
}

fn provenance(page: &mut Page, costs: &Costs<'_>) {
    let (plan, target) = (costs.plan(), costs.target());
    let mut table = Table::new("What this is of", Width::Whole, &[]);
    let mut row = |name: &str, value: Cell| table.row(&[Cell::Head(name.into()), value]);
    row("plan", Cell::Code(super::program::hexadecimal(&plan.digest())));
    row("compiled by", Cell::Text(plan.provenance.compiler.clone()));
    row("formats", Cell::Text(super::program::formats(plan).into()));
    row("network", Cell::Text(spoken(target.network)));
    row("machines", Cell::Text(target.machine.name.clone()));
    row("key pairs", Cell::Text(format!("{} for each position (by {})", costs.key_pairs(), costs.keys())));
    page.section("What this is of");
    page.table(table);
}
