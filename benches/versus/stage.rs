//! PostgreSQL and its data: every plugin has it in a database of its own, and in a schema of one database that all share.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use greenroom::temp_postgres::TempPostgres;

use crate::guard::Guard;

/// How many plugins there are.
pub(crate) const PLUGINS: u32 = 30;

/// The login of all loads and proxies.
pub(crate) const USER: &str = "bench";
pub(crate) const PASSWORD: &str = "bench";

/// The database whose schemas are the plugins', for greenroom alone.
pub(crate) const SHARED: &str = "shared";

/// The name under which every way leads to a plugin's data; single workloads use the first.
pub(crate) fn plugin_database(plugin: u32) -> String {
    format!("backstage_plugin_p{plugin}")
}

/// What every plugin has, to read a row by its key. Small, for there are many.
const ITEMS: &str = "create table item as select id, repeat('x', 80) as value from generate_series(1, 10000) as id; \
                     alter table item add primary key (id)";

/// A megabyte in lines of a hundred bytes, to be read by COPY; and a table for COPY to write to.
const MEGABYTE: &str = "create table megabyte as select repeat('x', 99) as line from generate_series(1, 10000); \
                        create table sink (line text)";

/// PostgreSQL with all data, and a directory for what the contestants and their loads write.
pub(crate) struct Stage {
    postgres: TempPostgres,
    dir: PathBuf,
    _guard: Guard,
}

impl Stage {
    pub(crate) async fn build() -> Self {
        let builder = TempPostgres::builder().setting("max_connections", "400").setting("shared_buffers", "256MB");
        let postgres = builder.setting("log_min_messages", "fatal").start().await.expect("PostgreSQL starts");
        let dir = std::env::temp_dir().join(format!("greenroom-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        // PgBouncer runs as somebody else.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        let stage = Self { postgres, _guard: Guard::new("rm -rf \"$1\"", &dir), dir };
        stage.fill().await;
        stage
    }

    async fn fill(&self) {
        self.sql("postgres", &format!("create role {USER} superuser login password '{PASSWORD}'")).await;
        let first = plugin_database(0);
        self.sql("postgres", &format!("create database {first}")).await;
        self.sql(&first, ITEMS).await;
        for plugin in 1..PLUGINS {
            self.sql("postgres", &format!("create database {} template {first}", plugin_database(plugin))).await;
        }
        self.sql(&first, MEGABYTE).await;
        fs::write(self.dir.join("megabyte"), format!("{}\n", "x".repeat(99)).repeat(10_000)).expect("a file");
        let mut pgbench = self.program("pgbench", self.postgres.port());
        let status = pgbench.args(["-i", "-q", "-s", "5", &first]).stderr(Stdio::null()).status();
        assert!(status.expect("pgbench starts").success(), "pgbench -i failed");
        self.sql("postgres", &format!("create database {SHARED}")).await;
        for plugin in 0..PLUGINS {
            self.sql(SHARED, &format!("create schema p{plugin}; set search_path to p{plugin}; {ITEMS}")).await;
        }
        // Not in the middle of a run.
        for database in (0..PLUGINS).map(plugin_database).chain([SHARED.to_owned()]) {
            self.sql(&database, "vacuum analyze").await;
        }
        self.sql("postgres", "checkpoint").await;
    }

    /// Runs statements as the superuser, each text on a connection of its own.
    async fn sql(&self, database: &str, statements: &str) {
        self.postgres.sql(database, statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// How many connections of the loads and the proxies there are.
    pub(crate) async fn connections(&self) -> Option<u32> {
        self.ask(&format!("select count(*) from pg_stat_activity where usename = '{USER}'")).await?.parse().ok()
    }

    /// What PostgreSQL keeps in place of the login's password.
    pub(crate) async fn verifier(&self) -> String {
        let verifier = self.ask(&format!("select rolpassword from pg_authid where rolname = '{USER}'")).await;
        verifier.expect("the login has a password")
    }

    /// The first value that a question of the superuser's is answered with.
    async fn ask(&self, question: &str) -> Option<String> {
        self.postgres.sql("postgres", question).await.ok()?.into_iter().flatten().next()?
    }

    pub(crate) fn port(&self) -> u16 {
        self.postgres.port()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file for a contestant or a load.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("the directory is ours");
        path
    }

    /// A program of PostgreSQL that logs in at this port, to be given a database.
    pub(crate) fn program(&self, name: &str, port: u16) -> Command {
        let mut command = Command::new(self.postgres.bin_dir().join(name));
        let is_ours = |variable: &OsStr| variable.as_encoded_bytes().starts_with(b"PG");
        std::env::vars_os().filter(|(variable, _)| is_ours(variable)).for_each(|(variable, _)| {
            command.env_remove(variable);
        });
        let port = port.to_string();
        command.envs([("PGHOST", "127.0.0.1"), ("PGPORT", &port), ("PGUSER", USER), ("PGPASSWORD", PASSWORD)]);
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
