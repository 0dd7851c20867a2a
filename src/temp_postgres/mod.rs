//! A PostgreSQL that lives as long as a test, a bench or `greenroom dev`.
//!
//! [`TempPostgres`] runs a private cluster from the server binaries of this machine: in a directory of its own, on a
//! free port of 127.0.0.1 and on a unix socket, as an unprivileged user when we are root. It ends with its owner, even
//! when that owner panics or is killed.
//!
//! | part | job |
//! |---|---|
//! | `builder` | what the cluster shall be like, and the first start |
//! | `binaries` | where the server's programs are |
//! | `account` | which user they run as |
//! | `cluster` | the directories and the files in them |
//! | `template` | one `initdb` for many clusters |
//! | `postmaster` | the running process and the guard that ends it |
//! | `sql` | a statement for set-up, without a driver |

mod account;
mod binaries;
mod builder;
mod cluster;
mod error;
mod postmaster;
mod sql;
mod template;

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use self::account::Account;
use self::binaries::Binaries;
pub use self::builder::{Auth, Builder};
use self::cluster::Cluster;
pub use self::error::StartError;
use self::postmaster::Postmaster;
pub use self::sql::{Row, SqlError};

/// How long a start may take on a busy machine before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a fast shutdown may take before it becomes an immediate one.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running (or stopped) private PostgreSQL; dropping it ends the server and removes what was temporary.
///
/// ```no_run
/// # use greenroom::temp_postgres::TempPostgres;
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let postgres = TempPostgres::builder().setting("max_connections", "50").start().await?;
/// postgres.sql("postgres", "create database backstage").await?;
/// println!("{}", postgres.url("backstage"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TempPostgres {
    // Fields drop in this order: first the server ends, then its directory goes.
    postmaster: Option<Postmaster>,
    cluster: Cluster,
    account: Account,
    binaries: Binaries,
    password: String,
    port: u16,
}

impl TempPostgres {
    /// Starts a temporary cluster with scram-sha-256 and a random password.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Describes a cluster that differs from the usual one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// The port on 127.0.0.1, which is also the number in the socket's name. It stays the same over a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.cluster.socket_dir()
    }

    /// The password of the superuser `postgres`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The directory that `psql`, `pgbench` and the server's own programs are in.
    pub fn bin_dir(&self) -> &Path {
        self.binaries.dir()
    }

    /// The superuser's connection string for a database, over TCP.
    pub fn url(&self, database: &str) -> String {
        let (password, database) = (percent_encoded(&self.password), percent_encoded(database));
        format!("postgresql://postgres:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The last lines that the server wrote to its log.
    pub fn log_tail(&self) -> String {
        self.cluster.log_tail()
    }

    /// Runs statements as the superuser on a connection of their own, and returns all their rows as text.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<Vec<Row>, SqlError> {
        sql::run(&self.cluster.socket(self.port), &self.password, database, statements).await
    }

    /// Waits until the server ends by itself, and returns the last lines of its log.
    pub async fn ended(&mut self) -> String {
        while self.postmaster.as_mut().is_some_and(|postmaster| !postmaster.has_exited()) {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.log_tail()
    }

    /// Stops the server at once but cleanly: open transactions roll back, clients get 57P01. The data stays.
    pub async fn stop(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.stop(STOP_LIMIT).await;
        }
    }

    /// Kills the postmaster with SIGKILL, as the kernel would when memory runs out. The data stays.
    pub async fn kill(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.kill();
        }
    }

    /// Starts the server again on its port and its data, after [`stop`](Self::stop) or [`kill`](Self::kill).
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        if self.postmaster.is_none() {
            self.run(Instant::now() + START_LIMIT).await?;
        }
        Ok(())
    }

    /// Stops the server and starts it again.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.stop().await;
        self.start_again().await
    }

    /// Runs the postmaster until it lets us log in. A start that fails for a passing reason is tried again.
    async fn run(&mut self, deadline: Instant) -> Result<(), StartError> {
        loop {
            let mut postmaster = Postmaster::spawn(&self.binaries, self.account, &self.cluster)?;
            match self.ready(&mut postmaster, deadline).await {
                Ok(()) => {
                    self.postmaster = Some(postmaster);
                    return Ok(());
                }
                // After a SIGKILL the old backends take a moment to notice, and hold the old shared memory until then.
                Err(StartError::Exited { log }) if log.contains("shared memory block") && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a login succeeds, the server has ended or the deadline has passed.
    async fn ready(&self, postmaster: &mut Postmaster, deadline: Instant) -> Result<(), StartError> {
        loop {
            let last = match self.sql("postgres", "select 1").await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_passing() => error,
                Err(source) => return Err(StartError::Login { source, log: self.log_tail() }),
            };
            if postmaster.has_exited() {
                return Err(StartError::Exited { log: self.log_tail() });
            }
            if Instant::now() >= deadline {
                return Err(StartError::NotReady { source: last, log: self.log_tail() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Escapes what may not stand in a part of a URL.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
