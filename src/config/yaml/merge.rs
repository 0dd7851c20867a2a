//! How a later value covers an earlier one.

use super::node::{Map, Node, Value};

/// Lays a later file over the earlier ones, by Backstage's rule: objects key by key, lists and scalars replace, and a
/// null takes the key away together with everything that earlier files put below it.
pub(in crate::config) fn merge_files(earlier: Node, later: Node) -> Node {
    match (earlier, later) {
        (Node { value: Value::Map(mut map), origin }, Node { value: Value::Map(over), .. }) => {
            for (key, node) in over {
                match (map.remove(&key), node) {
                    (_, Node { value: Value::Null, .. }) => {}
                    (Some(below), node) => drop(map.insert(key, merge_files(below, node))),
                    (None, node) => drop(map.insert(key, node)),
                }
            }
            Node { value: Value::Map(map), origin }
        }
        (_, later) => later,
    }
}

/// Lays a plugin's object over the base one, as Backstage does with lodash's `merge`: mappings key by key, lists element by
/// element, everything else replaces.
pub(in crate::config) fn merge_objects(base: &Map, over: &Map) -> Map {
    let mut merged = base.clone();
    for (key, node) in over {
        let node = match base.get(key) {
            Some(below) => merge_values(below, node),
            None => node.clone(),
        };
        merged.insert(key.clone(), node);
    }
    merged
}

fn merge_values(base: &Node, over: &Node) -> Node {
    let value = match (&base.value, &over.value) {
        (Value::Map(base), Value::Map(over)) => Value::Map(merge_objects(base, over)),
        (Value::List(base), Value::List(over)) => {
            let both = base.iter().zip(over).map(|(base, over)| merge_values(base, over));
            let rest = if over.len() < base.len() { &base[over.len()..] } else { &over[base.len()..] };
            Value::List(both.chain(rest.iter().cloned()).collect())
        }
        (_, over) => over.clone(),
    };
    Node { value, origin: over.origin.clone() }
}
