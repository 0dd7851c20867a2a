//! Nobody can tell: one script of frames on PostgreSQL itself and through greenroom, while a hostile neighbour uses the
//! same server between any two transactions. The replies are equal, frame by frame.
//!
//! PostgreSQL itself is a twin: another database of the same server and login, with the same schema, and `search_path`
//! set for the whole database, so that RESET and DISCARD fall back to it as they do behind greenroom. What differs for a
//! reason is made equal in [`compare`], each with its reason; everything else must be the same.

mod big;
mod carried;
pub(crate) mod compare;
mod copy;
mod copy_faults;
mod cursors;
mod errors;
mod extended;
mod held;
mod implicit;
mod large_objects;
mod listen;
mod modes;
mod neighbour;
mod notices;
mod pipelines;
mod plans;
mod prepared;
mod pristine;
mod script;
mod set;
mod settings;
mod simple;
mod startup;
mod state;
mod transactions;
mod two_phases;
mod unnamed;

use crate::harness::{Greenroom, Limits, RawClient, Room, Startup};
use compare::{comparable_login, same};
use neighbour::Neighbour;
use pristine::Pristine;
use script::{Script, Step};

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
    create sequence bravo.ticket start 1000;
    grant usage on schema bravo to stagehand; grant select on bravo.item to stagehand;";

/// Both sides, and a neighbour on one of them.
struct Differential {
    room: Room,
    twin: String,
    neighbour: Neighbour,
    /// What a new client of PostgreSQL itself sees.
    pristine: Pristine,
}

impl Differential {
    /// greenroom with one lease for the client, and with servers for a neighbour when the client is pinned.
    async fn start() -> Self {
        let one = |limits: Limits| limits.max(1);
        let room = Greenroom::start().servers(5).pool("alpha", one).await;
        let stage = room.stage();
        let twin = format!("{}_twin", stage.database);
        stage.create_database(&twin).await;
        stage.sql_in(&twin, &format!("alter database {twin} set search_path = alpha")).await;
        for (database, tables) in [(&stage.database, [OURS, THEIRS].concat()), (&twin, OURS.to_owned())] {
            stage.sql_in(database, &format!("set role {}; {tables}", stage.login)).await;
        }
        let neighbour = Neighbour::of(&room).await;
        let mut untouched = RawClient::log_in(&stage.address(), &stage.startup(&twin)).await;
        let pristine = Pristine::ask(&mut untouched).await;
        untouched.leave().await;
        Self { room, twin, neighbour, pristine }
    }

    /// Plays each script on both sides, all of them, and fails the test when any was answered differently.
    async fn play(&mut self, scripts: impl IntoIterator<Item = Script>) {
        let mut differences = Vec::new();
        for script in scripts {
            let differs = self.play_one(&script).await.err();
            // Here as well, for what comes next may go wrong because of it.
            differs.iter().for_each(|differs| eprintln!("{differs}"));
            differences.extend(differs);
        }
        assert!(differences.is_empty(), "{} scripts differ\n{}", differences.len(), differences.join("\n\n"));
    }

    async fn play_one(&mut self, script: &Script) -> Result<(), String> {
        let (mut plain, mut pooled) = (self.plain(script).await, self.pooled(script).await);
        same(&format!("{}: login", script.name), &comparable_login(&plain.hello), &comparable_login(&pooled.hello))?;
        for (number, step) in script.steps.iter().enumerate() {
            let place = format!("{}: step {number} {step:?}", script.name);
            eprintln!("{place}");
            match step {
                Step::Meanwhile(sql) => self.meanwhile(sql).await,
                Step::Say(say) => {
                    let expected = say.play(&mut plain).await;
                    let answer = say.play(&mut pooled).await;
                    same(&place, &expected, &answer)?;
                    if script.neighbour && say.ends_transaction(&expected) {
                        self.neighbour.act(&self.room).await;
                    }
                }
            }
        }
        if script.stays {
            plain.leave().await;
            pooled.leave().await;
        }
        let mut next = self.pooled(&Script::new("")).await;
        self.pristine.same(script.name, &mut next).await?;
        next.leave().await;
        Ok(())
    }

    /// Logs in with these parameters, which PostgreSQL refuses: greenroom refuses them in the same words.
    async fn refuse(&self, name: &'static str, value: &'static str) {
        let script = Script::new(name).startup(name, value);
        let plain = RawClient::try_log_in(&self.room.stage().address(), &self.plain_startup(&script)).await.hello;
        let pooled = RawClient::try_log_in(self.room.address(), &self.pooled_startup(&script)).await.hello;
        assert_eq!(plain.last().map(|last| last.tag), Some(b'E'), "PostgreSQL takes {name} = {value:?}");
        let place = format!("a login with {name} = {value:?}");
        same(&place, &comparable_login(&plain), &comparable_login(&pooled))
            .unwrap_or_else(|differs| panic!("{differs}"));
    }

    async fn meanwhile(&self, sql: &str) {
        let stage = self.room.stage();
        for database in [&stage.database, &self.twin] {
            stage.sql_in(database, &format!("set role {}; set search_path to alpha; {sql}", stage.login)).await;
        }
    }

    async fn plain(&self, script: &Script) -> RawClient {
        RawClient::log_in(&self.room.stage().address(), &self.plain_startup(script)).await
    }

    async fn pooled(&self, script: &Script) -> RawClient {
        RawClient::log_in(self.room.address(), &self.pooled_startup(script)).await
    }

    fn plain_startup(&self, script: &Script) -> Startup {
        with(self.room.stage().startup(&self.twin), script)
    }

    fn pooled_startup(&self, script: &Script) -> Startup {
        with(self.room.startup("alpha"), script)
    }
}

fn with(startup: Startup, script: &Script) -> Startup {
    script.startup.iter().fold(startup, |startup, (name, value)| startup.with(name, value))
}

#[tokio::test]
async fn client_and_neighbour_are_lent_the_same_server() {
    let mut differential = Differential::start().await;
    let (alpha, bravo) = (differential.room.client("alpha").await, differential.room.client("bravo").await);
    for _ in 0..4 {
        let first = alpha.server_pid().await;
        assert_eq!(bravo.server_pid().await, first, "otherwise the other tests of this file prove nothing");
        assert_eq!(differential.neighbour.server().await, first);
        assert_eq!(alpha.server_pid().await, first);
        // Afterwards it may be another one, for all of them.
        differential.neighbour.act(&differential.room).await;
    }
}
