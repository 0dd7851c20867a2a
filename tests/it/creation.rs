//! CREATE DATABASE as Backstage says it: a schema where databases are schemas, else the real thing.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::harness::frames::{bind, describe_portal, execute, parse, query, sync, wire};
use crate::harness::{Client, Greenroom, Log, RawClient, Room, Stage, codes, eventually, rows, tags};

/// What Knex asks before it creates a database.
const QUESTION: &str = "select count(*) from \"pg_database\" where \"datname\" = $1";

/// Backstage's connection for creating databases, as the base login.
async fn admin(room: &Room) -> RawClient {
    RawClient::log_in(room.address(), &room.stage().startup("postgres")).await
}

/// Knex's question, with the frames of node-postgres.
async fn count(admin: &mut RawClient, name: &str) -> Vec<String> {
    let ask = [parse("", QUESTION), bind("", "", &[Some(name)]), describe_portal(""), execute("", 0), sync()];
    let replies = admin.ask(&ask).await;
    assert_eq!(tags(&replies), "12TDCZ", "{replies:?}");
    rows(&replies)
}

/// The SQLSTATE of a refused statement, its message, detail and hint in one.
async fn refusal(admin: &mut RawClient, sql: &str) -> (String, String) {
    let replies = admin.query(sql).await;
    assert_eq!(tags(&replies), "EZ", "{sql}: {replies:?}");
    let text = |code| replies[0].field(code).unwrap_or_default();
    (text(b'C'), [text(b'M'), text(b'D'), text(b'H')].join(" "))
}

/// The owner of a database of its own who may neither create databases nor connect to `postgres`.
async fn poor_stage() -> Stage {
    let stage = Stage::own(&[]).await;
    stage.sql_in("postgres", "revoke connect on database postgres from public").await;
    stage
}

#[tokio::test]
async fn backstage_creates_a_database_without_the_right_to_and_without_postgres() {
    let room = Greenroom::start().on(poor_stage().await).await;
    let mut admin = admin(&room).await;
    let version = admin.query("select version();").await;
    assert!(rows(&version)[0].starts_with("PostgreSQL "), "{version:?}");
    assert_eq!(count(&mut admin, "backstage_plugin_user-settings").await, ["0"]);
    let created = admin.query("CREATE DATABASE \"backstage_plugin_user-settings\"").await;
    assert_eq!((tags(&created).as_str(), created[0].word().as_str()), ("CZ", "CREATE DATABASE"));
    assert_eq!(count(&mut admin, "backstage_plugin_user-settings").await, ["1"]);
    let again = admin.query("CREATE DATABASE \"backstage_plugin_user-settings\"").await;
    assert_eq!(codes(&again), ["42P04"]);
    assert_eq!(
        again[0].field(b'M').as_deref(),
        Some("database \"backstage_plugin_user-settings\" already exists"),
        "PostgreSQL's own words"
    );
    let schemas = "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema|public)'";
    assert_eq!(room.stage().sql(schemas).await, ["user-settings"]);
    room.client("user-settings").await.run("create table setting (id int)").await;
    assert_eq!(
        room.stage().sql("select to_regclass('\"user-settings\".setting')").await,
        ["\"user-settings\".setting"]
    );
}

#[tokio::test]
async fn the_question_may_also_be_asked_as_one_text() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    let ask = "select count(*) from \"pg_database\" where \"datname\" = 'backstage_plugin_catalog'";
    assert_eq!(rows(&admin.query(ask).await), ["0"]);
    admin.query("create database backstage_plugin_catalog").await;
    assert_eq!(rows(&admin.query(ask).await), ["1"]);
}

#[tokio::test]
async fn a_database_counts_where_it_is_and_not_where_it_only_seems_to_be() {
    let room = Greenroom::start()
        .set("backend.database.plugin.catalog.connection.database", "entities")
        .set("greenroom.plugin.search.division", "database")
        .await;
    let stage = room.stage();
    let shared = stage.database.clone();
    stage.sql("create schema catalog; create schema pg2; create schema \"Caps-1\"; create schema _hidden").await;
    // A real database that a plugin's schema hides, and one that a plugin really has.
    stage.create_database("backstage_plugin_auth").await;
    let mut admin = admin(&room).await;
    for (name, exists) in [
        ("entities", "1"),
        (&*shared, "1"),
        ("template1", "1"),
        ("backstage_plugin_auth", "0"),
        ("backstage_plugin_pg2", "1"),
        ("backstage_plugin_Caps-1", "1"),
        ("backstage_plugin_caps-1", "0"),
        ("backstage_plugin__hidden", "0"),
        ("backstage_plugin_public", "0"),
        ("backstage_plugin_information_schema", "0"),
        ("backstage_plugin_search", "0"),
        ("catalog", "0"),
    ] {
        assert_eq!(count(&mut admin, name).await, [exists], "{name}");
    }
    stage.sql_in("postgres", "drop database backstage_plugin_auth").await;
}

#[tokio::test]
async fn other_statements_see_the_real_catalogs() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    admin.query("create database backstage_plugin_catalog").await;
    let names = "select datname from pg_database where datname like 'backstage_plugin_catalog'";
    assert_eq!(rows(&admin.query(names).await), [""; 0]);
    assert_eq!(rows(&admin.query("select current_database()").await), [room.stage().database.clone()]);
}

#[tokio::test]
async fn what_is_no_plugins_database_cannot_be_created() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    let long = format!("backstage_plugin_{}", "x".repeat(64));
    for (sql, code, says) in [
        ("create database reports".to_owned(), "42501", "backend.database.prefix"),
        (format!("create database \"{long}\""), "42622", "63"),
        ("create database backstage_plugin_pg_x".to_owned(), "42939", "schemaPrefix"),
        ("create database backstage_plugin_a owner postgres".to_owned(), "0A000", "Leave them out"),
    ] {
        let (found, text) = refusal(&mut admin, &sql).await;
        assert!(found == code && text.contains(says), "{sql}: {found} {text}");
    }
    assert_eq!(rows(&admin.query("select 1").await), ["1"], "the connection goes on");
    let schemas = "select count(*) from pg_namespace where nspname !~ '^(pg_|information_schema|public)'";
    assert_eq!(room.stage().sql(schemas).await, ["0"]);
}

#[tokio::test]
async fn a_refusal_is_a_warning_with_what_to_do_unless_the_database_is_just_there() {
    let log = Log::begin();
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    for (sql, level, says) in [
        ("create database reports", "WARN", "backend.database.prefix followed by a plugin id"),
        ("create database backstage_plugin_a owner postgres", "WARN", "Leave them out"),
        ("create database backstage_plugin_a", "INFO", "database created"),
        ("create database backstage_plugin_a", "INFO", "already exists"),
        ("drop database backstage_plugin_a", "WARN", "DROP SCHEMA"),
    ] {
        admin.query(sql).await;
        assert_eq!(log.lines(&[level, says]).len(), 1, "{sql}: {:?}", log.lines(&["database"]));
    }
    let database = &room.stage().database;
    room.stage().sql(&format!("alter database {database} owner to postgres")).await;
    admin.query("create database backstage_plugin_b").await;
    assert_eq!(log.lines(&["WARN", "42501", "GRANT CREATE ON DATABASE"]).len(), 1, "{:?}", log.lines(&["WARN"]));
}

#[tokio::test]
async fn a_name_of_sixty_three_bytes_is_a_name() {
    let room = Greenroom::start().await;
    let plugin = "p".repeat(63);
    let created = admin(&room).await.query(&format!("create database \"backstage_plugin_{plugin}\"")).await;
    assert_eq!(tags(&created), "CZ", "{created:?}");
    assert_eq!(room.client(&plugin).await.value("select current_schema()").await, plugin);
}

#[tokio::test]
async fn a_database_that_is_a_schema_cannot_be_dropped() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    admin.query("create database backstage_plugin_catalog").await;
    let (code, text) = refusal(&mut admin, "drop database if exists backstage_plugin_catalog").await;
    assert!(code == "0A000" && text.contains("DROP SCHEMA \"catalog\" CASCADE"), "{code} {text}");
    assert_eq!(count(&mut admin, "backstage_plugin_catalog").await, ["1"]);
    assert_eq!(codes(&admin.query("drop database no_such_database").await), ["3D000"], "PostgreSQL's own answer");
}

#[tokio::test]
async fn postgresqls_own_rules_about_where_it_may_stand_hold() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    admin.query("begin").await;
    assert_eq!(codes(&admin.query("create database backstage_plugin_catalog").await), ["25001"]);
    admin.query("rollback").await;
    let two = admin.query("select 1; create database backstage_plugin_catalog").await;
    assert_eq!(codes(&two), ["25001"]);
    let prepared = admin.ask(&[parse("", "create database backstage_plugin_catalog"), sync()]).await;
    assert!(tags(&prepared) == "EZ" && codes(&prepared) == ["0A000"], "{prepared:?}");
    assert_eq!(room.stage().sql("select count(*) from pg_namespace where nspname = 'catalog'").await, ["0"]);
}

#[tokio::test]
async fn answers_keep_the_order_of_a_pipeline() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    let replies = admin.ask(&[query("create database backstage_plugin_catalog"), query("select 'after'")]).await;
    assert_eq!(tags(&replies), "CZTDCZ", "{replies:?}");
}

#[tokio::test]
async fn of_many_who_create_one_database_one_does() {
    let room = Greenroom::start().await;
    let create = async || {
        let mut admin = admin(&room).await;
        admin.query("CREATE DATABASE \"backstage_plugin_catalog\"").await
    };
    let answers = join_all((0..12).map(|_| create())).await;
    let created = answers.iter().filter(|replies| tags(replies) == "CZ").count();
    let refused = answers.iter().filter(|replies| codes(replies) == ["42P04"]).count();
    assert_eq!((created, refused), (1, 11), "{answers:?}");
}

#[tokio::test]
async fn schemas_made_beforehand_are_databases_to_a_login_that_may_create_nothing() {
    let stage = Stage::shared().await;
    let Stage { login, database, .. } = &stage;
    stage
        .sql(&format!("alter database {database} owner to postgres; create schema catalog authorization {login}"))
        .await;
    let room = Greenroom::start().on(stage).await;
    let mut admin = admin(&room).await;
    assert_eq!(count(&mut admin, "backstage_plugin_catalog").await, ["1"]);
    assert_eq!(codes(&admin.query("create database backstage_plugin_catalog").await), ["42P04"]);
    let (code, text) = refusal(&mut admin, "create database backstage_plugin_auth").await;
    assert!(code == "42501" && text.contains("GRANT CREATE ON DATABASE"), "{code} {text}");
    room.client("catalog").await.run("create table entity (id int)").await;
}

#[tokio::test]
async fn a_role_of_the_session_owns_nothing_it_did_not_create_and_may_still_create() {
    let room = Greenroom::start().set("backend.database.role", "stagehand").await;
    let mut admin = admin(&room).await;
    for sql in ["select version();", "SET ROLE stagehand", "create database backstage_plugin_catalog"] {
        assert_eq!(codes(&admin.query(sql).await), [""; 0], "{sql}");
    }
    assert_eq!(rows(&admin.query("select current_user").await), ["stagehand"], "the session keeps its role");
    let owner = "select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'catalog'";
    assert_eq!(room.stage().sql(owner).await, ["stagehand"]);
}

#[tokio::test]
async fn with_database_division_it_is_the_real_statement() {
    let stage = Stage::shared().await;
    stage.sql_in("postgres", &format!("alter role {} createdb", stage.login)).await;
    let prefix = format!("{}_", stage.database);
    let room = Greenroom::start()
        .set("greenroom.division", "database")
        .set("backend.database.prefix", prefix.clone())
        .on(stage)
        .await;
    let name = format!("{prefix}catalog");
    let enter = || Client::try_connect(room.address(), &room.login, &room.password, &name);
    let missing = enter().await.expect_err("it does not exist yet");
    assert_eq!(missing.code().map(|code| code.code()), Some("3D000"));
    let mut admin = admin(&room).await;
    assert_eq!(count(&mut admin, &name).await, ["0"]);
    assert_eq!(tags(&admin.query(&format!("CREATE DATABASE \"{name}\"")).await), "CZ");
    assert_eq!(count(&mut admin, &name).await, ["1"]);
    assert_eq!(codes(&admin.query(&format!("CREATE DATABASE \"{name}\"")).await), ["42P04"]);
    let client = enter().await.expect("it exists");
    client.batch_execute("create table entity (id int)").await.expect("it is the login's own");
    assert_eq!(room.stage().sql_in(&name, "select to_regclass('entity')").await, ["entity"]);
    drop(client);
    assert_eq!(codes(&admin.query(&format!("drop database \"{name}\"")).await), [""; 0]);
    let gone = enter().await.expect_err("it was dropped");
    assert_eq!(gone.code().map(|code| code.code()), Some("3D000"));
}

#[tokio::test]
async fn idle_servers_are_in_nobodys_way() {
    let stage = Stage::shared().await;
    stage.sql_in("postgres", &format!("alter role {} createdb", stage.login)).await;
    let names = ["mother", "Quoted\"One"].map(|name| format!("{}_{name}", stage.database));
    for name in &names {
        stage.create_database(&name.replace('"', "\"\"")).await;
    }
    let room = Greenroom::start()
        .set("greenroom.division", "database")
        .set("greenroom.unknownDatabases", "passthrough")
        .every_pool(|limits| limits.with("min", 2))
        .on(stage)
        .await;
    for name in &names {
        let mut client = RawClient::log_in(room.address(), &room.stage().startup(name)).await;
        assert_eq!(rows(&client.query("select 1").await), ["1"]);
        // The client stays, its server is idle.
        std::mem::forget(client);
    }
    let open = format!("select count(*) from pg_stat_activity where datname = '{}'", names[0]);
    assert_eq!(room.stage().sql(&open).await, ["1"], "there is one to be in the way");
    let mut admin = admin(&room).await;
    let quoted = names[1].replace('"', "\"\"");
    for sql in [
        format!("create database {}_child template {}", names[0], names[0].to_uppercase()),
        format!("alter database {0}_child rename to {0}_grown", names[0]),
        format!("drop database {}_grown", names[0]),
        format!("drop database \"{quoted}\""),
        format!("drop database {}", names[0]),
    ] {
        assert_eq!(codes(&admin.query(&sql).await), [""; 0], "{sql}");
    }
    let closed =
        async || room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"database_change\""]) > 0.0;
    eventually("the closes have their reason", closed).await;
}

#[tokio::test]
async fn a_database_that_is_dropped_behind_greenrooms_back_meets_idle_servers() {
    let stage = Stage::shared().await;
    let name = format!("{}_mother", stage.database);
    stage.create_database(&name).await;
    let room = Greenroom::start()
        .set("greenroom.division", "database")
        .set("greenroom.unknownDatabases", "passthrough")
        .on(stage)
        .await;
    let mut client = RawClient::log_in(room.address(), &room.stage().startup(&name)).await;
    client.run("select 1").await;
    let drop = format!("drop database {name}");
    let refused = room.stage().postgres().sql("postgres", &drop).await.expect_err("a limit less for the document");
    assert!(refused.to_string().contains("55006"), "{refused}");
    room.stage().sql_in("postgres", &format!("{drop} with (force)")).await;
    room.stage().create_database(&name).await;
    assert_eq!(rows(&client.run("select 'not missed'").await), ["not missed"]);
    room.stage().sql_in("postgres", &format!("{drop} with (force)")).await;
}

#[tokio::test]
async fn a_login_is_told_what_postgresql_reports_although_its_database_was_named_by_a_statement() {
    let stage = Stage::shared().await;
    stage.sql_in("postgres", &format!("alter role {} createdb", stage.login)).await;
    let name = stage.database.clone();
    let room = Greenroom::start().set("greenroom.division", "database").servers(2).on(stage).await;
    let enter = async || RawClient::log_in(room.address(), &room.stage().startup(&name)).await;
    let mut busy = enter().await;
    busy.run("begin").await;
    admin(&room).await.run(&format!("create database {name}_child")).await;
    busy.run("commit").await;
    assert_eq!(enter().await.hello.len(), busy.hello.len());
    room.stage().sql_in("postgres", &format!("drop database {name}_child")).await;
}

#[tokio::test]
async fn a_session_that_rested_for_long_may_create_a_database() {
    let room = Greenroom::start().set("greenroom.timeouts.idleInTransactionMillis", 300).await;
    let mut admin = admin(&room).await;
    admin.run("set work_mem to '5MB'").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let created = admin.query("create database backstage_plugin_catalog").await;
    assert_eq!(tags(&created), "CZ", "{created:?}");
}

#[tokio::test]
async fn questions_that_wait_for_a_server_do_not_pile_up() {
    let room = Greenroom::start().servers(1).await;
    let (mut admin, mut holder) = (admin(&room).await, room.raw("catalog").await);
    holder.run("begin").await;
    let received =
        async || room.metrics().await.sum("greenroom_bytes_total", &["plugin=\"postgres\"", "direction=\"received\""]);
    let before = received().await;
    let flood = wire(&vec![parse("", QUESTION); 1000]);
    let sent = timeout(Duration::from_secs(1), async {
        for _ in 0..100 {
            admin.send_bytes(&flood).await;
        }
    });
    let _ = sent.await;
    let taken = received().await - before;
    assert!(taken > 0.0 && taken < 1e6, "{taken} bytes were read, each of them kept many times over");
}

#[tokio::test]
async fn a_question_in_a_transaction_sees_schemas_too() {
    let room = Greenroom::start().await;
    let mut admin = admin(&room).await;
    admin.run("create database backstage_plugin_catalog").await;
    let ask = "select count(*) from \"pg_database\" where \"datname\" = 'backstage_plugin_catalog'";
    admin.run("begin").await;
    assert_eq!(rows(&admin.query(ask).await), ["1"]);
    let replies = admin.ask(&[query("commit"), query(ask)]).await;
    assert_eq!(rows(&replies), ["1"], "behind something else: {replies:?}");
}

#[tokio::test]
async fn nobody_leaves_a_database_for_one_that_is_a_schema() {
    let stage = Stage::shared().await;
    let other = format!("{}_other", stage.database);
    stage.create_database(&other).await;
    let room = Greenroom::start().set("greenroom.unknownDatabases", "passthrough").on(stage).await;
    RawClient::log_in(room.address(), &room.stage().startup(&other)).await.run("select 1").await;
    let mut admin = admin(&room).await;
    let create = format!("create database backstage_plugin_{other}");
    admin.run(&create).await;
    admin.ask(&[parse("", &create), sync()]).await;
    assert_eq!(room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"database_change\""]), 0.0);
    admin.query(&format!("alter database {other} connection limit 9")).await;
    let closed =
        async || room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"database_change\""]) > 0.0;
    eventually("it was there to be closed", closed).await;
}

#[tokio::test]
async fn a_creation_ends_with_a_cancel_its_server_or_its_client_and_gives_everything_back() {
    let room = Greenroom::start().on(Stage::own(&[]).await).await;
    let mut admin = admin(&room).await;
    admin.run("create database backstage_plugin_warm").await;
    let creation =
        |plugin: &str| [query(&format!("create database backstage_plugin_{plugin}")), query("select 'after'")];
    // Long enough for what is done meanwhile.
    let blocked = async || room.stage().sql("begin; lock table pg_namespace; select pg_sleep(1); commit").await;
    let soon = || tokio::time::sleep(Duration::from_millis(300));

    let cancel = async {
        soon().await;
        admin.send(&creation("cancelled")).await;
        soon().await;
        RawClient::cancel(room.address(), &admin.key()).await;
        let replies = admin.until(b'Z', 2).await;
        assert!(codes(&replies) == ["57014"] && rows(&replies) == ["after"], "{replies:?}");
    };
    tokio::join!(blocked(), cancel);

    let kill = async {
        soon().await;
        admin.send(&creation("killed")).await;
        soon().await;
        let active = "select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and usename = ";
        room.stage().sql_in("postgres", &format!("{active} '{}'", room.login)).await;
        let replies = admin.until(b'Z', 2).await;
        assert!(codes(&replies) == ["57P01"] && rows(&replies) == ["after"], "{replies:?}");
    };
    tokio::join!(blocked(), kill);

    let leave = async {
        soon().await;
        admin.send(&creation("left")).await;
        soon().await;
        drop(admin);
    };
    tokio::join!(blocked(), leave);
    eventually("every lease is given back", async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0).await;
}
