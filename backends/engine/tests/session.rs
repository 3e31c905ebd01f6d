//! A whole classifier through a session: shares add up to the interpreter's values, and every
//! message is the predicted one.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::parties::{Supply, beside, both, seats};
use fusion_backends::bits::unpack;
use fusion_backends::tap::{Message, watched};
use fusion_backends::{Kind, MicroBatch};
use fusion_catalogue::ot::{Ferret, OtSource};
use fusion_catalogue::{Keys, Steps};
use fusion_ir::backend::Cheetah;
use fusion_ir::{Backend, Party, ValueId, Weights, text};

/// Messages of these are checked too.
const SUPPLY: Supply = Supply::Made(OtSource::Silent(Ferret::B11));

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

#[test]
fn a_classifier_equals_the_interpreter_and_its_forecast() {
    check("cheetah");
}

#[test]
fn so_it_does_by_every_other_family_and_variant() {
    ["cheetah(pack)", "cheetah(leaf=1,pack)", "crypt_flow2-ot", "crypt_flow2-he", "garbled"]
        .into_iter()
        .for_each(check);
}

fn check(family: &str) {
    let mut function = text::parse(&CLASSIFIER.replace("by cheetah", &format!("by {family}"))).unwrap();
    for value in function.values.iter_mut().filter(|value| value.op.weights().next().is_some()) {
        // Linear layers have no circuits.
        if value.backend == Backend::Garbled {
            value.backend = Backend::Cheetah(Cheetah::default());
        }
    }
    fusion_ir::verify::verify_executable(&function).unwrap();
    Keys::ALL.into_iter().for_each(|keys| common::check(&function, keys, 3, 5, SUPPLY));
}

/// Linear layers before, beside and after a product of secret matrices: with layers ahead, those go
/// over a channel of their own and this does not.
#[test]
fn a_network_with_products_of_secret_matrices_equals_the_interpreter_and_its_forecast() {
    let text = r#"function "attention"
weight @w0 "q" : i8.4[8,4,1,1]
weight @w1 "k" : i8.4[8,4,1,1]
weight @w2 "b" : i24.12[8]
weight @w3 "d" : i8.4[5,36]
v0 = input : i24.8~9[4,1,6] by local "x"
v1 = conv v0, @w0, @w2 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : i24.12~20[8,1,6] by cheetah "q"
v2 = conv v0, @w1 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : i24.12~20[8,1,6] by cheetah "k"
v3 = requant v1 shift=10 : i28.2~10[8,1,6] by cheetah "q"
v4 = requant v2 shift=10 : i28.2~10[8,1,6] by cheetah "k"
v5 = reshape v3 : i28.2~10[1,8,6] by local "q"
v6 = transpose v5 perm=[0,2,1] : i28.2~10[1,6,8] by local "q"
v7 = reshape v4 : i28.2~10[1,8,6] by local "k"
v8 = mat_mul v6, v7 : i28.4~23[1,6,6] by product "a"
v9 = requant_relu v8 shift=12 : i16.-8~12+[1,6,6] by cheetah "r"
v10 = extend v9 : i28.-8~12+[1,6,6] by cheetah "r"
v11 = reshape v10 : i28.-8~12+[36] by local "f"
v12 = dense v11, @w3 : i28.-4~26[5] by cheetah "d"
v13 = argmax v12 : i4.0~3+[1] by cheetah "y"
v14 = fusion.reveal v13 what=label : i4.0~3+[1] by cheetah "y"
"#;
    for (linear, product) in [("cheetah", "cheetah"), ("cheetah", "cheetah(pack)"), ("cheetah(pack)", "cheetah(pack)")]
    {
        let text = text.replace("by cheetah", &format!("by {linear}")).replace("by product", &format!("by {product}"));
        let function = text::parse(&text).unwrap();
        fusion_ir::verify::verify_executable(&function).unwrap();
        Keys::ALL.into_iter().for_each(|keys| common::check(&function, keys, 2, 6, SUPPLY));
    }
}

/// What the client sends instead of an operand hides it only if its mask serves nothing else: no
/// other layer, position or micro-batch, and no other session, as every stream is one. Operands of
/// zeros show the masks. Nor is it sent before the layer's result has come: by it, a server could
/// choose what to answer.
#[test]
fn no_mask_is_used_twice_or_told_before_its_result_has_come() {
    const POSITIONS: usize = 2;
    const ELEMENTS: usize = 64;
    const BITS: u8 = 24;
    // Two layers of one operand.
    let text = "function \"two\"\nweight @w0 \"a\" : i8.4[3,64]\nweight @w1 \"b\" : i8.4[3,64]\n\
                v0 = input : i24.8~9[64] by local \"x\"\n\
                v1 = dense v0, @w0 : i24.12~20[3] by cheetah \"a\"\n\
                v2 = dense v0, @w1 : i24.12~20[3] by cheetah \"b\"\n";
    let steps = Arc::new(Steps::of(&text::parse(text).unwrap()).unwrap());
    let weights = Weights(vec![vec![1; 3 * ELEMENTS]; 2]);
    let mut masks = Vec::new();
    // Both of one id, which a server knows: no mask may follow from it.
    for _session in 0..2 {
        // What is sent instead of an operand, or that a result has come.
        let seen: Arc<Mutex<Vec<Option<Vec<u8>>>>> = Arc::default();
        let [client, server] = seats(Supply::Dealt);
        let client = client.over(|_, inner| {
            let seen = Arc::clone(&seen);
            Box::new(watched(inner, move |kind, message| match (kind, message) {
                (Kind::LinearDownload, Message::Received(_)) => seen.lock().unwrap().push(None),
                (Kind::LinearUnmask, Message::Sending(payload)) => seen.lock().unwrap().push(Some(payload.clone())),
                _ => {}
            }))
        });
        both([client, server], |seat| {
            let weights = (seat.party == Party::Server).then_some(&weights);
            let (mut session, mut line) = seat.session_with_masks(Arc::clone(&steps), Keys::Ahead).unwrap();
            for _micro_batch in 0..2 {
                let batch = session.begin(POSITIONS).unwrap();
                let layers = |mut batch: MicroBatch<'_>| {
                    let zeros = [0; POSITIONS * ELEMENTS];
                    [1, 2].into_iter().try_for_each(|id| batch.run(ValueId(id), weights, &[&zeros]).map(drop))
                };
                beside(batch, &mut *line, weights, || (), layers).unwrap();
            }
        });
        let seen = seen.lock().unwrap();
        let sent: Vec<usize> = (0..seen.len()).filter(|at| seen[*at].is_some()).collect();
        assert_eq!(sent.len(), 2 * 2);
        for (number, at) in sent.into_iter().enumerate() {
            let results = seen[..at].iter().filter(|event| event.is_none()).count();
            assert!(results > number, "mask {number} is told after {results} results");
        }
        for payload in seen.iter().flatten() {
            masks.extend(unpack(payload, POSITIONS * ELEMENTS, BITS).unwrap());
        }
    }
    // Three elements in a row, 72 bits: by chance none of a thousand comes twice.
    let pieces: BTreeSet<&[u64]> = masks.windows(3).collect();
    assert_eq!(pieces.len(), masks.len() - 2, "a piece of a mask comes twice");
}

/// Who forgets what runs beside a micro-batch would wait for it for ever.
#[test]
#[should_panic(expected = "are not run beside the micro-batch")]
fn layers_on_masks_must_be_run() {
    let steps = Arc::new(Steps::of(&text::parse(CLASSIFIER).unwrap()).unwrap());
    let [client, _] = seats(Supply::Dealt);
    let mut session = client.session(steps, Keys::Ahead).unwrap();
    let _ = session.begin(1).unwrap().run(ValueId(1), None, &[&[0; 64]]);
}

/// What RLWE ciphertexts have no room for is no matter to oblivious transfer.
#[test]
fn accumulators_wider_than_ciphertexts_carry_are_exact_by_correlated_ots() {
    let text = "function \"wide\"\nweight @w0 \"w\" : i16.4[3,40]\nweight @w1 \"b\" : i50.12[3]\n\
                v0 = input : i50.8~9[40] by local \"x\"\n\
                v1 = dense v0, @w0, @w1 : i50.12~40[3] by crypt_flow2-ot \"d\"\n\
                v2 = argmax v1 : i3.0~2+[1] by crypt_flow2-ot \"y\"\n\
                v3 = fusion.reveal v2 what=label : i3.0~2+[1] by cheetah \"y\"\n";
    let function = text::parse(text).unwrap();
    fusion_ir::verify::verify_executable(&function).unwrap();
    common::check(&function, Keys::Position, 2, 8, SUPPLY);
}
