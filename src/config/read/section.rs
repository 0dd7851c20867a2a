//! Typed reads from one mapping. A read that fails notes the mistake and gives `None`, so that reading goes on.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::SecretText;
use crate::config::mistake::Mistakes;
use crate::config::yaml::{Map, Node, Origin, Value};

/// The longest time a setting may name: about 49 days, so that adding it to a clock can never overflow.
const MAX_MILLIS: u64 = u32::MAX as u64;

/// A mapping that is being read.
#[derive(Clone)]
pub(super) struct Section<'a> {
    map: Option<&'a Map>,
    origin: Origin,
    mistakes: &'a Mistakes,
}

impl<'a> Section<'a> {
    /// The mapping in `node`; an empty one, with a mistake noted, if it is something else.
    pub(super) fn of(node: &'a Node, mistakes: &'a Mistakes) -> Self {
        let section = Self { map: node.as_map(), origin: node.origin.clone(), mistakes };
        if section.map.is_none() && !matches!(node.value, Value::Null | Value::Broken) {
            mistakes.add(&node.origin, format!("found {}, expected a mapping", describe(node)));
        }
        section
    }

    /// A mapping that was put together from several.
    pub(super) fn merged(map: &'a Map, origin: Origin, mistakes: &'a Mistakes) -> Self {
        Self { map: Some(map), origin, mistakes }
    }

    /// The value of `key`; a null is as good as none.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.map?.get(key).filter(|node| !matches!(node.value, Value::Null))
    }

    /// Whether anything stands at `key`, readable or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether `key` says nothing: it is not there, or is empty text, which is as good as none for node-postgres.
    pub(super) fn is_blank(&self, key: &str) -> bool {
        self.get(key).is_none_or(|node| matches!(&node.value, Value::Text(text) if text.is_empty()))
    }

    /// The mapping at `key`; an empty one if there is none.
    pub(super) fn section(&self, key: &str) -> Section<'a> {
        match self.get(key) {
            Some(node) => Section::of(node, self.mistakes),
            None => Section { map: None, origin: self.origin.key(key), mistakes: self.mistakes },
        }
    }

    /// Every mapping in this mapping, by name.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a str, Section<'a>)> + use<'a> {
        let mistakes = self.mistakes;
        self.map.into_iter().flatten().map(move |(name, node)| (name.as_str(), Section::of(node, mistakes)))
    }

    /// The mapping itself.
    pub(super) fn map(&self) -> Option<&'a Map> {
        self.map
    }

    /// Where this mapping is written, or would be.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where the value of `key` is written, or would be.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.get(key).map_or_else(|| self.origin.key(key), |node| node.origin.clone())
    }

    /// Notes a mistake about `key`.
    pub(super) fn mistake(&self, key: &str, problem: impl Into<String>) {
        self.mistakes.add(&self.origin_of(key), problem);
    }

    /// Remarks on `key` what is no mistake, but probably not meant.
    pub(super) fn remark(&self, key: &str, remark: impl std::fmt::Display) {
        self.mistakes.remark(&self.origin_of(key), remark);
    }

    /// Notes what was found at `key` and what was expected there.
    pub(super) fn expected(&self, key: &str, expected: impl std::fmt::Display) {
        match self.get(key) {
            Some(Node { value: Value::Broken, .. }) => {}
            Some(node) => self.mistakes.add(&node.origin, format!("found {}, expected {expected}", describe(node))),
            None => self.missing(key, expected),
        }
    }

    /// Notes that `key` is missing.
    pub(super) fn missing(&self, key: &str, expected: impl std::fmt::Display) {
        self.mistakes.missing(&self.origin_of(key), format_args!(", expected {expected}"));
    }

    /// Text; an empty one is as good as none, as it is for node-postgres.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => {
                self.expected(key, "text (in quotes, if it looks like something else)");
                None
            }
        }
    }

    /// Text that must not be shown. `None` is one that cannot be read, `Some(None)` one that is not there.
    pub(super) fn secret(&self, key: &str) -> Option<Option<&'a str>> {
        match self.get(key).map(|node| &node.value) {
            None => Some(None),
            Some(Value::Text(text)) => Some(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(Value::Broken) => None,
            Some(_) => {
                self.mistake(key, "found something else (not shown), expected text; put it in quotes");
                None
            }
        }
    }

    /// The same, with the file that it stands in by `$file`. An empty file is none to begin with.
    pub(super) fn secret_text(&self, key: &str) -> Option<Option<SecretText>> {
        let text = self.secret(key)?;
        let file = self.get(key).and_then(|node| node.origin.text_file()).cloned();
        if let (None, Some(file)) = (text, &file) {
            self.mistake(key, format!("the file {} is empty, expected the password in it", file.display()));
            return None;
        }
        Some(text.map(|text| SecretText { text: text.into(), file }))
    }

    /// `true` or `false`, or the words for them that Backstage accepts.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let flag = match &self.get(key)?.value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => flag_word(&number.to_string()),
            Value::Text(text) => flag_word(text),
            _ => None,
        };
        if flag.is_none() {
            self.expected(key, "true or false");
        }
        flag
    }

    /// A whole number; a string of digits is one too, for substitution makes strings.
    pub(super) fn whole(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.get(key)?;
        let found = match &node.value {
            Value::Number(number) => number.as_u64().or_else(|| number.to_string().strip_suffix(".0")?.parse().ok()),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let found = found.filter(|number| range.contains(number));
        if found.is_none() {
            self.expected(key, whole_numbers(&range));
        }
        found
    }

    /// A TCP port.
    pub(super) fn port(&self, key: &str, least: u16) -> Option<u16> {
        self.whole(key, least.into()..=u16::MAX.into()).and_then(|port| port.try_into().ok())
    }

    /// A count that fits 32 bits.
    pub(super) fn count(&self, key: &str, least: u32) -> Option<u32> {
        self.whole(key, least.into()..=u32::MAX.into()).and_then(|count| count.try_into().ok())
    }

    /// A time in milliseconds, above 0.
    pub(super) fn millis(&self, key: &str) -> Option<Duration> {
        self.whole(key, 1..=MAX_MILLIS).map(Duration::from_millis)
    }

    /// A time in milliseconds, or 0 for "off".
    pub(super) fn millis_or_off(&self, key: &str) -> Option<Option<Duration>> {
        let millis = self.whole(key, 0..=MAX_MILLIS)?;
        Some(Some(Duration::from_millis(millis)).filter(|time| !time.is_zero()))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let chosen = match &node.value {
            Value::Text(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        if chosen.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.expected(key, words.join(" or "));
        }
        chosen.map(|(_, meaning)| *meaning)
    }
}

/// The words Backstage reads as booleans.
pub(super) fn flag_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "1" | "on" => Some(true),
        "n" | "no" | "false" | "0" | "off" => Some(false),
        _ => None,
    }
}

fn whole_numbers(range: &RangeInclusive<u64>) -> String {
    match (*range.start(), *range.end()) {
        (0, end) if end >= u32::MAX.into() => "a whole number, 0 or above".to_owned(),
        (1, end) if end >= u32::MAX.into() => "a whole number above 0".to_owned(),
        (start, end) => format!("a whole number from {start} to {end}"),
    }
}

/// What was found, short enough for a line.
fn describe(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) if text.chars().count() > 60 => {
            format!("{:?}...", text.chars().take(60).collect::<String>())
        }
        Value::Text(text) => format!("{text:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Broken => "something unreadable".to_owned(),
    }
}
