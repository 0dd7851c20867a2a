//! Transactions of two phases: prepared by one session, ended by another, beside PostgreSQL itself.

use super::OURS;
use super::compare::same;
use crate::harness::frames::{extended, query};
use crate::harness::{Frame, Greenroom, RawClient, Reply, Stage};

/// Who says what: `first` prepares, `second` ends.
const DUET: [(&str, &str); 34] = [
    ("first", "begin; insert into item values (90, 'x'); set local work_mem to '1MB'; select pg_advisory_xact_lock(5)"),
    ("first", "prepare transaction 'one'"),
    ("first", "select count(*) from item; show work_mem"),
    ("second", "select gid, owner = session_user from pg_prepared_xacts where database = current_database()"),
    ("second", "select pg_try_advisory_xact_lock(5)"),
    ("second", "begin; set local lock_timeout to '50ms'; insert into item values (90, 'y')"),
    ("second", "rollback; commit prepared 'one'"),
    ("second", "commit prepared 'one'"),
    ("second", "select pg_try_advisory_xact_lock(5)"),
    ("first", "select count(*) from item"),
    ("first", "begin; delete from item where id = 90; prepare transaction 'two'"),
    ("second", "begin; rollback prepared 'two'"),
    ("second", "rollback"),
    ("second", "rollback prepared 'two'"),
    ("first", "select count(*) from item"),
    ("first", "begin; set timezone to 'Asia/Tokyo'; prepare transaction 'three'"),
    ("first", "show timezone"),
    ("second", "show timezone"),
    ("second", "rollback prepared 'three'"),
    ("first", "show timezone"),
    ("first", "begin; create temp table t (x int); prepare transaction 'four'"),
    ("first", "table t"),
    ("first", "begin; declare c cursor with hold for select 1; prepare transaction 'five'"),
    ("first", "begin; listen somewhere; prepare transaction 'six'"),
    ("first", "begin; select 1/0"),
    ("first", "prepare transaction 'seven'"),
    ("first", "prepare transaction 'eight'"),
    ("first", "begin; insert into item values (91, 'x'); savepoint a; delete from item; rollback to a"),
    ("first", "prepare transaction 'it''s \"nine\"'"),
    ("second", "begin; prepare transaction 'it''s \"nine\"'"),
    ("second", "commit prepared 'it''s \"nine\"'"),
    ("second", "select count(*) from item; rollback prepared 'nobody'"),
    ("first", "begin; insert into item values (92, 'x'); prepare transaction 'ten'"),
    ("second", "delete from item where id > 5; select gid from pg_prepared_xacts where database = current_database()"),
];

/// The duet in both protocols on one side, by clients that this function lets in; then the first one is gone.
async fn play(enter: impl AsyncFn() -> RawClient) -> Vec<(String, Vec<Reply>)> {
    let (mut first, mut second) = (enter().await, enter().await);
    let mut said = Vec::new();
    let mut note = |place: String, replies| said.push((place, replies));
    for (who, sql) in DUET {
        let client = if who == "first" { &mut first } else { &mut second };
        note(format!("{who}: {sql}"), client.query(sql).await);
    }
    drop(first);
    let batch = |sql: &str| extended(sql, &[]);
    for frames in [
        batch("commit prepared 'ten'"),
        batch("delete from item where id > 5"),
        [batch("begin"), batch("insert into item values (93, 'x')"), batch("prepare transaction 'eleven'")].concat(),
        [batch("select count(*) from item"), batch("rollback prepared 'eleven'")].concat(),
        vec![query("select gid from pg_prepared_xacts where database = current_database()")] as Vec<Frame>,
    ] {
        note(format!("second: {frames:?}"), second.ask(&frames).await);
    }
    said
}

#[tokio::test]
async fn transactions_of_two_phases_are_prepared_and_ended_as_on_postgresql() {
    let stage = Stage::own(&[("max_prepared_transactions", "5")]).await;
    let twin = format!("{}_twin", stage.database);
    stage.create_database(&twin).await;
    stage.sql_in(&twin, &format!("alter database {twin} set search_path = alpha")).await;
    for database in [&stage.database, &twin] {
        stage.sql_in(database, &format!("set role {}; {OURS}", stage.login)).await;
    }
    let room = Greenroom::start().servers(3).on(stage).await;
    let plain = play(async || RawClient::log_in(&room.stage().address(), &room.stage().startup(&twin)).await).await;
    let pooled = play(async || room.raw("alpha").await).await;
    for ((place, plain), (_, pooled)) in plain.iter().zip(&pooled) {
        same(place, plain, pooled).unwrap_or_else(|differs| panic!("{differs}"));
    }
}
