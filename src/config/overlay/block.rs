//! YAML with comments, written so that every parser reads the same: what could be taken for something else is quoted.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

/// A mapping under way.
#[derive(Debug, Default)]
pub(super) struct Block {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Comment(String),
    /// Key and value; the value is YAML already.
    Entry(String, String),
    Block(String, Block),
}

impl Block {
    /// Adds a comment of one line, or more.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Comment(text.into()));
    }

    /// Adds a text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.lines.push(Line::Entry(scalar(key), scalar(value)));
    }

    /// Adds what needs no quotes: a number, `true` or `false`.
    pub(super) fn plain(&mut self, key: &str, value: impl fmt::Display) {
        self.lines.push(Line::Entry(scalar(key), value.to_string()));
    }

    /// Adds a mapping, if there is something in it.
    pub(super) fn block(&mut self, key: &str, block: Block) {
        if !block.lines.is_empty() {
            self.lines.push(Line::Block(scalar(key), block));
        }
    }

    /// Whether there is nothing but comments in it.
    pub(super) fn says_nothing(&self) -> bool {
        self.lines.iter().all(|line| match line {
            Line::Comment(_) => true,
            Line::Entry(..) => false,
            Line::Block(_, block) => block.says_nothing(),
        })
    }

    fn write(&self, indent: usize, out: &mut String) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Comment(text) => {
                    for text in text.split('\n') {
                        let text: String = text.chars().filter(|character| !character.is_control()).collect();
                        writeln!(out, "{:indent$}# {text}", "")?;
                    }
                }
                Line::Entry(key, value) => writeln!(out, "{:indent$}{key}: {value}", "")?,
                // A mapping of comments alone would be a null, which takes away what lies below it.
                Line::Block(_, block) if block.says_nothing() => block.write(indent, out)?,
                Line::Block(key, block) => {
                    writeln!(out, "{:indent$}{key}:", "")?;
                    block.write(indent + 2, out)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(0, &mut out)?;
        f.write_str(&out)
    }
}

/// A text as YAML: plain where it cannot be anything else, in single quotes, or as JSON writes it, which is YAML as well.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    match text.contains(char::is_control) {
        true => serde_json::Value::from(text).to_string(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

fn is_plain(text: &str) -> bool {
    let word =
        matches!(&*text.to_ascii_lowercase(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '$'));
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%?&=${}".contains(&byte);
    text.parse::<Ipv4Addr>().is_ok() || (!word && begins && text.bytes().all(inside) && !text.ends_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_back_as_it_was() {
        let texts = [
            "",
            "a",
            "no",
            "Null",
            "~",
            "12",
            "0o7",
            "1e3",
            "012",
            "a: b",
            "a #b",
            "#",
            "- a",
            "it's",
            "a:",
            "*a",
            "&a",
            "${POSTGRES_USER}",
            "postgresql://${U}:${P}@127.0.0.1:6432/db?sslmode=disable",
            "{a}",
            "[a]",
            " a",
            "a ",
            "a\nb",
            "tab\t",
            "\u{1b}",
            "%a",
            "@a",
            "!a",
            "ä",
            "2001-01-01",
            "::1",
            "127.0.0.1",
            "1.5",
            "a, b",
            "\"q\"",
            "\\",
        ];
        for text in texts {
            let mut block = Block::default();
            block.text(if text.is_empty() { "k" } else { text }, text);
            let read: std::collections::BTreeMap<String, String> = serde_yaml::from_str(&block.to_string()).unwrap();
            assert_eq!(read.into_values().collect::<Vec<_>>(), [text], "{block}");
        }
    }

    #[test]
    fn comments_stay_comments_and_never_make_a_null() {
        let (mut outer, mut inner) = (Block::default(), Block::default());
        inner.comment("one\ntwo\u{1b}[2J");
        outer.block("gone", inner);
        outer.plain("port", 6432);
        assert_eq!(outer.to_string(), "# one\n# two[2J\nport: 6432\n");
    }
}
