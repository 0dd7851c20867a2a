//! Promises about config/*.yaml and docs/configuration.md: they say what the code does, and nothing is left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{config, errors, with};
use crate::config::read::keys::{KEYS, Key};
use crate::config::yaml::{Node, Source, Value, parse};
use crate::config::{Config, Environment};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn environment() -> Environment {
    let names = [
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "REPORTS_PASSWORD",
        "CATALOG_CLIENT_PASSWORD",
        "REPORTS_CLIENT_PASSWORD",
        "GREENROOM_CLIENT_PASSWORD",
        "AWS_REGION",
    ];
    names.map(|name| (name.to_owned(), if name.ends_with("PORT") { "5432" } else { "x" }.to_owned())).into()
}

/// The sample with its commented-out settings taken in.
fn whole_sample() -> String {
    let lines = text("config/greenroom.yaml");
    let lines = lines.lines().map(|line| match line.trim_start().strip_prefix('#') {
        Some(setting) if setting.starts_with(|first: char| first.is_ascii_alphabetic() || first == '-') => {
            line.replacen('#', "", 1)
        }
        Some(setting) if setting.starts_with("  ") => line.replacen('#', "", 1),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path under a node, in the table's spelling.
fn paths(node: &Node, path: &str, found: &mut BTreeSet<String>) {
    match &node.value {
        Value::Map(map) => {
            for (name, child) in map {
                let name = match path {
                    "plugin" => "<id>",
                    "database" => "<name>",
                    _ => name.as_str(),
                };
                let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                found.insert(below.clone());
                paths(child, &below, found);
            }
        }
        Value::List(list) => list.iter().for_each(|element| paths(element, &format!("{path}[]"), found)),
        _ => {}
    }
}

#[test]
fn the_sample_has_every_setting_that_is_accepted() {
    let source = Source::new("sample".into(), &whole_sample());
    let root = parse(source).unwrap();
    let mut found = BTreeSet::new();
    paths(&root.as_map().unwrap()["greenroom"], "", &mut found);
    let missing: Vec<&str> = KEYS.iter().map(|key| key.path).filter(|path| !found.contains(*path)).collect();
    assert!(missing.is_empty(), "not in config/greenroom.yaml: {missing:?}");
}

#[test]
fn the_samples_values_are_the_codes_defaults() {
    let sample = text("config/greenroom.yaml");
    let without = sample.split("\n# Backstage ignores this key.").next().unwrap();
    let directory = std::env::temp_dir();
    let bare = directory.join(format!("greenroom-sample-{}.yaml", std::process::id()));
    std::fs::write(&bare, without).unwrap();
    let load = |path: PathBuf| Config::load(&[path], &environment()).unwrap_or_else(|errors| panic!("{errors}"));
    let (sample, defaults) = (load(file("config/greenroom.yaml")), load(bare.clone()));
    std::fs::remove_file(bare).unwrap();
    assert_eq!(format!("{sample:#?}"), format!("{defaults:#?}"));
    assert_eq!(sample.warnings, [] as [&str; 0]);
}

#[test]
fn the_examples_in_the_sample_are_right() {
    let path = std::env::temp_dir().join(format!("greenroom-whole-sample-{}.yaml", std::process::id()));
    std::fs::write(&path, whole_sample()).unwrap();
    let config = Config::load(std::slice::from_ref(&path), &environment());
    std::fs::remove_file(path).unwrap();
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.database.plugin("catalog").limits.max, 20);
    assert_eq!(config.database.others.get("reports").map(|other| other.limits.max), Some(2));
}

#[test]
fn the_minimal_sample_is_enough() {
    let config = Config::load(&[file("config/greenroom.minimal.yaml")], &environment()).unwrap();
    assert!(config.warnings.is_empty());
}

#[test]
fn the_documentation_has_every_setting_with_its_default() {
    let documentation = text("docs/configuration.md");
    let section = documentation.split("\n## `greenroom`").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<(&str, &str)> = section
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells.len() == 6).then(|| Some((cells[1].strip_prefix('`')?.strip_suffix('`')?, cells[3]))).flatten()
        })
        .collect();
    let expected: Vec<(&str, &str)> = KEYS.iter().map(|key| (key.path, key.default)).collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_documentation_says_of_every_limit_what_becomes_of_it_while_greenroom_runs() {
    let documentation = text("docs/configuration.md");
    let section = documentation.split("\n## While greenroom runs").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let documented: BTreeSet<&str> =
        rows.flat_map(|keys| keys.split("`, `")).map(|key| key.trim_end_matches('`')).collect();
    let limits: BTreeSet<&str> = KEYS.iter().filter(|key| key.is_limit).map(|key| key.path).collect();
    assert_eq!(documented, limits);
}

#[test]
fn every_setting_that_is_accepted_is_read() {
    for key in KEYS {
        // A list in a list is right for no setting, so whoever reads it must complain.
        let path = key.path.replace("[]", "").replace("<id>", "catalog").replace("<name>", "reports");
        let mut value = "[[]]".to_owned();
        for name in path.rsplit('.') {
            let list = name == "listen" && key.path != "listen";
            value = if list { format!("{{ {name}: [{value}] }}") } else { format!("{{ {name}: {value} }}") };
        }
        let told = errors(&with(&format!("greenroom: {value}\n")));
        let path = path.replace("listen.", "listen[0].");
        assert!(told.contains(&format!("greenroom.{path}")), "{path}: {told}");
        assert!(!told.contains("unknown key"), "{path}: {told}");
    }
}

#[test]
fn the_commented_defaults_of_the_table_are_true() {
    // A plugin that is named is in the table of plugins, whatever is said of it: the next test has those.
    let of_a_plugin = |key: &&Key| key.path.contains(['[', '<']);
    for key in KEYS.iter().filter(|key| key.default.parse::<u64>().is_ok() && !of_a_plugin(key)) {
        // The times of a command mean nothing without one.
        let beside = if key.path.starts_with("passwordCommand.") { "command: [a]" } else { "" };
        let mut value = key.default.to_owned();
        let mut without = String::new();
        for (depth, name) in key.path.rsplit('.').enumerate() {
            let comma = if depth == 0 && !beside.is_empty() { ", " } else { "" };
            value = format!("{{ {name}: {value}{comma}{} }}", if depth == 0 { beside } else { "" });
            without = match depth {
                0 => format!("{{ {beside} }}"),
                _ => format!("{{ {name}: {without} }}"),
            };
        }
        let [said, unsaid] = [value, without].map(|value| config(&with(&format!("greenroom: {value}\n"))));
        assert_eq!(format!("{said:?}"), format!("{unsaid:?}"), "{}", key.path);
    }
}

#[test]
fn a_plugin_weighs_one_when_nothing_is_said() {
    let of = |text: &str| config(&with(text)).database.plugin("catalog").weight;
    assert_eq!((of(""), of("greenroom: { plugin: { catalog: { weight: 4 } } }\n")), (1, 4));
}
