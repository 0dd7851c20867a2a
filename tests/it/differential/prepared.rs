//! Named statements of the protocol: names are the client's own, whoever else has statements of the same name or text.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{
    bind, close_portal, close_statement, copy_fail, describe_portal, describe_statement, execute, extended, flush,
    parse, parse_typed, query, sync,
};

const ITEM: &str = "select name from item where id = $1";

/// Runs a statement of one parameter.
fn run(name: &str, value: &str) -> [Frame; 3] {
    [bind("", name, &[Some(value)]), execute("", 0), sync()]
}

#[tokio::test]
async fn a_name_is_a_statement_from_its_parse_to_its_close() {
    Differential::start()
        .await
        .play([
            Script::new("parsed again")
                .ask([parse("s1", ITEM), sync()])
                .ask([parse("s1", ITEM), sync()])
                .ask([parse("s1", "select 'another'"), sync()])
                .ask(run("s1", "2"))
                .ask([close_statement("s1"), parse("s1", "select 'new ' || $1"), sync()])
                .ask(run("s1", "2"))
                .ask([parse("s1", "select 'in vain'"), close_statement("s1"), sync()])
                .ask(run("s1", "2"))
                .ask([close_statement("s1"), sync(), parse("s1", ITEM), sync()])
                .ask(run("s1", "3")),
            Script::new("closed")
                .ask([parse("s1", ITEM), parse("s2", "select $1::int"), sync()])
                .ask([close_statement("s1"), close_statement("s1"), close_statement("nobody"), sync()])
                .ask(run("s1", "1"))
                .ask(run("s2", "2"))
                .ask([bind("p", "s2", &[Some("3")]), close_statement("s2"), execute("p", 0), sync()])
                .ask([describe_statement("s2"), sync()])
                .ask([parse("s2", ITEM), bind("p", "s2", &[Some("4")]), close_portal("p"), execute("p", 0), sync()])
                .ask(run("s2", "4")),
            Script::new("unknown")
                .ask(run("nobody", "1"))
                .ask([describe_statement("nobody"), parse("s1", ITEM), sync()])
                .ask(run("s1", "1"))
                .ask([parse("s1", ITEM), bind("", "nobody", &[]), parse("s2", ITEM), sync()])
                .ask(run("s1", "1"))
                .ask(run("s2", "1"))
                .query("execute nobody")
                .query("deallocate nobody"),
            Script::new("failed, and its name is free")
                .ask([parse("s1", "select no_such_column from item"), sync()])
                .ask([describe_statement("s1"), sync()])
                .ask([parse("s1", ITEM), sync()])
                .ask(run("s1", "2"))
                .ask([parse("s2", "select 1; select 2"), parse("s2", ITEM), sync()])
                .ask([parse("s2", "select $1 + $2"), sync()])
                .ask([parse_typed("s2", "select $1", &[999_999]), sync()])
                .ask([parse("s2", ITEM), describe_statement("s2"), sync()])
                .ask(run("s2", "3")),
            Script::new("described alone")
                .ask([parse("s1", ITEM), parse("s2", "insert into item values ($1, $2)"), parse("s3", ""), sync()])
                .ask([describe_statement("s1"), sync()])
                .ask([describe_statement("s2"), sync()])
                .ask([describe_statement("s3"), sync()])
                .until(b'T', 1, [describe_statement("s1"), flush()])
                .ask([bind("", "s1", &[Some("1")]), describe_portal(""), sync()])
                .ask([describe_portal(""), sync()])
                .ask([bind("", "s3", &[]), describe_portal(""), execute("", 0), sync()]),
            Script::new("run in one write, in many")
                .ask([&[parse("s1", ITEM)][..], &run("s1", "1"), &run("s1", "2"), &run("s1", "3")].concat())
                .until(b'C', 1, [bind("", "s1", &[Some("4")]), execute("", 0), flush()])
                .until(b'C', 1, [bind("", "s1", &[Some("5")]), execute("", 0), flush()])
                .ask([sync()])
                .ask([bind("", "s1", &[Some("x")]), execute("", 0), sync()])
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .ask(run("s1", "1")),
            Script::new("odd names")
                .ask([parse("S1", ITEM), parse("s1", "select 'small'::text || $1"), parse(" ", "select $1"), sync()])
                .ask(run("S1", "1"))
                .ask(run("s1", "1"))
                .ask(run(" ", "1"))
                .ask([parse(&"n".repeat(63), ITEM), parse(&"n".repeat(64), "select 'longer' || $1"), sync()])
                .ask(run(&"n".repeat(63), "2"))
                .ask(run(&"n".repeat(64), "2"))
                .ask([parse(&"m".repeat(5000), ITEM), sync()])
                .ask(run(&"m".repeat(5000), "3"))
                .ask([parse("greenroom_1", ITEM), parse("__1", "select 'two' || $1"), sync()])
                .ask(run("greenroom_1", "4"))
                .ask(run("__1", "4")),
        ])
        .await;
}

#[tokio::test]
async fn one_text_is_many_statements() {
    let literals = "select timestamptz '2026-01-02 03:04', date '01/02/2026', interval '1 day', '\\101', $1::text";
    Differential::start()
        .await
        .play([
            Script::new("with other types")
                .ask([
                    parse_typed("s1", "select $1", &[23]),
                    parse_typed("s2", "select $1", &[25]),
                    parse("s3", "select $1"),
                    parse_typed("s4", "select $1", &[0]),
                    parse_typed("s5", "select $1, $2", &[1082]),
                    sync(),
                ])
                .ask([describe_statement("s1"), describe_statement("s2"), describe_statement("s3"), sync()])
                .ask([describe_statement("s4"), describe_statement("s5"), sync()])
                .ask(run("s1", "x"))
                .ask(run("s2", "x"))
                .ask(run("s1", "7"))
                .ask([bind("", "s5", &[Some("2026-01-02"), Some("x")]), execute("", 0), sync()]),
            // Alone: PostgreSQL reads statements again, under the settings of that moment, when anybody's DDL touched a
            // schema, and the neighbour makes its schema of temporary tables.
            Script::new("under other settings")
                .alone()
                .ask([parse("s1", literals), sync()])
                .query("set timezone to 'Asia/Kolkata'; set datestyle to 'ISO, DMY'; set intervalstyle to 'iso_8601'")
                .ask([parse("s2", literals), sync()])
                .ask(run("s1", "first"))
                .ask(run("s2", "second"))
                .query("set standard_conforming_strings to off; set escape_string_warning to off")
                .ask([parse("s3", literals), sync()])
                .query("reset all")
                .ask(run("s1", "first"))
                .ask(run("s2", "second"))
                .ask(run("s3", "third"))
                .ask(extended(literals, &[Some("unnamed")])),
            Script::new("under another search_path")
                .queries(["create schema other", "create table other.item (id text, name text)"])
                .query("insert into other.item values ('2', 'other')")
                .ask([parse("s1", "select name from item where id = '2'"), sync()])
                .query("set search_path to other")
                .ask([parse("s2", "select name from item where id = '2'"), sync()])
                .ask([bind("", "s1", &[]), execute("", 0), bind("", "s2", &[]), execute("", 0), sync()])
                .query("reset search_path")
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .ask([bind("", "s2", &[]), execute("", 0), sync()])
                .query("begin; set local search_path to other")
                .ask([bind("", "s2", &[]), execute("", 0), bind("", "s1", &[]), execute("", 0), sync()])
                .query("rollback")
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .query("drop schema other cascade")
                .ask([bind("", "s2", &[]), execute("", 0), sync()]),
            Script::new("under another role")
                .ask([parse("s1", ITEM), sync()])
                .query("set role stagehand")
                .ask(run("s1", "1"))
                .ask([parse("s2", ITEM), sync()])
                .ask([parse("s3", "select current_user, $1::int"), sync()])
                .query("reset role")
                .ask(run("s1", "1"))
                .query("grant usage on schema alpha to stagehand; grant select on item to stagehand")
                .query("set role stagehand")
                .ask(run("s1", "1"))
                .ask(run("s3", "1"))
                .query("reset role; revoke select on item from stagehand; revoke usage on schema alpha from stagehand")
                .ask(run("s1", "1")),
            Script::new("over a temporary table")
                .ask([parse("s1", ITEM), sync()])
                .query("create temp table item (id int, name text)")
                .query("insert into item values (1, 'temporary')")
                .ask(run("s1", "1"))
                .ask([parse("s2", ITEM), sync()])
                .ask(run("s2", "1"))
                .query("drop table item")
                .ask(run("s1", "1"))
                .ask(run("s2", "1")),
            Script::new("with a COPY in it")
                .ask([parse("s1", "copy item to stdout"), parse("s2", "copy item from stdin"), sync()])
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .until(b'G', 1, [bind("", "s2", &[]), execute("", 0)])
                .until(b'Z', 1, [crate::harness::frames::copy_fail("no"), sync()])
                .ask([bind("", "s1", &[]), execute("", 0), sync()]),
        ])
        .await;
}

#[tokio::test]
async fn batches_mix_many_statements_and_fail_in_the_middle() {
    let exec = |name: &str, value: &str| [bind("", name, &[Some(value)]), execute("", 0)];
    let three =
        || [parse("s1", ITEM), parse("s2", "select 10 / $1::int"), parse("s3", "select current_schema(), $1::text")];
    Differential::start()
        .await
        .play([
            Script::new("all at once")
                .ask(
                    [&three()[..], &exec("s3", "a"), &exec("s1", "1"), &exec("s2", "5"), &exec("s1", "2"), &[sync()]]
                        .concat(),
                )
                .ask([&exec("s2", "2")[..], &exec("s3", "b"), &[sync()], &exec("s1", "3"), &[sync()]].concat()),
            Script::new("fails in the middle")
                .ask([&three()[..], &exec("s1", "1"), &exec("s2", "0"), &exec("s3", "skipped"), &[sync()]].concat())
                .ask([&exec("s3", "a")[..], &exec("s2", "0"), &[parse("s4", "select $1"), sync()]].concat())
                .ask(run("s4", "never parsed"))
                .ask([&exec("s2", "0")[..], &[close_statement("s1"), sync()], &exec("s1", "4"), &[sync()]].concat()),
            Script::new("a Parse fails in the middle")
                .ask([parse("s1", ITEM), parse("s2", "selec"), parse("s3", ITEM), bind("", "s1", &[Some("1")]), sync()])
                .ask(run("s1", "1"))
                .ask(run("s2", "1"))
                .ask(run("s3", "1"))
                .ask(
                    [&[parse("s2", ITEM), parse("s1", ITEM), parse("s3", ITEM)][..], &exec("s2", "2"), &[sync()]]
                        .concat(),
                )
                .ask(run("s2", "2"))
                .ask(run("s3", "2")),
            Script::new("two batches in one write, the first one fails")
                .ask(
                    [&three()[..], &exec("s2", "0"), &[sync()], &exec("s1", "1"), &exec("s2", "1"), &[sync()]].concat(),
                )
                .ask([&exec("s2", "0")[..], &[parse("s1", ITEM), sync(), parse("s1", ITEM), sync()]].concat())
                .ask(run("s1", "5")),
            Script::new("names and no name in turns")
                .ask([parse("s1", ITEM), parse("", "select 'unnamed ' || $1"), sync()])
                .ask(
                    [exec("s1", "1"), exec("", "a"), exec("s1", "2"), exec("", "b")]
                        .into_iter()
                        .flatten()
                        .chain([sync()]),
                )
                .ask([parse("", "select 'another ' || $1"), parse("s2", "select 'named ' || $1"), sync()])
                .ask([exec("", "c"), exec("s2", "d"), exec("s1", "3")].into_iter().flatten().chain([sync()])),
            Script::new("portals of many statements")
                .query("begin")
                .ask([&three()[..], &[bind("p1", "s1", &[Some("1")]), bind("p2", "s2", &[Some("2")]), sync()]].concat())
                .ask([execute("p2", 0), execute("p1", 0), sync()])
                .ask([
                    bind("p3", "s3", &[Some("x")]),
                    describe_portal("p3"),
                    execute("p3", 1),
                    execute("p3", 1),
                    sync(),
                ])
                .ask([close_statement("s3"), execute("p3", 0), close_portal("p3"), sync()])
                .query("commit")
                .ask([execute("p1", 0), sync()])
                .ask(run("s1", "2")),
            Script::new("a transaction inside")
                .ask([
                    parse("b", "begin"),
                    parse("r", "rollback"),
                    parse("i", "insert into item values (50, $1)"),
                    sync(),
                ])
                .ask(
                    [
                        &[bind("", "b", &[]), execute("", 0)][..],
                        &exec("i", "x"),
                        &[bind("", "r", &[]), execute("", 0), sync()],
                    ]
                    .concat(),
                )
                .query("select count(*) from item")
                .ask([&[bind("", "b", &[]), execute("", 0)][..], &exec("i", "x"), &exec("i", "x"), &[sync()]].concat())
                .ask([bind("", "r", &[]), execute("", 0), sync()])
                .query("select count(*) from item"),
            Script::new("a hundred names")
                .ask((0..100).map(|n| parse(&format!("n{n}"), &format!("select {n}, $1::int"))).chain([sync()]))
                .ask((0..100).rev().flat_map(|n| exec(&format!("n{n}"), "7")).chain([sync()]))
                .ask((0..100).flat_map(|n| run(&format!("n{n}"), "8")))
                .ask((0..50).map(|n| close_statement(&format!("n{n}"))).chain([sync()]))
                .ask((45..55).flat_map(|n| run(&format!("n{n}"), "9"))),
        ])
        .await;
}

#[tokio::test]
async fn statements_are_deallocated_and_discarded_wherever_that_is_said() {
    let unnamed = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)];
    let exec = |name: &str| [bind("", name, &[Some("1")]), execute("", 0)];
    Differential::start()
        .await
        .play([
            Script::new("deallocated in SQL")
                .ask([parse("s1", ITEM), parse("s2", ITEM), parse("S3", ITEM), sync()])
                .queries([
                    "deallocate s1",
                    "deallocate prepare s2",
                    "deallocate S3",
                    "deallocate \"S3\"",
                    "deallocate s1",
                ])
                .ask(run("s1", "1"))
                .ask([parse("s1", "select 'new ' || $1"), sync()])
                .ask(run("s1", "1")),
            Script::new("deallocated by name, and what comes right behind it")
                .ask([parse("s1", ITEM), parse("s2", ITEM), sync()])
                .ask([&[query("deallocate s1")][..], &run("s1", "1"), &run("s2", "2")].concat())
                .ask([&[query("deallocate s2"), parse("s2", "select 'new ' || $1")][..], &run("s2", "2")].concat())
                .queries(["begin", "deallocate s2", "deallocate s2"])
                .ask(run("s2", "2"))
                .ask([query("rollback"), parse("s3", ITEM), sync()])
                .queries(["begin", "select 1/0", "deallocate s3", "rollback", "deallocate s3", "deallocate S3"])
                .ask([parse("s3", ITEM), sync(), query("begin"), query("deallocate s3"), query("commit")])
                .ask([&[parse("", ITEM), sync(), query("deallocate s3")][..], &run("", "1")].concat()),
            Script::new("deallocated by names that are written in any way")
                .ask(["S1", "s1", "a \"b", "all", "prepare", "user", "é"].map(|name| parse(name, ITEM)))
                .ask([sync()])
                .queries([
                    "deallocate S1",
                    "deallocate \"a \"\"b\"",
                    "deallocate prepare",
                    "deallocate prepare prepare",
                ])
                .queries([
                    "deallocate user",
                    "deallocate/**/\"user\" -- \n;",
                    "deallocate \"all\"",
                    "deallocate \u{a0}s1",
                ])
                .ask([run("S1", "1"), run("s1", "1"), run("prepare", "1"), run("user", "1"), run("é", "1")].concat())
                .queries(["deallocate \"é\"", "deallocate \"S1\"", "deallocate \"S1\""]),
            Script::new("deallocated beside portals, savepoints and COPY")
                .ask([parse("s1", ITEM), parse("s2", ITEM), parse("s3", ITEM), sync()])
                .ask([query("begin"), bind("p", "s1", &[Some("1")]), sync(), query("deallocate s1")])
                .ask([execute("p", 0), sync()])
                .queries(["savepoint a", "deallocate s2", "rollback to a", "deallocate s2"])
                .ask([query("rollback"), query("copy item from stdin"), copy_fail("no"), query("deallocate s3")])
                .ask([run("s1", "1"), run("s2", "1"), run("s3", "1")].concat()),
            Script::new("deallocated in a batch")
                .ask([&[parse("s1", ITEM)][..], &unnamed("deallocate s1"), &exec("s1"), &[sync()]].concat())
                .ask(
                    [&[parse("s1", ITEM)][..], &exec("s1"), &unnamed("deallocate all"), &exec("s1"), &[sync()]]
                        .concat(),
                )
                .ask(
                    [
                        &[parse("s1", ITEM)][..],
                        &unnamed("deallocate all"),
                        &[parse("s1", "select 'new ' || $1")],
                        &exec("s1"),
                        &[sync()],
                    ]
                    .concat(),
                )
                .ask(run("s1", "1"))
                .ask(
                    [
                        &[parse("s4", "deallocate all")][..],
                        &[bind("", "s4", &[]), execute("", 0), bind("", "s4", &[]), sync()],
                    ]
                    .concat(),
                )
                .ask(run("s1", "1")),
            Script::new("discarded in a batch")
                .ask([parse("s1", ITEM), sync()])
                .ask([&unnamed("discard all")[..], &[sync()]].concat())
                .ask(run("s1", "1"))
                .ask([parse("s1", ITEM), sync()])
                .ask([&exec("s1")[..], &unnamed("discard all"), &exec("s1"), &[sync()]].concat())
                .ask(run("s1", "1"))
                .ask([&unnamed("discard all")[..], &[sync(), parse("s1", ITEM), sync()]].concat())
                .ask(run("s1", "1"))
                .ask(
                    [&unnamed("discard plans")[..], &exec("s1"), &unnamed("discard temp"), &exec("s1"), &[sync()]]
                        .concat(),
                ),
            Script::new("deallocated, and undone: no")
                .ask([parse("s1", ITEM), sync()])
                .queries(["begin", "deallocate s1", "rollback"])
                .ask(run("s1", "1"))
                .query("begin")
                .ask([parse("s1", ITEM), sync()])
                .queries(["deallocate all", "select 1/0", "rollback"])
                .ask(run("s1", "1")),
            Script::new("in a message of its own, among others")
                .ask([parse("s1", ITEM), query("select 1; deallocate all; select 2")])
                .ask(run("s1", "1"))
                .ask([parse("s1", ITEM), query("deallocate s1; select 1/0")])
                .ask(run("s1", "1"))
                .ask([parse("s1", ITEM), query("do $$ begin execute 'deallocate s1'; end $$")])
                .ask(run("s1", "1"))
                .ask([parse("s1", ITEM), sync()])
                .ask([
                    query("deallocate s1"),
                    parse("s1", "select 'new ' || $1"),
                    bind("", "s1", &[Some("x")]),
                    execute("", 0),
                    sync(),
                ]),
            Script::new("in a failed transaction")
                .ask([parse("s1", ITEM), parse("r", "rollback"), sync()])
                .query("begin; select 1/0")
                .ask([parse("s2", ITEM), sync()])
                .ask([parse("s1", ITEM), sync()])
                .ask([parse("", ITEM), sync()])
                .ask(run("s1", "1"))
                .ask([describe_statement("s1"), sync()])
                .ask([describe_statement("r"), sync()])
                .ask([close_statement("s1"), sync()])
                .queries(["deallocate all", "execute s1", "discard all"])
                .ask([parse("s3", "rollback to savepoint x"), sync()])
                .ask([bind("", "r", &[]), execute("", 0), sync()])
                .ask(run("s1", "1"))
                .ask(run("s2", "1"))
                .ask(run("s3", "1"))
                .ask([parse("s1", ITEM), sync()])
                .ask(run("s1", "1")),
            Script::new("in a batch whose transaction fails")
                .ask([parse("s1", ITEM), parse("b", "begin"), parse("c", "commit"), sync()])
                .ask(
                    [
                        &[bind("", "b", &[]), execute("", 0)][..],
                        &unnamed("select 1/0"),
                        &[sync(), parse("s2", ITEM), sync()],
                        &exec("s1"),
                        &[sync()],
                    ]
                    .concat(),
                )
                .ask([bind("", "c", &[]), execute("", 0), sync()])
                .ask(run("s1", "1"))
                .ask(run("s2", "1")),
        ])
        .await;
}

#[tokio::test]
async fn statements_of_sql_and_of_the_protocol_share_their_names() {
    let mine = "select name, statement, from_sql, parameter_types from pg_prepared_statements order by name";
    Differential::start()
        .await
        .play([
            Script::new("seen")
                .query(mine)
                .ask([parse("s1", ITEM), parse_typed("s2", "select $1", &[23]), parse("", "select 'unnamed'"), sync()])
                .query(mine)
                .ask(extended(mine, &[]))
                .ask([close_statement("s1"), sync()])
                .query(mine)
                .query("prepare q (int) as select name from item where id = $1")
                .query(mine)
                .query("deallocate all")
                .query(mine),
            Script::new("one name, both ways")
                .query("prepare q (int) as select name from item where id = $1")
                .ask([parse("q", ITEM), sync()])
                .ask(run("q", "1"))
                .ask([describe_statement("q"), sync()])
                .ask([close_statement("q"), sync()])
                .query("execute q (1)")
                .ask([parse("q", ITEM), sync()])
                .queries([
                    "prepare q as select 1",
                    "execute q (2)",
                    "explain (costs off) execute q (2)",
                    "deallocate q",
                ])
                .ask(run("q", "3")),
            Script::new("in a transaction, in vain").queries([
                "begin; prepare q as select 'kept'; rollback",
                "execute q",
                "begin",
                "deallocate q",
                "select 1/0",
                "rollback",
                "execute q",
                "prepare q as selec",
                "prepare q as select 1; prepare q as select 2",
                "execute q",
            ]),
            Script::new("prepared in a block").queries([
                "do $$ begin execute 'prepare q as select ''hidden'''; end $$",
                "execute q",
                "create table t_made as execute q",
                "table t_made",
                "drop table t_made",
                mine,
                "discard all",
                mine,
            ]),
        ])
        .await;
}

#[tokio::test]
async fn names_are_taken_behind_the_end_of_a_transaction_that_has_failed() {
    Differential::start()
        .await
        .play([Script::new("asked in one go")
            .ask([parse("s1", "select 1"), sync()])
            .queries(["drop table if exists pg_temp.item", "begin; select 1/0"])
            .ask([query("rollback"), query("prepare s1 as select 2"), query("execute s1")])])
        .await;
}

#[tokio::test]
async fn what_was_told_behind_a_flush_is_there_for_the_rest_of_its_batch() {
    let told = |sql: &str| [parse("s1", sql), describe_statement("s1"), flush()];
    let in_batch = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)];
    Differential::start()
        .await
        .play([
            Script::new("executed by SQL")
                .until(b'T', 1, told("select 'a literal'"))
                .query("execute s1")
                .query("deallocate s1"),
            Script::new("executed by SQL in a batch")
                .until(b'T', 1, told("select name from item where id = 1"))
                .ask([&in_batch("execute s1")[..], &[sync()]].concat())
                .query("execute s1"),
            Script::new("executed by a statement that has a name too")
                .until(b'T', 1, told("select name from item where id = 1"))
                .until(b'T', 1, [parse("s2", "execute s1"), describe_statement("s2"), flush()])
                .ask([bind("", "s2", &[]), execute("", 0), sync()])
                .ask([parse("s3", "execute s1"), describe_statement("s3"), sync()]),
            Script::new("executed by a statement of a later batch")
                .ask([parse("s1", "select name from item where id = 1"), sync()])
                .ask([parse("s2", "execute s1"), describe_statement("s2"), sync()])
                .ask([bind("", "s2", &[]), execute("", 0), sync()]),
            // asyncpg asks for the types of a statement's columns in this way.
            Script::new("bound behind a change of settings")
                .until(b'T', 1, told("select 'a literal', row(1, '2')"))
                .ask([&in_batch("select set_config('jit', 'off', false)")[..], &[sync()]].concat())
                .ask([&in_batch("select set_config('jit', 'on', false)")[..], &[sync()]].concat())
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .query("reset all"),
            Script::new("of an earlier batch, bound behind a change of settings")
                .ask([parse("s1", "select timestamptz '2026-01-02 03:04'"), sync()])
                .until(b'C', 1, [&in_batch("select set_config('jit', 'off', false)")[..], &[flush()]].concat())
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .query("reset all"),
            Script::new("bound behind a change of what a literal means")
                .until(b'T', 1, told("select timestamptz '2026-01-02 03:04'"))
                .ask([&in_batch("select set_config('TimeZone', 'Asia/Tokyo', false)")[..], &[sync()]].concat())
                .ask([bind("", "s1", &[]), execute("", 0), sync()])
                .query("reset all"),
        ])
        .await;
}
