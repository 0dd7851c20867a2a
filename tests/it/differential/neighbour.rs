//! The worst neighbour on the same server: everything it leaves behind must stay with it.

use crate::harness::frames::{bind, execute, parse, query, sync};
use crate::harness::{RawClient, Room, codes, rows};

/// A client of another plugin, which works on between a client's transactions.
pub(super) struct Neighbour {
    steady: RawClient,
}

impl Neighbour {
    /// A neighbour in the plugin `bravo`.
    pub(super) async fn of(room: &Room) -> Self {
        Self { steady: room.raw("bravo").await }
    }

    /// Does its worst with the server that it is lent, and sees that it is alone.
    pub(super) async fn act(&mut self, room: &Room, turn: usize) {
        self.use_and_leave_the_unnamed_statement().await;
        self.fail_in_a_transaction().await;
        self.sees_only_its_own().await;
        Self::leave_everything_behind(room, turn).await;
    }

    async fn use_and_leave_the_unnamed_statement(&mut self) {
        let replies = self
            .steady
            .ask(&[
                parse("", "select name from item where id = $1"),
                bind("", "", &[Some("7")]),
                execute("", 0),
                sync(),
            ])
            .await;
        assert_eq!(rows(&replies), ["bravo 7"]);
    }

    async fn fail_in_a_transaction(&mut self) {
        let open = "begin isolation level serializable read only; set local search_path to pg_catalog;
                    set local work_mem to '77kB'; select pg_advisory_xact_lock(4240)";
        self.steady.run(open).await;
        let replies = self.steady.ask(&[parse("", "select 'of a failed transaction'"), query("select 1/0")]).await;
        assert_eq!(codes(&replies), ["22012"]);
        assert_eq!(codes(&self.steady.query("select 1").await), ["25P02"]);
        self.steady.run("rollback").await;
    }

    async fn sees_only_its_own(&mut self) {
        let replies =
            self.steady.run("select count(*) from item where name like 'bravo%'; select current_schema()").await;
        assert_eq!(rows(&replies), ["9", "bravo"]);
        let state = "select count(*) from pg_prepared_statements; select count(*) from pg_cursors where is_holdable;
                     select count(*) from pg_class where relnamespace = pg_my_temp_schema();
                     select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();
                     select count(*) from pg_listening_channels(); select count(*) from pg_settings
                     where name in ('work_mem', 'statement_timeout', 'lock_timeout') and source = 'session';
                     select (current_user <> session_user)::int";
        assert_eq!(rows(&self.steady.run(state).await), ["0"; 7], "the neighbour sees a stranger's state");
    }

    /// A client of its own, for what it does binds it to a server until its end.
    async fn leave_everything_behind(room: &Room, turn: usize) {
        let mut rude = room.raw("bravo").await;
        rude.run(
            "set search_path to nowhere; set application_name to 'rude'; set datestyle to 'German'; set timezone to 'Asia/Tokyo';
             set work_mem to '66kB'; set statement_timeout to '9s'; set lock_timeout to '8s'; set my.own to 'rude';
             set default_transaction_isolation to 'serializable'; set client_encoding to 'LATIN1';
             set role stagehand; listen gossip; select pg_advisory_lock(4242);
             prepare theirs as select 'a stranger''s'; declare theirs cursor with hold for select 'a stranger''s'",
        )
        .await;
        rude.run("reset role; create temp table item (name text); insert into item values ('a stranger''s')").await;
        rude.ask(&[parse("s1", "select 'a stranger''s'"), parse("", "select 'a stranger''s unnamed'"), sync()]).await;
        match turn % 3 {
            0 => rude.leave().await,
            // The socket just closes, in a transaction.
            1 => drop(rude.query("begin; select 1/0").await),
            // And with a query that still runs.
            _ => rude.send(&[query("begin; insert into pg_temp.item select 'more'; select pg_sleep(0.05)")]).await,
        }
    }
}
