//! `greenroom check` against a real PostgreSQL: what it finds is so, and what it prints mends it.

use futures_util::{StreamExt as _, stream};

use crate::harness::{Checked, Stage, Typed};

/// One way for things to be wrong, and what is said of it. `$login` and `$database` are the stage's.
struct Case {
    /// What makes it wrong, in the stage's database.
    provoke: &'static str,
    /// More lines below `backend.database`, and below `greenroom`.
    config: (&'static str, &'static str),
    severity: &'static str,
    what: &'static str,
    /// Which of the statements mends it all.
    mend: usize,
}

const CATALOG: &str = "  maxServerConnections: 1\n  plugin: { catalog: {} }\n";

const CASES: &[Case] = &[
    Case {
        provoke: "alter database $database owner to postgres",
        config: ("", CATALOG),
        severity: "error",
        what: "schema \"catalog\" of $database does not exist, and the login may not make it",
        mend: 1,
    },
    Case {
        provoke: "alter database $database owner to postgres",
        config: ("", "  maxServerConnections: 1\n"),
        severity: "error",
        what: "the login may not make schemas",
        mend: 0,
    },
    Case {
        provoke: "create schema catalog",
        config: ("", CATALOG),
        severity: "error",
        what: "schema \"catalog\" of $database, owned by postgres, lets \"$login\" create no tables",
        mend: 0,
    },
    Case {
        provoke: "create schema catalog authorization $login;
                  comment on schema catalog is 'greenroom: plugin schema of the deployment with prefix other_'",
        config: ("", CATALOG),
        severity: "error",
        what: "belongs to the deployment with prefix other_, not to this plugin of backstage_plugin_",
        mend: 0,
    },
    Case {
        provoke: "create schema catalog authorization $login;
                  comment on schema catalog is 'greenroom: plugin schema of the deployment with prefix other_'",
        config: ("", "  maxServerConnections: 1\n"),
        severity: "warning",
        what: "two catalogs cannot share a database",
        mend: 0,
    },
    Case {
        provoke: "create schema catalog authorization $login; create table catalog.entity (id serial)",
        config: ("", CATALOG),
        severity: "warning",
        what: "tables in schema \"catalog\" of $database belong to postgres",
        mend: 0,
    },
    Case {
        provoke: "alter database $database owner to postgres; grant create on database $database to $login;
                  revoke connect on database $database from public",
        config: ("", CATALOG),
        severity: "error",
        what: "PostgreSQL refuses: permission denied for database",
        mend: 0,
    },
    Case {
        provoke: "alter database $database owner to postgres; grant create on database $database to $login;
                  revoke temporary on database $database from public",
        config: ("", CATALOG),
        severity: "warning",
        what: "temporary tables are not allowed",
        mend: 0,
    },
    Case {
        provoke: "alter role $login nologin",
        config: ("", CATALOG),
        severity: "error",
        what: "PostgreSQL refuses",
        mend: 0,
    },
    Case {
        provoke: "alter role $login in database $database set default_transaction_read_only = on",
        config: ("", CATALOG),
        severity: "error",
        what: "default_transaction_read_only is on",
        mend: 0,
    },
    Case {
        provoke: "alter role $login connection limit 2",
        config: ("", "  maxServerConnections: 2\n  replicas: 2\n"),
        severity: "warning",
        what: "role \"$login\" is limited to 2 connections, and greenroom may open 4",
        mend: 0,
    },
    Case {
        provoke: "alter database $database connection limit 2",
        config: ("", "  maxServerConnections: 3\n"),
        severity: "warning",
        what: "database \"$database\" is limited to 2 connections, and greenroom may open 3",
        mend: 0,
    },
    Case {
        provoke: "select 1",
        config: ("    role: $login_owner\n", CATALOG),
        severity: "error",
        what: "the role \"$login_owner\" does not exist",
        mend: 0,
    },
    Case {
        provoke: "create role $login_owner",
        config: ("    role: $login_owner\n", CATALOG),
        severity: "error",
        what: "the login is no member of the role \"$login_owner\"",
        mend: 0,
    },
    Case {
        // Whoever is made a member later does not inherit; from PostgreSQL 16 on that is settled as it happens.
        provoke: "create role $login_owner; alter role $login noinherit; grant $login_owner to $login",
        config: ("    role: $login_owner\n", CATALOG),
        severity: "error",
        what: "the login does not inherit what the role \"$login_owner\" may",
        mend: 0,
    },
    Case {
        provoke: "select 1",
        config: ("    ensureExists: false\n", CATALOG),
        severity: "error",
        what: "schema \"catalog\" of $database does not exist, and ensureExists is false",
        mend: 0,
    },
    Case {
        provoke: "create schema catalog authorization $login;
                  comment on schema catalog is 'greenroom: schema of plugin cat of the deployment with prefix backstage_plugin_'",
        config: ("", CATALOG),
        severity: "error",
        what: "belongs to plugin cat of the deployment with prefix backstage_plugin_",
        mend: 0,
    },
    Case {
        provoke: "select 1",
        config: ("", "  maxServerConnections: 1\n  extensionsSchema: extensions\n  plugin: { catalog: {} }\n"),
        severity: "error",
        what: "greenroom.extensionsSchema: schema \"extensions\" does not exist",
        mend: 0,
    },
    Case {
        provoke: "create schema extensions",
        config: ("", "  maxServerConnections: 1\n  extensionsSchema: extensions\n  plugin: { catalog: {} }\n"),
        severity: "error",
        what: "greenroom.extensionsSchema: \"$login\" may not use schema \"extensions\"",
        mend: 0,
    },
    Case {
        provoke: "select 1",
        config: ("    pluginDivisionMode: schema\n", CATALOG),
        severity: "error",
        what: "schema \"catalog\" of $database does not exist, and ensureSchemaExists is false",
        mend: 0,
    },
    Case {
        provoke: "create role $login_owner; grant $login_owner to $login; create schema catalog authorization $login_owner",
        config: ("    pluginDivisionMode: schema\n    ensureSchemaExists: true\n    role: $login_owner\n", CATALOG),
        severity: "error",
        what: "its CREATE SCHEMA IF NOT EXISTS needs the right to even where a schema is there",
        mend: 0,
    },
];

fn filled_in(text: &str, stage: &Stage) -> String {
    text.replace("$login", &stage.login).replace("$database", &stage.database)
}

#[tokio::test]
async fn every_finding_is_mended_by_the_statement_that_is_printed() {
    let cases = CASES.iter().map(|case| async move {
        let stage = Stage::shared().await;
        let [database, own, what] = [case.config.0, case.config.1, case.what].map(|text| filled_in(text, &stage));
        let typed = Typed::before(&stage, &database, &own);
        stage.sql(&filled_in(case.provoke, &stage)).await;
        let checked = typed.check().await;
        assert_eq!(checked.code, i32::from(case.severity == "error"), "{what}: {checked:?}");
        let sql = checked.sql(case.severity, &what);
        let (at, statements) = sql.get(case.mend).unwrap_or_else(|| panic!("{what}: {sql:?}"));
        stage.sql_in(at, statements).await;
        typed.check().await.assert_content();
    });
    // A few at a time: each runs the program twice.
    stream::iter(cases).buffer_unordered(4).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn a_login_that_may_do_what_plugins_need_is_content() {
    let stage = Stage::shared().await;
    let typed = Typed::before(&stage, "", CATALOG);
    typed.check().await.assert_content();
    let told = typed.run(&["check"]).await;
    assert_eq!(told.code, 0, "{told:?}");
    for expected in [
        "ok       configuration: every name leads to one place\n",
        "logged in without TLS; PostgreSQL 1",
        "note     plugin catalog: schema \"catalog\" of",
        "greenroom may make schemas for plugins",
        " warnings, 0 errors\n",
    ] {
        assert!(told.out.contains(expected), "{expected}: {}", told.out);
    }
    assert!(!told.out.contains(&stage.password), "a secret is shown: {}", told.out);
    assert_eq!(stage.sql("select count(*) from pg_namespace where nspname = 'catalog'").await, ["0"], "it only looks");
}

/// Operators that deny whatever they are asked.
const DENY: &str = "create schema lies;
    create function lies.deny(name, name) returns bool language sql immutable as 'select false';
    create function lies.deny(oid, oid) returns bool language sql immutable as 'select false';
    create function lies.deny(name, text) returns bool language sql immutable as 'select false';
    create operator lies.= (leftarg = name, rightarg = name, function = lies.deny);
    create operator lies.= (leftarg = oid, rightarg = oid, function = lies.deny);
    create operator lies.= (leftarg = name, rightarg = text, function = lies.deny);
    grant usage on schema lies to public";

#[tokio::test]
async fn a_search_path_of_the_logins_own_bends_nothing_that_is_asked() {
    let stage = Stage::shared().await;
    let divided = in_databases(&stage, "");
    let database = format!("{}_catalog", stage.database);
    stage.create_database(&database).await;
    for database in [&stage.database, &database] {
        stage.sql_in(database, DENY).await;
        stage.sql_in(database, &format!("create schema ours authorization {}", stage.login)).await;
    }
    stage.sql(&format!("alter role {} createdb", stage.login)).await;
    let straight = [Typed::before(&stage, "", CATALOG).run(&["check"]).await, divided.run(&["check"]).await];
    stage.sql(&format!("alter role {} set search_path = ours, lies, pg_catalog", stage.login)).await;
    let bent = [Typed::before(&stage, "", CATALOG).run(&["check"]).await, divided.run(&["check"]).await];
    for (straight, bent) in straight.iter().zip(&bent) {
        // How many others are there is another matter.
        let of_itself = |(line, _): &(&str, &str)| !line.contains("other sessions use");
        let mut lines = straight.out.lines().zip(bent.out.lines()).filter(of_itself);
        let differs = lines.find(|(straight, bent)| straight != bent);
        assert_eq!((differs, straight.code, bent.code), (None, 0, 0));
    }
    // Where its tables would be is a question of that search_path all the same.
    let taken = format!("alter schema ours owner to postgres; grant usage on schema ours to {}", stage.login);
    stage.sql_in(&database, &taken).await;
    divided.check().await.finding("error", &format!("schema \"ours\" of {database} lets"));
    stage.sql_in("postgres", &format!("drop database {database}")).await;
}

#[tokio::test]
async fn a_database_that_is_missing_is_made_by_the_statement_that_is_printed() {
    let stage = Stage::shared().await;
    let typed = Typed::before(&stage, "", CATALOG);
    stage.sql_in("postgres", &format!("drop database {}", stage.database)).await;
    let checked = typed.check().await;
    let sql = checked.sql("error", "the database does not exist");
    stage.sql_in(&sql[0].0, &sql[0].1).await;
    typed.check().await.assert_content();
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_opened_by_the_statement_that_is_printed() {
    let stage = Stage::shared().await;
    let typed = Typed::before(&stage, "", CATALOG);
    stage.sql_in("postgres", &format!("alter database {} allow_connections false", stage.database)).await;
    let checked = typed.check().await;
    let sql = checked.sql("error", "is not currently accepting connections");
    stage.sql_in(&sql[0].0, &sql[0].1).await;
    typed.check().await.assert_content();
}

#[tokio::test]
async fn a_database_behind_a_schema_of_the_same_name_is_seen() {
    let stage = Stage::shared().await;
    let prefix = format!("{}_plugin_", stage.database);
    let database = format!("    prefix: {prefix}\n    schemaPrefix: s_\n");
    let typed = Typed::before(&stage, &database, CATALOG);
    stage.create_database(&format!("{prefix}catalog")).await;
    let sql = typed.check().await.sql("warning", "what is in the database is not seen");
    stage.sql_in(&sql[0].0, &sql[0].1).await;
    typed.check().await.assert_content();
    stage.sql_in("postgres", &format!("drop database \"before greenroom: {prefix}catalog\"")).await;
}

/// Database division in front of a stage, with databases that nobody else has.
fn in_databases(stage: &Stage, own: &str) -> Typed {
    let database = format!("    prefix: {}_\n", stage.database);
    Typed::before(stage, &database, &format!("{CATALOG}{own}")).dividing("database")
}

#[tokio::test]
async fn with_databases_the_right_to_create_them_is_what_counts() {
    let stage = Stage::shared().await;
    let typed = in_databases(&stage, "");
    let checked = typed.check().await;
    let made = checked.sql("error", "_catalog\" does not exist, and");
    assert!(made[0].1.starts_with("CREATE DATABASE"), "{made:?}");
    let sql = checked.sql("error", "may not create databases");
    stage.sql_in(&sql[0].0, &sql[0].1).await;
    let checked = typed.check().await;
    checked.assert_content();
    checked.finding("note", "the database does not exist yet; Backstage creates it");

    stage.sql(&format!("alter role {} nocreatedb", stage.login)).await;
    stage.sql_in(&made[0].0, &made[0].1).await;
    let checked = typed.check().await;
    assert_eq!(checked.code, 0, "{checked:?}");
    checked.finding("ok", &format!("database {}_catalog is there", stage.database));
    checked.finding("warning", "may not create databases");
    stage.sql_in("postgres", &format!("drop database {}_catalog", stage.database)).await;
}

#[tokio::test]
async fn a_public_schema_that_is_the_owners_alone_is_opened_by_the_statement_that_is_printed() {
    let stage = Stage::shared().await;
    let typed = in_databases(&stage, "");
    stage.sql(&format!("alter role {} createdb", stage.login)).await;
    // One that the configuration names, and one that only its prefix gives away.
    for plugin in ["catalog", "app"] {
        let database = format!("{}_{plugin}", stage.database);
        stage.sql_in("postgres", &format!("create database {database}")).await;
        stage.sql_in(&database, "revoke create on schema public from public").await;
        let sql = typed.check().await.sql("error", &format!("schema \"public\" of {database} lets"));
        stage.sql_in(&sql[0].0, &sql[0].1).await;
        typed.check().await.assert_content();
    }
    for plugin in ["catalog", "app"] {
        stage.sql_in("postgres", &format!("drop database {}_{plugin}", stage.database)).await;
    }
}

#[tokio::test]
async fn the_way_into_postgres_counts_only_where_databases_are_created() {
    let stage = Stage::own(&[]).await;
    stage.sql_in("postgres", "revoke connect on database postgres from public").await;
    stage.sql(&format!("alter role {} createdb", stage.login)).await;
    Typed::before(&stage, "", CATALOG).check().await.assert_content();
    let typed = in_databases(&stage, "");
    let sql = typed.check().await.sql("error", "permission denied for database \"postgres\"");
    stage.sql_in(&sql[0].0, &sql[0].1).await;
    typed.check().await.assert_content();
}

#[tokio::test]
async fn more_connections_than_postgresql_has_are_an_error_and_less_room_than_that_a_warning() {
    let mut stage = Stage::own(&[("max_connections", "20"), ("superuser_reserved_connections", "3")]).await;
    let many = Typed::before(&stage, "", "  maxServerConnections: 12\n  replicas: 2\n");
    let what = "12 x greenroom.replicas 2 = 24 of the 17 connections";
    let mended = many.check().await.sql("error", what);
    let limits = many.check().await;
    assert_eq!(limits.finding("error", what)["remedies"][1]["setting"], "greenroom.maxServerConnections: 8");

    let tight = Typed::before(&stage, "", "  maxServerConnections: 16\n");
    tight.check().await.assert_content();
    let postgres = stage.postgres().url("postgres");
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let (client, connection) = tokio_postgres::connect(&postgres, tokio_postgres::NoTls).await.expect("a login");
        tokio::spawn(connection);
        strangers.push(client);
    }
    tight.check().await.finding("warning", "other sessions use 2 now");
    drop(strangers);

    stage.sql_in(&mended[0].0, &mended[0].1).await;
    stage.postgres_mut().restart().await.expect("it starts again");
    many.check().await.assert_content();
}

#[tokio::test]
async fn a_server_that_cannot_be_entered_is_told_with_the_setting() {
    let stage = Stage::shared().await;
    let typed = Typed::before(&stage, "", CATALOG);
    let config = std::fs::read_to_string(typed.dir().join("app-config.yaml")).expect("it was just written");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let port = stage.postgres().port();
    for (from, to, told, setting) in [
        (
            format!("port: {port}"),
            format!("port: {free}"),
            "cannot reach 127.0.0.1",
            "backend.database.connection.host",
        ),
        (stage.password.clone(), "wrong".to_owned(), "SQLSTATE 28P01", "backend.database.connection.user and password"),
        (
            "127.0.0.1".to_owned(),
            "127.0.0.1\n      ssl: true".to_owned(),
            "does not support TLS",
            "PostgreSQL's ssl: on",
        ),
    ] {
        typed.write("app-config.yaml", &config.replacen(&from, &to, 1));
        let checked = typed.check().await;
        assert_eq!(checked.code, 1);
        let remedy = checked.finding("error", told)["remedies"][0]["setting"].as_str().unwrap_or_default().to_owned();
        assert!(remedy.starts_with(setting), "{remedy}");
        assert_eq!(checked.of("error").len(), 1, "it is told once: {checked:?}");
    }
}

#[tokio::test]
async fn offline_nothing_is_connected_to() {
    let watched = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    watched.set_nonblocking(true).expect("a socket");
    let port = watched.local_addr().expect("an address").port();
    let typed = Typed::new(&format!(
        "backend: {{ database: {{ client: pg, connection: {{ host: 127.0.0.1, port: {port}, user: u, password: geheim, \
         database: d }} }} }}\ngreenroom: {{ division: schema }}\n"
    ));
    let told = typed.run(&["check", "--offline"]).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains(&format!("127.0.0.1:{port}")) && !told.out.contains("geheim"), "{told:?}");
    assert_eq!(watched.accept().expect_err("nobody came").kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn names_and_divisions_that_do_not_fit_are_told_offline() {
    let base =
        "backend:\n  database:\n    client: pg\n    connection: { host: db, user: u, password: p, database: d }\n";
    for (more, told) in [
        (
            "    pluginDivisionMode: schema\ngreenroom: { division: database }\n",
            "none can be led to a database of its own",
        ),
        (
            "    pluginDivisionMode: schema\ngreenroom: { plugin: { catalog: { division: database } } }\n",
            "none can be led to a database of its own",
        ),
        (
            "    plugin: { a: { connection: { database: one } }, b: { connection: { database: one } } }\n",
            "share database one: each would take the other's migrations for its own",
        ),
        (
            "    plugin: { an-id-of-so-many-letters-that-no-database-can-have-its-name-1234: {} }\n",
            "has 81 bytes, expected at most 63",
        ),
    ] {
        let told_here = Typed::new(&format!("{base}{more}")).run(&["check", "--offline"]).await;
        assert_eq!(told_here.code, 1, "{told_here:?}");
        assert!(told_here.out.contains(told), "{told}: {told_here:?}");
    }
    let schemas = "    pluginDivisionMode: schema\n    plugin: { a: { connection: { database: one } }, b: { connection: { \
                   database: one } } }\n";
    let told = Typed::new(&format!("{base}{schemas}")).run(&["check", "--offline"]).await;
    assert_eq!(told.code, 0, "schemas of one database do not meet: {told:?}");
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_told_with_their_places() {
    let typed = Typed::new("backend: { database: { client: pg } }\ngreenroom: { pool: { max: -1 } }\n");
    let told = typed.run(&["check"]).await;
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("error    app-config.yaml:2: greenroom.pool.max: found -1"), "{told:?}");
    let checked: Checked = typed.check().await;
    assert_eq!(checked.of("error").len(), 2, "{checked:?}");
}

#[tokio::test]
async fn a_mistyped_command_is_another_exit_code() {
    let typed = Typed::new("");
    for args in
        [&["check", "--format", "xml"] as &[&str], &["explain", "a", "b"], &["overlay", "--port", "0"], &["chek"]]
    {
        assert_eq!(typed.run(args).await.code, 2, "{args:?}");
    }
}
