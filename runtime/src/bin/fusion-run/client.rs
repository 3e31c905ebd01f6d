//! `--role client`: reads the samples, plans the batch, runs it, and writes what was accepted.

use std::path::{Path, PathBuf};

use fusion_ir::Plan;
use fusion_runtime::fusion::{Job, Probe, PublicSample, Row};
use fusion_runtime::input::{Apart, Samples};
use fusion_runtime::{Client, ClientReport, Error, Flow, Ledger, input, output, page, report, store};
use fusion_table::{Kind, Results, TableError, Values};

use crate::Ending;
use crate::args::{Args, OnClipped};
use crate::doctor;
use crate::progress::{self, Screen};
use crate::verdict::{self, complain, say, warn};

/// Most samples beyond the input's format that are listed one by one.
const MAX_LISTED: usize = 10;

/// Runs the client. Everything that can be refused is refused before a byte is sent.
pub fn run(args: &Args) -> Result<Ending, Error> {
    spare_inputs(args)?;
    // Every stale result goes, even if there is no place for another one.
    let prepared = [&args.output, &args.report, &args.html].map(|path| path.as_deref().map_or(Ok(()), output::prepare));
    prepared.into_iter().collect::<Result<(), Error>>()?;
    let servers = args.servers()?;
    if args.doctor {
        let client = Client::without_ledger(input::plan(args.plan())?, args.reveal())?;
        let client = client.flow(args.flow());
        return doctor::run(args, &client, &servers);
    }
    // Of several servers only one was measured last.
    let network = match servers.as_slice() {
        [server] => doctor::known_network(&server.address),
        _ => None,
    };
    let flow = Flow { network, ..args.flow() };
    let client = client(args, input::plan(args.plan())?)?.flow(flow);
    let (job, identifiers) = job(args, &client)?;
    if let Some(path) = &args.output {
        // What the file cannot hold is said before anything is sent.
        let none = client.answers().results(&[], identifiers.clone().map(|values| (args.id(), values)));
        none.to_bytes(Kind::of(path)).map_err(|error| refuse(path, error))?;
    }
    let servers: Vec<_> = servers.iter().map(|server| move || progress::dial(server, args.quiet)).collect();
    let mut screen = Screen::new(args);
    let concluded = client.run_on(job, &servers, &mut |event| screen.show(event));
    drop(screen);
    let concluded = concluded?;
    let identifiers = identifiers.map(|values| (args.id(), values));
    let results = concluded.answers.as_ref().map(|answers| client.answers().results(answers, identifiers));
    let print = |results: &Results| {
        output::print(&results.to_csv().map_err(|error| refuse(Path::new("standard output"), error))?)
    };
    let written = match (&args.output, &results) {
        (Some(path), Some(results)) => {
            let bytes = results.to_bytes(Kind::of(path)).map_err(|error| refuse(path, error));
            // The samples are used up, so what they were used for is not thrown away.
            bytes.and_then(|bytes| output::write(path, &bytes)).inspect_err(|_| {
                warn(format_args!("{} could not be written: standard output has what belongs there", path.display()));
                let _ = print(results);
            })
        }
        (None, Some(results)) => print(results),
        (_, None) => Ok(()),
    };
    let reported = write_reports(args, &concluded, client.plan());
    if !args.quiet {
        let unrecorded = if args.no_ledger { " (not recorded: --no-ledger)" } else { "" };
        say(format_args!("{}{unrecorded}", verdict::words(&concluded, client.plan())));
    }
    written.and(reported)?;
    Ok(if concluded.verdict.accepted { Ending::Finished } else { Ending::Rejected })
}

/// Writes the report in the forms that are asked for.
pub fn write_reports(args: &Args, concluded: &ClientReport, plan: &Plan) -> Result<(), Error> {
    if let Some(path) = &args.report {
        output::write(path, report::to_json(concluded)?.as_bytes())?;
    }
    let Some(path) = &args.html else { return Ok(()) };
    output::write(path, page::page(concluded, &plan.schema.classes).as_bytes())
}

/// The client, with its ledger unless none is kept.
fn client(args: &Args, plan: Plan) -> Result<Client, Error> {
    let client = Client::without_ledger(plan, args.reveal())?;
    if args.no_ledger {
        return Ok(client);
    }
    Ok(client.with_ledger(Ledger::open(&ledger(args)?)?))
}

/// Where the ledger is.
fn ledger(args: &Args) -> Result<PathBuf, Error> {
    let default = || store::default_place("ledger.redb", "--ledger FILE or --no-ledger");
    args.ledger.clone().map_or_else(default, Ok)
}

/// Prints the ledger's sessions: all that it knows of each, a line of JSON.
pub fn show_ledger(args: &Args) -> Result<(), Error> {
    let path = ledger(args)?;
    if !path.exists() {
        return Err(Error::Usage(format!("{}: there is no ledger", path.display())));
    }
    output::print(&Ledger::open(&path)?.export()?)
}

/// An error about what is written to `path`.
fn refuse(path: &Path, error: TableError) -> Error {
    Error::Usage(format!("{}: {error}", path.display()))
}

/// Reads the samples and plans the batch. With what identifies the queries.
fn job(args: &Args, client: &Client) -> Result<(Job, Option<Values>), Error> {
    let plan = client.plan();
    // Public samples need no identifier; what may be in their table beside features is no surprise.
    let labelled = args.public_labels.as_ref().and_then(|from| from.column.as_deref());
    let known: Vec<&str> = args.id.as_deref().into_iter().chain(labelled).collect();
    let read = |path: &Path, identifier| samples(args, plan, path, Apart { identifier, others: &known });
    let (queries, identifiers) = read(args.need("--input", &args.input)?, args.id.as_deref())?;
    if args.no_verify {
        return Ok((Job::unverified(queries)?, identifiers));
    }
    let needed = "is missing (or say --no-verify and believe the server)";
    let (Some(inputs), Some(labels)) = (&args.public_inputs, &args.public_labels) else {
        let flag = if args.public_inputs.is_none() { "--public-inputs" } else { "--public-labels" };
        return Err(Error::Usage(format!("{flag} {needed}")));
    };
    let revealed = client.answers();
    let (inputs, _) = read(inputs, None)?;
    let public = match revealed.values() {
        Some(ty) => {
            let tolerance = *args.need("--tolerance", &args.tolerance)?;
            let values = input::values(labels, [inputs.len(), ty.len()], "public samples")?.concat();
            client.public_values(inputs, &values, tolerance)?
        }
        None if args.tolerance.is_some() => {
            return Err(Error::Usage("--tolerance is about values, but the plan reveals labels".into()));
        }
        None => {
            let classes = revealed.classes();
            let labels = input::labels(labels, [inputs.len(), revealed.ranks()], "public samples", classes)?;
            inputs.into_iter().zip(labels).map(|(row, labels)| PublicSample { row, known: labels.into() }).collect()
        }
    };
    let probes = match (&args.probe_inputs, &args.probe_labels) {
        (Some(inputs), Some(labels)) => {
            let (inputs, identifiers) = read(inputs, args.id.as_deref())?;
            let identifiers = identifiers.as_ref().map(|values| (args.id(), values));
            let answers = revealed.read(labels, inputs.len(), "probes", identifiers)?;
            inputs.into_iter().zip(answers).map(|(row, answer)| Probe { row, answer }).collect()
        }
        _ => Vec::new(),
    };
    let job = client.verified(queries, public, probes, args.policy())?;
    if job.repeats() > 0 {
        warn(format_args!(
            "{} public samples are left out: each repeats another public sample, a query or a probe",
            job.repeats()
        ));
    }
    Ok((job, identifiers))
}

/// Reads samples, with what identifies them, and says which of them the plan's input format does
/// not hold.
fn samples(args: &Args, plan: &Plan, path: &Path, apart: Apart<'_>) -> Result<(Vec<Row>, Option<Values>), Error> {
    let Samples { rows, clipped, identifiers, notices } = input::samples(path, plan, apart)?;
    for notice in notices {
        complain(format_args!("note: {}: {notice}", path.display()));
    }
    for found in clipped.iter().take(MAX_LISTED) {
        warn(format_args!("{}: {found}", path.display()));
    }
    if clipped.len() > MAX_LISTED {
        warn(format_args!("{}: {} more samples like that", path.display(), clipped.len() - MAX_LISTED));
    }
    match clipped.iter().find(|found| found.is_too_much()) {
        Some(found) if args.clipped != Some(OnClipped::Warn) => Err(Error::Usage(format!(
            "{}: {found}: the answer would be about another sample. Let the server calibrate on samples like these, bring them to \
             the units that the model was made for, or say --clipped warn",
            path.display()
        ))),
        _ => Ok((rows, identifiers)),
    }
}

/// Refuses an output path that is also an input's: stale outputs are removed at the start.
fn spare_inputs(args: &Args) -> Result<(), Error> {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let same = |one: &Path, other: &Path| place(one).is_some_and(|one| Some(one) == place(other));
    let labels = args.public_labels.as_ref().map(|from| from.path.as_path());
    let [public, probes, answers] = [&args.public_inputs, &args.probe_inputs, &args.probe_labels].map(Option::as_deref);
    let known = [public, labels, probes, answers];
    let inputs = [[Some(args.plan()), args.input.as_deref(), args.ledger.as_deref()].as_slice(), &known].concat();
    let outputs: Vec<&PathBuf> = [&args.output, &args.report, &args.html].into_iter().flatten().collect();
    for path in &outputs {
        if inputs.iter().flatten().any(|input| same(input, path)) {
            return Err(Error::Usage(format!("{} would be overwritten: it is an input", path.display())));
        }
    }
    for (at, path) in outputs.iter().enumerate() {
        if outputs[..at].iter().any(|other| same(other, path)) {
            return Err(Error::Usage(format!("{} cannot hold two results", path.display())));
        }
    }
    Ok(())
}
