//! What keeps a session's server: temporary tables, locks, held cursors, libraries, sequences; in every form, and only its own.

use super::{Differential, Script};
use crate::harness::frames::{bind, close_portal, execute, extended, parse, sync};

#[tokio::test]
async fn temporary_things_of_every_form_stay() {
    Differential::start()
        .await
        .play([
            Script::new("tables").queries([
                "create temp table t1 (x int); insert into t1 values (1)",
                "create temporary table t2 (like item including all)",
                "create local temporary table t3 as table item with no data",
                "create global temp table t4 (x serial)",
                "create unlogged table t_unlogged (x int); drop table t_unlogged",
                "select 1 as x into temporary table t5",
                "select 2 as x into local temp t6",
                "create temp table if not exists t1 (y int)",
                "create table pg_temp.t7 as values (7)",
                "table t1; table t2; table t3; table t4; table t5; table t6; table t7",
                "insert into t4 default values returning x",
                "select relname from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r' order by 1",
                "drop table t1, t2, t3, t4, t5, t6, t7",
                "select relname from pg_class where relnamespace = pg_my_temp_schema()",
                "table t1",
            ]),
            Script::new("hidden ones").queries([
                "create function f_temp() returns int language plpgsql as $$ begin create temp table hidden (x int);
                 insert into hidden values (1); return 1; end $$",
                "select f_temp()",
                "table hidden",
                "drop table hidden",
                "begin; select f_temp(); rollback",
                "table hidden",
                "drop function f_temp()",
                "set search_path to pg_temp, alpha",
                "create table at_first (x int)",
                "insert into at_first values (3); table at_first",
                "reset search_path",
                "table at_first",
                "drop table at_first",
                "set temp_tablespaces to ''; create temp table t_space (x int); table t_space; discard temp",
                "table t_space",
            ]),
            Script::new("at the end of a transaction").queries([
                "begin; create temp table t_drop (x int) on commit drop; insert into t_drop values (1)",
                "table t_drop",
                "commit",
                "table t_drop",
                "create temp table t_alone (x int) on commit drop",
                "table t_alone",
                "begin; create temp table t_alone on commit drop as select 5 as x; table t_alone; commit",
                "create temp table t_delete (x int) on commit delete rows",
                "begin; insert into t_delete values (1); table t_delete; commit",
                "table t_delete",
                "create temp table t_keep (x int) on commit preserve rows",
                "begin; insert into t_keep values (1); commit; table t_keep",
                "begin; savepoint a; create temp table t_save (x int); rollback to a; commit",
                "table t_save",
                "begin; savepoint a; create temp table t_save (x int); release a; commit",
                "table t_save",
                "discard all",
                "table t_keep",
            ]),
            Script::new("of other kinds").queries([
                "create temp view v as select 'own' as word; create temp sequence q start 5; create domain pg_temp.d as text",
                "create function pg_temp.f() returns text language sql as $$ select 'own function' $$",
                "create type pg_temp.e as enum ('own'); create temp view v2 as select nextval('q') as n",
                "table v; table v2; select nextval('q'), pg_temp.f(), 'x'::pg_temp.d, 'own'::pg_temp.e",
                "select currval('q'), lastval()",
                "create or replace temp view v as select 'another' as word",
                "table v",
                "drop view v, v2; drop sequence q; drop function pg_temp.f(); drop domain pg_temp.d; drop type pg_temp.e",
                "select pg_temp.f()",
            ]),
            Script::new("extended")
                .ask(extended("create temp table t (x int)", &[]))
                .ask(extended("insert into t values ($1)", &[Some("8")]))
                .ask([parse("s1", "table t"), sync()])
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .ask(extended("drop table t", &[]))
                .ask([bind("", "s1", &[]), execute("", 0), sync()]),
        ])
        .await;
}

#[tokio::test]
async fn cursors_and_portals_are_the_clients_own() {
    let cursors = "select name, statement, is_holdable, is_binary, is_scrollable from pg_cursors order by name";
    Differential::start()
        .await
        .play([
            Script::new("seen").queries([
                cursors,
                "begin; declare a cursor for select id from item; declare b binary scroll cursor with hold for select 1",
                cursors,
                "fetch a; fetch b",
                "commit",
                cursors,
                "fetch a",
                "fetch b",
                "move backward all in b; fetch b",
                "close b",
                cursors,
                "declare c insensitive cursor with hold for select id from item order by id; fetch 2 from c",
                "fetch c",
                "begin; close c; rollback",
                "fetch c",
                "begin; declare d cursor with hold for select 1; rollback",
                "fetch d",
                "begin; declare d cursor with hold for select 1/0; commit",
                "fetch d",
                "declare e cursor with hold for select 1; discard all",
                "fetch e",
                "declare e cursor with hold for select 1",
                "discard all",
                "fetch e",
                "do $$ begin execute 'declare h cursor with hold for select ''hidden'''; end $$",
                "fetch h",
                "close all",
            ]),
            Script::new("of a block").queries([
                "begin",
                "do $$ declare c refcursor := 'opened'; begin open c for select id from item order by id; end $$",
                "fetch 2 from opened",
                "select name from pg_cursors",
                "commit",
                "fetch opened",
            ]),
            Script::new("portals")
                .query("begin")
                .ask([parse("s1", "select id from item order by id"), bind("p", "s1", &[]), execute("p", 2), sync()])
                .query("select name, statement, is_holdable from pg_cursors order by name")
                .query("fetch 1 from p")
                .ask([execute("p", 1), close_portal("p"), sync()])
                .query("declare w cursor with hold for select id from item order by id")
                .ask([execute("w", 1), sync()])
                .query("commit")
                .ask([execute("w", 2), sync()])
                .ask([close_portal("w"), sync()])
                .query("fetch w"),
        ])
        .await;
}

#[tokio::test]
async fn locks_sequences_and_libraries_are_the_clients_own() {
    let locks = "select mode, objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() order by 2, 1";
    Differential::start()
        .await
        .play([
            Script::new("sequences read in a transaction").queries([
                // The first one in a database is sent away if it is in a transaction (docs/compatibility.md).
                "select lastval()",
                "begin",
                "select currval('ticket')",
                "rollback",
                "begin read only",
                "select lastval()",
                "rollback",
            ]),
            Script::new("locks of every form").queries([
                "select pg_advisory_lock(41), pg_advisory_lock_shared(42), pg_advisory_lock(4, 3)",
                locks,
                "select pg_try_advisory_lock(44), pg_try_advisory_lock_shared(4, 5), pg_try_advisory_lock(41)",
                "begin; select pg_advisory_xact_lock(46), pg_try_advisory_xact_lock_shared(47)",
                locks,
                "rollback",
                locks,
                "select pg_advisory_unlock(41), pg_advisory_unlock(41), pg_advisory_unlock(41)",
                "select pg_advisory_unlock_shared(42), pg_advisory_unlock(4, 3), pg_advisory_unlock_shared(4, 5)",
                locks,
                "select pg_advisory_unlock_all()",
                locks,
                "begin; select pg_advisory_lock(48); savepoint a; select pg_advisory_lock(49); rollback to a; rollback",
                locks,
                "do $$ begin perform pg_advisory_lock(50); end $$",
                locks,
                "discard all",
                locks,
            ]),
            Script::new("locks, hidden and extended")
                .query("create function f_lock(key int) returns void language plpgsql as $$ begin perform pg_advisory_lock(key); end $$")
                .ask(extended("select f_lock($1)", &[Some("51")]))
                .query(locks)
                .ask(extended("select pg_catalog.pg_try_advisory_lock($1, $2)", &[Some("5"), Some("2")]))
                .query(locks)
                .query("drop function f_lock(int)")
                .ask(extended("select pg_advisory_unlock($1)", &[Some("51")]))
                .query("select pg_advisory_unlock_all()")
                .query(locks),
            Script::new("sequences").queries([
                "select lastval()",
                "create sequence t_seq increment 5; create table t_serial (id serial, x int generated always as identity)",
                "select nextval('t_seq'), nextval('t_seq')",
                "select currval('t_seq'), lastval()",
                "insert into t_serial default values returning id, x",
                "select lastval(), currval('t_serial_id_seq'), currval('t_serial_x_seq')",
                "select setval('t_seq', 100), currval('t_seq')",
                "begin; select nextval('t_seq'); rollback",
                "select currval('t_seq'), nextval('t_seq')",
                "select currval('ticket')",
                "discard sequences",
                "select currval('t_seq')",
                "select lastval()",
                "alter sequence t_seq cache 10",
                "select nextval('t_seq'), nextval('t_seq')",
                "select nextval('t_seq')",
                "discard all",
                "select nextval('t_seq')",
                "drop sequence t_seq; drop table t_serial",
            ]),
            Script::new("seeds").queries([
                "select setseed(0.25)",
                "select random(), random()",
                "select random()",
                "set seed to 0.25",
                "select random()",
                "begin; select setseed(0.75); rollback",
                "select random()",
            ]),
            Script::new("libraries").queries(["load 'plpgsql'", "load '$libdir/plpgsql'", "load 'no_such_library'", "select 1"]),
            Script::new("transactions of two phases").queries([
                "begin; insert into item values (88, 'x'); prepare transaction 'one'",
                "select gid from pg_prepared_xacts",
                "commit prepared 'one'",
                "rollback prepared 'nobody''s'",
            ]),
        ])
        .await;
}
