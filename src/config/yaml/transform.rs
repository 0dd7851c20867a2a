//! Substitution and includes over a whole file: `${VAR}`, `$env`, `$file` and `$include`.

use std::path::{Path, PathBuf};

use super::node::{Map, Node, Origin, Source, Value, parse_any, parse_json};
use super::substitution::{Substituted, substitute, trim, trim_end};
use super::wanted::Wanted;
use crate::config::Environment;
use crate::config::mistake::Mistakes;
use crate::config::seen::Reads;

/// How deep files may include files; a file that includes itself ends here.
const MAX_INCLUDES: usize = 16;

/// The keys that make a mapping an include; any other key that begins with a dollar is a key like others.
const INCLUDES: [&str; 3] = ["$file", "$env", "$include"];

/// Turns what a file says into what it means.
pub(in crate::config) struct Transform<'a> {
    /// Where variables come from.
    pub(in crate::config) environment: &'a Environment,
    /// How files are read.
    pub(in crate::config) reads: &'a Reads,
    /// Where mistakes go.
    pub(in crate::config) mistakes: &'a Mistakes,
}

/// Where an include is looked for.
#[derive(Clone)]
struct Place {
    directory: PathBuf,
    depth: usize,
}

impl Transform<'_> {
    /// Transforms a file's content, as far as it is wanted; includes are relative to `directory`.
    pub(in crate::config) fn file(&self, root: Node, directory: &Path) -> Node {
        let origin = root.origin.clone();
        let place = Place { directory: directory.to_owned(), depth: 0 };
        self.apply(root, &place, Wanted::ROOT).unwrap_or(Node { value: Value::Map(Map::new()), origin })
    }

    /// `None` is "undefined": the key or element goes away.
    fn apply(&self, node: Node, place: &Place, wanted: Wanted) -> Option<Node> {
        match &node.value {
            Value::Text(text) => {
                let text = self.substitute(text, &node.origin)?;
                Some(node.text_here(text))
            }
            Value::Map(map) => match INCLUDES.into_iter().find(|key| map.contains_key(*key)) {
                Some(key) => {
                    let (node, place) = self.include(key, map, &node, place)?;
                    // Like Backstage: an included mapping is no include itself, but what is below it may be.
                    Some(self.apply_below(node, &place, wanted))
                }
                None => Some(self.apply_below(node, place, wanted)),
            },
            _ => Some(self.apply_below(node, place, wanted)),
        }
    }

    fn apply_below(&self, node: Node, place: &Place, wanted: Wanted) -> Node {
        let value = match node.value {
            Value::List(list) => {
                Value::List(list.into_iter().filter_map(|node| self.apply(node, place, Wanted::All)).collect())
            }
            Value::Map(map) => {
                let applied = map.into_iter().filter_map(|(key, node)| {
                    let node = self.apply(node, place, wanted.below(&key)?)?;
                    Some((key, node))
                });
                Value::Map(applied.collect())
            }
            other => other,
        };
        Node { value, origin: node.origin }
    }

    fn substitute(&self, text: &str, origin: &Origin) -> Option<String> {
        match substitute(text, self.environment) {
            Substituted::Text(text) => Some(text),
            Substituted::Unset(variable) => {
                self.mistakes.note_unset(origin, variable);
                None
            }
        }
    }

    /// Follows `$env`, `$file` or `$include`. `None` is "undefined".
    fn include(&self, key: &str, map: &Map, node: &Node, place: &Place) -> Option<(Node, Place)> {
        let broken = |place: &Place| Some((Node { value: Value::Broken, origin: node.origin.clone() }, place.clone()));
        if map.len() != 1 {
            self.mistakes.add(&node.origin, format!("{key} has other keys beside it; it must stand alone"));
            return broken(place);
        }
        let Some(Value::Text(argument)) = map.get(key).map(|node| &node.value) else {
            self.mistakes.add(&node.origin, format!("{key} expects text"));
            return broken(place);
        };
        let argument = match substitute(argument, self.environment) {
            Substituted::Text(argument) => argument,
            Substituted::Unset(variable) => {
                self.mistakes.add(&node.origin, format!("{key} needs the variable {variable}, which is not set"));
                return broken(place);
            }
        };
        let outcome = match key {
            "$env" => match self.environment.get(&argument) {
                Some(value) => Ok((node.text_here(trim(value)), place.clone())),
                None => {
                    self.mistakes.note_unset(&node.origin, argument);
                    return None;
                }
            },
            "$file" => {
                let file = place.directory.join(&argument);
                self.read(&file).map(|text| {
                    let origin = node.origin.with_text_of(file);
                    (Node { value: Value::Text(trim_end(&text).to_owned()), origin }, place.clone())
                })
            }
            _ => match self.included(&argument, place) {
                Ok(None) => return None,
                // Text out of another file has its variables filled in, unlike that of $env and $file.
                Ok(Some((found, place))) => match &found.value {
                    Value::Text(text) => Ok((found.text_here(self.substitute(text, &found.origin)?), place)),
                    _ => Ok((found, place)),
                },
                Err(problem) => Err(problem),
            },
        };
        match outcome {
            Ok(found) => Some(found),
            Err(problem) => {
                self.mistakes.add(&node.origin, problem);
                broken(place)
            }
        }
    }

    /// What `file.yaml#a.b` leads to; `None` when the file has nothing at that path.
    fn included(&self, argument: &str, place: &Place) -> Result<Option<(Node, Place)>, String> {
        let (file, below) = argument.split_once('#').unwrap_or((argument, ""));
        let path = place.directory.join(file);
        let is_json = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => false,
            Some("json") => true,
            _ => return Err(format!("$include of {file}: expected a .yaml, .yml or .json file")),
        };
        if place.depth == MAX_INCLUDES {
            return Err(format!("$include of {file}: more than {MAX_INCLUDES} files deep; does it include itself?"));
        }
        let source = Source::new(path.display().to_string(), &self.read(&path)?);
        let parsed = match is_json {
            true => parse_json(&source.text, Origin::root(source.clone())).map_err(|error| format!("JSON: {error}")),
            false => parse_any(source).map_err(|error| format!("YAML: {error}")),
        };
        let mut node = parsed.map_err(|error| format!("$include of {file}: not valid {error}"))?;
        for key in below.split('.').filter(|_| !below.is_empty()) {
            let Value::Map(mut map) = node.value else {
                let at =
                    Some(node.origin.dotted()).filter(|path| !path.is_empty()).unwrap_or("the whole file".to_owned());
                return Err(format!("$include of {argument}: {at} is not a mapping"));
            };
            match map.remove(key) {
                Some(found) => node = found,
                None => return Ok(None),
            }
        }
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Some((node, Place { directory, depth: place.depth + 1 })))
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        self.reads.read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    }
}
