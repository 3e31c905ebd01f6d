//! A program, as a page: its operations, which reads which, and what each sends.

use fusion_catalogue::Cost;
use fusion_ir::{Function, Party, Plan, Schema};
use fusion_page::{Cell, Column, Kind, Page, Table, Width, Wires, bytes};

use crate::cost::of_values;
use crate::nn::Graph;

/// What a row says of an operation.
struct Row {
    operation: &'static str,
    operands: Vec<usize>,
    shape: String,
    node: String,
    /// Empty where no protocol is chosen or needed.
    protocol: String,
    /// What it sends.
    cost: Cost,
}

/// The page of a function in the IR: a plan's, or what it was at some stage. `plan` is the one that
/// it is of, if it is one's.
pub fn program(function: &Function, schema: &Schema, plan: Option<&Plan>) -> String {
    let rows = function.iter().zip(of_values(function)).map(|((_, value), cost)| Row {
        operation: value.op.name(),
        operands: value.operands.iter().map(|operand| operand.index()).collect(),
        shape: value.ty.to_string(),
        node: value.node.clone(),
        protocol: if value.op.is_local() { String::new() } else { value.backend.to_string() },
        cost: cost.unwrap_or_default(),
    });
    let rows: Vec<Row> = rows.collect();
    let mut page = Page::new("program of a plan");
    let (up, down) = sums(&rows);
    let text = format!(
        "{} operations on one position, {} of them between the parties: {} to the server, {} to the client.",
        rows.len(),
        rows.iter().filter(|row| !row.cost.messages.is_empty()).count(),
        bytes(up),
        bytes(down)
    );
    page.heading("plain", &function.name, &[text]);
    operations(&mut page, &rows, "Format and extents");
    weights(&mut page, function);
    names(&mut page, schema);
    if let Some(plan) = plan {
        provenance(&mut page, plan);
    }
    page.text("The program as text", &function.to_string());
    page.finish()
}

/// The page of a float network.
pub fn graph(graph: &Graph) -> String {
    let rows = graph.nodes.iter().map(|node| Row {
        operation: node.op.name(),
        operands: node.inputs.iter().map(|input| input.0).collect(),
        shape: node.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"),
        node: node.name.clone(),
        protocol: String::new(),
        cost: Cost::default(),
    });
    let rows: Vec<Row> = rows.collect();
    let mut page = Page::new("imported network");
    page.heading("plain", &graph.name, &[format!("{} operations in float, as imported.", rows.len())]);
    operations(&mut page, &rows, "Extents");
    page.text("The network as text", &graph.to_string());
    page.finish()
}

fn sums(rows: &[Row]) -> (u64, u64) {
    let sum = |party| rows.iter().map(|row| row.cost.bytes(party)).sum();
    (sum(Party::Client), sum(Party::Server))
}

fn operations(page: &mut Page, rows: &[Row], shape: &'static str) {
    let operands: Vec<Vec<usize>> = rows.iter().map(|row| row.operands.clone()).collect();
    let wires = Wires::new(&operands);
    let most = |party| rows.iter().map(|row| row.cost.bytes(party)).max().unwrap_or(0) as f64;
    let (most_up, most_down) = (most(Party::Client), most(Party::Server));
    let sends = most_up + most_down > 0.0;
    let has_protocols = rows.iter().any(|row| !row.protocol.is_empty());
    let mut columns = if wires.is_some() { vec![Column::Picture] } else { Vec::new() };
    columns.extend(["Value", "Operation", "Reads"].map(Column::Words));
    columns.extend([Column::Words(shape), Column::Words("Node")]);
    columns.extend([Column::Words("Protocol")].into_iter().filter(|_| has_protocols));
    columns.extend(["To the server", "To the client"].map(Column::Words).into_iter().filter(|_| sends));
    page.section("Operations");
    if wires.is_none() {
        page.note("More values are held side by side than could be drawn; the column Reads says who reads which.");
    }
    let mut table = Table::new("Operations", Width::Whole, &columns);
    for (at, row) in rows.iter().enumerate() {
        let name = |at: usize| format!("v{at}");
        let mut cells: Vec<Cell> = wires.iter().map(|wires| Cell::Wires(wires.row(at))).collect();
        cells.extend([
            Cell::Head(name(at)),
            Cell::Text(row.operation.into()),
            Cell::Links(row.operands.iter().copied().map(name).collect()),
            Cell::Code(row.shape.clone()),
            Cell::Code(row.node.clone()),
        ]);
        if has_protocols {
            cells.push(Cell::Text(row.protocol.clone()));
        }
        if sends {
            let bar = |kind, party, most| match row.cost.bytes(party) {
                0 => Cell::Text(String::new()),
                sent => Cell::bar(kind, sent as f64, most, bytes(sent)),
            };
            cells.extend([bar(Kind::Up, Party::Client, most_up), bar(Kind::Down, Party::Server, most_down)]);
        }
        table.named(&name(at), &cells);
    }
    page.table(table);
}

/// What the server keeps to itself: names and extents, no elements.
fn weights(page: &mut Page, function: &Function) {
    if function.weights.is_empty() {
        return;
    }
    page.section("Weights");
    page.note("The server's. This page has their extents, which clients know too, and none of their elements.");
    let columns = ["Weight", "Extents", "Name"].map(Column::Words);
    let mut table = Table::new("Weights", Width::Narrow, &columns);
    for (at, weight) in function.weights.iter().enumerate() {
        let shape = weight.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        table.row(&[Cell::Head(format!("w{at}")), Cell::Text(shape), Cell::Code(weight.name.clone())]);
    }
    page.table(table);
}

/// What the input's elements and the classes are called.
fn names(page: &mut Page, schema: &Schema) {
    for (heading, names) in [("Columns of the input", &schema.columns), ("Classes", &schema.classes)] {
        if names.is_empty() {
            continue;
        }
        page.section(heading);
        let mut table = Table::new(heading, Width::Narrow, &[Column::Numbers("Place"), Column::Words("Name")]);
        for (at, name) in names.iter().enumerate() {
            table.row(&[Cell::Number(at.to_string()), Cell::Text(name.clone())]);
        }
        page.table(table);
    }
    if let Some(prefix) = &schema.prefix {
        page.text("What the client computes before anything is encrypted", &prefix.to_string());
    }
}

fn provenance(page: &mut Page, plan: &Plan) {
    let mut table = Table::new("What this is of", Width::Whole, &[]);
    let mut row = |name: &str, value: Cell| table.row(&[Cell::Head(name.into()), value]);
    row("plan", Cell::Code(hexadecimal(&plan.digest())));
    row("compiled by", Cell::Text(plan.provenance.compiler.clone()));
    row("formats", Cell::Text(formats(plan).into()));
    page.section("What this is of");
    page.table(table);
}

pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn formats(plan: &Plan) -> &'static str {
    match plan.provenance.calibrated {
        true => "chosen on calibration samples",
        false => "a guess, without calibration samples: expect wrong answers",
    }
}
