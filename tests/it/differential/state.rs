//! Whatever else a session may hold beyond a transaction: it stays the client's, and only the client's.

use super::{Differential, Script};
use crate::harness::frames::{bind, close_statement, describe_statement, execute, extended, parse, query, sync};

#[tokio::test]
async fn temporary_tables_and_held_cursors_stay() {
    Differential::start()
        .await
        .play([
            Script::new("temporary table").queries([
                "create temp table item (name text)",
                "insert into item values ('mine')",
                "select name from item",
                "drop table item",
                "select name from item where id = 1",
            ]),
            Script::new("temporary table as").queries([
                "create temporary table t as select 1 as x",
                "table t",
                "discard temp",
                "table t",
            ]),
            Script::new("into temporary").queries(["select 1 as x into temp t", "table t"]),
            Script::new("by name").queries([
                "create table pg_temp.t (x int)",
                "insert into pg_temp.t values (4)",
                "table t",
            ]),
            Script::new("temporary view and sequence").queries([
                "create temp view v as select 1 as x",
                "table v",
                "create temp sequence q",
                "select nextval('q')",
                "select nextval('q')",
            ]),
            Script::new("hidden in a block").queries([
                "do $$ begin create temp table t (x int); end $$",
                "insert into t values (5)",
                "table t",
            ]),
            Script::new("dropped at commit").queries([
                "begin",
                "create temp table t (x int) on commit drop",
                "insert into t values (1)",
                "table t",
                "commit",
                "table t",
            ]),
            Script::new("rolled back").queries(["begin", "create temp table t (x int)", "rollback", "table t"]),
            Script::new("held cursor").queries([
                "begin",
                "declare h cursor with hold for select id from item order by id",
                "fetch 1 from h",
                "commit",
                "fetch 1 from h",
                "close h",
                "fetch 1 from h",
            ]),
            Script::new("held cursor without a transaction").queries([
                "declare h scroll cursor with hold for select id from item",
                "fetch 2 from h",
                "fetch backward 1 from h",
                "close all",
                "fetch 1 from h",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn prepared_statements_stay() {
    let run = |name| [bind("", name, &[Some("2")]), execute("", 0), sync()];
    Differential::start()
        .await
        .play([
            Script::new("named")
                .ask([parse("s1", "select name from item where id = $1"), describe_statement("s1"), sync()])
                .ask(run("s1"))
                .ask([parse("s1", "select 1"), sync()])
                .ask(run("s1"))
                .ask([close_statement("s1"), sync()])
                .ask(run("s1")),
            Script::new("nobody's")
                .ask(run("s1"))
                .ask([describe_statement("s1"), sync()])
                .ask([close_statement("s1"), sync()]),
            Script::new("several")
                .ask([parse("s1", "select $1::int + 1"), parse("s2", "select $1::int + 2"), sync()])
                .ask(run("s2"))
                .ask(run("s1"))
                .query("deallocate s1")
                .ask(run("s1"))
                .query("deallocate all")
                .ask(run("s2")),
            Script::new("named, failed")
                .ask([parse("s1", "selec"), sync()])
                .ask(run("s1"))
                .ask([parse("s1", "select $1::int"), sync()])
                .ask(run("s1")),
            Script::new("named in a transaction")
                .query("begin")
                .ask([parse("s1", "select $1::int"), sync()])
                .query("rollback")
                .ask(run("s1")),
            Script::new("named, over a changed table")
                .query("create table t_plan (id int)")
                .ask([parse("s1", "select * from t_plan where id = $1"), sync()])
                .ask(run("s1"))
                .query("alter table t_plan add note text")
                .ask(run("s1"))
                .query("drop table t_plan"),
            Script::new("named, both kinds at once")
                .ask([vec![parse("s1", "select $1::text")], extended("select 'unnamed'", &[])].concat())
                .ask([bind("", "", &[]), execute("", 0), bind("", "s1", &[Some("x")]), execute("", 0), sync()]),
            Script::new("in SQL").queries([
                "prepare q (int) as select name from item where id = $1",
                "execute q (3)",
                "select name from pg_prepared_statements",
                "deallocate q",
                "execute q (3)",
            ]),
            Script::new("in SQL, by Bind")
                .query("prepare q (int) as select name from item where id = $1")
                .ask(run("q")),
            Script::new("named, by EXECUTE").ask([parse("s1", "select $1::int"), query("execute s1 (4)")]),
            Script::new("discarded")
                .query("prepare q as select 1")
                .ask([parse("s1", "select $1::int"), sync()])
                .queries(["discard plans", "execute q", "discard all", "execute q"])
                .ask(run("s1")),
        ])
        .await;
}

#[tokio::test]
async fn locks_notifications_and_sequences_stay() {
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    Differential::start()
        .await
        .play([
            Script::new("advisory locks").queries([
                "select pg_advisory_lock(1)",
                locks,
                "select pg_try_advisory_lock(2), pg_advisory_lock_shared(3, 4)",
                locks,
                "select pg_advisory_unlock(1)",
                "select pg_advisory_unlock(1)",
                locks,
                "select pg_advisory_unlock_all()",
                locks,
            ]),
            Script::new("advisory locks of a transaction").queries([
                "begin",
                "select pg_advisory_xact_lock(5)",
                locks,
                "commit",
                locks,
            ]),
            Script::new("an advisory lock in a transaction").queries([
                "begin",
                "select pg_advisory_lock(6)",
                "rollback",
                locks,
            ]),
            Script::new("advisory locks, discarded").queries(["select pg_advisory_lock(7)", "discard all", locks]),
            Script::new("advisory lock, extended")
                .ask(extended("select pg_advisory_lock($1)", &[Some("8")]))
                .query(locks),
            Script::new("notifications").queries([
                "listen ours",
                "notify ours, 'hello'",
                "select pg_notify('ours', 'again')",
                "select * from pg_listening_channels()",
                "begin; notify ours, 'held back'",
                "commit",
                "begin; notify ours, 'never'",
                "rollback",
                "unlisten ours",
                "notify ours, 'unheard'",
                "unlisten *",
            ]),
            Script::new("listening, rolled back").queries([
                "begin",
                "listen ours",
                "rollback",
                "notify ours",
                "select * from pg_listening_channels()",
            ]),
            Script::new("listening, extended")
                .ask(extended("listen ours", &[]))
                .ask(extended("select pg_notify($1, $2)", &[Some("ours"), Some("x")])),
            Script::new("sequences").queries([
                "select currval('ticket')",
                "select nextval('ticket')",
                "select currval('ticket'), lastval()",
                "discard sequences",
                "select lastval()",
            ]),
            Script::new("random").queries(["select setseed(0.5)", "select random()", "select random()"]),
        ])
        .await;
}
