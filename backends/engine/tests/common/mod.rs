//! A function through a session of two parties in one process.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use fusion_backends::channel::pair;
use fusion_backends::tap::{Log, logged};
use fusion_backends::{Channel, Session};
use fusion_catalogue::ot::{Ferret, OtPool, OtSource};
use fusion_catalogue::{Cost, Keys, Steps};
use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, Party, Weights, interp};
use rand_core::{Rng, SeedableRng};

/// Asserts on random inputs and weights of full width that the shares of every value add up to the
/// interpreter's, that the client gets what is revealed and the server nothing, and that every
/// message is the predicted one.
pub fn check(function: &Function, keys: Keys, positions: usize, seed: u64) {
    let steps = &Arc::new(Steps::of(function).unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut random = |bits, n: usize| -> Vec<i64> { (0..n).map(|_| signed(rng.next_u64(), bits)).collect() };
    let weights = Weights(function.weights.iter().map(|w| random(w.bits, w.shape.iter().product())).collect());
    let ty = &function.values[0].ty;
    let inputs = random(ty.bits, positions * ty.len());

    let logs: [Log; 2] = Default::default();
    let record = |log: &Log| -> [Box<dyn Channel>; 2] {
        let (client, server) = pair();
        [Box::new(logged(client, Party::Client, log)), Box::new(server)]
    };
    let [[client_online, server_online], [client_offline, server_offline]] = logs.each_ref().map(record);
    let own = inputs.iter().map(|x| wrap(*x, ty.bits)).collect();
    let (client, server) = std::thread::scope(|scope| {
        let zero = vec![0; inputs.len()];
        let server =
            scope.spawn(|| party(Party::Server, [server_online, server_offline], steps, keys, Some(&weights), zero));
        (party(Party::Client, [client_online, client_offline], steps, keys, None, own), server.join().unwrap())
    });

    let expected: Vec<_> = inputs.chunks_exact(ty.len()).map(|x| interp::run(function, &weights, x)).collect();
    let mut revealed = None;
    for (id, value) in function.iter() {
        let expected: Vec<i64> = expected.iter().flat_map(|values| values[id.index()].clone()).collect();
        if let Op::Reveal(_) = value.op {
            revealed = Some(expected);
            continue;
        }
        let shares = client.0[id.index()].iter().zip(&server.0[id.index()]);
        let found: Vec<i64> = shares.map(|(c, s)| signed(c.wrapping_add(*s), value.ty.bits)).collect();
        assert_eq!(found, expected, "{id} of\n{function}");
    }
    assert_eq!((client.1, server.1), (revealed, None));

    let cost = forecast(steps, keys, positions);
    assert_eq!(*logs[0].lock().unwrap(), cost.messages, "{function}");
    let mut offline = SUPPLY.setup();
    offline.then(&cost.generator(&mut OtPool::new(SUPPLY)));
    assert_eq!(*logs[1].lock().unwrap(), offline.messages, "{function}");
}

const SUPPLY: OtSource = OtSource::Silent(Ferret::B11);

/// What a session of one micro-batch costs.
fn forecast(steps: &Steps, keys: Keys, positions: usize) -> Cost {
    let mut cost = steps.shared(keys).once();
    steps.costs(keys, positions).iter().for_each(|part| cost.then(part));
    cost
}

type Outcome = (Vec<Vec<u64>>, Option<Vec<i64>>);

fn party(
    party: Party,
    [online, offline]: [Box<dyn Channel>; 2],
    steps: &Arc<Steps>,
    keys: Keys,
    weights: Option<&Weights>,
    input: Vec<u64>,
) -> Outcome {
    let function = steps.function();
    let positions = input.len() / function.values[0].ty.len();
    let mut session = Session::establish(party, online, offline, [7; 32], SUPPLY).unwrap();
    if party == Party::Client {
        session.preprocess(forecast(steps, keys, positions).draws).unwrap();
    }
    let mut session = session.prepare(Arc::clone(steps), keys).unwrap();
    let mut batch = session.begin(positions).unwrap();
    let mut values = vec![input];
    let mut revealed = None;
    for (id, value) in function.iter().skip(1) {
        let operands: Vec<&[u64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        if let Op::Reveal(_) = value.op {
            revealed = session.reveal(id, operands[0]).unwrap();
            values.push(Vec::new());
        } else {
            values.push(session.run(&mut batch, id, weights, &operands).unwrap());
        }
    }
    (values, revealed)
}
