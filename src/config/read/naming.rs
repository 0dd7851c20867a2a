//! Names: of prefixes, schemas and databases, and that each of them stands for one thing.

use super::database::Databases;
use super::section::Section;
use crate::config::yaml::{Origin, Value};
use crate::config::{
    DatabaseConfig, Division, MAX_NAME_BYTES, PluginPlace, PluginSettings, PostgresPlace, is_plugin_id,
};

impl Databases<'_> {
    /// Checks that a section about a plugin bears a plugin's id.
    pub(super) fn check_plugin_id(&self, id: Option<&str>, section: &Section<'_>) {
        if !id.is_none_or(is_plugin_id) {
            self.mistakes().add(section.origin(), "not a plugin id; expected letters, digits, - and _");
        }
    }

    /// Checks what the names of schemas begin with.
    pub(super) fn check_prefixes(&self) {
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
    pub(super) fn check_schema(
        &self,
        id: Option<&str>,
        place: &PostgresPlace,
        connection: &Origin,
        at: Option<&Section<'_>>,
    ) {
        let another = &*self.prefix != DatabaseConfig::DEFAULT_PREFIX;
        if another && self.schema_prefix.is_empty() {
            self.backend.mistake(
                "schemaPrefix",
                format!(
                    "missing beside prefix {:?}, expected one with schema division, for the schemas of two deployments \
                     in one database would have the same names",
                    self.prefix
                ),
            );
        }
        let Some(database) = &place.connection.database else {
            let base = self.base_connection.as_ref().filter(|_| self.base_is_pg());
            // A plugin's string without a database covers the base's.
            let missing_in_base = base.is_some_and(|base| !base.contains_key("database"));
            let base = missing_in_base.then(|| self.backend.origin_of("connection"));
            let origin = base.as_ref().unwrap_or(connection).key("database");
            let remedy = ", expected the database that holds the plugins' schemas (division: schema)";
            return self.mistakes().missing(&origin, remedy);
        };
        let plugin = database.strip_prefix(&*self.prefix).filter(|id| is_plugin_id(id));
        if self.backstage_division == Division::Database && !place.own_database && plugin.is_some() {
            let problem = format!(
                "{database} is also the name of a plugin's database; expected a name that does not begin with {}",
                self.prefix
            );
            self.mistakes().add(&self.backend.origin_of("connection").key("database"), problem);
        }
        let schema = format!("{}{}", self.schema_prefix, id.unwrap_or_default());
        if let (true, Some(at)) = (schema.len() > MAX_NAME_BYTES, at) {
            let problem = format!(
                "its schema {schema} has {} bytes, expected at most {MAX_NAME_BYTES}; shorten schemaPrefix",
                schema.len()
            );
            self.mistakes().add(at.origin(), problem);
        }
    }

    /// Checks a place in a database of its own: its name must fit.
    pub(super) fn check_database(&self, id: Option<&str>, place: &PostgresPlace, at: Option<&Section<'_>>) {
        let own = place.connection.database.as_deref().filter(|_| place.own_database);
        let name = own.map_or_else(|| format!("{}{}", self.prefix, id.unwrap_or_default()), str::to_owned);
        if let (true, Some(at)) = (name.len() > MAX_NAME_BYTES, at) {
            let problem = format!(
                "its database {name} has {} bytes, expected at most {MAX_NAME_BYTES}; shorten prefix, or name a database \
                 in its connection",
                name.len()
            );
            self.mistakes().add(at.origin(), problem);
        }
    }

    /// Checks that the name of a database that is no plugin's means nothing else.
    pub(super) fn check_other_name(&self, name: &str, section: &Section<'_>) {
        let base = self.base_connection.as_ref().and_then(|map| map.get("database"));
        let taken = match name.strip_prefix(&*self.prefix) {
            _ if name == "postgres" => "where databases are created",
            _ if base.is_some_and(|node| matches!(&node.value, Value::Text(base) if base == name)) => {
                "that of backend.database.connection"
            }
            Some(id) if is_plugin_id(id) => "a plugin's",
            _ => return,
        };
        self.mistakes().add(section.origin(), format!("the name {name} is {taken}; expected another name"));
    }

    /// Checks that there is something to serve, and each name stands for one thing.
    pub(super) fn check_served(&self, config: &DatabaseConfig) {
        let on_postgres = |settings: &PluginSettings| matches!(settings.place, PluginPlace::Postgres(_));
        let any = on_postgres(&config.base) || config.plugins.values().any(on_postgres) || !config.others.is_empty();
        let base_login = matches!(config.base.place, PluginPlace::NoLogin);
        match (any, self.written) {
            (true, _) => {}
            (false, false) => self.mistakes().add(
                self.backend.origin(),
                "missing, so Backstage keeps everything in better-sqlite3, in memory: nothing to proxy; expected client: pg \
                 and a connection",
            ),
            (false, true) if base_login => {
                let user = self.backend.origin_of("connection").key("user");
                self.mistakes().missing(&user, ", expected the role that logs in");
            }
            (false, true) => {
                self.backend.expected("client", "pg: nothing here is on PostgreSQL, so there is nothing to proxy");
            }
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
            self.mistakes().add(section.origin(), problem);
        }
    }
}
