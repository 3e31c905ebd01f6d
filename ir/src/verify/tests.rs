use super::*;
use crate::text::parse;

/// A function that breaks nothing; each test case replaces one piece of it.
const GOOD: &str = r#"function "good"
weight @w0 "w" : i8.4[4,8]
weight @w1 "b" : i24.12[4]
v0 = input : i24.8~9[8] by local "x"
v1 = fusion.mix v0 queries=1 copies=1 public=1 : i24.8~9[8] by local "x"
v2 = dense v1, @w0, @w1 : i24.12~20[4] by cheetah "d"
v3 = requant_relu v2 shift=8 : i16.4~12+[4] by cheetah "r"
v4 = argmax v3 : i3.0~2+[1] by cheetah "a"
v5 = fusion.reveal v4 what=label : i3.0~2+[1] by cheetah "a"
v6 = fusion.check v5 : i3.0~2+[1] by local "a"
"#;

fn broken(from: &str, to: &str) -> Vec<u8> {
    assert!(GOOD.contains(from), "{from}");
    let function = parse(&GOOD.replace(from, to)).unwrap();
    let violations = verify_executable(&function).err().unwrap_or_default();
    violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn the_good_function_is_good() {
    assert_eq!(verify_executable(&parse(GOOD).unwrap()), Ok(()));
}

#[test]
fn each_invariant_is_checked() {
    for (invariant, from, to) in [
        (1, "argmax v3", "argmax v4"),
        (1, "argmax v3", "argmax v900"),
        (1, "argmax v3", "argmax"),
        (1, "argmax v3", "argmax v3, v3"),
        (2, "v3 = requant_relu v2 shift=8 : i16.4~12", "v3 = requant_relu v2 shift=8 : i16.4~16"),
        (2, "v0 = input : i24.8~9[8]", "v0 = input : i64.8~9[8]"),
        (2, "v0 = input : i24.8~9[8]", "v0 = input : i24.8~9[0]"),
        (2, "v0 = input : i24.8~9[8]", "v0 = input : i24.8~9[4611686018427387904,8]"),
        (3, "i24.12~20[4] by", "i24.12~20[5] by"),
        (3, "i24.8~9[8] by local \"x\"\nv2", "i24.8~9[2,4] by local \"x\"\nv2"),
        (4, "i24.12~20[4] by", "i24.11~20[4] by"),
        (4, "i24.12~20[4] by", "i23.12~20[4] by"),
        (4, "i3.0~2+[1] by cheetah \"a\"\nv5", "i2.0~1+[1] by cheetah \"a\"\nv5"),
        (4, "v0 = input :", "v0 = input axis=0 features=[1:0,2:0] :"),
        (4, "v0 = input :", "v0 = input axis=1 features=[1:0,2:0,1:0,1:0,1:0,1:0,1:0,1:0] :"),
        (4, "v0 = input :", "v0 = input axis=0 features=[1:0,2:0,1:0,1:0,1:0,1:0,1:0,161:0] :"),
        (4, "v0 = input :", "v0 = input axis=0 features=[1:0,2:0,1:0,1:0,1:0,1:0,1:0,1:4503599627370497] :"),
        (5, "@w0, @w1", "@w0, @w7"),
        (5, "@w0, @w1", "@w0"),
        (5, "\"b\" : i24.12[4]", "\"b\" : i24.12[3]"),
        (5, "\"b\" : i24.12[4]", "\"b\" : i24.11[4]"),
        (5, "i8.4[4,8]", "i17.4[4,8]"),
        (6, "shift=8 : i16.4", "shift=7 : i18.5"),
        (6, "shift=8 : i16.4", "shift=0 : i16.12"),
        (7, "i16.4~12+[4]", "i16.4~15+[4]"),
        (8, "v2 = dense v1, @w0, @w1 : i24.12~20[4]", "v2 = dense v1, @w0, @w1 : i24.12~20+[4]"),
        (8, "shift=8 : i16.4", "shift=8 : i15.4"),
        (9, "v1 = fusion.mix v0 queries=1 copies=1 public=1", "v1 = input"),
        (9, "argmax v3", "argmax v2"),
        (10, "v6 = fusion.check v5", "v6 = reshape v5"),
        (10, "what=label", "what=logits"),
        (11, "fusion.mix v0 queries=1 copies=1 public=1", "reshape v0"),
        (12, "requant_relu v2 shift=8 : i16.4~12+[4] by cheetah", "requant_relu v2 shift=8 : i16.4~12+[4] by local"),
        (12, "i24.12~20[4] by cheetah", "i24.12~20[4]"),
    ] {
        let found = broken(from, to);
        assert!(found.contains(&invariant), "{from:?} -> {to:?}: expected {invariant}, found {found:?}");
    }
}

/// As [`GOOD`], with the newer operations.
const MORE: &str = r#"function "more"
weight @w0 "b" : i24.8[2]
v0 = input : i24.8~9[2,3] by local "x"
v1 = offset v0 by=-77 : i24.8~9[2,3] by local "o"
v2 = bias v1, @w0 : i24.8~9[2,3] by local "b"
v3 = relu v2 : i24.8~9+[2,3] by cheetah "c"
v4 = piecewise v3 slope=1 slope_frac=1 offset=0 knots=[1536:-1] : i24.9~12+[2,3] by cheetah(leaf=2) "c"
v5 = slice v4 start=[0,0] : i24.9~12+[2,1] by local "s"
v6 = reshape v5 : i24.9~12+[2] by local "s"
v7 = mul v4, v6 : i24.18~20[2,3] by cheetah "m"
v8 = reshape v7 : i24.18~23[6] by local "f"
v9 = requant_clip v8 shift=12 limit=1536 : i12.6~10+[6] by cheetah(leaf=2) "r"
v10 = topk v9 k=3 : i4.0~3+[3] by cheetah "t"
v11 = fusion.reveal v10 what=topk:3 : i4.0~3+[3] by cheetah "t"
"#;

#[test]
fn each_invariant_is_checked_on_the_newer_operations() {
    let check = |text: &str| verify_executable(&parse(text).unwrap());
    assert_eq!(check(MORE), Ok(()));
    for (invariant, from, to) in [
        (1, "mul v4, v6", "mul v4"),
        (3, "mul v4, v6", "mul v6, v4"),
        (3, "topk v9 k=3", "topk v9 k=2"),
        (3, "topk v9 k=3", "topk v9 k=7"),
        (3, "topk v9 k=3", "topk v7 k=3"),
        (4, "by=-77", "by=8388608"),
        (4, "slope_frac=1", "slope_frac=0"),
        (4, "slope=1", "slope=8388608"),
        (4, "knots=[1536:-1]", "knots=[1536:1,1536:-1]"),
        (4, "knots=[1536:-1]", "knots=[]"),
        (4, "i24.18~20[2,3]", "i24.17~20[2,3]"),
        (4, "i4.0~3+[3] by cheetah \"t\"\nv11", "i3.0~2+[3] by cheetah \"t\"\nv11"),
        (5, "\"b\" : i24.8[2]", "\"b\" : i24.8[3]"),
        (5, "\"b\" : i24.8[2]", "\"b\" : i24.9[2]"),
        (5, "\"b\" : i24.8[2]", "\"b\" : i24.8[]"),
        (7, "v3 = relu v2 : i24.8~9+", "v3 = relu v2 : i24.8~23"),
        (4, "limit=1536", "limit=2048"),
        (4, "limit=1536", "limit=0"),
        (4, "shift=12 limit=1536 : i12.6", "shift=12 limit=1536 : i12.7"),
        (6, "shift=12 limit=1536 : i12.6", "shift=13 limit=1536 : i12.5"),
        (7, "topk v9 k=3", "topk v8 k=3"),
        (8, "knots=[1536:-1]", "knots=[1536:-2]"),
        (10, "what=topk:3", "what=topk:2"),
        (10, "what=topk:3", "what=label"),
        (12, "cheetah(leaf=2)", "cheetah(leaf=0)"),
        (12, "cheetah(leaf=2)", "cheetah(leaf=5)"),
        (12, "v1 = offset v0 by=-77 : i24.8~9[2,3] by local", "v1 = offset v0 by=-77 : i24.8~9[2,3] by cheetah"),
    ] {
        assert!(MORE.contains(from), "{from}");
        let violations = check(&MORE.replace(from, to)).err().unwrap_or_default();
        let found: Vec<u8> = violations.iter().map(|violation| violation.invariant).collect();
        assert!(found.contains(&invariant), "{from:?} -> {to:?}: expected {invariant}, found {found:?}");
    }
}

#[test]
fn numbers_out_of_all_ranges_are_refused() {
    for (from, to) in [("i24.8~9[8]", "i255.8~254[8]"), ("shift=8", "shift=255"), ("i24.12~20[4] by", "i0.12~0[4] by")]
    {
        assert!(!broken(from, to).is_empty(), "{to}");
    }
    for (from, to) in [("i24.18~23[6]", "i250.18~249[6]"), ("i24.8~9+[2,3]", "i0.8~0+[2,3]"), ("k=3", "k=65535")] {
        assert!(MORE.contains(from));
        assert!(verify_executable(&parse(&MORE.replace(from, to)).unwrap()).is_err(), "{to}");
    }
}

#[test]
fn a_kernel_without_axes_is_refused() {
    let violations = verify(&parse(&GOOD.replace("i8.4[4,8]", "i8.4[]")).unwrap()).unwrap_err();
    assert!(violations.iter().any(|violation| violation.invariant == 3));
}

#[test]
fn an_empty_or_huge_kernel_is_refused() {
    let text = |kernel: &str, dilation: &str| {
        format!(
            "function \"k\"\nweight @w0 \"c\" : i4.0[2,1,{kernel}]\nv0 = input : i20.0~9[1,3,3] by local \"x\"\n\
             v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[{dilation},1] groups=1 \
             : i20.0~16[2,4,2] by cheetah \"c\"\n"
        )
    };
    let most = MAX_ELEMENTS.to_string();
    for (kernel, dilation) in [("0,2", "1"), ("0,0", "1"), ("2,2", most.as_str()), (&format!("{most},2"), &most)] {
        let function = parse(&text(kernel, dilation)).unwrap();
        assert!(verify(&function).is_err(), "{kernel} {dilation}");
    }
}

#[test]
fn nothing_bypasses_the_mix() {
    let text = GOOD.replace("v2 = dense v1", "v2 = add v0, v1 : i24.8~9[8] by local \"x\"\nv3 = dense v2");
    let text = text.replace("v6 =", "v7 =").replace("v5 =", "v6 =").replace("v4 =", "v5 =").replace("v3 = r", "v4 = r");
    let text = text.replace("check v5", "check v6").replace("reveal v4", "reveal v5").replace("argmax v3", "argmax v4");
    let violations =
        verify_executable(&parse(&text.replace("requant_relu v2", "requant_relu v3")).unwrap()).unwrap_err();
    assert_eq!(violations.iter().map(|v| v.invariant).collect::<Vec<_>>(), [11]);
}

#[test]
fn an_early_or_second_reveal_is_refused() {
    let early = "v3 = fusion.reveal v2 what=logits : i24.12~20[4] by cheetah \"leak\"\nv4 = argmax v3";
    let text = GOOD.replace("v3 = requant_relu v2 shift=8 : i16.4~12+[4] by cheetah \"r\"\nv4 = argmax v3", early);
    let violations = verify_executable(&parse(&text).unwrap()).unwrap_err();
    assert_eq!(violations.iter().map(|v| v.invariant).collect::<Vec<_>>(), [10]);
}

#[test]
fn explanations_underline_the_line() {
    let function = parse(&GOOD.replace("i24.12~20[4] by", "i24.11~20[4] by")).unwrap();
    let text = explain(&function, &verify(&function).unwrap_err());
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("v2 =")).unwrap();
    assert_eq!(lines[at + 1], "^".repeat(lines[at].len()));
    assert!(lines[at + 2].contains("11 fractional bits, not 12 (invariant 4)"), "{text}");
}

/// Products of matrices with these batches, rows, inner extents and columns; nothing reads them.
fn products(extents: &[[usize; 4]]) -> Function {
    let ty = |shape: &[usize]| format!("i30.0~9{shape:?} by local \"x\"\n").replace(", ", ",");
    let mut text = format!("function \"p\"\nv0 = input : {}", ty(&[1]));
    let mut values = 1;
    for &[b, m, k, n] in extents {
        for shape in [[b, m, k], [b, k, n]] {
            let len: usize = shape.iter().product();
            text += &format!("v{values} = pad v0 before=[0] after=[{}] : {}", len - 1, ty(&[len]));
            text += &format!("v{} = reshape v{values} : {}", values + 1, ty(&shape));
            values += 2;
        }
        text += &format!("v{values} = mat_mul v{}, v{} : {}", values - 3, values - 1, ty(&[b, m, n]));
        values += 1;
    }
    parse(&text).unwrap()
}

#[test]
fn all_products_of_matrices_together_are_bounded() {
    let found = |extents: &[[usize; 4]]| {
        let violations = verify(&products(extents)).unwrap_err();
        let of_sizes = violations.into_iter().filter(|violation| violation.invariant != 9);
        of_sizes.map(|violation| (violation.invariant, violation.value, violation.message)).collect::<Vec<_>>()
    };
    let half = [1 << 5, 1 << 10, 1 << 10, 1 << 10];
    assert_eq!(MAX_PRODUCTS, 1 << 36);
    assert_eq!(found(&[half, half]), []);
    let [(invariant, value, message)] = &found(&[half, half, [1, 1, 1, 1]])[..] else { panic!("one value exceeds it") };
    assert_eq!((*invariant, *value), (2, Some(ValueId(15))));
    assert!(message.contains("68719476737 scalar products; at most 68719476736"), "{message}");
    // Beyond it in one, and beyond what 64 bits hold in two.
    let most = [1, 1 << 14, 1 << 14, 1 << 14];
    assert_eq!(found(&[most]).iter().map(|found| found.0).collect::<Vec<_>>(), [2]);
    let far = [1, 1 << 28, 1, 1 << 28];
    assert!(found(&vec![far; 300]).iter().any(|found| found.0 == 2));
}

#[test]
fn a_choice_that_means_nothing_for_an_operation_is_refused() {
    let product = "function \"p\"\nv0 = input : i30.0~9[1,2,2] by local \"x\"\n\
                   v1 = mat_mul v0, v0 : i30.0~29[1,2,2] by cheetah(ot) \"m\"\n\
                   v2 = fusion.reveal v1 what=logits : i30.0~29[1,2,2] by cheetah \"m\"\n";
    assert_eq!(verify_executable(&parse(product).unwrap()), Ok(()));
    for (from, to) in [("cheetah \"r\"", "cheetah(ot) \"r\""), ("cheetah \"a\"\nv5", "cheetah(leaf=2,ot) \"a\"\nv5")] {
        assert_eq!(broken(from, to), [12], "{to}");
    }
    assert_eq!(broken("i24.12~20[4] by cheetah", "i24.12~20[4] by cheetah(ot)"), [12]);
}
