//! Filetests: `.fir` files of IR text with a test line and what must come out.
//!
//! ```text
//! ; test interp seed=3          (verify | interp | run | pass NAME | select)
//! function "..."
//! ...
//! ; expect:
//! ;   lines of output
//! ```
//!
//! `FUSION_BLESS=1` writes the output found into the files. Inputs and weights are random from the
//! seed, over their whole range.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fusion_backends::channel;
use fusion_backends::session::Session;
use fusion_catalogue::ot::OtSource;
use fusion_catalogue::{Keys, Steps};
use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, Party, Weights, interp, text, verify};
use fusion_tests::root;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const EXPECT: &str = "; expect:";

#[test]
fn filetests() {
    let mut files = Vec::new();
    collect(&root().join("tests/filetests"), &mut files);
    files.sort();
    assert!(files.len() >= 10, "only {} filetests", files.len());
    let failures: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "fir") {
            files.push(entry);
        }
    }
}

fn check(file: &Path) -> Result<(), String> {
    let name = file.strip_prefix(root()).unwrap_or(file).display();
    let content = std::fs::read_to_string(file).map_err(|e| format!("{name}: {e}"))?;
    let (program, expected) = content.split_once(EXPECT).unwrap_or((content.as_str(), ""));
    let found = run(program).map_err(|e| format!("{name}: {e}"))?;
    let comment: String = found.lines().map(|line| format!(";   {line}").trim_end().to_owned() + "\n").collect();
    if expected.trim() == comment.trim() {
        return Ok(());
    }
    if std::env::var_os("FUSION_BLESS").is_some() {
        return std::fs::write(file, format!("{program}{EXPECT}\n{comment}")).map_err(|e| e.to_string());
    }
    Err(format!("{name}: expected\n{}\nfound\n{comment}", expected.trim()))
}

fn run(program: &str) -> Result<String, String> {
    let line = program.lines().find_map(|line| line.strip_prefix("; test ")).ok_or("no `; test` line")?;
    let mut words = line.split_whitespace();
    let command = words.next().ok_or("an empty `; test` line")?;
    let argument = words.next().unwrap_or_default();
    let seed = || argument.strip_prefix("seed=").and_then(|seed| seed.parse().ok()).ok_or("no seed=N");
    let function = text::parse(program).map_err(|e| e.to_string())?;
    if command == "verify" {
        return Ok(match verify::verify_executable(&function) {
            Ok(()) => "ok".into(),
            Err(violations) => violations.iter().map(|v| format!("{v}\n")).collect(),
        });
    }
    // Unread values are welcome here: a test looks at every value.
    let mut violations = verify::verify(&function).err().unwrap_or_default();
    violations.retain(|violation| violation.invariant != 9);
    if !violations.is_empty() {
        return Err(verify::explain(&function, &violations));
    }
    match command {
        "interp" => interpret(&function, seed()?),
        "run" => both_parties(&function, seed()?),
        "pass" => {
            fusion_compiler::passes::run_one(argument, function).map(|f| f.to_string()).map_err(|e| e.to_string())
        }
        other => Err(format!("no test command {other:?}")),
    }
}

fn random(function: &Function, seed: u64) -> (ChaCha20Rng, Weights) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut elements = |bits: u8, n: usize| (0..n).map(|_| signed(rng.next_u64(), bits)).collect();
    let weights = function.weights.iter().map(|w| elements(w.bits, w.shape.iter().product())).collect();
    (rng, Weights(weights))
}

fn interpret(function: &Function, seed: u64) -> Result<String, String> {
    let (mut rng, weights) = random(function, seed);
    let ty = &function.values[0].ty;
    let input: Vec<i64> = (0..ty.len()).map(|_| signed(rng.next_u64(), ty.bits)).collect();
    let values = interp::run(function, &weights, &input);
    Ok(function.iter().zip(&values).map(|((id, _), elements)| format!("{id} = {elements:?}\n")).collect())
}

/// Two in-memory parties on three positions; every value's shares must add up to the interpreter's
/// value.
fn both_parties(function: &Function, seed: u64) -> Result<String, String> {
    const POSITIONS: usize = 3;
    let (mut rng, weights) = random(function, seed);
    let ty = &function.values[0].ty;
    let inputs: Vec<i64> = (0..POSITIONS * ty.len()).map(|_| signed(rng.next_u64(), ty.bits)).collect();
    let input: Vec<u64> = inputs.iter().map(|x| wrap(*x, ty.bits)).collect();
    let ends = [channel::pair(), channel::pair()];
    let [(client_online, server_online), (client_offline, server_offline)] = ends;
    let (client_ends, server_ends) = ([client_online, client_offline], [server_online, server_offline]);
    let (client, server) = std::thread::scope(|scope| {
        let client = scope.spawn(|| party(Party::Client, client_ends, function, None, input.clone()));
        let server = scope.spawn(|| party(Party::Server, server_ends, function, Some(&weights), vec![0; input.len()]));
        (client.join().expect("the client"), server.join().expect("the server"))
    });
    let (client, server) = (client.map_err(|e| e.to_string())?, server.map_err(|e| e.to_string())?);
    let runs = inputs.chunks_exact(ty.len()).map(|input| interp::run(function, &weights, input)).collect::<Vec<_>>();
    for (id, value) in function.iter().filter(|(_, value)| !matches!(value.op, Op::Reveal(_) | Op::Check)) {
        let shares = client[id.index()].iter().zip(&server[id.index()]);
        let found: Vec<i64> = shares.map(|(c, s)| signed(c.wrapping_add(*s), value.ty.bits)).collect();
        let expected: Vec<i64> = runs.iter().flat_map(|values| values[id.index()].clone()).collect();
        if found != expected {
            return Err(format!("{id} = {value}\nexpected {expected:?}\nfound    {found:?}"));
        }
    }
    Ok("equal".into())
}

fn party(
    party: Party,
    [online, offline]: [channel::LocalChannel; 2],
    function: &Function,
    weights: Option<&Weights>,
    input: Vec<u64>,
) -> Result<Vec<Vec<u64>>, fusion_backends::Error> {
    let steps = Steps::of(function).expect("every operation is one that its backend computes");
    let session = Session::establish(party, Box::new(online), Box::new(offline), [7; 32], OtSource::default())?;
    let keys = Keys::of(&steps);
    let mut session = session.prepare(Arc::new(steps), keys)?;
    let mut batch = session.begin(input.len() / function.values[0].ty.len())?;
    let mut values: Vec<Vec<u64>> = vec![input];
    for (id, value) in function.iter().skip(1) {
        if matches!(value.op, Op::Reveal(_) | Op::Check) {
            values.push(Vec::new());
            continue;
        }
        let operands: Vec<&[u64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        let result = session.run(&mut batch, id, weights, &operands)?;
        values.push(result);
    }
    Ok(values)
}
