//! LISTEN, UNLISTEN and NOTIFY: who hears what, when, and ahead of what.

use super::Differential;
use super::script::Script;
use crate::harness::Frame;
use crate::harness::frames::{
    bind, close_portal, close_statement, copy_data, copy_done, describe_portal, describe_statement, execute, extended,
    flush, parse, parse_typed, query, sync, terminate, wire,
};

/// What shows what a session listens to.
const CHANNELS: &str = "select * from pg_listening_channels() order by 1";

#[tokio::test]
async fn a_listening_client_hears_what_it_would_hear_on_postgresql() {
    Differential::start()
        .await
        .play([
            Script::new("its own").queries([
                "listen ours",
                "notify ours, 'hello'",
                "notify theirs, 'unheard'",
                "select pg_notify('ours', 'again')",
                "notify ours; notify ours; notify ours, 'a'; notify ours",
                "begin; notify ours, 'held back'",
                "select 1",
                "commit",
                "begin; notify ours, 'never'",
                "rollback",
                "begin; notify ours, '1'; savepoint a; notify ours, '2'; rollback to a; notify ours, '3'; commit",
                "notify ours, 'failed'; select 1/0",
                CHANNELS,
                "unlisten ours",
                "notify ours, 'unheard'",
                CHANNELS,
            ]),
            Script::new("another's")
                .query("listen ours")
                .meanwhile("notify ours, 'one'")
                .query("select 1")
                .meanwhile("begin; notify ours, 'two'; notify theirs; notify ours, 'three'; commit")
                .query("begin")
                .meanwhile("notify ours, 'in the middle'")
                .queries(["select 2", "commit", "select 3"])
                .meanwhile("notify ours, 'last'")
                .query("unlisten *")
                .meanwhile("notify ours, 'unheard'")
                .queries(["select 4", "unlisten ours"]),
            Script::new("several channels")
                .queries(["listen a", "listen B", "listen \"B\"", "listen a", CHANNELS])
                .meanwhile("notify a, '1'; notify b, '2'; notify \"B\", '3'; notify \"b\", '4'")
                .query("unlisten b")
                .meanwhile("notify a, '5'; notify b, '6'; notify \"B\", '7'")
                .queries([CHANNELS, "unlisten nothing", "discard all"])
                .meanwhile("notify a, 'unheard'")
                .queries([CHANNELS, "listen a", "notify a, 'heard again'"]),
            Script::new("unlistened among more").queries([
                "listen ours",
                "listen theirs",
                "begin; unlisten *; rollback",
                "notify ours, 'still heard'",
                "unlisten *; select 1/0",
                "notify ours, 'still heard'",
                "select pg_advisory_unlock_all();\nclose all;\nunlisten *;\nreset all;",
                "notify ours, 'unheard'",
                "listen ours",
                "begin",
                "unlisten ours",
                "notify ours, 'unheard'",
                "commit",
                "notify ours, 'unheard'",
                CHANNELS,
            ]),
            Script::new("in a transaction, which keeps its server").queries([
                "listen ours",
                "begin; listen theirs; listen ours; commit",
                "notify theirs, 'heard'",
                "notify ours, 'heard once'",
                "begin; listen others; rollback",
                "notify others, 'unheard'",
                "unlisten theirs",
                "notify theirs, 'unheard'",
                "do $$ begin execute 'listen hidden'; end $$",
                "notify hidden, 'heard'",
            ]),
            Script::new("names").queries([
                "listen",
                "listen select",
                "listen \"select\"",
                "notify \"select\", 'heard'",
                "listen 'ours'",
                "listen a.b",
                "listen \"\"",
                "listen a, b",
                "LISTEN \"It's \"\"ours\"\"\" ;",
                "notify \"It's \"\"ours\"\"\", 'it''s'",
                "/* */ listen commented -- on",
                "notify commented",
                "listen a23456789012345678901234567890123456789012345678901234567890123",
                "notify a23456789012345678901234567890123456789012345678901234567890123, '63'",
                "listen b234567890123456789012345678901234567890123456789012345678901234",
                "notify b23456789012345678901234567890123456789012345678901234567890123, '64'",
                "listen caf\u{e9}",
                "notify caf\u{e9}, 'caf\u{e9}'",
                "unlisten \"\"",
                "unlisten 'a'",
                "notify ours, 5",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn a_listen_is_answered_in_the_extended_protocol_as_by_postgresql() {
    let batch = || vec![parse("", "listen ours"), bind("", "", &[]), describe_portal(""), execute("", 0), sync()];
    let described = vec![parse("", "listen ours"), describe_statement(""), bind("", "", &[]), execute("", 0), sync()];
    let cut = |at: usize| {
        let script = Script::new("cut").cut(at, batch());
        script.ask(extended("select pg_notify($1, $2)", &[Some("ours"), Some("x")]))
    };
    let bytes = wire(&batch()).len();
    Differential::start().await.play((1..bytes).step_by(7).map(cut)).await;
    Differential::start()
        .await
        .play([
            Script::new("extended")
                .ask(batch())
                .ask(extended("select pg_notify($1, $2)", &[Some("ours"), Some("x")]))
                .meanwhile("notify ours, 'one'")
                .ask(extended("unlisten ours", &[]))
                .meanwhile("notify ours, 'unheard'")
                .query("select 1"),
            Script::new("described").ask(described).query("notify ours"),
            Script::new("wrong").ask(extended("listen select", &[])).ask(extended("listen a b", &[])),
            Script::new("parsed, and bound later")
                .ask([parse("", "listen ours"), sync()])
                .query("notify ours, 'unheard'")
                .ask([parse("", "listen ours"), sync()])
                .ask([bind("", "", &[]), execute("", 0), sync()])
                .query("notify ours, 'heard'"),
            Script::new("bound again")
                .ask(batch())
                .ask([bind("", "", &[]), execute("", 0), sync()])
                .query("notify ours, 'heard once'"),
            Script::new("named")
                .ask([parse("s", "listen ours"), bind("", "s", &[]), execute("", 0), sync()])
                .query("notify ours, 'heard'")
                .ask([bind("", "s", &[]), execute("", 0), sync()])
                .query("notify ours, 'heard'"),
            Script::new("flushed")
                .until(b'1', 1, [parse("", "listen ours"), flush()])
                .ask([bind("", "", &[]), execute("", 0), sync()])
                .query("notify ours, 'heard'"),
            Script::new("with a parameter too many")
                .ask([parse("", "listen ours"), bind("", "", &[Some("x")]), execute("", 0), sync()])
                .query("notify ours, 'unheard'"),
            Script::new("among more")
                .ask([
                    parse("", "select 1"),
                    bind("", "", &[]),
                    execute("", 0),
                    parse("", "listen ours"),
                    bind("", "", &[]),
                    execute("", 0),
                    sync(),
                ])
                .query("notify ours, 'heard'"),
            Script::new("in a pipeline behind something else")
                .query("listen ours")
                .ask([query("select 1"), query("unlisten ours"), query("notify ours, 'unheard'")])
                .query("listen ours")
                .ask([
                    bind("", "nothing", &[]),
                    sync(),
                    query("notify ours, 'heard behind the error'"),
                    query("select 2"),
                    query("select pg_notify('ours', 'more')"),
                ])
                .query("create table if not exists said (word text)")
                .ask([query("copy said from stdin"), copy_data("a\n"), copy_done(), query("unlisten ours")])
                .query("notify ours, 'unheard'")
                .query("listen ours")
                // The first Sync is of the COPY, which ignores it.
                .until(
                    b'Z',
                    3,
                    [
                        parse("", "copy said from stdin"),
                        bind("", "", &[]),
                        execute("", 0),
                        sync(),
                        copy_data("b\n"),
                        copy_done(),
                        sync(),
                        query("notify ours, 'heard'"),
                        query("select count(*) from said"),
                    ],
                )
                .ask([sync(), sync(), query("drop table said; notify ours, 'last'")]),
            Script::new("in a pipeline")
                .ask([query("select 1"), query("listen ours"), query("notify ours, 'a'"), query("select 2")])
                .ask([query("begin"), query("listen theirs"), query("rollback"), query("notify theirs, 'unheard'")])
                .ask([
                    query("unlisten ours"),
                    query("notify ours, 'unheard'"),
                    query("listen ours"),
                    query("notify ours"),
                ])
                .until_closed([query("notify ours, 'last'"), terminate()]),
        ])
        .await;
}

/// Plays scripts in which nothing keeps a server.
async fn play_free(scripts: impl IntoIterator<Item = Script>) {
    let mut differential = Differential::start().await;
    for script in scripts {
        let name = script.name;
        differential.play([script]).await;
        let metrics = differential.room.metrics().await;
        let pins = |labels: &[&str]| metrics.sum("greenroom_pins_total", labels);
        // Each new client that looks around asks for its lastval().
        let (all, of_new) = (pins(&["plugin=\"alpha\""]), pins(&["plugin=\"alpha\"", "reason=\"sequence\""]));
        assert_eq!(all - of_new, 0.0, "{name}: no session is pinned");
    }
}

#[tokio::test]
async fn several_channels_of_one_text_are_listened_to_without_a_server() {
    play_free([
        Script::new("as sqlx")
            .query("LISTEN \"a b\";LISTEN \"c\";")
            .meanwhile("notify \"a b\", '1'; notify c, '2'; notify a, 'unheard'")
            .query("notify c, 'own'")
            .query(CHANNELS)
            .query("LISTEN \"a b\";LISTEN \"C\";")
            .meanwhile("notify \"a b\", 'once'; notify c, '3'; notify \"C\", '4'")
            .queries([CHANNELS, "unlisten \"a b\"; unlisten c"])
            .meanwhile("notify \"a b\", 'unheard'; notify c, 'unheard'; notify \"C\", '5'")
            .queries(["select 1", "UNLISTEN *;UNLISTEN *"])
            .meanwhile("notify \"C\", 'unheard'")
            .query("select 2"),
        Script::new("with UNLISTEN")
            .query("listen A; /* ; */ listen b -- c\n;; listen c;")
            .query("unlisten a; listen d; unlisten b; listen B")
            .meanwhile("notify a, 'unheard'; notify b, '1'; notify c, '2'; notify d, '3'")
            .queries([CHANNELS, "unlisten *; listen e; listen b"])
            .meanwhile("notify c, 'unheard'; notify d, 'unheard'; notify e, '4'; notify b, '5'")
            .queries([CHANNELS, "listen f; unlisten e; unlisten f; listen e; unlisten b -- at last"])
            .meanwhile("notify f, 'unheard'; notify b, 'unheard'; notify e, '6'")
            .queries([CHANNELS, "listen g; unlisten *"])
            .meanwhile("notify e, 'unheard'; notify g, 'unheard'")
            .queries(["notify g, 'unheard'", CHANNELS])
            .query("unlisten a; listen a")
            .meanwhile("notify a, '7'")
            .queries(["select 1", "discard all"])
            .meanwhile("notify a, 'unheard'")
            .query("select 2"),
        Script::new("of which one is wrong")
            .query("listen a")
            .queries(["listen b; listen select", "unlisten a; listen select; listen c", "unlisten select; listen b"])
            .meanwhile("notify a, '1'; notify b, 'unheard'; notify c, 'unheard'")
            .query(CHANNELS),
        Script::new("in a pipeline")
            .ask([
                query("listen a; listen b"),
                query("notify b, '1'"),
                query("unlisten a; listen c"),
                query("select 1"),
            ])
            .ask([
                query("begin"),
                query("select 2"),
                query("notify a, 'unheard'"),
                query("commit"),
                query("listen a; unlisten b"),
                query("notify a, '2'; notify b, 'unheard'; notify c, '3'"),
            ])
            .query(CHANNELS)
            .until_closed([query("listen d; listen e"), query("notify d, '4'"), terminate()]),
    ])
    .await;
}

#[tokio::test]
async fn several_channels_among_anything_else_keep_their_server_and_are_answered_as_by_postgresql() {
    Differential::start()
        .await
        .play([
            Script::new("among more").queries([
                "listen a; listen b; select 1",
                "notify a, 'heard'",
                "listen c; listen d; select 1/0",
                "notify c, 'unheard'",
                "unlisten a; listen \"\"",
                "unlisten a; listen a.b",
                "notify a, 'heard'",
                "unlisten a; listen d",
                "notify a, 'unheard'; notify b, 'heard'",
                "notify d, 'heard'",
                CHANNELS,
            ]),
            Script::new("in a transaction").queries([
                "listen a; listen b",
                "begin",
                "listen c; listen d",
                "rollback",
                "notify a, 'heard'; notify c, 'unheard'",
                "begin",
                "select 1/0",
                "listen c; listen d",
                "rollback",
                "begin; listen c; listen d; commit",
                "notify a, 'heard'",
                "notify c, 'heard'; notify d, 'heard'",
            ]),
            Script::new("too long").queries([
                "listen b23456789012345678901234567890123456789012345678901234567890123",
                "listen a; listen b234567890123456789012345678901234567890123456789012345678901234",
                "notify b23456789012345678901234567890123456789012345678901234567890123, 'heard'",
                "notify a, 'heard'",
            ]),
        ])
        .await;
}

/// The Bind, the Execute and the Sync of what was prepared.
fn bound(statement: &str) -> [Frame; 3] {
    [bind("", statement, &[]), execute("", 0), sync()]
}

#[tokio::test]
async fn a_prepared_listen_is_done_without_a_server_as_often_as_it_is_executed() {
    let prepared = |name: &str| [parse(name, "LISTEN \"a b\""), describe_statement(name)];
    play_free([
        Script::new("as asyncpg")
            .until(b'n', 1, prepared("s").into_iter().chain([flush()]))
            .ask(bound("s"))
            .meanwhile("notify \"a b\", '1'; notify a, 'unheard'")
            .query("notify \"a b\", 'own'")
            .until(b'n', 1, [parse("u", "UNLISTEN \"a b\""), describe_statement("u"), flush()])
            .ask(bound("u"))
            .meanwhile("notify \"a b\", 'unheard'")
            .query("select 1")
            .ask(bound("s"))
            .meanwhile("notify \"a b\", '2'")
            .ask(bound("s"))
            .query(CHANNELS)
            .ask(bound("u"))
            .meanwhile("notify \"a b\", 'unheard'")
            .query(CHANNELS),
        Script::new("as asyncpg without a cache")
            .until(b'n', 1, prepared("").into_iter().chain([flush()]))
            .ask(bound(""))
            .meanwhile("notify \"a b\", '1'")
            .until(b'n', 1, [parse("", "UNLISTEN \"a b\""), describe_statement(""), flush()])
            .ask(bound(""))
            .query("notify \"a b\", 'unheard'"),
        Script::new("as tokio-postgres")
            .ask(prepared("s").into_iter().chain([sync()]))
            .ask(bound("s"))
            .query("notify \"a b\", '1'")
            .ask([close_statement("s"), sync()])
            .ask(bound("s")),
        Script::new("as node-postgres, and again")
            .ask([parse("s", "listen a"), bind("", "s", &[]), describe_portal(""), execute("", 0), sync()])
            .query("notify a, '1'")
            .ask([bind("", "s", &[]), describe_portal(""), execute("", 0), sync()])
            .query("notify a, '2'"),
        Script::new("as sqlx")
            .ask(prepared("s").into_iter().chain([sync()]))
            .ask([bind("", "s", &[]), execute("", 0), close_portal(""), sync()])
            .query("notify \"a b\", '1'"),
        Script::new("closed in its batch")
            .ask([parse("s", "listen a"), sync()])
            .ask([close_statement("s"), parse("s", "listen b"), bind("", "s", &[]), execute("", 0), sync()])
            .query("notify a, 'unheard'; notify b, 'heard'"),
        Script::new("a name that is taken")
            .ask([parse("s", "listen a"), sync()])
            .ask([parse("s", "listen b"), bind("", "s", &[]), execute("", 0), sync()])
            .query("notify a, 'unheard'; notify b, 'unheard'")
            .ask(bound("s"))
            .ask([parse("s", "select 1"), sync()])
            .ask([describe_statement("s"), sync()])
            .query("notify a, 'heard'"),
        Script::new("a name that nobody has").ask(bound("s")).ask(extended("select pg_notify('a', 'unheard')", &[])),
        Script::new("deallocated and discarded")
            .ask([parse("s", "listen a"), sync()])
            .query("deallocate all")
            .ask(bound("s"))
            .ask([parse("s", "listen a"), sync()])
            .ask(bound("s"))
            .query("notify a, 'heard'")
            .query("discard all")
            .ask(bound("s"))
            .query("notify a, 'unheard'"),
        Script::new("parsed, and bound later")
            .ask([parse("", "listen a"), sync()])
            .query("notify a, 'the statement is gone'")
            .ask(bound(""))
            .ask([parse("", "listen a"), sync()])
            .ask(bound(""))
            .ask([describe_statement(""), sync()])
            .ask(bound(""))
            .query("notify a, 'heard'"),
        Script::new("an UNLISTEN that is bound later")
            .query("listen a; listen b")
            .ask([parse("", "unlisten a"), sync()])
            .ask([parse("s", "unlisten *"), sync()])
            .ask(extended("notify b, '1'", &[]))
            .ask([parse("", "unlisten b"), sync()])
            .ask(bound(""))
            .query("notify a, '2'; notify b, 'unheard'")
            .ask(bound("s"))
            .query("notify a, 'unheard'"),
        Script::new("in a pipeline")
            .ask(
                [parse("s", "listen a"), sync()]
                    .into_iter()
                    .chain(bound("s"))
                    .chain([query("notify a, '1'"), parse("", "listen b"), flush()])
                    .chain(bound(""))
                    .chain(bound("nothing"))
                    .chain(extended("select pg_notify('b', '2')", &[])),
            )
            .ask([query("begin"), query("select 1"), query("commit")].into_iter().chain(bound("s")))
            .until_closed(bound("s").into_iter().chain([query("notify a, '3'"), terminate()])),
    ])
    .await;
}

#[tokio::test]
async fn a_prepared_listen_may_come_in_pieces() {
    let batch = || [vec![parse("s", "listen a"), flush()], bound("s").to_vec()].concat();
    let bytes = wire(&batch()).len();
    let cut = |at: usize| Script::new("cut").cut(at, batch()).query("notify a, 'heard'");
    play_free((1..bytes).step_by(5).map(cut)).await;
}

#[tokio::test]
async fn a_prepared_listen_among_anything_else_keeps_its_server_and_is_answered_as_by_postgresql() {
    let selects = || [parse("", "select 1"), bind("", "", &[]), execute("", 0)];
    Differential::start()
        .await
        .play([
            Script::new("in a transaction")
                .ask([parse("s", "listen a"), sync()])
                .query("begin")
                .ask(bound("s"))
                .queries(["rollback", "notify a, 'unheard'", "begin"])
                .ask(bound("s"))
                .queries(["commit", "notify a, 'heard'"])
                .ask(bound("s"))
                .query("notify a, 'heard once'"),
            Script::new("prepared in a transaction")
                .query("begin")
                .until(b'n', 1, [parse("s", "listen a"), describe_statement("s"), flush()])
                .ask(bound("s"))
                .ask(bound("s"))
                .queries(["rollback", "notify a, 'unheard'"])
                .ask(bound("s"))
                .query("notify a, 'heard'"),
            Script::new("prepared in a transaction, and bound behind it")
                .query("begin")
                .ask([parse("s", "listen a"), sync()])
                .query("rollback")
                .ask(bound("s"))
                .query("notify a, 'heard'"),
            Script::new("in a transaction that has failed")
                .ask([parse("s", "listen a"), sync()])
                .queries(["begin", "select 1/0"])
                .ask(bound("s"))
                .ask([parse("t", "listen a"), bind("", "t", &[]), execute("", 0), sync()])
                .query("rollback")
                .ask(bound("t"))
                .ask(bound("s"))
                .query("notify a, 'heard'"),
            Script::new("behind something else in its batch")
                .ask([parse("s", "listen a"), sync()])
                .ask(selects().into_iter().chain(bound("s")))
                .query("notify a, 'heard'"),
            Script::new("behind an error in its batch")
                .ask([parse("s", "listen a"), sync()])
                .ask([parse("", "selekt")].into_iter().chain(bound("s")))
                .ask([parse("", "select 1/0"), bind("", "", &[]), execute("", 0)].into_iter().chain(bound("s")))
                .query("notify a, 'unheard'"),
            Script::new("ahead of something else in its batch")
                .ask(
                    [parse("s", "listen a"), bind("", "s", &[]), execute("", 0)]
                        .into_iter()
                        .chain(selects())
                        .chain([sync()]),
                )
                .query("notify a, 'heard'"),
            Script::new("ahead of an error in its batch")
                .ask([parse("s", "listen a"), bind("", "s", &[]), execute("", 0), bind("", "nothing", &[]), sync()])
                .query("notify a, 'unheard'")
                .ask(bound("s"))
                .query("notify a, 'heard'"),
            Script::new("twice in a batch")
                .ask([parse("s", "listen a"), parse("t", "listen b"), sync()])
                .ask([bind("", "s", &[]), execute("", 0)].into_iter().chain(bound("t")))
                .query("notify a, 'heard'; notify b, 'heard'"),
            Script::new("executed twice")
                .ask([parse("s", "listen a"), bind("", "s", &[]), execute("", 0), execute("", 0), sync()])
                .query("notify a, 'unheard'"),
            Script::new("by a portal with a name")
                .ask([parse("s", "listen a"), bind("p", "s", &[]), describe_portal("p"), execute("p", 0), sync()])
                .query("notify a, 'heard'"),
            Script::new("flushed")
                .until(b'C', 1, [parse("s", "listen a"), bind("", "s", &[]), execute("", 0), flush()])
                .ask([sync()])
                .query("notify a, 'heard'"),
            Script::new("what is wrong")
                .ask([parse("s", "listen a b"), bind("", "s", &[]), execute("", 0), sync()])
                .ask([parse("s", "listen a; listen b"), sync()])
                .ask(bound("s"))
                .query("notify a, 'unheard'"),
            Script::new("with parameters")
                .ask([parse("s", "listen a"), bind("", "s", &[Some("x")]), execute("", 0), sync()])
                .ask([parse_typed("t", "listen a", &[23]), describe_statement("t"), sync()])
                .ask(bound("t"))
                .ask([bind("", "t", &[Some("1")]), execute("", 0), sync()])
                .query("notify a, 'heard'"),
            Script::new("beside statements of SQL")
                .ask([parse("s", "listen a"), sync()])
                .query("select name, statement, parameter_types from pg_prepared_statements")
                .query("execute s")
                .query("notify a, 'heard'")
                .query("deallocate s")
                .ask(bound("s"))
                .query("prepare s as listen b"),
        ])
        .await;
}

#[tokio::test]
async fn what_was_to_replace_a_prepared_listen_and_was_skipped_has_not_replaced_it() {
    let fails = || execute("nothing", 0);
    play_free([
        Script::new("by a Parse")
            .ask([parse("", "listen a"), sync()])
            .ask([fails(), parse("", "select 1"), sync()])
            .ask(bound(""))
            .query("notify a, 'heard'"),
        Script::new("by a Parse, in a pipeline")
            .ask([parse("", "listen a"), sync(), fails(), parse("", "select 1"), sync()].into_iter().chain(bound("")))
            .query("notify a, 'heard'"),
        Script::new("by a Parse that fails")
            .ask([parse("", "listen a"), sync(), parse("", "selekt"), sync()].into_iter().chain(bound("")))
            .query("notify a, 'unheard'"),
        Script::new("by a Close and a Parse with its name")
            .ask([parse("s", "listen a"), sync()])
            .ask([fails(), close_statement("s"), parse("s", "select 1"), sync()])
            .ask(bound("s"))
            .query("notify a, 'heard'"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_bound_in_any_order_is_answered_as_by_postgresql() {
    let u = || [parse("u", "unlisten a"), parse("s", "listen a"), parse("all", "unlisten *"), sync()];
    let on = || [parse("", "listen a"), sync()].into_iter().chain(bound(""));
    let x = || [parse("", "select 1/0"), bind("", "", &[]), execute("", 0)];
    let be = |name: &str| [bind("", name, &[]), execute("", 0)];
    Differential::start()
        .await
        .play([
            Script::new("unlisten, rolled back by an error behind it")
                .ask(u())
                .ask(on())
                .ask(be("u").into_iter().chain(x()).chain([sync()]))
                .query("notify a, 'heard'"),
            Script::new("unlisten bound and not executed")
                .ask(u())
                .ask(on())
                .ask([bind("", "u", &[]), sync()])
                .query("notify a, 'heard'")
                .ask([bind("", "u", &[]), describe_portal(""), sync()])
                .query("notify a, 'heard'"),
            Script::new("unlisten twice")
                .ask(u())
                .ask(on())
                .ask(be("u").into_iter().chain(be("u")).chain([sync()]))
                .query("notify a, 'unheard'")
                .ask(on())
                .ask([bind("", "u", &[]), execute("", 0), execute("", 0), sync()])
                .query("notify a, 'heard'"),
            Script::new("unlisten in a transaction, by a portal")
                .ask(u())
                .ask(on())
                .query("begin")
                .ask([bind("p", "u", &[]), sync()])
                .ask([execute("p", 0), sync()])
                .query("notify a, 'unheard'")
                .query("commit")
                .query("notify a, 'unheard'"),
            Script::new("unlisten and listen in one batch")
                .ask(u())
                .ask(on())
                .ask(be("u").into_iter().chain(be("s")).chain([sync()]))
                .query("notify a, 'heard'")
                .ask(be("s").into_iter().chain(be("all")).chain([sync()]))
                .query("notify a, 'unheard'"),
            Script::new("pipelined on and off").ask(u()).ask(
                bound("s")
                    .into_iter()
                    .chain([query("notify a, '1'")])
                    .chain(bound("u"))
                    .chain([query("notify a, 'unheard'")])
                    .chain(bound("s"))
                    .chain([query("notify a, '2'")])
                    .chain(bound("all"))
                    .chain([query("notify a, 'unheard'")]),
            ),
            Script::new("a query in the batch")
                .ask([parse("s", "listen a"), query("select 1")].into_iter().chain(bound("s")))
                .query("notify a, 'heard'"),
            Script::new("more Syncs than needed")
                .ask([parse("s", "listen a"), sync(), sync()].into_iter().chain(bound("s")).chain([sync(), sync()]))
                .query("notify a, 'heard'"),
            Script::new("Bind without Execute")
                .ask([parse("s", "listen a"), bind("", "s", &[]), sync()])
                .ask([bind("", "s", &[]), describe_portal(""), close_portal(""), sync()])
                .query("notify a, 'unheard'"),
            Script::new("closed in the batch of its Execute")
                .ask([parse("s", "listen a"), sync()])
                .ask([bind("", "s", &[]), execute("", 0), close_statement("s"), sync()])
                .ask(bound("s"))
                .query("notify a, 'heard'"),
            Script::new("described behind its Execute")
                .ask([parse("s", "listen a"), sync()])
                .ask([bind("", "s", &[]), execute("", 0), describe_portal(""), sync()])
                .query("notify a, 'heard'"),
            Script::new("flushes everywhere")
                .ask([
                    flush(),
                    parse("s", "listen a"),
                    flush(),
                    flush(),
                    describe_statement("s"),
                    flush(),
                    bind("", "s", &[]),
                    flush(),
                    execute("", 0),
                    flush(),
                    sync(),
                ])
                .query("notify a, 'heard'"),
            Script::new("with a limit of rows")
                .ask([parse("s", "listen a"), bind("", "s", &[]), execute("", 1), sync()])
                .query("notify a, 'heard'"),
            Script::new("result formats, and parameter formats")
                .ask([parse("s", "listen a"), sync()])
                .ask([Frame::new(b'B', b"\0s\0\0\0\0\0\0\x02\0\x01\0\x01".to_vec()), execute("", 0), sync()])
                .ask([Frame::new(b'B', b"\0s\0\0\x01\0\x01\0\0\0\0".to_vec()), execute("", 0), sync()])
                .query("notify a, 'heard'"),
        ])
        .await;
}

#[tokio::test]
async fn a_batch_around_a_listen_that_is_not_of_the_protocol_is_refused_as_by_postgresql() {
    let malformed = [
        (&b"\0s\0\0\0\0\0\0\x03"[..], &b"\0\0\0\0\0"[..]),
        (b"\0s\0\0\0\0\0\0\0more", b"\0\0\0\0\0"),
        (b"\0s\0\0\x01\0\x07\0\0\0\0", b"\0\0\0\0\0"),
        (b"\0s\0\0\0\0\0\0\0", b"\0"),
        (b"\0s\0\0\0\0\0\0\0", b"\0\0\0\0\0more"),
    ];
    let scripts = malformed.into_iter().map(|(bind, execute)| {
        let frames = [Frame::new(b'B', bind), Frame::new(b'E', execute), sync()];
        Script::new("malformed").ask([parse("s", "listen a"), sync()]).ask(frames).query("select 1")
    });
    Differential::start().await.play(scripts).await;
}
