//! What is measured. Each name is a heading of docs/performance.md.

use std::time::Duration;

use crate::contestant::Contestant;
use crate::log::Log;
use crate::stage::{PLUGINS, Stage};
use crate::{pgbench, psql};

/// One kind of load.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What it is, for the reader of its table.
    pub(crate) about: &'static str,
    load: Load,
    /// Clients of each plugin.
    clients: u32,
    pub(crate) scene: Scene,
}

/// What the ways are set up for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    /// How many servers a pool may have.
    pub(crate) servers: u32,
    /// How many plugins there are, each with a database of its own; for greenroom several are schemas of a shared one.
    pub(crate) plugins: u32,
    /// Whether statements have names.
    pub(crate) named_statements: bool,
}

enum Load {
    /// pgbench with these arguments.
    Pgbench(&'static [&'static str]),
    /// pgbench with these arguments and this script.
    Script(&'static [&'static str], &'static str),
    /// psql with this command, again and again: COPY, which pgbench cannot.
    Psql(&'static str),
    /// Plugins that compete, through greenroom alone.
    Shares,
}

const ONE_PLUGIN: Scene = Scene { servers: 8, plugins: 1, named_statements: false };

const USUAL: Workload = Workload { name: "", about: "", load: Load::Pgbench(&[]), clients: 32, scene: ONE_PLUGIN };

/// Older PgBouncers need a server for each client then.
const NAMED: Workload = Workload { scene: Scene { named_statements: true, ..ONE_PLUGIN }, ..USUAL };

impl Workload {
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self {
                name: "select, simple",
                about: "32 clients read a row by its key, in one Query message: `pgbench -S -M simple`.",
                load: Load::Pgbench(&["-S", "-M", "simple"]),
                ..USUAL
            },
            Self {
                name: "select, extended",
                about: "The same with Parse, Bind, Describe, Execute and Sync, as node-postgres does it.",
                load: Load::Pgbench(&["-S", "-M", "extended"]),
                ..USUAL
            },
            Self {
                name: "select, prepared",
                about: "32 clients read a row by its key with a named statement.",
                load: Load::Pgbench(&["-S", "-M", "prepared"]),
                ..NAMED
            },
            Self {
                name: "TPC-B, prepared",
                about: "32 clients run pgbench's own transaction of seven statements, which have names.",
                // A thread for each: pgbench waits for the answer to a Parse, and if the client got no server because others
                // of the same thread have them all for their transactions, these would wait for it in turn.
                load: Load::Pgbench(&["-b", "tpcb-like", "-M", "prepared", "-j", "32"]),
                ..NAMED
            },
            Self {
                name: "pipeline of ten",
                about: "32 clients send ten statements of the extended protocol before they read the first answer.",
                load: Load::Script(
                    &["-M", "extended"],
                    "\\startpipeline\nselect 1;\nselect 2;\nselect 3;\nselect 4;\nselect 5;\nselect 6;\nselect 7;\n\
                     select 8;\nselect 9;\nselect 10;\n\\endpipeline\n",
                ),
                ..USUAL
            },
            Self {
                name: "rows of 1 MB",
                about: "4 clients read one row of a megabyte.",
                load: Load::Script(&[], "select repeat('x', 1000000);\n"),
                clients: 4,
                ..USUAL
            },
            Self {
                name: "COPY out of 1 MB",
                about: "4 clients read ten thousand rows of a hundred bytes by COPY.",
                load: Load::Psql("copy megabyte to stdout;"),
                clients: 4,
                ..USUAL
            },
            Self {
                name: "COPY in of 1 MB",
                about: "4 clients send as much by COPY; PostgreSQL reads the rows and drops them.",
                load: Load::Psql("\\copy sink from 'megabyte' where false"),
                clients: 4,
                ..USUAL
            },
            Self {
                name: "logins",
                about: "8 clients log in by scram-sha-256, read a row and leave; that is a transaction here, also for p50 and \
                        p99.",
                load: Load::Pgbench(&["-S", "-C"]),
                clients: 8,
                ..USUAL
            },
            Self {
                name: "thirty plugins",
                about: "4 clients of each of thirty plugins read a row by its key with the extended protocol.\n\
                        For greenroom the plugins are schemas of one database, for the others each has a database.",
                load: Load::Script(
                    &["-M", "extended"],
                    "\\set id random(1, 10000)\nselect value from item where id = :id;\n",
                ),
                clients: 4,
                scene: Scene { servers: 12, plugins: PLUGINS, ..ONE_PLUGIN },
            },
            Self {
                name: "one greedy plugin, nine polite ones",
                about: "Plugins that compete for greenroom's 4 servers. A transaction is `pg_sleep`, which costs a server\n\
                        time and the machine nothing. The greedy plugin has 200 clients that never pause; of each polite\n\
                        one, 2 clients hold a server for 10 ms and pause for 60 ms on average. A wait is the time until\n\
                        BEGIN is answered. Then all ten want more than there is, with transactions of 1 to 9 ms.",
                load: Load::Shares,
                ..USUAL
            },
        ]
    }

    /// Whether it is [`crate::shares`]: a comparison of greenroom with itself.
    pub(crate) fn is_about_shares(&self) -> bool {
        matches!(self.load, Load::Shares)
    }

    /// Runs it once.
    ///
    /// # Errors
    /// What a program complained of.
    pub(crate) async fn run(&self, contestant: &Contestant, stage: &Stage, time: Duration) -> Result<Log, String> {
        let crowd = pgbench::Crowd { plugins: self.scene.plugins, clients: self.clients };
        match self.load {
            Load::Pgbench(arguments) => pgbench::run(crowd, arguments, None, contestant, stage, time).await,
            Load::Script(arguments, script) => {
                pgbench::run(crowd, arguments, Some(script), contestant, stage, time).await
            }
            Load::Psql(command) => psql::run(self.clients, command, contestant, stage, time).await,
            Load::Shares => Err("it is no load for several ways".to_owned()),
        }
    }
}
