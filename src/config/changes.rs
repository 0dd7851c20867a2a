//! What differs between the configuration in force and what its files say now, by key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::read::keys;
use super::yaml::{Node, Value};
use super::{Config, Written};

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Limits, which can change while greenroom runs: each key with what it was and what it is.
    pub limits: Vec<String>,
    /// The keys of everything else.
    pub others: Vec<String>,
}

/// The keys of passwords: one that stands in a file is read again whenever it is needed.
const PASSWORDS: [&str; 2] = ["password", "clientPassword"];

/// A single value of the files, by the keys that lead to it.
type Leaves = BTreeMap<Vec<String>, Leaf>;

/// What a value says, and the file that it stands in by `$file`.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    text: String,
    file: Option<Arc<Path>>,
}

impl Changes {
    /// What is new beside the limits that are in force, and beside everything else that greenroom was started with.
    pub fn between(in_force: &Written, started: (&Config, &Written), now: (&Config, &Written)) -> Self {
        let (in_force, now_written) = (leaves(in_force), leaves(now.1));
        let changed = differing(&in_force, &now_written).into_iter().filter(|path| is_limit(path));
        let limits = changed
            .map(|path| format!("{}: {} -> {}", dotted(path), said(&in_force, path), said(&now_written, path)))
            .collect();
        if started.0.differs_in_limits_alone(now.0) {
            return Self { limits, others: Vec::new() };
        }
        let started = leaves(started.1);
        let changed = differing(&started, &now_written).into_iter().filter(|path| !is_limit(path));
        let mut others: Vec<String> = changed.map(|path| dotted(path)).collect();
        if others.is_empty() {
            // It is in the text of a certificate that a connection string names.
            others.push("backend.database".to_owned());
        }
        Self { limits, others }
    }
}

/// The paths at which the two differ.
fn differing<'l>(one: &'l Leaves, other: &'l Leaves) -> BTreeSet<&'l Vec<String>> {
    let differs = |path: &&'l Vec<String>| match (one.get(*path), other.get(*path)) {
        (Some(one), Some(other)) if one.file.is_some() && one.file == other.file => {
            one.text != other.text && !path.last().is_some_and(|key| PASSWORDS.contains(&&**key))
        }
        (one, other) => one != other,
    };
    one.keys().chain(other.keys()).filter(differs).collect()
}

/// Whether a limit of greenroom's pools is written there, be it by Backstage's rules.
fn is_limit(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["greenroom", below @ ..] => keys::is_limit(below),
        ["backend", "database", "plugin", _, below @ ..] | ["backend", "database", below @ ..] => {
            matches!(below, ["knexConfig", "pool", _] | ["pool", _])
        }
        _ => false,
    }
}

fn said<'l>(leaves: &'l Leaves, path: &[String]) -> &'l str {
    leaves.get(path).map_or("unset", |leaf| &leaf.text)
}

fn dotted(path: &[String]) -> String {
    path.join(".").replace(".[", "[")
}

fn leaves(written: &Written) -> Leaves {
    let mut leaves = Leaves::new();
    collect(written.root(), &mut Vec::new(), &mut leaves);
    leaves
}

fn collect(node: &Node, path: &mut Vec<String>, leaves: &mut Leaves) {
    let mut below = |key: String, node: &Node| {
        path.push(key);
        collect(node, path, leaves);
        path.pop();
    };
    let text = match &node.value {
        Value::Map(map) if !map.is_empty() => return map.iter().for_each(|(key, node)| below(key.clone(), node)),
        Value::List(list) if !list.is_empty() => {
            return list.iter().enumerate().for_each(|(index, node)| below(format!("[{index}]"), node));
        }
        Value::Map(_) => "{}".to_owned(),
        Value::List(_) => "[]".to_owned(),
        Value::Null | Value::Broken => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    leaves.insert(path.clone(), Leaf { text, file: node.origin.text_file().cloned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(database: &str, greenroom: &str) -> (Config, Written) {
        let text = format!(
            "backend:\n  database:\n    client: pg\n    connection: {{ host: db, user: u, password: geheim, database: d }}\n\
             {database}greenroom:\n  division: schema\n{greenroom}"
        );
        Config::parse_as_written(&text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// What changes from nothing particular.
    fn changes(database: &str, greenroom: &str) -> Changes {
        let ((config, written), (now, now_written)) = (read("", ""), read(database, greenroom));
        Changes::between(&written, (&config, &written), (&now, &now_written))
    }

    #[test]
    fn limits_are_told_with_what_they_were_and_are() {
        let greenroom = "  maxServerConnections: 5\n  plugin: { catalog: { weight: 2, pool: { max: 3 } } }\n  \
                         timeouts: { transactionMillis: 7 }\n  log: { level: debug }\n";
        let found = changes("    plugin: { auth: { knexConfig: { pool: { min: 1 } } } }\n", greenroom);
        let expected = [
            "backend.database.plugin.auth.knexConfig.pool.min: unset -> 1",
            "greenroom.log.level: unset -> debug",
            "greenroom.maxServerConnections: unset -> 5",
            "greenroom.plugin.catalog.pool.max: unset -> 3",
            "greenroom.plugin.catalog.weight: unset -> 2",
            "greenroom.timeouts.transactionMillis: unset -> 7",
        ];
        assert_eq!((found.limits, found.others), (expected.map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn everything_else_is_told_by_its_key_and_never_with_its_value() {
        let greenroom = "  listen: [{ host: 127.0.0.1, port: 7000 }]\n  clientPassword: geheimer\n  pool: { max: 3 }\n";
        let found = changes("    schemaPrefix: x_\n    plugin: { auth: { connection: { host: far } } }\n", greenroom);
        let expected = [
            "backend.database.plugin.auth.connection.host",
            "backend.database.schemaPrefix",
            "greenroom.clientPassword",
            "greenroom.listen[0].host",
            "greenroom.listen[0].port",
        ];
        assert_eq!(found.others, expected);
        assert_eq!(found.limits, ["greenroom.pool.max: unset -> 3"]);
    }

    #[test]
    fn what_means_the_same_or_nothing_is_no_change() {
        let database = "    knexConfig: { debug: true }\n    ensureExists: true\n";
        assert_eq!(changes(database, "  plugin: { catalog: {} }\n  replicas: 3\n"), Changes::default());
    }

    #[test]
    fn a_password_in_a_file_may_change_and_a_certificate_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let config = "backend: { database: { client: pg, connection: { host: db, user: u, password: { $file: p }, \
                      ssl: { ca: { $file: ca } } } } }";
        put("c.yaml", config);
        let load = || Config::load_as_written(&[dir.path().join("c.yaml")], &Default::default()).unwrap();
        put("p", "one");
        put("ca", "-----BEGIN a");
        let (config, written) = load();
        put("p", "two");
        let found = |(now, now_written): (Config, Written)| {
            Changes::between(&written, (&config, &written), (&now, &now_written))
        };
        assert_eq!(found(load()), Changes::default());
        put("ca", "-----BEGIN b");
        assert_eq!(found(load()).others, ["backend.database.connection.ssl.ca"]);
    }

    #[test]
    fn a_certificate_that_a_connection_string_names_is_seen_to_change() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let text = format!(
            "backend: {{ database: {{ client: pg, connection: 'postgresql://u:p@db/d?sslrootcert={}' }} }}",
            ca.display()
        );
        let load = |pem: &str| {
            std::fs::write(&ca, pem).unwrap();
            Config::parse_as_written(&text).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let ((config, written), (now, now_written)) = (load("-----BEGIN a"), load("-----BEGIN b"));
        let found = Changes::between(&written, (&config, &written), (&now, &now_written));
        assert_eq!(found.others, ["backend.database"]);
    }
}
