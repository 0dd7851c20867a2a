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

/// Lays a plugin's object over the base one, as Backstage does with lodash's `merge`: mappings key by key, everything
/// else replaces.
pub(in crate::config) fn merge_objects(base: &Map, over: &Map) -> Map {
    let mut merged = base.clone();
    for (key, node) in over {
        let node = match (base.get(key).and_then(Node::as_map), node.as_map()) {
            (Some(below), Some(map)) => {
                Node { value: Value::Map(merge_objects(below, map)), origin: node.origin.clone() }
            }
            _ => node.clone(),
        };
        merged.insert(key.clone(), node);
    }
    merged
}
