//! Modes of transactions: BEGIN READ ONLY and friends, chains, and what a session sets for all of its transactions.

use super::{Differential, Script};
use crate::harness::frames::extended;

/// What a transaction is like.
const MODES: &str = "select current_setting('transaction_isolation'), current_setting('transaction_read_only'),
    current_setting('transaction_deferrable')";
const WRITE: &str = "insert into item values (30, 'x') returning id";

#[tokio::test]
async fn a_transaction_has_the_modes_that_it_began_with() {
    let beginnings = [
        "begin read only",
        "begin read write",
        "BEGIN WORK ISOLATION LEVEL REPEATABLE READ",
        "begin transaction isolation level read uncommitted, read only",
        "begin isolation level serializable read only deferrable",
        "begin isolation level serializable, read write, not deferrable",
        "begin deferrable",
        "start transaction",
        "start transaction read only",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
        "start transaction isolation level repeatable read read only;",
    ];
    let each = beginnings.iter().flat_map(|begin| [*begin, MODES, WRITE, "rollback", MODES]);
    let extended_each =
        beginnings.iter().flat_map(|begin| [*begin, MODES, WRITE, "rollback"]).flat_map(|sql| extended(sql, &[]));
    Differential::start()
        .await
        .play([
            Script::new("beginnings").queries(each),
            Script::new("beginnings, extended, in one write").ask(extended_each),
            Script::new("set at its beginning").queries([
                "begin; set transaction read only; set transaction isolation level serializable",
                MODES,
                WRITE,
                "rollback",
                "begin; select 1; set transaction isolation level serializable",
                "rollback",
                "begin read only; set transaction read write; rollback",
                "begin read only; select 1; set transaction read write",
                "rollback",
                "begin; savepoint a; set transaction read only; release a",
                WRITE,
                "rollback",
                "set transaction read only",
                MODES,
            ]),
            Script::new("mistakes").queries([
                "begin read only read write",
                "rollback",
                "begin isolation level none",
                "begin read only, ",
                "start work",
                "begin; start transaction read only",
                MODES,
                "commit",
            ]),
            Script::new("of every transaction of the session").queries([
                "set session characteristics as transaction read only, isolation level repeatable read",
                MODES,
                WRITE,
                "begin read write",
                MODES,
                "rollback",
                "set default_transaction_read_only to off; set default_transaction_deferrable to on",
                MODES,
                "set default_transaction_isolation to 'serializable'",
                "begin",
                MODES,
                "commit",
                "reset all",
                MODES,
            ]),
            Script::new("with the login")
                .startup("options", "-c default_transaction_read_only=on -c default_transaction_isolation=serializable")
                .queries([MODES, WRITE, "begin read write", MODES, "commit", "discard all", MODES]),
            Script::new("a snapshot that was exported")
                .queries(["begin isolation level repeatable read; select length(pg_export_snapshot()) > 0", "commit"])
                .query("begin; set transaction snapshot 'nonsense'")
                .query("rollback"),
        ])
        .await;
}

#[tokio::test]
async fn a_chain_begins_the_next_transaction_like_the_last_one() {
    Differential::start()
        .await
        .play([
            Script::new("commit").queries([
                "begin isolation level serializable read only",
                "commit and chain",
                MODES,
                WRITE,
                "commit and chain",
                "select 1",
                "commit and no chain",
                MODES,
            ]),
            Script::new("rollback").queries([
                "start transaction isolation level repeatable read",
                WRITE,
                "rollback and chain",
                MODES,
                "select 1/0",
                "rollback work and chain",
                MODES,
                "end and chain",
                MODES,
                "abort and chain",
                "abort and no chain",
                MODES,
            ]),
            Script::new("outside of a transaction").queries(["commit and chain", "rollback and chain", "select 1"]),
            Script::new("in one message").queries([
                "begin read only; select 1; commit and chain; select 2",
                MODES,
                "rollback and chain; rollback; select 3",
                "select 1; commit and chain; select 2",
                "select 4",
            ]),
            Script::new("extended, in one write").ask(
                [
                    "begin read only",
                    "select 1",
                    "commit and chain",
                    MODES,
                    WRITE,
                    "rollback and chain",
                    MODES,
                    "commit",
                ]
                .iter()
                .flat_map(|sql| extended(sql, &[])),
            ),
            Script::new("with settings").queries([
                "begin; set local work_mem to '1MB'; set timezone to 'Asia/Tokyo'",
                "commit and chain",
                "show work_mem; show timezone",
                "set timezone to 'UTC'; rollback and chain",
                "show timezone",
                "commit",
                "show timezone",
            ]),
        ])
        .await;
}
