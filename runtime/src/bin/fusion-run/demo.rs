//! Without `--role`: both parties in this process, over loopback TCP, on the samples that came with
//! the plan.

use fusion_ir::plan::Demo;
use fusion_ir::soundness::Policy;
use fusion_ir::{Plan, Weights, interp};
use fusion_runtime::forecast::Forecast;
use fusion_runtime::fusion::{Job, PublicSample, Row};
use fusion_runtime::transport::tcp;
use fusion_runtime::{Answers, ClientReport, Error, Step, input, output, resolve, run_client, run_server};
use rayon::prelude::*;

use crate::Ending;
use crate::args::Args;
use crate::progress::Bar;
use crate::verdict::{self, megabytes, say};

/// Queries, unless there are too few samples or the model is too large.
const QUERIES: [usize; 4] = [8, 4, 2, 1];
/// Demands that are tried one after the other, in bits.
const LAMBDAS: [f64; 5] = [40.0, 30.0, 20.0, 10.0, 5.0];
/// Error rates that are to be caught, tried likewise; none stands for servers that ignore the
/// inputs.
const CATCHES: [Option<f64>; 5] = [Some(0.1), Some(0.2), None, Some(0.5), Some(0.95)];
/// Positions and traffic beyond which a smaller demonstration is preferred.
const POSITIONS: u64 = 200;
const BYTES: u64 = 2_000_000_000;

/// Runs both parties and explains the result.
pub fn run(args: &Args) -> Result<Ending, Error> {
    let prepared = [&args.report, &args.html].map(|path| path.as_deref().map_or(Ok(()), output::prepare));
    prepared.into_iter().collect::<Result<(), Error>>()?;
    let plan = input::plan(args.plan())?;
    let path = args.plan().display();
    let (Some(weights), Some(demo)) = (&plan.weights, &plan.demo) else {
        let lacks = if plan.weights.is_none() { "no weights" } else { "no demo samples with labels" };
        return Err(Error::Usage(format!(
            "{path} has {lacks}: the demonstration needs a plan.bin that was compiled with --calibrate (or choose a --role)"
        )));
    };
    let job = job(args, &plan, weights, demo)?;
    let concluded = both_parties(args, &plan, &job)?;
    crate::client::write_reports(args, &concluded, &plan)?;
    if !args.quiet {
        say(explain(&concluded, &plan, demo));
    }
    Ok(if concluded.verdict.accepted { Ending::Finished } else { Ending::Rejected })
}

/// Runs the server on a thread of its own and the client on this one.
fn both_parties(args: &Args, plan: &Plan, job: &Job) -> Result<ClientReport, Error> {
    let listener = tcp::listen("127.0.0.1:0", &args.tcp()?)?;
    let address = listener.local_addr().map_err(fusion_backends::Error::Io)?;
    let limits = crate::server::limits(args, plan)?;
    let (client, _) = tcp::connect(&address.to_string(), &args.tcp()?)?;
    let (server, _) = tcp::accept(&listener, &args.tcp()?)?;
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| run_server(Box::new(server), plan, limits, &mut |_| ()));
        let bar = Bar::new(args.quiet);
        let show = &mut |step: Step<'_>| bar.show(step);
        (run_client(Box::new(client), &plan.for_client(), job, args.flow(), show), server.join())
    });
    let server = server.map_err(|_| Error::Bug("the server's thread panicked".into()))?;
    match (client, server) {
        (Ok(concluded), Ok(_)) => Ok(concluded),
        // One party's failure is a hang-up to the other: the cause is what is not a hang-up.
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(client), Err(server)) => {
            verdict::complain(format_args!("the demonstration's server says: {server}"));
            Err(client)
        }
    }
}

/// Takes the first samples as queries and the rest as public samples. What flags do not say is
/// chosen so that the samples suffice: the honest model's accuracy is measured, lambda is the
/// largest of [`LAMBDAS`] within reach, then come the number of queries and the error rate to
/// catch.
fn job(args: &Args, plan: &Plan, weights: &Weights, demo: &Demo) -> Result<Job, Error> {
    let public = |queries: usize| {
        let samples = demo.inputs.iter().zip(&demo.labels).skip(queries);
        let sample =
            |(input, label): (&Vec<i64>, &i64)| PublicSample { row: input.clone().into(), known: vec![*label].into() };
        samples.map(sample).collect::<Vec<_>>()
    };
    let queries = |count: usize| demo.inputs[..count].iter().cloned().map(Row::from).collect::<Vec<_>>();
    let possible = || QUERIES.into_iter().filter(|queries| *queries < demo.inputs.len());
    if args.no_verify {
        let count = possible().next().unwrap_or(demo.inputs.len());
        return Job::unverified(queries(count));
    }
    let accuracy = args.accuracy.unwrap_or_else(|| measured_accuracy(plan, weights, demo));
    let steps = resolve(&plan.function)?;
    let affordable = |job: &Job| {
        let positions = job.batch().positions();
        let size = args.flow().size(&steps, positions as usize)?;
        let predicted = Forecast::new(&steps, size).predicted;
        let bytes = predicted.client_to_server + predicted.server_to_client;
        Ok::<bool, Error>(positions <= POSITIONS && bytes <= BYTES)
    };
    let lambdas = args.lambda.map_or(LAMBDAS.to_vec(), |lambda| vec![lambda]);
    let catches = args.catch.map_or(CATCHES.to_vec(), |catch| vec![Some(catch)]);
    let mut attempt = Err(Error::Usage("the plan has too few demo samples".into()));
    for lambda in lambdas {
        for count in possible() {
            for catch in &catches {
                let policy = Policy { lambda, catch: *catch, accuracy, ..args.policy() };
                match Job::verified(queries(count), public(count), policy) {
                    Ok(job) if affordable(&job)? => return Ok(job),
                    // Kept in case that nothing is affordable: then the last and smallest is run
                    // all the same.
                    Ok(job) => attempt = Ok(job),
                    Err(error) if attempt.is_err() => attempt = Err(error),
                    Err(_) => {}
                }
            }
        }
    }
    attempt
}

/// How often the reference gets the demo samples right: an honest server does neither better nor
/// worse.
fn measured_accuracy(plan: &Plan, weights: &Weights, demo: &Demo) -> f64 {
    if !demo.labelled {
        return 1.0;
    }
    let answers = Answers::new(plan);
    let samples = demo.inputs.par_iter().zip(&demo.labels);
    let label = |input: &Vec<i64>| answers.meaning(&interp::output(&plan.function, weights, input)).first().copied();
    let correct = samples.filter(|(input, known)| label(input) == Some(**known));
    correct.count() as f64 / demo.inputs.len().max(1) as f64
}

/// The last lines: what was proven, to someone who sees it for the first time.
fn explain(report: &ClientReport, plan: &Plan, demo: &Demo) -> String {
    let (batch, verdict, run) = (&report.batch, &report.verdict, &report.run);
    let mut lines = vec![verdict::words(report, plan), String::new()];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<28}{value}"));
    row("model", plan.function.name.clone());
    row("queries", format!("{}, {} copies of each", batch.queries, batch.copies));
    row("public samples", format!("{}, {} answered correctly", batch.public, verdict.public_correct));
    row("positions", format!("{}, in an order that only the client knows", batch.positions));
    if let Some(labels) = &report.labels {
        let known = &demo.labels[..labels.len().min(demo.labels.len())];
        let right = labels.iter().zip(known).filter(|(found, known)| found == known).count();
        let of = if demo.labelled { "labels given with the data" } else { "the model's own answers in the clear" };
        row("labels", labels.iter().map(i64::to_string).collect::<Vec<_>>().join(" "));
        row("", format!("{right} of {} equal {of}", known.len()));
    }
    let (up, down) = (run.bytes.client_to_server, run.bytes.server_to_client);
    row("traffic per query", megabytes((up + down) / batch.queries.max(1)));
    row("traffic in all", format!("{} up, {} down, {} rounds", megabytes(up), megabytes(down), run.rounds));
    row("time", format!("{:.1} s, both parties on this machine", run.time_s.total));
    lines.push(String::new());
    lines.push(
        "The demo samples came with the plan, from the server's side. They show how verification works and are no evidence \
         about a real server: for that, bring public samples that the server has never seen."
            .into(),
    );
    lines.join("\n")
}
