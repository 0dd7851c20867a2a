//! Promises about the routing table, row by row.

use std::sync::Arc;

use super::{Route, RouteError, RouteTable};
use crate::config::Config;

fn table(text: &str) -> RouteTable {
    RouteTable::new(&Config::parse(text).unwrap_or_else(|errors| panic!("{errors}")))
}

/// A configuration with `more` below `backend.database`.
fn backend(more: &str) -> String {
    format!(
        "backend:\n  database:\n    client: pg\n    connection: {{ host: db, user: base, password: p, database: shared }}\n{more}"
    )
}

const SCHEMA: &str = "greenroom: { division: schema }\n";

const PLUGINS: &str = "    role: owner
    plugin:
      catalog: { connection: { database: entities } }
      search: { connection: { user: searcher, password: s }, knexConfig: { pool: { max: 3 } } }
      auth: { client: better-sqlite3, connection: ':memory:' }
";

/// Where a name leads: `user@host/database.schema as plugin`.
fn leads(table: &RouteTable, database: &str, application_name: Option<&str>) -> String {
    match table.resolve(database, application_name) {
        Ok(route) => {
            let schema = route.target.schema.as_ref().map(|schema| format!(".{schema}")).unwrap_or_default();
            format!("{}{schema} as {}", route.target.pool_key(), route.plugin)
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_plugins_name_leads_to_its_schema_or_its_database() {
    let schemas = table(&format!("{}{SCHEMA}", backend("")));
    assert_eq!(leads(&schemas, "backstage_plugin_catalog", None), "base@db:5432/shared.catalog as catalog");
    assert_eq!(
        leads(&schemas, "backstage_plugin_user-settings", None),
        "base@db:5432/shared.user-settings as user-settings"
    );
    assert_eq!(leads(&schemas, "backstage_plugin_My_2nd", None), "base@db:5432/shared.My_2nd as My_2nd");
    let databases = table(&backend(""));
    assert_eq!(leads(&databases, "backstage_plugin_catalog", None), "base@db:5432/backstage_plugin_catalog as catalog");
}

#[test]
fn prefixes_are_used_as_configured() {
    let text = format!("{}{SCHEMA}", backend("    prefix: acme_\n    schemaPrefix: acme_s_\n"));
    let table = table(&text);
    assert_eq!(leads(&table, "acme_catalog", None), "base@db:5432/shared.acme_s_catalog as catalog");
    assert_eq!(&*table.resolve("acme_catalog", None).unwrap().target.deployment, "acme_");
    assert!(matches!(table.resolve("backstage_plugin_catalog", None), Err(RouteError::Unknown { .. })));
}

#[test]
fn a_plugins_own_database_is_found_by_its_name_and_by_the_rule() {
    let databases = table(&backend(PLUGINS));
    assert_eq!(leads(&databases, "entities", None), "base@db:5432/entities as catalog");
    assert_eq!(leads(&databases, "backstage_plugin_catalog", None), "base@db:5432/entities as catalog");
    let schemas = table(&format!("{}{SCHEMA}", backend(PLUGINS)));
    assert_eq!(leads(&schemas, "entities", None), "base@db:5432/entities.catalog as catalog");
    assert_eq!(leads(&schemas, "backstage_plugin_search", None), "searcher@db:5432/shared.search as search");
}

#[test]
fn one_plugin_may_be_divided_differently() {
    let text = format!(
        "{}greenroom:\n  division: schema\n  plugin: {{ search: {{ division: database }} }}\n",
        backend(PLUGINS)
    );
    let table = table(&text);
    assert_eq!(leads(&table, "backstage_plugin_search", None), "searcher@db:5432/backstage_plugin_search as search");
    assert_eq!(leads(&table, "backstage_plugin_app", None), "base@db:5432/shared.app as app");
}

#[test]
fn the_shared_database_is_given_as_it_is_and_the_application_name_only_says_whose_limits_count() {
    let table = table(&backend(&format!("    pluginDivisionMode: schema\n{PLUGINS}")));
    assert_eq!(leads(&table, "shared", Some("backstage_plugin_app")), "base@db:5432/shared as app");
    assert_eq!(leads(&table, "shared", Some("psql")), "base@db:5432/shared as shared");
    assert_eq!(leads(&table, "shared", Some("backstage_plugin_; drop")), "base@db:5432/shared as shared");
    assert_eq!(leads(&table, "shared", None), "base@db:5432/shared as shared");
    assert_eq!(leads(&table, "shared", Some("backstage_plugin_search")), "searcher@db:5432/shared as search");
    // A plugin whose data is in another database gets no way there, and none to its login, by naming itself here.
    assert_eq!(leads(&table, "shared", Some("backstage_plugin_catalog")), "base@db:5432/shared as catalog");
    assert_eq!(leads(&table, "shared", Some("backstage_plugin_auth")), "base@db:5432/shared as auth");
}

#[test]
fn the_application_name_changes_nothing_for_a_plugins_own_name() {
    let table = table(&format!("{}{SCHEMA}", backend(PLUGINS)));
    let plain = table.resolve("backstage_plugin_app", None).unwrap();
    let named = table.resolve("backstage_plugin_app", Some("backstage_plugin_search")).unwrap();
    assert!(Arc::ptr_eq(&plain, &named));
}

#[test]
fn postgres_is_the_shared_database_with_schema_division_and_the_real_one_without() {
    assert_eq!(leads(&table(&format!("{}{SCHEMA}", backend(""))), "postgres", None), "base@db:5432/shared as postgres");
    assert_eq!(leads(&table(&backend("")), "postgres", None), "base@db:5432/postgres as postgres");
    let text = backend("").replace("database: shared", "database: postgres");
    assert_eq!(leads(&table(&format!("{text}{SCHEMA}")), "postgres", None), "base@db:5432/postgres as postgres");
}

#[test]
fn several_plugins_in_one_database_of_their_own_must_say_who_they_are() {
    let table = table(&backend(
        "    plugin: { a: { connection: { database: pair } }, b: { connection: { database: pair, user: bee, password: b } } }\n",
    ));
    assert_eq!(leads(&table, "pair", Some("backstage_plugin_a")), "base@db:5432/pair as a");
    assert_eq!(leads(&table, "pair", Some("backstage_plugin_b")), "bee@db:5432/pair as b");
    for stranger in [None, Some("psql"), Some("backstage_plugin_c")] {
        assert!(matches!(table.resolve("pair", stranger), Err(RouteError::WhichPlugin { .. })));
    }
}

#[test]
fn other_databases_lead_where_they_say() {
    let table = table(&format!(
        "{}greenroom:\n  database: {{ reports: {{ connection: {{ host: far, database: away }}, pool: {{ max: 2 }} }} }}\n",
        backend("")
    ));
    assert_eq!(leads(&table, "reports", None), "base@far:5432/away as reports");
}

#[test]
fn anything_else_is_refused_or_passed_through() {
    let strict = table(&backend(""));
    for name in ["nowhere", "backstage_plugin_", "backstage_plugin_a b", "backstage_plugin_-x", "template1", ""] {
        assert!(matches!(strict.resolve(name, None), Err(RouteError::Unknown { .. })), "{name}");
    }
    assert_eq!(leads(&strict, "nowhere", None), "database \"nowhere\" does not exist");
    let open = table(&format!("{}greenroom: {{ unknownDatabases: passthrough }}\n", backend("")));
    assert_eq!(leads(&open, "nowhere", Some("backstage_plugin_app")), "base@db:5432/nowhere as app");
    assert!(open.resolve(&"x".repeat(64), None).is_err());
}

#[test]
fn a_plugin_that_is_not_on_postgresql_is_refused_with_the_reason() {
    let table = table(&backend(PLUGINS));
    assert_eq!(
        leads(&table, "backstage_plugin_auth", None),
        "database \"backstage_plugin_auth\" is not served by greenroom: backend.database says it is kept in better-sqlite3"
    );
}

#[test]
fn names_that_postgresql_would_cut_or_keep_for_itself_are_refused() {
    let schemas = table(&format!("{}{SCHEMA}", backend("")));
    let longest = "x".repeat(63);
    assert!(schemas.resolve(&format!("backstage_plugin_{longest}"), None).is_ok());
    assert!(matches!(
        schemas.resolve(&format!("backstage_plugin_{longest}x"), None),
        Err(RouteError::NameTooLong { name, .. }) if name.len() == 64
    ));
    assert!(matches!(
        table(&backend("")).resolve(&format!("backstage_plugin_{longest}"), None),
        Err(RouteError::NameTooLong { .. })
    ));
    for id in ["pg_catalog", "pg_temp", "public", "information_schema"] {
        let name = format!("backstage_plugin_{id}");
        assert!(matches!(schemas.resolve(&name, None), Err(RouteError::ReservedSchema { .. })), "{id}");
        assert!(table(&backend("")).resolve(&name, None).is_ok(), "a database may have that name: {id}");
    }
}

#[test]
fn only_a_plugins_own_place_may_be_made() {
    let table = table(&format!("{}{SCHEMA}", backend(PLUGINS)));
    let target = |name: &str| table.resolve(name, None).unwrap().target.clone();
    assert!(target("backstage_plugin_app").provision);
    assert_eq!(target("backstage_plugin_app").role.as_deref(), Some("owner"));
    assert!(!target("shared").provision && !target("postgres").provision);
}

#[test]
fn equal_requests_get_the_same_route_and_strangers_cannot_fill_the_memory() {
    let table = table(&backend(""));
    let held: Vec<Arc<Route>> =
        ["a", "b"].map(|id| table.resolve(&format!("backstage_plugin_{id}"), None).unwrap()).into();
    for stranger in 0..5000 {
        table.resolve(&format!("backstage_plugin_x{stranger}"), None).unwrap();
    }
    assert!(Arc::ptr_eq(&held[0], &table.resolve("backstage_plugin_a", None).unwrap()));
    assert!(Arc::ptr_eq(&held[1], &table.resolve("backstage_plugin_b", None).unwrap()));
    assert!(table.remembered_routes() <= 1024);
}

#[test]
fn the_configured_routes_can_be_listed() {
    let table = table(&format!("{}greenroom: {{ database: {{ reports: {{}} }} }}\n", backend(PLUGINS)));
    let names: Vec<String> = table.routes().map(|route| format!("{} {}", route.database, route.plugin)).collect();
    assert_eq!(
        names,
        ["backstage_plugin_search search", "entities catalog", "postgres postgres", "reports reports", "shared shared"]
    );
}

#[test]
fn extensions_are_looked_for_behind_a_plugins_schema_and_their_own_schema_is_no_plugins() {
    let table = table(&format!("{}greenroom: {{ division: schema, extensionsSchema: ext }}\n", backend("")));
    let extensions = |name: &str| table.resolve(name, None).unwrap().target.extensions.as_deref().map(str::to_owned);
    assert_eq!(extensions("backstage_plugin_catalog").as_deref(), Some("ext"));
    assert_eq!(extensions("shared"), None, "Backstage's own schema mode sets its own search_path");
    let told = leads(&table, "backstage_plugin_ext", None);
    assert!(told.contains("greenroom.extensionsSchema"), "{told}");
}

#[test]
fn without_a_base_login_plugins_with_logins_of_their_own_share_a_database_all_the_same() {
    let text = "backend: { database: { client: pg, pluginDivisionMode: schema, connection: { host: db, database: shared }, plugin: {
        catalog: { connection: { user: cat, password: c } }, search: { connection: { user: sea, password: s } } } } }";
    let table = table(text);
    assert_eq!(leads(&table, "shared", Some("backstage_plugin_catalog")), "cat@db:5432/shared as catalog");
    assert_eq!(leads(&table, "backstage_plugin_search", None), "sea@db:5432/shared.search as search");
    assert!(matches!(table.resolve("shared", None), Err(RouteError::WhichPlugin { .. })));
    assert!(matches!(table.resolve("backstage_plugin_auth", None), Err(RouteError::NoLogin { .. })));
    assert!(matches!(table.resolve("postgres", None), Err(RouteError::Unknown { .. })));
}

#[test]
fn a_plugin_that_names_the_shared_database_for_its_own_has_its_schema_there() {
    let text = format!("{}{SCHEMA}", backend("    plugin: { catalog: { connection: { database: shared } } }\n"));
    assert_eq!(leads(&table(&text), "shared", None), "base@db:5432/shared.catalog as catalog");
    let schema_mode = text.replace("client: pg", "client: pg\n    pluginDivisionMode: schema");
    assert_eq!(leads(&table(&schema_mode), "shared", Some("backstage_plugin_auth")), "base@db:5432/shared as auth");
}
