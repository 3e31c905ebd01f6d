//! `fusionc dump`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fusion_catalogue::Cost;
use fusion_ir::{Function, Party, Schema, text};

use super::compile::{Pipeline, inputs};
use super::{output, read, read_plan};
use crate::Error;
use crate::compile::{Snapshot, Stage, snapshot};
use crate::cost;
use crate::nn::Graph;
use crate::page;

/// Print a plan's program, or the pipeline's result at some stage for an ONNX model
#[derive(clap::Args)]
#[command(mut_arg("model", |model| model.help("A plan, or an ONNX file").value_name("PLAN|MODEL")))]
pub(super) struct Args {
    /// How far to run the pipeline; a plan holds its last stage only
    #[arg(long, value_enum, default_value_t = StageName::Plan)]
    stage: StageName,
    /// text parses back; dot is for Graphviz
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Add what each operation costs per position
    #[arg(long)]
    annotate: bool,
    /// Write it as a page for a browser instead of printing it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "annotate"])]
    html: Option<PathBuf>,
    #[command(flatten)]
    pipeline: Pipeline,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum StageName {
    /// The float network
    Import,
    /// Naive fixed point
    Fixed,
    /// All passes done, gadgets in place
    Gadgets,
    /// Backends chosen: what is executed
    Plan,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Dot,
    Json,
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let path = args.pipeline.model.clone();
    let stage = match args.stage {
        StageName::Import => Stage::Import,
        StageName::Fixed => Stage::Fixed,
        StageName::Gadgets => Stage::Gadgets,
        StageName::Plan => Stage::Plan,
    };
    let outputs: Vec<&Path> = args.html.iter().map(PathBuf::as_path).collect();
    let write = |html: &Path, page: String| output::write_files(&[(html, page.into_bytes())]);
    if !read(&path)?.starts_with(b"FUSION") {
        let options = args.pipeline.options()?;
        output::spare(&inputs(&options), &outputs)?;
        return match (snapshot(&options, stage)?, &args.html) {
            (Snapshot::Graph(graph), Some(html)) => write(html, page::graph(&graph)),
            (Snapshot::Graph(graph), None) => output::print(&render_graph(&graph, args.format)),
            (Snapshot::Function(function, schema), Some(html)) => write(html, page::program(&function, &schema, None)),
            (Snapshot::Function(function, schema), None) => {
                output::print(&render(&function, &schema, None, args.format, args.annotate))
            }
        };
    }
    output::spare(&[Some(&path)], &outputs)?;
    if stage != Stage::Plan {
        let why = "a plan holds the stage plan only; for an earlier one give the ONNX model and its --calibrate file";
        return Err(Error::Input { path, why: why.into() });
    }
    let plan = read_plan(&path)?;
    if let Some(html) = &args.html {
        return write(html, page::program(&plan.function, &plan.schema, Some(&plan)));
    }
    let with_weights = plan.weights.as_ref().map(|weights| text::print_with_weights(&plan.function, weights));
    output::print(&render(&plan.function, &plan.schema, with_weights, args.format, args.annotate))
}

fn render(function: &Function, schema: &Schema, text: Option<String>, format: Format, annotate: bool) -> String {
    match format {
        Format::Json => json(function, schema),
        Format::Text => {
            let text = text.unwrap_or_else(|| function.to_string());
            // As comments, so that the text is still the function's.
            let steps = schema.prefix.as_ref().map(ToString::to_string).unwrap_or_default();
            let named = schema.columns.iter().enumerate().filter(|_| schema.prefix.is_some());
            let names = named.map(|(column, name)| format!("; column {column} = {name:?}\n"));
            let lines: String = names.chain(steps.lines().map(|line| format!("; {line}\n"))).collect();
            lines + &if annotate { annotated(function, &text) } else { text }
        }
        Format::Dot => {
            let costs = if annotate { costs(function) } else { vec![String::new(); function.values.len()] };
            let rows = function.iter().zip(costs).map(|((id, value), cost)| {
                let label = format!("{id} {}\n{}\n{}{cost}", value.op.name(), value.ty, value.node);
                (label, value.operands.iter().map(|operand| operand.index()).collect())
            });
            dot(rows)
        }
    }
}

/// The function, and what its inputs and classes are called and made of: all that the client knows.
fn json(function: &Function, schema: &Schema) -> String {
    let all = serde_json::to_value(function).and_then(|mut all| {
        all["schema"] = serde_json::to_value(schema)?;
        serde_json::to_string_pretty(&all)
    });
    all.unwrap_or_default() + "\n"
}

fn render_graph(graph: &Graph, format: Format) -> String {
    match format {
        Format::Text => graph.to_string(),
        Format::Dot => dot(graph.nodes.iter().map(|node| {
            let label = format!("{} {:?}\n{}", node.op.name(), node.shape, node.name);
            (label, node.inputs.iter().map(|input| input.0).collect())
        })),
        Format::Json => {
            let node = |node: &crate::nn::Node| {
                let inputs: Vec<usize> = node.inputs.iter().map(|input| input.0).collect();
                serde_json::json!({ "op": node.op.name(), "inputs": inputs, "shape": node.shape, "node": node.name })
            };
            let nodes: Vec<_> = graph.nodes.iter().map(node).collect();
            let graph = serde_json::json!({ "name": graph.name, "nodes": nodes });
            serde_json::to_string_pretty(&graph).unwrap_or_default() + "\n"
        }
    }
}

/// Graphviz: one box per value, an edge from each operand.
fn dot(rows: impl Iterator<Item = (String, Vec<usize>)>) -> String {
    let mut text = String::from("digraph {\n  node [shape=box];\n");
    for (index, (label, operands)) in rows.enumerate() {
        let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(text, "  v{index} [label=\"{label}\"];");
        operands.iter().for_each(|operand| text += &format!("  v{operand} -> v{index};\n"));
    }
    text + "}\n"
}

/// The text with a comment behind every value that costs messages.
fn annotated(function: &Function, text: &str) -> String {
    let (first, costs) = (1 + function.weights.len(), costs(function));
    let lines = text.lines().enumerate().map(|(at, line)| {
        let note = at.checked_sub(first).and_then(|index| costs.get(index));
        let note = note.map(|note| note.replace('\n', " ; ")).unwrap_or_default();
        format!("{line}{note}\n")
    });
    lines.collect()
}

/// What each value sends, on a line of its own; nothing if it sends nothing or no protocol carries
/// it as it is.
fn costs(function: &Function) -> Vec<String> {
    let line = |cost: Cost| match cost.messages.is_empty() {
        true => String::new(),
        false => {
            let (up, down, rounds) = (cost.bytes(Party::Client), cost.bytes(Party::Server), cost.rounds());
            format!("\n{up} bytes to server, {down} to client, {rounds} rounds")
        }
    };
    cost::of_values(function).into_iter().map(|cost| line(cost.unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Function {
        let body = "function \"f\"\nv0 = input : i16.0~9[2] \"x \\\"quoted\\\"\"\nv1 = relu v0 : i16.0~9+[2] \"r\"\n";
        text::parse(body).unwrap()
    }

    #[test]
    fn annotated_text_still_parses() {
        let annotated = render(&function(), &Schema::default(), None, Format::Text, true);
        assert!(annotated.contains("bytes to server"), "{annotated}");
        assert_eq!(text::parse(&annotated).unwrap(), function());
    }

    #[test]
    fn dot_escapes_names() {
        let dot = render(&function(), &Schema::default(), None, Format::Dot, false);
        assert!(dot.contains("x \\\"quoted\\\"") && dot.contains("v0 -> v1;"), "{dot}");
    }
}
