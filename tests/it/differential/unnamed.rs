//! The unnamed statement outlives a Sync, and is never a stranger's.

use super::{Differential, Script};
use crate::harness::frames::{
    bind, close_statement, describe_portal, describe_statement, execute, extended, parse, parse_typed, query, sync,
};

#[tokio::test]
async fn the_unnamed_statement_is_the_clients_own_over_transactions() {
    let again = || [bind("", "", &[]), describe_portal(""), execute("", 0), sync()];
    let one = |id| [bind("", "", &[Some(id)]), execute("", 0), sync()];
    Differential::start()
        .await
        .play([
            Script::new("nobody's").ask(again()).ask([describe_statement(""), sync()]).query("select 1"),
            Script::new("parsed, and used later").ask([parse("", "select 'mine'"), sync()]).ask(again()).ask(again()),
            Script::new("described later")
                .ask([parse("", "select name from item where id = $1"), sync()])
                .ask([describe_statement(""), sync()])
                .ask(one("2"))
                .ask(one("3")),
            Script::new("with types")
                .ask([parse_typed("", "select $1", &[23]), sync()])
                .ask(one("4"))
                .ask(one("x"))
                .ask(one("5")),
            Script::new("ended by a Query").ask([parse("", "select 'mine'"), sync()]).query("select 1").ask(again()),
            Script::new("ended by an empty Query").ask([parse("", "select 'mine'"), sync()]).query("").ask(again()),
            Script::new("ended by a failed Parse")
                .ask([parse("", "select 'mine'"), sync()])
                .ask([parse("", "selec"), sync()])
                .ask(again()),
            Script::new("a failed Parse first").ask([parse("", "selec"), sync()]).ask(again()),
            Script::new("a failed Parse and a Bind in one batch").ask([
                parse("", "selec"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ]),
            Script::new("closed")
                .ask([parse("", "select 'mine'"), sync()])
                .ask([close_statement(""), sync()])
                .ask(again()),
            Script::new("closed and used in one batch").ask([parse("", "select 'mine'"), sync()]).ask([
                close_statement(""),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ]),
            Script::new("used again behind a batch that failed")
                .ask([parse("", "select 'mine'"), sync()])
                .ask([[execute("nobody", 0)].as_slice(), &again(), &again()].concat()),
            Script::new("kept over an error elsewhere")
                .ask([parse("", "select 1/($1::int)"), sync()])
                .ask(one("0"))
                .ask(one("1")),
            Script::new("kept over a rollback")
                .ask(extended("begin", &[]))
                .ask([parse("", "select 'mine'"), sync()])
                .ask([
                    parse("other", "rollback"),
                    bind("", "other", &[]),
                    execute("", 0),
                    close_statement("other"),
                    sync(),
                ])
                .ask(again()),
            Script::new("kept while its server is asked what is left")
                .query("create temp table t (x int); create temp table u (x int)")
                .ask([
                    parse("", "drop table u"),
                    bind("p", "", &[]),
                    parse("", "select 'mine'"),
                    execute("p", 0),
                    sync(),
                ])
                .ask(again())
                .ask([describe_statement(""), sync()])
                .ask(again()),
            Script::new("kept while its server is put right again")
                .query("begin")
                .ask([parse("r", "reset all"), parse("", "select 'mine'"), sync()])
                .ask([bind("", "r", &[]), execute("", 0), sync()])
                .ask(again())
                .ask([bind("", "r", &[]), execute("", 0), sync()])
                .ask([describe_statement(""), sync()])
                .ask(again())
                .query("commit")
                .ask(again()),
            Script::new("not parsed in a failed transaction")
                .query("begin")
                .query("select 1/0")
                .ask([parse("", "select 'mine'"), sync()])
                .query("rollback")
                .ask(again()),
            Script::new("replaced")
                .ask(extended("select 'first'", &[]))
                .ask(extended("select 'second'", &[]))
                .ask(again()),
            Script::new("skipped behind an error")
                .ask([parse("", "select 'mine'"), sync()])
                .ask([parse("x", "selec"), parse("", "select 'skipped'"), sync()])
                .ask(again()),
            Script::new("skipped behind an error with a Query")
                .ask([parse("", "select 'mine'"), sync()])
                .until(b'Z', 1, [parse("x", "selec"), query("select 'skipped'"), sync()])
                .ask(again()),
        ])
        .await;
}
