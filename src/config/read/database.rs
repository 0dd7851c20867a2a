//! `backend.database`, and what `greenroom` adds to it about plugins and other databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::Reader;
use super::pool::{Layer, limits};
use super::section::Section;
use crate::config::yaml::{Map, Node, Origin, merge_objects};
use crate::config::{
    Connection, DatabaseConfig, Division, MAX_NAME_BYTES, OtherDatabase, PluginPlace, PluginSettings, PostgresPlace,
    UnknownDatabases, is_plugin_id,
};

const DIVISIONS: &[(&str, Division)] = &[("schema", Division::Schema), ("database", Division::Database)];
const UNKNOWN: &[(&str, UnknownDatabases)] =
    &[("refuse", UnknownDatabases::Refuse), ("passthrough", UnknownDatabases::Passthrough)];

/// The two sections that say where data is.
pub(super) struct Databases<'a> {
    backend: Section<'a>,
    own: Section<'a>,
    reader: Reader<'a>,
    base_connection: Map,
    base_client: Option<Arc<str>>,
    prefix: Arc<str>,
    schema_prefix: Arc<str>,
    /// How Backstage itself divides, which may differ from where data is.
    backstage_division: Division,
    division: Division,
}

/// A connection, what to call it and where it is written: for the checks that need them all.
pub(super) type Written = (Connection, Origin);

impl<'a> Databases<'a> {
    /// Reads what is common to all plugins.
    pub(super) fn new(backend: Section<'a>, own: Section<'a>, reader: Reader<'a>) -> Self {
        let base_client = backend.text("client").map(Arc::from);
        if base_client.is_none() && !backend.has("client") {
            backend.mistake("client", "missing, expected pg");
        }
        let is_pg = base_client.as_deref() == Some("pg");
        if is_pg && !backend.has("connection") {
            backend.mistake("connection", "missing, expected a connection string or {host, port, user, password}");
        }
        let base_connection = if is_pg { reader.object(backend.get("connection")) } else { None };
        let backstage_division = backend.choice("pluginDivisionMode", DIVISIONS).unwrap_or_default();
        let division = own.choice("division", DIVISIONS).unwrap_or(backstage_division);
        let prefix = backend.text("prefix").unwrap_or(DatabaseConfig::DEFAULT_PREFIX).into();
        let schema_prefix = backend.text("schemaPrefix").unwrap_or_default().into();
        let base_connection = base_connection.unwrap_or_default();
        let databases = Self {
            backend,
            own,
            reader,
            base_connection,
            base_client,
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
        for section in particular.iter().chain(&own).filter(|_| !id.is_none_or(is_plugin_id)) {
            if section.map().is_some() {
                self.reader.mistakes.add(section.origin(), "not a plugin id; expected letters, digits, - and _");
            }
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
        let (connection, origin) = self.connection(object, over)?;
        written.push((connection.clone(), origin));
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
            self.check_schema(id, &place, particular.or(own));
        }
        Some(place)
    }

    /// The base connection with another laid over it, and where the result is written.
    fn connection(&self, over: Option<Map>, at: Option<&Node>) -> Option<(Connection, Origin)> {
        let origin = match at {
            Some(node) => node.origin.clone(),
            None => self.backend.origin_of("connection"),
        };
        if over.is_none() && self.base_connection.is_empty() {
            // Missing or unreadable, and told already; an empty mapping is told what it lacks.
            self.backend.get("connection").and_then(Node::as_map)?;
        }
        let object = merge_objects(&self.base_connection, &over.unwrap_or_default());
        Some((self.reader.connection(&object, &origin)?, origin))
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
                false => self.connection(object.clone(), over.or(self.backend.get("connection"))),
            };
            let Some((connection, origin)) = found else {
                complete = false;
                continue;
            };
            let database = object.and_then(|map| map.contains_key("database").then(|| connection.database.clone()));
            let database = database.flatten().unwrap_or_else(|| name.into());
            let limits = limits(&[
                Layer::Own(section.section("pool")),
                Layer::Own(self.own.section("pool")),
                Layer::Knex(self.backend.section("knexConfig").section("pool")),
            ]);
            written.push((connection.clone(), origin));
            others.insert(name.into(), OtherDatabase { connection, database, limits });
        }
        complete.then_some(others)
    }

    fn check_prefixes(&self) {
        let mut rest = self.schema_prefix.bytes();
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = rest.next().is_none_or(|byte| word(byte) && !byte.is_ascii_digit());
        if !begins || !rest.all(word) {
            self.backend.expected("schemaPrefix", "a letter or _, then letters, digits and _");
        }
        if self.schema_prefix.len() >= MAX_NAME_BYTES {
            self.backend
                .expected("schemaPrefix", format!("less than {MAX_NAME_BYTES} bytes, with the plugin id after it"));
        }
    }

    /// Checks a place in a schema: there must be a database around it, and its name must fit.
    fn check_schema(&self, id: Option<&str>, place: &PostgresPlace, at: Option<&Section<'a>>) {
        let another = &*self.prefix != DatabaseConfig::DEFAULT_PREFIX;
        if another && self.schema_prefix.is_empty() {
            self.backend.mistake(
                "schemaPrefix",
                format!(
                    "missing beside prefix {:?}, expected one with schema division, for the schemas of two deployments in one \
                     database would have the same names",
                    self.prefix
                ),
            );
        }
        let Some(database) = &place.connection.database else {
            let problem = "missing, expected the database that holds the plugins' schemas (division: schema)";
            return self.reader.mistakes.add(&self.backend.origin_of("connection").key("database"), problem);
        };
        let plugin = database.strip_prefix(&*self.prefix).filter(|id| is_plugin_id(id));
        if self.backstage_division == Division::Database && !place.own_database && plugin.is_some() {
            let problem = format!(
                "{database} is also the name of a plugin's database; expected a name that does not begin with {}",
                self.prefix
            );
            self.reader.mistakes.add(&self.backend.origin_of("connection").key("database"), problem);
        }
        let schema = format!("{}{}", self.schema_prefix, id.unwrap_or_default());
        if let (true, Some(at)) = (schema.len() > MAX_NAME_BYTES, at) {
            let problem = format!(
                "its schema {schema} has {} bytes, expected at most {MAX_NAME_BYTES}; shorten schemaPrefix",
                schema.len()
            );
            self.reader.mistakes.add(at.origin(), problem);
        }
    }

    fn check_other_name(&self, name: &str, section: &Section<'a>) {
        let taken = match name.strip_prefix(&*self.prefix) {
            _ if name == "postgres" => "where databases are created",
            Some(id) if is_plugin_id(id) => "a plugin's",
            _ => return,
        };
        self.reader.mistakes.add(section.origin(), format!("the name {name} is {taken}; expected another name"));
    }

    fn check_served(&self, config: &DatabaseConfig) {
        let on_postgres = |settings: &PluginSettings| matches!(settings.place, PluginPlace::Postgres(_));
        let any = on_postgres(&config.base) || config.plugins.values().any(on_postgres) || !config.others.is_empty();
        if !any {
            self.backend.expected("client", "pg: nothing here is on PostgreSQL");
        }
        for (id, settings) in &config.plugins {
            let PluginPlace::Postgres(PostgresPlace { own_database: true, connection, .. }) = &settings.place else {
                continue;
            };
            let Some(name) = connection.database.as_ref().filter(|name| config.others.contains_key(*name)) else {
                continue;
            };
            let section = self.own.section("database").section(name);
            let problem = format!("the name {name} is plugin {id}'s database; expected another name");
            self.reader.mistakes.add(section.origin(), problem);
        }
    }
}
