//! What a private cluster shall be like, and its first start.

use std::path::PathBuf;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use super::account::Account;
use super::binaries::Binaries;
use super::cluster::Cluster;
use super::error::StartError;
use super::{START_LIMIT, TempPostgres};

/// How the server asks its clients for their password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// scram-sha-256.
    #[default]
    Scram,
    /// md5, with passwords stored as md5.
    Md5,
    /// The password in clear.
    Cleartext,
    /// Not at all.
    Trust,
}

impl Auth {
    /// The method's name in pg_hba.conf.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Scram => "scram-sha-256",
            Self::Md5 => "md5",
            Self::Cleartext => "password",
            Self::Trust => "trust",
        }
    }
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) cert: String,
    pub(super) key: String,
}

/// Where a cluster outlives us, and the password that it was made with.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    dir: PathBuf,
    password: String,
}

/// Describes a cluster; [`start`](Self::start) makes it run.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    pub(super) bin_dir: Option<PathBuf>,
    pub(super) keep: Option<Keep>,
    pub(super) password: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) auth: Auth,
    pub(super) hba: Option<Vec<String>>,
    pub(super) tls: Option<Tls>,
    pub(super) settings: Vec<(String, String)>,
}

impl Builder {
    /// Takes the server's programs from this directory and no other.
    pub fn bin_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(dir.into());
        self
    }

    /// Keeps the cluster in this directory, durably: a later start with the same password finds the data again.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>, password: impl Into<String>) -> Self {
        self.keep = Some(Keep { dir: dir.into(), password: password.into() });
        self
    }

    /// Gives the superuser this password in place of a random one.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Listens on this port in place of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Asks for passwords in this way, over TCP and on the unix socket.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Replaces the lines of pg_hba.conf, except the first, which lets the superuser in on the unix socket.
    pub fn hba(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hba = Some(lines.into_iter().map(Into::into).collect());
        self
    }

    /// Serves TLS with this certificate and key (PEM).
    pub fn tls(mut self, cert: impl Into<String>, key: impl Into<String>) -> Self {
        self.tls = Some(Tls { cert: cert.into(), key: key.into() });
        self
    }

    /// Sets a parameter of postgresql.conf; a later value wins over an earlier one and over ours.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Makes the cluster if it is not there yet, runs it and returns when it lets the superuser in.
    pub async fn start(self) -> Result<TempPostgres, StartError> {
        let deadline = Instant::now() + START_LIMIT;
        let account = Account::find()?;
        let binaries = Binaries::find(self.bin_dir.as_deref())?;
        let (cluster, initial) = match &self.keep {
            Some(Keep { dir, password }) => (Cluster::kept(&binaries, account, dir, password).await?, password.clone()),
            None => Cluster::temporary(&binaries, account).await?,
        };
        let wanted = self.password.clone().unwrap_or_else(|| initial.clone());
        let port = self.port.unwrap_or(0);
        let mut postgres = TempPostgres { postmaster: None, cluster, account, binaries, password: initial, port };
        self.first_run(&mut postgres, deadline).await?;
        self.set_password(&mut postgres, wanted).await?;
        Ok(postgres)
    }

    /// Runs the server on the chosen port, or on one free port after another until it gets one.
    async fn first_run(&self, postgres: &mut TempPostgres, deadline: Instant) -> Result<(), StartError> {
        loop {
            postgres.port = match self.port {
                Some(port) => port,
                None => free_port(),
            };
            postgres.cluster.configure(postgres.account, self, postgres.port)?;
            match postgres.run(deadline).await {
                // Somebody took the port between our look and the server's.
                Err(StartError::Exited { log })
                    if self.port.is_none() && log.contains("TCP/IP sockets") && Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// A cluster from the template has the template's password, stored for scram-sha-256: both may have to change.
    async fn set_password(&self, postgres: &mut TempPostgres, wanted: String) -> Result<(), StartError> {
        if postgres.password == wanted && self.auth != Auth::Md5 {
            return Ok(());
        }
        let statement = format!("alter role postgres password '{}'", wanted.replace('\'', "''"));
        match postgres.sql("postgres", &statement).await {
            Ok(_) => postgres.password = wanted,
            Err(source) => return Err(StartError::Login { source, log: postgres.log_tail() }),
        }
        Ok(())
    }
}

/// A port that is free now, below the range from which the kernel takes the ports of outgoing connections: those could
/// otherwise take ours while the server is being restarted.
fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(20_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
