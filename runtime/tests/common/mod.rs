//! Small plans for tests.

#![allow(dead_code, reason = "each test uses some of them")]

use fusion_ir::plan::{Demo, Plan, Provenance, Suggestion};
use fusion_ir::{Schema, Weights, text};

/// Two inputs, three classes, `scores = W x` with `W = [1 0; 0 1; -1 -1]`: the larger coordinate,
/// or 2 if both are negative. Verified, without demo samples.
pub fn tiny_plan() -> Plan {
    tiny_plan_with([1, 0, 0, 1, -1, -1])
}

/// [`tiny_plan`] with another matrix, of integers.
pub fn tiny_plan_with(matrix: [i64; 6]) -> Plan {
    let function = text::parse(
        "function \"tiny\"\nweight @w0 \"w\" : i12.4[3,2]\n\
         v0 = input : i20.4~9[2] by local \"x\"\n\
         v1 = fusion.mix v0 queries=1 copies=1 public=0 : i20.4~9[2] by local \"x\"\n\
         v2 = dense v1, @w0 : i20.8~18[3] by cheetah \"scores\"\n\
         v3 = argmax v2 : i3.0~2+[1] by cheetah \"label\"\n\
         v4 = fusion.reveal v3 what=label : i3.0~2+[1] by cheetah \"label\"\n\
         v5 = fusion.check v4 : i3.0~2+[1] by local \"label\"\n",
    )
    .expect("the text is well-formed");
    let weights = Some(Weights(vec![matrix.iter().map(|weight| 16 * weight).collect()]));
    let provenance = Provenance { compiler: "test 1".into(), calibrated: true };
    Plan { function, suggestion: Suggestion::default(), provenance, schema: Schema::default(), weights, demo: None }
}

/// [`tiny_plan`] behind layers that change nothing, each with a comparison after it.
pub fn deep_plan(layers: usize) -> Plan {
    let tiny = tiny_plan();
    let mut text = String::from("function \"deep\"\nweight @w0 \"w\" : i12.4[3,2]\n");
    (1..=layers).for_each(|layer| text += &format!("weight @w{layer} \"same\" : i8.4[2,2]\n"));
    text += "v0 = input : i20.4~9[2] by local \"x\"\n\
             v1 = fusion.mix v0 queries=1 copies=1 public=0 : i20.4~9[2] by local \"x\"\n";
    for layer in 0..layers {
        let (first, magnitude) = (3 * layer + 2, 9 + layer);
        text += &format!(
            "v{first} = extend v{} : i28.4~{magnitude}[2] by cheetah \"wide\"\n\
             v{} = dense v{first}, @w{} : i28.8~{}[2] by cheetah \"same\"\n\
             v{} = requant v{} shift=4 : i20.4~{}[2] by cheetah \"narrow\"\n",
            first - 1,
            first + 1,
            layer + 1,
            magnitude + 5,
            first + 2,
            first + 1,
            magnitude + 1
        );
    }
    let last = 3 * layers + 1;
    let [scores, label, shown, checked] = [1, 2, 3, 4].map(|after| last + after);
    text += &format!(
        "v{scores} = dense v{last}, @w0 : i20.8~18[3] by cheetah \"scores\"\n\
         v{label} = argmax v{scores} : i3.0~2+[1] by cheetah \"label\"\n\
         v{shown} = fusion.reveal v{label} what=label : i3.0~2+[1] by cheetah \"label\"\n\
         v{checked} = fusion.check v{shown} : i3.0~2+[1] by local \"label\"\n"
    );
    let function = text::parse(&text).expect("the text is well-formed");
    let mut weights = tiny.weights.unwrap();
    weights.0.resize(1 + layers, vec![16, 0, 0, 16]);
    Plan { function, weights: Some(weights), ..tiny_plan() }
}

/// The quantised input `(x, y)` of a tiny plan.
pub fn point(x: i64, y: i64) -> Vec<i64> {
    vec![16 * x, 16 * y]
}

/// What [`tiny_plan`] answers.
pub fn tiny_label(x: i64, y: i64) -> i64 {
    let scores = [x, y, -x - y];
    (0..3).rev().max_by_key(|class| scores[*class]).unwrap() as i64
}

/// A plan with [`tiny_plan`]'s digest that is wrong on every one of [`labelled_points`]: it rotates
/// the classes.
pub fn wrong_plan() -> Plan {
    tiny_plan_with([-1, -1, 1, 0, 0, 1])
}

/// Distinct points with their labels; no two classes tie.
pub fn labelled_points(count: usize) -> Vec<(Vec<i64>, i64)> {
    let all = (-9..=9i64).flat_map(|x| (-9..=9).map(move |y| (x, y)));
    let clear = all.filter(|(x, y)| x != y && 2 * x != -y && 2 * y != -x);
    // What the tests ask about is not public.
    let clear = clear.filter(|point| ![(3, 1), (-2, 5)].contains(point));
    let mut clear: Vec<_> = clear.collect();
    // Any order that is not sorted by class.
    clear.sort_by_key(|(x, y)| (7 * x + 3 * y).rem_euclid(17));
    let points: Vec<_> = clear.into_iter().map(|(x, y)| (point(x, y), tiny_label(x, y))).take(count).collect();
    assert_eq!(points.len(), count);
    points
}

/// [`tiny_plan`] with demo samples.
pub fn demo_plan(count: usize) -> Plan {
    let (inputs, labels) = labelled_points(count).into_iter().unzip();
    Plan { demo: Some(Demo { inputs, labels, labelled: true }), ..tiny_plan() }
}
