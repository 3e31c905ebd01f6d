//! `--role client`: reads the samples, plans the batch, runs it, and writes what was accepted.

use std::path::{Path, PathBuf};

use fusion_ir::{Plan, TensorType};
use fusion_runtime::client::classes;
use fusion_runtime::fusion::{Job, PublicSample};
use fusion_runtime::transport::tcp;
use fusion_runtime::{Error, input, output, report, run_client};

use crate::Outcome;
use crate::args::Args;
use crate::progress::Bar;
use crate::verdict::{self, say, warn_plaintext};

/// Runs the client. Everything that can be refused is refused before a byte is sent.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    spare_inputs(args)?;
    // Every stale result goes, even if there is no place for another one.
    let prepared = [&args.output, &args.report].map(|path| path.as_deref().map_or(Ok(()), output::prepare));
    prepared.into_iter().collect::<Result<(), Error>>()?;
    let server = args.need("--connect", &args.connect)?;
    let plan = input::plan(&args.plan)?;
    let job = job(args, &plan)?;
    let (connection, address) = tcp::connect(server, args.tcp())?;
    warn_plaintext(address);

    let bar = Bar::new(args.quiet);
    let concluded = run_client(Box::new(connection), &plan, &job, args.micro_batch, &mut |step| bar.show(step));
    drop(bar);
    let concluded = concluded?;
    if let (Some(path), Some(labels)) = (&args.output, &concluded.labels) {
        output::write(path, output::labels_csv(labels).as_bytes())?;
    }
    if let Some(path) = &args.report {
        output::write(path, report::to_json(&concluded)?.as_bytes())?;
    }
    if let (None, Some(labels)) = (&args.output, &concluded.labels) {
        output::print(&output::labels_csv(labels))?;
    }
    if !args.quiet {
        say(verdict::line(&concluded, &plan));
    }
    Ok(if concluded.verdict.accepted { Outcome::Finished } else { Outcome::Rejected })
}

/// Reads the samples and plans the batch.
fn job(args: &Args, plan: &Plan) -> Result<Job, Error> {
    let ty = input_type(plan)?;
    let queries = input::samples(args.need("--input", &args.input)?, ty)?;
    if args.no_verify {
        return Job::unverified(queries);
    }
    let needed = "is missing (or say --no-verify and believe the server)";
    let (Some(inputs), Some(labels)) = (&args.public_inputs, &args.public_labels) else {
        let flag = if args.public_inputs.is_none() { "--public-inputs" } else { "--public-labels" };
        return Err(Error::Usage(format!("{flag} {needed}")));
    };
    let inputs = input::samples(inputs, ty)?;
    let labels = input::labels(labels, inputs.len(), classes(&plan.function))?;
    let public = inputs.into_iter().zip(labels).map(|(input, label)| PublicSample { input, label }).collect();
    Job::verified(queries, public, args.policy())
}

fn input_type(plan: &Plan) -> Result<&TensorType, Error> {
    plan.function.values.first().map(|value| &value.ty).ok_or_else(|| Error::Bug("the plan has no input".into()))
}

/// Refuses an output path that is also an input's: stale outputs are removed at the start.
fn spare_inputs(args: &Args) -> Result<(), Error> {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let same = |one: &Path, other: &Path| place(one).is_some_and(|one| Some(one) == place(other));
    let inputs = [Some(&args.plan), args.input.as_ref(), args.public_inputs.as_ref(), args.public_labels.as_ref()];
    let outputs: Vec<&PathBuf> = [&args.output, &args.report].into_iter().flatten().collect();
    for path in &outputs {
        if inputs.iter().flatten().any(|input| same(input, path)) {
            return Err(Error::Usage(format!("{} would be overwritten: it is an input", path.display())));
        }
    }
    match outputs[..] {
        [labels, report] if same(labels, report) => {
            Err(Error::Usage(format!("{} cannot hold both labels and report", labels.display())))
        }
        _ => Ok(()),
    }
}
