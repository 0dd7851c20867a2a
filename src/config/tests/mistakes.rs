//! Every kind of mistake, told with its file, line, path and remedy.

use super::{backend, errors, with};

#[test]
fn a_number_out_of_range_is_told_with_line_and_path() {
    let text = with("greenroom:\n  pool:\n    min: 0\n    max: -4\n");
    assert_eq!(errors(&text), "configuration:8: greenroom.pool.max: found -4, expected a whole number above 0");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let text = with(
        "greenroom:
  threads: 0
  maxServerConnections: many
  division: both
  pool: { mode: statement }
  timeouts: { loginMillis: 0, transactionMillis: -1 }
  log:
    level: loud
  metrics: 7
",
    );
    assert_eq!(
        errors(&text),
        "\
configuration:6: greenroom.threads: found 0, expected a whole number from 1 to 1024
configuration:7: greenroom.maxServerConnections: found \"many\", expected a whole number above 0
configuration:8: greenroom.division: found \"both\", expected schema or database
configuration:9: greenroom.pool.mode: found \"statement\", expected transaction or session
configuration:10: greenroom.timeouts.loginMillis: found 0, expected a whole number above 0
configuration:10: greenroom.timeouts.transactionMillis: found -1, expected a whole number, 0 or above
configuration:12: greenroom.log.level: found \"loud\", expected error or warn or info or debug or trace
configuration:13: greenroom.metrics: found 7, expected a mapping"
    );
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_one() {
    let text =
        with("greenroom:\n  pool:\n    idleTimeoutMilis: 1\n  colour: green\n  plugin: { catalog: { wait: 1 } }\n");
    let errors = errors(&text);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(
        lines[0],
        "configuration:7: greenroom.pool.idleTimeoutMilis: unknown key, did you mean idleTimeoutMillis?"
    );
    assert!(
        lines[1].starts_with("configuration:8: greenroom.colour: unknown key, expected one of listen, "),
        "{}",
        lines[1]
    );
    assert_eq!(
        lines[2],
        "configuration:9: greenroom.plugin.catalog.wait: unknown key, expected one of division, extensionsSchema, weight, pool, clientPassword, passwordCommand"
    );
}

#[test]
fn yaml_that_cannot_be_read_is_told_with_its_line() {
    let errors = errors("backend:\n  database: [\n  client: pg\n");
    assert!(errors.starts_with("configuration:") && errors.contains(": not valid YAML: "), "{errors}");
    let twice = super::errors("backend:\n  database: 1\n  database: 2\n");
    assert!(twice.contains("duplicate"), "{twice}");
    assert_eq!(
        super::errors("- a list\n"),
        "configuration: not a mapping of settings, expected Backstage's configuration"
    );
}

#[test]
fn what_is_missing_is_told_where_it_should_stand() {
    assert_eq!(
        errors("greenroom: {}\n"),
        "configuration: backend.database: missing, so Backstage keeps everything in better-sqlite3, in memory: nothing to \
         proxy; expected client: pg and a connection"
    );
    assert_eq!(
        errors("backend:\n  database:\n    client: pg\n    connection: { host: db }\n"),
        "configuration:4: backend.database.connection.user: missing, expected the role that logs in"
    );
    assert_eq!(errors("backend:\n  database: {}\n"), "configuration:2: backend.database.client: missing, expected pg");
    assert_eq!(
        errors("backend:\n  database: { client: pg }\n"),
        "configuration:2: backend.database.connection: missing, expected a connection string or {host, port, user, password}"
    );
}

#[test]
fn max_below_min_is_told_where_max_is_set() {
    let text = format!(
        "{}greenroom:\n  plugin:\n    catalog:\n      pool: {{ max: 2 }}\n",
        backend("    knexConfig: { pool: { min: 3, max: 12 } }\n")
    );
    assert_eq!(
        errors(&text),
        "configuration:9: greenroom.plugin.catalog.pool.max: 2 is less than min (3, from \
         backend.database.knexConfig.pool.min); raise max or lower min"
    );
    let text = with("greenroom: { pool: { min: 11 } }\n");
    assert_eq!(
        errors(&text),
        "configuration:5: greenroom.pool.min: 11 is more than max (10, the default); set max as well"
    );
}

/// tarn refuses a count in quotes as well; here it is one, for whatever comes out of a variable is text.
#[test]
fn limits_that_tarn_would_refuse_are_refused_by_their_names() {
    let refusal = |key: &str, value: &str| errors(&with(&format!("greenroom: {{ pool: {{ {key}: {value} }} }}\n")));
    let told = |key: &str, found: &str, expected: &str| {
        format!("configuration:5: greenroom.pool.{key}: found {found}, expected {expected}")
    };
    for wrong in ["-1", "1.5"] {
        assert_eq!(refusal("min", wrong), told("min", wrong, "a whole number, 0 or above"));
    }
    let times = ["acquire", "create", "destroy", "idle"].map(|kind| format!("{kind}TimeoutMillis"));
    let intervals = ["reapIntervalMillis", "createRetryIntervalMillis"].map(str::to_owned);
    for key in times.iter().chain(&intervals).map(String::as_str).chain(["max"]) {
        for (wrong, found) in [("0", "0"), ("-1", "-1"), ("1.5", "1.5"), ("soon", "\"soon\""), ("[1]", "a list")] {
            assert_eq!(refusal(key, wrong), told(key, found, "a whole number above 0"));
        }
    }
    let unknown = refusal("acquireTimeout", "1000");
    assert!(unknown.starts_with("configuration:5: greenroom.pool.acquireTimeout: unknown key, "), "{unknown}");
}

#[test]
fn listeners_must_not_meet() {
    let text =
        with("greenroom:\n  listen:\n    - port: 6432\n    - { host: 0.0.0.0, port: 6432 }\n  http: { port: 6432 }\n");
    assert_eq!(
        errors(&text),
        "\
configuration:8: greenroom.listen[1]: 0.0.0.0:6432 is taken by 127.0.0.1:6432 already
configuration:9: greenroom.http: 127.0.0.1:6432 is taken by the listener on 127.0.0.1:6432 already"
    );
    super::config(&with("greenroom: { listen: [{ host: 0.0.0.0 }, { host: '::' }, { port: 0 }, { port: 0 }] }\n"));
    let text = with("greenroom: { listen: [{ socket: /run/a }, { socket: /run/a }] }\n");
    assert!(errors(&text).contains("greenroom.listen[1]: /run/a/.s.PGSQL.6432 is taken"), "{}", errors(&text));
}

#[test]
fn trust_is_for_this_machine_only() {
    let text = with("greenroom:\n  listen:\n    - { host: 10.0.0.1, auth: trust }\n");
    assert_eq!(
        errors(&text),
        "configuration:7: greenroom.listen[0].auth: trust on 10.0.0.1, expected it only on loopback addresses and unix sockets"
    );
    super::config(&with("greenroom: { listen: [{ auth: trust }, { socket: /run/greenroom, auth: trust }] }\n"));
}

#[test]
fn a_listener_must_make_sense() {
    let text = with(
        "greenroom:
  listen:
    - { host: a, socket: /run/x }
    - { socket: run/x }
    - { port: 70000 }
    - { auth: password }
    - 6432
",
    );
    let errors = errors(&text);
    assert_eq!(
        errors,
        "\
configuration:7: greenroom.listen[0].host: stands beside socket, expected one of the two
configuration:8: greenroom.listen[1].socket: found \"run/x\", expected the absolute path of a directory
configuration:9: greenroom.listen[2].port: found 70000, expected a whole number from 0 to 65535
configuration:10: greenroom.listen[3].auth: found \"password\", expected scram-sha-256 or md5 or trust
configuration:11: greenroom.listen[4]: found 6432, expected a mapping"
    );
    assert!(super::errors(&with("greenroom: { listen: 6432 }\n")).contains("found 6432, expected a list"));
    assert!(super::errors(&with("greenroom: { listen: [] }\n")).contains("expected at least one address"));
}

#[test]
fn schema_division_needs_a_database_around_the_schemas() {
    let text = "backend:
  database:
    client: pg
    pluginDivisionMode: schema
    connection:
      host: db
      user: u
      password: p
";
    assert_eq!(
        errors(text),
        "configuration:5: backend.database.connection.database: missing, expected the database that holds the plugins' \
         schemas (division: schema)"
    );
}

#[test]
fn schema_division_needs_a_schema_prefix_beside_another_prefix() {
    let text = format!("{}greenroom: {{ division: schema }}\n", backend("    prefix: acme_\n"));
    assert!(
        errors(&text).starts_with("configuration:2: backend.database.schemaPrefix: missing beside prefix \"acme_\""),
        "{}",
        errors(&text)
    );
    super::config(&text.replace("prefix: acme_", "prefix: acme_\n    schemaPrefix: acme_"));
    super::config(&backend("    prefix: acme_\n"));
}

#[test]
fn the_shared_database_must_not_have_a_plugins_name() {
    let text = with("greenroom: { division: schema }\n").replace("database: shared", "database: backstage_plugin_x");
    assert!(errors(&text).contains("connection.database: backstage_plugin_x is also the name of a plugin's database"));
}

#[test]
fn names_that_postgresql_would_cut_short_are_refused() {
    let id = "x".repeat(60);
    let text = format!(
        "{}greenroom:\n  plugin:\n    {id}: {{}}\n",
        backend("    pluginDivisionMode: schema\n    schemaPrefix: acme_\n")
    );
    assert_eq!(
        errors(&text),
        format!(
            "configuration:9: greenroom.plugin.{id}: its schema acme_{id} has 65 bytes, expected at most 63; shorten schemaPrefix"
        )
    );
    let text = backend("    schemaPrefix: 7up\n");
    assert!(errors(&text).contains("backend.database.schemaPrefix: found \"7up\", expected a letter"));
}

#[test]
fn greenroom_must_not_dial_itself() {
    let at = |host: &str, port: u16, listen: &str| {
        with(&format!("greenroom: {{ listen: [{listen}] }}\n"))
            .replace("host: db", &format!("host: {host}, port: {port}"))
    };
    for (host, listen) in [
        ("127.0.0.1", "{}"),
        ("localhost", "{}"),
        ("127.0.0.1", "{ host: 0.0.0.0 }"),
        ("localhost", "{ host: '::' }"),
        ("pg", "{ host: pg }"),
        ("PG.", "{ host: pg }"),
        ("LOCALHOST", "{}"),
        ("ip6-localhost", "{ host: '::1' }"),
        ("greenroom.localhost", "{ host: 0.0.0.0 }"),
        ("'::1'", "{ host: localhost }"),
        ("'0:0:0:0:0:0:0:1'", "{ host: '::1' }"),
        ("'::ffff:127.0.0.1'", "{ host: 127.0.0.1 }"),
        ("0.0.0.0", "{ host: '::' }"),
        ("/run/greenroom", "{ socket: /run/greenroom }"),
        ("/run/greenroom/", "{ socket: /run/greenroom }"),
    ] {
        let text = at(host, 6432, listen);
        assert!(errors(&text).contains("so it would dial itself"), "{text}\n{}", errors(&text));
        super::config(&at(host, 5432, listen));
    }
    assert!(errors(&at("0.0.0.0", 6432, "{}")).contains("so it would dial itself"));
    super::config(&at("db", 6432, "{ host: 0.0.0.0 }"));
    super::config(&at("'::1'", 6432, "{ host: 0.0.0.0 }"));
    super::config(&at("127.0.0.2", 6432, "{}"));
}

#[test]
fn no_way_that_is_configured_may_lead_back_to_greenroom() {
    let own = "connection: { host: localhost, port: 6432 }";
    let plugin = backend(&format!("    plugin: {{ auth: {{ {own} }} }}\n"));
    let string = backend("    plugin: { auth: { connection: 'postgresql://a:b@127.0.0.1:6432/auth' } }\n");
    let other = with(&format!("greenroom: {{ database: {{ reports: {{ {own} }} }} }}\n"));
    for (text, at) in [
        (plugin, "backend.database.plugin.auth.connection"),
        (string, "backend.database.plugin.auth.connection"),
        (other, "greenroom.database.reports.connection"),
    ] {
        let told = errors(&text);
        assert!(told.contains(at) && told.contains("so it would dial itself"), "{text}\n{told}");
    }
}

#[test]
fn without_a_password_only_trust_lets_anyone_in() {
    let text = with("greenroom: { listen: [{ auth: md5 }, { socket: /run/greenroom, auth: trust }] }\n")
        .replace("password: geheim, ", "");
    assert_eq!(
        errors(&text),
        "configuration:4: backend.database.connection.password: missing: clients of 127.0.0.1:6432 prove that they know \
         it, so none could log in; set it, or give every greenroom.listen auth: trust"
    );
    super::config(&text.replace("md5", "trust"));
}

#[test]
fn tls_that_cannot_be_honoured_is_refused() {
    let text = |ssl: &str| with("").replace("host: db", &format!("host: db, ssl: {ssl}"));
    for (ssl, told) in [
        ("{ ciphers: x }", "connection.ssl.ciphers: cannot be honoured"),
        ("sometimes", "connection.ssl: found \"sometimes\", expected true, false, no-verify or {"),
        (
            "{ ca: /etc/ca.pem }",
            "connection.ssl.ca: found \"/etc/ca.pem\", expected PEM text; for a file write ca: { $file: path }",
        ),
        ("{ cert: '-----BEGIN CERTIFICATE-----' }", "connection.ssl.key: missing, expected both cert and key"),
        ("{ ca: { $file: /does/not/exist.pem } }", "connection.ssl.ca: cannot read /does/not/exist.pem"),
        (
            "{ rejectUnauthorized: perhaps }",
            "connection.ssl.rejectUnauthorized: found \"perhaps\", expected true or false",
        ),
    ] {
        let errors = errors(&text(ssl));
        assert!(errors.contains(told) && errors.lines().count() == 1, "{ssl}: {errors}");
    }
    let socket = text("true").replace("host: db", "host: /run/postgresql");
    assert!(
        errors(&socket).contains("connection.ssl: cannot be honoured: PostgreSQL speaks no TLS over a unix socket")
    );
}

#[test]
fn one_login_on_one_server_has_one_password_and_one_way_of_tls() {
    let text = backend(
        "    plugin: { catalog: { connection: { ssl: true } }, search: { connection: { password: other } } }\n",
    );
    let errors = errors(&text);
    assert!(
        errors.contains("backend.database.plugin.catalog.connection.ssl: differs from that of configuration:4: "),
        "{errors}"
    );
    assert!(errors.contains("backend.database.plugin.search.connection.password: differs from"), "{errors}");
    assert!(!errors.contains("geheim") && !errors.contains("other,"), "{errors}");
}

#[test]
fn a_connection_that_is_none_is_refused_without_showing_its_password() {
    let text = |connection: &str| format!("backend:\n  database:\n    client: pg\n    connection: {connection}\n");
    for (connection, told) in [
        ("mysql://u:geheim@h/d", ":4: backend.database.connection: not a connection string; expected postgresql://"),
        ("[geheim]", ":4: backend.database.connection: not a connection; expected"),
        ("{ host: h, user: u, password: [geheim] }", "connection.password: found something else (not shown)"),
        ("{ host: h, user: u, password: 123456 }", "connection.password: found something else (not shown)"),
        ("{ type: rds, user: u, password: geheim }", "connection.type: rds logs in with tokens"),
        ("postgres://u:geheim@h:banana/d", "connection: found \"banana\", expected a whole number from 1 to 65535"),
        ("postgres://u:geheim@h/d?sslmode=maybe", "connection: found sslmode=maybe, expected disable, "),
        ("postgres://u:geheim@h/d?sslrootcert=/does/not/exist", "cannot read the ca file /does/not/exist"),
    ] {
        let errors = errors(&text(connection));
        assert!(errors.contains(told), "{connection}: {errors}");
        assert!(!errors.contains("geheim") && !errors.contains("123456"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn names_of_other_databases_must_be_free() {
    let text = with("greenroom:\n  database:\n    postgres: {}\n    backstage_plugin_x: {}\n    reports: {}\n");
    assert_eq!(
        errors(&text),
        "\
configuration:7: greenroom.database.postgres: the name postgres is where databases are created; expected another name
configuration:8: greenroom.database.backstage_plugin_x: the name backstage_plugin_x is a plugin's; expected another name"
    );
    let text = format!(
        "{}greenroom:\n  database: {{ reports: {{}} }}\n",
        backend("    plugin: { catalog: { connection: { database: reports } } }\n")
    );
    assert!(errors(&text).contains("greenroom.database.reports: the name reports is plugin catalog's database"));
}

#[test]
fn an_unreadable_base_connection_is_told_once_and_not_for_every_plugin() {
    let text = "backend:\n  database:\n    client: pg\n    connection: nonsense\n    plugin: { catalog: { connection: { database: x } } }\n";
    assert!(errors(text).lines().count() == 1, "{}", errors(text));
}

#[test]
fn the_database_of_the_base_connection_is_no_other_database() {
    let text = with("greenroom: { database: { shared: {} } }\n");
    assert!(errors(&text).contains("the name shared is that of backend.database.connection; expected another name"));
}

#[test]
fn a_plugin_id_must_be_one() {
    let text = with("greenroom: { plugin: { 'a b': { pool: { max: 1 } } } }\n");
    assert!(errors(&text).contains("greenroom.plugin.a b: not a plugin id"), "{}", errors(&text));
}

#[test]
fn a_configuration_without_postgresql_has_nothing_to_serve() {
    let text = "backend: { database: { client: better-sqlite3, connection: ':memory:' } }\n";
    assert_eq!(
        errors(text),
        "configuration:1: backend.database.client: found \"better-sqlite3\", expected pg: nothing here is on PostgreSQL, so \
         there is nothing to proxy"
    );
}

#[test]
fn a_schema_of_extensions_is_neither_postgresqls_nor_a_plugins() {
    let told = |name: &str| errors(&with(&format!("greenroom: {{ division: schema, extensionsSchema: {name} }}\n")));
    for name in ["pg_temp", "information_schema", "'$user'"] {
        assert!(told(name).contains("greenroom.extensionsSchema") && told(name).contains("PostgreSQL's"), "{name}");
    }
    let long = "x".repeat(64);
    assert!(told(&long).contains("at most 63 bytes"), "{}", told(&long));
    let named = with("greenroom: { division: schema, extensionsSchema: search, plugin: { search: {} } }\n");
    assert!(errors(&named).contains("is the schema of plugin search"), "{}", errors(&named));
    let prefixed = format!(
        "{}greenroom: {{ division: schema, plugin: {{ search: {{ extensionsSchema: dev_x }} }} }}\n",
        backend("    schemaPrefix: dev_\n")
    );
    let told = errors(&prefixed);
    assert!(
        told.contains("greenroom.plugin.search.extensionsSchema: found dev_x, which is the schema of plugin x"),
        "{told}"
    );
}
