use std::collections::BTreeMap;

use super::*;

#[test]
fn names_are_text_and_no_markup() {
    assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    let hostile = "<script>\"&";
    let mut table = Table::new(hostile, Width::Whole, &[Column::Words("what"), Column::Picture]);
    let bar = Cell::bar(Kind::Up, 1.0, 1.0, hostile.into());
    let kinds = [Cell::Text, Cell::Code, Cell::Status, Cell::Number, Cell::Head].map(|kind| kind(hostile.into()));
    table.row(&kinds);
    table.named(hostile, &[bar, Cell::Links(vec![hostile.into()])]);
    let mut page = Page::new(hostile);
    page.heading("plain", hostile, &[hostile.into()]);
    page.section(hostile);
    page.note(hostile);
    page.figures(&[(hostile, hostile.into())]);
    page.table(table);
    page.text(hostile, hostile);
    let page = page.finish();
    assert!(!page.contains("<script") && page.matches("&lt;script&gt;&quot;&amp;").count() >= 18, "{page}");
}

#[test]
fn powers_are_written_as_powers() {
    assert_eq!(exponent("excluded but for 2^-40.1"), "excluded but for 2<sup>-40.1</sup>");
    assert_eq!(exponent("excluded"), "excluded");
}

#[test]
fn numbers_have_units() {
    assert_eq!([0.0000021, 0.0123, 12.345].map(seconds), ["2 us", "12.3 ms", "12.35 s"]);
    assert_eq!([900.0, 50_400.0].map(seconds), ["15.0 min", "14.0 h"]);
    assert_eq!([999, 1500, 2_340_000, 12_340_000_000].map(bytes), ["999 B", "1.5 kB", "2.3 MB", "12.3 GB"]);
}

#[test]
fn bars_are_as_long_as_their_parts() {
    let width = |value, most| Cell::bar(Kind::Time, value, most, "x".into()).finish();
    assert!(width(2.0, 1.0).contains("width:6.00rem"));
    assert!(width(1.0, 4.0).contains("width:1.50rem"));
    assert!(width(1.0, 1e9).contains("width:0.00rem"));
    assert!(!width(0.0, 0.0).contains("<i"));
}

#[test]
fn a_page_is_one_file_that_asks_for_nothing() {
    let page = Page::new("x").finish();
    for word in ["<script", "http", "url(", "@import", "src="] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
}

/// Relative luminance of `#rrggbb` (WCAG 2.2).
fn luminance(colour: &str) -> f64 {
    let linear = |at: usize| {
        let part = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5)
}

/// The colours that a rule names.
fn colours(rule: &str) -> BTreeMap<&str, &str> {
    let pairs = rule.split([';', '{', '}']).filter_map(|part| part.trim().strip_prefix("--")?.split_once(": "));
    pairs.filter(|(_, colour)| colour.starts_with('#')).collect()
}

#[test]
fn colours_can_be_told_from_their_ground_in_both_schemes() {
    assert!((luminance("#ffffff") - 1.0).abs() < 1e-9 && luminance("#000000") == 0.0);
    let style = include_str!("page.css");
    let (light, rest) = style.split_once("@media screen and (prefers-color-scheme: dark)").unwrap();
    let dark = rest.split_once("* { box-sizing").unwrap().0;
    for colours in [colours(light), colours(dark)] {
        assert_eq!(colours.len(), 11, "{colours:?}");
        for ground in ["ground", "card"] {
            for name in ["ink", "faint", "time", "up", "down", "good", "bad", "doubt"] {
                let (one, other) = (luminance(colours[name]), luminance(colours[ground]));
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= 4.5, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}
