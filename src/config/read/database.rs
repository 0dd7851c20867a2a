//! `backend.database`, and what `greenroom` adds to it about plugins and other databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::Reader;
use super::password::Said;
use super::pool::{Layer, limits};
use super::section::Section;
use crate::config::mistake::Mistakes;
use crate::config::yaml::{Map, Node, Origin, merge_objects};
use crate::config::{
    Connection, DatabaseConfig, Division, OtherDatabase, PluginPlace, PluginSettings, PostgresPlace, UnknownDatabases,
};

const DIVISIONS: &[(&str, Division)] = &[("schema", Division::Schema), ("database", Division::Database)];
const UNKNOWN: &[(&str, UnknownDatabases)] =
    &[("refuse", UnknownDatabases::Refuse), ("passthrough", UnknownDatabases::Passthrough)];

/// The two sections that say where data is.
pub(super) struct Databases<'a> {
    pub(super) backend: Section<'a>,
    pub(super) own: Section<'a>,
    reader: Reader<'a>,
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
    pub(super) fn new(backend: Section<'a>, own: Section<'a>, reader: Reader<'a>) -> Self {
        let base_client = backend.text("client").map(Arc::from);
        if base_client.is_none() && !backend.has("client") {
            backend.missing("client", "pg");
        }
        let is_pg = base_client.as_deref() == Some("pg");
        if is_pg && !backend.has("connection") {
            backend.missing("connection", "a connection string or {host, port, user, password}");
        }
        let base_connection = if is_pg { reader.object(backend.get("connection")) } else { Some(Map::new()) };
        let backstage_division = backend.choice("pluginDivisionMode", DIVISIONS).unwrap_or_default();
        let division = own.choice("division", DIVISIONS).unwrap_or(backstage_division);
        let prefix = backend.text("prefix").unwrap_or(DatabaseConfig::DEFAULT_PREFIX).into();
        let schema_prefix = backend.text("schemaPrefix").unwrap_or_default().into();
        let databases = Self {
            backend,
            said: Said::of(&own),
            own,
            reader,
            base_client,
            base_connection,
            prefix,
            schema_prefix,
            backstage_division,
            division,
        };
        databases.check_prefixes();
        databases
    }

    /// Puts it all together; `None` when a connection could not be read. `written` gets every connection.
    pub(super) fn read(&self, written: &mut Vec<Written>, warnings: &mut Vec<String>) -> Option<DatabaseConfig> {
        let base = self.plugin(None, written);
        let ids = [&self.backend, &self.own].into_iter().filter_map(|section| section.section("plugin").map());
        let ids: BTreeSet<&str> = ids.flat_map(|map| map.keys().map(String::as_str)).collect();
        let mut plugins = BTreeMap::new();
        for id in ids {
            let settings = self.plugin(Some(id), written);
            if let Some(PluginSettings { place: PluginPlace::Elsewhere(client), .. }) = &settings {
                warnings.push(format!("plugin {id} is kept in {client}: not proxied"));
            }
            plugins.insert(Arc::from(id), settings);
        }
        let others = self.others(written);
        let unknown = self.own.choice("unknownDatabases", UNKNOWN).unwrap_or_default();
        let plugins = plugins.into_iter().map(|(id, settings)| Some((id, settings?))).collect::<Option<_>>();
        let config = DatabaseConfig {
            base: base?,
            prefix: self.prefix.clone(),
            schema_prefix: self.schema_prefix.clone(),
            plugins: plugins?,
            others: others?,
            unknown,
        };
        self.check_served(&config);
        Some(config)
    }

    /// A plugin's settings, or those of any plugin of which nothing particular is said.
    fn plugin(&self, id: Option<&str>, written: &mut Vec<Written>) -> Option<PluginSettings> {
        let below = |section: &Section<'a>| id.map(|id| section.section("plugin").section(id));
        let (particular, own) = (below(&self.backend), below(&self.own));
        for section in particular.iter().chain(&own).filter(|section| section.map().is_some()) {
            self.check_plugin_id(id, section);
        }
        let pool = |section: &Section<'a>| Layer::Own(section.section("pool"));
        let knex = |section: &Section<'a>| Layer::Knex(section.section("knexConfig").section("pool"));
        let layers: Vec<Layer<'a>> = [own.as_ref().map(pool), particular.as_ref().map(knex)]
            .into_iter()
            .flatten()
            .chain([pool(&self.own), knex(&self.backend)])
            .collect();
        let limits = limits(&layers);
        let client = particular.as_ref().and_then(|section| section.text("client")).map(Arc::from);
        let client: Arc<str> = client.or_else(|| self.base_client.clone())?;
        if &*client != "pg" {
            return Some(PluginSettings { place: PluginPlace::Elsewhere(client), limits });
        }
        let place = self.place(id, particular.as_ref(), own.as_ref(), written)?;
        Some(PluginSettings { place: PluginPlace::Postgres(place), limits })
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
        let own_database = object.as_ref().is_some_and(|map| map.contains_key("database"));
        let found = self.connection(object, self.origin(over), own)?;
        written.push(found.clone());
        let Written { connection, origin, .. } = found;
        let setting = |key: &str| {
            let base = self.backend.flag(key);
            particular.and_then(|section| section.flag(key)).or(base)
        };
        let (ensure_exists, ensure_schema) = (setting("ensureExists"), setting("ensureSchemaExists"));
        let division = own.and_then(|section| section.choice("division", DIVISIONS)).unwrap_or(self.division);
        let provision =
            ensure_exists.unwrap_or(true) || (division == Division::Schema && ensure_schema.unwrap_or(false));
        let role = particular.and_then(|section| section.text("role")).or(self.backend.text("role"));
        let place = PostgresPlace { connection, own_database, division, provision, role: role.map(Into::into) };
        if division == Division::Schema {
            let written = [particular, own].into_iter().flatten().find(|section| section.map().is_some());
            self.check_schema(id, &place, &origin, written);
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
            let database = object.and_then(|map| map.contains_key("database").then(|| connection.database.clone()));
            let database = database.flatten().unwrap_or_else(|| name.into());
            let limits = limits(&[
                Layer::Own(section.section("pool")),
                Layer::Own(self.own.section("pool")),
                Layer::Knex(self.backend.section("knexConfig").section("pool")),
            ]);
            others.insert(name.into(), OtherDatabase { connection, database, limits });
        }
        complete.then_some(others)
    }
}
