//! Two in-memory parties that compute one program after the other in one session.

use std::sync::Arc;

use fusion_backends::Error;
use fusion_ir::{Function, Op, Weights};
use fusion_tests::parties::{self, Supply, both, seats};

/// A function with its weights and its quantised input.
pub struct Program {
    pub function: Function,
    pub weights: Weights,
    pub input: Vec<i64>,
}

/// Each program's result, opened to the client.
pub fn run(programs: &[&Program]) -> Vec<Vec<i64>> {
    let results = both(seats(Supply::Dealt), |seat| -> Result<Vec<_>, Error> {
        let (party, mut seat, mut session) = (seat.party, Some(seat), None);
        let mut results = Vec::new();
        for Program { function, weights, input } in programs {
            let program = parties::Program::new(function, weights, input);
            let (steps, keys) = (Arc::clone(&program.steps), program.keys);
            if let Some(seat) = seat.take() {
                session = Some(seat.session(Arc::clone(&steps), keys)?);
            }
            let session = session.as_mut().expect("it has begun");
            session.continue_with(steps, keys)?;
            results.push(program.go_through(party, session)?.revealed);
        }
        Ok(results)
    });
    let [client, server] = results.map(|results| results.expect("an honest peer"));
    assert!(server.iter().all(Option::is_none), "the server learns nothing");
    client.into_iter().map(|result| result.expect("every program reveals its result")).collect()
}

/// The value that the function reveals.
pub fn opened(function: &Function) -> &fusion_ir::Value {
    let reveal = function.values.iter().find(|value| matches!(value.op, Op::Reveal(_))).expect("it reveals its result");
    function.value(reveal.operands[0])
}
