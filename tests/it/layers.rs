//! The module graph is the table of layers in docs/architecture.md: an import never climbs, nor goes sideways.

mod source;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, module_path};

/// The row of each module; 0 is the bottom.
type Layers = HashMap<String, u32>;

#[test]
fn every_import_goes_down_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/architecture.md")).expect("docs/architecture.md is there");
    let layers = layers(&table);
    let files = rust_files(&root.join("src"));
    let sources: Vec<_> = files.iter().map(|file| Source::read(&root.join("src"), file)).collect();
    let tests: Vec<_> = sources.iter().flat_map(Source::test_modules).collect();
    let shipped = sources.iter().filter(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    let wrong: Vec<_> = shipped.flat_map(|source| complaints(source, &layers)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_table_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/architecture.md")).expect("docs/architecture.md is there");
    let there =
        |name: &str| root.join("src").join(name).is_dir() || root.join("src").join(format!("{name}.rs")).is_file();
    let missing: Vec<_> = layers(&table).into_keys().filter(|name| !there(name)).collect();
    assert!(missing.is_empty(), "docs/architecture.md names modules that src lacks: {missing:?}");
}

#[test]
fn the_check_itself_sees_what_it_should() {
    let layers = layers("```layers\n2  main  starts\n1  pool cancel  who waits\n0  sql config\n```\n");
    let complain = |path: &str, text: &str| {
        complaints(&Source { module: module_path(Path::new(path)), code: source::code(text) }, &layers).len()
    };
    assert_eq!(complain("pool/lease.rs", "use crate::sql::Lexer;\nuse crate::config;"), 0);
    assert_eq!(complain("pool/lease.rs", "use super::store::Store;\nuse crate::pool::Pool;"), 0);
    assert_eq!(complain("sql/lexer.rs", "use crate::pool::Pool;"), 1);
    assert_eq!(complain("sql/lexer.rs", "use crate::config::Config;"), 1);
    assert_eq!(complain("pool/lease.rs", "use crate::{sql::{Lexer, cancel}, cancel::Key};"), 1);
    assert_eq!(complain("pool.rs", "fn f() { crate::cancel::key() }"), 1);
    assert_eq!(complain("sql/lexer.rs", "use super::super::pool::Pool;"), 1);
    assert_eq!(complain("sql/mod.rs", "use super::pool::Pool;"), 1);
    assert_eq!(complain("main.rs", "use greenroom::pool;"), 0);
    assert_eq!(complain("sql.rs", "//! As [`crate::pool`].\n/* crate::pool */ const X: &str = r#\"crate::pool\"#;"), 0);
    assert_eq!(complain("sql.rs", "const X: char = '\"'; use crate::pool; const Y: char = '\"';"), 1);
    assert_eq!(complain("sql.rs", "#[cfg(test)]\nmod tests {\n    use crate::pool;\n}\n"), 0);
    assert_eq!(complain("sql.rs", "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::pool;"), 1);
    assert_eq!(complain("nowhere.rs", ""), 1);
}

/// Reads the rows of the fenced block `layers`: a number, two spaces, the modules, two spaces, what they are for.
fn layers(markdown: &str) -> Layers {
    let block = markdown.split_once("```layers\n").and_then(|(_, rest)| rest.split_once("```"));
    let (block, _) = block.expect("docs/architecture.md has a block of layers");
    let mut layers = Layers::new();
    for line in block.lines() {
        let (number, rest) = line.split_once("  ").unwrap_or_else(|| panic!("no row of layers: {line:?}"));
        let row = number.parse().unwrap_or_else(|_| panic!("a row begins with its number: {line:?}"));
        let modules = rest.split("  ").next().unwrap_or_default();
        for module in modules.split_whitespace() {
            assert_eq!(layers.insert(module.to_owned(), row), None, "{module} has two rows");
        }
    }
    layers
}

/// What is wrong with the imports of one file.
fn complaints(source: &Source, layers: &Layers) -> Vec<String> {
    let name = source.module.join("::");
    // The library's root only declares the modules.
    let Some(own) = source.module.first() else { return Vec::new() };
    let Some(row) = layers.get(own) else { return vec![format!("{name}: not in the table of layers")] };
    let complain = |import: String| match layers.get(&import) {
        _ if import == *own => None,
        Some(below) if below < row => None,
        Some(below) => Some(format!("{name} (row {row}) imports {import} (row {below})")),
        None => Some(format!("{name} imports {import}, which is not in the table of layers")),
    };
    source.imports().into_iter().filter_map(complain).collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = entries.map(|entry| entry.expect("a directory can be read").path());
    let files = paths.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
