//! What Backstage would make of a configuration where greenroom cannot go along: mistakes where the two would part ways,
//! remarks where Backstage alone has the trouble.

use super::database::Databases;
use super::endpoint::CONNECTION_STRING;
use super::section::Section;
use crate::config::yaml::{Map, Node, Origin, Value};
use crate::config::{Division, KnexPool, PoolLimits};

impl Databases<'_> {
    /// Checks what holds for all plugins.
    pub(super) fn check_base(&self) {
        for key in
            ["prefix", "schemaPrefix"].into_iter().filter(|key| self.backend.has(key) && self.backend.is_blank(key))
        {
            self.backend.remark(key, "empty, so the default counts; Backstage refuses to start with it: take it out");
        }
        let Some(connection) = self.base_connection.as_ref().filter(|_| self.base_is_pg()) else { return };
        self.check_connection_string(connection);
        let named = connection.get("application_name").filter(|_| self.backstage_division == Division::Schema);
        if let Some(node) = named {
            self.mistakes().remark(
                &node.origin,
                "covers backstage_plugin_<id>, by which greenroom tells plugins apart while pluginDivisionMode is schema; \
                 take it out",
            );
        }
    }

    /// Checks that a string inside an object does not undo what Backstage says beside it.
    pub(super) fn check_connection_string(&self, connection: &Map) {
        if let (Division::Database, Some(node)) = (self.backstage_division, connection.get(CONNECTION_STRING)) {
            let problem = "node-postgres lets it win over the database that Backstage chooses for each plugin, so all would \
                           meet in one; write the string as connection itself";
            self.mistakes().add(&node.origin, problem);
        }
    }

    /// Whether a connection names a database of its own; not so with an empty name.
    pub(super) fn check_own_database(&self, connection: &Map) -> bool {
        match connection.get("database") {
            None | Some(Node { value: Value::Null, .. }) => false,
            Some(Node { value: Value::Text(name), origin }) if name.is_empty() => {
                let problem = "found \"\", expected a name, or no key at all: node-postgres would take the user's name";
                self.mistakes().add(origin, problem);
                false
            }
            Some(_) => true,
        }
    }

    /// Checks that a plugin on PostgreSQL beside a base that is not says where it is.
    pub(super) fn check_own_host(&self, connection: Option<&Map>, origin: &Origin) {
        let base_is_text = matches!(self.backend.get("connection"), Some(Node { value: Value::Text(_), .. }));
        let Some(connection) = connection.filter(|_| base_is_text && !self.base_is_pg()) else { return };
        let section = Section::merged(connection, origin.clone(), self.mistakes());
        if section.is_blank("host") && !section.has(CONNECTION_STRING) {
            section
                .missing("host", "PostgreSQL's: Backstage would make one called base of backend.database.connection");
        }
    }

    /// Checks that a Backstage in schema mode finds schemas. Its plugins all ask for one database, and each sets its
    /// search_path; there is nothing in that by which they could be led to databases of their own.
    pub(super) fn check_division(&self, division: Division, own: Option<&Section<'_>>) {
        if (self.backstage_division, division) == (Division::Schema, Division::Database) {
            let section = own.filter(|section| section.has("division")).unwrap_or(&self.own);
            section.mistake(
                "division",
                "found database, expected schema: with backend.database.pluginDivisionMode schema all plugins ask for one \
                 database and set their search_path, so none can be led to a database of its own; take this out, or set \
                 pluginDivisionMode to database",
            );
        }
    }

    /// Checks the limits of a plugin against those of the pool that Backstage makes for it out of `sections`.
    pub(super) fn check_knex(
        &self,
        own: Option<&Section<'_>>,
        limits: &PoolLimits,
        knex: &KnexPool,
        sections: &[Section<'_>],
    ) {
        let pools = || sections.iter().map(|section| section.section("pool"));
        if limits.acquire_timeout >= knex.patience() {
            let pool = own.map(|section| section.section("pool")).filter(|pool| pool.has("acquireTimeoutMillis"));
            let pool = pool.unwrap_or_else(|| self.own.section("pool"));
            let remark = format_args!(
                "{} is not below the {} that Knex gives a new client: one that waits longer is told of a full pool \
                 instead of greenroom's reason; set it lower",
                limits.acquire_timeout.as_millis(),
                knex.patience().as_millis()
            );
            pool.remark("acquireTimeoutMillis", remark);
        }
        if let Some(pool) = pools().find(|pool| knex.max < knex.min && pool.has("max")) {
            let remark =
                format_args!("{} is less than min ({}): Backstage refuses it; set min too", knex.max, knex.min);
            pool.remark("max", remark);
        }
        for pool in pools() {
            let texts = pool.map().into_iter().flatten().filter(|(_, node)| matches!(node.value, Value::Text(_)));
            for (key, _) in texts {
                let remark = format_args!(
                    "is text, as every variable's value is, and Backstage's own pool takes numbers only; set \
                     APP_CONFIG_backend_database_knexConfig_pool_{key} instead"
                );
                pool.remark(key, remark);
            }
        }
    }
}

/// Remarks on what Backstage does not look at in a plugin's section (0.17.7 to 0.18.0 of `@backstage/backend-defaults`).
pub(super) fn without_effect(particular: &Section<'_>) {
    for key in ["role", "ensureSchemaExists"].into_iter().filter(|key| particular.has(key)) {
        particular.remark(
            key,
            format_args!("Backstage looks only at backend.database.{key}, and so does greenroom; take it out"),
        );
    }
}
