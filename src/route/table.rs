//! The routing table: from a name to a route, by rule or not at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{LogicalDatabase, PluginId, Route, Target};
use crate::config::{
    Config, Connection, DatabaseConfig, Division, MAX_NAME_BYTES, PluginPlace, PluginSettings, PostgresPlace,
    UnknownDatabases, is_plugin_id,
};

/// How many routes made on demand are remembered: clients choose names before they log in, so there is a bound.
const MAX_REMEMBERED: usize = 1024;

/// The database Backstage connects to when it creates others.
pub const POSTGRES: &str = "postgres";

/// What Backstage's plugins begin their `application_name` with, whatever the configured prefix.
const APPLICATION_PREFIX: &str = "backstage_plugin_";

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing of that name is configured.
    #[error("database \"{database}\" does not exist")]
    Unknown {
        /// What was asked for.
        database: LogicalDatabase,
    },
    /// Its data is not on PostgreSQL.
    #[error("database \"{database}\" is not served by greenroom: backend.database says it is kept in {client}")]
    NotProxied {
        /// What was asked for.
        database: LogicalDatabase,
        /// The client in Backstage's configuration.
        client: Arc<str>,
    },
    /// Nobody is named who could log in there.
    #[error(
        "database \"{database}\" is not served by greenroom: backend.database.connection names no user, and the plugin has \
         no connection of its own"
    )]
    NoLogin {
        /// What was asked for.
        database: LogicalDatabase,
    },
    /// PostgreSQL would cut the name short, and two plugins could meet.
    #[error(
        "database \"{database}\" needs the name \"{name}\" of {} bytes, PostgreSQL keeps {MAX_NAME_BYTES}; \
         shorten the plugin id, backend.database.schemaPrefix or prefix", name.len()
    )]
    NameTooLong {
        /// What was asked for.
        database: LogicalDatabase,
        /// The schema's or database's name.
        name: String,
    },
    /// The schema's name is PostgreSQL's own.
    #[error(
        "database \"{database}\" needs the schema \"{schema}\", which is PostgreSQL's own; set \
         backend.database.schemaPrefix"
    )]
    ReservedSchema {
        /// What was asked for.
        database: LogicalDatabase,
        /// The schema.
        schema: String,
    },
    /// The schema's name is that of extensions.
    #[error(
        "database \"{database}\" needs the schema \"{schema}\", which greenroom.extensionsSchema says is that of \
         extensions; name another one there, or set backend.database.schemaPrefix"
    )]
    ExtensionsSchema {
        /// What was asked for.
        database: LogicalDatabase,
        /// The schema.
        schema: String,
    },
    /// Several plugins have it, and the client does not say which it is.
    #[error(
        "database \"{database}\" is shared by plugins; set application_name to backstage_plugin_<id> of one of them"
    )]
    WhichPlugin {
        /// What was asked for.
        database: LogicalDatabase,
    },
}

/// All routes there are, and the rules for those that are made on demand.
pub struct RouteTable {
    database: DatabaseConfig,
    /// Names that are looked up as they are, before any rule.
    names: HashMap<Arc<str>, Named>,
    configured: BTreeMap<RouteKey, Arc<Route>>,
    /// Routes made on demand, so that equal requests get the same one.
    remembered: Mutex<HashMap<RouteKey, Arc<Route>>>,
}

type RouteKey = (LogicalDatabase, PluginId);

/// What a name stands for.
enum Named {
    /// A database that one plugin has to itself.
    Plugin(Arc<str>),
    /// A database as it is, for whoever logs in; clients say in their application_name which plugin they are.
    Shared {
        /// The physical database.
        physical: Arc<str>,
        /// Whether those who are none of its plugins get it too, by the base connection.
        by_base: bool,
    },
    /// A logical database that is no plugin's.
    Other,
}

impl RouteTable {
    /// Makes the table of a configuration.
    pub fn new(config: &Config) -> Self {
        let database = config.database.clone();
        let mut table =
            Self { names: names(&database), configured: BTreeMap::new(), remembered: Mutex::default(), database };
        let named: Vec<Arc<str>> = table.names.keys().cloned().collect();
        let own =
            |id: &Arc<str>| table.names.values().any(|named| matches!(named, Named::Plugin(plugin) if plugin == id));
        let ruled = table.database.plugins.keys().filter(|id| !own(id));
        let ruled: Vec<Arc<str>> = ruled.map(|id| format!("{}{id}", table.database.prefix).into()).collect();
        let routes = named.iter().chain(&ruled).filter_map(|name| table.route(name, None).ok());
        table.configured = routes.map(|route| (key(&route), Arc::new(route))).collect();
        table
    }

    /// Finds where `database` is. Equal requests get the same route, for as long as anyone holds it.
    ///
    /// `application_name` never opens a way that `database` and the route's login would not open: it says which plugin's
    /// limits count, and, where plugins share a physical database under logins of their own, which of these the client
    /// has to prove.
    pub fn resolve(&self, database: &str, application_name: Option<&str>) -> Result<Arc<Route>, RouteError> {
        let plugin =
            application_name.and_then(|name| name.strip_prefix(APPLICATION_PREFIX)).filter(|id| is_plugin_id(id));
        let route = self.route(database, plugin)?;
        let key = key(&route);
        if let Some(known) = self.configured.get(&key) {
            return Ok(known.clone());
        }
        let mut remembered = self.remembered.lock();
        if let Some(known) = remembered.get(&key) {
            return Ok(known.clone());
        }
        let route = Arc::new(route);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, route| Arc::strong_count(route) > 1);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(key, route.clone());
        }
        Ok(route)
    }

    /// The routes that the configuration names.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.configured.values()
    }

    /// The base's place, if it is on PostgreSQL.
    pub(super) fn base_place(&self) -> Option<&PostgresPlace> {
        self.database.base_place()
    }

    /// What the names of plugin databases and of plugin schemas begin with.
    pub(super) fn prefixes(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.database.prefix), Arc::clone(&self.database.schema_prefix))
    }

    /// How many routes are remembered that the configuration does not name.
    #[cfg(test)]
    pub(super) fn remembered_routes(&self) -> usize {
        self.remembered.lock().len()
    }

    fn route(&self, name: &str, plugin: Option<&str>) -> Result<Route, RouteError> {
        let database = LogicalDatabase(name.into());
        match self.names.get(name) {
            Some(Named::Plugin(id)) => self.plugin_route(database, id),
            Some(Named::Shared { physical, by_base }) => self.shared_route(database, plugin, physical, *by_base),
            Some(Named::Other) => self.other_route(database),
            None => match name.strip_prefix(&*self.database.prefix).filter(|id| is_plugin_id(id)) {
                Some(id) => self.plugin_route(database, id),
                None if self.database.unknown == UnknownDatabases::Passthrough && fits(name) => {
                    self.shared_route(database, plugin, name, true)
                }
                None => Err(RouteError::Unknown { database }),
            },
        }
    }

    /// A plugin's own database or schema.
    fn plugin_route(&self, database: LogicalDatabase, id: &str) -> Result<Route, RouteError> {
        let settings = self.database.plugin(id);
        let place = postgres(settings, &database)?;
        let own = place.connection.database.as_deref().filter(|_| place.own_database);
        let (physical, schema) = match place.division {
            Division::Database => (own.map_or_else(|| format!("{}{id}", self.database.prefix), str::to_owned), None),
            Division::Schema => match place.connection.database.as_deref() {
                Some(shared) => (shared.to_owned(), Some(format!("{}{id}", self.database.schema_prefix))),
                None => return Err(RouteError::Unknown { database }),
            },
        };
        let name = schema.as_ref().unwrap_or(&physical);
        if !fits(name) {
            return Err(RouteError::NameTooLong { name: name.clone(), database });
        }
        if let Some(schema) = schema.as_ref().filter(|schema| is_reserved(schema)) {
            return Err(RouteError::ReservedSchema { schema: schema.clone(), database });
        }
        if let Some(schema) = schema.as_ref().filter(|schema| self.database.is_for_extensions(schema)) {
            return Err(RouteError::ExtensionsSchema { schema: schema.clone(), database });
        }
        let plugin = PluginId(id.into());
        let target = Target {
            extensions: place.extensions.clone().filter(|_| schema.is_some()),
            schema: schema.map(Into::into),
            role: place.role.clone(),
            provision: place.provision,
            ..self.target(&place.connection, &physical, &plugin)
        };
        Ok(Route { database, plugin, target })
    }

    /// A physical database as it is: by the plugin's own connection if that leads there, else by the base one.
    fn shared_route(
        &self,
        database: LogicalDatabase,
        plugin: Option<&str>,
        physical: &str,
        by_base: bool,
    ) -> Result<Route, RouteError> {
        let base = &self.database.base;
        let settings = plugin.map_or(base, |id| self.database.plugin(id));
        let leads_there = |place: &&PostgresPlace| place.connection.database.as_deref() == Some(physical);
        let place = match postgres(settings, &database).ok().filter(leads_there) {
            Some(place) => place,
            None if by_base => postgres(base, &database)?,
            None => return Err(RouteError::WhichPlugin { database }),
        };
        let plugin = PluginId(plugin.map_or_else(|| database.0.clone(), Into::into));
        let target = Target { role: place.role.clone(), ..self.target(&place.connection, physical, &plugin) };
        Ok(Route { database, plugin, target })
    }

    fn other_route(&self, database: LogicalDatabase) -> Result<Route, RouteError> {
        let Some(other) = self.database.others.get(&database.0) else { return Err(RouteError::Unknown { database }) };
        let plugin = PluginId(database.0.clone());
        let target = self.target(&other.connection, &other.database, &plugin);
        Ok(Route { plugin, database, target })
    }

    /// A database as it is, which nobody creates.
    fn target(&self, connection: &Connection, database: &str, plugin: &PluginId) -> Target {
        Target {
            server: connection.server.clone(),
            database: database.into(),
            schema: None,
            login: connection.login.clone(),
            extensions: None,
            role: None,
            plugin: plugin.clone(),
            deployment: self.database.prefix.clone(),
            provision: false,
        }
    }
}

/// Collects the names that stand for something by themselves.
fn names(database: &DatabaseConfig) -> HashMap<Arc<str>, Named> {
    let mut names: HashMap<Arc<str>, Named> = database.others.keys().map(|name| (name.clone(), Named::Other)).collect();
    for (id, settings) in &database.plugins {
        let PluginPlace::Postgres(PostgresPlace { own_database: true, connection, .. }) = &settings.place else {
            continue;
        };
        let Some(name) = &connection.database else { continue };
        let named = match names.contains_key(name) {
            false => Named::Plugin(id.clone()),
            true => Named::Shared { physical: name.clone(), by_base: false },
        };
        names.insert(name.clone(), named);
    }
    if database.backstage_division == Division::Schema {
        // Without a base login the database that plugins share is there all the same, for those with logins of their own.
        let named = database.plugins.values().filter_map(|settings| match &settings.place {
            PluginPlace::Postgres(place) => place.connection.database.as_ref(),
            _ => None,
        });
        for name in named {
            let shared = || Named::Shared { physical: name.clone(), by_base: false };
            names.entry(name.clone()).or_insert_with(shared);
        }
    }
    if let Some(base) = database.base_place() {
        let shared = base.connection.database.clone();
        let postgres = match (base.division, &shared) {
            (Division::Schema, Some(shared)) => shared.clone(),
            _ => POSTGRES.into(),
        };
        names.insert(POSTGRES.into(), Named::Shared { physical: postgres, by_base: true });
        // A Backstage in database mode asks for this name only where a plugin has it for its own.
        let by_rule = database.backstage_division == Division::Database;
        let own = |name: &Arc<str>| by_rule && matches!(names.get(name), Some(Named::Plugin(_)));
        if let Some(shared) = shared.filter(|name| !own(name)) {
            names.insert(shared.clone(), Named::Shared { physical: shared, by_base: true });
        }
    }
    names
}

fn postgres<'s>(settings: &'s PluginSettings, database: &LogicalDatabase) -> Result<&'s PostgresPlace, RouteError> {
    match &settings.place {
        PluginPlace::Postgres(place) => Ok(place),
        PluginPlace::Elsewhere(client) => {
            Err(RouteError::NotProxied { database: database.clone(), client: client.clone() })
        }
        PluginPlace::NoLogin => Err(RouteError::NoLogin { database: database.clone() }),
    }
}

fn key(route: &Route) -> RouteKey {
    (route.database.clone(), route.plugin.clone())
}

fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES
}

/// Schemas in which a plugin would meet PostgreSQL's own objects, or everyone's.
fn is_reserved(schema: &str) -> bool {
    schema.starts_with("pg_") || matches!(schema, "information_schema" | "public")
}
