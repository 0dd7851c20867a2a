//! Where Backstage's data is: what `backend.database` and `greenroom` say about it together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{KnexPool, Login, PoolLimits, ServerEndpoint};

/// How the data of plugins is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Division {
    /// A schema each, in a shared database.
    Schema,
    /// A database each.
    #[default]
    Database,
}

/// A way to a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// The server.
    pub server: Arc<ServerEndpoint>,
    /// Who logs in there, and as whom clients log in here.
    pub login: Login,
    /// The physical database, where one was named.
    pub database: Option<Arc<str>>,
}

/// A plugin's place and limits.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// Where its data is.
    pub place: PluginPlace,
    /// Its limits.
    pub limits: PoolLimits,
    /// Its share of a server that several plugins wait for, beside theirs; at least 1.
    pub weight: u32,
    /// The pool that Backstage makes for it.
    pub knex: KnexPool,
}

/// Where a plugin's data is.
#[derive(Debug, Clone, PartialEq)]
pub enum PluginPlace {
    /// On a PostgreSQL server.
    Postgres(PostgresPlace),
    /// Somewhere that greenroom has no part in; the client's name, such as `better-sqlite3`.
    Elsewhere(Arc<str>),
    /// On a PostgreSQL server, but nobody is named who logs in there.
    NoLogin,
}

impl PluginPlace {
    /// The place, if greenroom has a way to it.
    pub fn postgres(&self) -> Option<&PostgresPlace> {
        match self {
            Self::Postgres(place) => Some(place),
            Self::Elsewhere(_) | Self::NoLogin => None,
        }
    }
}

/// A plugin's place on a PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresPlace {
    /// The way to the server: the base connection with the plugin's own laid over it.
    pub connection: Connection,
    /// Whether `connection.database` was given for this plugin alone.
    pub own_database: bool,
    /// Whether it has a schema or a database.
    pub division: Division,
    /// Whether what is missing there may be created (`ensureExists`, `ensureSchemaExists`).
    pub provision: bool,
    /// Where extensions are; looked into behind the schema of the plugin.
    pub extensions: Option<Arc<str>>,
    /// Whether a Backstage that divides by schema creates its schemas itself (`ensureSchemaExists`).
    pub backstage_makes_schemas: bool,
    /// Who owns what is created.
    pub role: Option<Arc<str>>,
}

/// A logical database that is no plugin's.
#[derive(Debug, Clone)]
pub struct OtherDatabase {
    /// Where it is.
    pub connection: Connection,
    /// The physical database.
    pub database: Arc<str>,
    /// Its limits.
    pub limits: PoolLimits,
}

impl OtherDatabase {
    /// Everything but its limits.
    pub(super) fn place(&self) -> (&Connection, &Arc<str>) {
        (&self.connection, &self.database)
    }
}

/// What becomes of a name that nothing was configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownDatabases {
    /// 3D000, as from PostgreSQL.
    #[default]
    Refuse,
    /// The database of that name on the base server.
    Passthrough,
}

/// All that routing needs.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Where a plugin is that nothing particular is said about.
    pub base: PluginSettings,
    /// How Backstage itself divides: with [`Division::Schema`] its plugins ask for one database, and set their search_path.
    pub backstage_division: Division,
    /// What the names of Backstage's plugin databases begin with.
    pub prefix: Arc<str>,
    /// What the names of plugin schemas begin with.
    pub schema_prefix: Arc<str>,
    /// Plugins of which something particular is said, by id.
    pub plugins: BTreeMap<Arc<str>, PluginSettings>,
    /// Logical databases that are no plugin's, by name.
    pub others: BTreeMap<Arc<str>, OtherDatabase>,
    /// What becomes of other names.
    pub unknown: UnknownDatabases,
}

impl DatabaseConfig {
    /// The prefix of Backstage's plugin databases when none is configured.
    pub const DEFAULT_PREFIX: &str = "backstage_plugin_";

    /// The settings of a plugin, particular or not.
    pub fn plugin(&self, id: &str) -> &PluginSettings {
        self.plugins.get(id).unwrap_or(&self.base)
    }

    /// Whether a schema is that of extensions, for any plugin.
    pub fn is_for_extensions(&self, schema: &str) -> bool {
        self.plugins.values().chain([&self.base]).any(|settings| match &settings.place {
            PluginPlace::Postgres(place) => place.extensions.as_deref() == Some(schema),
            PluginPlace::Elsewhere(_) | PluginPlace::NoLogin => false,
        })
    }

    /// The base connection, unless the base is not on PostgreSQL or nobody is named who logs in there.
    pub fn base_place(&self) -> Option<&PostgresPlace> {
        self.base.place.postgres()
    }
}

/// Whether `id` may be a plugin's: letters, digits, dashes and underscores, a letter or digit first.
pub fn is_plugin_id(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The longest name PostgreSQL keeps, in bytes; it cuts longer ones short without a word.
pub const MAX_NAME_BYTES: usize = 63;
