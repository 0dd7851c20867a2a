//! What names alone tell: plugins that would meet, names that lead nowhere, divisions that do not fit together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::finding::{Finding, error, note, ok, warning};
use crate::config::{Config, Division, PluginPlace, ServerAddress};
use crate::route::{Route, RouteTable};

/// Examines a configuration without any connection.
pub(super) fn examine(config: &Config, table: &RouteTable) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        config.warnings.iter().map(|text| warning("configuration", text.clone())).collect();
    divisions(config, &mut findings);
    let mut homes: BTreeMap<Home, Vec<&str>> = BTreeMap::new();
    for (id, settings) in &config.database.plugins {
        if settings.place.postgres().is_none() {
            continue;
        }
        match route_of(id, config, table) {
            Ok(route) => homes.entry(Home::of(id, &route, config)).or_default().push(id),
            Err(problem) => findings.push(error(format!("plugin {id}"), problem)),
        }
    }
    for (home, ids) in homes.into_iter().filter(|(_, ids)| ids.len() > 1) {
        let what = format!("share {home}: each would take the other's migrations for its own");
        let remedy = format!("backend.database.plugin.{}.connection.database: one of its own", ids[1]);
        findings.push(error(format!("plugins {}", ids.join(", ")), what).setting(remedy));
    }
    if !findings.iter().any(|finding| finding.severity > super::Severity::Note) {
        findings.push(ok("configuration", "every name leads to one place"));
    }
    findings
}

/// Where a plugin's tables are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Home {
    server: ServerAddress,
    database: Arc<str>,
    schema: Option<Arc<str>>,
}

impl Home {
    fn of(id: &str, route: &Route, config: &Config) -> Self {
        let target = &route.target;
        // A Backstage in schema mode sets its search_path itself, in whatever database it is led to.
        let own = format!("{}{id}", config.database.schema_prefix).into();
        let schema = match config.database.backstage_division {
            Division::Schema => Some(own),
            Division::Database => target.schema.clone(),
        };
        Self { server: target.server.address.clone(), database: target.database.clone(), schema }
    }
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "schema {schema} of database {}", self.database),
            None => write!(f, "database {}", self.database),
        }
    }
}

/// The route that a plugin's client gets: by the database that Backstage asks for.
fn route_of(id: &str, config: &Config, table: &RouteTable) -> Result<Arc<Route>, String> {
    let in_schemas = config.database.backstage_division == Division::Schema;
    let place = config.database.plugin(id).place.postgres();
    let asked =
        place.filter(|place| place.own_database || in_schemas).and_then(|place| place.connection.database.clone());
    let name = asked.unwrap_or_else(|| format!("{}{id}", config.database.prefix).into());
    table.resolve(&name, Some(&format!("backstage_plugin_{id}"))).map_err(|problem| problem.to_string())
}

/// Backstage in schema mode sets its own search_path in one database: data that is kept otherwise is out of its reach.
fn divisions(config: &Config, findings: &mut Vec<Finding>) {
    if config.database.backstage_division != Division::Schema {
        return;
    }
    let database = |place: &PluginPlace| place.postgres().is_some_and(|place| place.division == Division::Database);
    let why = "with backend.database.pluginDivisionMode: schema Backstage asks for one database and sets the schema itself, \
               so it never asks for a plugin's own database";
    if database(&config.database.base.place) {
        let finding = error("greenroom.division", format!("database: {why}"));
        findings.push(
            finding
                .setting("greenroom.division: schema")
                .setting("backend.database.pluginDivisionMode: database, for greenroom and for Backstage"),
        );
        return;
    }
    for (id, _) in config.database.plugins.iter().filter(|(_, settings)| database(&settings.place)) {
        let finding = error(format!("greenroom.plugin.{id}.division"), format!("database: {why}"));
        findings.push(finding.setting(format!("greenroom.plugin.{id}.division: schema")));
    }
    findings
        .push(note("configuration", "Backstage itself divides by schema; greenroom leads it to the shared database"));
}
