//! `greenroom serve`: the configuration, the log, the runtime, then the proxy until a signal ends it.

use anyhow::Context as _;

use super::runtime::{self, StopSignals};
use super::{ConfigFiles, environment, logging};
use crate::config::Config;
use crate::proxy::Proxy;

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) fn run(files: &ConfigFiles) -> anyhow::Result<()> {
    let config = Config::load(&files.paths(), &environment())?;
    logging::start(&config.log)?;
    runtime::with_threads(config.threads)?.block_on(async {
        // From here on a signal asks for an orderly end, even while we are still starting.
        let stop = StopSignals::listen()?;
        let proxy = Proxy::start(config).await.context("cannot start")?;
        for address in proxy.addresses() {
            tracing::info!(%address, "listening");
        }
        runtime::serve(proxy, stop).await;
        Ok(())
    })
}
