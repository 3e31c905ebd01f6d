//! A whole classifier through a session: shares add up to the interpreter's values, and every message is the predicted one.

use std::sync::{Arc, Mutex};

use fusion_backends::channel::pair;
use fusion_backends::{Channel, Error, Kind, Session};
use fusion_catalogue::{Cost, Message};
use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, Party, Weights, interp, text};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const POSITIONS: usize = 3;

const CLASSIFIER: &str = r#"function "classifier"
weight @w0 "c1.w" : i8.4[3,1,3,3]
weight @w1 "c1.b" : i24.12[3]
weight @w2 "c2.w" : i8.4[4,3,3,3]
weight @w3 "d.w" : i8.4[5,16]
weight @w4 "d.b" : i26.4[5]
v0 = input : i24.8~9[1,8,8] by local "x"
v1 = conv v0, @w0, @w1 strides=[1,1] pads=[1,1,1,1] dilations=[1,1] groups=1 : i24.12~20[3,8,8] by cheetah "c1"
v2 = requant v1 shift=8 : i16.4~12[3,8,8] by cheetah "c1"
v3 = max_pool v2 kernel=[2,2] strides=[2,2] pads=[0,0,0,0] : i16.4~12[3,4,4] by cheetah "p1"
v4 = relu v3 : i16.4~12+[3,4,4] by cheetah "r1"
v5 = extend v4 : i28.4~12+[3,4,4] by cheetah "r1"
v6 = conv v5, @w2 strides=[1,1] pads=[1,1,1,1] dilations=[1,1] groups=1 : i28.8~24[4,4,4] by cheetah "c2"
v7 = requant_relu v6 shift=12 : i16.-4~12+[4,4,4] by cheetah "r2"
v8 = extend v7 : i26.-4~12+[4,4,4] by cheetah "r2"
v9 = sum_pool v8 kernel=[2,2] strides=[2,2] pads=[0,0,0,0] : i26.-4~14[4,2,2] by local "a"
v10 = reshape v9 : i26.-4~14[16] by local "f"
v11 = shift_left v10 by=4 : i26.0~18[16] by local "l"
v12 = dense v11, @w3, @w4 : i26.4~24[5] by cheetah "d"
v13 = argmax v12 : i4.0~3+[1] by cheetah "y"
v14 = fusion.reveal v13 what=label : i4.0~3+[1] by cheetah "y"
"#;

/// Notes every message as the client sees it.
struct Recorder<C> {
    inner: C,
    log: Arc<Mutex<Vec<Message>>>,
}

impl<C: Channel> Recorder<C> {
    fn note(&self, from: Party, payload_bytes: usize) {
        self.log.lock().unwrap().push(Message { from, payload_bytes: payload_bytes as u64 });
    }
}

impl<C: Channel> Channel for Recorder<C> {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        self.note(Party::Client, payload.len());
        self.inner.send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let payload = self.inner.receive(kind, payload_bytes)?;
        self.note(Party::Server, payload.len());
        Ok(payload)
    }
}

type Outcome = (Vec<Vec<u64>>, Option<Vec<i64>>);

fn party(
    party: Party,
    end: Box<dyn Channel>,
    function: &Function,
    weights: Option<&Weights>,
    input: Vec<u64>,
) -> Outcome {
    let mut session = Session::establish(party, end, [7; 32]).unwrap();
    let mut batch = session.begin(POSITIONS).unwrap();
    let mut values = vec![input];
    let mut revealed = None;
    for (id, value) in function.iter().skip(1) {
        let operands: Vec<&[u64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        if let Op::Reveal(_) = value.op {
            revealed = session.reveal(&value.ty, operands[0]).unwrap();
            values.push(Vec::new());
        } else {
            values.push(session.run(&mut batch, function, id, weights, &operands).unwrap());
        }
    }
    (values, revealed)
}

#[test]
fn a_classifier_equals_the_interpreter_and_its_forecast() {
    let function = text::parse(CLASSIFIER).unwrap();
    fusion_ir::verify::verify_executable(&function).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut random = |bits, n: usize| -> Vec<i64> { (0..n).map(|_| signed(rng.next_u64(), bits)).collect() };
    let weights = Weights(function.weights.iter().map(|w| random(w.bits, w.shape.iter().product())).collect());
    let ty = &function.values[0].ty;
    let inputs = random(ty.bits, POSITIONS * ty.len());

    let (client_end, server_end) = pair();
    let log = Arc::new(Mutex::new(Vec::new()));
    let client_end = Recorder { inner: client_end, log: log.clone() };
    let own = inputs.iter().map(|x| wrap(*x, ty.bits)).collect();
    let (client, server) = std::thread::scope(|scope| {
        let zero = vec![0; inputs.len()];
        let server = scope.spawn(|| party(Party::Server, Box::new(server_end), &function, Some(&weights), zero));
        (party(Party::Client, Box::new(client_end), &function, None, own), server.join().unwrap())
    });

    let expected: Vec<_> = inputs.chunks_exact(ty.len()).map(|x| interp::run(&function, &weights, x)).collect();
    for (id, value) in function.iter().take(function.values.len() - 1) {
        let shares = client.0[id.index()].iter().zip(&server.0[id.index()]);
        let found: Vec<i64> = shares.map(|(c, s)| signed(c.wrapping_add(*s), value.ty.bits)).collect();
        let expected: Vec<i64> = expected.iter().flat_map(|values| values[id.index()].clone()).collect();
        assert_eq!(found, expected, "{id} = {value}");
    }
    let labels: Vec<i64> = expected.iter().map(|values| values[values.len() - 1][0]).collect();
    assert_eq!((client.1, server.1), (Some(labels), None));

    let mut cost = Cost::default();
    cost.then(&fusion_catalogue::setup());
    cost.then(&fusion_catalogue::begin(POSITIONS));
    for (id, _) in function.iter() {
        cost.then(&fusion_catalogue::layer(&function, id, POSITIONS).unwrap());
    }
    assert_eq!(*log.lock().unwrap(), cost.messages);
}
