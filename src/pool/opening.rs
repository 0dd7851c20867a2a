//! Opens connections: shared ones for a pool, private ones for a single session.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::timeout;

use super::entry::Entry;
use super::error::OpenError;
use super::reason::CloseReason;
use super::slot::{Occupied, Slot};
use super::{Parameters, Pool};
use crate::config::PoolLimits;
use crate::metrics::{ConnectResult, ServerState};
use crate::server::{CancelTarget, Connected, Dress, Server};

/// A connection that could not be opened. Its slot comes back together with the news: earlier, the next one would be tried at
/// once. If PostgreSQL had a process for it, it comes back by itself when that has ended.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: OpenError,
    pub(super) slot: Option<Slot>,
}

/// Opens a server for the pool. The scheduler has counted its slot.
pub(super) async fn shared(pool: &Arc<Pool>) -> Result<Box<Entry>, Failed> {
    let startup: &[(&str, &str)] = match pool.schema_division {
        true => &[("application_name", Dress::OWN_NAME), ("search_path", Dress::NOWHERE)],
        false => &[("application_name", Dress::OWN_NAME)],
    };
    let slot = Slot::counted(Arc::clone(&pool.scheduler));
    let limits = pool.scheduler.pool_limits(pool.index);
    let (fresh, parameters) = open(pool, &limits, startup, Dress::none(), slot).await?;
    let configuration = pool.configuration.begins(parameters);
    pool.tell_news();
    // Logins that waited for just that leave the queue before the scheduler looks at it again.
    yield_now().await;
    let mut entry = fresh.taken();
    entry.configuration = configuration;
    entry.is(ServerState::Idle);
    Ok(entry)
}

/// Opens a server that only one session will use, with its own startup parameters.
pub(super) async fn private(
    pool: &Pool,
    limits: &PoolLimits,
    startup: &[(String, String)],
    dress: Dress,
    slot: Slot,
) -> Result<(Box<Entry>, Parameters), OpenError> {
    let startup: Vec<_> = startup.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (fresh, parameters) = open(pool, limits, &startup, dress, slot).await.map_err(|failed| failed.error)?;
    let mut entry = fresh.taken();
    entry.is(ServerState::Leased);
    Ok((entry, parameters))
}

async fn open<'p>(
    pool: &'p Pool,
    limits: &PoolLimits,
    startup: &[(&str, &str)],
    dress: Dress,
    slot: Slot,
) -> Result<(Fresh<'p>, Parameters), Failed> {
    let mut occupied = Some(Occupied::new(slot, pool.metrics.connections.enter(ServerState::Opening)));
    let connecting = pool.connector.connect_in(&mut occupied, &pool.key.database, startup);
    let (result, error) = match timeout(limits.create_timeout, connecting).await {
        Ok(Ok((connected, occupied))) => {
            pool.server_metrics.connect(ConnectResult::Ok);
            pool.scheduler.crew.connected();
            return logged_in(pool, limits, dress, connected, occupied).await;
        }
        Ok(Err(error)) => (ConnectResult::Failed, error.into()),
        Err(_) => (ConnectResult::Timeout, timed_out(pool, limits.create_timeout)),
    };
    pool.server_metrics.connect(result);
    // That a database is not there is the login's own affair, and told there.
    if !error.is_of_unknown_database() {
        pool.scheduler.crew.not_connected(&pool.key.database, &error);
    }
    Err(Failed { error, slot: occupied.map(|occupied| occupied.slot) })
}

async fn logged_in<'p>(
    pool: &'p Pool,
    limits: &PoolLimits,
    dress: Dress,
    connected: Connected,
    occupied: Occupied,
) -> Result<(Fresh<'p>, Parameters), Failed> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    let parameters: Parameters = connected.parameters.iter().map(|(name, value)| (text(name), text(value))).collect();
    let cancel = CancelTarget::new(Arc::clone(&pool.connector), connected.pid, connected.secret);
    let mut server = Server::new(connected.stream, dress, cancel);
    // Whoever is lent it may have been told otherwise, of other servers.
    parameters.iter().for_each(|(name, value)| server.reported.set(name, value));
    let mut fresh = Fresh { entry: Some(Box::new(Entry::new(server, occupied, limits))), pool };
    // Whoever changed the database's code without greenroom: it is noticed with the next connection.
    let asked = timeout(limits.create_timeout, pool.facts.ask(&mut fresh.entry().server)).await;
    match asked {
        Ok(Ok(_)) => Ok((fresh, parameters)),
        Ok(Err(error)) => Err(Failed { error: error.into(), slot: None }),
        Err(_) => Err(Failed { error: timed_out(pool, limits.create_timeout), slot: None }),
    }
}

/// A server that has logged in and is nobody's yet. Dropped before it is taken it is closed, for it may be in the middle of
/// an answer.
struct Fresh<'p> {
    entry: Option<Box<Entry>>,
    pool: &'p Pool,
}

impl Fresh<'_> {
    fn entry(&mut self) -> &mut Entry {
        self.entry.as_mut().expect("only taken and drop take it out")
    }

    fn taken(mut self) -> Box<Entry> {
        self.entry.take().expect("only this and drop take it out")
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            entry.close(self.pool, CloseReason::Unfinished, self.pool.scheduler.closing());
        }
    }
}

fn timed_out(pool: &Pool, limit: Duration) -> OpenError {
    OpenError::TimedOut { address: pool.key.address.to_string(), limit }
}
