//! The format of filetests. What is expected stands in comments: below the line that it is about,
//! or, if it is about the function, below its last line.
//!
//! ```text
//! ; test interp seed=3          verify | interp | run | pass NAME | select, and its arguments
//! ; Comments before a function are the author's.
//! function "..."
//! v0 = input : i8.0~6[2] by local "x"
//! ; value: [3, -4]
//! v1 = relu v0 : i8.0~6+[2] by cheetah "r"
//! ; value: [3, 0]
//!
//! ; A blank line ends a function; another one may follow.
//! ```
//!
//! All comments between `function` and the blank line or end are expectations, and all of them are
//! written anew from what comes out. So the file is right exactly if that changes nothing: nothing
//! that is expected can be passed over.

use std::collections::BTreeMap;

/// What one function gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// About lines of the function's text, counted from 0.
    pub lines: BTreeMap<usize, Vec<String>>,
    /// About the function.
    pub whole: Vec<String>,
}

/// A test line: the command, and its arguments.
pub struct Test<'t> {
    pub command: &'t str,
    pub arguments: Vec<&'t str>,
}

/// The file with what comes out of its functions in the place of what is expected.
///
/// # Errors
/// If it is no filetest, or a function of it cannot be run.
pub fn rewritten(content: &str, run: impl Fn(&Test<'_>, &str) -> Result<Found, String>) -> Result<String, String> {
    let mut tests = content.lines().filter_map(|line| line.strip_prefix("; test "));
    let mut words = tests.next().ok_or("no `; test` line")?.split_whitespace();
    if tests.next().is_some() {
        return Err("two `; test` lines".into());
    }
    let command = words.next().ok_or("an empty `; test` line")?;
    let test = Test { command, arguments: words.collect() };
    let mut text = String::new();
    let mut functions = 0;
    let mut lines = content.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if !line.starts_with("function ") {
            if is_expectation(line) {
                return Err(format!("line {}: an expectation outside of a function: {line}", at + 1));
            }
            text.push_str(line);
            text.push('\n');
            continue;
        }
        let mut function = vec![line];
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
            function.extend((!line.trim_start().starts_with(';')).then_some(line));
        }
        functions += 1;
        let found = run(&test, &function.join("\n")).map_err(|why| format!("line {}: {why}", at + 1))?;
        for (index, line) in function.iter().enumerate() {
            let notes = found.lines.get(&index).into_iter().flatten();
            let notes = notes.map(|note| format!("; {note}").trim_end().to_owned());
            std::iter::once((*line).to_owned()).chain(notes).for_each(|line| text.push_str(&(line + "\n")));
        }
        found.whole.iter().for_each(|note| text.push_str(&(format!("; {note}").trim_end().to_owned() + "\n")));
    }
    if functions == 0 { Err("no function".into()) } else { Ok(text) }
}

/// Whether a comment is written like an expectation.
fn is_expectation(line: &str) -> bool {
    let word = line.strip_prefix("; ").and_then(|rest| rest.split_once(':')).map_or("", |(word, _)| word);
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())
}

/// The first lines in which a file differs from what came out.
pub fn difference(expected: &str, found: &str) -> String {
    const SHOWN: usize = 12;
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let shown =
        |lines: &[&str]| lines[same..].iter().take(SHOWN).map(|line| format!("\n    {line}")).collect::<String>();
    format!("line {}: expected{}\n  found{}", same + 1, shown(&expected), shown(&found))
}
