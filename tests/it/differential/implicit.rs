//! Transactions that nobody began: those of a text of several statements, and those of a batch up to its Sync.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{bind, describe_portal, execute, flush, parse, query, sync};

const COUNT: &str = "select count(*) from item";
const CLEAN: &str = "delete from item where id > 5";

fn insert(id: u32) -> String {
    format!("insert into item values ({id}, 'x')")
}

fn run(sql: &str) -> Vec<Frame> {
    vec![parse("", sql), bind("", "", &[]), execute("", 0)]
}

/// All of them before one Sync.
fn batch(statements: &[&str]) -> Vec<Frame> {
    [statements.iter().flat_map(|sql| run(sql)).collect(), vec![sync()]].concat()
}

/// A batch, and then a look at what stayed of it.
fn then_look(name: &'static str, statements: &[&str]) -> Script {
    Script::new(name).ask(batch(statements)).queries([COUNT, CLEAN])
}

#[tokio::test]
async fn a_batch_is_a_transaction_as_on_postgresql() {
    let (first, second) = (insert(40), insert(41));
    let (first, second) = (first.as_str(), second.as_str());
    Differential::start()
        .await
        .play([
            then_look("all of it", &[first, second]),
            then_look("none of it", &[first, second, "select 1/0"]),
            then_look("an error at once", &["selec", first]),
            then_look("COMMIT in the middle", &[first, "commit", second, "select 1/0"]),
            then_look("ROLLBACK in the middle", &[first, "rollback", second]),
            then_look("BEGIN first", &["begin", first, "commit", second, "select 1/0"]),
            then_look("BEGIN in the middle takes what was before it", &[first, "begin", second, "rollback"]),
            then_look("BEGIN in the middle, left open", &[first, "begin", second]).query("rollback"),
            then_look("COMMIT twice", &[first, "commit", "commit", second]),
            then_look("no savepoint", &[first, "savepoint a", second]),
            then_look(
                "a savepoint in a transaction",
                &["begin", first, "savepoint a", second, "rollback to a", "commit"],
            ),
            then_look("no chain", &[first, "commit and chain", second]),
            then_look("a chain", &["begin", first, "commit and chain", second, "rollback"]),
            then_look("SET LOCAL", &["set local work_mem to '1MB'", "show work_mem", "commit", "show work_mem"]),
            then_look("SET", &["set work_mem to '1MB'", "show work_mem", "select 1/0"]).query("show work_mem"),
            then_look("a lock", &["lock table item in share mode", first]),
            then_look("a cursor", &["declare c cursor for select id from item order by id", "fetch 2 from c"])
                .query("fetch c"),
            then_look("what cannot be in a transaction", &[first, "vacuum item"]),
            then_look("what cannot be in a transaction, first", &["vacuum item", first]),
            then_look("what cannot be in a transaction, behind a COMMIT", &[first, "commit", "vacuum item"]),
            then_look("a database in a batch", &[first, "create database nobody_wants"]),
            then_look("empty statements", &["", first, "", "select 1/0", ""]),
            then_look("prepare, in two phases", &[first, "prepare transaction 'never'"]),
            Script::new("several batches in one write")
                .ask([batch(&[first]), batch(&[second, "select 1/0"]), batch(&[COUNT])].concat())
                .query(CLEAN),
            Script::new("batches around a transaction")
                .ask([batch(&["begin", first]), batch(&["select 1/0"]), batch(&[second]), batch(&["commit"])].concat())
                .ask(batch(&[COUNT])),
            Script::new("up to a Flush")
                .until(b'C', 1, [run(first), vec![flush()]].concat())
                .until(b'E', 1, [run("select 1/0"), vec![flush()]].concat())
                .ask([run(second), vec![sync()]].concat())
                .query(COUNT),
            Script::new("an error in each kind of message")
                .ask([run(first), vec![parse("", "selec")], run(second), vec![sync()]].concat())
                .ask([run(first), vec![bind("", "nobody", &[])], run(second), vec![sync()]].concat())
                .ask([run(first), vec![describe_portal("nobody")], run(second), vec![sync()]].concat())
                .ask([run(first), vec![execute("nobody", 0)], run(second), vec![sync()]].concat())
                .query(COUNT),
            Script::new("a portal that is not read to its end")
                .ask([run(first), vec![parse("", COUNT), bind("p", "", &[]), execute("p", 1), sync()]].concat())
                .query(CLEAN),
        ])
        .await;
}

#[tokio::test]
async fn a_text_is_a_transaction_as_on_postgresql() {
    let text = |statements: &[&str]| statements.join("; ");
    let (first, second) = (insert(50), insert(51));
    let (first, second) = (first.as_str(), second.as_str());
    let texts = [
        text(&[first, second, "select 1/0"]),
        text(&[first, "commit", second, "select 1/0"]),
        text(&[first, "rollback", second]),
        text(&[first, "begin", second, "rollback"]),
        text(&["begin", first, "commit", second, "select 1/0"]),
        text(&["begin", first, "rollback", second]),
        text(&[first, "savepoint a", second]),
        text(&["savepoint a", first]),
        text(&["begin", first, "savepoint a", second, "rollback to a", "commit"]),
        text(&[first, "commit and chain", second]),
        text(&["begin", first, "commit and chain", second, "rollback"]),
        text(&["set local work_mem to '1MB'", "show work_mem", "commit", "show work_mem"]),
        text(&["set work_mem to '1MB'", first, "select 1/0"]),
        text(&[first, "vacuum item"]),
        text(&["vacuum item", first]),
        text(&["declare c cursor for select id from item order by id", "fetch 2 from c", "close c"]),
        text(&["lock table item", first]),
        text(&["begin; begin", first, "commit; commit"]),
        text(&[first, "selec"]),
        text(&["", "", first, ""]),
        text(&["begin", first, "select 1/0", "rollback", second]),
        text(&["do $$ begin insert into item values (60, 'x'); commit; end $$"]),
        text(&["select 1", "do $$ begin insert into item values (61, 'x'); commit; end $$"]),
        text(&["begin", "do $$ begin rollback; end $$"]),
    ];
    let mut script = Script::new("texts");
    for text in &texts {
        script = script.query(text).query("rollback").queries([COUNT, CLEAN, "show work_mem"]);
    }
    Differential::start()
        .await
        .play([
            script,
            Script::new("several texts in one write").ask([
                query(&text(&["begin", first])),
                query("select 1/0"),
                query(second),
                query("commit; select 1"),
                query(COUNT),
            ]),
            Script::new("a procedure that ends transactions").queries([
                "create procedure p_item(n int) language plpgsql as $$ begin for i in 1..n loop
                 insert into item values (70 + i, 'x'); if i % 2 = 0 then commit; else rollback; end if; end loop; end $$",
                "call p_item(4)",
                COUNT,
                CLEAN,
                "begin; call p_item(2)",
                "rollback; call p_item(1)",
                COUNT,
                "drop procedure p_item(int)",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn nothing_is_answered_as_postgresql_answers_it() {
    let nothings = ["", " ", ";", ";;;", "-- nothing", "/* nothing */", "\n\t", "/* a /* nested */ one */ ; -- x"];
    let mut parts = Vec::new();
    for nothing in nothings {
        parts.extend([run(nothing), vec![describe_portal(""), sync()]].concat());
    }
    Differential::start()
        .await
        .play([
            Script::new("texts").queries(nothings),
            Script::new("texts in one write").ask(nothings.map(query)),
            Script::new("in batches").ask(parts),
            Script::new("in a batch").ask(batch(&nothings)),
            Script::new("with a name").ask([
                parse("nothing", ""),
                bind("p", "nothing", &[]),
                describe_portal("p"),
                execute("p", 0),
                execute("p", 1),
                sync(),
            ]),
            Script::new("in a transaction").query("begin").queries(nothings).ask(batch(&nothings)).query("commit"),
            Script::new("in a failed transaction").query("begin; select 1/0").queries(nothings).query("rollback"),
            Script::new("with parameters that it has not").ask([
                parse("", "-- nothing"),
                bind("", "", &[Some("1")]),
                execute("", 0),
                sync(),
            ]),
        ])
        .await;
}
