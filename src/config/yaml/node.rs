//! A value of a configuration file and where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_yaml::Number;

use super::locate::line_of;

/// A file's name and text.
#[derive(Debug)]
pub(in crate::config) struct Source {
    /// The name as the operator gave it.
    pub(in crate::config) name: String,
    /// What was in it.
    pub(in crate::config) text: String,
}

/// One part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum Step {
    /// A mapping's key.
    Key(String),
    /// A list's element.
    Index(usize),
}

/// Where a value was written: a path in a file.
#[derive(Debug, Clone)]
pub(in crate::config) struct Origin {
    source: Arc<Source>,
    path: Vec<Step>,
    /// The file whose text the value is, by `$file`.
    text_file: Option<Arc<Path>>,
}

impl Source {
    /// A file's name and text; a byte order mark is no part of it.
    pub(in crate::config) fn new(name: String, text: &str) -> Arc<Self> {
        Arc::new(Self { name, text: text.strip_prefix('\u{feff}').unwrap_or(text).to_owned() })
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.path == other.path
    }
}

impl Origin {
    /// The whole of a file.
    pub(in crate::config) fn root(source: Arc<Source>) -> Self {
        Self { source, path: Vec::new(), text_file: None }
    }

    /// The same place; what stands there is the text of `file`, by `$file`.
    pub(in crate::config) fn with_text_of(&self, file: PathBuf) -> Self {
        Self { text_file: Some(file.into()), ..self.clone() }
    }

    /// The file whose text stands here, if it does so by `$file`.
    pub(in crate::config) fn text_file(&self) -> Option<&Arc<Path>> {
        self.text_file.as_ref()
    }

    /// The place of `key` in the mapping that is here, whether it is written or not.
    pub(in crate::config) fn key(&self, key: &str) -> Self {
        self.child(Step::Key(key.to_owned()))
    }

    /// The place of a list's element.
    pub(in crate::config) fn index(&self, index: usize) -> Self {
        self.child(Step::Index(index))
    }

    /// The file's name.
    pub(in crate::config) fn file(&self) -> &str {
        &self.source.name
    }

    /// The line, counted from 1; that of the nearest part above when this is not written anywhere. What comes out of no file
    /// has none.
    pub(in crate::config) fn line(&self) -> Option<usize> {
        Some(&self.source.text).filter(|text| !text.is_empty()).and_then(|text| line_of(text, &self.path))
    }

    /// The path as people write it: `greenroom.listen[1].port`.
    pub(in crate::config) fn dotted(&self) -> String {
        let mut dotted = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if dotted.is_empty() => dotted.push_str(key),
                Step::Key(key) => dotted.extend([".", key]),
                Step::Index(index) => dotted.push_str(&format!("[{index}]")),
            }
        }
        dotted
    }

    /// What is written here, before anything is filled in; `None` where nothing is.
    pub(in crate::config) fn written(&self) -> Option<Node> {
        let whole = parse(self.source.clone()).ok()?;
        self.path.iter().try_fold(whole, |node, step| match (node.value, step) {
            (Value::Map(mut map), Step::Key(key)) => map.remove(key),
            (Value::List(mut list), Step::Index(index)) => (*index < list.len()).then(|| list.swap_remove(*index)),
            _ => None,
        })
    }

    fn child(&self, step: Step) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { source: self.source.clone(), path, text_file: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            Some(line) => write!(f, "{}:{line}: {}", self.file(), self.dotted()),
            None => write!(f, "{}: {}", self.file(), self.dotted()),
        }
    }
}

/// A mapping, by key.
pub(in crate::config) type Map = BTreeMap<String, Node>;

/// What a value is.
#[derive(Debug, Clone)]
pub(in crate::config) enum Value {
    /// Nothing: as good as absent.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as YAML understood it.
    Number(Number),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
    /// Something that could not be read; a mistake about it is noted already, so nobody complains again.
    Broken,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(in crate::config) struct Node {
    /// The value.
    pub(in crate::config) value: Value,
    /// Its place.
    pub(in crate::config) origin: Origin,
}

impl Node {
    /// A mapping's entries.
    pub(in crate::config) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Whether this tree has a value where `origin` is, whichever file it came from.
    pub(in crate::config) fn has(&self, origin: &Origin) -> bool {
        let found = origin.path.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Map(map), Step::Key(key)) => map.get(key),
            (Value::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        });
        found.is_some()
    }

    /// The value without the nulls in its mappings, which are as good as absent once all files are merged.
    pub(in crate::config) fn without_nulls(self) -> Self {
        let value = match self.value {
            Value::Map(map) => {
                let kept = map.into_iter().filter(|(_, node)| !matches!(node.value, Value::Null));
                Value::Map(kept.map(|(key, node)| (key, node.without_nulls())).collect())
            }
            other => other,
        };
        Self { value, origin: self.origin }
    }

    /// A text that stands where this value stands.
    pub(in crate::config) fn text_here(&self, text: impl Into<String>) -> Self {
        self.value_here(Value::Text(text.into()))
    }

    /// A value that stands where this value stands, and is not the whole text of a file.
    pub(in crate::config) fn value_here(&self, value: Value) -> Self {
        Self { value, origin: Origin { text_file: None, ..self.origin.clone() } }
    }
}

/// Reads a file's text. An empty file is an empty mapping.
pub(in crate::config) fn parse(source: Arc<Source>) -> Result<Node, serde_yaml::Error> {
    let Node { value, origin } = parse_any(source)?;
    let value = if matches!(value, Value::Null) { Value::Map(Map::new()) } else { value };
    Ok(Node { value, origin })
}

/// Reads YAML text, whatever is in it.
pub(super) fn parse_any(source: Arc<Source>) -> Result<Node, serde_yaml::Error> {
    let value: serde_yaml::Value = serde_yaml::from_str(&source.text)?;
    Ok(node(value, Origin::root(source)))
}

/// Reads JSON text as JavaScript does: not all of it is YAML, and the last one of equal keys counts.
pub(super) fn parse_json(text: &str, origin: Origin) -> Result<Node, serde_json::Error> {
    Ok(json(serde_json::from_str(text)?, origin))
}

fn json(value: serde_json::Value, origin: Origin) -> Node {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => Value::Number(match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into(),
        }),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(list) => Value::List(
            list.into_iter().enumerate().map(|(index, element)| json(element, origin.index(index))).collect(),
        ),
        serde_json::Value::Object(map) => Value::Map(
            map.into_iter()
                .map(|(key, value)| {
                    let origin = origin.key(&key);
                    (key, json(value, origin))
                })
                .collect(),
        ),
    };
    Node { value, origin }
}

fn node(value: serde_yaml::Value, origin: Origin) -> Node {
    let value = match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(flag) => Value::Bool(flag),
        serde_yaml::Value::Number(number) => Value::Number(number),
        serde_yaml::Value::String(text) => Value::Text(text),
        serde_yaml::Value::Sequence(list) => Value::List(
            list.into_iter().enumerate().map(|(index, element)| node(element, origin.index(index))).collect(),
        ),
        serde_yaml::Value::Mapping(map) => Value::Map(
            map.into_iter()
                .map(|(key, value)| {
                    let key = key_text(key);
                    let origin = origin.key(&key);
                    (key, node(value, origin))
                })
                .collect(),
        ),
        // Backstage's schema knows no tags; the value is what stands behind one.
        serde_yaml::Value::Tagged(tagged) => return node(tagged.value, origin),
    };
    Node { value, origin }
}

/// A key as JavaScript would spell it: keys of its objects are strings.
fn key_text(key: serde_yaml::Value) -> String {
    match key {
        serde_yaml::Value::String(text) => text,
        serde_yaml::Value::Bool(flag) => flag.to_string(),
        serde_yaml::Value::Number(number) => number.to_string(),
        serde_yaml::Value::Tagged(tagged) => key_text(tagged.value),
        serde_yaml::Value::Null => String::new(),
        other => serde_yaml::to_string(&other).map(|text| text.trim_end().to_owned()).unwrap_or_default(),
    }
}
