//! One plugin's pool in front of a PostgreSQL that does as the test says, and a diary of what happens.

use std::sync::Arc;
use std::time::Duration;

use greenroom::config::{Config, ServerLimits};
use greenroom::metrics::Metrics;
use greenroom::pool::error::OpenError;
use greenroom::pool::{AcquireError, Kind, Lease, Member, Pools};
use greenroom::route::RouteTable;
use greenroom::secret::Secrets;
use tokio::task::JoinHandle;

use super::clock::{self, settle};
use super::diary::{Diary, Entry};
use super::postgres::{Login, Postgres};

/// Limits under which only the pool's own count: what ADR 7 adds to tarn's rules is out of reach, or off.
const TARNS_OWN: ServerLimits = ServerLimits { ceiling: 1000, reserved: 0, parallel_connects: 1000, patience: 0 };

/// What a house will be.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// `greenroom.pool`, in YAML.
    limits: String,
    logins: Vec<Login>,
    server: ServerLimits,
    slow_to_close: Duration,
}

impl Plan {
    /// A pool with these limits; each login takes 5 ms.
    pub(super) fn new(limits: impl Into<String>) -> Self {
        let logins = vec![Login::works_after(5)];
        Self { limits: limits.into(), logins, server: TARNS_OWN, slow_to_close: Duration::ZERO }
    }

    /// The first logins are these; any others are like the last one.
    pub(super) fn logins(mut self, logins: impl Into<Vec<Login>>) -> Self {
        self.logins = logins.into();
        self
    }

    pub(super) fn ceiling(mut self, ceiling: u32) -> Self {
        self.server.ceiling = ceiling;
        self
    }

    pub(super) fn slow_to_close(mut self, time: Duration) -> Self {
        self.slow_to_close = time;
        self
    }

    /// What happens during `test`, by a clock that stands still while anything moves.
    pub(super) fn entries(self, test: impl AsyncFnOnce(&House)) -> Vec<Entry> {
        clock::run(async {
            let house = House::build(self);
            test(&house).await;
            house.diary.entries()
        })
    }

    /// The same, a line for each.
    pub(super) fn story(self, test: impl AsyncFnOnce(&House)) -> Vec<String> {
        self.entries(test).iter().map(Entry::to_string).collect()
    }
}

/// The pool, and all around it.
pub(super) struct House {
    pub(super) diary: Arc<Diary>,
    pub(super) postgres: Postgres,
    member: Member,
    _pools: Arc<Pools>,
}

/// Somebody who asks for a server.
pub(super) type Asking = JoinHandle<Result<Lent, AcquireError>>;

/// A server on loan.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) server: usize,
    lease: Lease,
    diary: Arc<Diary>,
}

impl Lent {
    pub(super) fn give_back(self) {
        self.diary.note(format!("back {}", self.server));
        self.lease.release();
    }
}

impl House {
    fn build(plan: Plan) -> Self {
        let diary = Arc::new(Diary::new());
        let postgres = Postgres::start(Arc::clone(&diary), plan.logins, plan.slow_to_close);
        let (host, port) = (postgres.directory().display(), Postgres::PORT);
        let config = format!(
            "backend: {{ database: {{ client: pg, connection: {{ host: {host}, port: {port}, user: u, password: p }} }} }}\n\
             greenroom: {{ pool: {} }}",
            plan.limits
        );
        let config = Config::parse(&config).expect("a test's limits are right");
        let (routes, mut limits) = (RouteTable::new(&config), config.limits());
        limits.server = plan.server;
        let route = routes.resolve("backstage_plugin_catalog", None).expect("it is a plugin's");
        let metrics = Metrics::new(1);
        let pools = Pools::new(limits, Secrets::new(Arc::clone(&metrics)), metrics);
        let member = pools.member(&route).expect("it has no TLS");
        Self { diary, postgres, member, _pools: pools }
    }

    /// Asks for a server as the relay does, and waits for it.
    pub(super) async fn acquire(&self, client: usize) -> Result<Lent, AcquireError> {
        acquire(self.member.clone(), Arc::clone(&self.diary), client).await
    }

    /// Asks for a server, and goes on.
    pub(super) async fn ask(&self, client: usize) -> Asking {
        let asking = tokio::spawn(acquire(self.member.clone(), Arc::clone(&self.diary), client));
        settle().await;
        asking
    }

    /// Gives up waiting.
    pub(super) async fn give_up(&self, client: usize, asking: Asking) {
        asking.abort();
        asking.await.expect_err("it was still waiting");
        self.diary.note(format!("left {client}"));
    }
}

async fn acquire(member: Member, diary: Arc<Diary>, client: usize) -> Result<Lent, AcquireError> {
    let lent = match member.try_acquire() {
        Some(lease) => Ok(lease),
        None => member.acquire(Kind::Shared).await.map(|(lease, _)| lease),
    };
    match lent {
        Ok(mut lease) => {
            let server = lease.server().cancel.pid().try_into().expect("servers are numbered from 1");
            diary.note(format!("lent {server} to {client}"));
            Ok(Lent { server, lease, diary })
        }
        Err(error) => {
            diary.note(format!("refused {client}: {}", reason(&error)));
            Err(error)
        }
    }
}

fn reason(error: &AcquireError) -> String {
    match error {
        AcquireError::TimedOut { .. } => "timeout".to_owned(),
        AcquireError::Open(error) => match &**error {
            OpenError::TimedOut { .. } => "timeout".to_owned(),
            OpenError::Connect(greenroom::server::ConnectError::Refused { message, .. }) => message.clone(),
            other => format!("{other:?}"),
        },
        AcquireError::Closed => "closed".to_owned(),
    }
}
