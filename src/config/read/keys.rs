//! Every key that `greenroom` accepts: the one table that reading, the sample file and the documentation are held to.

use crate::config::mistake::Mistakes;
use crate::config::yaml::{Node, Value};

/// A key under `greenroom`.
pub(in crate::config) struct Key {
    /// Its path below `greenroom`; `[]` is any element, `<...>` any name.
    pub(in crate::config) path: &'static str,
    /// Its default, as the documentation writes it.
    #[cfg_attr(not(test), allow(dead_code, reason = "only the tests of the documentation read it"))]
    pub(in crate::config) default: &'static str,
    /// Whether it is a limit, which can change while greenroom runs.
    pub(in crate::config) is_limit: bool,
}

const fn key(path: &'static str, default: &'static str) -> Key {
    Key { path, default, is_limit: false }
}

const fn limit(path: &'static str, default: &'static str) -> Key {
    Key { path, default, is_limit: true }
}

/// The table. The keys of `pool` serve `plugin.<id>.pool` and `database.<name>.pool` as well, and so do those of
/// `passwordCommand`.
pub(in crate::config) const KEYS: &[Key] = &[
    key("listen", "127.0.0.1:6432"),
    key("listen[].host", "127.0.0.1"),
    key("listen[].port", "6432"),
    key("listen[].socket", "none"),
    key("listen[].auth", "scram-sha-256"),
    key("http", "127.0.0.1:9632"),
    key("http.host", "127.0.0.1"),
    key("http.port", "9632"),
    key("division", "backend.database.pluginDivisionMode, else database"),
    key("extensionsSchema", "none"),
    limit("maxServerConnections", "12"),
    limit("reservedConnections", "2"),
    limit("maxParallelConnects", "4"),
    key("replicas", "1"),
    key("pool", ""),
    limit("pool.min", "knexConfig.pool.min, else 0"),
    limit("pool.max", "knexConfig.pool.max, else 10"),
    limit("pool.acquireTimeoutMillis", "25000"),
    limit("pool.createTimeoutMillis", "knexConfig.pool, else 30000"),
    limit("pool.destroyTimeoutMillis", "knexConfig.pool, else 5000"),
    limit("pool.idleTimeoutMillis", "knexConfig.pool, else 30000"),
    limit("pool.reapIntervalMillis", "knexConfig.pool, else 1000"),
    limit("pool.createRetryIntervalMillis", "knexConfig.pool, else 200"),
    limit("pool.propagateCreateError", "knexConfig.pool, else true"),
    limit("pool.maxConnectionLifetimeMillis", "3600000"),
    limit("pool.mode", "transaction"),
    key("clientPassword", "the connection's password"),
    key("passwordCommand", "none"),
    key("passwordCommand.command", "required"),
    key("passwordCommand.timeoutMillis", "10000"),
    key("passwordCommand.validForMillis", "900000"),
    key("passwordCommand.refreshBeforeMillis", "60000"),
    key("plugin", "none"),
    key("plugin.<id>", ""),
    key("plugin.<id>.division", "division"),
    key("plugin.<id>.extensionsSchema", "extensionsSchema"),
    limit("plugin.<id>.weight", "1"),
    key("plugin.<id>.pool", "pool"),
    key("plugin.<id>.clientPassword", "the connection's own password, else clientPassword"),
    key("plugin.<id>.passwordCommand", "none with a password of the connection's own, else passwordCommand"),
    key("database", "none"),
    key("database.<name>", ""),
    key("database.<name>.connection", "backend.database.connection"),
    key("database.<name>.pool", "pool"),
    key("database.<name>.clientPassword", "the connection's own password, else clientPassword"),
    key("database.<name>.passwordCommand", "none with a password of the connection's own, else passwordCommand"),
    key("unknownDatabases", "refuse"),
    key("threads", "1"),
    key("timeouts", ""),
    limit("timeouts.loginMillis", "15000"),
    limit("timeouts.idleInTransactionMillis", "300000"),
    limit("timeouts.transactionMillis", "0"),
    limit("timeouts.idleClientMillis", "0"),
    limit("timeouts.clientWriteMillis", "60000"),
    limit("timeouts.pinIdleMillis", "0"),
    limit("shutdownGraceMillis", "30000"),
    key("log", ""),
    key("log.format", "text"),
    limit("log.level", "info"),
    key("metrics", ""),
    key("metrics.maxPlugins", "50"),
];

/// Whether a key below `greenroom` is a limit.
pub(in crate::config) fn is_limit(path: &[&str]) -> bool {
    let path = match path {
        ["plugin" | "database", _, "pool", key] => format!("pool.{key}"),
        ["plugin", _, key] => format!("plugin.<id>.{key}"),
        path => path.join("."),
    };
    KEYS.iter().any(|key| key.is_limit && key.path == path)
}

/// Notes every key under `greenroom` that is not in the table.
pub(super) fn check(greenroom: &Node, mistakes: &Mistakes) {
    below(greenroom, "", mistakes);
}

fn below(node: &Node, path: &str, mistakes: &Mistakes) {
    match &node.value {
        Value::Map(map) => {
            let names = children(path);
            for (name, child) in map {
                match names.iter().find(|known| *known == name || known.starts_with('<')) {
                    Some(known) => below(child, &join(path, known), mistakes),
                    // Nothing below this key is greenroom's: the connection of a database has Backstage's own shape.
                    None if names.is_empty() => {}
                    None => mistakes.add(&child.origin, unknown(name, &names)),
                }
            }
        }
        Value::List(list) => list.iter().for_each(|element| below(element, &format!("{path}[]"), mistakes)),
        _ => {}
    }
}

/// The names that may stand directly below `path`.
fn children(path: &str) -> Vec<&'static str> {
    let path = match path.rsplit_once(">.") {
        Some((_, shared @ ("pool" | "passwordCommand"))) => shared,
        _ => path,
    };
    KEYS.iter()
        .filter_map(|key| match path {
            "" => Some(key.path),
            _ => key.path.strip_prefix(path)?.strip_prefix('.'),
        })
        .filter(|rest| !rest.contains(['.', '[']))
        .collect()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown(name: &str, names: &[&str]) -> String {
    match nearest(name, names) {
        Some(near) => format!("unknown key, did you mean {near}?"),
        None => format!("unknown key, expected one of {}", names.join(", ")),
    }
}

/// The name that `name` was probably meant to be.
pub(super) fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let (distance, near) = names.iter().map(|known| (distance(name, known), *known)).min()?;
    (distance <= 1 + name.len().min(near.len()) / 3).then_some(near)
}

/// Levenshtein's distance, blind to case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["idleTimeoutMillis", "max", "min", "maxConnectionLifetimeMillis"];
        assert_eq!(nearest("idleTimeoutMilis", &names), Some("idleTimeoutMillis"));
        assert_eq!(nearest("maks", &names), Some("max"));
        assert_eq!(nearest("MAX", &names), Some("max"));
        assert_eq!(nearest("colour", &names), None);
    }

    #[test]
    fn every_key_has_its_parents_in_the_table() {
        for key in KEYS {
            let parent = key.path.rsplit_once('.').map_or("", |(parent, _)| parent.trim_end_matches("[]"));
            assert!(parent.is_empty() || KEYS.iter().any(|other| other.path == parent), "{}", key.path);
        }
    }
}
