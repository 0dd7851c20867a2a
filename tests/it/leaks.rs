//! Nothing of one client ever reaches the next one on its server, whatever bytes it sends and however it leaves.

mod code;
mod ends;
mod frames;
mod hidden;
mod matrix;
mod reading;
mod sequences;
mod texts;

use crate::harness::{Client, Greenroom, Room};

/// Everything that a session of these tests could have left behind, a row each.
const LOOK: &str = "select name || '=' || setting from pg_settings where name not like 'transaction%' order by name;
    select name || '=' || coalesce(current_setting(name, true), 'null') from unnest(array['our.own', 'app.tenant',
        'local.own', 'session.own', 'transaction.own', 'constraints.own']) name;
    select 'role ' || current_user; select 'statements ' || count(*) from pg_prepared_statements;
    select 'cursors ' || count(*) from pg_cursors where is_holdable;
    select 'temporary ' || count(*) from pg_class where relnamespace = pg_my_temp_schema();
    select 'locks ' || count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();
    select 'channels ' || count(*) from pg_listening_channels()";

/// A greenroom, and what a session looks like that nobody has touched.
#[derive(Debug)]
struct Leaks {
    room: Room,
    untouched: Vec<String>,
}

impl Leaks {
    /// With this many servers for all, so that what is left behind would be found.
    async fn among(servers: u32) -> Self {
        Self::of(Greenroom::start().servers(servers).await).await
    }

    async fn of(room: Room) -> Self {
        let untouched = room.client("catalog").await.values(LOOK).await;
        Self { room, untouched }
    }

    /// Fails the test when the next client finds anything but what the first one found.
    async fn assert_none(&self, after: &str) {
        self.assert_none_for(&self.room.client("catalog").await, after).await;
    }

    /// The same, of every server at once.
    async fn assert_none_among(&self, servers: usize, after: &str) {
        let mut clients = Vec::new();
        for _ in 0..servers {
            let client = self.room.client("catalog").await;
            client.run("begin").await;
            self.assert_none_for(&client, after).await;
            clients.push(client);
        }
    }

    async fn assert_none_for(&self, client: &Client, after: &str) {
        let found = client.values(LOOK).await;
        let differs = found.iter().zip(&self.untouched).find(|(found, expected)| found != expected);
        assert!(differs.is_none() && found.len() == self.untouched.len(), "after {after}: {differs:?}");
    }
}
