//! COPY in both directions and both protocols, whole, failed and abandoned.

use super::{Differential, Script};
use crate::harness::frames::{bind, copy_data, copy_done, copy_fail, execute, flush, parse, query, sync};

const IN: &str = "copy item from stdin";

#[tokio::test]
async fn copy_works_and_fails_as_on_postgresql() {
    let start = || [parse("", IN), bind("", "", &[]), execute("", 0)];
    let undo = "delete from item where id > 5";
    Differential::start()
        .await
        .play([
            Script::new("out").queries([
                "copy item to stdout",
                "copy (select 1 where false) to stdout",
                "copy (select 1/0) to stdout",
            ]),
            Script::new("out, binary").query("copy (select 1, 'x'::text) to stdout (format binary)"),
            Script::new("out, extended").ask([
                parse("", "copy item to stdout"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ]),
            Script::new("out, much")
                .query("copy (select n, repeat('x', 500) from generate_series(1, 4000) n) to stdout"),
            Script::new("in")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("20\ttwenty\n21\ttw"), copy_data("enty-one\n"), copy_done()])
                .query(undo),
            Script::new("in, all in one write").ask([query(IN), copy_data("20\ttwenty\n"), copy_done(), query(undo)]),
            Script::new("in, given up")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("20\ttwenty\n"), copy_fail("enough")])
                .query("select count(*) from item"),
            Script::new("in, wrong data, more of it after the error")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("x\ttwenty\n")])
                .ask([copy_data("21\tlate\n"), copy_done(), query("select count(*) from item")]),
            Script::new("in, interrupted by a Query").until(b'G', 1, [query(IN)]).until_closed([query("select 1")]),
            Script::new("in, extended")
                .until(b'G', 1, start())
                .until(b'Z', 1, [copy_data("20\ttwenty\n"), copy_done(), sync()])
                .query(undo),
            Script::new("in, extended, with a Sync that COPY swallows")
                .until(b'G', 1, [start().to_vec(), vec![sync(), flush()]].concat())
                .until(b'Z', 1, [copy_data("20\ttwenty\n"), copy_done(), sync()])
                .query(undo),
            Script::new("in, extended, given up")
                .until(b'G', 1, start())
                .until(b'Z', 1, [copy_fail("enough"), sync()])
                .query("select count(*) from item"),
            Script::new("in, extended, wrong data")
                .until(b'G', 1, start())
                .until(b'Z', 1, [copy_data("x\n"), copy_data("y\n"), copy_done(), sync()])
                .query("select count(*) from item"),
            Script::new("in a transaction")
                .query("begin")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("20\ttwenty\n"), copy_done()])
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_fail("enough")])
                .query("rollback")
                .query("select count(*) from item"),
            Script::new("among other statements")
                .until(b'G', 1, [query("select 1; copy item from stdin; select 2; copy item to stdout")])
                .until(b'Z', 1, [copy_data("20\ttwenty\n"), copy_done()])
                .query(undo),
            Script::new("two in one message")
                .until(b'G', 1, [query("copy item from stdin; copy item from stdin; delete from item where id > 5")])
                .until(b'G', 1, [copy_data("20\tx\n"), copy_done()])
                .until(b'Z', 1, [copy_data("21\ty\n"), copy_done()]),
            Script::new("data without a COPY")
                .ask([copy_data("x"), copy_done(), copy_fail("x"), query("select 1")])
                .ask([copy_done(), parse("", "select 2"), copy_data("x"), bind("", "", &[]), execute("", 0), sync()]),
            Script::new("in, much")
                .until(b'G', 1, [query(IN)])
                .until(
                    b'Z',
                    1,
                    (0..400).map(|n| copy_data(format!("{}\t{}\n", n + 100, "y".repeat(3000)))).chain([copy_done()]),
                )
                .query("select count(*), sum(length(name)) from item")
                .query(undo),
        ])
        .await;
}
