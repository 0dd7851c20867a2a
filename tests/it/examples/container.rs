//! A container of an example, with everything that the example gives it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use greenroom::config::{Config, Environment};
use serde_yaml::Value;
use tempfile::TempDir;

/// A container as Kubernetes or Compose would start it.
#[derive(Debug, Default)]
pub(crate) struct Container {
    /// Its own description.
    pub(crate) described: Value,
    /// The environment that the example gives it.
    pub(crate) environment: Environment,
    /// Configuration files by their path in the container.
    pub(crate) files: BTreeMap<PathBuf, String>,
    /// Volumes that are no configuration, by the path at which they are mounted.
    pub(crate) volumes: BTreeMap<PathBuf, String>,
}

/// A file of this repository.
pub(crate) fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file.
pub(crate) fn documents(name: &str) -> Vec<Value> {
    let text = text(name);
    let documents = serde_yaml::Deserializer::from_str(&text).map(serde::Deserialize::deserialize);
    documents.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The document of this kind and name in a manifest.
pub(crate) fn document<'d>(documents: &'d [Value], kind: &str, name: &str) -> &'d Value {
    let named = |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.iter().find(named).unwrap_or_else(|| panic!("the manifest has no {kind} {name}"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_sequence().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs = value.as_mapping().into_iter().flatten();
    pairs.map(|(name, value)| (name.as_str().expect("a name"), value.as_str().expect("a text")))
}

fn at(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

impl Container {
    /// A container of a manifest's only Deployment.
    pub(crate) fn of_manifest(documents: &[Value], name: &str) -> Self {
        let deployment = documents.iter().find(|document| document["kind"] == "Deployment").expect("a Deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        let described = items(&pod["initContainers"]).chain(items(&pod["containers"]));
        let described = described.into_iter().find(|container| container["name"] == name);
        let described = described.unwrap_or_else(|| panic!("no container {name}")).clone();
        let mut container = Self { described: described.clone(), ..Self::default() };
        for source in items(&described["envFrom"]) {
            let secret = document(documents, "Secret", at(&source["secretRef"]["name"]));
            let variables = entries(&secret["stringData"]).map(|(name, value)| (name.to_owned(), value.to_owned()));
            container.environment.extend(variables);
        }
        for mount in items(&described["volumeMounts"]) {
            let (volume, path) = (at(&mount["name"]), Path::new(at(&mount["mountPath"])));
            let volume = items(&pod["volumes"]).find(|found| found["name"] == volume).expect("the volume is there");
            match volume["configMap"]["name"].as_str() {
                Some(map) => {
                    let map = document(documents, "ConfigMap", map);
                    let files = entries(&map["data"]).map(|(name, text)| (path.join(name), text.to_owned()));
                    container.files.extend(files);
                }
                None => drop(container.volumes.insert(path.to_owned(), at(&volume["name"]).to_owned())),
            }
        }
        container
    }

    /// A service of the Compose file, whose variables are those that `variables` names.
    pub(crate) fn of_compose(compose: &Value, name: &str, variables: &Environment) -> Self {
        let described = compose["services"][name].clone();
        assert!(described.is_mapping(), "docker-compose.yaml has no service {name}");
        let mut container = Self { described: described.clone(), ..Self::default() };
        for (name, value) in entries(&described["environment"]) {
            let value = match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(variable) => {
                    let variable = variable.split(':').next().expect("a name");
                    variables.get(variable).unwrap_or_else(|| panic!("{variable} is not told of")).clone()
                }
                None => value.to_owned(),
            };
            container.environment.insert(name.to_owned(), value);
        }
        for mount in items(&described["volumes"]).map(at) {
            let [source, path, ..] = mount.split(':').collect::<Vec<_>>()[..] else { panic!("{mount}") };
            match source.strip_prefix("./") {
                Some(file) => drop(container.files.insert(path.into(), text(&format!("examples/{file}")))),
                None => drop(container.volumes.insert(path.into(), source.to_owned())),
            }
        }
        container
    }

    /// What greenroom makes of the files that the image tells it to read.
    pub(crate) fn greenroom(&self) -> Config {
        self.load(&Written::new(&self.of_image()))
    }

    /// What a command of greenroom's prints in this container; a failure fails the test.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let files = Written::new(&self.of_image());
        let paths: Vec<_> = files.paths.iter().map(|path| path.to_str().expect("text")).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.args(arguments).env_clear().envs(&self.environment).env("GREENROOM_CONFIG", paths.join(":"));
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What greenroom would make of the file that Backstage reads last. Only its connection counts.
    pub(crate) fn overlay(&self, path: &str) -> Config {
        // Listening somewhere else: otherwise greenroom would say that it calls itself.
        let elsewhere = "greenroom: { listen: [{ port: 1 }], http: false }\n".to_owned();
        self.load(&Written::new(&[elsewhere, self.mounted(path)]))
    }

    /// The text of a file that is mounted.
    pub(crate) fn mounted(&self, path: &str) -> String {
        self.files.get(Path::new(path)).unwrap_or_else(|| panic!("nothing is mounted at {path}")).clone()
    }

    /// The files that the image tells greenroom to read: mounted, or brought along by the image.
    fn of_image(&self) -> Vec<String> {
        let image = text("Dockerfile");
        let named = image.lines().find_map(|line| line.strip_prefix("ENV GREENROOM_CONFIG=")).expect("it is set");
        let copied = |path| image.lines().find_map(|line| Some(line.strip_prefix("COPY ")?.strip_suffix(path)?.trim()));
        let files = named.split(':').map(|path| copied(path).map_or_else(|| self.mounted(path), text));
        files.collect()
    }

    fn load(&self, files: &Written) -> Config {
        let config = Config::load(&files.paths, &self.environment).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.warnings, [] as [&str; 0]);
        config
    }
}

/// Configuration files on disk, as long as this lives.
struct Written {
    paths: Vec<PathBuf>,
    _directory: TempDir,
}

impl Written {
    fn new(texts: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = texts.iter().enumerate().map(|(number, text)| {
            let path = directory.path().join(format!("{number}.yaml"));
            std::fs::write(&path, text).expect("ours");
            path
        });
        Self { paths: paths.collect(), _directory: directory }
    }
}
