//! Comments are narrow enough to be read beside something else. The width of code is rustfmt's.

use crate::{files, read};

/// Most columns of a line with nothing but a comment.
const COLUMNS: usize = 100;

#[test]
fn comments_have_at_most_100_columns() {
    let mut wide = Vec::new();
    for (extension, mark) in [("rs", "//"), ("sh", "#"), ("py", "#")] {
        for file in files(extension) {
            for (number, line) in (1..).zip(read(&file).lines()) {
                if line.trim_start().starts_with(mark) && line.chars().count() > COLUMNS {
                    wide.push(format!("{}:{number}", file.display()));
                }
            }
        }
    }
    let wide = wide.join("\n");
    assert!(wide.is_empty(), "python3 tests/wrap_comments.py wraps those of Rust files among these:\n{wide}");
}
