//! `greenroom explain`: where a logical database really is, as whom and within which limits, without connecting to it.

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;

use super::{ConfigFiles, environment, say};
use crate::config::{Config, Division, Limits, PluginPlace, ServerEndpoint, SslMode};
use crate::provision;
use crate::route::{POSTGRES, Route, RouteError, RouteTable};
use crate::sql::quote;

/// What to explain.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The database that a client asks for, such as backstage_plugin_catalog. Without one: all that the configuration names.
    database: Option<String>,
    #[command(flatten)]
    config: ConfigFiles,
}

/// Explains one, or all that the configuration names.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config.paths(), &environment())?;
    let book = Book { table: RouteTable::new(&config), limits: config.limits(), config: &config };
    let explained = match &args.database {
        Some(name) => book.one(name)?,
        None => book.all()?,
    };
    say(explained.trim_end());
    Ok(())
}

/// A configuration and its routes.
struct Book<'c> {
    config: &'c Config,
    limits: Limits,
    table: RouteTable,
}

impl Book<'_> {
    fn one(&self, name: &str) -> anyhow::Result<String> {
        match self.table.resolve(name, None) {
            Ok(route) => self.route(&route),
            Err(RouteError::NotProxied { client, .. }) => Ok(not_proxied(name, &kept_in(&client))),
            Err(RouteError::NoLogin { .. }) => Ok(not_proxied(name, NO_LOGIN)),
            // It is several plugins', each of which gets there by its own login.
            Err(RouteError::WhichPlugin { .. }) => {
                let ids = self.config.database.plugins.keys();
                let routes =
                    ids.filter_map(|id| self.table.resolve(name, Some(&format!("backstage_plugin_{id}"))).ok());
                routes.map(|route| self.route(&route)).collect()
            }
            Err(error) => {
                let plugin = format!("{}{name}", self.config.database.prefix);
                if matches!(error, RouteError::Unknown { .. }) && self.table.resolve(&plugin, None).is_ok() {
                    bail!("{error} here; did you mean {plugin}?");
                }
                bail!("{error}");
            }
        }
    }

    fn all(&self) -> anyhow::Result<String> {
        let mut explained = Vec::new();
        for route in self.table.routes() {
            explained.push(self.route(route)?);
        }
        let prefix = &self.config.database.prefix;
        for (id, settings) in &self.config.database.plugins {
            let name = format!("{prefix}{id}");
            match &settings.place {
                PluginPlace::Elsewhere(client) => explained.push(not_proxied(&name, &kept_in(client))),
                PluginPlace::NoLogin => explained.push(not_proxied(&name, NO_LOGIN)),
                PluginPlace::Postgres(_) => {
                    if let Err(error @ (RouteError::NameTooLong { .. } | RouteError::ReservedSchema { .. })) =
                        self.table.resolve(&name, None)
                    {
                        explained.push(format!("{name}\n  refused    {error}\n"));
                    }
                }
            }
        }
        explained.push(self.rule());
        Ok(explained.join("\n"))
    }

    /// What becomes of plugins that nothing particular is said about.
    fn rule(&self) -> String {
        let database = &self.config.database;
        let (prefix, schema_prefix) = (&database.prefix, &database.schema_prefix);
        let leads = match &database.base.place {
            PluginPlace::Elsewhere(client) => format!("proxied    no: {}", kept_in(client)),
            PluginPlace::NoLogin => format!("proxied    no: {NO_LOGIN}"),
            PluginPlace::Postgres(place) => match (place.division, &place.connection.database) {
                (Division::Schema, Some(shared)) => {
                    format!(
                        "leads to   schema {schema_prefix}<id> of database {shared} on {}",
                        place.connection.server.address
                    )
                }
                _ => format!("leads to   the database of that name on {}", place.connection.server.address),
            },
        };
        format!("{prefix}<id>, for any other plugin\n  {leads}\n")
    }

    fn route(&self, route: &Route) -> anyhow::Result<String> {
        let (target, limits) = (&route.target, &self.limits.plugin(route.plugin.as_str()).pool);
        let mut out = format!("{}\n", route.database);
        let mut line = |what: &str, text: &str| writeln!(out, "  {what:<10} {text}");
        line("plugin", &self.plugin(route))?;
        let schema = target.schema.as_deref().map(|schema| format!("schema {} of ", quote::identifier(schema)));
        line(
            "leads to",
            &format!(
                "{}database {} on {}, {}",
                schema.unwrap_or_default(),
                quote::identifier(&target.database),
                target.server.address,
                tls(&target.server)
            ),
        )?;
        let password = if target.login.password.is_some() { "with a password" } else { "without a password" };
        line("as", &format!("{}, {password}", target.login.user))?;
        if let Some(role) = &target.role {
            line("role", role)?;
        }
        line(
            "limits",
            &format!(
                "at most {} server connections, of {} for all plugins; min {}; {} pooling; a wait of at most {:?}",
                limits.max,
                self.config.server_limits.ceiling,
                limits.min,
                match limits.mode {
                    crate::config::PoolMode::Transaction => "transaction",
                    crate::config::PoolMode::Session => "session",
                },
                limits.acquire_timeout
            ),
        )?;
        line("proxied", "yes")?;
        let (how, sql) = self.provisioned(route);
        line("made", how)?;
        if let Some(sql) = sql {
            line("", &format!("{sql};"))?;
        }
        Ok(out)
    }

    /// Whose database it is.
    fn plugin(&self, route: &Route) -> String {
        if self.is_plugins(route) {
            return route.plugin.to_string();
        }
        match route.database.as_str() == POSTGRES {
            true => "none: where Backstage creates databases".to_owned(),
            false if self.config.database.others.contains_key(&*route.database.0) => {
                "none: greenroom.database".to_owned()
            }
            false => "that of the client's application_name (backstage_plugin_<id>), for its limits".to_owned(),
        }
    }

    /// How it comes to be, and by which statements.
    fn provisioned(&self, route: &Route) -> (&'static str, Option<String>) {
        let target = &route.target;
        let database = || provision::database_sql(&target.database, target.role.as_deref());
        let base = self.config.database.base_place();
        let in_schemas = self.config.database.backstage_division == Division::Schema;
        match (&target.schema, target.provision) {
            (Some(schema), _) if in_schemas => {
                let sql = Some(provision::creation_sql(schema, target));
                match base.is_some_and(|place| place.backstage_makes_schemas) {
                    true => ("by Backstage itself, for ensureSchemaExists is true", sql),
                    false => ("by you, for ensureSchemaExists is false", sql),
                }
            }
            (Some(schema), true) => ("by greenroom, on first use", Some(provision::creation_sql(schema, target))),
            (Some(schema), false) => {
                ("by you, for ensureExists is false", Some(provision::creation_sql(schema, target)))
            }
            (None, true) => ("by Backstage's own CREATE DATABASE", Some(database())),
            (None, false) if self.is_plugins(route) => ("by you, for ensureExists is false", Some(database())),
            (None, false) => {
                ("by you: it must be there", Some(provision::database_sql(&target.database, Some(&target.login.user))))
            }
        }
    }

    fn is_plugins(&self, route: &Route) -> bool {
        let settings = self.config.database.plugins.get(route.plugin.as_str());
        let own = settings
            .and_then(|settings| settings.place.postgres())
            .is_some_and(|place| place.own_database && place.connection.database == Some(route.database.0.clone()));
        own || route.plugin.as_str() != route.database.as_str()
    }
}

/// Why a plugin on PostgreSQL is not proxied.
const NO_LOGIN: &str = "backend.database.connection names no user, and it has no connection of its own";

fn kept_in(client: &str) -> String {
    format!("it is kept in {client}, which greenroom has no part in; Backstage goes there itself")
}

fn not_proxied(name: &str, reason: &str) -> String {
    format!("{name}\n  proxied    no: {reason}\n")
}

fn tls(server: &ServerEndpoint) -> &'static str {
    match server.tls.mode {
        SslMode::Disable => "not encrypted",
        SslMode::Prefer => "encrypted if the server can, nothing checked",
        SslMode::Require => "encrypted, nothing checked",
        SslMode::VerifyCa => "encrypted, certificate checked",
        SslMode::VerifyFull => "encrypted, certificate and name checked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(database: &str, more: &str, name: Option<&str>) -> anyhow::Result<String> {
        let text = format!(
            "backend:\n  database:\n    client: pg\n    connection: {{ host: db, user: u, password: geheim, database: shared }}\n\
             {database}greenroom: {more}\n"
        );
        let config = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let book = Book { table: RouteTable::new(&config), limits: config.limits(), config: &config };
        let explained = name.map_or_else(|| book.all(), |name| book.one(name))?;
        assert!(!explained.contains("geheim"), "{explained}");
        Ok(explained)
    }

    #[test]
    fn a_schema_is_explained_with_the_sql_that_makes_it() {
        let told =
            explain("    role: owner\n", "{ division: schema }", Some("backstage_plugin_user-settings")).unwrap();
        let expected = "\
backstage_plugin_user-settings
  plugin     user-settings
  leads to   schema \"user-settings\" of database \"shared\" on db:5432, not encrypted
  as         u, with a password
  role       owner
  limits     at most 10 server connections, of 12 for all plugins; min 0; transaction pooling; a wait of at most 25s
  proxied    yes
  made       by greenroom, on first use
             CREATE SCHEMA \"user-settings\" AUTHORIZATION \"owner\"; COMMENT ON SCHEMA \"user-settings\" IS 'greenroom: \
schema of plugin user-settings of the deployment with prefix backstage_plugin_';
";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_database_is_made_by_backstage_or_by_you() {
        let told = explain("", "{}", Some("backstage_plugin_catalog")).unwrap();
        assert!(
            told.contains("by Backstage's own") && told.contains("CREATE DATABASE \"backstage_plugin_catalog\";"),
            "{told}"
        );
        let told = explain("    ensureExists: false\n", "{}", Some("backstage_plugin_catalog")).unwrap();
        assert!(told.contains("by you, for ensureExists is false"), "{told}");
    }

    #[test]
    fn all_that_is_configured_is_explained_and_the_rule_for_the_rest() {
        let told = explain(
            "    plugin: { search: { client: better-sqlite3 }, auth: { connection: { database: auth } } }\n",
            "{ division: schema, database: { reports: {} }, plugin: { catalog: { pool: { max: 20 } } } }",
            None,
        )
        .unwrap();
        for expected in [
            "\nauth\n  plugin     auth\n  leads to   schema \"auth\" of database \"auth\" on",
            "at most 20 server connections",
            "reports\n  plugin     none: greenroom.database",
            "postgres\n  plugin     none: where Backstage creates databases",
            "backstage_plugin_search\n  proxied    no: it is kept in better-sqlite3",
            "backstage_plugin_<id>, for any other plugin\n  leads to   schema <id> of database shared on db:5432",
        ] {
            assert!(format!("\n{told}").contains(expected), "{expected}\n\n{told}");
        }
    }

    #[test]
    fn a_name_that_leads_nowhere_is_an_error_that_helps() {
        let error = explain("", "{}", Some("catalog")).unwrap_err().to_string();
        assert!(error.contains("did you mean backstage_plugin_catalog?"), "{error}");
    }
}
