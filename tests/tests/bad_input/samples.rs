//! Samples, labels and policies that a client must refuse before anything is sent.

use fusion_tests::desk::{Desk, PUBLIC};
use fusion_tests::{cut, root};
use ndarray::{Array, Array1, Array4};

/// A client that nobody answers: whatever is refused later than it should be becomes a failure to
/// connect, exit code 4.
const CLIENT: &str =
    "fusion-run plan.client.bin --role client --connect 127.0.0.1:9 --timeout 1 -o labels.csv --report r.json";

fn refused(desk: &Desk, more: &str, phrases: &[&str]) {
    desk.refuse(2, &format!("{CLIENT} {more}"), phrases);
}

fn zeros() -> Array4<f32> {
    Array::zeros((3, 1, 8, 8))
}

fn spoiled(at: [usize; 4], value: f32) -> Array4<f32> {
    let mut array = zeros();
    array[at] = value;
    array
}

#[test]
fn samples_that_do_not_fit_are_refused_whichever_they_are() {
    let desk = Desk::new();
    desk.write_array("wide.npy", &Array::<f32, _>::zeros((3, 1, 8, 9)));
    desk.write_array("flat.npy", &Array::<f32, _>::zeros((3, 64)));
    desk.write_array("double.npy", &Array::<f64, _>::from_elem((3, 1, 8, 8), 1e39));
    desk.write_array("whole.npy", &Array::<i64, _>::from_elem((3, 1, 8, 8), 16_777_217));
    desk.write_array("empty.npy", &Array::<f32, _>::zeros((0, 1, 8, 8)));
    desk.write_array("nan.npy", &spoiled([2, 0, 1, 3], f32::NAN));
    desk.write_array("inf.npy", &spoiled([0, 0, 0, 1], f32::INFINITY));
    desk.write_array("minus.npy", &spoiled([1, 0, 7, 7], f32::NEG_INFINITY));
    let whole = desk.read("x.npy");
    desk.write("cut.npy", &whole[..whole.len() - 3]);
    desk.write("header.npy", &whole[..40]);
    let mut greedy = whole.clone();
    let shape = whole.iter().position(|byte| *byte == b'(').unwrap();
    greedy[shape..shape + 23].copy_from_slice(b"(300000000000, 8, 8), }");
    desk.write("greedy.npy", &greedy);
    desk.write("text.npy", b"1.0, 2.0, 3.0\n");
    desk.write("nothing.npy", b"");
    desk.write("longer.npy", &[&whole[..], b"more"].concat());
    std::fs::create_dir(desk.path("folder.npy")).unwrap();
    for (name, why) in [
        ("wide.npy", "its shape is [3, 1, 8, 9], but [samples, 1, 8, 8] is needed"),
        ("flat.npy", "its shape is [3, 64], but [samples, 1, 8, 8] is needed"),
        ("double.npy", "which float32 does not hold"),
        ("whole.npy", "sample 0 holds 16777217 at element 0, which float32 does not hold"),
        ("greedy.npy", "it is truncated: shape [300000000000, 8, 8]"),
        ("empty.npy", "it holds no sample"),
        ("nan.npy", "sample 2 holds NaN at element 11"),
        ("inf.npy", "sample 0 holds inf at element 1"),
        ("minus.npy", "sample 1 holds -inf at element 63"),
        ("cut.npy", "it is truncated"),
        ("header.npy", "not a readable .npy file"),
        ("text.npy", "not a readable .npy file"),
        ("nothing.npy", "not a readable .npy file"),
        ("longer.npy", "not a readable .npy file"),
        ("folder.npy", ""),
        ("missing.npy", "cannot be read"),
    ] {
        let named = format!("fusion-run: {name}: ");
        refused(&desk, &format!("--input {name} --public-inputs px.npy --public-labels py.npy"), &[&named, why]);
        refused(&desk, &format!("--input x.npy --public-inputs {name} --public-labels py.npy"), &[&named, why]);
        refused(&desk, &format!("--input {name} --no-verify"), &[&named, why]);
        let eval = format!("fusionc eval plan.bin --input {name} -o out.csv");
        desk.refuse(2, &eval, &[&format!("fusionc: {name}: ")]);
    }
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let desk = Desk::new();
    let mut labels = Array1::<i64>::zeros(PUBLIC);
    labels[7] = 10;
    desk.write_array("high.npy", &labels);
    labels[7] = -1;
    desk.write_array("low.npy", &labels);
    desk.write_array("few.npy", &Array1::<i64>::zeros(PUBLIC - 1));
    desk.write_array("column.npy", &Array::<i64, _>::zeros((PUBLIC, 2)));
    for (name, why) in [
        ("high.npy", "label 10 of sample 7 is not in 0..10"),
        ("low.npy", "label -1 of sample 7 is not in 0..10"),
        ("few.npy", "its shape is [39], but there are 40 public samples"),
        ("column.npy", "it has 2 labels of each sample, but the plan reveals 1"),
        ("x.npy", "int64 is needed"),
        ("missing.npy", "cannot be read"),
    ] {
        let named = format!("fusion-run: {name}: ");
        refused(&desk, &format!("--input x.npy --public-inputs px.npy --public-labels {name}"), &[&named, why]);
    }
}

#[test]
fn too_few_public_samples_are_refused_with_a_number_that_would_do() {
    let desk = Desk::new();
    let digits = root().join("models/digits");
    let policy = "--input x.npy --public-inputs pub.npy --public-labels lab.npy --accuracy 0.95 --catch 0.2";
    let provide = |count: usize| {
        cut::<f32>(&digits.join("public.npy"), 0..count, &desk.path("pub.npy"));
        cut::<i64>(&digits.join("public_labels.npy"), 0..count, &desk.path("lab.npy"));
    };
    provide(5);
    let line = format!("{CLIENT} {policy}");
    let ended = desk.refuse(2, &line, &["the policy needs ", "public samples", "there are only 5"]);
    let number = ended.err.split("the policy needs ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let needed: usize = number.parse().unwrap();
    assert!((6..350).contains(&needed), "{needed}");
    provide(needed - 1);
    desk.refuse(2, &line, &[number, &format!("there are only {}", needed - 1)]);
    // With so many the policy stands, and what fails next is the connection.
    provide(needed);
    desk.refuse(4, &line, &["cannot connect to 127.0.0.1:9"]);
}

#[test]
fn policies_that_cannot_be_met_are_refused() {
    let desk = Desk::new();
    for (flags, why) in [
        ("--accuracy 1.5", "accuracy must be"),
        ("--accuracy -1", "-1"),
        ("--lambda -3", "-3"),
        ("--lambda NaN", "lambda must be"),
        ("--false-reject 7", "false-reject must be"),
        ("--catch 0", "cannot be told from an honest server"),
        ("--catch 0.1 --accuracy 0.8", "cannot be told from an honest server"),
        ("--lambda 30 --copies 1", "no batch of reasonable size meets the demand on lambda"),
        ("--lambda 900", "public samples for this many queries, but there are only 40"),
        ("--lambda ten", "invalid value 'ten' for '--lambda <BITS>'"),
        ("--copies 0", "copies must be at least 1"),
        ("--tolerate 40", "public samples for this many queries, but there are only 40"),
    ] {
        let line = format!("{CLIENT} --input x.npy --public-inputs px.npy --public-labels py.npy {flags}");
        // What the command line itself cannot read is refused before it is known which files are
        // outputs.
        let before = desk.files();
        desk.run(&line).failed(&line, 2, &[why]);
        desk.unchanged(&line, &before);
    }
}
