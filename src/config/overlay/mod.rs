//! What Backstage merges over its own configuration to reach its databases through greenroom.
//!
//! An overlay says what the files say, not what came of it: `${VAR}`, `$env` and `$file` stay as they are written, so that
//! nothing secret is in it. A password that stands in the files in clear is left out.

mod block;
mod connection;
mod string;

use std::collections::BTreeSet;

use block::Block;
use connection::{Front, Over};

use super::yaml::{Map, Node, Value};
use super::{Config, DatabaseConfig, Division, Environment, ListenAddress, PluginPlace};

/// The files of a configuration as they are written, merged.
#[derive(Debug)]
pub struct Written {
    root: Node,
    environment: Environment,
}

/// Why there is no overlay.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// Nothing of Backstage's goes through greenroom.
    #[error(
        "backend.database: none of Backstage's databases is on PostgreSQL, so there is nothing to point at greenroom"
    )]
    Nothing,
    /// A connection string in which host and port cannot be replaced.
    #[error("{at}: {problem}; write the connection as a mapping: {{ host, port, user, password, database }}")]
    String {
        /// Where it is written.
        at: String,
        /// What is in the way.
        problem: String,
    },
}

impl Written {
    pub(super) fn new(root: Node, environment: Environment) -> Self {
        Self { root, environment }
    }

    /// The files, merged.
    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The YAML that leads Backstage to greenroom at `address`. `config` is what came of these files.
    ///
    /// # Errors
    /// See [`OverlayError`].
    pub fn overlay(&self, config: &Config, address: &ListenAddress) -> Result<String, OverlayError> {
        let front = Front { address, environment: &self.environment };
        let written = below(&self.root, "backend").and_then(|backend| below(backend, "database"));
        let written = written.and_then(Node::as_map).ok_or(OverlayError::Nothing)?;
        let base_is_ours = !matches!(config.database.base.place, PluginPlace::Elsewhere(_));
        let mut database = Block::default();
        if base_is_ours {
            agreed(written, &config.database, &front, &mut database);
            let over = Over {
                whole: true,
                with_database: config.database.backstage_division == Division::Schema,
                client_password: self.client_password(None),
            };
            front.connection(written.get("connection"), over, &mut database)?;
        }
        database.block("plugin", self.plugins(written, config, &front)?);
        if database.says_nothing() {
            return Err(OverlayError::Nothing);
        }
        let (mut overlay, mut backend) = (Block::default(), Block::default());
        overlay.comment(
            "How Backstage reaches its databases through greenroom. Give it to Backstage after its own files:\n\
             --config app-config.yaml --config app-config.greenroom.yaml",
        );
        for variable in self.environment.keys().filter(|variable| lies_over(variable)) {
            overlay.comment(format!(
                "Start Backstage without the variable {variable}: it lies over every file, this one too."
            ));
        }
        backend.block("database", database);
        overlay.block("backend", backend);
        Ok(overlay.to_string())
    }

    /// What is different for single plugins.
    fn plugins(&self, written: &Map, config: &Config, front: &Front<'_>) -> Result<Block, OverlayError> {
        let mut block = Block::default();
        let base_is_ours = !matches!(config.database.base.place, PluginPlace::Elsewhere(_));
        let of_backstage = written.get("plugin").and_then(Node::as_map);
        let of_greenroom = below(&self.root, "greenroom").and_then(|section| below(section, "plugin")?.as_map());
        let ids: BTreeSet<&String> = [of_backstage, of_greenroom].into_iter().flatten().flat_map(Map::keys).collect();
        for id in ids {
            let node = of_backstage.and_then(|plugins| plugins.get(id));
            let key = |key| node.and_then(|node| below(node, key));
            match &config.database.plugin(id).place {
                PluginPlace::Elsewhere(client) if key("client").is_some() => {
                    block.comment(format!("{id}: kept in {client}, which does not go through greenroom"));
                }
                // Without a login of its own it has the base connection alone, which is led already.
                PluginPlace::Elsewhere(_) | PluginPlace::NoLogin => {}
                PluginPlace::Postgres(_) => {
                    let mut plugin = Block::default();
                    if !base_is_ours {
                        plugin.text("client", "pg");
                    }
                    let connection = key("connection");
                    let brings_one = connection.is_some_and(|node| match &node.value {
                        Value::Map(map) => map.contains_key("password"),
                        _ => true,
                    });
                    // Over a base that is ours it counts there, and whoever brings no password takes that one.
                    let for_all = self.client_password(None).filter(|_| !base_is_ours && !brings_one);
                    let over = Over {
                        whole: !base_is_ours,
                        with_database: true,
                        client_password: self.client_password(Some(id)).or(for_all),
                    };
                    front.connection(connection, over, &mut plugin)?;
                    block.block(id, plugin);
                }
            }
        }
        Ok(block)
    }

    /// What greenroom says that clients prove, all of them or a plugin's own.
    fn client_password(&self, plugin: Option<&str>) -> Option<&Node> {
        let greenroom = below(&self.root, "greenroom")?;
        let section = match plugin {
            None => greenroom,
            Some(id) => below(below(greenroom, "plugin")?, id)?,
        };
        below(section, "clientPassword")
    }
}

/// Whether Backstage takes the way to its database from this variable of its environment, whatever the files say.
fn lies_over(variable: &str) -> bool {
    let Some(path) = variable.strip_prefix("APP_CONFIG_backend_database_") else { return false };
    ["connection", "connectionString", "host", "port", "ssl"].iter().any(|key| path.split('_').any(|part| part == *key))
        && !["user", "password", "database"].iter().any(|key| path.ends_with(&format!("_{key}")))
}

/// What Backstage and greenroom must be of one mind about.
fn agreed(written: &Map, database: &DatabaseConfig, front: &Front<'_>, block: &mut Block) {
    block.text("client", "pg");
    let (mode, keys): (_, &[&str]) = match database.backstage_division {
        Division::Database => ("database", &["prefix", "role"]),
        Division::Schema => ("schema", &["schemaPrefix", "role"]),
    };
    block.text("pluginDivisionMode", mode);
    for key in keys {
        if let Some(node) = written.get(*key) {
            front.value(key, node, block);
        }
    }
}

fn below<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.as_map()?.get(key)
}
