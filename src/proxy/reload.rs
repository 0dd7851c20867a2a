//! A changed configuration: its limits are applied to the running proxy, and what else is new is named.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::Proxy;
use crate::client::Shared;
use crate::config::{Changes, Config, ConfigErrors, LogLevel, Written};
use crate::metrics::ReloadResult;

/// Applies what can change while a proxy runs.
pub struct Reload {
    shared: Arc<Shared>,
    /// What the proxy was started with: it counts for everything but limits.
    started: (Config, Written),
    /// What was applied last, if anything was.
    applied: Option<(Config, Written)>,
    set_log_level: Box<dyn Fn(LogLevel) + Send>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}

impl Proxy {
    /// What changes the limits of this proxy, which was started with that configuration, and the level of the log.
    pub fn reload(&self, started: (Config, Written), set_log_level: impl Fn(LogLevel) + Send + 'static) -> Reload {
        let shared = Arc::clone(&self.shared);
        Reload { shared, started, applied: None, set_log_level: Box::new(set_log_level) }
    }
}

impl Reload {
    /// Takes what came of reading the configuration again. One with a mistake changes nothing. The log and the metrics say
    /// what is in force now, and what needs a restart.
    pub fn apply(&mut self, read: Result<(Config, Written), ConfigErrors>) {
        let (config, written) = match read {
            Ok(read) => read,
            Err(errors) => return self.refuse(&errors),
        };
        let in_force = self.applied.as_ref().unwrap_or(&self.started);
        let changes = Changes::between(&in_force.1, (&self.started.0, &self.started.1), (&config, &written));
        let new = config.warnings.iter().filter(|warning| !in_force.0.warnings.contains(warning));
        new.for_each(|warning| tracing::warn!("{warning}"));
        let limits = config.limits();
        if limits != in_force.0.limits() {
            self.shared.reload(&limits);
            (self.set_log_level)(limits.log_level);
        }
        match changes.limits.as_slice() {
            [] => tracing::info!("configuration read again: no limit has changed"),
            limits => tracing::info!(limits = limits.join(", "), "configuration read again: its limits are in force"),
        }
        let result = match changes.others.as_slice() {
            [] => ReloadResult::Ok,
            others => {
                tracing::warn!(keys = others.join(", "), "changes that are not in force: they need a restart");
                ReloadResult::Partial
            }
        };
        self.shared.metrics.reload(result);
        self.shared.metrics.config_read(SystemTime::now());
        self.applied = Some((config, written));
    }

    fn refuse(&self, errors: &ConfigErrors) {
        for mistake in errors.mistakes() {
            tracing::error!(%mistake, "the changed configuration is not used");
        }
        self.shared.metrics.reload(ReloadResult::Failed);
    }
}
