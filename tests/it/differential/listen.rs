//! LISTEN, UNLISTEN and NOTIFY: who hears what, when, and ahead of what.

use super::Differential;
use super::script::Script;
use crate::harness::frames::{
    bind, copy_data, copy_done, describe_portal, describe_statement, execute, extended, flush, parse, query, sync,
    terminate, wire,
};

#[tokio::test]
async fn a_listening_client_hears_what_it_would_hear_on_postgresql() {
    let channels = "select * from pg_listening_channels() order by 1";
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
                channels,
                "unlisten ours",
                "notify ours, 'unheard'",
                channels,
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
                .queries(["listen a", "listen B", "listen \"B\"", "listen a", channels])
                .meanwhile("notify a, '1'; notify b, '2'; notify \"B\", '3'; notify \"b\", '4'")
                .query("unlisten b")
                .meanwhile("notify a, '5'; notify b, '6'; notify \"B\", '7'")
                .queries([channels, "unlisten nothing", "discard all"])
                .meanwhile("notify a, 'unheard'")
                .queries([channels, "listen a", "notify a, 'heard again'"]),
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
                channels,
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
