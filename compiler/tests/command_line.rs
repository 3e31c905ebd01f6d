//! The binary on good and bad input: messages that name the thing, exit codes, and no half-written
//! files.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::{Array1, Array2, ArrayD, ShapeBuilder};
use support::{batched, int, integers, ints, model, model_of, node, node_of, numbers, tensor};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("fusionc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.file(name), bytes).unwrap();
        self.file(name)
    }

    /// A model of one matrix product, `[4] -> [3]`.
    fn model(&self) -> PathBuf {
        self.write("model.onnx", &matmul(&numbers(12)))
    }

    fn samples(&self, name: &str, n: usize) -> PathBuf {
        let samples = Array2::from_shape_vec((n, 4), numbers(4 * n)).unwrap();
        ndarray_npy::write_npy(self.file(name), &samples).unwrap();
        self.file(name)
    }

    fn plan(&self) -> PathBuf {
        let plan = self.file("plan.bin");
        good(&["compile", text(&self.model()), "--calibrate", text(&self.samples("c.npy", 40)), "-o", text(&plan)]);
        plan
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn matmul(weights: &[f32]) -> Vec<u8> {
    model(&[4], &[node("MatMul", "fc", &["x", "w"], "y", &[])], &[tensor("w", &[4, 3], weights)])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn fusionc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fusionc")).args(args).output().unwrap()
}

fn good(args: &[&str]) -> String {
    let output = fusionc(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code 2 and a message with all of `needles`.
fn bad(args: &[&str], needles: &[&str]) {
    let output = fusionc(args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    for needle in needles {
        assert!(message.contains(needle), "{args:?}: no {needle:?} in {message}");
    }
}

/// What `check` says is what `compile` does, for every kind of answer.
#[test]
fn check_knows_what_is_to_be_revealed() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let (folder, model) = (Folder::new("reveal"), fixtures.join("regressor/model.onnx"));
    let plan = folder.file("plan.bin");
    let why = "TreeEnsembleRegressor";
    for reveal in [&[][..], &["--reveal", "label"]] {
        bad(&[&["check", text(&model)], reveal].concat(), &[why]);
        bad(&[&["compile", text(&model), "-o", text(&plan)], reveal].concat(), &[why]);
    }
    assert!(good(&["check", text(&model), "--reveal", "value"]).contains("all supported"));
    good(&["compile", text(&model), "-o", text(&plan), "--reveal", "value", "--min-agreement", "0"]);
    // Scores of a classifier that names its classes.
    let scores = fixtures.join("tabular/names.onnx");
    let asked = ["--output", "scores", "--reveal", "value"];
    let why = ["--reveal value is for a model that answers numbers"];
    bad(&[&["check", text(&scores)], &asked[..]].concat(), &why);
    bad(&[&["compile", text(&scores), "-o", text(&plan)], &asked[..]].concat(), &why);
}

#[test]
fn compile_eval_dump_cost() {
    let folder = Folder::new("good");
    let plan = folder.plan();
    let client = folder.file("plan.client.bin");
    assert!(std::fs::metadata(&client).unwrap().len() < std::fs::metadata(&plan).unwrap().len());
    let x = folder.samples("x.npy", 5);
    let csv = good(&["eval", text(&plan), "--input", text(&x), "--logits"]);
    assert_eq!(csv.lines().count(), 6);
    let weights = numbers(12);
    for (row, sample) in csv.lines().skip(1).zip(numbers(20).chunks(4)) {
        let row: Vec<f64> = row.split(',').map(|cell| cell.parse().unwrap()).collect();
        for class in 0..3 {
            let expected: f32 = (0..4).map(|i| sample[i] * weights[3 * i + class]).sum();
            assert!((row[2 + class] - f64::from(expected)).abs() < 0.01, "{row:?} {expected}");
        }
        assert!((2..5).all(|i| row[i] <= row[2 + row[1] as usize]), "{row:?}");
    }
    let labels = folder.file("labels.csv");
    good(&["eval", text(&plan), "--input", text(&x), "-o", text(&labels)]);
    assert!(std::fs::read_to_string(labels).unwrap().starts_with("index,label\n0,"));

    let dump = good(&["dump", text(&client), "--annotate"]);
    assert!(dump.contains("fusion.mix") && dump.contains("bytes to server"), "{dump}");
    assert!(good(&["dump", text(&plan), "--format", "json"]).contains("\"Dense\""));
    assert!(good(&["dump", text(&folder.model()), "--stage", "import", "--format", "dot"]).contains("digraph"));
    assert!(good(&["dump", text(&folder.model()), "--stage", "fixed"]).contains("requant"));
    assert!(good(&["cost", text(&client), "--queries", "3"]).contains("one position"));
    assert!(good(&["check", text(&folder.model())]).contains("all supported"));
    // An input within the format of what calibration saw, and one that would be limited to it.
    let large = folder.file("large.npy");
    let mut samples = Array2::<f32>::zeros((3, 4));
    (samples[[1, 2]], samples[[2, 2]]) = (1e6, -1e6);
    ndarray_npy::write_npy(&large, &samples).unwrap();
    bad(&["eval", text(&plan), "--input", text(&large)], &["sample 1: 1 of 4 elements", "feature 2", "--clipped warn"]);
    let output = fusionc(&["eval", text(&plan), "--input", text(&large), "--clipped", "warn"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("clipped   sample 2: 1 of 4"), "{said}");
    assert!(!said.contains("overflow"), "{said}");
    bad(&["dump", text(&plan), "--stage", "fixed"], &["ONNX model"]);
    bad(&["eval", text(&client), "--input", text(&x)], &["plan.client.bin", "server's"]);
}

/// The pages of both parties' plans, which say what the text says and no more.
#[test]
fn plans_and_their_costs_have_pages() {
    let folder = Folder::new("pages");
    let (plan, client) = (folder.plan(), folder.file("plan.client.bin"));
    let written = |args: &[&str]| {
        let html = folder.file("page.html");
        let said = good(&[args, &["--html", text(&html)]].concat());
        (said, std::fs::read_to_string(html).unwrap())
    };
    let batch = ["cost", text(&client), "--queries", "3"];
    let (said, page) = written(&batch);
    assert_eq!(said, good(&batch));
    let number = |before: &str, text: &str| {
        let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}")).1;
        rest.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty()).unwrap().to_owned()
    };
    let positions = number("public samples: ", &said);
    assert_eq!(number("<dt>positions in all</dt><dd>", &page), positions);
    assert_eq!(number("<dt>copies of each</dt><dd>", &page), number("3 queries, ", &said));
    // Every size once, the one that was asked about among them.
    let rows = page.split_once("<h2>Larger and smaller batches</h2>").unwrap().1.split("</table>").next().unwrap();
    let sizes: Vec<String> = rows.split("<tr").skip(2).map(|row| number("<td class=\"number\">", row)).collect();
    assert_eq!(sizes, ["1", "3", "8", "64", "1024"]);
    assert!(rows.split("class=\"this\"").nth(1).unwrap().contains(&positions));

    let (said, program) = written(&["dump", text(&client)]);
    assert_eq!(said, "");
    assert_eq!(program, written(&["dump", text(&plan)]).1, "the server's page has no weights");
    assert!(program.contains("fusion.mix") && program.contains("<a href=\"#v0\">v0</a>"), "{program}");
    let model = folder.model();
    let calibrate = folder.file("c.npy");
    for stage in ["import", "fixed", "gadgets", "plan"] {
        let (_, page) = written(&["dump", text(&model), "--calibrate", text(&calibrate), "--stage", stage]);
        assert_eq!(page.contains("fusion.mix"), ["gadgets", "plan"].contains(&stage), "{stage}: {page}");
        assert!(page.contains("class=\"dot\"") && page.contains("<code>fc</code>"), "{stage}: {page}");
    }
    for page in [&page, &program] {
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
    }
    bad(&["dump", text(&plan), "--html", "x.html", "--format", "dot"], &["--html", "--format"]);
    for args in [&["cost", text(&client), "--html", text(&client)], &["dump", text(&plan), "--html", text(&plan)]] {
        bad(args, &["would be overwritten"]);
    }
    bad(
        &["dump", text(&model), "--calibrate", text(&calibrate), "--html", text(&calibrate)],
        &["would be overwritten"],
    );
}

#[test]
fn compilation_is_reproducible() {
    let folder = Folder::new("again");
    let first = std::fs::read(folder.plan()).unwrap();
    assert_eq!(std::fs::read(folder.plan()).unwrap(), first);
}

#[test]
fn corrupt_models() {
    let folder = Folder::new("corrupt");
    let whole = matmul(&numbers(12));
    let out = folder.file("plan.bin");
    for end in [0, 1, 2, 5, whole.len() / 4, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let cut = folder.write("cut.onnx", &whole[..end]);
        bad(&["compile", text(&cut), "-o", text(&out)], &["cut.onnx"]);
    }
    let image = folder.write("image.onnx", b"\x89PNG\r\n\x1a\n and so on");
    bad(&["check", text(&image)], &["image.onnx"]);
    bad(&["compile", "no-such.onnx"], &["no-such.onnx"]);
    for value in [f32::NAN, f32::INFINITY] {
        let mut weights = numbers(12);
        weights[7] = value;
        let poisoned = folder.write("poisoned.onnx", &matmul(&weights));
        bad(&["compile", text(&poisoned), "-o", text(&out)], &["\"w\"", "element 7"]);
    }
    let short = model(&[4], &[node("MatMul", "fc", &["x", "w"], "y", &[])], &[tensor("w", &[4, 3], &numbers(11))]);
    bad(&["compile", text(&folder.write("short.onnx", &short)), "-o", text(&out)], &["short.onnx"]);
    assert!(!out.exists());
}

#[test]
fn unsupported_operators_are_listed() {
    let folder = Folder::new("unsupported");
    let nodes = [
        node("GridSample", "odd", &["x"], "a", &[]),
        node("Relu", "fine", &["a"], "b", &[]),
        node("Det", "", &["b"], "y", &[]),
    ];
    let file = folder.write("odd.onnx", &model(&[4], &nodes, &[]));
    for command in ["compile", "check"] {
        bad(&[command, text(&file)], &["2 nodes", "\"odd\" (GridSample)", "\"y\" (Det)"]);
    }
    let dynamic = folder.write(
        "dynamic.onnx",
        &model(&[0], &[node("MatMul", "fc", &["x", "w"], "y", &[])], &[tensor("w", &[4, 3], &numbers(12))]),
    );
    bad(&["compile", text(&dynamic)], &["axis 1 is dynamic", "--input-shape"]);
    bad(&["compile", text(&dynamic), "--input-shape", "1,5"], &["do not fit"]);
    good(&["check", text(&dynamic), "--input-shape", "1,4"]);
    // What a later stage refuses is named as the model has it, too.
    let pole = folder.write("pole.onnx", &model(&[4], &[node("Reciprocal", "inverse", &["x"], "y", &[])], &[]));
    bad(&["compile", text(&pole)], &["\"inverse\" (Reciprocal)", "pole"]);
}

/// Everything that is in the way of a model is listed at once, by `check` as by `compile`.
#[test]
fn inputs_outputs_nodes_and_weights_are_listed_together() {
    let folder = Folder::new("together");
    let mut weights = numbers(12);
    weights[5] = f32::NAN;
    let nodes = [
        node("Add", "both", &["x", "z"], "a", &[]),
        node("GridSample", "odd", &["a"], "b", &[]),
        node("MatMul", "fc", &["b", "w"], "y", &[]),
        node("Relu", "other", &["y"], "r", &[]),
    ];
    let inputs: [(&str, &[u64]); 2] = [("x", &[4]), ("z", &[])];
    let file = model_of(&inputs, &["y", "r"], 29, &nodes, &[tensor("w", &[4, 3], &weights)]);
    let file = folder.write("all.onnx", &file);
    for command in ["compile", "check"] {
        let needles = [
            "input \"z\": it has no batch axis",
            "operator set 29",
            "2 outputs, \"y\", \"r\"",
            "node \"odd\" (GridSample)",
            "weight \"w\": holds NaN at element 5",
        ];
        bad(&[command, text(&file)], &needles);
    }
}

#[test]
fn a_part_of_the_results_can_be_chosen() {
    let folder = Folder::new("part");
    let shape = integers("shape", &[1, 2, 3]);
    let nodes = [
        node("MatMul", "fc", &["x", "w"], "scores", &[]),
        node("Reshape", "rows", &["scores", "shape"], "r", &[]),
        node("Softmax", "soft", &["r"], "y", &[]),
    ];
    let inputs: [(&str, &[u64]); 2] = [("x", &[4]), ("unused", &[7])];
    let weights = numbers(24);
    let file = model_of(&inputs, &["y", "scores"], 13, &nodes, &[tensor("w", &[4, 6], &weights), shape]);
    let file = folder.write("rows.onnx", &file);
    let (x, plan) = (folder.samples("x.npy", 40), folder.file("plan.bin"));
    let compile = |more: &[&str]| {
        [&["compile", text(&file), "--calibrate", text(&x), "-o", text(&plan)], more].concat().join("\n")
    };
    let refuse = |more: &[&str], needle: &str| bad(&compile(more).split('\n').collect::<Vec<_>>(), &[needle]);
    refuse(&[], "choose the one with the scores or the label with --output");
    refuse(&["--output", "nothing"], "its outputs are \"y\", \"scores\"");
    refuse(&["--output", "y"], "choose a row with --row");
    refuse(&["--output", "y", "--row", "2"], "--row 2 of 2 rows");
    for (more, from, to) in [(vec!["--output", "scores"], 0, 6), (vec!["--output", "y", "--row", "1"], 3, 6)] {
        good(&compile(&more).split('\n').collect::<Vec<_>>());
        let csv = good(&["eval", text(&plan), "--input", text(&x)]);
        for (row, sample) in csv.lines().skip(1).zip(numbers(160).chunks(4)) {
            let score = |class: usize| (0..4).map(|i| sample[i] * weights[6 * i + class]).sum::<f32>();
            let label: usize = row.split(',').nth(1).unwrap().parse().unwrap();
            let best = (from..to).map(score).fold(f32::MIN, f32::max);
            assert!(best - score(from + label) < 0.01, "{more:?}: {row}");
        }
    }
}

#[test]
fn one_probability_or_decision_is_two_classes() {
    let folder = Folder::new("binary");
    let x = folder.samples("x.npy", 40);
    let weights = numbers(4);
    let half = || tensor("half", &[], &[0.5]);
    let fc = || node("MatMul", "fc", &["x", "w"], "z", &[]);
    let sigmoid = |to: &str| node("Sigmoid", "squash", &["z"], to, &[]);
    let decision = [fc(), sigmoid("p"), node("Greater", "cut", &["p", "half"], "c", &[])];
    let cast = node("Cast", "whole", &["c"], "y", &[int("to", 7)]);
    for nodes in [vec![fc(), sigmoid("y")], [decision.to_vec(), vec![cast]].concat()] {
        let file = folder.write("one.onnx", &model(&[4], &nodes, &[tensor("w", &[4, 1], &weights), half()]));
        let plan = folder.file("plan.bin");
        good(&["compile", text(&file), "--calibrate", text(&x), "-o", text(&plan)]);
        let csv = good(&["eval", text(&plan), "--input", text(&x)]);
        for (row, sample) in csv.lines().skip(1).zip(numbers(160).chunks(4)) {
            let z: f32 = (0..4).map(|i| sample[i] * weights[i]).sum();
            let label: i64 = row.split(',').nth(1).unwrap().parse().unwrap();
            assert!(z.abs() < 0.01 || label == i64::from(z > 0.0), "{row}: {z}");
        }
    }
    let plain = folder.write(
        "plain.onnx",
        &model(&[4], &[node("MatMul", "fc", &["x", "w"], "y", &[])], &[tensor("w", &[4, 1], &weights)]),
    );
    bad(&["compile", text(&plain)], &["\"fc\" (MatMul)", "ends with a Sigmoid or a comparison"]);
}

#[test]
fn outputs_that_nothing_reads_do_not_matter() {
    let folder = Folder::new("outputs");
    let fc = || node("MatMul", "fc", &["d", "w"], "y", &[]);
    let weights = || tensor("w", &[4, 3], &numbers(12));
    let dropout = node_of("Dropout", "drop", &["x"], &["d", "mask"], &[]);
    good(&["check", text(&folder.write("unread.onnx", &model(&[4], &[dropout.clone(), fc()], &[weights()])))]);
    let read = node("Where", "pick", &["mask", "x", "d"], "e", &[]);
    let nodes = [dropout, read, node("MatMul", "fc", &["e", "w"], "y", &[])];
    let file = folder.write("read.onnx", &model(&[4], &nodes, &[weights()]));
    bad(&["check", text(&file)], &["\"drop\" (Dropout): its output 1 is not supported"]);
    let spin = node("Relu", "strange", &["x"], "d", &[int("spin", 1)]);
    let file = folder.write("spin.onnx", &model(&[4], &[spin, fc()], &[weights()]));
    bad(&["check", text(&file)], &["\"strange\" (Relu): attribute \"spin\" is not known"]);
}

#[test]
fn samples_of_any_number_type_and_order_are_one() {
    let folder = Folder::new("types");
    let plan = folder.plan();
    let x = folder.file("x.npy");
    let eval = || good(&["eval", text(&plan), "--input", text(&x), "--logits"]);
    let whole = |i: usize| [0i8, 1, -1, 1, 1, 0, -1, 0, 1, -1, 0, 0][i];
    ndarray_npy::write_npy(&x, &Array2::from_shape_fn((3, 4), |(i, j)| f32::from(whole(4 * i + j)))).unwrap();
    let expected = eval();
    ndarray_npy::write_npy(&x, &Array2::from_shape_fn((3, 4), |(i, j)| f64::from(whole(4 * i + j)))).unwrap();
    assert_eq!(eval(), expected);
    ndarray_npy::write_npy(&x, &Array2::from_shape_fn((3, 4), |(i, j)| whole(4 * i + j))).unwrap();
    assert_eq!(eval(), expected);
    ndarray_npy::write_npy(&x, &Array2::from_shape_fn((3, 4).f(), |(i, j)| i64::from(whole(4 * i + j)))).unwrap();
    assert_eq!(eval(), expected);
}

#[test]
fn agreement_is_with_the_file_or_with_what_is_expected() {
    let folder = Folder::new("agreement");
    let (file, out, y) = (folder.model(), folder.file("plan.bin"), folder.file("y.npy"));
    let c = folder.samples("c.npy", 40);
    let right = good(&["compile", text(&file), "--calibrate", text(&c), "-o", text(&out)]);
    assert!(right.contains("agreement 40 of 40") && right.contains("91.2 to 100.0 %"), "{right}");
    let (weights, samples) = (numbers(12), numbers(160));
    let score =
        |sample: usize, class: usize| -> f32 { (0..4).map(|i| samples[4 * sample + i] * weights[3 * i + class]).sum() };
    let scores = Array2::from_shape_fn((40, 3), |(sample, class)| score(sample, class));
    let best =
        |sample: usize| (0..3).rev().max_by(|a, b| score(sample, *a).total_cmp(&score(sample, *b))).unwrap() as i64;
    std::fs::remove_file(&out).unwrap();
    let compile = ["compile", text(&file), "--calibrate", text(&c), "-o", text(&out), "--expected", text(&y)];
    ndarray_npy::write_npy(&y, &scores).unwrap();
    assert!(good(&compile).contains("have the expected label"));
    ndarray_npy::write_npy(&y, &Array1::from_shape_fn(40, best)).unwrap();
    assert!(good(&compile).contains("agreement 40 of 40"));
    std::fs::remove_file(&out).unwrap();
    // Four wrong labels in forty.
    ndarray_npy::write_npy(&y, &Array1::from_shape_fn(40, |i| if i < 4 { (best(i) + 1) % 3 } else { best(i) }))
        .unwrap();
    bad(&compile, &["only 36 of 40", "95.00 %", "--min-agreement 0.9 "]);
    assert!(!out.exists());
    let low = good(&[&compile[..], &["--min-agreement", "0.9"]].concat());
    assert!(low.contains("warning   only 36 of 40"), "{low}");
    std::fs::remove_file(&out).unwrap();
    ndarray_npy::write_npy(&y, &Array1::<i64>::zeros(39)).unwrap();
    bad(&compile, &["y.npy", "[39]", "40 samples"]);
    ndarray_npy::write_npy(&y, &Array2::<f32>::zeros((40, 4))).unwrap();
    bad(&compile, &["y.npy", "[40, 4]"]);
    bad(&["compile", text(&file), "-o", text(&out), "--expected", text(&y)], &["--calibrate"]);
    bad(&[&compile[..], &["--min-agreement", "1.5"]].concat(), &["--min-agreement"]);
    assert!(!out.exists());
}

#[test]
fn bad_data_files() {
    let folder = Folder::new("data");
    let plan = folder.plan();
    let x = folder.file("x.npy");
    let eval = |needles: &[&str]| bad(&["eval", text(&plan), "--input", text(&x)], needles);
    let write = |array: ArrayD<f32>| ndarray_npy::write_npy(&x, &array).unwrap();
    write(ArrayD::zeros(vec![2, 5]));
    eval(&["x.npy", "[2, 5]", "[samples, 4]"]);
    write(ArrayD::zeros(vec![0, 4]));
    eval(&["no sample"]);
    let mut poisoned = ArrayD::zeros(vec![3, 4]);
    poisoned[[1, 2]] = f32::NEG_INFINITY;
    write(poisoned);
    eval(&["sample 1", "element 2", "-inf"]);
    ndarray_npy::write_npy(&x, &Array2::<i64>::from_elem((2, 4), 16_777_217)).unwrap();
    eval(&["sample 0", "element 0", "16777217", "float32 does not hold"]);
    std::fs::write(&x, b"\x93NUMPY\x01\x00").unwrap();
    eval(&["x.npy"]);
    let whole = std::fs::read(folder.samples("whole.npy", 3)).unwrap();
    std::fs::write(&x, &whole[..whole.len() - 4]).unwrap();
    eval(&["x.npy", "truncated"]);
    // A promise of 12 TB.
    let promise = whole.iter().position(|byte| *byte == b'(').unwrap();
    let mut greedy = whole.clone();
    greedy[promise..promise + 20].copy_from_slice(b"(1000000000000, 4) }");
    std::fs::write(&x, &greedy).unwrap();
    eval(&["x.npy", "truncated", "1000000000000"]);

    let x = folder.samples("x.npy", 3);
    let y = folder.file("y.npy");
    let labelled = |needles: &[&str]| bad(&["eval", text(&plan), "--input", text(&x), "--labels", text(&y)], needles);
    ndarray_npy::write_npy(&y, &Array1::from(vec![0i64, 3, 1])).unwrap();
    labelled(&["label 3 of sample 1", "0..3"]);
    ndarray_npy::write_npy(&y, &Array1::from(vec![0i64, 1])).unwrap();
    labelled(&["3 samples"]);

    let bytes = std::fs::read(&plan).unwrap();
    let cut = folder.write("cut.bin", &bytes[..bytes.len() / 2]);
    bad(&["eval", text(&cut), "--input", text(&x)], &["cut.bin", "truncated"]);
    let mut newer = bytes;
    newer[8] = 99;
    bad(&["cost", text(&folder.write("newer.bin", &newer))], &["newer.bin", "version 99"]);
}

#[test]
fn bad_options() {
    let folder = Folder::new("options");
    let onnx = folder.model();
    let compile = |more: &[&str], needles: &[&str]| bad(&[&["compile", text(&onnx)], more].concat(), needles);
    compile(&["--arithmetic", "stochastic"], &["cannot be verified"]);
    compile(&["--reveal", "topk:0"], &["topk:K"]);
    compile(&["--reveal", "topk:500"], &["topk:500", "classes"]);
    compile(&["--queries", "0"], &["queries"]);
    compile(&["--accuracy", "1.5"], &["accuracy", "1.5"]);
    compile(&["--network", "mars"], &["mars"]);
    compile(&["--labels", "y.npy"], &["--calibrate"]);
    compile(&["-o", text(&folder.file("missing/plan.bin"))], &["missing"]);
    compile(&["--backend", "abacus"], &["cheetah"]);
    let client = folder.write("plan.client.bin", b"old");
    std::fs::create_dir(folder.file("plan.bin")).unwrap();
    compile(&["-o", text(&folder.file("plan.bin"))], &["plan.bin"]);
    assert_eq!(std::fs::read(client).unwrap(), b"old", "nothing is replaced unless everything is");
    bad(&["soundness", "--queries", "10", "--accuracy", "0.9", "--catch", "0.05"], &["0.05"]);
}

#[test]
fn soundness_says_what_a_batch_proves() {
    let json: serde_json::Value =
        serde_json::from_str(&good(&["soundness", "--queries", "1024", "--format", "json"])).unwrap();
    assert_eq!((json["copies"].as_u64(), json["tolerated"].as_u64()), (Some(5), Some(0)));
    assert!(json["lambda_bits"].as_f64().unwrap() >= 40.0);
    assert!(good(&["soundness", "--queries", "16384", "--catch", "0.1", "--accuracy", "0.95"]).contains("copies"));
}

#[test]
fn what_takes_too_much_memory_is_named_before_it_is_made() {
    let folder = Folder::new("memory");
    // 10^12 elements from a few bytes, whatever the limit; and 4,000 of them.
    let constant = |n: i64| {
        let nodes = [
            node("ConstantOfShape", "huge", &["n"], "c", &[]),
            node("ReduceSum", "all", &["c"], "s", &[int("keepdims", 0)]),
            node("Add", "added", &["x", "s"], "z", &[]),
            node("MatMul", "fc", &["z", "w"], "y", &[]),
        ];
        model(&[4], &nodes, &[integers("n", &[n]), tensor("w", &[4, 3], &numbers(12))])
    };
    let huge = folder.write("huge.onnx", &constant(1_000_000_000_000));
    for command in ["check", "compile"] {
        bad(&[command, text(&huge)], &["\"huge\"", "1000000000000 elements", "--max-memory 4GB"]);
    }
    let small = folder.write("small.onnx", &constant(4_000));
    let whole = ["check", text(&small), "--max-memory", "5MB"];
    assert!(good(&whole).contains("all supported"));
    bad(&["check", text(&small), "--max-memory", "30kB"], &["\"huge\"", "4000 elements", "--max-memory 30kB"]);
    // The input is one of them.
    bad(&["check", text(&small), "--max-memory", "80kB"], &["\"added\"", "2 layers", "--max-memory 80kB"]);
    bad(&["check", text(&small), "--max-memory", "100B"], &["small.onnx", "--max-memory 100B"]);
    bad(&["check", text(&small), "--max-memory", "plenty"], &["such as 4GB"]);

    let plan = folder.plan();
    let (known, samples) = (folder.model(), folder.samples("x.npy", 300));
    let eval = ["eval", text(&plan), "--input", text(&samples)];
    good(&[&eval[..], &["--max-memory", "1MB"]].concat());
    bad(&[&eval[..], &["--max-memory", "9kB"]].concat(), &["x.npy", "--max-memory 9kB"]);
    let compile = ["compile", text(&known), "--calibrate", text(&samples), "-o", text(&plan), "--max-memory"];
    bad(&[&compile[..], &["1B"]].concat(), &["model.onnx", "--max-memory 1B"]);

    // A stored tensor that says it is large is not believed; neither is a network whose values are.
    let stored = tensor("w", &[1 << 40, 3], &[0.0; 12]);
    let nodes = [node("MatMul", "fc", &["x", "w"], "y", &[])];
    let stored = folder.write("stored.onnx", &model(&[4], &nodes, &[stored]));
    bad(&["check", text(&stored)], &["\"w\"", "--max-memory 4GB"]);
    let wide = [
        node("Expand", "wide", &["x", "e"], "z", &[]),
        node("ReduceSum", "sum", &["z", "a"], "y", &[int("keepdims", 0)]),
    ];
    let wide = model(&[4, 1], &wide, &[integers("e", &[1, 4, 100_000]), integers("a", &[2])]);
    let wide = folder.write("wide.onnx", &wide);
    bad(&["check", text(&wide), "--max-memory", "4MB"], &["\"sum\"", "--max-memory 4MB"]);
}

#[test]
fn a_batch_of_several_samples_is_one_if_its_rows_are_independent() {
    let folder = Folder::new("batch");
    let weights = [tensor("w", &[4, 3], &numbers(12)), integers("flat", &[2, 4])];
    let samples = folder.samples("c.npy", 40);
    let of_two = |nodes: &[Vec<u8>], stored: &[Vec<u8>]| batched(2, &[("x", &[4])], &["y"], 13, nodes, stored);
    let product = |x: &str| node("MatMul", "fc", &[x, "w"], "y", &[]);
    let compile = |name: &str, bytes: &[u8]| {
        let path = folder.write(name, bytes);
        fusionc(&["compile", text(&path), "--calibrate", text(&samples), "-o", text(&folder.file("p.bin"))])
    };
    let refused = |output: &Output, needles: &[&str]| {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        needles.iter().for_each(|needle| assert!(message.contains(needle), "no {needle:?} in {message}"));
    };
    let apart = compile("apart.onnx", &of_two(&[product("x")], &weights[..1]));
    assert_eq!(apart.status.code(), Some(0), "{}", String::from_utf8_lossy(&apart.stderr));
    // What is added is the maximum of both samples; of one, it is the sample itself.
    let mixed = [
        node("ReduceMax", "both", &["x"], "m", &[ints("axes", &[0])]),
        node("Add", "mixed", &["x", "m"], "z", &[]),
        product("z"),
    ];
    let mixed = compile("mixed.onnx", &of_two(&mixed, &weights[..1]));
    refused(&mixed, &["input \"x\"", "fixed to 2", "depends on the others"]);
    // The survey says the same.
    let apart = good(&["check", text(&folder.file("apart.onnx"))]);
    assert!(apart.contains("batch axis is fixed to 2") && apart.contains("all supported"), "{apart}");
    bad(&["check", text(&folder.file("mixed.onnx"))], &["input \"x\"", "fixed to 2", "depends on the others"]);
    // A shape inside that is made for two samples.
    let shaped = [node("Reshape", "shaped", &["x", "flat"], "z", &[]), product("z")];
    let shaped = compile("shaped.onnx", &of_two(&shaped, &[weights[0].clone(), weights[1].clone()]));
    refused(&shaped, &["\"shaped\"", "input \"x\"", "fixed to 2"]);
}
