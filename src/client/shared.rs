//! What every client of a proxy is handed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::epoch::{Epoch, Epochs};
use super::registry::Registry;
use super::traps::Traps;
use crate::auth::{Credentials, Salts};
use crate::cancel::CancelKeys;
use crate::config::{Limits, Login};
use crate::metrics::Metrics;
use crate::net::Buffers;
use crate::pool::Pools;
use crate::provision;
use crate::route::{POSTGRES, PoolKey, Route, RouteTable, Target};
use crate::secret::{self, Secrets};

/// How many passwords of one user name have their keys kept: routes may differ in them, and files change.
const MAX_PASSWORDS: usize = 32;

/// A schema of a pool's database.
type Schema = (PoolKey, Arc<str>);

/// The keys derived for each user name, with the password that they were derived from.
type DerivedKeys = HashMap<Arc<str>, Vec<(SecretString, Arc<Credentials>)>>;

/// What every client of a proxy is handed.
pub struct Shared {
    /// Where a logical database is.
    pub routes: RouteTable,
    /// Who is lent a server.
    pub pools: Arc<Pools>,
    /// What clients have to know.
    secrets: Arc<Secrets>,
    /// The sessions' cancel keys.
    pub keys: Arc<CancelKeys>,
    /// Every client.
    pub(super) registry: Arc<Registry>,
    /// Every number.
    pub metrics: Arc<Metrics>,
    epochs: Epochs,
    /// Buffers for bytes in flight.
    pub buffers: Buffers,
    /// Cancelled when the proxy drains: transactions end, then their clients.
    pub draining: CancellationToken,
    /// Cancelled when the grace period of the drain is over: clients are told to go wherever they are.
    pub ending: CancellationToken,
    /// What plugins have been told about already.
    pub(super) traps: Traps,
    salts: Salts,
    /// What stands for pg_database where databases are schemas.
    databases: Option<Arc<str>>,
    /// Derived once per login; guards only the map.
    credentials: Mutex<DerivedKeys>,
    /// Schemas known to exist and to be this deployment's, with the search_path that leads to each.
    provisioned: Mutex<HashMap<Schema, Arc<str>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    /// Nobody has logged in yet.
    pub fn new(
        routes: RouteTable,
        pools: Arc<Pools>,
        secrets: Arc<Secrets>,
        metrics: Arc<Metrics>,
        limits: &Limits,
    ) -> Self {
        let draining = CancellationToken::new();
        let base = routes.resolve(POSTGRES, None).ok().filter(|base| routes.creates_schemas(base));
        let databases = base.map(|base| provision::databases_sql(&routes.virtual_databases(&base)).into());
        Self {
            databases,
            routes,
            pools,
            secrets,
            metrics,
            epochs: Epochs::new(limits, draining.clone()),
            keys: Arc::default(),
            registry: Arc::default(),
            buffers: Buffers::default(),
            draining,
            ending: CancellationToken::new(),
            traps: Traps::default(),
            salts: Salts::default(),
            credentials: Mutex::default(),
            provisioned: Mutex::default(),
        }
    }

    /// The limits in time now.
    pub fn epoch(&self) -> Arc<Epoch> {
        self.epochs.now()
    }

    /// From now on these are the limits, for clients that are there already as well.
    pub fn reload(&self, limits: &Limits) {
        self.epochs.next(limits);
        self.pools.reload(limits.clone());
    }

    /// What proves that a client is `login`, now. The keys of a password are derived once: it costs milliseconds.
    pub(super) async fn credentials(&self, login: &Login) -> Arc<Credentials> {
        let Some(password) = self.secrets.client_password(login).await else {
            return Arc::new(self.salts.credentials(&login.user, None));
        };
        let known = |held: &&(SecretString, Arc<Credentials>)| secret::same(&held.0, &password);
        if let Some(found) = self.credentials.lock().get(&login.user).and_then(|held| held.iter().find(known)) {
            return Arc::clone(&found.1);
        }
        let derived = Arc::new(self.salts.credentials(&login.user, Some(&password)));
        let mut credentials = self.credentials.lock();
        let held = credentials.entry(Arc::clone(&login.user)).or_default();
        // A password in a file is replaced time and again.
        if held.len() == MAX_PASSWORDS {
            held.remove(0);
        }
        held.push((password, Arc::clone(&derived)));
        derived
    }

    /// What nobody can prove to be, though it looks like any other login.
    pub(super) fn unknown_credentials(&self, user: &str) -> Credentials {
        self.salts.unknown(user)
    }

    /// What stands for pg_database, if clients of this route create databases that are really schemas.
    pub(super) fn virtual_databases(&self, route: &Route) -> Option<Arc<str>> {
        self.databases.clone().filter(|_| self.routes.creates_schemas(route))
    }

    /// The search_path that leads to the target's schema, if that is known to exist.
    pub(super) fn search_path(&self, target: &Target) -> Option<Arc<str>> {
        let schema = Arc::clone(target.schema.as_ref()?);
        self.provisioned.lock().get(&(target.pool_key(), schema)).cloned()
    }

    /// The target's schema exists, and this search_path leads to it.
    pub(super) fn provisioned(&self, target: &Target, search_path: &Arc<str>) {
        if let Some(schema) = &target.schema {
            self.provisioned.lock().insert((target.pool_key(), Arc::clone(schema)), Arc::clone(search_path));
        }
    }
}
