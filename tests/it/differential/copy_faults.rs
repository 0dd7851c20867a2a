//! COPY that fails: by its data, by the table, by the client, by the server, in every protocol and place.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{
    bind, copy_data, copy_done, copy_fail, describe_portal, execute, flush, parse, query, sync,
};

const IN: &str = "copy item from stdin";
const COUNT: &str = "select count(*) from item";

/// A simple COPY that takes these data, whole.
fn taking(name: &'static str, sql: &str, data: &'static [u8]) -> Script {
    Script::new(name)
        .until(b'G', 1, [query(sql)])
        .until(b'Z', 1, [copy_data(data), copy_done()])
        .queries([COUNT, "delete from item where id > 5"])
}

/// Parse, Bind and Execute, without a Sync.
fn run(sql: &str) -> Vec<Frame> {
    vec![parse("", sql), bind("", "", &[]), execute("", 0)]
}

#[tokio::test]
async fn data_that_a_copy_cannot_take_are_told_as_by_postgresql() {
    Differential::start()
        .await
        .play([
            taking("too few columns", IN, b"20\n"),
            taking("too many columns", IN, b"20\tx\ty\n"),
            taking("a number that is none, behind good rows", IN, b"20\tx\n21\ty\nz\tz\n"),
            taking("bytes that are no text", IN, b"20\t\xff\xfe\n"),
            taking("a zero byte", IN, b"20\ta\0b\n"),
            taking("an end before the end", IN, b"20\tx\n\\.\n21\ty\n"),
            taking("an end in the middle of a line", IN, b"20\tx\\.\n"),
            taking("a line that does not end", IN, b"20\tx"),
            taking("both ends of a line", IN, b"20\tx\r\n21\ty\n"),
            taking("nothing at all", IN, b""),
            taking("a quote that does not end", "copy item from stdin (format csv)", b"20,\"x\n"),
            taking("no signature", "copy item from stdin (format binary)", b"20\tx\n"),
            taking("half of a signature", "copy item from stdin (format binary)", b"PGCOPY\n\xff"),
            taking("the first row twice", IN, b"20\tx\n1\tagain\n22\ty\n"),
            Script::new("constraints")
                .query(
                    "create table t_copy (id int check (id < 10) not null, item int references item deferrable
                     initially deferred)",
                )
                .until(b'G', 1, [query("copy t_copy from stdin")])
                .until(b'Z', 1, [copy_data("1\t1\n"), copy_data("11\t1\n"), copy_done()])
                .until(b'G', 1, [query("copy t_copy from stdin")])
                .until(b'Z', 1, [copy_data("1\t1\n\\N\t1\n"), copy_done()])
                .until(b'G', 1, [query("copy t_copy from stdin")])
                .until(b'Z', 1, [copy_data("1\t1\n2\t99\n"), copy_done()])
                .query("begin")
                .until(b'G', 1, [query("copy t_copy from stdin")])
                .until(b'Z', 1, [copy_data("1\t1\n2\t99\n"), copy_done()])
                .queries(["select count(*) from t_copy", "commit", "select count(*) from t_copy", "drop table t_copy"]),
            Script::new("a trigger that does not like it")
                .query(
                    "create function f_copy() returns trigger language plpgsql as $$ begin raise notice 'row %', new.id;
                     if new.id > 20 then raise exception 'too much' using errcode = 'P0777'; end if; return new; end $$;
                     create trigger t_copy before insert on item for each row execute function f_copy()",
                )
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("20\tx\n21\ty\n"), copy_done()])
                .queries([COUNT, "drop trigger t_copy on item; drop function f_copy()"]),
            Script::new("refused before any data").queries([
                "copy nobody from stdin",
                "copy item (id, nothing) from stdin",
                "copy item from stdin (format nonsense)",
                "copy item from stdin (freeze)",
                "copy pg_class from stdin",
                "copy item from '/etc/passwd'",
                "copy item to '/tmp/never'",
                "copy item from program 'true'",
                "copy (delete from item) to stdout",
                "copy (select 1 into x) to stdout",
                "begin read only; copy item from stdin",
                "rollback",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn a_copy_that_fails_leaves_its_transaction_and_its_batch_as_postgresql_does() {
    Differential::start()
        .await
        .play([
            Script::new("what the client says why")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_fail("")])
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_fail("it's enough, \"really\"")]),
            Script::new("in a transaction, by its data")
                .query("begin; insert into item values (20, 'x')")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("x\n"), copy_done()])
                .queries([COUNT, IN, "commit", COUNT]),
            Script::new("back to a savepoint")
                .query("begin; savepoint a")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_fail("enough")])
                .query("rollback to a")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("20\tx\n"), copy_done()])
                .queries([COUNT, "rollback"]),
            Script::new("among other statements: nothing of them stays, and the rest is not done")
                .until(b'G', 1, [query("insert into item values (20, 'x'); copy item from stdin; select 2")])
                .until(b'Z', 1, [copy_fail("enough")])
                .query(COUNT)
                .until(b'G', 1, [query("copy item from stdin; select 1/0; select 3")])
                .until(b'Z', 1, [copy_data("20\tx\n"), copy_done()])
                .query(COUNT)
                .until(b'G', 1, [query("copy item from stdin; copy item from stdin; select 3")])
                .until(b'Z', 1, [copy_data("x\n"), copy_done()])
                .query(COUNT),
            Script::new("with transactions in the text")
                .until(b'G', 1, [query("begin; copy item from stdin; commit; select 1")])
                .until(b'Z', 1, [copy_data("20\tx\n"), copy_done()])
                .until(b'G', 1, [query("delete from item where id > 5; commit; copy item from stdin; begin")])
                .until(b'Z', 1, [copy_fail("enough")])
                .query(COUNT)
                .until(b'G', 1, [query("begin; copy item from stdin; select 2")])
                .until(b'Z', 1, [copy_fail("enough")])
                .queries(["select 3", "rollback; select 4"]),
            Script::new("data behind a failure, and a Query behind them")
                .until(b'G', 1, [query(IN)])
                .ask([copy_data("x\n"), copy_data("21\ty\n"), copy_done(), query("select 1")])
                .query(COUNT),
            Script::new("its end twice").until(b'G', 1, [query(IN)]).ask([
                copy_fail("a"),
                copy_done(),
                copy_fail("b"),
                copy_data("c"),
                query("select 1"),
            ]),
            Script::new("Flush and Sync among the data")
                .until(b'G', 1, [query(IN)])
                .until(b'Z', 1, [copy_data("20\tx\n"), flush(), sync(), copy_data("21\ty\n"), flush(), copy_done()])
                .query("delete from item where id > 5"),
            Script::new("in a batch: what stands behind the failure is not done, up to the Sync")
                .until(b'G', 1, [run("insert into item values (20, 'x')"), run(IN), vec![flush()]].concat())
                .ask([vec![copy_fail("enough")], run("select 1"), vec![sync()]].concat())
                .query(COUNT)
                .until(b'G', 1, [run(IN), vec![flush()]].concat())
                .ask(
                    [vec![copy_data("21\ty\n"), copy_done()], run("select 1/0"), run("select 2"), vec![sync()]]
                        .concat(),
                )
                .query(COUNT),
            Script::new("in a batch, with more of it behind")
                .until(b'G', 1, [run(IN), vec![flush()]].concat())
                .ask([vec![copy_data("21\ty\n"), copy_done()], run("select count(*) from item"), vec![sync()]].concat())
                .query("delete from item where id > 5"),
            Script::new("a pipeline whose Syncs were sent ahead of the data")
                .until(b'G', 1, [run(IN), vec![sync(), sync()]].concat())
                .until(b'Z', 1, [copy_data("20\tx\n"), copy_done(), sync()])
                .ask([vec![sync()], run("delete from item where id > 5"), vec![sync()]].concat()),
            Script::new("the same, failing")
                .until(b'G', 1, [run(IN), vec![sync(), sync()]].concat())
                .until(b'Z', 1, [copy_data("x\n"), copy_done(), sync()])
                .ask([vec![sync()], run(COUNT), vec![sync()]].concat()),
            Script::new("statements of a pipeline behind a COPY that takes no data yet")
                .until_closed([run(IN), vec![sync()], run("select 1"), vec![sync()]].concat()),
            Script::new("a named statement and a portal")
                .ask([parse("s1", IN), bind("p", "s1", &[]), describe_portal("p"), sync()])
                .until(b'G', 1, [bind("p", "s1", &[]), execute("p", 1), flush()])
                .ask([copy_data("20\tx\n"), copy_done(), execute("p", 0), sync()])
                .until(b'G', 1, [bind("", "s1", &[]), execute("", 0), flush()])
                .ask([copy_fail("enough"), sync()])
                .query(COUNT),
            Script::new("no COPY in a failed transaction").queries(["begin; select 1/0", IN, "rollback"]),
        ])
        .await;
}

#[tokio::test]
async fn a_copy_to_the_client_fails_in_the_middle_as_on_postgresql() {
    let fails = "copy (select 10/(5 - n), repeat('x', 5000) from generate_series(1, 9) n) to stdout";
    let slow = "copy (select n, pg_sleep(0.02) from generate_series(1, 100) n) to stdout";
    Differential::start()
        .await
        .play([
            Script::new("an error behind rows").queries([fails, "select 1"]),
            Script::new("among other statements").queries([
                &["select 1; ", fails, "; select 3"].concat(),
                &["begin; ", fails].concat(),
                "select 1",
                "rollback",
            ]),
            Script::new("in a pipeline").ask(
                [run("select 1"), run(fails), run("select 3"), vec![sync()], run("select 4"), vec![sync()]].concat(),
            ),
            Script::new("whole ones in a pipeline").ask(
                [run("copy item to stdout"), run("select 3"), vec![sync()], run("copy item to stdout"), vec![sync()]]
                    .concat(),
            ),
            Script::new("no row limit counts")
                .ask([parse("", "copy item to stdout"), bind("", "", &[]), describe_portal(""), execute("", 2), sync()])
                .query("select 1"),
            Script::new("a statement's time")
                .query("set statement_timeout to '100ms'")
                .until(b'H', 1, [query(slow)])
                .until(b'E', 1, [])
                .until(b'Z', 1, [])
                .queries(["reset statement_timeout", "select 1"])
                .alone(),
            Script::new("data that nobody asked for").ask([query("copy item to stdout"), copy_data("x"), copy_done()]),
        ])
        .await;
}
