//! Statements over tables that change: what a client of PostgreSQL itself is told, and what it is not.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{bind, close_statement, describe_statement, execute, extended, flush, parse, query, sync};

const ALL: &str = "select * from t_plan";

fn run(name: &str) -> [Frame; 3] {
    [bind("", name, &[]), execute("", 0), sync()]
}

fn over_a_table(name: &'static str) -> Script {
    Script::new(name).query("create table t_plan (id int); insert into t_plan values (1)")
}

#[tokio::test]
async fn a_changed_table_is_met_by_old_statements_and_by_new_ones() {
    let add = "alter table t_plan add note text default 'new'";
    Differential::start()
        .await
        .play([
            over_a_table("changed by the client")
                .ask([parse("s1", ALL), sync()])
                .ask(run("s1"))
                .query(add)
                .ask(run("s1"))
                .ask([describe_statement("s1"), sync()])
                .ask([parse("s2", ALL), describe_statement("s2"), sync()])
                .ask(run("s2"))
                .ask([close_statement("s1"), parse("s1", ALL), sync()])
                .ask(run("s1"))
                .query("drop table t_plan")
                .ask(run("s1")),
            over_a_table("changed by another")
                .ask([parse("s1", ALL), parse("s3", "select count(*) from t_plan"), sync()])
                .ask(run("s1"))
                .meanwhile(add)
                .ask([parse("s2", ALL), describe_statement("s2"), sync()])
                .ask(run("s2"))
                .ask(run("s3"))
                .ask(run("s1"))
                .ask(run("s2"))
                .query("drop table t_plan"),
            over_a_table("changed by another, and parsed for the first time since")
                .ask([parse("s1", ALL), sync()])
                .ask([close_statement("s1"), sync()])
                .meanwhile(add)
                .ask([parse("s1", ALL), describe_statement("s1"), sync()])
                .ask(run("s1"))
                .query("drop table t_plan"),
            over_a_table("changed by another, in a transaction")
                .ask([parse("s1", ALL), sync()])
                .meanwhile(add)
                .query("begin")
                .ask([parse("s2", ALL), sync()])
                .ask(run("s2"))
                .ask(run("s1"))
                .ask(run("s2"))
                .query("rollback")
                .ask(run("s2"))
                .query("drop table t_plan"),
            over_a_table("changed by another, in a batch")
                .ask([parse("s1", ALL), parse("s3", "select 'before'"), sync()])
                .meanwhile(add)
                .ask([&[bind("", "s3", &[]), execute("", 0)][..], &run("s1"), &run("s3")].concat())
                .until(b'C', 1, [bind("", "s3", &[]), execute("", 0), flush()])
                .until(b'E', 1, [bind("", "s1", &[]), execute("", 0), flush()])
                .ask([sync()])
                .ask(run("s3"))
                .query("drop table t_plan"),
            over_a_table("changed, but not its result")
                .ask([parse("s1", "select id from t_plan"), sync()])
                .ask(run("s1"))
                .meanwhile(add)
                .ask(run("s1"))
                .meanwhile("create index on t_plan (id); analyze t_plan")
                .ask(run("s1"))
                .meanwhile("drop table t_plan; create table t_plan (note text, id int)")
                .ask(run("s1"))
                .meanwhile("drop table t_plan; create table t_plan (id text)")
                .ask(run("s1"))
                .meanwhile("drop table t_plan")
                .ask(run("s1"))
                .meanwhile("create table t_plan (id int)")
                .ask(run("s1"))
                .query("drop table t_plan"),
            over_a_table("changed and changed back")
                .ask([parse("s1", ALL), sync()])
                .meanwhile(add)
                .ask(run("s1"))
                .meanwhile("alter table t_plan drop note")
                .ask(run("s1"))
                .query("drop table t_plan"),
            over_a_table("changed inside of a batch")
                .ask([parse("s1", ALL), sync()])
                .ask([&[query(add)][..], &extended(ALL, &[]), &run("s1")].concat())
                .query("drop table t_plan"),
            over_a_table("changed and rolled back")
                .ask([parse("s1", ALL), sync()])
                .queries(["begin", add])
                .ask([parse("s2", ALL), sync()])
                .ask(run("s2"))
                .query("rollback")
                .ask(run("s1"))
                .ask(run("s2"))
                .query("drop table t_plan"),
            over_a_table("of SQL")
                .query("prepare q as select * from t_plan")
                .query("execute q")
                .meanwhile(add)
                .queries([
                    "execute q",
                    "deallocate q",
                    "prepare q as select * from t_plan",
                    "execute q",
                    "drop table t_plan",
                ]),
        ])
        .await;
}
