//! What the `; test` lines do.
//!
//! - `verify`: the violations of each value; or where the text cannot be read.
//! - `interp seed=N`: each value by the interpreter, on a random input.
//! - `run seed=N`: two in-memory parties, whose shares must add up to the interpreter's values.
//! - `pass NAME [rounds] [reveal=WHAT] [mix=QUERIES,COPIES,PUBLIC]`: the function after the pass.
//!   Its scores must be the same; with `rounds`, they may differ by a unit of the coarser format.
//! - `select [network=lan|wan] [positions=N] [backend=NAME]`: who computes each value.
//!
//! Weights and inputs are random from the seed.

use fusion::Network;
use fusion_catalogue::{Resolver, Schedule};
use fusion_compiler::passes::select::Choice;
use fusion_compiler::passes::{Program, Settings, Target, run_one};
use fusion_ir::op::Mix;
use fusion_ir::types::signed;
use fusion_ir::{Function, Op, ValueId, Weights, interp, text, verify};
use fusion_tests::parties::{self, Supply};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::format::{Found, Test};

/// Runs a test on the text of one function.
pub fn run(test: &Test<'_>, text: &str) -> Result<Found, String> {
    let mut arguments = Arguments(test.arguments.clone());
    let found = match test.command {
        "verify" => verified(text),
        "interp" => interpreted(&well_formed(text)?, arguments.number("seed")?).map(|found| beside(text, found)),
        "run" => both_parties(&well_formed(text)?, arguments.number("seed")?).map(|()| of_whole(["equal".into()])),
        "pass" => passed(well_formed(text)?, &mut arguments),
        "select" => selected(well_formed(text)?, &mut arguments).map(|found| beside(text, found)),
        other => Err(format!("no test {other:?}")),
    }?;
    match arguments.0.first() {
        Some(unknown) => Err(format!("no argument {unknown:?} of {}", test.command)),
        None => Ok(found),
    }
}

/// Those of a test line, less those that were asked for.
struct Arguments<'t>(Vec<&'t str>);

impl<'t> Arguments<'t> {
    /// The value of `name=value`.
    fn value(&mut self, name: &str) -> Option<&'t str> {
        let of = |argument: &&str| argument.split_once('=').is_some_and(|(key, _)| key == name);
        let at = self.0.iter().position(of)?;
        self.0.remove(at).split_once('=').map(|(_, value)| value)
    }

    fn number(&mut self, name: &str) -> Result<u64, String> {
        let number = self.value(name).and_then(|value| value.parse().ok());
        number.ok_or_else(|| format!("no {name}=N"))
    }

    /// Whether `word` is there.
    fn word(&mut self, word: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|argument| *argument != word);
        self.0.len() < before
    }

    /// The next one.
    fn first(&mut self) -> Option<&'t str> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

fn of_whole(notes: impl IntoIterator<Item = String>) -> Found {
    Found { whole: notes.into_iter().collect(), ..Found::default() }
}

/// Notes about values, below their lines.
fn beside(text: &str, notes: impl IntoIterator<Item = (ValueId, String)>) -> Found {
    let mut found = Found::default();
    for (id, note) in notes {
        let defines = format!("{id} =");
        match text.lines().position(|line| line.trim_start().starts_with(&defines)) {
            Some(line) => found.lines.entry(line).or_default().push(note),
            None => found.whole.push(format!("{id}: {note}")),
        }
    }
    found
}

fn verified(text: &str) -> Result<Found, String> {
    let function = match text::parse(text) {
        Ok(function) => function,
        Err(error) => {
            let lines = [(error.line - 1, vec![format!("error: {}", error.message)])].into();
            return Ok(Found { lines, whole: Vec::new() });
        }
    };
    let Err(violations) = verify::verify_executable(&function) else { return Ok(of_whole(["ok".into()])) };
    let note = |v: &verify::Violation| format!("error: {} (invariant {})", v.message, v.invariant);
    let mut found = beside(text, violations.iter().filter_map(|v| Some((v.value?, note(v)))));
    found.whole.extend(violations.iter().filter(|v| v.value.is_none()).map(note));
    Ok(found)
}

/// The function, which may have values that nothing reads: a test looks at every value.
fn well_formed(text: &str) -> Result<Function, String> {
    let function = text::parse(text).map_err(|e| e.to_string())?;
    let mut violations = verify::verify(&function).err().unwrap_or_default();
    violations.retain(|violation| violation.invariant != 9);
    if violations.is_empty() { Ok(function) } else { Err(verify::explain(&function, &violations)) }
}

fn passed(function: Function, arguments: &mut Arguments<'_>) -> Result<Found, String> {
    let name = arguments.first().ok_or("no name of a pass")?;
    let rounds = arguments.word("rounds");
    let mut settings = Settings::default();
    if let Some(reveal) = arguments.value("reveal") {
        settings.reveal = reveal.parse()?;
    }
    if let Some(mix) = arguments.value("mix") {
        let numbers: Vec<u64> = mix.split(',').filter_map(|number| number.parse().ok()).collect();
        let [queries, copies, public] = numbers[..] else { return Err(format!("mix={mix} is not three numbers")) };
        settings.mix = Some(Mix { queries, copies, public });
    }
    // Small ones within their formats, since magnitudes are claims about what goes in.
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut small = |bits: u8, n: usize| (0..n).map(|_| signed(rng.next_u64(), bits.min(4))).collect();
    let weights = Weights(function.weights.iter().map(|w| small(w.bits, w.shape.iter().product())).collect());
    let before = Program { function, weights };
    let mut after = before.clone();
    run_one(name, &mut after, &settings).map_err(|e| e.to_string())?;
    for _ in 0..8 {
        let ty = &before.function.values[0].ty;
        let input: Vec<i64> = (0..ty.len()).map(|_| signed(rng.next_u64(), ty.magnitude + 1)).collect();
        let [(a, fa), (b, fb)] = [&before, &after].map(|program| scores(program, &input));
        let unit = if rounds { 2f64.powi(-i32::from(fa.min(fb))) } else { 0.0 };
        let real = |x: i64, frac: i8| x as f64 * 2f64.powi(-i32::from(frac));
        let near = |(x, y): (&i64, &i64)| (real(*x, fa) - real(*y, fb)).abs() <= unit;
        if a.len() != b.len() || !a.iter().zip(&b).all(near) || !(rounds || fa == fb) {
            return Err(format!("the pass changes the scores of {input:?}\nfrom {a:?}\nto   {b:?}"));
        }
    }
    if after.function == before.function {
        return Ok(of_whole(["unchanged".into()]));
    }
    let text = after.function.to_string();
    Ok(of_whole(std::iter::once("becomes:".into()).chain(text.lines().map(|line| format!("  {line}")))))
}

/// What the label is taken of, and its fractional bits.
fn scores(program: &Program, input: &[i64]) -> (Vec<i64>, i8) {
    let function = &program.function;
    let at = interp::logits_of(function).map_or(function.values.len() - 1, ValueId::index);
    (interp::run(function, &program.weights, input).swap_remove(at), function.values[at].ty.frac)
}

fn selected(function: Function, arguments: &mut Arguments<'_>) -> Result<Vec<(ValueId, String)>, String> {
    let network = match arguments.value("network") {
        None | Some("lan") => Network::LAN,
        Some("wan") => Network::WAN,
        Some(other) => return Err(format!("no network {other:?}")),
    };
    let positions = arguments.value("positions").map_or(Ok(1), |value| value.parse().map_err(|_| "positions=N"))?;
    let choice = arguments.value("backend").map(|name| name.parse().map(Choice::Always)).transpose()?;
    let schedule = Schedule::new(positions, 16, 2);
    let target = Target { network, schedule, choice: choice.unwrap_or_default(), ..Target::default() };
    let weights = Weights(function.weights.iter().map(|w| vec![0; w.shape.iter().product()]).collect());
    let mut program = Program { function, weights };
    run_one("select", &mut program, &Settings { target, ..Settings::default() }).map_err(|e| e.to_string())?;
    let function = &program.function;
    let mut resolver = Resolver::default();
    let remote = function.iter().filter(|(_, value)| !value.op.is_local());
    let notes = remote.map(|(id, value)| match resolver.step(function, id, value.backend) {
        Ok(_) => (id, format!("by: {}", value.backend)),
        Err(why) => (id, format!("error: {why}")),
    });
    Ok(notes.collect())
}

fn random(function: &Function, seed: u64) -> (ChaCha20Rng, Weights) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut elements = |bits: u8, n: usize| (0..n).map(|_| signed(rng.next_u64(), bits)).collect();
    let weights = function.weights.iter().map(|w| elements(w.bits, w.shape.iter().product())).collect();
    (rng, Weights(weights))
}

fn interpreted(function: &Function, seed: u64) -> Result<Vec<(ValueId, String)>, String> {
    let (mut rng, weights) = random(function, seed);
    let ty = &function.values[0].ty;
    let input: Vec<i64> = (0..ty.len()).map(|_| signed(rng.next_u64(), ty.bits)).collect();
    let values = interp::run(function, &weights, &input);
    Ok(function.iter().zip(&values).map(|((id, _), elements)| (id, format!("value: {elements:?}"))).collect())
}

/// Two in-memory parties on three positions; every value's shares must add up to the interpreter's
/// value.
fn both_parties(function: &Function, seed: u64) -> Result<(), String> {
    const POSITIONS: usize = 3;
    let (mut rng, weights) = random(function, seed);
    let ty = &function.values[0].ty;
    let inputs: Vec<i64> = (0..POSITIONS * ty.len()).map(|_| signed(rng.next_u64(), ty.bits)).collect();
    let program = parties::Program::new(function, &weights, &inputs);
    let [client, server] = program.run(parties::seats(Supply::Dealt));
    let (client, server) = (client.map_err(|e| e.to_string())?, server.map_err(|e| e.to_string())?);
    let runs = inputs.chunks_exact(ty.len()).map(|input| interp::run(function, &weights, input)).collect::<Vec<_>>();
    for (id, value) in function.iter().filter(|(_, value)| !matches!(value.op, Op::Reveal(_) | Op::Check)) {
        let found = parties::opened(id, &value.ty, &client, &server);
        let expected: Vec<i64> = runs.iter().flat_map(|values| values[id.index()].clone()).collect();
        if found != expected {
            return Err(format!("{id} = {value}\nexpected {expected:?}\nfound    {found:?}"));
        }
    }
    Ok(())
}
