//! What a session of two parties in one process must be.

pub mod parties;

use chacha20::ChaCha20Rng;
use fusion_backends::tap::{Log, logged};
use fusion_catalogue::Keys;
use fusion_catalogue::ot::{OtPool, OtSource};
use fusion_ir::types::signed;
use fusion_ir::{Function, Op, Party, Weights, interp};
use parties::{Program, Supply, opened, seats};
use rand_core::{Rng, SeedableRng};

/// Asserts on random inputs and weights of full width that the shares of every value add up to the
/// interpreter's, that the client gets what is revealed and the server nothing, and that every
/// message and every draw of OTs is the predicted one.
pub fn check(function: &Function, keys: Keys, positions: usize, seed: u64, supply: Supply) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut random = |bits, n: usize| -> Vec<i64> { (0..n).map(|_| signed(rng.next_u64(), bits)).collect() };
    let weights = Weights(function.weights.iter().map(|w| random(w.bits, w.shape.iter().product())).collect());
    let ty = &function.values[0].ty;
    let inputs = random(ty.bits, positions * ty.len());

    let program = Program { keys, ..Program::new(function, &weights, &inputs) };
    let cost = program.cost();
    let logs: [Log; 3] = Default::default();
    let [client, server] = seats(supply);
    let drawn = client.drawn();
    // One party makes its OTs ahead, the other one when a layer needs them.
    let client = client
        .ahead(cost.draws.clone())
        .over(|line, inner| Box::new(logged(inner, Party::Client, &logs[line as usize])));
    let [client, server] = program.run([client, server]).map(|outcome| outcome.expect("an honest peer"));

    let expected: Vec<_> = inputs.chunks_exact(ty.len()).map(|x| interp::run(function, &weights, x)).collect();
    let mut revealed = None;
    for (id, value) in function.iter() {
        let expected: Vec<i64> = expected.iter().flat_map(|values| values[id.index()].clone()).collect();
        if let Op::Reveal(_) = value.op {
            revealed = Some(expected);
            continue;
        }
        assert_eq!(opened(id, &value.ty, &client, &server), expected, "{id} of\n{function}");
    }
    assert_eq!((client.revealed, server.revealed), (revealed, None));

    assert_eq!(*logs[0].lock().unwrap(), cost.messages, "{function}");
    assert_eq!(*logs[2].lock().unwrap(), program.cost_of_masks().messages, "{function}");
    if let Some(drawn) = drawn {
        assert_eq!(*drawn.lock().unwrap(), cost.draws, "{function}");
        return;
    }
    let source = match supply {
        Supply::Made(source) => source,
        Supply::Dealt => OtSource::default(),
    };
    let mut offline = source.setup();
    offline.then(&cost.generator(&mut OtPool::new(source)));
    assert_eq!(*logs[1].lock().unwrap(), offline.messages, "{function}");
}
