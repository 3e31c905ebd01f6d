//! Two in-memory parties that compute one program after the other in one session.

use std::sync::Arc;

use fusion_backends::Session;
use fusion_backends::channel::{self, LocalChannel};
use fusion_catalogue::ot::OtSource;
use fusion_catalogue::{Keys, Steps};
use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, Party, Weights};

/// A function with its weights and its quantised input.
pub struct Program {
    pub function: Function,
    pub weights: Weights,
    pub input: Vec<i64>,
}

/// Each program's result, opened.
pub fn run(programs: &[&Program]) -> Vec<Vec<i64>> {
    let [(client_online, server_online), (client_offline, server_offline)] = [channel::pair(), channel::pair()];
    let (client, server) = std::thread::scope(|scope| {
        let client = scope.spawn(|| party(Party::Client, [client_online, client_offline], programs));
        let server = scope.spawn(|| party(Party::Server, [server_online, server_offline], programs));
        (client.join().expect("the client"), server.join().expect("the server"))
    });
    let (client, server) = (client.expect("the client"), server.expect("the server"));
    let open = |((client, server), program): ((Vec<u64>, Vec<u64>), &&Program)| {
        let bits = opened(&program.function).ty.bits;
        client.iter().zip(server).map(|(c, s)| signed(c.wrapping_add(s), bits)).collect()
    };
    client.into_iter().zip(server).zip(programs).map(open).collect()
}

/// The value that the function reveals.
pub fn opened(function: &Function) -> &fusion_ir::Value {
    let reveal = function.values.iter().find(|value| matches!(value.op, Op::Reveal(_))).expect("it reveals its result");
    function.value(reveal.operands[0])
}

fn party(
    party: Party,
    [online, offline]: [LocalChannel; 2],
    programs: &[&Program],
) -> Result<Vec<Vec<u64>>, fusion_backends::Error> {
    let resolve = |program: &Program| {
        let steps = Steps::of(&program.function).expect("what was compiled can be computed");
        let keys = Keys::of(&steps);
        (Arc::new(steps), keys)
    };
    let Some(first) = programs.first() else { return Ok(Vec::new()) };
    let session = Session::establish(party, Box::new(online), Box::new(offline), [9; 32], OtSource::default())?;
    let (steps, keys) = resolve(first);
    let mut session = session.prepare(steps, keys)?;
    let mut results = Vec::new();
    for program in programs {
        let (steps, keys) = resolve(program);
        session.continue_with(steps, keys)?;
        let Program { function, weights, input } = program;
        let mut batch = session.begin(1)?;
        let ty = &function.values[0].ty;
        // The client knows its input; the server's share of it is zero.
        let own = |x: &i64| if party == Party::Client { wrap(*x, ty.bits) } else { 0 };
        let mut values: Vec<Vec<u64>> = vec![input.iter().map(own).collect()];
        for (id, value) in function.iter().skip(1) {
            if matches!(value.op, Op::Reveal(_)) {
                results.push(values[value.operands[0].index()].clone());
                break;
            }
            let operands: Vec<&[u64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
            let weights = (party == Party::Server).then_some(weights);
            let result = session.run(&mut batch, id, weights, &operands)?;
            values.push(result);
        }
    }
    Ok(results)
}
