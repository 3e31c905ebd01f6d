//! Pages for people: one file each, without scripts, for any browser and for paper.
//!
//! A [`Page`] is made of [figures](Page::figures) and [tables](Table). Every picture is beside the
//! numbers or names that it draws, so that nothing is lost to who does not see it:
//! [bars](Cell::Bar) in their cells, [wires](Wires) in their rows. Texts are escaped where they
//! become cells.

mod wires;

use std::fmt::Write;

pub use wires::Wires;

/// A page that is being written.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page, for a browser's list of pages to be called `title`.
    pub fn new(title: &str) -> Page {
        Page { title: escaped(title), body: String::new() }
    }

    /// What the page says first. `class` colours it: `accepted`, `rejected`, `unverified`, `plain`.
    pub fn heading(&mut self, class: &str, title: &str, paragraphs: &[String]) {
        let _ = writeln!(self.body, "<header class=\"verdict {class}\">\n<h1>{}</h1>", escaped(title));
        for text in paragraphs {
            let _ = writeln!(self.body, "<p>{}</p>", escaped(text));
        }
        self.body.push_str("</header>\n");
    }

    /// A new section.
    pub fn section(&mut self, heading: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(heading));
    }

    /// What is to be known about a section.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p class=\"faint\">{}</p>", escaped(text));
    }

    /// Named figures in boxes.
    pub fn figures(&mut self, figures: &[(&str, String)]) {
        self.body.push_str("<dl class=\"figures\">\n");
        for (name, value) in figures {
            let _ = writeln!(self.body, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
        }
        self.body.push_str("</dl>\n");
    }

    /// A table that is complete.
    pub fn table(&mut self, table: Table) {
        self.body.push_str(&table.finish());
    }

    /// Text in lines, to be opened by who wants it.
    pub fn text(&mut self, summary: &str, text: &str) {
        let (summary, text) = (escaped(summary), escaped(text));
        let _ = writeln!(
            self.body,
            "<details><summary>{summary}</summary>\n<pre tabindex=\"0\" role=\"region\" aria-label=\"{summary}\">{text}</pre></details>"
        );
    }

    /// The file.
    pub fn finish(self) -> String {
        let Page { title, body } = self;
        let style = include_str!("page.css");
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Fusion: {title}</title>\n<style>\n{style}</style>\n<main>\n{body}</main>\n</html>\n"
        )
    }
}

/// A table, row by row. Where it is too wide for its reader it scrolls by itself, by keys too.
#[derive(Clone, Debug)]
pub struct Table {
    text: String,
}

/// How a table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As wide as the page.
    Whole,
    /// As wide as its cells.
    Narrow,
}

/// What a column has, and is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Words, or bars with their numbers.
    Words(&'static str),
    /// Numbers.
    Numbers(&'static str),
    /// A picture of what other columns say in words.
    Picture,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// What a program calls something.
    Code(String),
    /// Words that stay on one line; `2^-40.0` is written as a power.
    Status(String),
    /// A number.
    Number(String),
    /// A number with its bar.
    Bar(Kind, Bar),
    /// The name of the row.
    Head(String),
    /// Other rows, by name.
    Links(Vec<String>),
    /// A picture of [`Wires`].
    Wires(String),
}

/// What a bar is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Time, or anything that is neither of the others.
    Time,
    /// Bytes to the server.
    Up,
    /// Bytes to the client.
    Down,
}

/// A bar and what is written beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// None where there is nothing to draw; what is too little to be seen is drawn as a line.
    permille: Option<u16>,
    text: String,
}

impl Cell {
    /// A bar of `value` where the longest is of `most`, with `text` beside it.
    pub fn bar(kind: Kind, value: f64, most: f64, text: String) -> Cell {
        let part = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
        Cell::Bar(kind, Bar { permille: (value > 0.0).then_some((1000.0 * part) as u16), text })
    }
}

impl Table {
    /// A table without rows, and without a head if there are no `columns`. `name` says what it is
    /// to who comes upon it.
    pub fn new(name: &str, width: Width, columns: &[Column]) -> Table {
        let class = if width == Width::Narrow { " class=\"narrow\"" } else { "" };
        let mut text = format!(
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table{class}>\n",
            escaped(name)
        );
        let head = |column: &Column| match column {
            Column::Words(name) => format!("<th scope=\"col\">{name}</th>"),
            Column::Numbers(name) => format!("<th scope=\"col\" class=\"number\">{name}</th>"),
            Column::Picture => "<td></td>".into(),
        };
        if !columns.is_empty() {
            let _ = writeln!(text, "<tr>{}</tr>", columns.iter().map(head).collect::<String>());
        }
        Table { text }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[Cell]) {
        self.add("", cells);
    }

    /// Adds the row that the page is about.
    pub fn this(&mut self, cells: &[Cell]) {
        self.add(" class=\"this\"", cells);
    }

    /// Adds a row that [links](Cell::Links) lead to.
    pub fn named(&mut self, name: &str, cells: &[Cell]) {
        self.add(&format!(" id=\"{}\"", escaped(name)), cells);
    }

    fn add(&mut self, attributes: &str, cells: &[Cell]) {
        let _ = write!(self.text, "<tr{attributes}>");
        cells.iter().for_each(|cell| self.text.push_str(&cell.finish()));
        self.text.push_str("</tr>\n");
    }

    fn finish(self) -> String {
        self.text + "</table></div>\n"
    }
}

impl Cell {
    fn finish(&self) -> String {
        match self {
            Cell::Text(text) => format!("<td>{}</td>", escaped(text)),
            Cell::Code(text) => format!("<td><code>{}</code></td>", escaped(text)),
            Cell::Status(text) => format!("<td class=\"status\">{}</td>", exponent(text)),
            Cell::Number(text) => format!("<td class=\"number\">{}</td>", escaped(text)),
            Cell::Head(text) => format!("<th scope=\"row\">{}</th>", escaped(text)),
            Cell::Links(names) => {
                let link = |name: &String| format!("<a href=\"#{0}\">{0}</a>", escaped(name));
                format!("<td class=\"links\">{}</td>", names.iter().map(link).collect::<Vec<_>>().join(" "))
            }
            Cell::Wires(svg) => format!("<td class=\"wires\">{svg}</td>"),
            Cell::Bar(kind, Bar { permille, text }) => {
                let class = match kind {
                    Kind::Time => "time",
                    Kind::Up => "up",
                    Kind::Down => "down",
                };
                let rem = permille.map(|permille| 6.0 * f64::from(permille) / 1000.0);
                let drawn = rem.map_or(String::new(), |rem| format!("<i style=\"width:{rem:.2}rem\"></i>"));
                format!("<td class=\"bar {class}\">{drawn}{}</td>", escaped(text))
            }
        }
    }
}

/// `0.0123` as `12.3 ms`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} us", 1e6 * s),
        s if s < 1.0 => format!("{:.1} ms", 1e3 * s),
        s if s < 600.0 => format!("{s:.2} s"),
        s if s < 36_000.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// `1234567` as `1.2 MB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        b if b < 1000 => format!("{b} B"),
        b if b < 1_000_000 => format!("{:.1} kB", b as f64 / 1e3),
        b if b < 10_000_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b => format!("{:.1} GB", b as f64 / 1e9),
    }
}

/// Text with `2^-40.0` as a power.
fn exponent(text: &str) -> String {
    match text.split_once("2^") {
        Some((before, power)) => format!("{}2<sup>{}</sup>", escaped(before), escaped(power)),
        None => escaped(text),
    }
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
