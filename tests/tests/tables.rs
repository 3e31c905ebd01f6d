//! Tables in and out of both programs: the walk-through of docs/tabular.md, and what is refused.

use std::path::{Path, PathBuf};

use fusion_tests::desk::Desk;
use fusion_tests::party::{Server, client};
use fusion_tests::{arg, cut, root};
use serde_json::Value;

fn example(name: &str) -> PathBuf {
    root().join("models/breast_cancer").join(name)
}

/// The commands of a section of docs/tabular.md, in order.
fn commands(section: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/tabular.md")).unwrap();
    let section = text.split("\n## ").find(|part| part.starts_with(section)).expect("the section is there");
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(String::from).collect()
}

/// A command as it runs on a desk: with the paths of this workspace.
fn here(command: &str) -> String {
    command.replace("models/", &format!("{}/models/", arg(&root())))
}

/// Runs a section's commands as they are there but for the port: the client's report.
fn walk(desk: &Desk, section: &str, agreement: &str) -> Value {
    let commands = commands(section);
    let [compile, eval, server, client] = &commands[..] else { panic!("{commands:?}") };
    let said = desk.succeed(&here(compile));
    assert!(said.contains(agreement), "{said}");
    desk.succeed(&here(eval));

    let listen = "fusion-run plan.bin --role server --listen 127.0.0.1:7000";
    assert_eq!(server, listen);
    let server = Server::start(&desk.path("plan.bin"), &[]);
    let ended = desk.run(&(here(&client.replace("127.0.0.1:7000", &server.address)) + " --report r.json"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let (code, error) = server.finish();
    assert_eq!(code, Some(0), "{error}");

    let report: Value = desk.json("r.json");
    assert_eq!((&report["verdict"]["accepted"], &report["verdict"]["verified"]), (&true.into(), &true.into()));
    for direction in ["client_to_server", "server_to_client"] {
        assert_eq!(report["bytes"][direction], report["predicted"][direction], "{direction}");
    }
    // The reference's to the byte.
    assert_eq!(desk.read("results.csv"), desk.read("expected.csv"));
    report
}

#[test]
fn the_walk_through_gives_verified_predictions() {
    let desk = Desk::bare();
    let agreement = "agreement 284 of 284 calibration samples";
    let report = walk(&desk, "From a csv to a verified private prediction", agreement);
    assert_eq!(report["batch"]["queries"], 64);
    // The labels are scikit-learn's own.
    let results = desk.read("results.csv");
    assert_eq!(results, std::fs::read(example("answers.csv")).unwrap());
    let text = String::from_utf8(results).unwrap();
    let shown: Vec<&str> = text.lines().take(3).collect();
    let page = std::fs::read_to_string(root().join("docs/tabular.md")).unwrap();
    assert!(page.contains(&format!("    {}", shown.join("\n    "))), "docs/tabular.md shows other rows than {shown:?}");
}

#[test]
fn trees_answer_a_verified_batch_of_256_rows() {
    let desk = Desk::bare();
    let report = walk(&desk, "The same with trees", "accuracy  216 of 256 calibration samples");
    // XGBoost's own answers; numbers as the page says them.
    assert_eq!(desk.read("results.csv"), std::fs::read(root().join("models/income/answers.csv")).unwrap());
    let count = |name: &str| report["batch"][name].as_u64().unwrap();
    assert_eq!(["queries", "copies", "public", "positions"].map(count), [256, 6, 383, 1919]);
}

/// Two processes on a data frame with two columns of text, which the client encodes: verified, and
/// onnxruntime's label for every row.
#[test]
fn columns_of_categories_are_asked_about_as_they_are() {
    let fixture = |name: &str| root().join("tests/fixtures/exports").join(name);
    let labels: Vec<i64> = fusion_tests::load::<i64>(&fixture("one_hot_text.y.npy")).iter().copied().collect();
    let text = std::fs::read_to_string(fixture("one_hot_text.x.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    assert!(rows.len() == labels.len() && rows.iter().any(|row| row.contains("Atlantis")));
    let (queries, public) = rows.split_at(64);
    for flag in ["", "--public-prefix"] {
        let desk = Desk::bare();
        let table = |column: &str, rows: &[&str], cells: &[i64]| {
            let rows = rows.iter().zip(cells).map(|(row, cell)| format!("{row},{cell}\n"));
            format!("{header},{column}\n{}", rows.collect::<String>())
        };
        let ids: Vec<i64> = (0..64).map(|row| 1000 + row).collect();
        desk.write("queries.csv", table("person", queries, &ids).as_bytes());
        desk.write("public.csv", table("ill", public, &labels[64..]).as_bytes());
        let [model, calibrate] = ["one_hot_text.onnx", "one_hot_text.x.csv"].map(fixture);
        desk.succeed(&format!("fusionc compile {} --calibrate {} {flag} -o plan.bin", arg(&model), arg(&calibrate)));
        let server = Server::start(&desk.path("plan.bin"), &[]);
        let ask = "fusion-run plan.client.bin --role client --input queries.csv --id person --public-inputs public.csv \
                   --public-labels public.csv:ill -o results.csv --report r.json";
        let ended = desk.run(&format!("{ask} --connect {}", server.address));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let (code, error) = server.finish();
        assert_eq!(code, Some(0), "{error}");
        let report: Value = desk.json("r.json");
        assert_eq!((&report["verdict"]["accepted"], &report["verdict"]["verified"]), (&true.into(), &true.into()));
        let results = String::from_utf8(desk.read("results.csv")).unwrap();
        let expected = ids.iter().zip(&labels).map(|(id, label)| format!("{id},{label}\n")).collect::<String>();
        assert_eq!(results, format!("person,label\n{expected}"), "{flag}");
    }
}

/// Two processes on texts as the numbers of their words: onnxruntime's labels. A number that is no
/// word is refused before anything is sent.
#[test]
fn numbers_of_words_are_asked_about_as_they_are() {
    let fixture = |name: &str| root().join("tests/fixtures/tokens").join(name);
    let scores = fusion_tests::load::<f32>(&fixture("bert.y.npy"));
    let label = |row: usize| (0..3).max_by(|a, b| scores[[row, *a]].total_cmp(&scores[[row, *b]])).unwrap();
    let desk = Desk::bare();
    let [model, calibrate, expected] = ["bert.onnx", "bert.x.npy", "bert.y.npy"].map(fixture);
    let files = format!("{} --calibrate {} --expected {}", arg(&model), arg(&calibrate), arg(&expected));
    desk.succeed(&format!("fusionc compile {files} --no-verify -o plan.bin"));
    cut::<i64>(&calibrate, 0..4, &desk.path("x.npy"));
    let mut wrong = fusion_tests::load::<i64>(&desk.path("x.npy"));
    wrong[[2, 3]] = 61;
    desk.write_array("wrong.npy", &wrong);
    let server = Server::start(&desk.path("plan.bin"), &[]);
    let ask = |input: &str| {
        let client = "fusion-run plan.client.bin --role client --no-verify -o results.csv";
        format!("{client} --connect {} --input {input}", server.address)
    };
    desk.refuse(2, &ask("wrong.npy"), &["wrong.npy: sample 2, element 3: \"61\" is no category"]);
    let ended = desk.run(&ask("x.npy"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let labels: String = (0..4).map(|row| format!("{row},{}\n", label(row))).collect();
    assert_eq!(String::from_utf8(desk.read("results.csv")).unwrap(), format!("index,label\n{labels}"));
}

fn compiled() -> Desk {
    let desk = Desk::bare();
    desk.succeed(&here(&commands("From a csv to a verified private prediction")[0]));
    desk
}

#[test]
fn results_are_the_same_from_and_in_every_kind_of_file() {
    let desk = compiled();
    let eval = |more: &str| desk.succeed(&format!("fusionc eval plan.bin {more}"));
    let queries = example("queries.csv");
    eval(&format!("--input {} --id patient --logits -o a.parquet", arg(&queries)));
    eval(&format!("--input {} --id patient --logits -o a.csv", arg(&queries)));
    // A table of results is a table: what one has as text the other has as numbers.
    let [csv, parquet] = ["a.csv", "a.parquet"].map(|name| fusion_table::File::open(&desk.path(name)).unwrap());
    let rows = |file: &fusion_table::File| {
        let table = file.table().unwrap();
        let row = |row| table.columns.iter().map(|column| column.written(row)).collect::<Vec<_>>();
        (table.names(), (0..table.rows).map(row).collect::<Vec<_>>())
    };
    assert_eq!(rows(&csv), rows(&parquet));
    assert_eq!(rows(&csv).0, ["patient", "label", "logit_0", "logit_1"]);

    eval(&format!("--input {} -o b.npy", arg(&queries)));
    let labels = fusion_tests::load::<i64>(&desk.path("b.npy"));
    let names = rows(&csv).1.into_iter().map(|row| i64::from(row[1] == "benign"));
    assert!(labels.iter().copied().eq(names), "{labels}");
    let refused = desk.run(&format!("fusionc eval plan.bin --input {} --id patient -o c.npy", arg(&queries)));
    assert!(refused.code == 2 && refused.err.contains("no place for identifiers"), "{}", refused.err);
    assert!(!desk.path("c.npy").exists());
}

#[test]
fn what_a_table_lacks_is_said_before_anything_is_sent() {
    let desk = compiled();
    let queries = std::fs::read_to_string(example("queries.csv")).unwrap();
    let plan = desk.path("plan.client.bin");
    // Nobody listens there: only what is refused beforehand can have another exit code than 4.
    let run = |input: &str, more: &[&str]| {
        desk.write("x.csv", input.as_bytes());
        let input = desk.path("x.csv");
        let fixed = ["--timeout", "1", "--no-verify", "--input", arg(&input), "-o", "out.csv"];
        let ended = client(&plan, "127.0.0.1:1", &[&fixed[..], more].concat());
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, said) = run(&queries, &["--id", "patient"]);
    assert_eq!(code, Some(4), "{said}");
    let (code, said) = run(&queries, &[]);
    assert!(code == Some(4) && said.contains("ignored: \"patient\""), "{said}");
    for (input, more, why) in [
        (queries.replace("mean radius", "radius"), vec![], "the columns \"mean radius\" are missing"),
        (queries.replacen(",0.", ",,0.", 1), vec![], "not a readable csv file: line 2 has 32 cells"),
        (queries.replacen("P-6563,", "P-6563,big", 1), vec![], "row 0 (line 2), column \"mean radius\": \"big"),
        (queries.clone(), vec!["--id", "name"], "no column \"name\""),
        (queries.replacen("P-6563", "", 1), vec!["--id", "patient"], "row 0 has nothing in column \"patient\""),
    ] {
        let (code, said) = run(&input, &more);
        let named = said.contains(arg(&desk.path("x.csv")));
        assert!(code == Some(2) && named && said.contains(why), "{why}: {code:?} {said}");
    }
    let labels = format!("{}:patient", arg(&example("queries.csv")));
    let public = example("queries.csv");
    let more = ["--public-inputs", arg(&public), "--public-labels", &labels];
    let ended = client(&plan, "127.0.0.1:1", &[&["--input", arg(&public)][..], &more].concat());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("\"P-6563\" is no label: the classes are \"malignant\", \"benign\""), "{said}");
    assert!(!Path::new("out.csv").exists());
}
