//! `backend.database`, and what `greenroom` adds to it about plugins and other databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::backstage::without_effect;
use super::endpoint::Reader;
use super::password::Said;
use super::pool::{Layer, knex_pool, limits};
use super::section::Section;
use crate::config::mistake::Mistakes;
use crate::config::yaml::{Map, Node, Origin, Value, merge_objects};
use crate::config::{
    Connection, DatabaseConfig, Division, KnexPool, OtherDatabase, PluginPlace, PluginSettings, PostgresPlace,
    UnknownDatabases,
};

const DIVISIONS: &[(&str, Division)] = &[("schema", Division::Schema), ("database", Division::Database)];

/// The clients that Backstage knows and greenroom has no part in.
const NOT_PROXIED: &[&str] = &["better-sqlite3", "sqlite3", "mysql2", "mysql", "embedded-postgres"];

/// Where Backstage keeps everything if there is no `backend.database` at all.
const IN_MEMORY: &str = "better-sqlite3";

const UNKNOWN: &[(&str, UnknownDatabases)] =
    &[("refuse", UnknownDatabases::Refuse), ("passthrough", UnknownDatabases::Passthrough)];

/// The two sections that say where data is.
pub(super) struct Databases<'a> {
    pub(super) backend: Section<'a>,
    pub(super) own: Section<'a>,
    reader: Reader<'a>,
    /// Whether there is a `backend.database`.
    pub(super) written: bool,
    base_client: Option<Arc<str>>,
    /// What other connections are laid over: nothing when the base is not on PostgreSQL, `None` when it is unreadable.
    pub(super) base_connection: Option<Map>,
    pub(super) prefix: Arc<str>,
    pub(super) schema_prefix: Arc<str>,
    /// How Backstage itself divides, which may differ from where data is.
    pub(super) backstage_division: Division,
    division: Division,
    /// What is said about passwords for every connection.
    said: Said,
}

/// A connection and where it is written: for the checks that need them all.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    /// Where a command that prints its password is written, or would be.
    pub(super) command: Origin,
}

impl<'a> Databases<'a> {
    /// Reads what is common to all plugins.
    pub(super) fn new(above: &Section<'a>, own: Section<'a>, reader: Reader<'a>) -> Self {
        let (written, backend) = (above.has("database"), above.section("database"));
        let base_client = match written {
            true => client(&backend),
            // Backstage's own choice when nobody says anything.
            false => Some(Arc::from(IN_MEMORY)),
        };
        if written && backend.is_blank("client") {
            backend.missing("client", "pg");
        }
        let is_pg = base_client.as_deref() == Some("pg");
        if is_pg && !backend.has("connection") {
            backend.missing("connection", "a connection string or {host, port, user, password}");
        }
        // An object is laid under those of plugins whatever its client is; a string means another thing to each client.
        let base_connection = match backend.get("connection") {
            connection if is_pg => reader.object(connection),
            Some(Node { value: Value::Map(map), .. }) => Some(map.clone()),
            _ => Some(Map::new()),
        };
        let backstage_division = backend.choice("pluginDivisionMode", DIVISIONS).unwrap_or_default();
        let division = own.choice("division", DIVISIONS).unwrap_or(backstage_division);
        let prefix = backend.text("prefix").unwrap_or(DatabaseConfig::DEFAULT_PREFIX).into();
        let schema_prefix = backend.text("schemaPrefix").unwrap_or_default().into();
        let databases = Self {
            backend,
            said: Said::of(&own),
            own,
            reader,
            written,
            base_client,
            base_connection,
            prefix,
            schema_prefix,
            backstage_division,
            division,
        };
        databases.check_prefixes();
        databases.check_base();
        databases
    }

    /// Puts it all together; `None` when a connection could not be read. `written` gets every connection.
    pub(super) fn read(&self, written: &mut Vec<Written>, warnings: &mut Vec<String>) -> Option<DatabaseConfig> {
        let base = self.plugin(None, written);
        if let Some(PluginSettings { place, .. }) = &base {
            warnings.extend(not_proxied("plugins of which nothing else is said are", place));
        }
        let ids = [&self.backend, &self.own].into_iter().filter_map(|section| section.section("plugin").map());
        let ids: BTreeSet<&str> = ids.flat_map(|map| map.keys().map(String::as_str)).collect();
        let mut plugins = BTreeMap::new();
        for id in ids {
            let settings = self.plugin(Some(id), written);
            if let Some(PluginSettings { place, .. }) = &settings {
                warnings.extend(not_proxied(&format!("plugin {id} is"), place));
            }
            plugins.insert(Arc::from(id), settings);
        }
        let others = self.others(written);
        let unknown = self.own.choice("unknownDatabases", UNKNOWN).unwrap_or_default();
        let plugins = plugins.into_iter().map(|(id, settings)| Some((id, settings?))).collect::<Option<_>>();
        let config = DatabaseConfig {
            base: base?,
            backstage_division: self.backstage_division,
            prefix: self.prefix.clone(),
            schema_prefix: self.schema_prefix.clone(),
            plugins: plugins?,
            others: others?,
            unknown,
        };
        self.check_served(&config);
        self.warn_about_extensions(&config, warnings);
        Some(config)
    }

    /// A plugin's settings, or those of any plugin of which nothing particular is said.
    fn plugin(&self, id: Option<&str>, written: &mut Vec<Written>) -> Option<PluginSettings> {
        let below = |section: &Section<'a>| id.map(|id| section.section("plugin").section(id));
        let (particular, own) = (below(&self.backend), below(&self.own));
        for section in particular.iter().chain(&own).filter(|section| section.map().is_some()) {
            self.check_plugin_id(id, section);
        }
        let weight = own.as_ref().and_then(|section| section.count("weight", 1)).unwrap_or(1);
        let client = match particular.as_ref().filter(|section| section.has("client")) {
            Some(section) => client(section),
            None => self.base_client.clone(),
        };
        if let Some(client) = client.as_ref().filter(|client| &***client != "pg") {
            // Only greenroom's own settings are looked at: those of another client's pool are no business of ours.
            let own: Vec<Layer<'a>> = own.iter().chain([&self.own]).map(Layer::own).collect();
            let (place, knex) = (PluginPlace::Elsewhere(Arc::clone(client)), KnexPool::default());
            return Some(PluginSettings { place, limits: limits(&own), weight, knex });
        }
        let particular_knex = particular.as_ref().map(|section| section.section("knexConfig"));
        let most = own.as_ref().map(Layer::own).into_iter().chain(particular_knex.as_ref().map(Layer::knex));
        let limits = limits(&most.chain(self.common_layers()).collect::<Vec<_>>());
        let knex_sections: Vec<_> = particular_knex.into_iter().chain(self.knex()).collect();
        let knex = knex_pool(&knex_sections);
        self.check_knex(own.as_ref(), &limits, &knex, &knex_sections);
        client?;
        let place = match self.names_user(particular.as_ref()) {
            true => PluginPlace::Postgres(self.place(id, particular.as_ref(), own.as_ref(), written)?),
            false => PluginPlace::NoLogin,
        };
        Some(PluginSettings { place, limits, weight, knex })
    }

    /// Where the limits of all plugins come from, the most particular layer first.
    fn common_layers(&self) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        [Layer::own(&self.own)].into_iter().chain(self.knex().map(|section| Layer::knex(&section)))
    }

    /// The sections that Backstage merges into Knex's configuration for all plugins, the most particular one first. The last
    /// one is all of `backend.database`: keys that no documentation names, such as `backend.database.pool.max`, work too.
    fn knex(&self) -> [Section<'a>; 2] {
        [self.backend.section("knexConfig"), self.backend.clone()]
    }

    /// Whether a plugin has a login, or at least a connection of its own that should have one.
    fn names_user(&self, particular: Option<&Section<'a>>) -> bool {
        let own = particular.is_some_and(|section| section.has("connection"));
        let base = self.base_connection.as_ref();
        own || base.is_none_or(|base| self.reader.names_user(base, &self.backend.origin_of("connection")))
    }

    fn place(
        &self,
        id: Option<&str>,
        particular: Option<&Section<'a>>,
        own: Option<&Section<'a>>,
        written: &mut Vec<Written>,
    ) -> Option<PostgresPlace> {
        let over = particular.and_then(|section| section.get("connection"));
        let object = self.reader.object(over);
        if over.is_some() && object.is_none() {
            return None;
        }
        let own_database = object.as_ref().is_some_and(|map| self.check_own_database(map));
        self.check_own_host(object.as_ref(), &self.origin(over));
        object.iter().for_each(|map| self.check_connection_string(map));
        let mut found = self.connection(object, self.origin(over), own)?;
        if found.connection.database.is_none() && self.backstage_division == Division::Schema {
            // Nobody names one, so node-postgres asks for libpq's.
            found.connection.database = self.reader.variable("PGDATABASE").map(Arc::from);
        }
        written.push(found.clone());
        let Written { connection, origin, .. } = found;
        let ensure_exists = particular.and_then(|section| section.flag("ensureExists"));
        let ensure_exists = ensure_exists.or(self.backend.flag("ensureExists")).unwrap_or(true);
        let ensure_schema = self.backend.flag("ensureSchemaExists").unwrap_or(false);
        let division = own.and_then(|section| section.choice("division", DIVISIONS)).unwrap_or(self.division);
        let provision = ensure_exists || (division == Division::Schema && ensure_schema);
        let role = self.backend.text("role").map(Into::into);
        particular.into_iter().for_each(without_effect);
        self.check_division(division, own);
        let extensions = self.extensions(own);
        let place = PostgresPlace {
            connection,
            own_database,
            division,
            provision,
            backstage_makes_schemas: ensure_schema,
            extensions,
            role,
        };
        if division == Division::Schema {
            let written = [particular, own].into_iter().flatten().find(|section| section.map().is_some());
            self.check_schema(id, &place, &origin, written);
        } else {
            self.check_database(id, &place, particular.or(own));
        }
        Some(place)
    }

    pub(super) fn mistakes(&self) -> &Mistakes {
        self.reader.mistakes
    }

    /// Whether the base is on PostgreSQL.
    pub(super) fn base_is_pg(&self) -> bool {
        self.base_client.as_deref() == Some("pg")
    }

    /// Where a connection is written: in a place of its own, or else where the base one is.
    fn origin(&self, own: Option<&Node>) -> Origin {
        own.map_or_else(|| self.backend.origin_of("connection"), |node| node.origin.clone())
    }

    /// The base connection with another laid over it, and `own`, what greenroom says about whoever has that one; what is
    /// missing is told at `origin`.
    fn connection(&self, over: Option<Map>, origin: Origin, own: Option<&Section<'a>>) -> Option<Written> {
        let over = over.unwrap_or_default();
        let said = match own {
            Some(own) => Said::of(own).or(&self.said, over.contains_key("password")),
            None => self.said.clone(),
        };
        let object = merge_objects(self.base_connection.as_ref()?, &over);
        let command = said.command_origin.clone();
        Some(Written { connection: self.reader.connection(&object, &origin, said)?, origin, command })
    }

    fn others(&self, written: &mut Vec<Written>) -> Option<BTreeMap<Arc<str>, OtherDatabase>> {
        let mut others = BTreeMap::new();
        let mut complete = true;
        for (name, section) in self.own.section("database").sections() {
            self.check_other_name(name, &section);
            let over = section.get("connection");
            let object = self.reader.object(over);
            let found = match over.is_some() && object.is_none() {
                true => None,
                false => self.connection(object.clone(), self.origin(over), Some(&section)),
            };
            let Some(found) = found else {
                complete = false;
                continue;
            };
            written.push(found.clone());
            let connection = found.connection;
            let own = object.as_ref().is_some_and(|map| self.check_own_database(map));
            let database = connection.database.clone().filter(|_| own).unwrap_or_else(|| name.into());
            let limits = limits(&[Layer::own(&section)].into_iter().chain(self.common_layers()).collect::<Vec<_>>());
            others.insert(name.into(), OtherDatabase { connection, database, limits });
        }
        complete.then_some(others)
    }
}

/// The `client` of a section, if it is one of Backstage's.
fn client(section: &Section<'_>) -> Option<Arc<str>> {
    let client = section.text("client")?;
    if client != "pg" && !NOT_PROXIED.contains(&client) {
        section.expected("client", format_args!("pg ({} are left alone)", NOT_PROXIED.join(", ")));
        return None;
    }
    Some(client.into())
}

/// Tells that greenroom has no part in some plugins, and why.
fn not_proxied(who: &str, place: &PluginPlace) -> Option<String> {
    match place {
        PluginPlace::Postgres(_) => None,
        PluginPlace::Elsewhere(client) => Some(format!("{who} kept in {client}: not proxied")),
        PluginPlace::NoLogin => {
            Some(format!("{who} without a login, for backend.database.connection names no user: not proxied"))
        }
    }
}
