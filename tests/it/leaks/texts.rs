//! Texts that leave something in a session without looking like it.

use super::Leaks;
use crate::harness::frames::{bind, execute, parse, sync};
use crate::harness::{RawClient, rows};

const TEXTS: [&str; 14] = [
    "do'begin perform set_config(''our.own'', ''leak'', false); perform pg_advisory_lock(7); end'",
    "set local.own = 'leak'",
    "set session.own = 'leak'",
    "set transaction.own = 'leak'",
    "set constraints.own = 'leak'",
    "set \"our\".\"own\" to 'leak'",
    "prepare transaction as select 'leak'",
    "prepare transaction (int) as select $1",
    "begin; set local search_path to 'pg_temp'; create table secret as select 'leak' as word; commit",
    "begin; set local schema 'pg_temp'; create table secret as select 'leak' as word; commit",
    "begin; set local app.tenant = 'leak'; commit",
    "begin; set local \"app\".tenant to 'leak'; commit",
    "begin; select set_config('app.tenant', 'leak', true); commit",
    "begin; select 1/0; rollback; set/**/local.own = 'leak'",
];

#[tokio::test]
async fn a_text_that_does_not_look_like_it_leaves_nothing_for_the_next_client() {
    let leaks = Leaks::among(1).await;
    for text in TEXTS {
        let mut client = leaks.room.raw("catalog").await;
        client.query(text).await;
        client.leave().await;
        leaks.assert_none(text).await;
    }
}

#[tokio::test]
async fn the_seed_of_a_transaction_tells_the_next_client_nothing() {
    let leaks = Leaks::among(1).await;
    for text in ["begin; set local seed = 0.5; commit", "begin; set local \"seed\" to 0.5; commit", "set seed = 0.5"] {
        let mut numbers = Vec::new();
        for _ in 0..2 {
            let mut client = leaks.room.raw("catalog").await;
            client.run(text).await;
            client.leave().await;
            numbers.push(leaks.room.client("catalog").await.value("select random()").await);
        }
        assert_ne!(numbers[0], numbers[1], "{text}");
    }
}

/// search_path and application_name, as the client finds them.
async fn own_settings(client: &mut RawClient) -> Vec<String> {
    let path = client.run("select current_setting('search_path')").await;
    let name = client.run("select current_setting('application_name')").await;
    [rows(&path), rows(&name)].concat()
}

#[tokio::test]
async fn reset_all_gives_a_client_its_own_settings_back() {
    let leaks = Leaks::among(1).await;
    let startup = leaks.room.startup("catalog").with("application_name", "our own");
    let run_unnamed = || [bind("", "", &[]), execute("", 0), sync()];
    let mut untouched = Vec::new();
    for how in ["not", "in a transaction", "in a text", "parsed in an earlier transaction", "with a name", "in a batch"]
    {
        let mut client = RawClient::log_in(leaks.room.address(), &startup).await;
        match how {
            "in a transaction" => {
                client.run("begin").await;
                client.run("reset all").await;
                assert_eq!(own_settings(&mut client).await, untouched, "in the transaction");
                client.run("commit").await;
            }
            "in a text" => drop(client.run("begin; reset all; commit").await),
            "parsed in an earlier transaction" => {
                client.ask(&[parse("", "reset all"), sync()]).await;
                client.ask(&run_unnamed()).await;
            }
            "with a name" => {
                client.run("begin").await;
                client.ask(&[parse("s1", "reset all"), sync()]).await;
                client.run("commit").await;
                client.run("begin").await;
                client.ask(&[bind("", "s1", &[]), execute("", 0), sync()]).await;
                assert_eq!(own_settings(&mut client).await, untouched, "in the later transaction");
                client.run("commit").await;
            }
            "in a batch" => {
                let again = [parse("", "reset all"), bind("", "", &[]), execute("", 0), sync()];
                client.ask(&again).await;
            }
            _ => untouched = own_settings(&mut client).await,
        }
        assert_eq!(own_settings(&mut client).await, untouched, "{how}");
        client.leave().await;
        leaks.assert_none(how).await;
    }
    assert_eq!(untouched[1], "our own");
}
