//! The running process: listens, accepts, reloads, and drains.
//!
//! [`Proxy`] owns everything that is shared and hands it down; nothing of it is global, so that two proxies can run side by
//! side in one process.

mod reload;
mod start;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use reload::Reload;
pub use start::StartError;

use crate::admin::{HttpServer, Readiness};
use crate::client::{self, Shared};
use crate::config::{AuthMethod, ListenAddress};
use crate::net::Listening;

/// How long servers may take to end; what they do is cancelled.
const SERVERS_END: Duration = Duration::from_secs(10);

/// How long clients that were told to go may take to go.
const FAREWELL: Duration = Duration::from_secs(2);

/// A proxy that listens.
pub struct Proxy {
    listeners: Vec<(Listening, AuthMethod)>,
    http: Option<HttpServer>,
    readiness: Arc<Readiness>,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Where clients are accepted, with the real ports.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(|(listening, _)| listening.local_address().clone()).collect()
    }

    /// Where metrics and health are served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|http| http.local_addr().ok())
    }

    /// Serves until `stop` is ready, then drains: no new clients, transactions end, then their clients are told to go.
    /// After the grace period whoever is left is dropped, which rolls back. Dropping the future ends everything at once.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let Self { listeners, http, readiness, shared } = self;
        let (accepting, serving_http) = (CancellationToken::new(), CancellationToken::new());
        let (clients, services) = (TaskTracker::new(), TaskTracker::new());
        // Whatever ends this future ends the tasks as well.
        let kill = CancellationToken::new();
        let _on_drop = (accepting.clone().drop_guard(), serving_http.clone().drop_guard(), kill.clone().drop_guard());

        if let Some(http) = http {
            let (readiness, metrics) = (Arc::clone(&readiness), Arc::clone(&shared.metrics));
            services.spawn(http.serve(readiness, metrics, serving_http.clone()));
        }
        for (listening, auth) in listeners {
            let accepting = accepting.clone();
            services.spawn(accept(listening, auth, Arc::clone(&shared), clients.clone(), accepting, kill.clone()));
        }
        readiness.set_ready();
        tracing::info!("ready");
        stop.await;

        tracing::info!(clients = clients.len(), "draining");
        readiness.set_draining();
        accepting.cancel();
        shared.draining.cancel();
        clients.close();
        if timeout(shared.epoch().shutdown_grace, clients.wait()).await.is_err() {
            tracing::warn!(clients = clients.len(), "grace period is over (greenroom.shutdownGraceMillis)");
            shared.ending.cancel();
            if timeout(FAREWELL, clients.wait()).await.is_err() {
                kill.cancel();
                clients.wait().await;
            }
        }
        if timeout(SERVERS_END, shared.pools.close()).await.is_err() {
            tracing::warn!("PostgreSQL did not close its end of every connection");
        }
        serving_http.cancel();
        services.close();
        services.wait().await;
        tracing::info!("stopped");
    }
}

/// Accepts clients of one listener, each in a task of its own.
async fn accept(
    mut listening: Listening,
    auth: AuthMethod,
    shared: Arc<Shared>,
    clients: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
) {
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listening.accept() => accepted,
            () = stop.cancelled() => return,
        };
        tracing::trace!(?peer, "accepted");
        let (shared, kill) = (Arc::clone(&shared), kill.clone());
        clients.spawn(async move {
            tokio::select! {
                () = client::serve(stream, auth, &shared) => {}
                () = kill.cancelled() => {}
            }
        });
    }
}
