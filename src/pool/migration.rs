//! A plugin whose migrations are in progress: its requests are served before others', for a time.
//!
//! Migrations are many statements, one after the other, and the plugin does nothing else until they are done: at the ceiling
//! each of them would wait behind everybody. Knex takes its lock on one connection and may migrate on another, so it is the
//! plugin that is preferred, not the session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Member;
use super::scheduler::Scheduler;

/// The longest that a plugin is preferred for one lock: migrations that take longer wait like everybody.
const LONGEST: Duration = Duration::from_secs(600);

/// Migrations that began in a session; they end with it at the latest.
#[derive(Debug)]
pub struct Migration {
    scheduler: Arc<Scheduler>,
    plugin: usize,
    id: u64,
}

impl Member {
    /// The plugin has taken the lock of its migrations: until that is given back, the session ends or ten minutes have
    /// passed, its requests are served before others'.
    pub fn migrate(&self) -> Migration {
        let (scheduler, plugin) = (Arc::clone(&self.pool.scheduler), self.plugin_index);
        let id = scheduler.migration_began(plugin, Instant::now() + LONGEST);
        tracing::debug!(plugin = self.plugin.as_str(), "migrations begin: the plugin is served first");
        Migration { scheduler, plugin, id }
    }

    /// The plugin has given the lock back, in whatever session.
    pub fn end_migration(&self) {
        self.pool.scheduler.migration_ended(self.plugin_index, None);
        tracing::debug!(plugin = self.plugin.as_str(), "migrations have ended");
    }
}

impl Drop for Migration {
    fn drop(&mut self) {
        self.scheduler.migration_ended(self.plugin, Some(self.id));
    }
}
