//! `greenroom serve`: the configuration, the log, the runtime, then the proxy until a signal ends it.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::runtime::{self, StopSignals};
use super::{ConfigFiles, environment, logging, reload};
use crate::config::Config;
use crate::proxy::Proxy;

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) fn run(files: &ConfigFiles) -> anyhow::Result<()> {
    let (read, seen) = Config::look(&files.paths(), &environment());
    let (config, written) = read?;
    let set_log_level = logging::start(&config.log)?;
    runtime::with_threads(config.threads)?.block_on(async {
        // From here on a signal asks for an orderly end, or for another look at the configuration, even while we are still
        // starting.
        let (stop, hangup) = (StopSignals::listen()?, signal(SignalKind::hangup())?);
        let proxy = Proxy::start(config.clone()).await.context("cannot start")?;
        for address in proxy.addresses() {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = proxy.http_address() {
            tracing::info!(%address, "metrics and health");
        }
        let reload = proxy.reload((config, written), set_log_level);
        tokio::select! {
            () = runtime::serve(proxy, stop) => {}
            () = reload::watch(files, seen, hangup, reload) => {}
        }
        Ok(())
    })
}
