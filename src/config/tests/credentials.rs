//! Passwords: files, commands, what clients prove, and the clouds' own types.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{backend, config, connection, errors, place, with};
use crate::config::{Config, Environment, Login, Password, PasswordCommand, SecretText};

/// What PostgreSQL is told and what clients prove, as `file:text`, `text` or `$ command`.
fn passwords(login: &Login) -> (String, String) {
    let text = |text: &SecretText| match &text.file {
        Some(file) => {
            format!("{}:{}", file.file_name().unwrap_or_default().to_string_lossy(), text.text.expose_secret())
        }
        None => text.text.expose_secret().to_owned(),
    };
    let server = match &login.password {
        Some(Password::Text(password)) => text(password),
        Some(Password::Command(command)) => format!("$ {}", command.command.join(" ")),
        None => "none".to_owned(),
    };
    (server, login.client_password.as_ref().map_or_else(|| "none".to_owned(), text))
}

fn pair(server: &str, client: &str) -> (String, String) {
    (server.to_owned(), client.to_owned())
}

#[test]
fn a_password_from_a_file_is_remembered_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("pw", "from a file\n\n");
    write("url", "postgres://me:inside@db/shared");
    let read = |connection: &str, more: &str| {
        let text = format!("backend: {{ database: {{ client: pg, connection: {connection} }} }}\n{more}");
        write("a.yaml", &text);
        Config::load(&[directory.path().join("a.yaml")], &Environment::new()).map(|config| {
            let place = config.database.base_place().expect("it is on PostgreSQL").clone();
            passwords(&place.connection.login)
        })
    };
    write("more.yaml", "{ host: db, user: me, password: { $file: pw } }");
    for included in ["{ host: db, user: me, password: { $file: pw } }", "{ $include: more.yaml }"] {
        assert_eq!(read(included, "").unwrap(), pair("pw:from a file", "pw:from a file"), "{included}");
    }
    let with_client = "greenroom: { clientPassword: { $file: pw } }";
    assert_eq!(read("{ user: me, password: fixed }", with_client).unwrap(), pair("fixed", "pw:from a file"));
    // The file is a connection string, not the password in it.
    assert_eq!(read("{ $file: url }", "").unwrap(), pair("inside", "inside"));

    write("empty", " \n");
    let told = read("{ user: me, password: { $file: empty } }", "").unwrap_err().to_string();
    assert!(told.contains("connection.password: the file ") && told.contains("empty is empty, expected"), "{told}");
}

#[test]
fn a_command_is_read_and_its_placeholders_are_filled_in() {
    let text = with(
        "greenroom: { passwordCommand: { command: [tool, '{host}', '--port={port}', '{user}', 7, '{other}'],
    timeoutMillis: 1, validForMillis: '2', refreshBeforeMillis: 0 } }\n",
    );
    let login = connection(&text).login;
    assert_eq!(passwords(&login), pair("$ tool db --port=5432 backstage 7 {other}", "geheim"));
    let Some(Password::Command(command)) = login.password else { panic!("a command") };
    let millis = Duration::from_millis;
    assert_eq!((command.timeout, command.valid_for, command.refresh_before), (millis(1), millis(2), millis(0)));

    let text = with("greenroom: { passwordCommand: { command: [tool] } }\n").replace("host: db", "host: /run/pg");
    let Some(Password::Command(command)) = connection(&text).login.password else { panic!("a command") };
    assert_eq!(command.timeout, PasswordCommand::TIMEOUT);
    assert_eq!(command.valid_for, PasswordCommand::VALID_FOR);
    assert_eq!(command.refresh_before, PasswordCommand::REFRESH_BEFORE);
}

#[test]
fn the_nearest_setting_decides() {
    let config = config(&format!(
        "{}greenroom:
  clientPassword: everybodys
  passwordCommand: {{ command: [base, '{{user}}'] }}
  plugin:
    auth: {{ clientPassword: auths }}
    search: {{ passwordCommand: {{ command: [search] }} }}
    app: {{ clientPassword: apps }}
  database:
    reports: {{ connection: {{ user: reports, password: own }} }}
    audit: {{ connection: {{ user: audit }}, clientPassword: audits, passwordCommand: {{ command: [audit] }} }}\n",
        backend(
            "    plugin:
      catalog: { connection: { user: catalog } }
      search: { connection: { user: search, password: own } }
      legacy: { connection: { user: legacy, password: own } }
      app: { connection: { user: app, password: own } }\n"
        )
    ));
    let plugin = |id: &str| passwords(&place(&config, id).connection.login);
    assert_eq!(plugin("scaffolder"), pair("$ base backstage", "everybodys"));
    assert_eq!(plugin("auth"), pair("$ base backstage", "auths"));
    assert_eq!(plugin("catalog"), pair("$ base catalog", "everybodys"), "the command is asked for every user");
    assert_eq!(plugin("search"), pair("$ search", "own"));
    assert_eq!(plugin("legacy"), pair("own", "own"), "a password of its own is nearer than what is said for all");
    assert_eq!(plugin("app"), pair("own", "apps"));
    let other = |name: &str| passwords(&config.database.others[name].connection.login);
    assert_eq!(other("reports"), pair("own", "own"));
    assert_eq!(other("audit"), pair("$ audit", "audits"));
}

#[test]
fn a_command_that_cannot_be_one_is_told() {
    let expected = "expected a list of the program and its arguments";
    for (command, told) in [
        ("{}", "command: missing, expected a list of the program"),
        ("{ command: aws rds }", "command: found \"aws rds\", expected a list"),
        ("{ command: [] }", "command: found an empty list, expected a list of the program"),
        ("{ command: [''] }", expected),
        ("{ command: [a, { b: c }] }", expected),
        ("{ command: [a, [b]] }", expected),
        ("{ command: [\"a\\0b\"] }", expected),
        ("{ command: [a], timeoutMillis: 0 }", "timeoutMillis: found 0, expected a whole number above 0"),
        ("{ command: [a], validForMillis: long }", "validForMillis: found \"long\""),
        ("{ command: [a], refreshBeforeMillis: -1 }", "refreshBeforeMillis: found -1"),
        ("{ command: [a], shell: true }", "shell: unknown key, expected one of command, "),
        ("aws rds", "greenroom.passwordCommand: found \"aws rds\", expected a mapping"),
    ] {
        let text = with(&format!("greenroom: {{ passwordCommand: {command} }}\n"));
        let errors = errors(&text);
        assert!(errors.starts_with("configuration:5: greenroom.passwordCommand") && errors.contains(told), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        let plugin = format!("greenroom: {{ plugin: {{ x: {{ passwordCommand: {command} }} }} }}\n");
        let errors = super::errors(&(backend("    plugin: { x: { connection: { user: x } } }\n") + &plugin));
        assert!(errors.contains("greenroom.plugin.x.passwordCommand") && errors.lines().count() == 1, "{errors}");
    }
    let errors = errors(&with("greenroom: { clientPassword: [geheim] }\n"));
    assert_eq!(
        errors,
        "configuration:5: greenroom.clientPassword: found something else (not shown), expected text; put it in quotes"
    );
}

#[test]
fn with_a_command_alone_clients_have_nothing_to_prove() {
    let text = with("greenroom: { passwordCommand: { command: [tool] } }\n").replace("password: geheim, ", "");
    assert_eq!(
        errors(&text),
        "configuration:4: backend.database.connection.password: missing: clients of 127.0.0.1:6432 prove that they know \
         it, so none could log in; set it or greenroom.clientPassword (passwordCommand's is for PostgreSQL alone), or \
         give every greenroom.listen auth: trust"
    );
    config(&text.replace("greenroom: {", "greenroom: { listen: [{ auth: trust }],"));
    let text = text.replace("greenroom: {", "greenroom: { clientPassword: theirs,");
    assert_eq!(passwords(&connection(&text).login), pair("$ tool", "theirs"));
}

#[test]
fn one_login_has_one_command() {
    let text = with("greenroom: { plugin: { catalog: { passwordCommand: { command: [tool] } } } }\n");
    assert_eq!(
        errors(&text),
        "configuration:5: greenroom.plugin.catalog.passwordCommand: differs from that of configuration:4: \
         backend.database.connection, which is the same login on the same server; expected them to be equal"
    );
}

const RDS: &str = "type: rds, host: db.example, port: 6543, user: 'iam user', region: eu-west-1";

/// A base connection of a cloud's type.
fn cloud(connection: &str, more: &str) -> String {
    format!("backend:\n  database:\n    client: pg\n    connection: {{ {connection} }}\n{more}")
}

#[test]
fn a_clouds_type_is_answered_with_what_to_write() {
    let told = errors(&cloud(RDS, ""));
    assert_eq!(
        told,
        "configuration:4: backend.database.connection.type: rds logs in with tokens of 15 minutes, expected the command \
         that prints them: greenroom.passwordCommand: { command: [aws, rds, generate-db-auth-token, --hostname, \
         db.example, --port, 6543, --username, \"iam user\", --region, eu-west-1] }, and beside type ssl: { ca: { $file: \
         global-bundle.pem } } (docs/credentials.md)"
    );
    // What it says is what it takes.
    let remedy = told.split("greenroom.passwordCommand: ").nth(1).unwrap().split(", and beside").next().unwrap();
    let mended = cloud(RDS, &format!("greenroom:\n  clientPassword: theirs\n  passwordCommand: {remedy}\n"));
    let login = connection(&mended).login;
    assert_eq!(
        passwords(&login).0,
        "$ aws rds generate-db-auth-token --hostname db.example --port 6543 --username iam user --region eu-west-1"
    );

    let told = errors(&cloud("type: azure, host: h, user: u, tokenCredential: { clientId: x }", ""));
    assert!(told.contains("connection.type: azure logs in with tokens of an hour, "), "{told}");
    assert!(told.contains("[az, account, get-access-token, --resource-type, oss-rdbms]"), "{told}");
    for more in ["", "greenroom: { clientPassword: c, passwordCommand: { command: [gcloud] } }\n"] {
        let told = errors(&cloud("type: cloudsql, instance: 'p:r:i', ipAddressType: PRIVATE, user: u", more));
        assert!(told.contains("connection.type: cloudsql is Google's own connector"), "{told}");
        assert!(told.contains("cloud-sql-proxy --auto-iam-authn") && told.contains("gcloud, sql, generate"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let told = errors(&cloud("type: heroku, host: h, user: u, password: p", ""));
    assert!(told.contains("connection.type: found heroku, expected default, rds, azure or cloudsql"), "{told}");
}

#[test]
fn a_clouds_type_is_told_for_the_place_it_is_written_at() {
    let more = "    plugin: { catalog: { connection: { database: x } }, auth: { connection: { user: a } } }\n";
    assert_eq!(errors(&cloud(RDS, more)).lines().count(), 1, "plugins inherit it");
    let text = backend(&format!("    plugin:\n      catalog: {{ connection: {{ {RDS} }} }}\n"));
    let told = errors(&text);
    assert!(
        told.starts_with("configuration:6: backend.database.plugin.catalog.connection.type: rds logs in")
            && told.contains("greenroom.plugin.catalog.passwordCommand: { command: [aws"),
        "{told}"
    );
    let text = with(&format!("greenroom: {{ database: {{ reports: {{ connection: {{ {RDS} }} }} }} }}\n"));
    let told = errors(&text);
    assert!(told.contains("greenroom.database.reports.passwordCommand: { command: [aws"), "{told}");
}

#[test]
fn a_clouds_type_is_taken_as_it_stands_once_tokens_come_from_somewhere() {
    let own = "greenroom: { clientPassword: theirs, passwordCommand: { command: [tool, '{host}', '{user}'] } }\n";
    for (written, address) in [
        (RDS, "db.example:6543"),
        ("type: azure, host: db.example, user: u, tokenCredential: { clientId: x, tenantId: y }", "db.example:5432"),
        ("type: cloudsql, instance: 'p:r:i', host: 127.0.0.1, port: 5431, user: u", "127.0.0.1:5431"),
        ("type: default, host: db.example, user: u", "db.example:5432"),
    ] {
        let read = connection(&cloud(written, own));
        assert_eq!(read.server.address.to_string(), address);
        assert!(passwords(&read.login).0.starts_with("$ tool "), "{written}");
    }
    // The Auth Proxy logs in itself.
    let read = connection(&cloud(
        "type: cloudsql, instance: 'p:r:i', host: 127.0.0.1, port: 5431, user: u",
        "greenroom: { clientPassword: theirs }\n",
    ));
    assert_eq!(passwords(&read.login), pair("none", "theirs"));
    // Somebody else keeps a token in a file fresh.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "token").unwrap();
    let read = connection(&cloud(&format!("{RDS}, password: {{ $file: {} }}", file.path().display()), ""));
    assert!(passwords(&read.login).0.ends_with(":token"));
}

#[test]
fn passwords_are_not_shown_by_debug() {
    let text = with("greenroom: { clientPassword: verborgen, passwordCommand: { command: [tool] } }\n");
    let shown = format!("{:?}", config(&text));
    assert!(shown.contains("tool") && !shown.contains("verborgen") && !shown.contains("geheim"), "{shown}");
}

#[test]
fn the_samples_of_the_documentation_are_right() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    let certificate = directory.path().join("ca.pem");
    std::fs::write(&password, "geheim").unwrap();
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----").unwrap();
    let environment =
        ["GREENROOM_CLIENT_PASSWORD", "POSTGRES_PASSWORD"].map(|name| (name.to_owned(), name.to_owned())).into();
    let documentation = include_str!("../../../docs/credentials.md");
    let samples: Vec<&str> =
        documentation.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert_eq!(samples.len(), 7);
    for sample in samples {
        let words = sample.split_inclusive(' ').map(|word| match word.trim_end().trim_end_matches(',') {
            path if path.starts_with('/') && path.ends_with(".pem") => {
                word.replace(path, &certificate.to_string_lossy())
            }
            path if path.starts_with('/') => word.replace(path, &password.to_string_lossy()),
            _ => word.to_owned(),
        });
        let file = directory.path().join("sample.yaml");
        // Backstage's own part dials greenroom.
        std::fs::write(&file, words.collect::<String>().replace("port: 6432", "port: 6433")).unwrap();
        let config = Config::load(&[file], &environment).unwrap_or_else(|errors| panic!("{sample}\n{errors}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        let login = &place(&config, "catalog").connection.login;
        assert!(login.client_password.is_some(), "{sample}");
    }
}
