//! The databases of plugins: whether they are there or may be made, and whether tables may be made in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::doors::{Door, acting_role};
use super::enter::Visit;
use super::finding::{Finding, Severity, error, ok, warning};
use super::rights::{Facts, is_true, strangers_sql, text};
use crate::config::{Config, Division, is_plugin_id};
use crate::provision;
use crate::route::RouteTable;
use crate::sql::quote;

/// As many databases of plugins that the configuration does not name are looked into.
const MAX_UNNAMED: usize = 100;

/// Looks at the list of databases from where Backstage creates them; the doors of those that nobody named.
pub(super) async fn list(
    visit: &mut Visit,
    door: &Door,
    facts: &Facts,
    config: &Config,
    table: &RouteTable,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Door>, String> {
    let prefix = &config.database.prefix;
    let rows = visit
        .ask(&format!(
            "SELECT datname FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname::text, {})",
            quote::literal(prefix)
        ))
        .await?;
    let there: BTreeSet<&str> = rows.iter().filter_map(|row| text(row, 0)).collect();
    let configured: BTreeSet<&str> = table.routes().map(|route| route.database.as_str()).collect();
    let unnamed = there.iter().filter(|name| !configured.contains(**name));
    let unnamed = unnamed.filter(|name| name.strip_prefix(&**prefix).is_some_and(is_plugin_id));
    let routes = unnamed.filter_map(|name| table.resolve(name, None).ok());
    let doors: Vec<Door> = routes.take(MAX_UNNAMED).map(|route| Door::of(&route, Some(Division::Database))).collect();
    let subject = door.to_string();
    let acting = quote::identifier(&facts.acting);
    if facts.may_create_databases {
        findings.push(ok(subject, format!("{acting} may create databases for plugins")));
    } else {
        let what = format!("{acting} may not create databases: a plugin whose database was not made beforehand fails");
        let severity = if there.is_empty() { Severity::Error } else { Severity::Warning };
        let finding = Finding::new(severity, subject, what).sql("postgres", format!("ALTER ROLE {acting} CREATEDB"));
        findings.push(finding.setting("greenroom.division: schema, which needs one database for all plugins"));
    }
    for route in table.routes().filter(|route| route.target.provision && route.target.schema.is_none()) {
        let name = &*route.target.database;
        let same_server = route.target.server.address == door.server.address;
        let missing = same_server && name.starts_with(&**prefix) && !there.contains(name);
        if missing && !facts.may_create_databases {
            let made = provision::database_sql(name, Some(acting_role(config).unwrap_or(&route.target.login.user)));
            let what = format!("database {} does not exist, and {acting} may not create it", quote::identifier(name));
            findings.push(error(format!("plugin {}", route.plugin), what).sql("postgres", made));
        }
    }
    Ok(doors)
}

/// Looks into a plugin's database.
pub(super) async fn examine(
    visit: &mut Visit,
    door: &Door,
    facts: &Facts,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let acting = quote::literal(&facts.acting);
    let home = visit.home().await?;
    let rows = visit
        .ask(&format!(
            "SELECT n.nspname, pg_catalog.has_schema_privilege({acting}, n.oid, 'CREATE') AND \
             pg_catalog.has_schema_privilege({acting}, n.oid, 'USAGE'), \
             {} \
             FROM pg_catalog.pg_namespace n \
             WHERE n.nspname = {}",
            strangers_sql(&acting),
            quote::literal(home.as_deref().unwrap_or("public"))
        ))
        .await?;
    let plugins: BTreeSet<String> = door.routes.iter().map(|route: &Arc<_>| route.plugin.to_string()).collect();
    let subject = format!("plugin {}", plugins.into_iter().collect::<Vec<_>>().join(", "));
    let quoted = quote::identifier(&facts.acting);
    let Some(row) = rows.first() else {
        let what = format!("database {} has no schema public to create tables in", door.database);
        findings.push(error(subject, what).sql(&door.database, format!("CREATE SCHEMA public AUTHORIZATION {quoted}")));
        return Ok(());
    };
    let schema = quote::identifier(text(row, 0).unwrap_or("public"));
    if !is_true(row, 1) {
        let what = format!(
            "schema {schema} of {} lets {quoted} create no tables, as PostgreSQL 15 made it the owner's alone",
            door.database
        );
        let grant = format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {quoted}");
        findings.push(error(subject, what).sql(&door.database, grant));
    } else if let Some((strangers, mend)) = text(row, 2).zip(text(row, 3)) {
        let what = format!(
            "tables in schema {schema} of {} belong to {strangers}: {quoted} can neither migrate nor read them",
            door.database
        );
        findings.push(warning(subject, what).sql(&door.database, mend));
    } else {
        findings.push(ok(subject, format!("database {} is there", door.database)));
    }
    Ok(())
}
