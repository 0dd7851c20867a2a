//! Promises about overlays: what Backstage comes to when one lies over the files it was made of, and that it tells nothing.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::backend;
use crate::config::{Config, Connection, Environment, ListenAddress, OverlayError, Password, ServerAddress, SslMode};

fn environment() -> Environment {
    let set = [
        ("PGU", "backstage"),
        ("PGP", "geheim"),
        ("URL", "postgresql://backstage:geheim@db:5432/shared?sslmode=no-verify"),
        ("BARE_URL", "postgresql://backstage:geheim@db/shared"),
        ("LOGIN", "backstage:geheim"),
        ("HOST_AND_MORE", "db:5432/shared"),
    ];
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn tcp(host: &str) -> ListenAddress {
    ListenAddress::Tcp { host: host.into(), port: 6432 }
}

fn socket() -> ListenAddress {
    ListenAddress::Unix { directory: "/run/green room".into(), port: 6432 }
}

/// A file of its own for a test, which goes with it.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> Self {
        let name: u64 = rand::random();
        let path = std::env::temp_dir().join(format!("greenroom-overlay-{name:x}.yaml"));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn try_overlay(text: &str, address: &ListenAddress) -> Result<String, OverlayError> {
    let file = TempFile::new(text);
    let loaded = Config::load_as_written(std::slice::from_ref(&file.0), &environment());
    let (config, written) = loaded.unwrap_or_else(|errors| panic!("{errors}\n\n{text}"));
    written.overlay(&config, address).map(|overlay| overlay.replace(&file.0.display().to_string(), "app-config.yaml"))
}

fn overlay(text: &str) -> String {
    let overlay = try_overlay(text, &tcp("127.0.0.1")).unwrap_or_else(|error| panic!("{error}\n\n{text}"));
    assert!(!overlay.contains("geheim"), "{overlay}");
    overlay
}

/// What stands under `connection:` of the base in an overlay of nothing else.
fn connection_of(written: &str) -> String {
    let text = overlay(&format!("backend:\n  database:\n    client: pg\n    connection: {written}\n"));
    text.split_once("connection: ").map(|(_, connection)| connection.trim_end().to_owned()).unwrap_or(text)
}

/// The configuration that Backstage has with the overlay, as far as greenroom reads it: it listens elsewhere then.
fn with_overlay(text: &str, address: &ListenAddress) -> Config {
    let overlay = try_overlay(text, address).unwrap();
    let files = [text, &overlay, "greenroom: { listen: [{ port: 1 }] }"].map(TempFile::new);
    let paths = files.each_ref().map(|file| file.0.clone());
    Config::load(&paths, &environment()).unwrap_or_else(|errors| panic!("{errors}\n\n{overlay}"))
}

fn assert_leads_to_greenroom(connection: &Connection, address: &ListenAddress, overlay: &str) {
    let expected = match address.clone() {
        ListenAddress::Tcp { host, port } => ServerAddress::Tcp { host, port },
        ListenAddress::Unix { directory, port } => ServerAddress::Unix { directory, port },
    };
    assert_eq!(connection.server.address, expected, "{overlay}");
    assert_eq!(connection.server.tls.mode, SslMode::Disable, "{overlay}");
}

#[test]
fn an_overlay_says_where_greenroom_is_and_repeats_references() {
    let text = "
backend:
  database:
    client: pg
    connection:
      host: db
      user: ${PGU}
      password: ${PGP}
      database: shared
      ssl: { rejectUnauthorized: false }
";
    let expected = "\
# How Backstage reaches its databases through greenroom. Give it to Backstage after its own files:
# --config app-config.yaml --config app-config.greenroom.yaml
backend:
  database:
    client: pg
    pluginDivisionMode: database
    connection:
      host: 127.0.0.1
      port: 6432
      user: ${PGU}
      password: ${PGP}
      ssl: false # greenroom takes no TLS; its own way to PostgreSQL is as the files say
";
    assert_eq!(overlay(text), expected);
}

#[test]
fn a_password_in_clear_is_left_where_it_is() {
    let text = overlay(&backend(""));
    assert!(text.contains("# password: stands in clear in app-config.yaml, line 4, and is not repeated"), "{text}");
    let pieces = overlay(&backend("").replace("geheim", "'ge${PGP}'"));
    assert!(pieces.contains("# password: stands in clear"), "{pieces}");
    let literal = overlay(&backend("").replace("geheim", "'$${geheim}'"));
    assert!(literal.contains("# password: stands in clear"), "{literal}");
}

#[test]
fn a_default_of_a_password_is_left_where_it_is() {
    let text = overlay(&backend("").replace("geheim", "'${PGP:-geheim2}'"));
    assert!(text.contains("password: ${PGP}\n") && text.contains("# its default"), "{text}");
}

#[test]
fn what_clients_prove_is_said_and_not_postgresqls_password() {
    let text = "
backend:
  database:
    client: pg
    connection: { host: db, user: backstage, password: geheim, database: shared }
    plugin:
      auth: { connection: { user: auth, password: '${PGU}' } }
      catalog: { connection: { user: catalog } }
greenroom:
  division: schema
  clientPassword: ${PGP}
  plugin:
    catalog: { clientPassword: '${LOGIN}' }
    app: { pool: { max: 2 } }
";
    let overlay = overlay(text);
    assert!(overlay.contains("password: ${PGP}\n") && !overlay.contains("\n      app:"), "{overlay}");
    let file = TempFile::new(text);
    let before = Config::load(std::slice::from_ref(&file.0), &environment()).unwrap();
    let after = with_overlay(text, &tcp("127.0.0.1"));
    for plugin in ["auth", "catalog", "app", "any-other"] {
        let [proven, told] = [&before, &after].map(|config| super::place(config, plugin).connection.login);
        let Some(Password::Text(told)) = told.password else { panic!("{plugin} is told nothing:\n{overlay}") };
        let proven = proven.client_password.unwrap();
        assert_eq!(told.text.expose_secret(), proven.text.expose_secret(), "{plugin}:\n{overlay}");
    }
}

#[test]
fn a_plugin_that_greenroom_alone_names_is_told_what_it_proves() {
    let text = overlay(&format!(
        "{}greenroom: {{ plugin: {{ search: {{ clientPassword: {{ $env: PGP }} }} }} }}\n",
        backend("")
    ));
    let told = "    plugin:\n      search:\n        connection:\n          password:\n            $env: PGP\n";
    assert!(text.ends_with(told), "{text}");
}

#[test]
fn what_clients_prove_is_not_repeated_when_it_stands_in_clear() {
    let text = overlay(&format!("{}greenroom: {{ clientPassword: geheim }}\n", backend("")));
    assert!(text.contains("write ${VAR} in its place there") && !text.contains("merge keeps it"), "{text}");
    let text = overlay(&format!("{}greenroom: {{ clientPassword: '${{PGP:-geheim2}}' }}\n", backend("")));
    assert!(text.contains("Backstage needs the variable\n") && text.contains("password: ${PGP}\n"), "{text}");
}

#[test]
fn what_clients_prove_cannot_be_put_into_a_string() {
    let text = "
backend: { database: { client: pg, connection: 'postgres://u:geheim@db/shared' } }
greenroom: { clientPassword: '${PGP}' }
";
    let error = try_overlay(text, &tcp("127.0.0.1")).unwrap_err().to_string();
    let place =
        "backend.database.connection: clients prove greenroom.clientPassword, which cannot be put into a string";
    assert!(error.contains(place) && error.contains("write the connection as a mapping"), "{error}");
}

#[test]
fn a_clouds_type_is_for_postgresql_alone() {
    let text = "
backend:
  database:
    client: pg
    connection: { type: rds, host: db, user: u, region: r, database: shared, ssl: true }
    plugin:
      auth: { connection: { type: azure, host: other } }
greenroom:
  clientPassword: ${PGP}
  passwordCommand: { command: [token] }
";
    let text = overlay(text);
    assert!(text.contains("    connection:\n      type: default\n      host: 127.0.0.1\n"), "{text}");
    assert!(text.contains("          type: default\n          host: 127.0.0.1\n"), "{text}");
}

#[test]
fn files_and_variables_are_referred_to() {
    let secret = TempFile::new("geheim\n");
    let base = |password: &str| overlay(&backend("").replace("password: geheim", &format!("password: {password}")));
    assert!(base("{ $env: PGP }").contains("password:\n        $env: PGP\n"));
    let path = secret.0.display().to_string();
    let text = base(&format!("{{ $file: {path} }}"));
    assert!(text.contains(&format!("password:\n        $file: {path}\n")), "{text}");
    assert!(!text.contains("relative"), "{text}");
    let text = base(&format!("{{ $file: {} }}", Path::new(&path).file_name().unwrap().display()));
    assert!(text.contains("# relative to this file: keep it where app-config.yaml is\n"), "{text}");
}

#[test]
fn a_connection_string_stays_a_string_with_its_variables() {
    for (written, expected) in [
        (
            "postgresql://${PGU}:${PGP}@db:5432/shared?sslmode=require&application_name=x",
            "postgresql://${PGU}:${PGP}@127.0.0.1:6432/shared?application_name=x&sslmode=disable",
        ),
        (
            "postgres://${PGU}@${NOHOST:-db}/shared?password=${PGP}",
            "postgresql://${PGU}@127.0.0.1:6432/shared?password=${PGP}&sslmode=disable",
        ),
        ("postgres://${LOGIN}@db/a%20b", "postgresql://${LOGIN}@127.0.0.1:6432/a%20b?sslmode=disable"),
        (
            "postgres://${PGU:-backstage}:${PGP}@db",
            "postgresql://${PGU:-backstage}:${PGP}@127.0.0.1:6432?sslmode=disable",
        ),
        ("postgres://u:${PGP}@h/d?host=/run/pg", "postgresql://u:${PGP}@127.0.0.1:6432/d?sslmode=disable"),
        ("socket://u:${PGP}@/run/pg?db=shared", "postgresql://u:${PGP}@127.0.0.1:6432/shared?sslmode=disable"),
        ("${URL}", "${URL}&host=127.0.0.1&port=6432&sslmode=disable"),
        ("${BARE_URL}", "${BARE_URL}?host=127.0.0.1&port=6432&sslmode=disable"),
        ("${BARE_URL}?sslmode=require", "${BARE_URL}?sslmode=require&host=127.0.0.1&port=6432&sslmode=disable"),
    ] {
        assert_eq!(connection_of(written), expected);
    }
}

#[test]
fn a_password_in_clear_in_a_string_is_not_repeated() {
    for (written, told, expected) in [
        ("postgres://u:geheim@db/shared", "PGPASSWORD", "postgresql://u@127.0.0.1:6432/shared?sslmode=disable"),
        ("postgres://u:geh${PGU}@db/shared", "PGPASSWORD", "postgresql://u@127.0.0.1:6432/shared?sslmode=disable"),
        (
            "postgres://u@db/shared?password=geheim",
            "PGPASSWORD",
            "postgresql://u@127.0.0.1:6432/shared?sslmode=disable",
        ),
        ("postgres://u:${PGP:-geheim}@db/shared", "PGPASSWORD", "postgresql://u@127.0.0.1:6432/shared?sslmode=disable"),
        (
            "${NOPE:-postgres://u:geheim@db/shared}",
            "PGPASSWORD",
            "postgresql://u@127.0.0.1:6432/shared?sslmode=disable",
        ),
        (
            "${BARE_URL:-postgres://u:geheim@db/shared}",
            "A default in app-config.yaml",
            "${BARE_URL}?host=127.0.0.1&port=6432&sslmode=disable",
        ),
        (
            "postgres://${LOGIN:-u:geheim}@db/shared",
            "A default in app-config.yaml",
            "postgresql://${LOGIN}@127.0.0.1:6432/shared?sslmode=disable",
        ),
    ] {
        let text = overlay(&format!("backend:\n  database:\n    client: pg\n    connection: '{written}'\n"));
        assert!(text.contains(told), "{text}");
        assert!(text.contains(&format!("connection: {expected}\n")), "{written}:\n{text}");
    }
}

#[test]
fn a_string_that_cannot_be_taken_apart_is_told_without_a_word_of_it() {
    for written in [
        "postgres://u:geheim@${HOST_AND_MORE}",
        "${URL}#geheim",
        "postgres://${NOPE:-u:geheim}@db/shared",
        "${BARE_URL}?password=geheim",
        "postgres://u:$${geheim}@db/shared",
    ] {
        let text = format!("backend:\n  database:\n    client: pg\n    connection: '{written}'\n");
        let error = try_overlay(&text, &tcp("127.0.0.1")).expect_err(written).to_string();
        assert!(error.contains("connection: ") && error.contains("write the connection as a mapping"), "{error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn every_plugin_is_led_to_greenroom_and_nothing_else_changes() {
    let text = "
backend:
  database:
    client: pg
    prefix: my_
    schemaPrefix: my_
    connection: { host: db, port: 5433, user: backstage, password: geheim, database: shared, ssl: { rejectUnauthorized: false } }
    plugin:
      auth: { connection: { database: auth } }
      catalog: { connection: { host: other, user: catalog, password: '${PGP}', ssl: true } }
      search: { client: better-sqlite3, connection: ':memory:' }
      app: { connection: 'postgresql://app:${PGP}@third/own?sslmode=no-verify' }
      proxy: {}
greenroom: { division: schema }
";
    for address in [tcp("127.0.0.1"), tcp("greenroom.internal"), tcp("::1"), socket()] {
        let overlay = try_overlay(text, &address).unwrap();
        assert!(overlay.contains("# search: kept in better-sqlite3"), "{overlay}");
        assert!(!overlay.contains("\n      search:") && !overlay.contains("\n      proxy:"), "{overlay}");
        assert!(overlay.contains("prefix: my_\n"), "{overlay}");
        let (before, after) = (super::config(&text.replace("${PGP}", "geheim")), with_overlay(text, &address));
        for plugin in ["auth", "catalog", "app", "proxy", "any-other"] {
            let (before, after) = (super::place(&before, plugin), super::place(&after, plugin));
            assert_leads_to_greenroom(&after.connection, &address, &overlay);
            assert_eq!(after.connection.database, before.connection.database, "{plugin}");
            assert_eq!(after.own_database, before.own_database, "{plugin}");
            let login = |connection: &Connection| (connection.login.user.clone(), connection.login.password.clone());
            assert_eq!(login(&after.connection), login(&before.connection), "{plugin}");
        }
    }
}

#[test]
fn backstage_in_schema_mode_needs_the_database_and_its_prefix() {
    let text = overlay(&backend("    pluginDivisionMode: schema\n    schemaPrefix: dev_\n    role: owner\n"));
    for line in ["pluginDivisionMode: schema\n", "schemaPrefix: dev_\n", "role: owner\n", "      database: shared\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("\n    prefix:"), "{text}");
}

#[test]
fn plugins_on_postgresql_beside_a_base_that_is_not_are_led_alone() {
    let text = "
backend:
  database:
    client: better-sqlite3
    connection: ':memory:'
    plugin:
      auth: { client: pg, connection: { host: db, user: u, password: '${PGP}' } }
";
    let text = overlay(text);
    assert!(!text.contains("\n    connection") && text.contains("      auth:\n        client: pg\n"), "{text}");
    assert!(text.contains("          host: 127.0.0.1\n          port: 6432\n          user: u\n"), "{text}");
}

#[test]
fn a_configuration_of_other_databases_alone_has_no_overlay() {
    let text = "
backend: { database: { client: better-sqlite3, connection: ':memory:' } }
greenroom: { database: { reports: { connection: { host: db, user: u, password: p } } } }
";
    assert_eq!(try_overlay(text, &tcp("127.0.0.1")), Err(OverlayError::Nothing));
}

#[test]
fn a_variable_that_lies_over_every_file_is_told() {
    let file = TempFile::new(&backend(""));
    let told = |variable: &str, value: &str| {
        let environment = Environment::from([(variable.to_owned(), value.to_owned())]);
        let (config, written) = Config::load_as_written(std::slice::from_ref(&file.0), &environment).unwrap();
        written
            .overlay(&config, &tcp("127.0.0.1"))
            .unwrap()
            .contains("# Start Backstage without the variable APP_CONFIG_")
    };
    assert!(told("APP_CONFIG_backend_database_connection_port", "5432"));
    assert!(told("APP_CONFIG_backend_database_plugin_auth_connection_host", "db"));
    assert!(!told("APP_CONFIG_backend_database_connection_password", "geheim"));
    assert!(!told("APP_CONFIG_backend_listen_port", "1"));
}
