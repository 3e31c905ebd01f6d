//! Bytes from an adversary against everything that reads them: the targets of `fuzz/`, and of the
//! tests that run them on mutations of good input. Each panics where the code under test breaks its
//! word.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use fusion_backends::channel::pair;
use fusion_backends::tap::{Message, watched};
use fusion_backends::{Channel, Error, Session};
use fusion_catalogue::ot::OtSource;
use fusion_catalogue::{Keys, Steps};
use fusion_ir::types::wrap;
use fusion_ir::verify::{explain, verify_executable};
use fusion_ir::{Function, Op, Party, Plan, Weights, text};
use sha2::{Digest, Sha256};

/// Any text is refused, or prints and parses back; whatever then passes the verifier has a cost or
/// is refused by name.
pub fn text(bytes: &[u8]) {
    let Ok(function) = text::parse(&String::from_utf8_lossy(bytes)) else { return };
    assert_eq!(text::parse(&function.to_string()).as_ref(), Ok(&function));
    examine(&function);
}

/// Any public section of a plan is refused or read, and what was read is written and read again.
pub fn plan(payload: &[u8]) {
    let file = sealed(payload);
    let read = Plan::from_bytes(&file);
    assert_eq!(
        Plan::scan(&file[..]).map(|(plan, weights)| (plan, weights.is_none())),
        read.clone().map(|plan| (plan, true))
    );
    if let Ok(plan) = read {
        assert_eq!(Plan::from_bytes(&plan.to_bytes()).as_ref(), Ok(&plan));
        examine(&plan.function);
    }
}

/// A plan file of one section with a checksum that is right.
pub fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut file = b"FUSION\r\n".to_vec();
    file.extend(fusion_ir::plan::VERSION.to_le_bytes());
    file.push(1);
    file.extend((payload.len() as u64).to_le_bytes());
    file.extend(Sha256::digest(payload));
    file.extend(payload);
    file
}

/// The public section of a plan for `function`: good input to mutate.
pub fn public_section(function: Function) -> Vec<u8> {
    let plan = Plan {
        function,
        suggestion: Default::default(),
        provenance: Default::default(),
        schema: Default::default(),
        weights: None,
        demo: None,
    };
    plan.to_bytes().split_off(sealed(&[]).len())
}

fn examine(function: &Function) {
    /// Beyond this, costs take long and say nothing new.
    const MOST_ELEMENTS: usize = 1 << 14;
    match verify_executable(function) {
        Err(violations) => assert!(!explain(function, &violations).is_empty()),
        Ok(()) if function.values.iter().all(|value| value.ty.len() <= MOST_ELEMENTS) => match Steps::of(function) {
            Ok(steps) => assert_eq!(steps.costs(Keys::Position, 2).len(), 1 + function.values.len()),
            Err(unsupported) => assert!(unsupported.iter().all(|layer| !layer.to_string().is_empty())),
        },
        Ok(()) => {}
    }
}

/// A program with every kind of message.
const PROGRAM: &str = r#"function "messages"
weight @w0 "w" : i4.0[2,1,2,2]
weight @w1 "d" : i4.0[4,2]
v0 = input : i20.0~9[1,3,3] by local "x"
v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : i20.0~16[2,2,2] by cheetah "c"
v2 = requant_relu v1 shift=4 : i16.-4~12+[2,2,2] by cheetah "r"
v3 = max_pool v2 kernel=[2,2] strides=[2,2] pads=[0,0,0,0] : i16.-4~12+[2,1,1] by cheetah(leaf=1) "m"
v4 = reshape v3 : i16.-4~12+[2] by local "f"
v5 = mul v4, v4 : i16.-8~12[2] by cheetah "q"
v6 = extend v5 : i20.-8~12[2] by cheetah "e"
v7 = dense v6, @w1 : i20.-8~16[4] by cheetah "d"
v8 = topk v7 k=2 : i3.0~2+[2] by cheetah(leaf=2) "t"
v9 = fusion.reveal v8 what=topk:2 : i3.0~2+[2] by cheetah "t"
"#;

/// A session in which one message to one party is overwritten: it is refused as misbehaviour, or
/// changes values only. The first two bytes say which message, the third to whom, the others what
/// it is overwritten with, again and again.
///
/// Returns whether there was such a message.
pub fn session(bytes: &[u8]) -> bool {
    let [low, high, to, garbage @ ..] = bytes else { return false };
    let to = if to & 1 == 0 { Party::Client } else { Party::Server };
    let function = text::parse(PROGRAM).expect("the program is well-formed");
    let weights = Weights(vec![vec![1; 8], vec![2; 8]]);
    let left = Arc::new(AtomicI32::new(i32::from(u16::from_le_bytes([*low, *high]))));
    let ends = [pair(), pair()];
    let end = |party, inner| -> Box<dyn Channel> {
        // Messages to that party before the one that is overwritten; negative once it has come.
        let (left, garbage) = (left.clone(), garbage.to_vec());
        let meddled = watched(inner, move |_, message| {
            let Message::Received(payload) = message else { return };
            if party == to && left.fetch_sub(1, Ordering::Relaxed) == 0 {
                payload.iter_mut().zip(garbage.iter().cycle()).for_each(|(byte, garbage)| *byte = *garbage);
            }
        });
        Box::new(meddled)
    };
    let [(client_online, server_online), (client_offline, server_offline)] = ends;
    let client = [client_online, client_offline].map(|inner| end(Party::Client, inner));
    let server = [server_online, server_offline].map(|inner| end(Party::Server, inner));
    let results = std::thread::scope(|scope| {
        let server = scope.spawn(|| run(Party::Server, server, &function, Some(&weights)));
        [run(Party::Client, client, &function, None), server.join().expect("the server does not panic")]
    });
    for (party, result) in [Party::Client, Party::Server].into_iter().zip(results) {
        match result {
            // The other party is hung up on.
            Ok(()) | Err(Error::Io(_)) => {}
            Err(Error::PeerMisbehaved(why)) => assert!(!why.is_empty()),
            Err(error) => panic!("{party:?} says {error}"),
        }
    }
    left.load(Ordering::Relaxed) < 0
}

fn run(
    party: Party,
    [online, offline]: [Box<dyn Channel>; 2],
    function: &Function,
    weights: Option<&Weights>,
) -> Result<(), Error> {
    let steps = Arc::new(Steps::of(function).expect("the program is one that its families carry"));
    let session = Session::establish(party, online, offline, [7; 32], OtSource::default())?;
    let mut session = session.prepare(steps, Keys::Position)?;
    let mut batch = session.begin(1)?;
    let ty = &function.values[0].ty;
    let mut values = vec![vec![wrap(-5, ty.bits); ty.len()]];
    for (id, value) in function.iter().skip(1) {
        let operands: Vec<&[u64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        if let Op::Reveal(_) = value.op {
            session.reveal(id, operands[0])?;
            values.push(Vec::new());
        } else {
            values.push(session.run(&mut batch, id, weights, &operands)?);
        }
    }
    Ok(())
}
