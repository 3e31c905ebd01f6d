//! Hostile plans: the client refuses each before it connects to anybody, by exit code 2 and with
//! the reason.

use std::io::ErrorKind;
use std::net::TcpListener;

use fusion_ir::Backend;
use fusion_ir::op::Reveal;
use fusion_ir::{Function, Op, Plan, Sign, ValueId};
use fusion_tests::desk::Desk;

/// A way to spoil a function, and a phrase of the client's reason.
type Spoil = (&'static str, fn(&mut Function), &'static str);

const SPOILS: [Spoil; 22] = [
    ("reveals a hidden layer", |f| value(f, "relu").op = Op::Reveal(Reveal::Logits), "invariant"),
    ("reveals the logits besides", reveal_more, "reveals before the end"),
    (
        "reveals a label that is the logits",
        |f| value(f, "fusion.reveal").op = Op::Reveal(Reveal::Logits),
        "opens something",
    ),
    ("reveals the input", |f| value(f, "fusion.reveal").operands = vec![ValueId(0)], "invariant"),
    ("never reveals", |f| f.values.truncate(f.values.len() - 2), "does not end in a reveal"),
    ("does not mix", unmix, "without fusion.mix"),
    ("bypasses the mix", |f| value(f, "conv").operands = vec![ValueId(0)], "is never read"),
    ("mixes but does not check", |f| _ = f.values.pop(), "mixes what nothing checks"),
    ("checks early", check_early, "checks before the end"),
    ("reads what comes later", |f| value(f, "conv").operands = vec![ValueId(9)], "invariant 1"),
    ("reads what does not exist", |f| value(f, "conv").operands = vec![ValueId(4_000_000_000)], "invariant 1"),
    ("accumulates too wide", |f| widen(f, 40), "wider than 34"),
    ("has no bits", |f| value(f, "requant").ty.bits = 0, "invariant 2"),
    ("has 200 bits", |f| value(f, "requant").ty.bits = 200, "invariant 2"),
    ("is absurdly large", |f| f.values[0].ty.shape = vec![1 << 40, 1 << 40, 8], "invariant 2"),
    ("is empty somewhere", |f| f.values[0].ty.shape = vec![1, 0, 8], "invariant 2"),
    ("strides by nothing", |f| conv(f).strides = [0, 1], "out of range"),
    ("pads beyond memory", |f| conv(f).pads = [usize::MAX; 4], "out of range"),
    ("has no groups", |f| conv(f).groups = 0, "0 groups"),
    ("shifts by nothing", |f| value(f, "requant").op = Op::Requant { shift: 0 }, "invariant 6"),
    ("claims a sign", |f| value(f, "requant").ty.sign = Sign::NonNegative, "claims a sign"),
    ("computes in the clear", |f| value(f, "argmax").backend = Backend::Local, "cannot run on backend"),
];

fn value<'f>(function: &'f mut Function, op: &str) -> &'f mut fusion_ir::Value {
    function.values.iter_mut().find(|value| value.op.name() == op).unwrap()
}

fn conv(function: &mut Function) -> &mut fusion_ir::op::Conv {
    match &mut value(function, "conv").op {
        Op::Conv(conv) => conv,
        op => unreachable!("{}", op.name()),
    }
}

/// Another reveal, of the logits, in front of the argmax.
fn reveal_more(function: &mut Function) {
    let at = function.values.iter().position(|value| value.op == Op::ArgMax).unwrap();
    let mut reveal = function.values[at - 1].clone();
    reveal.op = Op::Reveal(Reveal::Logits);
    reveal.operands = vec![ValueId(at as u32 - 1)];
    function.values.insert(at, reveal);
    for value in &mut function.values[at + 1..] {
        value.operands.iter_mut().for_each(|operand| operand.0 += u32::from(operand.index() >= at));
    }
    function.values[at + 1].operands = vec![ValueId(at as u32)];
}

/// No `fusion.mix`: whoever read it reads the input.
fn unmix(function: &mut Function) {
    function.values.remove(1);
    for value in &mut function.values[1..] {
        value.operands.iter_mut().for_each(|operand| operand.0 = operand.0.saturating_sub(1));
    }
}

/// The check in front of the reveal.
fn check_early(function: &mut Function) {
    let last = function.values.len() - 1;
    let op = std::mem::replace(&mut function.values[last].op, Op::Reveal(Reveal::Label));
    function.values[last - 1].op = op;
}

/// Everything that is as wide as the widest accumulator becomes wider.
fn widen(function: &mut Function, bits: u8) {
    let widest = function.values.iter().map(|value| value.ty.bits).max().unwrap();
    function.values.iter_mut().filter(|value| value.ty.bits == widest).for_each(|value| value.ty.bits = bits);
    function.weights.iter_mut().filter(|weight| weight.bits == widest).for_each(|weight| weight.bits = bits);
}

/// Runs the client with `hostile.client.bin` in its folder against a server that must never hear of
/// it.
fn refused(desk: &Desk, plan: &[u8], name: &str, phrase: &str) -> bool {
    desk.write("hostile.client.bin", plan);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let files = "--input x.npy --public-inputs px.npy --public-labels py.npy --timeout 1";
    let address = listener.local_addr().unwrap();
    let policy = "-o labels.csv --report r.json --lambda 5 --accuracy 0.9 --catch 0.6";
    let line = format!("fusion-run hostile.client.bin --role client --connect {address} {files} {policy}");
    let ended = desk.refuse(2, &line, &["hostile.client.bin: "]);
    let says_so = ended.err.contains(phrase);
    if !says_so {
        eprintln!("a plan that {name}: {phrase:?} is missing: {}", ended.err);
    }
    let error = listener.accept().expect_err(&format!("a plan that {name}: the client connected"));
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    says_so
}

#[test]
fn hostile_plans_are_refused_before_anything_is_sent() {
    let desk = Desk::new();
    let good = Plan::from_bytes(&desk.read("plan.client.bin")).unwrap();
    let mut silent = Vec::new();
    for (name, spoil, phrase) in SPOILS {
        let mut plan = good.clone();
        spoil(&mut plan.function);
        assert_ne!(plan, good, "{name}");
        if !refused(&desk, &plan.to_bytes(), name, phrase) {
            silent.push(name);
        }
    }
    assert!(silent.is_empty(), "refused without the reason: {silent:?}");
}

#[test]
fn a_plan_cannot_lower_what_the_client_demands() {
    let desk = Desk::new();
    let mut plan = Plan::from_bytes(&desk.read("plan.client.bin")).unwrap();
    plan.suggestion.lambda_bits = 0.0;
    plan.suggestion.accuracy = Some(0.01);
    plan.suggestion.queries = 1 << 20;
    for value in &mut plan.function.values {
        if let Op::Mix(mix) = &mut value.op {
            (mix.copies, mix.public) = (1, 0);
        }
    }
    desk.write("hostile.client.bin", &plan.to_bytes());
    plan.weights = Plan::from_bytes(&desk.read("plan.bin")).unwrap().weights;
    desk.write("plan.bin", &plan.to_bytes());
    let server = desk.serve(&[]);
    let files = "--input x.npy --public-inputs px.npy --public-labels py.npy --report r.json";
    let line = format!(
        "fusion-run hostile.client.bin --role client --connect {} {files} --lambda 9 --accuracy 0.9",
        server.address
    );
    let ended = desk.run(&line);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = desk.json("r.json");
    assert!(report["verdict"]["lambda_achieved_bits"].as_f64().unwrap() >= 9.0, "{report}");
    assert!(report["batch"]["copies"].as_u64().unwrap() > 1 && report["verdict"]["verified"] == true, "{report}");
}
