//! Files on disk: merging, environment, includes.

use std::fs;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::place;
use crate::config::{Config, ConfigErrors, Environment, SslMode};

/// A directory of files that goes away with the test.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let directory = std::env::temp_dir().join(format!("greenroom-config-{test}-{}", std::process::id()));
        fs::create_dir_all(directory.join("more")).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        Self(directory)
    }

    pub(super) fn load(&self, names: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let files: Vec<PathBuf> = names.iter().map(|name| self.0.join(name)).collect();
        let environment: Environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Config::load(&files, &environment)
    }

    /// The mistakes, with the directory's name taken out.
    fn errors(&self, names: &[&str], environment: &[(&str, &str)]) -> String {
        let errors = self.load(names, environment).expect_err("a mistake").to_string();
        errors.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const BASE: &str = "\
app: { title: '${NOT_OURS}', logo: { $file: missing.png } }
backend:
  auth: { keys: [{ $file: missing.key }] }
  database:
    client: pg
    connection:
      host: ${PG_HOST}
      port: ${PG_PORT:-5432}
      user: backstage
      password: ${PG_PASSWORD}
      database: shared
      ssl: { rejectUnauthorized: true }
    knexConfig: { pool: { min: 2, max: 5 } }
";

#[test]
fn later_files_lie_over_earlier_ones() {
    let files = Files::new(
        "merge",
        &[
            ("a.yaml", BASE),
            (
                "b.yaml",
                "backend:\n  database:\n    connection: { ssl: null, host: other }\n    knexConfig: { pool: { max: 8 } }\n\
                 greenroom: { listen: [{ port: 1 }, { port: 2 }] }\n",
            ),
            ("c.yaml", "greenroom: { listen: [{ port: 3 }], threads: 2 }\n"),
            ("empty.yaml", "# nothing\n"),
        ],
    );
    let config = files.load(&["a.yaml", "b.yaml", "empty.yaml", "c.yaml"], &[("PG_PASSWORD", "p")]).unwrap();
    let connection = place(&config, "catalog").connection;
    assert_eq!(connection.server.address.to_string(), "other:5432");
    assert_eq!(connection.server.tls.mode, SslMode::Disable, "null takes a key away");
    assert_eq!((config.database.base.limits.min, config.database.base.limits.max), (2, 8));
    assert_eq!(config.listeners.len(), 1, "a list replaces a list");
    assert_eq!(config.threads, 2);
}

#[test]
fn variables_come_from_the_environment_that_is_handed_in() {
    let files = Files::new("variables", &[("a.yaml", BASE)]);
    let config =
        files.load(&["a.yaml"], &[("PG_HOST", "db.example"), ("PG_PORT", " 6543 "), ("PG_PASSWORD", "$${x}")]).unwrap();
    let connection = place(&config, "catalog").connection;
    assert_eq!(connection.server.address.to_string(), "db.example:6543");
    assert_eq!(
        connection.login.client_password.unwrap().text.expose_secret(),
        "$${x}",
        "values are not substituted again"
    );
    assert_eq!(config.warnings, [] as [&str; 0]);
}

#[test]
fn a_key_whose_variable_is_unset_goes_away_and_is_told() {
    let files = Files::new("unset", &[("a.yaml", BASE)]);
    let config = files.load(&["a.yaml"], &[("PG_PASSWORD", "p")]).unwrap();
    assert_eq!(place(&config, "catalog").connection.server.address.to_string(), "localhost:5432");
    let told = "a.yaml:7: backend.database.connection.host: left out, for the variable PG_HOST is not set";
    assert!(config.warnings.len() == 1 && config.warnings[0].ends_with(told), "{:?}", config.warnings);
    let errors = files.errors(&["a.yaml"], &[]);
    assert!(
        errors
            .contains("a.yaml:10: backend.database.connection.password: missing (the variable PG_PASSWORD is not set)"),
        "{errors}"
    );
}

#[test]
fn libpqs_variables_fill_in_what_a_connection_leaves_out() {
    let files = Files::new("libpq", &[("a.yaml", "backend: { database: { client: pg, connection: {} } }\n")]);
    let environment =
        [("PGHOST", "db"), ("PGPORT", "6543"), ("PGUSER", "me"), ("PGPASSWORD", "geheim"), ("PGSSLMODE", "no-verify")];
    let connection = place(&files.load(&["a.yaml"], &environment).unwrap(), "catalog").connection;
    assert_eq!(connection.server.address.to_string(), "db:6543");
    assert_eq!((&*connection.login.user, connection.login.password.is_some()), ("me", true));
    assert_eq!(connection.server.tls.mode, SslMode::Require);
}

#[test]
fn includes_are_followed_relative_to_their_file() {
    let files = Files::new(
        "includes",
        &[
            (
                "a.yaml",
                "backend:\n  database:\n    client: pg\n    connection: { $include: 'more/${STAGE}.yaml#db.pg' }\n",
            ),
            (
                "more/live.yaml",
                "db:\n  pg:\n    host: db\n    user: { $env: PG_USER }\n    password: { $file: password.txt }\n    ssl:\n      \
                 ca: { $file: ca.pem }\n",
            ),
            ("more/password.txt", "  geheim ${X}\n\n"),
            ("more/ca.pem", "-----BEGIN CERTIFICATE-----\n"),
        ],
    );
    let config = files.load(&["a.yaml"], &[("STAGE", "live"), ("PG_USER", " me ")]).unwrap();
    let connection = place(&config, "catalog").connection;
    assert_eq!(&*connection.login.user, "me");
    assert_eq!(connection.login.client_password.unwrap().text.expose_secret(), "  geheim ${X}");
    assert_eq!(connection.server.tls.ca_pem.as_deref(), Some("-----BEGIN CERTIFICATE-----\n"));
}

#[test]
fn a_mistake_in_an_included_file_is_told_with_that_file() {
    let files = Files::new(
        "included-mistake",
        &[
            ("a.yaml", "backend:\n  database:\n    client: pg\n    connection: { $include: more/db.yaml }\n"),
            ("more/db.yaml", "host: db\nuser: u\npassword: p\nport: high\n"),
        ],
    );
    assert_eq!(
        files.errors(&["a.yaml"], &[]),
        "more/db.yaml:4: port: found \"high\", expected a whole number from 1 to 65535"
    );
}

#[test]
fn includes_that_lead_nowhere_are_mistakes() {
    let at = |include: &str| format!("backend:\n  database:\n    client: pg\n    connection: {include}\n");
    for (include, told) in [
        ("{ $file: nowhere.txt }", "cannot read "),
        ("{ $include: nowhere.yaml }", "cannot read "),
        ("{ $include: a.toml }", "expected a .yaml, .yml or .json file"),
        ("{ $include: 'a.yaml#backend.database.client.deeper' }", "backend.database.client is not a mapping"),
        ("{ $env: X, host: db }", "$env has other keys beside it"),
        ("{ $env: [X] }", "$env expects text"),
        ("{ $file: '${UNSET}/x' }", "$file needs the variable UNSET, which is not set"),
        ("{ $include: 'bad.json' }", "bad.json: not valid JSON: "),
        ("{ host: { $include: 'a.yaml' } }", "does it include itself?"),
    ] {
        let files = Files::new("nowhere", &[("a.yaml", &at(include)), ("bad.json", "{'a': 1}")]);
        let errors = files.errors(&["a.yaml"], &[]);
        assert!(errors.contains("a.yaml:4: ") && errors.contains(told), "{include}: {errors}");
    }
}

#[test]
fn files_that_cannot_be_read_are_told_each() {
    let files = Files::new("unreadable", &[("a.yaml", BASE), ("bad.yaml", "greenroom:\n  - a\n b: [\n")]);
    let errors = files.errors(&["nowhere.yaml", "a.yaml", "bad.yaml"], &[]);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines.iter().any(|line| line.starts_with("nowhere.yaml: cannot be read: ")), "{errors}");
    assert!(lines.iter().any(|line| line.starts_with("bad.yaml:") && line.contains("not valid YAML")), "{errors}");
    let errors = Config::load(&[], &Environment::new()).unwrap_err().to_string();
    assert!(errors.contains("expected --config with at least one"), "{errors}");
}

#[test]
fn included_text_has_its_variables_filled_in_and_json_is_javascripts() {
    let files = Files::new(
        "included-text",
        &[
            (
                "a.yaml",
                "backend:\n  database:\n    client: pg\n    $comment: no include\n    connection:\n      $include: db.json#at\n    \
                 plugin: { auth: { connection: { $include: more/none.yaml } } }\n",
            ),
            (
                "db.json",
                "{\t\"at\": {\"host\": \"x\", \"host\": \"db\", \"user\": {\"$include\": \"more/u.yaml\"}, \"password\": \"\\ud83d\\ude00\"}}",
            ),
            ("more/u.yaml", "'${PG_USER}-x'\n"),
            ("more/none.yaml", "# nothing\n"),
        ],
    );
    let config = files.load(&["a.yaml"], &[("PG_USER", " me ")]).unwrap();
    let connection = place(&config, "auth").connection;
    assert_eq!((connection.server.address.to_string().as_str(), &*connection.login.user), ("db:5432", "me-x"));
    assert_eq!(connection.login.client_password.unwrap().text.expose_secret(), "\u{1f600}");
}

#[test]
fn secrets_of_other_parts_need_not_be_there_even_in_included_files() {
    let files = Files::new(
        "strangers",
        &[
            ("a.yaml", "app: { logo: { $file: missing.png } }\nbackend: { $include: more/backend.yaml }\n"),
            (
                "more/backend.yaml",
                "auth: { $file: missing.key }\ndatabase: { client: pg, connection: 'postgres://u:p@db/d' }\n",
            ),
        ],
    );
    let config = files.load(&["a.yaml"], &[]).unwrap();
    assert_eq!(place(&config, "catalog").connection.server.address.to_string(), "db:5432");
}

#[test]
fn a_null_takes_a_key_away_wherever_it_stands() {
    let files = Files::new(
        "null",
        &[
            ("a.yaml", BASE),
            ("b.yaml", "backend: { database: { plugin: { auth: { connection: { database: null, host: null } } } } }\n"),
        ],
    );
    let config = files.load(&["a.yaml", "b.yaml"], &[("PG_HOST", "db"), ("PG_PASSWORD", "p")]).unwrap();
    let auth = place(&config, "auth");
    assert_eq!((auth.own_database, auth.connection.server.address.to_string().as_str()), (false, "db:5432"));
}

#[test]
fn the_environment_lies_over_all_files() {
    let files = Files::new("app-config", &[("a.yaml", BASE)]);
    let config = files.load(
        &["a.yaml"],
        &[
            ("PG_PASSWORD", "p"),
            ("APP_CONFIG_backend_database_connection", r#"{"host": "db", "password": "${PG_PASSWORD}", "ssl": null}"#),
            ("APP_CONFIG_backend_database_connection_port", "6543"),
            ("APP_CONFIG_backend_database_plugin_user-settings_connection_user", "me too"),
            ("APP_CONFIG_backend_database_knexConfig_pool_max", ""),
            ("APP_CONFIG_greenroom", r#"{"listen": [{"port": 1}, {"port": 2}]}"#),
            ("APP_CONFIG_backend_auth_keys", "null"),
            ("APP_CONFIG_app_9", "not ours, so none of our business"),
        ],
    );
    let config = config.unwrap();
    let connection = place(&config, "user-settings").connection;
    assert_eq!(connection.server.address.to_string(), "db:6543");
    assert_eq!((&*connection.login.user, connection.server.tls.mode), ("me too", SslMode::Disable));
    assert_eq!(
        connection.login.client_password.unwrap().text.expose_secret(),
        "${PG_PASSWORD}",
        "nothing is filled in"
    );
    assert_eq!((config.database.base.limits.max, config.listeners.len()), (5, 2));
}

#[test]
fn mistakes_in_the_environment_are_told_with_their_variable() {
    let files = Files::new("app-config-mistakes", &[("a.yaml", BASE)]);
    for (variables, told) in [
        (&[("APP_CONFIG_backend_database_client", "null")][..], "APP_CONFIG_backend_database_client: may not be null"),
        (
            &[("APP_CONFIG_backend_database_plugin_9_role", "x")],
            "APP_CONFIG_backend_database_plugin_9_role: \"9\" is no key; expected a letter",
        ),
        (
            &[
                ("APP_CONFIG_backend_database_knexConfig", "5"),
                ("APP_CONFIG_backend_database_knexConfig_pool_max", "5"),
            ],
            "APP_CONFIG_backend_database_knexConfig_pool_max: cannot stand below APP_CONFIG_backend_database_knexConfig,",
        ),
        (
            &[("APP_CONFIG_greenroom", r#"{"threads": 2}"#), ("APP_CONFIG_greenroom_threads", "3")],
            "APP_CONFIG_greenroom_threads: is set by APP_CONFIG_greenroom already",
        ),
        (
            &[("APP_CONFIG_backend_database_plugin_auth_connection", "postgres://far/d")],
            "APP_CONFIG_backend_database_plugin_auth_connection: backend.database.plugin.auth.connection.user: missing, ",
        ),
        (
            &[("APP_CONFIG_greenroom_threads", "many")],
            "APP_CONFIG_greenroom_threads: greenroom.threads: found \"many\", expected a whole number",
        ),
    ] {
        let environment: Vec<_> =
            [("PG_HOST", "db"), ("PG_PASSWORD", "p")].into_iter().chain(variables.iter().copied()).collect();
        let errors = files.errors(&["a.yaml"], &environment);
        assert!(errors.lines().any(|line| line.starts_with(told)), "{told}\n{errors}");
    }
}

#[test]
fn without_config_the_files_are_backstages() {
    let all = ["", ".a", ".b", ".local", ".a.local", ".b.local", ".c", ".c.local"];
    let names = all.map(|name| format!("app-config{name}.yaml"));
    let files = Files::new("default", &names.each_ref().map(|name| (name.as_str(), "")));
    let names_for = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let found = Config::default_files(&files.0, &environment);
        let names = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.map(|name| name.trim_start_matches("app-config").trim_end_matches(".yaml").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names_for(&[]), ["", ".local"]);
    assert_eq!(names_for(&[("BACKSTAGE_ENV", " b, ,nowhere,a")]), ["", ".b", ".a", ".local", ".b.local", ".a.local"]);
    let nowhere = Config::default_files(&files.0.join("more"), &Environment::new());
    assert_eq!(nowhere.len(), 1, "the first file must be there, and whoever reads it says so");
    let errors = Config::load(&["https://x/app-config.yaml".into()], &Environment::new()).unwrap_err().to_string();
    assert!(errors.contains("looks like a URL"), "{errors}");
}
