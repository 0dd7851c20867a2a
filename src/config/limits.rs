//! tarn's limits and greenroom's timeouts, with their defaults.

use std::time::Duration;

/// When a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PoolMode {
    /// With the transaction, unless the session is pinned.
    #[default]
    Transaction,
    /// With the client.
    Session,
}

/// The limits of one plugin, with tarn's names and meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// The reaper keeps this many server connections, used and idle ones together. It is a floor, not a pre-fill.
    pub min: u32,
    /// The most leases of the plugin at once, over all its clients.
    pub max: u32,
    /// The longest wait for a lease, from the request.
    pub acquire_timeout: Duration,
    /// The longest a connection may take to open, login included.
    pub create_timeout: Duration,
    /// After this long nobody waits for the place of a server that does not close its end; it counts until it does.
    pub destroy_timeout: Duration,
    /// An idle server is closed after this long.
    pub idle_timeout: Duration,
    /// How often idle servers are looked at.
    pub reap_interval: Duration,
    /// The pause before a failed connection is tried again.
    pub create_retry_interval: Duration,
    /// Whether a failed connection is told to the first waiter at once (else it waits for its acquire timeout).
    pub propagate_create_error: bool,
    /// A server is closed after this long, give or take a tenth.
    pub max_connection_lifetime: Duration,
    /// When a lease ends.
    pub mode: PoolMode,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            min: 0,
            max: 10,
            // Below Knex's createTimeout of 30 s, within which its first statements must have ended.
            acquire_timeout: Duration::from_secs(25),
            create_timeout: Duration::from_secs(30),
            destroy_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            reap_interval: Duration::from_secs(1),
            create_retry_interval: Duration::from_millis(200),
            propagate_create_error: true,
            max_connection_lifetime: Duration::from_secs(3600),
            mode: PoolMode::Transaction,
        }
    }
}

/// The pool that Backstage itself makes for a plugin, with Knex's defaults: what stands in front of greenroom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnexPool {
    /// Its reaper's floor.
    pub min: u32,
    /// The most clients of it at once.
    pub max: u32,
    /// How long a query waits for a client: the shorter one of `pool.acquireTimeoutMillis` and `acquireConnectionTimeout`.
    pub acquire_timeout: Duration,
    /// How long a client may take to log in and to get its first statements answered.
    pub create_timeout: Duration,
    /// The longest it waits for a client to close.
    pub destroy_timeout: Duration,
    /// An idle client is closed after this long.
    pub idle_timeout: Duration,
    /// How often idle clients are looked at.
    pub reap_interval: Duration,
    /// The pause before a failed client is tried again.
    pub create_retry_interval: Duration,
    /// Whether a failed client is told to the first query at once.
    pub propagate_create_error: bool,
}

impl KnexPool {
    /// Within this a new client must have been served, or Knex reports a full pool.
    pub fn patience(&self) -> Duration {
        self.create_timeout.min(self.acquire_timeout)
    }
}

impl Default for KnexPool {
    fn default() -> Self {
        Self {
            min: 2,
            max: 10,
            acquire_timeout: Duration::from_secs(60),
            create_timeout: Duration::from_secs(30),
            destroy_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            reap_interval: Duration::from_secs(1),
            create_retry_interval: Duration::from_millis(200),
            propagate_create_error: true,
        }
    }
}

/// Limits in time on what a client does. `None` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// What a client may take for its part of the login: its startup message, and its password. The wait for a server is
    /// the acquire timeout's.
    pub login: Duration,
    /// A transaction that waits for its client.
    pub idle_in_transaction: Option<Duration>,
    /// A whole transaction, from the moment it has a server.
    pub transaction: Option<Duration>,
    /// A client between transactions.
    pub idle_client: Option<Duration>,
    /// A client that does not read what was sent to it.
    pub client_write: Option<Duration>,
    /// A pinned session between transactions.
    pub pin_idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(15),
            idle_in_transaction: Some(Duration::from_secs(300)),
            transaction: None,
            idle_client: None,
            client_write: Some(Duration::from_secs(60)),
            pin_idle: None,
        }
    }
}

/// The limits of one PostgreSQL server, over all plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// The most connections, all of greenroom's counted, in whatever state.
    pub ceiling: u32,
    /// Places under the ceiling that are kept for plugins that hold none.
    pub reserved: u32,
    /// The most connections that are opened at the same time.
    pub parallel_connects: u32,
    /// For how many times as long as a connect usually takes somebody waits for whom none is opened, because he is likely to
    /// be lent another server sooner. 0 opens one for each who waits, as tarn does (docs/adr/0007).
    pub patience: u32,
}

impl ServerLimits {
    /// `maxServerConnections`, when it is not configured.
    pub const CEILING: u32 = 12;
    /// `reservedConnections`, when it is not configured.
    pub const RESERVED: u32 = 2;
    /// `maxParallelConnects`, when it is not configured.
    pub const PARALLEL_CONNECTS: u32 = 4;
    /// The patience, which is no setting.
    pub const PATIENCE: u32 = 2;

    /// Limits of which never more than a quarter is reserved.
    pub fn new(ceiling: u32, reserved: u32, parallel_connects: u32) -> Self {
        Self { ceiling, reserved: reserved.min(ceiling / 4), parallel_connects, patience: Self::PATIENCE }
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self::new(Self::CEILING, Self::RESERVED, Self::PARALLEL_CONNECTS)
    }
}
