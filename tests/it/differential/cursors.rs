//! Cursors of each kind, in each direction, and portals that are read in pieces.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{bind, close_portal, describe_portal, execute, extended, flush, parse, query, sync};

const ROWS: &str = "select id, name from item order by id";

/// In and out of a cursor that may scroll, everywhere.
const MOVES: [&str; 24] = [
    "fetch c",
    "fetch next from c",
    "fetch 2 in c",
    "fetch prior from c",
    "fetch first from c",
    "fetch last from c",
    "fetch absolute 2 from c",
    "fetch absolute -1 from c",
    "fetch absolute 0 from c",
    "fetch relative 3 from c",
    "fetch relative -2 from c",
    "fetch relative 0 from c",
    "fetch 0 from c",
    "fetch forward from c",
    "fetch forward 2 from c",
    "fetch forward all from c",
    "fetch backward from c",
    "fetch backward 2 from c",
    "fetch backward all from c",
    "move 2 from c",
    "move backward all in c",
    "move absolute 4 in c",
    "fetch all from c",
    "move prior in c; fetch c",
];

#[tokio::test]
async fn cursors_of_each_kind_move_as_on_postgresql() {
    let scrolling = |name, declaration: &str| {
        Script::new(name).query("begin").query(&format!("declare c {declaration} for {ROWS}")).queries(MOVES)
    };
    let forward = ["fetch 2 from c", "fetch backward 1 from c", "rollback", "fetch c"];
    Differential::start()
        .await
        .play([
            scrolling("scroll", "scroll cursor").queries(["close c", "fetch c", "rollback"]),
            scrolling("scroll without hold", "scroll cursor without hold").query("commit"),
            scrolling("insensitive scroll", "insensitive scroll cursor").query("commit"),
            scrolling("asensitive scroll", "asensitive scroll cursor").query("commit"),
            scrolling("scroll with hold", "scroll cursor with hold").query("commit").queries(MOVES).query("close c"),
            Script::new("no scroll").query(&format!("begin; declare c no scroll cursor for {ROWS}")).queries(forward),
            Script::new("no scroll with hold")
                .query(&format!("declare c no scroll cursor with hold for {ROWS}"))
                .queries(["fetch 2 from c", "fetch backward 1 from c", "fetch c", "close c", "close c"]),
            Script::new("binary")
                .query("begin; declare c binary cursor for select id, name from item order by id")
                .queries(["fetch 2 from c", "close c", "commit"])
                .query("declare c binary scroll cursor with hold for select 258 union all select 259")
                .queries(["fetch all from c", "fetch prior from c", "close c"]),
            Script::new("what it sees of changes").queries([
                "begin; declare c cursor for select id, name from item order by id",
                "insert into item values (80, 'late'); update item set name = 'changed' where id = 2",
                "fetch all from c",
                "declare d cursor for select id, name from item order by id",
                "fetch all from d",
                "rollback",
            ]),
            Script::new("where it stands").queries([
                "begin; declare c cursor for select id, name from item for update",
                "fetch 2 from c",
                "update item set name = 'current' where current of c returning id, name",
                "fetch c",
                "delete from item where current of c returning id",
                "delete from item where current of c",
                "move all in c; delete from item where current of c",
                "rollback",
                "begin; declare c cursor for select count(*) from item; fetch c; delete from item where current of c",
                "rollback",
                "delete from item where current of nobody",
            ]),
            Script::new("a failure in it").queries([
                "begin; declare c cursor for select 10 / (3 - n) from generate_series(1, 5) n",
                "fetch 2 from c",
                "fetch c",
                "fetch c",
                "rollback",
            ]),
            Script::new("savepoints").queries([
                &format!("begin; declare c scroll cursor for {ROWS}; fetch c; savepoint a; fetch 2 from c"),
                &format!("declare d cursor for {ROWS}; rollback to a; fetch c"),
                "fetch d",
                "rollback to a; savepoint b; declare e cursor for select 1; release b; fetch e",
                "commit",
            ]),
            Script::new("mistakes").queries([
                "declare c cursor for select 1",
                "fetch nobody",
                "move 1 in nobody",
                "close nobody",
                "begin; declare c cursor for select 1; declare c cursor for select 2",
                "rollback; begin; declare c insensitive cursor for select id from item for update",
                "rollback; begin; declare c cursor for insert into item values (1) returning id",
                "rollback; close all",
            ]),
            Script::new("a result of a statement that changes something").queries([
                "begin; do $$ declare c refcursor := 'c'; begin open c for select id from item order by id; end $$",
                "fetch 2 from c; fetch all from c; close all",
                "commit",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn what_is_declared_by_a_batch_is_fetched_by_the_next() {
    let fetch = |count: &str| extended(&format!("fetch {count} from c"), &[]);
    Differential::start()
        .await
        .play([
            Script::new("as JDBC and psycopg do it")
                .ask(extended("begin", &[]))
                .ask(extended("declare c cursor for select n from generate_series(1, $1::int) n", &[Some("7")]))
                .ask(fetch("forward 3"))
                .ask(fetch("forward 3"))
                .ask(fetch("forward 3"))
                .ask(extended("close c", &[]))
                .ask(extended("commit", &[])),
            Script::new("with hold, over transactions")
                .ask(extended("declare c scroll cursor with hold for select n from generate_series(1, 7) n", &[]))
                .ask(fetch("2"))
                .query("select 'between'")
                .ask(fetch("backward 1"))
                .ask([fetch("3"), fetch("all"), extended("close c", &[])].concat())
                .ask(fetch("1")),
        ])
        .await;
}

#[tokio::test]
async fn a_portal_is_read_in_pieces_as_on_postgresql() {
    let rows = "select n from generate_series(1, 7) n";
    let open = |sql: &str| [parse("", sql), bind("p", "", &[])];
    let pieces = |sizes: &[i32]| sizes.iter().map(|size| execute("p", *size)).collect::<Vec<_>>();
    let changes = "insert into item select n, 'x' from generate_series(81, 85) n returning id";
    Differential::start()
        .await
        .play([
            Script::new("in one batch").ask([open(rows).to_vec(), pieces(&[2, 1, 3, 5, 1]), vec![sync()]].concat()),
            Script::new("to its exact end").ask([open(rows).to_vec(), pieces(&[7, 1]), vec![sync()]].concat()),
            Script::new("one less than all").ask([open(rows).to_vec(), pieces(&[6, 1, 0]), vec![sync()]].concat()),
            Script::new("odd limits").ask([open(rows).to_vec(), pieces(&[-1, i32::MAX, 0]), vec![sync()]].concat()),
            Script::new("of a change")
                .ask([open(changes).to_vec(), pieces(&[2, 2]), vec![sync()]].concat())
                .queries(["select count(*) from item", "delete from item where id > 5"]),
            Script::new("of a command")
                .ask([open("show work_mem").to_vec(), pieces(&[1, 1]), vec![sync()]].concat())
                .ask([open("explain (costs off) select 1").to_vec(), pieces(&[1, 0]), vec![sync()]].concat())
                .ask([open("set work_mem to '1MB'").to_vec(), pieces(&[1, 1]), vec![sync()]].concat())
                .ask([open("begin").to_vec(), pieces(&[1]), vec![sync()]].concat())
                .ask([open("fetch all from nobody").to_vec(), pieces(&[1]), vec![sync()]].concat())
                .query("rollback"),
            Script::new("over a transaction's batches, with others between")
                .query("begin")
                .ask([open(rows).to_vec(), pieces(&[2]), vec![describe_portal("p"), sync()]].concat())
                .ask(extended("select 'another'", &[]))
                .ask([bind("q", "", &[]), execute("q", 1), execute("p", 2), execute("q", 1), sync()])
                .query("savepoint a")
                .ask([execute("p", 1), sync()])
                .query("rollback to a")
                .ask([execute("p", 1), close_portal("p"), sync()])
                .ask([execute("p", 1), sync()])
                .query("rollback"),
            Script::new("half read, and left")
                .query("begin")
                .ask([open(rows).to_vec(), pieces(&[2]), vec![sync()]].concat())
                .query("commit")
                .ask(pieces(&[1]).into_iter().chain([sync()])),
            Script::new("half read, and a Query behind it in one write")
                .until(b's', 1, [open(rows).to_vec(), pieces(&[2]), vec![flush()]].concat())
                .ask([execute("p", 1), sync(), query("select 'next'")]),
            Script::new("half read, and closed early")
                .until(b's', 1, [open(rows).to_vec(), pieces(&[2]), vec![flush()]].concat())
                .ask([close_portal("p"), sync()])
                .until(b's', 1, [parse("", rows), bind("", "", &[]), execute("", 2), flush()])
                .ask([parse("", "select 'another'"), bind("", "", &[]), execute("", 0), sync()]),
            Script::new("binary").ask([
                parse("", rows),
                Frame::new(b'B', *b"p\0\0\0\0\0\0\0\x01\0\x01"),
                execute("p", 2),
                execute("p", 0),
                sync(),
            ]),
        ])
        .await;
}
