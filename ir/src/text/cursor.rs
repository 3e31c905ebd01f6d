//! A line of text, read from left to right.

use std::str::FromStr;

/// What was read, or what is wrong.
pub(super) type Parsed<T> = Result<T, String>;

pub(super) struct Cursor<'t> {
    pub rest: &'t str,
}

impl<'t> Cursor<'t> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    pub fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty() || self.rest.starts_with(';')
    }

    pub fn peek(&mut self, prefix: &str) -> bool {
        self.skip_space();
        self.rest.starts_with(prefix)
    }

    pub fn accept(&mut self, token: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.accept(token) { Ok(()) } else { Err(format!("expected {token:?} at {:?}", self.rest)) }
    }

    pub fn take(&mut self, part: impl Fn(char) -> bool) -> &'t str {
        self.skip_space();
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    pub fn word(&mut self) -> Parsed<&'t str> {
        match self.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            "" => Err(format!("expected a word at {:?}", self.rest)),
            word => Ok(word),
        }
    }

    pub fn number<T: FromStr>(&mut self) -> Parsed<T> {
        let digits = self.take(|c| c.is_ascii_digit() || c == '-');
        digits.parse().map_err(|_| format!("{digits:?} is not a number in range, before {:?}", self.rest))
    }

    pub fn id(&mut self, prefix: &str) -> Parsed<u32> {
        self.expect(prefix)?;
        self.number()
    }

    pub fn list(&mut self) -> Parsed<Vec<usize>> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.accept("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.number()?);
        }
        Ok(items)
    }

    pub fn attribute(&mut self) -> Parsed<String> {
        let text = if self.peek("[") {
            let end = self.rest.find(']').ok_or("a list without end")?;
            let (list, rest) = self.rest.split_at(end + 1);
            self.rest = rest;
            list
        } else {
            self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
        };
        Ok(text.to_owned())
    }

    pub fn quoted(&mut self) -> Parsed<String> {
        self.expect("\"")?;
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                '\\' if chars.as_str().starts_with("u{") => {
                    let (code, rest) = chars.as_str()[2..].split_once('}').ok_or("an escape without end")?;
                    let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
                    text.push(code.ok_or("an escape that is no character")?);
                    chars = rest.chars();
                }
                '\\' => text.extend(chars.next()),
                c => text.push(c),
            }
        }
        Err("a string without end".into())
    }
}
