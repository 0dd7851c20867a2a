//! `APP_CONFIG_*`: settings out of the environment, which lie over those of all files.

use super::node::{Map, Node, Origin, Source, Value, parse_json};
use super::wanted::Wanted;
use crate::config::Environment;
use crate::config::mistake::Mistakes;

const PREFIX: &str = "APP_CONFIG_";

/// What the environment sets of what greenroom reads. `APP_CONFIG_backend_database_client=pg` is `backend.database.client`;
/// a value is JSON if it can be, else text. Nothing is substituted in it, and an empty one is ignored.
///
/// Backstage takes the variables in the order in which its process has them. Here they are sorted, so that a shorter path
/// comes first and a longer one adds to it.
pub(in crate::config) fn from_environment(environment: &Environment, mistakes: &Mistakes) -> Node {
    let source = Source::new("environment".to_owned(), "");
    let mut root = Node { value: Value::Map(Map::new()), origin: Origin::root(source) };
    let ours = environment.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
    for (name, value) in ours {
        let source = Source::new(name.clone(), "");
        let origin = Origin::root(source);
        if let Err(problem) = set(&mut root, &name[PREFIX.len()..], value, &origin) {
            mistakes.add(&origin, problem);
        }
    }
    Wanted::ROOT.filter(root)
}

fn set(root: &mut Node, path: &str, value: &str, origin: &Origin) -> Result<(), String> {
    let parts: Vec<&str> = path.split('_').collect();
    let mut wanted = Wanted::ROOT;
    for part in &parts {
        match wanted.below(part) {
            Some(below) => wanted = below,
            None => return Ok(()),
        }
    }
    if let Some(part) = parts.iter().find(|part| !is_key(part)) {
        return Err(format!(
            "{part:?} is no key; expected a letter, then letters and digits with single - or : between them (_ parts \
             keys, so one that contains it cannot be set this way)"
        ));
    }
    let whole = parts.iter().fold(origin.clone(), |origin, part| origin.key(part));
    let value = parse_json(value, whole.clone())
        .unwrap_or_else(|_| Node { value: Value::Text(value.to_owned()), origin: whole });
    if matches!(value.value, Value::Null) {
        return Err("may not be null; a key can only be taken away in a file".to_owned());
    }
    let (last, above) = parts.split_last().ok_or("names no key")?;
    let (mut node, mut origin) = (root, origin.clone());
    for (index, part) in above.iter().enumerate() {
        let Value::Map(map) = &mut node.value else { return Err(scalar_above(&above[..index])) };
        origin = origin.key(part);
        let empty = || Node { value: Value::Map(Map::new()), origin: origin.clone() };
        node = map.entry((*part).to_owned()).or_insert_with(empty);
        if matches!(node.value, Value::Null) {
            *node = empty();
        }
    }
    let Value::Map(map) = &mut node.value else { return Err(scalar_above(above)) };
    if let Some(earlier) = map.get(*last) {
        return Err(format!("is set by {} already; take one of the two out", earlier.origin.file()));
    }
    map.insert((*last).to_owned(), value);
    Ok(())
}

fn scalar_above(path: &[&str]) -> String {
    format!("cannot stand below {PREFIX}{}, which is no mapping; take one of the two out", path.join("_"))
}

/// Backstage's pattern of a key: `^[a-z][a-z0-9]*(?:[-_:][a-z0-9]+)*$`, in either case.
fn is_key(part: &str) -> bool {
    part.starts_with(|first: char| first.is_ascii_alphabetic())
        && part.split(['-', ':']).all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
