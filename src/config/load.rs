//! From files to a [`Config`]: read, transform, merge, understand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mistake::Mistakes;
use super::seen::Reads;
use super::yaml::{Node, Source, Transform, Value, from_environment, merge_files, parse};
use super::{Config, ConfigErrors, Environment, Seen, Written, read};

/// What messages call a document that came from no file.
const IN_MEMORY: &str = "configuration";

impl Config {
    /// The files that Backstage reads in `directory` when it is not told which: `app-config.yaml`, and as far as they exist
    /// that of each environment in `BACKSTAGE_ENV`, the local one, and the local one of each environment. Later ones win.
    pub fn default_files(directory: &Path, environment: &Environment) -> Vec<PathBuf> {
        let named = environment.get("BACKSTAGE_ENV").map(String::as_str).unwrap_or_default();
        let named = named.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names = named.clone().map(|name| format!("app-config.{name}.yaml"));
        let names = names.chain(["app-config.local.yaml".to_owned()]);
        let names = names.chain(named.map(|name| format!("app-config.{name}.local.yaml")));
        let there = names.map(|name| directory.join(name)).filter(|path| path.exists());
        std::iter::once(directory.join("app-config.yaml")).chain(there).collect()
    }

    /// Reads and merges Backstage configuration files, later ones over earlier ones.
    pub fn load(files: &[PathBuf], environment: &Environment) -> Result<Self, ConfigErrors> {
        Self::load_as_written(files, environment).map(|(config, _)| config)
    }

    /// The same, and the files as they are written beside it.
    pub fn load_as_written(files: &[PathBuf], environment: &Environment) -> Result<(Self, Written), ConfigErrors> {
        Self::look(files, environment).0
    }

    /// The same, and what was seen in the files, whatever came of it.
    pub fn look(files: &[PathBuf], environment: &Environment) -> (Result<(Self, Written), ConfigErrors>, Seen) {
        let reads = Reads::default();
        (Self::read(files, environment, &reads), reads.seen())
    }

    fn read(files: &[PathBuf], environment: &Environment, reads: &Reads) -> Result<(Self, Written), ConfigErrors> {
        let mistakes = Mistakes::default();
        let mut documents = Vec::new();
        if files.is_empty() {
            mistakes.add_for_file(IN_MEMORY, None, "no file given, expected --config with at least one");
        }
        for file in files {
            let name = file.display().to_string();
            match reads.read(file) {
                Ok(text) => documents.push(Document {
                    source: Source::new(name, &text),
                    directory: file.parent().map(Path::to_owned).unwrap_or_default(),
                }),
                Err(_) if name.contains("://") => {
                    mistakes.add_for_file(name, None, "looks like a URL, expected a file: download it first");
                }
                Err(error) => mistakes.add_for_file(name, None, format!("cannot be read: {error}")),
            }
        }
        understand(documents, environment, reads, mistakes)
    }

    /// Reads one document from memory, with no environment.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_as_written(text).map(|(config, _)| config)
    }

    /// The same, and the document as it is written beside it.
    pub fn parse_as_written(text: &str) -> Result<(Self, Written), ConfigErrors> {
        let source = Source::new(IN_MEMORY.to_owned(), text);
        let document = Document { source, directory: PathBuf::new() };
        understand(vec![document], &Environment::new(), &Reads::default(), Mistakes::default())
    }
}

/// A file's text, and where its includes are looked for.
struct Document {
    source: Arc<Source>,
    directory: PathBuf,
}

fn understand(
    documents: Vec<Document>,
    environment: &Environment,
    reads: &Reads,
    mistakes: Mistakes,
) -> Result<(Config, Written), ConfigErrors> {
    let names: Vec<String> = documents.iter().map(|document| document.source.name.clone()).collect();
    let transform = Transform { environment, reads, mistakes: &mistakes };
    let mut merged: Option<Node> = None;
    let mut complete = mistakes.is_empty();
    for Document { source, directory } in documents {
        match parse(source.clone()) {
            Ok(root) if matches!(root.value, Value::Map(_)) => {
                let root = transform.file(root, &directory);
                merged = Some(match merged {
                    Some(earlier) => merge_files(earlier, root),
                    None => root,
                });
            }
            Ok(root) => mistakes.add(&root.origin, "not a mapping of settings, expected Backstage's configuration"),
            Err(error) => {
                complete = false;
                let line = error.location().map(|location| location.line());
                mistakes.add_for_file(&source.name, line, format!("not valid YAML: {}", without_location(&error)));
            }
        }
    }
    // With a file missing, what the others lack may well stand in it; only what could be read is told then.
    let config = match merged {
        Some(merged) if complete => {
            let merged = merge_files(merged, from_environment(environment, &mistakes)).without_nulls();
            read::config(&merged, environment, &mistakes).map(|config| (config, merged))
        }
        _ => None,
    };
    match config {
        Some((config, merged)) if mistakes.is_empty() => Ok((config, Written::new(merged, environment.clone()))),
        _ => Err(mistakes.into_errors(&names)),
    }
}

fn without_location(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().map(str::to_owned).unwrap_or(text)
}
