//! The schemas of plugins: whether they are there or may be made, whose they are, and whether tables may be made in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::doors::Door;
use super::enter::Visit;
use super::finding::{Finding, Severity, error, note, ok, warning};
use super::rights::{self, Facts, is_true, text};
use crate::config::{Config, Division, MAX_NAME_BYTES, is_plugin_id};
use crate::provision::{self, Mark};
use crate::route::{PluginId, Route, Target};
use crate::server::Row;
use crate::sql::quote;

/// A schema that is there.
struct Schema {
    owner: String,
    /// Whose its comment says it is.
    mark: Option<Mark>,
    /// Whether tables can be made in it, by who acts.
    is_open: bool,
    /// Owners of what is in it who are strangers to who acts, and the statements that change that.
    strangers: Option<(String, String)>,
}

/// Looks at every schema that is or could be a plugin's.
pub(super) async fn examine(
    visit: &mut Visit,
    door: &Door,
    facts: &Facts,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let schemas = list(visit, facts).await?;
    let mut ready = 0;
    let mut missing = Vec::new();
    for route in &door.routes {
        let Some(name) = route.target.schema.as_deref() else { continue };
        match schemas.get(name) {
            Some(schema) => {
                let found = of_plugin(name, schema, route, door, facts);
                ready += usize::from(found.severity < Severity::Error);
                findings.push(found);
            }
            None => missing.push((name, route)),
        }
    }
    for (name, schema) in &schemas {
        let named = door.routes.iter().any(|route| route.target.schema.as_deref() == Some(name))
            || config.database.is_for_extensions(name);
        let id = name.strip_prefix(&*config.database.schema_prefix).filter(|id| is_plugin_id(id));
        if let (true, false, Some(id)) = (door.is_shared, named, id) {
            ready += usize::from(perhaps_a_plugins(name, id, schema, door, facts, findings));
        }
    }
    for (name, route) in &missing {
        findings.push(not_there(name, route, door, facts, config));
    }
    if door.is_shared {
        findings.extend(others(door, facts, ready, config));
        rights::public(visit, door, facts, findings).await?;
        extensions(visit, door, facts, config, findings).await?;
        if config.database.backstage_division == Division::Database {
            hidden(visit, door, config, findings).await?;
        }
    }
    Ok(())
}

async fn list(visit: &mut Visit, facts: &Facts) -> Result<BTreeMap<String, Schema>, String> {
    let acting = quote::literal(&facts.acting);
    let rows = visit
        .ask(&format!(
            "SELECT n.nspname, pg_catalog.pg_get_userbyid(n.nspowner), \
             pg_catalog.obj_description(n.oid, 'pg_namespace'), \
             pg_catalog.has_schema_privilege({acting}, n.oid, 'CREATE') AND \
             pg_catalog.has_schema_privilege({acting}, n.oid, 'USAGE'), \
             {} \
             FROM pg_catalog.pg_namespace n \
             WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public')",
            rights::strangers_sql(&acting)
        ))
        .await?;
    let schema = |row: &Row| {
        let mark = text(row, 2).and_then(Mark::read);
        let schema = Schema {
            owner: text(row, 1)?.to_owned(),
            mark,
            is_open: is_true(row, 3),
            strangers: text(row, 4).zip(text(row, 5)).map(|(who, mend)| (who.to_owned(), mend.to_owned())),
        };
        Some((text(row, 0)?.to_owned(), schema))
    };
    Ok(rows.iter().filter_map(schema).collect())
}

/// The schema of a plugin that the configuration names.
fn of_plugin(name: &str, schema: &Schema, route: &Route, door: &Door, facts: &Facts) -> Finding {
    let subject = format!("plugin {}", route.plugin);
    let quoted = quote::identifier(name);
    match &schema.mark {
        Some(mark) if is_strange(mark, &route.target) => {
            let what = format!(
                "schema {quoted} of {} belongs to {}, not to this plugin of {}",
                door.database,
                owner(mark),
                route.target.deployment
            );
            error(subject, what)
                .sql(&door.database, provision::marking_sql(name, &route.target))
                .setting("backend.database.schemaPrefix: one for each deployment")
        }
        _ if !schema.is_open => shut(subject, name, schema, door, facts, Severity::Error),
        _ => match &schema.strangers {
            Some(strangers) => strange(subject, name, strangers, door, facts),
            None => ok(subject, format!("schema {quoted} of {} is there, owned by {}", door.database, schema.owner)),
        },
    }
}

fn shut(subject: String, name: &str, schema: &Schema, door: &Door, facts: &Facts, severity: Severity) -> Finding {
    let (quoted, acting) = (quote::identifier(name), quote::identifier(&facts.acting));
    let what =
        format!("schema {quoted} of {}, owned by {}, lets {acting} create no tables", door.database, schema.owner);
    Finding::new(severity, subject, what)
        .sql(&door.database, format!("GRANT USAGE, CREATE ON SCHEMA {quoted} TO {acting}"))
}

/// Whether a mark keeps the target out.
fn is_strange(mark: &Mark, target: &Target) -> bool {
    *mark.deployment != *target.deployment || mark.plugin.as_deref().is_some_and(|id| id != target.plugin.as_str())
}

fn owner(mark: &Mark) -> String {
    let plugin = mark.plugin.as_deref().map(|plugin| format!("plugin {plugin} of "));
    format!("{}the deployment with prefix {}", plugin.unwrap_or_default(), mark.deployment)
}

fn strange(subject: String, name: &str, (strangers, mend): &(String, String), door: &Door, facts: &Facts) -> Finding {
    let (quoted, acting) = (quote::identifier(name), quote::identifier(&facts.acting));
    let what = format!(
        "tables in schema {quoted} of {} belong to {strangers}: {acting} can neither migrate nor read them",
        door.database
    );
    warning(subject, what).sql(&door.database, mend)
}

/// A schema that would be a plugin's by the rule; whether a plugin could use it.
fn perhaps_a_plugins(
    name: &str,
    id: &str,
    schema: &Schema,
    door: &Door,
    facts: &Facts,
    findings: &mut Vec<Finding>,
) -> bool {
    let subject = format!("plugin {id}");
    let target = Target { schema: Some(name.into()), plugin: PluginId(id.into()), ..door.routes[0].target.clone() };
    match &schema.mark {
        Some(mark) if is_strange(mark, &target) => {
            let what = format!(
                "schema {} of {} belongs to {}: a plugin of that id would be refused here, and two catalogs cannot share a \
                 database",
                quote::identifier(name),
                door.database,
                owner(mark)
            );
            let finding = warning(subject, what).sql(&door.database, provision::marking_sql(name, &target));
            findings.push(finding.setting("backend.database.connection.database: one for each deployment"));
            false
        }
        _ if schema.is_open => {
            match &schema.strangers {
                Some(strangers) => findings.push(strange(subject, name, strangers, door, facts)),
                None if schema.mark.is_some() => {
                    findings.push(ok(subject, format!("schema {} is there", quote::identifier(name))));
                }
                None => {}
            }
            true
        }
        Some(_) => {
            findings.push(shut(subject, name, schema, door, facts, Severity::Error));
            false
        }
        None => {
            findings.push(shut(subject, name, schema, door, facts, Severity::Note));
            false
        }
    }
}

/// Who makes a plugin's schema that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// greenroom, as the login, on first use.
    Greenroom,
    /// Backstage, as who acts, at each start.
    Backstage,
    /// Nobody, for want of this setting.
    Nobody(&'static str),
}

impl Maker {
    /// A Backstage in schema mode is led to the database as it is, where greenroom makes nothing.
    fn of(config: &Config, provision: bool) -> Self {
        let base = config.database.base_place();
        match (config.database.backstage_division, provision) {
            (Division::Schema, _) if base.is_some_and(|place| place.backstage_makes_schemas) => Self::Backstage,
            (Division::Schema, _) => Self::Nobody("ensureSchemaExists"),
            (Division::Database, true) => Self::Greenroom,
            (Division::Database, false) => Self::Nobody("ensureExists"),
        }
    }

    fn may(self, facts: &Facts) -> bool {
        match self {
            Self::Greenroom => facts.may_create,
            Self::Backstage => facts.acting_may_create,
            Self::Nobody(_) => false,
        }
    }

    fn grant(self, door: &Door, facts: &Facts) -> String {
        let who = if self == Self::Backstage { &facts.acting } else { &*door.login.user };
        format!("GRANT CREATE ON DATABASE {} TO {}", quote::identifier(&door.database), quote::identifier(who))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greenroom => "greenroom",
            Self::Backstage => "Backstage",
            Self::Nobody(_) => "nobody",
        })
    }
}

/// A plugin's schema that is missing.
fn not_there(name: &str, route: &Arc<Route>, door: &Door, facts: &Facts, config: &Config) -> Finding {
    let (subject, quoted) = (format!("plugin {}", route.plugin), quote::identifier(name));
    let beforehand = provision::creation_sql(name, &owned(&route.target, facts));
    let maker = Maker::of(config, route.target.provision);
    let missing = format!("schema {quoted} of {} does not exist", door.database);
    match maker {
        Maker::Nobody(setting) => error(subject, format!("{missing}, and {setting} is false"))
            .sql(&door.database, beforehand)
            .setting(format!("backend.database.{setting}: true")),
        _ if maker.may(facts) => note(subject, format!("{missing} yet; {maker} makes it")),
        _ => error(subject, format!("{missing}, and the login may not make it"))
            .sql(&door.database, beforehand)
            .sql(&door.database, maker.grant(door, facts)),
    }
}

/// What becomes of plugins that the configuration does not name.
fn others(door: &Door, facts: &Facts, ready: usize, config: &Config) -> Option<Finding> {
    let subject = door.to_string();
    let maker = Maker::of(config, config.database.base_place().is_some_and(|place| place.provision));
    let grant = maker.grant(door, facts);
    match maker {
        _ if maker.may(facts) => Some(ok(subject, format!("{maker} may make schemas for plugins"))),
        Maker::Backstage => {
            let what = "Backstage may not make schemas, and with ensureSchemaExists its CREATE SCHEMA IF NOT EXISTS needs the \
                        right to even where a schema is there";
            let finding = error(subject, what).sql(&door.database, grant);
            Some(finding.setting("backend.database.ensureSchemaExists: false, with schemas made beforehand"))
        }
        Maker::Greenroom => {
            let severity = if ready == 0 { Severity::Error } else { Severity::Warning };
            let what = "the login may not make schemas: a plugin whose schema was not made beforehand is refused";
            Some(Finding::new(severity, subject, what).sql(&door.database, grant))
        }
        Maker::Nobody(setting) if ready == 0 => {
            let what = format!("there is no plugin's schema, and {setting} is false");
            Some(error(subject, what).setting(format!("backend.database.{setting}: true")))
        }
        Maker::Nobody(_) => None,
    }
}

/// The schema of extensions that is looked into behind each plugin's own.
async fn extensions(
    visit: &mut Visit,
    door: &Door,
    facts: &Facts,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let base = config.database.base_place().filter(|_| door.is_shared).and_then(|place| place.extensions.as_deref());
    let names = door.routes.iter().filter_map(|route| route.target.extensions.as_deref());
    let names: BTreeSet<&str> = names.chain(base).collect();
    for name in names {
        let (quoted, acting) = (quote::identifier(name), quote::identifier(&facts.acting));
        let rows = visit
            .ask(&format!(
                "SELECT pg_catalog.has_schema_privilege({}, n.oid, 'USAGE') FROM pg_catalog.pg_namespace n \
                 WHERE n.nspname = {}",
                quote::literal(&facts.acting),
                quote::literal(name)
            ))
            .await?;
        let grant = format!("GRANT USAGE ON SCHEMA {quoted} TO {acting}");
        findings.push(match rows.first() {
            None => error(door.to_string(), format!("greenroom.extensionsSchema: schema {quoted} does not exist"))
                .sql(&door.database, format!("CREATE SCHEMA {quoted}; {grant}")),
            Some(row) if !is_true(row, 0) => {
                error(door.to_string(), format!("greenroom.extensionsSchema: {acting} may not use schema {quoted}"))
                    .sql(&door.database, grant)
            }
            Some(_) => ok(door.to_string(), format!("schema {quoted} of extensions is there")),
        });
    }
    Ok(())
}

/// Real databases that stand behind a schema of the same meaning, and are reached no more.
async fn hidden(visit: &mut Visit, door: &Door, config: &Config, findings: &mut Vec<Finding>) -> Result<(), String> {
    let prefix = &config.database.prefix;
    let rows = visit
        .ask(&format!(
            "SELECT datname FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname::text, {})",
            quote::literal(prefix)
        ))
        .await?;
    for name in rows.iter().filter_map(|row| text(row, 0)) {
        let Some(id) = name.strip_prefix(&**prefix).filter(|id| is_plugin_id(id)) else { continue };
        let named = config.database.plugins.get(id);
        let is_schema = named
            .is_none_or(|settings| settings.place.postgres().is_some_and(|place| place.division == Division::Schema));
        if !is_schema || name == &*door.database {
            continue;
        }
        let (quoted, old) = (quote::identifier(name), quote::identifier(&renamed(name)));
        let what = format!(
            "there is a database {quoted}, but that name leads to a schema of {}: what is in the database is not seen",
            door.database
        );
        findings.push(
            warning(format!("plugin {id}"), what)
                .sql("postgres", format!("ALTER DATABASE {quoted} RENAME TO {old}"))
                .setting(format!("greenroom.plugin.{id}.division: database")),
        );
    }
    Ok(())
}

/// A name that no plugin's database has, short enough for PostgreSQL.
fn renamed(name: &str) -> String {
    let mut renamed = format!("before greenroom: {name}");
    while renamed.len() > MAX_NAME_BYTES {
        renamed.pop();
    }
    renamed
}

/// The target as somebody else makes it: what is made must belong to who acts.
fn owned(target: &Target, facts: &Facts) -> Target {
    let role = target.role.clone().unwrap_or_else(|| facts.acting.as_str().into());
    Target { role: Some(role), ..target.clone() }
}
