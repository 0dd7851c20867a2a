//! What settings mean when they are right.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{backend, config, connection, place, with};
use crate::config::{
    AuthMethod, Config, Division, ListenAddress, LogFormat, LogLevel, PluginPlace, PoolLimits, PoolMode, ServerAddress,
    ServerLimits, SslMode, Timeouts, UnknownDatabases,
};

#[test]
fn the_smallest_configuration_has_every_default() {
    let config = config(&with(""));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:6432");
    assert_eq!(config.listeners[0].auth, AuthMethod::ScramSha256);
    assert_eq!(config.http.as_ref().map(|http| (&*http.host, http.port)), Some(("127.0.0.1", 9632)));
    assert_eq!((config.server_limits, config.threads), (ServerLimits::new(12, 2, 4), 1));
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Text, LogLevel::Info));
    assert_eq!(config.metrics.max_plugins, 50);
    assert_eq!(config.database.base.limits, PoolLimits::default());
    assert_eq!((&*config.database.prefix, &*config.database.schema_prefix), ("backstage_plugin_", ""));
    assert_eq!(config.database.unknown, UnknownDatabases::Refuse);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let place = place(&config, "catalog");
    assert_eq!((place.division, place.provision, place.role), (Division::Database, true, None));
}

#[test]
fn every_setting_of_greenroom_is_taken_and_numbers_may_be_strings() {
    let config = config(&with(
        "greenroom:
  listen: [{ host: '::1', port: '0' }, { socket: /run/greenroom, port: 5432, auth: md5 }]
  http: false
  division: schema
  maxServerConnections: '40'
  pool: { min: 1, max: '20', acquireTimeoutMillis: 1000, createTimeoutMillis: 2000, destroyTimeoutMillis: 3000,
    idleTimeoutMillis: 4000, reapIntervalMillis: 5000, createRetryIntervalMillis: 6000, propagateCreateError: 'no',
    maxConnectionLifetimeMillis: 7000, mode: session }
  unknownDatabases: passthrough
  threads: 4
  timeouts: { loginMillis: 1, idleInTransactionMillis: 0, transactionMillis: 2, idleClientMillis: 3,
    clientWriteMillis: 4, pinIdleMillis: 5 }
  shutdownGraceMillis: 0
  log: { format: json, level: debug }
  metrics: { maxPlugins: 3 }
",
    ));
    assert_eq!(config.listeners[0].address, ListenAddress::Tcp { host: "::1".into(), port: 0 });
    assert_eq!(config.listeners[1].address, ListenAddress::Unix { directory: "/run/greenroom".into(), port: 5432 });
    assert_eq!(config.listeners[1].auth, AuthMethod::Md5);
    assert_eq!(config.http, None);
    assert_eq!((config.server_limits.ceiling, config.threads), (40, 4));
    let millis = |millis| Duration::from_millis(millis);
    assert_eq!(
        config.database.base.limits,
        PoolLimits {
            min: 1,
            max: 20,
            acquire_timeout: millis(1000),
            create_timeout: millis(2000),
            destroy_timeout: millis(3000),
            idle_timeout: millis(4000),
            reap_interval: millis(5000),
            create_retry_interval: millis(6000),
            propagate_create_error: false,
            max_connection_lifetime: millis(7000),
            mode: PoolMode::Session,
        }
    );
    assert_eq!(
        config.timeouts,
        Timeouts {
            login: millis(1),
            idle_in_transaction: None,
            transaction: Some(millis(2)),
            idle_client: Some(millis(3)),
            client_write: Some(millis(4)),
            pin_idle: Some(millis(5)),
        }
    );
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Debug));
    assert_eq!(config.metrics.max_plugins, 3);
    assert_eq!(config.database.unknown, UnknownDatabases::Passthrough);
    assert_eq!(place(&config, "catalog").division, Division::Schema);
}

#[test]
fn limits_come_from_the_most_particular_setting() {
    let config = config(&format!(
        "{}greenroom:\n  pool: {{ idleTimeoutMillis: 7 }}\n  plugin: {{ catalog: {{ pool: {{ max: 20 }} }}, search: {{}} }}\n",
        backend(
            "    knexConfig: { pool: { min: 1, max: 5, acquireTimeoutMillis: 60000, idleTimeoutMillis: 9 } }
    plugin: { search: { knexConfig: { pool: { min: 0, max: 4 } } } }\n"
        )
    ));
    let limits = |id: &str| config.database.plugin(id).limits.clone();
    assert_eq!((limits("app").min, limits("app").max), (1, 5));
    assert_eq!((limits("catalog").min, limits("catalog").max), (1, 20));
    assert_eq!((limits("search").min, limits("search").max), (0, 4));
    assert_eq!(limits("search").idle_timeout, Duration::from_millis(7));
    assert_eq!(limits("app").acquire_timeout, Duration::from_secs(25), "Knex's own wait is the client's affair");
}

#[test]
fn a_connection_object_is_read_as_node_postgres_reads_it() {
    let read = connection(&with("").replace("host: db", "host: db, port: '6543'"));
    assert_eq!(read.server.address.to_string(), "db:6543");
    assert_eq!(read.server.tls.mode, SslMode::Disable);
    assert_eq!((&*read.login.user, read.database.as_deref()), ("backstage", Some("shared")));
    assert_eq!(read.login.client_password.unwrap().text.expose_secret(), "geheim");
    let read = connection(&with("").replace("host: db, ", ""));
    assert_eq!(read.server.address.to_string(), "localhost:5432");
    let read = connection(&with("").replace("host: db", "host: /run/postgresql"));
    assert_eq!(read.server.address, ServerAddress::Unix { directory: Path::new("/run/postgresql").into(), port: 5432 });
}

#[test]
fn a_connection_string_is_an_object_in_other_words() {
    let read = connection(
        "backend: { database: { client: pg, connection: 'postgresql://me:ge%20heim@db:6543/shared?sslmode=require' } }",
    );
    assert_eq!(read.server.address.to_string(), "db:6543");
    assert_eq!(read.login.client_password.unwrap().text.expose_secret(), "ge heim");
    assert_eq!((&*read.login.user, read.database.as_deref()), ("me", Some("shared")));
    assert_eq!(read.server.tls.mode, SslMode::VerifyFull);
}

#[test]
fn ssl_is_as_strict_as_node_postgres() {
    let pem = "-----BEGIN CERTIFICATE-----";
    for (ssl, mode) in [
        ("true", SslMode::VerifyFull),
        ("'true'", SslMode::VerifyFull),
        ("false", SslMode::Disable),
        ("'false'", SslMode::Disable),
        ("{}", SslMode::VerifyFull),
        ("no-verify", SslMode::Require),
        ("{ rejectUnauthorized: false }", SslMode::Require),
        ("{ rejectUnauthorized: 'false', require: true }", SslMode::Require),
        ("{ ca: '-----BEGIN CERTIFICATE-----' }", SslMode::VerifyFull),
    ] {
        let read = connection(&with("").replace("host: db", &format!("host: db, ssl: {ssl}")));
        assert_eq!(read.server.tls.mode, mode, "{ssl}");
    }
    let ssl = "ssl: { ca: [-----BEGIN a, -----BEGIN b], cert: '-----BEGIN CERTIFICATE-----', key: -----BEGIN k, servername: s }";
    let tls = connection(&with("").replace("host: db", &format!("host: db, {ssl}"))).server.tls.clone();
    assert_eq!(tls.ca_pem.as_deref(), Some("-----BEGIN a\n-----BEGIN b\n"));
    assert_eq!(tls.cert_pem.as_deref(), Some(format!("{pem}\n").as_str()));
    assert_eq!((tls.key_pem.is_some(), tls.server_name.as_deref()), (true, Some("s")));
}

#[test]
fn a_plugins_connection_lies_over_the_base_one() {
    let config = config(&backend(
        "    role: owner
    ensureExists: false
    plugin:
      catalog: { connection: { user: catalog, password: kat, ssl: { ca: '-----BEGIN x', rejectUnauthorized: false } } }
      search: { connection: 'postgres://s:p@other/searches', ensureExists: true, role: searcher }
      auth: { client: better-sqlite3, connection: ':memory:' }\n",
    ));
    let catalog = place(&config, "catalog");
    assert_eq!(catalog.connection.server.address.to_string(), "db:5432");
    assert_eq!(catalog.connection.server.tls.mode, SslMode::Require);
    assert_eq!(&*catalog.connection.login.user, "catalog");
    assert_eq!((catalog.own_database, catalog.provision, catalog.role.as_deref()), (false, false, Some("owner")));
    let search = place(&config, "search");
    assert_eq!(search.connection.server.address.to_string(), "other:5432");
    assert_eq!((search.own_database, search.connection.database.as_deref()), (true, Some("searches")));
    assert_eq!((search.provision, search.role.as_deref()), (true, Some("owner")));
    assert!(
        matches!(&config.database.plugin("auth").place, PluginPlace::Elsewhere(client) if &**client == "better-sqlite3")
    );
    assert_eq!(config.warnings[0], "plugin auth is kept in better-sqlite3: not proxied");
}

#[test]
fn a_schema_may_be_made_when_either_switch_says_so() {
    let provision = |more: &str| place(&config(&backend(more)), "catalog").provision;
    let schema = "    pluginDivisionMode: schema\n    ensureExists: false\n";
    assert!(!provision(schema));
    assert!(provision(&format!("{schema}    ensureSchemaExists: true\n")));
    assert!(!provision("    ensureExists: false\n    ensureSchemaExists: true\n"), "a database is no schema");
}

#[test]
fn a_plugin_on_postgresql_beside_a_base_that_is_not_is_served() {
    let config = config(
        "backend: { database: { client: better-sqlite3, connection: ':memory:', plugin: { catalog: { client: pg, connection: {
           host: db, user: u, password: p } } } } }",
    );
    assert_eq!(place(&config, "catalog").connection.server.address.to_string(), "db:5432");
    assert!(config.database.base_place().is_none());
}

#[test]
fn other_databases_are_on_the_base_server_unless_they_say_otherwise() {
    let config = config(&with(
        "greenroom:\n  database:\n    reports: { pool: { max: 2 } }\n    far: { connection: { host: far, user: f, password: p, database: away } }\n",
    ));
    let other = |name: &str| config.database.others.get(name).unwrap().clone();
    assert_eq!((&*other("reports").database, other("reports").limits.max), ("reports", 2));
    assert_eq!(other("reports").connection.server.address.to_string(), "db:5432");
    assert_eq!(
        (&*other("far").database, other("far").connection.server.address.to_string().as_str()),
        ("away", "far:5432")
    );
}

#[test]
fn an_acquire_timeout_that_knex_does_not_wait_for_is_worth_a_warning() {
    let config = config(&with("greenroom: { pool: { acquireTimeoutMillis: 30000 } }\n"));
    assert_eq!(
        config.warnings,
        [
            "configuration:5: greenroom.pool.acquireTimeoutMillis: 30000 is not below the 30000 that Knex gives a new client: \
          one that waits longer is told of a full pool instead of greenroom's reason; set it lower"
        ]
    );
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let shown = format!("{:?}", Config::parse(&with("")).unwrap());
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn a_schema_of_extensions_is_said_for_all_or_for_one() {
    let text = "greenroom: { division: schema, extensionsSchema: extensions, plugin: { search: { extensionsSchema: Own } } }\n";
    let config = config(&with(text));
    assert_eq!(place(&config, "catalog").extensions.as_deref(), Some("extensions"));
    assert_eq!(place(&config, "search").extensions.as_deref(), Some("Own"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_schema_of_extensions_that_is_everybodys_or_nobodys_is_warned_of() {
    let warnings = |text: &str| config(&with(&format!("greenroom: {text}\n"))).warnings.join("\n");
    assert!(warnings("{ division: schema, extensionsSchema: public }").contains("every table of public"));
    let useless = "greenroom.extensionsSchema means nothing without division: schema";
    assert_eq!(warnings("{ extensionsSchema: x }"), useless);
    assert_eq!(warnings("{ extensionsSchema: x, plugin: { catalog: { division: schema } } }"), "");
    assert_eq!(
        warnings("{ division: schema, plugin: { catalog: { division: database, extensionsSchema: x } } }"),
        "greenroom.plugin.catalog.extensionsSchema means nothing without division: schema"
    );
}
