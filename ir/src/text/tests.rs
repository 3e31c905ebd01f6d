use super::*;
use crate::verify::{explain, verify, verify_executable};

/// Every operation once, but for the argmax in place of which there is a topk; also a valid
/// function.
pub(crate) const EVERYTHING: &str = r#"function "every \"op\"\u{a}"
weight @w0 "c.weight" : i8.4[2,1,3,3]
weight @w1 "c.bias" : i24.12[2]
weight @w2 "d.weight" : i6.-2[4,16]
weight @w3 "b.bias" : i20.1[4]
v0 = input axis=1 features=[8:0,-3:7,40:-90,8:0,8:0,8:0] : i24.8~9[1,6,6] by local "x"
v1 = fusion.mix v0 queries=4 copies=9 public=30 : i24.8~9[1,6,6] by local ""
v2 = conv v1, @w0, @w1 strides=[1,1] pads=[1,1,1,1] dilations=[1,1] groups=1 : i24.12~20[2,6,6] by cheetah "c"
v3 = requant v2 shift=8 : i16.4~12[2,6,6] by cheetah "c"
v4 = max_pool v3 kernel=[2,2] strides=[2,2] pads=[0,0,0,0] : i16.4~12[2,3,3] by cheetah "p"
v5 = relu v4 : i16.4~12+[2,3,3] by cheetah "r"
v6 = extend v5 : i24.4~12+[2,3,3] by cheetah "r"
v7 = sum_pool v6 kernel=[2,2] strides=[1,1] pads=[0,0,0,0] : i24.4~14[2,2,2] by local "a"
v8 = transpose v7 perm=[0,2,1] : i24.4~14[2,2,2] by local "t"
v9 = concat v7, v8 axis=0 : i24.4~14[4,2,2] by local "k"
v10 = reshape v9 : i24.4~14[16] by local "f"
v11 = dense v10, @w2 : i24.2~20[4] by cheetah "d"
v12 = pad v11 before=[1] after=[2] : i24.2~20[7] by local "z"
v13 = slice v12 start=[1] : i24.2~20[4] by local "s"
v14 = shift_left v13 by=1 : i24.3~21[4] by local "l"
v15 = scale v14 factor=-3 : i24.3~22[4] by local "m"
v16 = add v14, v15 : i24.3~22[4] by local "n"
v17 = requant_relu v16 shift=2 : i22.1~18+[4] by cheetah(leaf=2) "o"
v18 = truncate v17 : i20.1~18[4] by local "u"
v19 = offset v18 by=-7 : i20.1~18[4] by local "b"
v20 = bias v19, @w3 : i20.1~18[4] by local "b"
v21 = piecewise v20 slope=-1 slope_frac=2 offset=40 knots=[-12:3,96:-2] : i20.3~18[4] by cheetah(leaf=4,pack) "q"
v22 = mul v21, v21 : i20.6~18[4] by cheetah(pack) "q"
v23 = reshape v22 : i20.6~18[1,2,2] by local "g"
v24 = mat_mul v23, v23 : i20.12~18[1,2,2] by cheetah(ot) "g"
v25 = reshape v24 : i20.12~18[4] by local "g"
v26 = requant_clip v25 shift=4 limit=1536 : i14.8~11+[4] by cheetah(leaf=2) "x"
v27 = step v26 : i9.0~1+[4] by cheetah "s"
v28 = paths v27 trees=[2*o..,2o..] : i9.0~2[6] by local "w"
v29 = topk v28 k=2 : i4.0~3+[2] by cheetah "y"
v30 = fusion.reveal v29 what=topk:2 : i4.0~3+[2] by cheetah "y"
v31 = fusion.check v30 : i4.0~3+[2] by local "y"
"#;

#[test]
fn every_operation_prints_and_parses_back() {
    let function = parse(EVERYTHING).unwrap();
    assert_eq!(function.to_string(), EVERYTHING);
    assert_eq!(function.name, "every \"op\"\n");
    if let Err(violations) = verify_executable(&function) {
        panic!("{}", explain(&function, &violations));
    }
}

#[test]
fn mistakes_name_their_line() {
    for (text, line, word) in [
        ("function \"x", 1, "without end"),
        ("function \"x\"\n\nv1 = input : i8.0~4[1] \"\"", 3, "v0"),
        ("v0 = dance : i8.0~4[1] \"\"", 1, "dance"),
        ("v0 = input : i900.0~4[1] \"\"", 1, "900"),
        ("v0 = input : i8.0~4[1 \"\"", 1, ","),
        ("v0 = input : i8.0~4[1] by magic \"\"", 1, "magic"),
        ("v0 = input size=3 : i8.0~4[1] \"\"", 1, "size"),
        ("v0 = conv strides=[1] : i8.0~4[1] \"\"", 1, "0 weights"),
        ("v0 = relu @w0 : i8.0~4[1] \"\"", 1, "1 weights"),
        ("v0 = input : i8.0~4[1] by cheetah(leaf=300) \"\"", 1, "300"),
        ("v0 = input : i8.0~4[1] by cheetah(ham) \"\"", 1, "ham"),
        ("v0 = piecewise slope=1 slope_frac=0 offset=0 knots=[3] : i8.0~4[1] \"\"", 1, ":"),
        ("v0 = fusion.reveal what=topk:0 : i8.0~4[1] \"\"", 1, "topk:0"),
        ("v0 = input : i8.0~4[1] \"\" more", 1, "left over"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}");
        assert!(error.message.contains(word), "{text}: {error}");
    }
}

#[test]
fn comments_and_blank_lines_are_nothing() {
    let function = parse("; a\n\nfunction \"f\" ; b\nv0 = input : i8.0~4[1] \"x\" ; c\n").unwrap();
    assert_eq!(verify(&function), Ok(()));
}

#[test]
fn weights_are_shown_by_digest_only() {
    let function = parse("function \"f\"\nweight @w0 \"w\" : i8.0[1,1]\n").unwrap();
    let text = print_with_weights(&function, &crate::Weights(vec![vec![5]]));
    assert!(text.contains("\"w\" : i8.0[1,1] ; sha256 "), "{text}");
    assert_eq!(parse(&text), Ok(function));
}
