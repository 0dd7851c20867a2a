//! What greenroom reads of Backstage's files: the secrets of Backstage's other parts are none of its business, and a
//! sidecar may well lack the files that they are kept in.

use super::node::{Node, Value};

/// What is wanted of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    All,
    /// Of these keys, what is wanted of each.
    Only(&'static [(&'static str, Wanted)]),
}

impl Wanted {
    /// What is wanted of a file: `backend.database` and `greenroom`.
    pub(super) const ROOT: Self =
        Self::Only(&[("backend", Self::Only(&[("database", Self::All)])), ("greenroom", Self::All)]);

    /// What is wanted of the value of `key`; `None` is nothing.
    pub(super) fn below(self, key: &str) -> Option<Self> {
        match self {
            Self::All => Some(Self::All),
            Self::Only(keys) => keys.iter().find(|(wanted, _)| *wanted == key).map(|(_, below)| *below),
        }
    }

    /// Takes out of a value what is not wanted.
    pub(super) fn filter(self, node: Node) -> Node {
        let Node { value: Value::Map(map), origin } = node else { return node };
        let kept = map.into_iter().filter_map(|(key, node)| {
            let node = self.below(&key)?.filter(node);
            Some((key, node))
        });
        Node { value: Value::Map(kept.collect()), origin }
    }
}
