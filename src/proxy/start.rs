//! Makes a proxy from its configuration.

use std::sync::Arc;
use std::time::SystemTime;

use super::Proxy;
use crate::admin::{HttpServer, Readiness};
use crate::client::Shared;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::{ListenError, Listening};
use crate::pool::Pools;
use crate::route::RouteTable;
use crate::secret::Secrets;

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error("cannot listen for clients (greenroom.listen)")]
    Listen(#[from] ListenError),
    /// The HTTP address cannot be had.
    #[error("cannot listen on {address} for metrics and health (greenroom.http)")]
    Http {
        /// Host and port.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Proxy {
    /// Listens as configured. PostgreSQL need not be there: that is found out by the first client, and tried again by the
    /// next.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let metrics = Metrics::new(config.metrics.max_plugins);
        metrics.config_read(SystemTime::now());
        let routes = RouteTable::new(&config);
        // Configured plugins get a label of their own before names that clients bring can use them up.
        routes.routes().for_each(|route| drop(metrics.plugin(route.plugin.as_str())));
        let mut listeners = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            listeners.push((Listening::bind(listener).await?, listener.auth));
        }
        let http = match &config.http {
            None => None,
            Some(at) => Some(
                HttpServer::bind(&at.host, at.port)
                    .await
                    .map_err(|source| StartError::Http { address: format!("{}:{}", at.host, at.port), source })?,
            ),
        };
        let secrets = Secrets::new(Arc::clone(&metrics));
        let limits = config.limits();
        let pools = Pools::new(limits.clone(), Arc::clone(&secrets), Arc::clone(&metrics));
        let shared = Arc::new(Shared::new(routes, pools, secrets, metrics, &limits));
        let readiness = Arc::new(Readiness::starting());
        Ok(Self { listeners, http, readiness, shared })
    }
}
