//! Opens connections: shared ones for a pool, private ones for a single session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::entry::Entry;
use super::error::OpenError;
use super::slot::Slot;
use super::{Parameters, Pool};
use crate::config::PoolLimits;
use crate::metrics::{ConnectResult, InState, ServerState};
use crate::server::{CancelTarget, Dress, Server};

/// A connection that could not be opened. Its slot comes back together with the news: earlier, the next one would be tried at
/// once.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: OpenError,
    pub(super) slot: Slot,
}

/// Opens a server for the pool. The scheduler has counted its slot.
pub(super) async fn shared(pool: &Arc<Pool>) -> Result<Box<Entry>, Failed> {
    let startup: &[(&str, &str)] = match pool.schema_division {
        true => &[("application_name", Dress::OWN_NAME), ("search_path", Dress::NOWHERE)],
        false => &[("application_name", Dress::OWN_NAME)],
    };
    let limits = pool.scheduler.pool_limits(pool.index);
    let dress = Dress::new(None, Dress::OWN_NAME);
    let slot = Slot::counted(Arc::clone(&pool.scheduler));
    let (server, mut state, parameters) = match open(pool, &limits, startup, dress).await {
        Ok(opened) => opened,
        Err(error) => return Err(Failed { error, slot }),
    };
    *pool.parameters.write() = Some(parameters);
    state.set(ServerState::Idle);
    Ok(Box::new(Entry::new(server, slot, state, &limits)))
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
    let (server, mut state, parameters) = open(pool, limits, &startup, dress).await?;
    state.set(ServerState::Leased);
    Ok((Box::new(Entry::new(server, slot, state, limits)), parameters))
}

async fn open(
    pool: &Pool,
    limits: &PoolLimits,
    startup: &[(&str, &str)],
    dress: Dress,
) -> Result<(Server, InState<ServerState>, Parameters), OpenError> {
    let state = pool.metrics.connections.enter(ServerState::Opening);
    let connected = timeout(limits.create_timeout, pool.connector.connect(&pool.key.database, startup)).await;
    let connected = match connected {
        Ok(Ok(connected)) => {
            pool.server_metrics.connect(ConnectResult::Ok);
            connected
        }
        Ok(Err(error)) => {
            pool.server_metrics.connect(ConnectResult::Failed);
            return Err(error.into());
        }
        Err(_) => {
            pool.server_metrics.connect(ConnectResult::Timeout);
            return Err(timed_out(pool, limits.create_timeout));
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    let parameters = connected.parameters.iter().map(|(name, value)| (text(name), text(value))).collect();
    let cancel = CancelTarget::new(Arc::clone(&pool.connector), connected.pid, connected.secret);
    let mut server = Server::new(connected.stream, dress, cancel);
    // Whoever changed the database's code without greenroom: it is noticed with the next connection.
    let asked = timeout(limits.create_timeout, pool.facts.ask(&mut server)).await;
    asked.map_err(|_| timed_out(pool, limits.create_timeout))??;
    Ok((server, state, parameters))
}

fn timed_out(pool: &Pool, limit: Duration) -> OpenError {
    OpenError::TimedOut { address: pool.key.address.to_string(), limit }
}
