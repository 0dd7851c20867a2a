//! The worst neighbour on the same server: everything it leaves behind must stay with it.

use crate::harness::frames::{bind, execute, parse, query, sync};
use crate::harness::{Frame, RawClient, Reply, Room, codes, rows};

/// Settings of its own, which PostgreSQL lets anybody have.
const CHANGES: [&str; 5] = [
    "set timezone to 'Asia/Tokyo'; set datestyle to 'SQL, DMY'; set intervalstyle to 'sql_standard'",
    "set application_name to 'changed'; set extra_float_digits to -10; set bytea_output to 'escape'",
    "set work_mem to '75kB'; set search_path to bravo, pg_catalog; set statement_timeout to '17s'; set my.own to 'theirs'; set our.own to 'theirs'",
    "set default_transaction_isolation to 'repeatable read'; set default_transaction_deferrable to on",
    "set role stagehand",
];

/// Its statements, and its settings one by one.
fn look_at_itself() -> Vec<Frame> {
    let settings = "select current_user, session_user, current_schema(), txt from (select string_agg(name || '=' || setting,
        ' ' order by name) from pg_settings where name not like 'transaction%') a(txt); select current_setting('my.own'),
        current_setting('our.own'); select name, statement from pg_prepared_statements order by name";
    vec![
        bind("", "s1", &[Some("7")]),
        execute("", 0),
        bind("", "s2", &[Some("x")]),
        execute("", 0),
        sync(),
        query(settings),
    ]
}

/// Clients of another plugin, which work on between a client's transactions.
pub(super) struct Neighbour {
    /// Leaves nothing, but the unnamed statement.
    steady: RawClient,
    /// Has changed whatever can be changed, and means to keep it.
    changed: RawClient,
    /// What that one found of itself at the beginning.
    itself: Vec<Reply>,
    visits: usize,
}

impl Neighbour {
    /// A neighbour in the plugin `bravo`.
    pub(super) async fn of(room: &Room) -> Self {
        let (steady, mut changed) = (room.raw("bravo").await, room.raw("bravo").await);
        for sql in CHANGES {
            changed.run(sql).await;
        }
        let named = [
            // The client has statements of the same names and texts, which mean something else to it.
            parse("s1", "select name from item where id = $1"),
            parse("s2", "select date '01/02/2026', timestamptz '2026-01-01 00:00', $1::text"),
            sync(),
        ];
        assert!(codes(&changed.ask(&named).await).is_empty());
        let itself = changed.ask(&look_at_itself()).await;
        assert_eq!(rows(&itself)[..3], ["bravo 7", "01/02/2026", "stagehand"], "{itself:?}");
        Self { steady, changed, itself, visits: 0 }
    }

    /// Does its worst with the server that it is lent, and sees that it is alone.
    pub(super) async fn act(&mut self, room: &Room) {
        self.use_and_leave_the_unnamed_statement().await;
        self.fail_in_a_transaction().await;
        self.sees_only_its_own().await;
        self.changed.run("begin; set local search_path to pg_catalog; set local timezone to 'UTC'; rollback").await;
        assert_eq!(self.changed.ask(&look_at_itself()).await, self.itself, "the neighbour is not what it was");
        // The dearest visit, for each one needs a login.
        if self.visits.is_multiple_of(3) {
            Self::leave_everything_behind(room, self.visits / 3).await;
        }
        self.visits += 1;
    }

    /// The server that it is lent.
    pub(super) async fn server(&mut self) -> String {
        rows(&self.steady.run("select pg_backend_pid() + 0").await).remove(0)
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
        // Nothing that would give it a server of its own: it has to meet the client.
        let open = "begin isolation level serializable read only; set local work_mem to '77kB';
                    select pg_advisory_xact_lock(4240)";
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
    async fn leave_everything_behind(room: &Room, visit: usize) {
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
        match visit % 3 {
            0 => rude.leave().await,
            // The socket just closes, in a transaction.
            1 => drop(rude.query("begin; select 1/0").await),
            // And with a query that still runs.
            _ => rude.send(&[query("begin; insert into pg_temp.item select 'more'; select pg_sleep(0.05)")]).await,
        }
    }
}
