//! Where Backstage reads `backend.database` in a way of its own, greenroom does as it does, or says why it cannot.
//! tests/backstage/test/config.test.js has the same against Backstage's own packages.

use super::{backend, config, errors, place, with};
use crate::config::{Config, Division, KnexPool, PluginPlace, SslMode};

#[test]
fn a_plugins_connection_string_takes_nothing_from_the_base() {
    let text = backend("    plugin: { auth: { connection: 'postgres://other/x' } }\n");
    assert_eq!(
        errors(&text),
        "configuration:5: backend.database.plugin.auth.connection.user: missing, expected the role that logs in"
    );
    let text = backend("    plugin: { auth: { connection: 'postgres://me:p@/x' } }\n")
        .replace("host: db", "host: db, port: 1");
    assert_eq!(place(&config(&text), "auth").connection.server.address.to_string(), "localhost:5432");
    let text = backend("    plugin: { auth: { connection: /run/pg } }\n");
    let auth = place(&config(&text), "auth");
    assert_eq!(
        (auth.connection.server.address.to_string().as_str(), &*auth.connection.login.user),
        ("/run/pg/.s.PGSQL.5432", "backstage")
    );
}

#[test]
fn a_plugins_ssl_is_laid_over_the_base_one_deeply_and_lists_element_by_element() {
    let text = backend(
        "    plugin:
      auth: { connection: { user: a, ssl: { ca: [-----BEGIN C] } } }
      search: { connection: 'postgres://s:p@db/d?sslmode=require' }
      app: { connection: 'postgres://b:p@db/d?sslmode=no-verify' }\n",
    )
    .replace("host: db", "host: db, ssl: { ca: [-----BEGIN A, -----BEGIN B], servername: s }");
    let config = config(&text);
    let tls = |id: &str| place(&config, id).connection.server.tls.clone();
    assert_eq!(tls("auth").ca_pem.as_deref(), Some("-----BEGIN C\n-----BEGIN B\n"));
    assert_eq!(tls("auth").server_name.as_deref(), Some("s"));
    assert_eq!((tls("search").mode, tls("search").ca_pem.is_some()), (SslMode::VerifyFull, true));
    assert_eq!(tls("app").mode, SslMode::Require);
}

#[test]
fn the_schema_of_a_plugin_with_a_string_is_in_the_strings_database() {
    let text = backend("    pluginDivisionMode: schema\n    plugin: { auth: { connection: 'postgres://me:p@db' } }\n");
    assert!(
        errors(&text)
            .starts_with("configuration:6: backend.database.plugin.auth.connection.database: missing, expected the"),
        "{}",
        errors(&text)
    );
    let auth = place(&config(&text.replace("@db'", "@db/own'")), "auth");
    assert_eq!((auth.own_database, auth.connection.database.as_deref()), (true, Some("own")));
}

#[test]
fn an_empty_database_of_a_plugin_is_refused() {
    let text = backend("    plugin: { auth: { connection: { database: '' } } }\n");
    assert!(
        errors(&text).contains("plugin.auth.connection.database: found \"\", expected a name, or no key"),
        "{}",
        errors(&text)
    );
}

#[test]
fn a_role_or_schema_switch_of_one_plugin_changes_nothing_and_is_told() {
    let config = config(&backend(
        "    role: owner\n    ensureExists: 0\n    pluginDivisionMode: schema
    plugin: { auth: { role: other, ensureSchemaExists: true } }\n",
    ));
    let auth = place(&config, "auth");
    assert_eq!((auth.role.as_deref(), auth.provision), (Some("owner"), false));
    assert_eq!(
        config.warnings,
        [
            "configuration:8: backend.database.plugin.auth.role: Backstage looks only at backend.database.role, and so does \
             greenroom; take it out",
            "configuration:8: backend.database.plugin.auth.ensureSchemaExists: Backstage looks only at \
             backend.database.ensureSchemaExists, and so does greenroom; take it out",
        ]
    );
}

#[test]
fn an_empty_prefix_is_the_default() {
    let config = config(&backend("    prefix: ''\n    schemaPrefix: ''\n"));
    assert_eq!((&*config.database.prefix, &*config.database.schema_prefix), ("backstage_plugin_", ""));
    assert!(config.warnings[0].starts_with("configuration:5: backend.database.prefix: empty, so the default"));
}

#[test]
fn a_backstage_in_schema_mode_cannot_be_led_to_databases() {
    let text = |greenroom: &str| format!("{}{greenroom}", backend("    pluginDivisionMode: schema\n"));
    let told = |at: &str| {
        format!(
            "{at}: found database, expected schema: with backend.database.pluginDivisionMode schema all plugins ask for one \
                 database and set their search_path, so none can be led to a database of its own; take this out, or set \
                 pluginDivisionMode to database"
        )
    };
    assert_eq!(errors(&text("greenroom:\n  division: database\n")), told("configuration:7: greenroom.division"));
    assert_eq!(
        errors(&text("greenroom: { plugin: { auth: { division: database } } }\n")),
        told("configuration:6: greenroom.plugin.auth.division")
    );
    let config = config(&text(""));
    assert_eq!(
        (config.database.backstage_division, place(&config, "auth").division),
        (Division::Schema, Division::Schema)
    );
}

#[test]
fn knexs_pool_is_read_as_backstage_merges_it() {
    let config = config(&backend(
        "    pool: { max: 7, idleTimeoutMillis: 5 }
    acquireConnectionTimeout: 90000
    knexConfig: { pool: { min: 0 } }
    plugin:
      auth: { knexConfig: { pool: { max: 1, acquireTimeoutMillis: 80000 }, acquireConnectionTimeout: 70000 } }
      search: { knexConfig: { pool: { min: 4 } }, pool: { max: 1 } }\n",
    ));
    let knex = |id: &str| config.database.plugin(id).knex.clone();
    let millis = std::time::Duration::from_millis;
    let app =
        KnexPool { min: 0, max: 7, idle_timeout: millis(5), acquire_timeout: millis(90_000), ..KnexPool::default() };
    assert_eq!(knex("app"), app);
    assert_eq!(knex("auth"), KnexPool { max: 1, acquire_timeout: millis(70_000), ..app.clone() });
    assert_eq!(knex("search"), KnexPool { min: 4, ..app });
    assert_eq!((config.database.base.limits.max, config.database.plugin("auth").limits.max), (7, 1));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_backstages_own_pool_would_refuse_or_not_wait_for_is_told() {
    let config = config(&backend("    knexConfig: { acquireConnectionTimeout: 5000, pool: { max: '1' } }\n"));
    assert_eq!((config.database.base.limits.min, config.database.base.limits.max), (0, 1));
    let told: Vec<&str> = config.warnings.iter().map(|warning| warning.split(", ").next().unwrap()).collect();
    assert_eq!(
        told,
        [
            "configuration: greenroom.pool.acquireTimeoutMillis: 25000 is not below the 5000 that Knex gives a new client: one \
             that waits longer is told of a full pool instead of greenroom's reason; set it lower",
            "configuration:5: backend.database.knexConfig.pool.max: 1 is less than min (2): Backstage refuses it; set min too",
            "configuration:5: backend.database.knexConfig.pool.max: is text",
        ]
    );
}

#[test]
fn a_base_connection_without_a_login_leaves_plugins_their_own() {
    let config = config(
        "backend:
  database:
    client: pg
    connection: 'postgresql://db:5432'
    plugin: { auth: { connection: 'postgresql://fort:knox@db:5432/fox' }, search: { ensureExists: false } }
",
    );
    assert!(matches!(config.database.plugin("catalog").place, PluginPlace::NoLogin));
    assert!(matches!(config.database.plugin("search").place, PluginPlace::NoLogin));
    assert_eq!(&*place(&config, "auth").connection.login.user, "fort");
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert_eq!(
        errors("backend:\n  database:\n    client: pg\n    connection: 'postgresql://db:5432'\n"),
        "configuration:4: backend.database.connection.user: missing, expected the role that logs in"
    );
}

#[test]
fn clients_that_greenroom_has_no_part_in_are_told_and_a_misspelt_one_is_refused() {
    for client in ["better-sqlite3", "sqlite3", "mysql2", "mysql", "embedded-postgres"] {
        let text = backend(&format!("    plugin: {{ auth: {{ client: {client} }} }}\n"));
        assert_eq!(config(&text).warnings, [format!("plugin auth is kept in {client}: not proxied")]);
    }
    let limits =
        backend("    plugin: { auth: { client: better-sqlite3, knexConfig: { pool: { min: 3, max: x } } } }\n");
    assert_eq!(config(&limits).warnings.len(), 1, "its pool is no business of ours");
    let text = with("").replace("client: pg", "client: postgres");
    assert_eq!(
        errors(&text),
        "configuration:3: backend.database.client: found \"postgres\", expected pg (better-sqlite3, sqlite3, mysql2, mysql, \
         embedded-postgres are left alone)"
    );
}

#[test]
fn other_databases_may_be_all_there_is_to_serve() {
    let config = config("greenroom: { database: { reports: { connection: { host: db, user: u, password: p } } } }\n");
    assert!(matches!(&config.database.base.place, PluginPlace::Elsewhere(client) if &**client == "better-sqlite3"));
    assert_eq!(config.warnings, ["plugins of which nothing else is said are kept in better-sqlite3: not proxied"]);
}

#[test]
fn a_plugin_on_postgresql_beside_a_base_that_is_not_must_say_where() {
    let text = "backend:
  database:
    client: better-sqlite3
    connection: ':memory:'
    plugin: { auth: { client: pg, connection: { user: u, password: p } } }
";
    assert!(
        errors(text).starts_with(
            "configuration:5: backend.database.plugin.auth.connection.host: missing, expected PostgreSQL's"
        )
    );
    let text = text.replace("':memory:'", "{ host: db, port: 1 }");
    assert_eq!(place(&config(&text), "auth").connection.server.address.to_string(), "db:1");
}

#[test]
fn a_string_inside_an_object_wins_over_its_neighbours_so_database_mode_cannot_have_it() {
    let text = "backend: { database: { client: pg, pluginDivisionMode: schema, connection: { connectionString: \
                'postgres://me:x@db/d', user: other, port: 1, ssl: { rejectUnauthorized: false } } } }";
    let read = place(&config(text), "auth").connection;
    assert_eq!((read.server.address.to_string().as_str(), &*read.login.user), ("db:5432", "me"));
    assert_eq!(read.server.tls.mode, SslMode::Require, "of ssl the string says nothing");
    let text = text.replace("pluginDivisionMode: schema, ", "");
    assert!(
        errors(&text).contains("connection.connectionString: node-postgres lets it win over the database"),
        "{}",
        errors(&text)
    );
}

#[test]
fn an_application_name_that_hides_plugins_is_told() {
    let text = with("").replace("host: db", "host: db, application_name: backstage");
    assert!(config(&text).warnings.is_empty(), "the name of the database tells");
    let told = config(&text.replace("client: pg", "client: pg\n    pluginDivisionMode: schema")).warnings;
    assert!(told[0].starts_with("configuration:5: backend.database.connection.application_name: covers"), "{told:?}");
}

#[test]
fn a_database_name_that_postgresql_would_cut_short_is_refused() {
    let id = "x".repeat(50);
    let text = backend(&format!("    plugin: {{ {id}: {{ ensureExists: false }} }}\n"));
    assert!(
        errors(&text).contains("its database backstage_plugin_xxx") && errors(&text).contains("has 67 bytes"),
        "{}",
        errors(&text)
    );
    Config::parse(&text.replace("{ ensureExists: false }", "{ connection: { database: short } }")).unwrap();
}
