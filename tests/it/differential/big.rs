//! Messages around and far above the size of every buffer, and messages that arrive in pieces.

use super::{Differential, Script};
use crate::harness::frames::{bind, copy_data, copy_done, describe_statement, execute, parse, query, sync, wire};

const KIB: usize = 1024;

#[tokio::test]
async fn messages_of_any_size_pass() {
    let sizes = [16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB];
    let around = sizes.iter().flat_map(|size| (size - 12)..=(size + 2));
    let mut script = Script::new("around every buffer").alone();
    for size in around {
        script = script.query(&format!("select length('{}')", "x".repeat(size)));
    }
    let mut rows = Script::new("rows around every buffer").alone();
    for size in sizes.iter().flat_map(|size| (size - 12)..=(size + 2)) {
        rows = rows.query(&format!("select repeat('x', {size})"));
    }
    let value = "v".repeat(3 * 1024 * KIB);
    Differential::start()
        .await
        .play([
            script,
            rows,
            Script::new("a large parameter").ask([
                parse("", "select length($1), $1"),
                bind("", "", &[Some(&value)]),
                execute("", 0),
                sync(),
            ]),
            Script::new("a large statement, used again")
                .ask([parse("", &format!("select length('{value}')")), sync()])
                .ask([bind("", "", &[]), execute("", 0), sync()]),
            Script::new("a large statement that fails").query(&format!("selec '{value}'")).query("select 1"),
            Script::new("a large value behind a small one")
                .ask([query("select 1"), query(&format!("select '{value}'"))]),
            Script::new("a large piece of a COPY")
                .query("create table t_big (value text)")
                .until(b'G', 1, [query("copy t_big from stdin")])
                .until(b'Z', 1, [copy_data(format!("{value}\n")), copy_done()])
                .query("copy t_big to stdout")
                .query("drop table t_big"),
            Script::new("many rows").query("select n, md5(n::text) from generate_series(1, 30000) n"),
            Script::new("a large notice")
                .query(&format!("do $$ begin raise notice '%', repeat('n', {}); end $$", 300 * KIB)),
        ])
        .await;
}

#[tokio::test]
async fn a_message_may_be_cut_at_any_byte() {
    let mut differential = Differential::start().await;
    let batches = [
        vec![query("select name from item where id = 1"), query("begin; select 2"), query("rollback")],
        vec![
            parse("", "select name from item where id = $1"),
            describe_statement(""),
            bind("", "", &[Some("2")]),
            execute("", 0),
            sync(),
        ],
        vec![parse("", "selec"), bind("", "", &[]), sync(), query("select 3")],
        vec![
            query("copy (select 1) to stdout"),
            query("copy item from stdin"),
            copy_data("x\n"),
            copy_done(),
            query(""),
        ],
    ];
    for batch in batches {
        let len = wire(&batch).len();
        let script = (1..len).fold(Script::new("cut").alone(), |script, at| script.cut(at, batch.clone()));
        differential.play([script]).await;
    }
}
