//! Nobody can tell: one script of frames on PostgreSQL itself and through greenroom, while a hostile neighbour uses the
//! same server between any two transactions. The replies are equal, frame by frame.
//!
//! PostgreSQL itself is a twin: another database of the same server and login, with the same schema, and `search_path`
//! set for the whole database, so that RESET and DISCARD fall back to it as they do behind greenroom. What differs for a
//! reason is made equal in [`compare`], each with its reason; everything else must be the same.

mod big;
mod carried;
mod compare;
mod copy;
mod extended;
mod neighbour;
mod pipelines;
mod pristine;
mod script;
mod settings;
mod simple;
mod state;
mod unnamed;

use crate::harness::{Greenroom, Limits, RawClient, Room, Startup};
use compare::{assert_equal, comparable_login};
use neighbour::Neighbour;
use script::Script;

/// The tables of the client's plugin, the same on both sides.
const OURS: &str = "
    create schema alpha;
    create table alpha.item (id int primary key, name text);
    insert into alpha.item select n, 'alpha ' || n from generate_series(1, 5) n;
    create sequence alpha.ticket;";

/// The neighbour's tables: the same names, other columns, other rows.
const THEIRS: &str = "
    create schema bravo;
    create table bravo.item (id text, secret text, name text);
    insert into bravo.item select n, 'bravo only', 'bravo ' || n from generate_series(1, 9) n;
    create sequence bravo.ticket start 1000;";

/// Both sides, and a neighbour on one of them.
struct Differential {
    room: Room,
    twin: String,
    neighbour: Neighbour,
}

impl Differential {
    /// greenroom with one lease for the client, and with servers for a neighbour when the client is pinned.
    async fn start() -> Self {
        let one = |limits: Limits| limits.max(1);
        let room = Greenroom::start().servers(4).pool("alpha", one).await;
        let stage = room.stage();
        let twin = format!("{}_twin", stage.database);
        stage.create_database(&twin).await;
        stage.sql_in(&twin, &format!("alter database {twin} set search_path = alpha")).await;
        for (database, tables) in [(&stage.database, [OURS, THEIRS].concat()), (&twin, OURS.to_owned())] {
            stage.sql_in(database, &format!("set role {}; {tables}", stage.login)).await;
        }
        let neighbour = Neighbour::of(&room).await;
        Self { room, twin, neighbour }
    }

    /// Plays each script on both sides.
    async fn play(&mut self, scripts: impl IntoIterator<Item = Script>) {
        for script in scripts {
            self.play_one(&script).await;
        }
    }

    async fn play_one(&mut self, script: &Script) {
        let (mut plain, mut pooled) = (self.plain(script).await, self.pooled(script).await);
        assert_equal(
            &format!("{}: login", script.name),
            &comparable_login(&plain.hello),
            &comparable_login(&pooled.hello),
        );
        for (number, step) in script.steps.iter().enumerate() {
            let place = format!("{}: step {number} {step:?}", script.name);
            eprintln!("{place}");
            let expected = step.play(&mut plain).await;
            let answer = step.play(&mut pooled).await;
            assert_equal(&place, &expected, &answer);
            if script.neighbour && step.ends_transaction(&expected) {
                self.neighbour.act(&self.room, number).await;
            }
        }
        if script.stays {
            plain.leave().await;
            pooled.leave().await;
        }
        let (mut plain, mut pooled) = (self.plain(&Script::new("")).await, self.pooled(&Script::new("")).await);
        pristine::assert_pristine(script.name, &mut plain, &mut pooled).await;
        plain.leave().await;
        pooled.leave().await;
    }

    async fn plain(&self, script: &Script) -> RawClient {
        let startup = self.room.stage().startup(&self.twin);
        RawClient::log_in(&self.room.stage().address(), &with(startup, script)).await
    }

    async fn pooled(&self, script: &Script) -> RawClient {
        RawClient::log_in(self.room.address(), &with(self.room.startup("alpha"), script)).await
    }
}

fn with(startup: Startup, script: &Script) -> Startup {
    script.startup.iter().fold(startup, |startup, (name, value)| startup.with(name, value))
}

#[tokio::test]
async fn client_and_neighbour_are_lent_the_same_server() {
    let differential = Differential::start().await;
    let (alpha, bravo) = (differential.room.client("alpha").await, differential.room.client("bravo").await);
    let first = alpha.server_pid().await;
    assert_eq!(bravo.server_pid().await, first, "otherwise the other tests of this file prove nothing");
    assert_eq!(alpha.server_pid().await, first);
}
