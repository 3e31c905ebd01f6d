//! A whole classifier through a session: shares add up to the interpreter's values, and every
//! message is the predicted one.

mod common;

use common::parties::Supply;
use fusion_catalogue::Keys;
use fusion_catalogue::ot::{Ferret, OtSource};
use fusion_ir::backend::Cheetah;
use fusion_ir::{Backend, text};

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
    [Keys::Layer, Keys::Position].into_iter().for_each(|keys| common::check(&function, keys, 3, 5, SUPPLY));
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
