//! The toy through a session: equal to the interpreter, its messages those that it forecasts, and
//! what it does not compute refused by name.

mod common;

use common::parties::Supply;
use fusion_catalogue::{Keys, Steps};
use fusion_ir::text;

#[test]
fn a_classifier_by_toys_equals_the_interpreter_and_its_forecast() {
    let function = text::parse(
        "function \"toy\"\nweight @w0 \"c\" : i8.4[3,1,3,3]\nweight @w1 \"d\" : i8.4[4,192]\nweight @w2 \"b\" : i24.8[4]\n\
         v0 = input : i24.0~9[1,8,8] by local \"x\"\n\
         v1 = conv v0, @w0 strides=[1,1] pads=[1,1,1,1] dilations=[1,1] groups=1 : i24.4~20[3,8,8] by toy \"c\"\n\
         v2 = relu v1 : i24.4~20+[3,8,8] by cheetah \"r\"\nv3 = reshape v2 : i24.4~20+[192] by local \"f\"\n\
         v4 = dense v3, @w1, @w2 : i24.8~22[4] by toy \"d\"\nv5 = argmax v4 : i3.0~2+[1] by garbled \"y\"\n\
         v6 = fusion.reveal v5 what=label : i3.0~2+[1] by cheetah \"y\"\n",
    )
    .unwrap();
    fusion_ir::verify::verify_executable(&function).unwrap();
    common::check(&function, Keys::Position, 3, 5, Supply::Dealt);
}

#[test]
fn what_toys_do_not_compute_is_refused_by_name() {
    let text = "function \"toy\"\nv0 = input : i24.0~9[4] by local \"x\"\nv1 = relu v0 : i24.0~9+[4] by toy \"r\"\n";
    let refused = Steps::of(&text::parse(text).unwrap()).unwrap_err();
    assert_eq!(refused[0].to_string(), "relu r: toys have no comparisons");
}
