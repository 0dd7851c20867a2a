//! A running greenroom, in this process, and everything a test wants of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use greenroom::config::{Config, ListenAddress};
use greenroom::proxy::Reload;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Client, Greenroom, Metrics, Program, RawClient, Stage, Startup, soon};

/// A running greenroom; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(super) stage: Option<Stage>,
    pub(super) addresses: Vec<ListenAddress>,
    /// Where /metrics is.
    pub(crate) http: SocketAddr,
    /// The login of every route.
    pub(crate) login: String,
    /// Its password.
    pub(crate) password: String,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) serving: JoinHandle<()>,
    pub(super) socket_dir: Option<PathBuf>,
    pub(super) described: Greenroom,
    pub(super) reload: Reload,
}

/// The logical database of a plugin.
pub(crate) fn logical(plugin: &str) -> String {
    format!("backstage_plugin_{plugin}")
}

impl Room {
    /// The database and login behind this greenroom.
    pub(crate) fn stage(&self) -> &Stage {
        self.stage.as_ref().expect("a greenroom before a fake server has no stage")
    }

    /// The database and login behind this greenroom, to stop and kill its PostgreSQL.
    pub(crate) fn stage_mut(&mut self) -> &mut Stage {
        self.stage.as_mut().expect("a greenroom before a fake server has no stage")
    }

    /// The TCP address.
    pub(crate) fn address(&self) -> &ListenAddress {
        &self.addresses[0]
    }

    /// The unix socket of a greenroom that was asked for one.
    pub(crate) fn socket(&self) -> &ListenAddress {
        &self.addresses[1]
    }

    /// What a plugin's client says to log in.
    pub(crate) fn startup(&self, plugin: &str) -> Startup {
        Startup::new(&self.login, &self.password, &logical(plugin))
    }

    /// A plugin's client, as an application has it.
    pub(crate) async fn client(&self, plugin: &str) -> Client {
        Client::connect(self.address(), &self.login, &self.password, &logical(plugin)).await
    }

    /// A plugin's client, made of hand-written frames.
    pub(crate) async fn raw(&self, plugin: &str) -> RawClient {
        RawClient::log_in(self.address(), &self.startup(plugin)).await
    }

    /// A program of PostgreSQL as a plugin's client: `psql`, `pgbench`.
    pub(crate) fn program(&self, name: &str, plugin: &str) -> Program {
        let ListenAddress::Tcp { port, .. } = self.address() else { panic!("the first listener is TCP") };
        Program::new(&self.stage().postgres().bin_dir().join(name))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", &port.to_string())
            .env("PGUSER", &self.login)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", &logical(plugin))
    }

    /// What /metrics says now.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::read(self.http).await
    }

    /// Changes its configuration while it runs.
    pub(crate) fn reload(&mut self, describe: impl FnOnce(Greenroom) -> Greenroom) {
        self.described = describe(std::mem::take(&mut self.described));
        let text = self.described.text();
        self.reload_text(&text);
    }

    /// Has it read any other text instead.
    pub(crate) fn reload_text(&mut self, text: &str) {
        self.reload.apply(Config::parse_as_written(text));
    }

    /// Asks greenroom to stop: from here on it drains.
    pub(crate) fn stop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }

    /// Waits until greenroom has stopped.
    pub(crate) async fn stopped(&mut self) {
        soon("greenroom's end", &mut self.serving).await.expect("greenroom ends without a panic");
    }
}

impl Room {
    /// Stops greenroom and gives its stage back, for another one.
    pub(crate) async fn close(&mut self) -> Stage {
        self.stop();
        self.stopped().await;
        self.stage.take().expect("a greenroom before a fake server has no stage")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.serving.abort();
        if let Some(dir) = &self.socket_dir {
            // The directory may hold the socket of an aborted greenroom.
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
