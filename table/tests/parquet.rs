//! Parquet files that pyarrow wrote, read; and what is written, read again.

use std::path::{Path, PathBuf};

use fusion_table::{Cells, Classes, File, Kind, Results, Table, Values, Wanted, labels, samples};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn table(file: &File) -> &Table {
    file.table().expect("it is a table")
}

#[test]
fn every_type_of_number_and_text_is_read_and_others_are_passed_over() {
    let file = File::open(&fixture("types.parquet")).unwrap();
    let cells = |name: &str| &table(&file).column(name).unwrap().cells;
    assert_eq!(*cells("i8"), Cells::Integers(vec![Some(-1), Some(5), None]));
    assert_eq!(*cells("u32"), Cells::Integers(vec![Some(4_000_000_000), Some(0), Some(1)]));
    assert_eq!(*cells("i64"), Cells::Integers(vec![Some(842_302), None, Some(-(1 << 62))]));
    assert_eq!(*cells("bool"), Cells::Integers(vec![Some(1), Some(0), None]));
    let Cells::Reals(singles) = cells("f32") else { panic!("{:?}", cells("f32")) };
    assert!(singles[0] == f64::from(0.1f32) && singles[1].is_nan() && singles[2].is_nan());
    assert_eq!(*cells("f64"), Cells::Reals(vec![1e-3, 2.5, -7.0]));
    for (name, expected) in [("text", ["M", "", ""]), ("category", ["B", "M", "B"])] {
        let Cells::Text(text) = cells(name) else { panic!("{:?}", cells(name)) };
        assert_eq!([0, 1, 2].map(|row| text.get(row)), expected);
    }
    for name in ["date", "when", "price", "list.list.element"] {
        assert!(matches!(cells(name), Cells::Other(_)), "{name}: {:?}", cells(name));
    }
    let columns = ["date".to_owned()];
    let wanted = Wanted { shape: &[1], columns: &columns, prefix: None, apart: &[], any: false };
    let error = samples(&file, wanted).unwrap_err().to_string();
    assert!(error.starts_with("row 0, column \"date\": \"INT32 DATE\" is no number"), "{error}");
}

#[test]
fn compressed_columns_are_the_same_and_what_cannot_be_read_is_named() {
    let columns = ["b", "a"].map(String::from);
    let wanted = Wanted { shape: &[2], columns: &columns, prefix: None, apart: &[], any: false };
    for codec in ["none", "snappy", "gzip", "lz4"] {
        let file = File::open(&fixture(&format!("{codec}.parquet"))).unwrap();
        let found = samples(&file, wanted).unwrap();
        for (x, row) in found.rows().enumerate() {
            assert_eq!(row, [(x % 7) as f32, x as f32], "{codec}");
        }
        assert_eq!(found.rows().len(), 100);
    }
    let error = File::open(&fixture("zstd.parquet")).unwrap_err().to_string();
    assert!(error.contains("column \"a\" is compressed by ZSTD") && error.contains("snappy, gzip, lz4"), "{error}");
}

#[test]
fn damage_is_an_error() {
    let whole = std::fs::read(fixture("snappy.parquet")).unwrap();
    for end in (0..whole.len()).step_by(7) {
        assert!(File::of(Kind::Parquet, whole[..end].to_vec()).is_err(), "{end}");
    }
    // What a flipped bit makes of numbers cannot be told; that nothing worse happens can.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        let _ = File::of(Kind::Parquet, bytes);
    }
}

#[test]
fn results_are_read_again_from_every_kind_of_file() {
    let names = ["no", "yes"].map(String::from);
    let logits = [vec![0.5, -1.25], vec![0.0, 1e-3]];
    let identifiers = Values::Integers(vec![842_302, 7]);
    let classes = Classes { count: 2, names: &names };
    let results = Results::new(Some(("patient", identifiers)), vec![vec![0], vec![1]], 1, classes, Some(&logits));
    for kind in [Kind::Csv, Kind::Parquet] {
        let file = File::of(kind, results.to_bytes(kind).unwrap()).unwrap();
        let table = table(&file);
        assert_eq!(table.names(), ["patient", "label", "logit_0", "logit_1"]);
        let row = |row: usize| table.columns.iter().map(|column| column.written(row)).collect::<Vec<_>>();
        assert_eq!([row(0), row(1)], [["842302", "no", "0.5", "-1.25"], ["7", "yes", "0", "0.001"]]);
    }
    // Classes that are called numbers are written as those, and read again.
    let years = ["1", "2", "7"].map(String::from);
    let classes = Classes { count: 3, names: &years };
    let called = Results::new(None, vec![vec![2], vec![0]], 1, classes, None);
    assert_eq!(called.to_csv().unwrap(), "index,label\n0,7\n1,1\n");
    for kind in [Kind::Csv, Kind::Parquet, Kind::Npy] {
        let file = File::of(kind, called.to_bytes(kind).unwrap()).unwrap();
        assert_eq!(labels(&file, None, [2, 1], "rows", classes).unwrap(), [[2], [0]], "{kind:?}");
    }
    let labels = Results::new(None, vec![vec![3, 1], vec![0, 2]], 2, Classes { count: 4, names: &[] }, None);
    let bytes = labels.to_bytes(Kind::Npy).unwrap();
    let npy = fusion_ir::npy::Npy::parse(&bytes).unwrap();
    assert_eq!((npy.shape(), npy.integers().unwrap()), (&[2, 2][..], vec![3, 1, 0, 2]));
    assert_eq!(bytes.len() % 64, 32);
}
