//! Both sides of a generated script: greenroom with few servers, and a connection to PostgreSQL for each client.

use std::time::Duration;

use super::choices::{CLIENTS, Kind, PLUGINS, listens_among_others, resets, stays};
use super::steps::{Act, Step, Word};
use crate::differential::compare::{comparable_login, same};
use crate::harness::{Greenroom, Heard, RawClient, Reply, Room, Stage, Startup, eventually};

/// How long a client listens before it is not answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// Databases that are made once, and filled anew for each script.
pub(super) struct World {
    kind: Kind,
    stage: Option<Stage>,
    twins: Vec<String>,
}

/// One client on both sides.
struct Pair {
    plain: RawClient,
    pooled: RawClient,
    /// It keeps a server beyond its transaction, as far as one can tell from what it said.
    stays: bool,
    /// It is in a transaction.
    open: bool,
    /// It came with settings of its own.
    came_with_settings: bool,
}

impl World {
    /// Makes the databases.
    pub(super) async fn make(kind: Kind) -> Self {
        let stage = Stage::shared().await;
        let mut twins = Vec::new();
        for plugin in PLUGINS {
            let twin = format!("{}_{plugin}", stage.database);
            stage.create_database(&twin).await;
            stage.sql_in(&twin, &format!("alter database {twin} set search_path = {plugin}")).await;
            twins.push(twin);
        }
        Self { kind, stage: Some(stage), twins }
    }

    /// Plays a script from the beginning; the error says where the sides differ.
    pub(super) async fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        let stage = self.stage.take().expect("it is given back below");
        for plugin in PLUGINS {
            let tables = tables(plugin);
            for database in [&stage.database, &self.twins[plugin_of(plugin)]] {
                stage.sql_in(database, &format!("set role {}; {tables}", stage.login)).await;
            }
        }
        let mut room = Greenroom::start()
            .on(stage)
            .auth("trust")
            .servers(self.kind.servers() + self.kind.listeners())
            // Where a client is not answered, nothing ends by itself.
            .set("greenroom.shutdownGraceMillis", 2000)
            .every_pool(|limits| limits.acquire_timeout(Duration::from_secs(8)))
            .await;
        let outcome = Play { room: &room, world: self, pairs: Vec::new() }.run(steps).await;
        let stage = room.close().await;
        eventually("all clients of the script are gone", async || stage.connections().await == 0).await;
        self.stage = Some(stage);
        outcome
    }
}

struct Play<'a> {
    room: &'a Room,
    world: &'a World,
    /// `None` while one leaves and the next one has not come.
    pairs: Vec<Option<Pair>>,
}

impl Play<'_> {
    async fn run(mut self, steps: &[Step]) -> Result<(), String> {
        for client in 0..CLIENTS {
            let pair = self.log_in(client, &[]).await?;
            self.pairs.push(Some(pair));
        }
        // The first one in a database to ask for it may be sent away, if it is in a transaction (docs/compatibility.md).
        self.room.client(PLUGINS[0]).await.failure("select lastval()").await;
        for (number, Step { client, act }) in steps.iter().enumerate() {
            let outcome = match act {
                Act::Say(words) => self.say(*client, words).await,
                Act::Leave { kindly, startup } => self.leave(*client, *kindly, startup).await,
            };
            outcome.map_err(|error| format!("step {number}, client {client}: {error}"))?;
        }
        for pair in self.pairs.into_iter().flatten() {
            pair.plain.leave().await;
            pair.pooled.leave().await;
        }
        Ok(())
    }

    async fn log_in(&self, client: usize, startup: &[(&str, &str)]) -> Result<Pair, String> {
        let plugin = PLUGINS[client % PLUGINS.len()];
        let stage = self.room.stage();
        let with = |to| startup.iter().fold(to, |to: Startup, (name, value): &(&str, &str)| to.with(name, value));
        let plain = with(stage.startup(&self.world.twins[plugin_of(plugin)]));
        let pooled = with(self.room.startup(plugin));
        let (plain_address, pooled_address) = (stage.address(), self.room.address());
        let (plain, pooled) =
            tokio::join!(RawClient::log_in(&plain_address, &plain), RawClient::try_log_in(pooled_address, &pooled));
        same("its login", &comparable_login(&plain.hello), &comparable_login(&pooled.hello))?;
        let stays = startup.iter().any(|(_, value)| value.contains("my.own"));
        Ok(Pair { plain, pooled, stays, open: false, came_with_settings: !startup.is_empty() })
    }

    async fn say(&mut self, client: usize, words: &[Word]) -> Result<(), String> {
        self.make_room_for(client).await?;
        let Some(pair) = &mut self.pairs[client] else { return Ok(()) };
        if pair.came_with_settings && pair.open && resets(words) {
            // A limit (docs/compatibility.md).
            return Ok(());
        }
        let frames: Vec<_> = words.iter().map(Word::frame).collect();
        let cycles = words.iter().filter(|word| matches!(word, Word::Query(_) | Word::Sync)).count();
        let ask = async |side: &mut RawClient| {
            side.send(&frames).await;
            side.heard(b'Z', cycles, PATIENCE).await
        };
        let plain_pid = pair.plain.key().0;
        let (mut plain, pooled) = tokio::join!(ask(&mut pair.plain), ask(&mut pair.pooled));
        plain.0.iter_mut().zip(&pooled.0).for_each(|(plain, pooled)| allow_for_failed_transaction(plain, pooled));
        pair.stays |= stays(words) || listens_among_others(words, pair.open);
        pair.open = plain.0.last().is_some_and(|last| last.tag == b'Z' && last.body != b"I");
        if pooled.0.last().is_some_and(cannot_be_followed) {
            eprintln!("  unclear: {words:?}");
            self.pairs[client] = None;
            self.settled(plain_pid).await?;
            self.pairs[client] = Some(self.log_in(client, &[]).await?);
            return Ok(());
        }
        same(&format!("{words:?}"), &at_front(plain.0), &at_front(pooled.0))?;
        match (plain.1, pooled.1) {
            (Heard::All, Heard::All) | (Heard::Silence, Heard::Silence) => Ok(()),
            (Heard::Closed, Heard::Closed) => {
                self.pairs[client] = Some(self.log_in(client, &[]).await?);
                Ok(())
            }
            ends => Err(format!("{words:?}: PostgreSQL's answer and greenroom's ended with {ends:?}")),
        }
    }

    /// Sees that a server can be had: whoever comes next and keeps one leaves, if need be.
    async fn make_room_for(&mut self, client: usize) -> Result<(), String> {
        let keeps = |pair: &Option<Pair>| pair.as_ref().is_some_and(|pair| pair.stays || pair.open);
        while !keeps(&self.pairs[client])
            && self.pairs.iter().filter(|pair| keeps(pair)).count() >= self.world.kind.servers() as usize
        {
            let other = (1..CLIENTS).map(|n| (client + n) % CLIENTS).find(|&other| keeps(&self.pairs[other]));
            let other = other.expect("there is at least one");
            self.go(other, client.is_multiple_of(2)).await?;
            self.pairs[other] = Some(self.log_in(other, &[]).await?);
        }
        Ok(())
    }

    async fn leave(&mut self, client: usize, kindly: bool, startup: &[(&str, &str)]) -> Result<(), String> {
        self.go(client, kindly).await?;
        if !startup.is_empty() {
            self.make_room_for(client).await?;
        }
        self.pairs[client] = Some(self.log_in(client, startup).await?);
        Ok(())
    }

    async fn go(&mut self, client: usize, kindly: bool) -> Result<(), String> {
        let Some(Pair { plain, pooled, .. }) = self.pairs[client].take() else { return Ok(()) };
        let (pid, _) = plain.key();
        if kindly {
            plain.leave().await;
            pooled.leave().await;
        } else {
            drop((plain, pooled));
        }
        self.settled(pid).await
    }

    /// Waits until nothing is left of the one who has gone, on either side.
    async fn settled(&self, pid: i32) -> Result<(), String> {
        let twins = self.world.twins.iter().map(|twin| format!("'{twin}'")).collect::<Vec<_>>().join(", ");
        let of = |databases: &str| {
            format!(
                "(select count(*) from pg_locks l join pg_database d on d.oid = l.database
                  where locktype = 'advisory' and datname in ({databases}))
                 || ' locks, ' || (select count(*) from pg_stat_activity
                  where datname in ({databases}) and state like 'idle in transaction%') || ' transactions'"
            )
        };
        let database = &self.room.stage().database;
        let question = format!(
            "select {}; select {}; select count(*) from pg_stat_activity where pid = {pid}",
            of(&twins),
            of(&format!("'{database}'"))
        );
        let mut answer = Vec::new();
        for _ in 0..200 {
            answer = self.room.stage().sql_in("postgres", &question).await;
            if answer[0] == answer[1] && answer[2] == "0" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("somebody has left: PostgreSQL has {}, greenroom {}", answer[0], answer[1]))
    }
}

/// Whether greenroom has sent the client away because of an UNLISTEN (docs/compatibility.md).
fn cannot_be_followed(reply: &Reply) -> bool {
    let detail = reply.field(b'D').unwrap_or_default();
    reply.code().as_deref() == Some("57P01") && detail.contains("could not be told")
}

/// Who is at rest hears at once, unless it says something at just that moment.
fn at_front(mut replies: Vec<Reply>) -> Vec<Reply> {
    for cycle in replies.split_inclusive_mut(|reply| reply.tag == b'Z') {
        cycle.sort_by_key(|reply| reply.tag != b'A');
    }
    replies
}

/// In a transaction that has failed greenroom says just that of a name that is not on its server, though PostgreSQL might have
/// found another mistake first (docs/adr/0009-prepared-statements.md).
fn allow_for_failed_transaction(plain: &mut Reply, pooled: &Reply) {
    let found_first = |code: &str| ["08P01", "26000", "42601"].contains(&code);
    if pooled.code().as_deref() == Some("25P02") && plain.code().as_deref().is_some_and(found_first) {
        plain.body.clone_from(&pooled.body);
    }
}

fn plugin_of(name: &str) -> usize {
    PLUGINS.iter().position(|plugin| *plugin == name).expect("one of them")
}

/// The tables of a plugin: the same names for each, and other rows.
fn tables(plugin: &str) -> String {
    format!(
        "set client_min_messages to error; drop schema if exists {plugin} cascade; create schema {plugin};
         create table {plugin}.item (id int primary key, name text);
         insert into {plugin}.item select n, '{plugin} ' || n from generate_series(1, 5) n;
         create table {plugin}.log (who int, word text); create sequence {plugin}.ticket start {};
         grant usage on schema {plugin} to stagehand; grant select on {plugin}.item to stagehand",
        (plugin_of(plugin) + 1) * 1000
    )
}
