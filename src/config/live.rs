//! What can change while greenroom runs: every limit, and the level of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Config, Connection, DatabaseConfig, LogConfig, LogLevel, PluginSettings, PoolLimits, ServerLimits, Timeouts,
};

/// Every limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of each PostgreSQL server.
    pub server: ServerLimits,
    /// In time, on what clients do.
    pub timeouts: Timeouts,
    /// How long a drain waits for transactions to end.
    pub shutdown_grace: Duration,
    /// The least important line of the log.
    pub log_level: LogLevel,
    /// Of plugins of which something particular is said, and of databases that are no plugin's.
    plugins: BTreeMap<Arc<str>, PluginLimits>,
    /// Of all others.
    base: PluginLimits,
}

/// What a plugin may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLimits {
    /// Its limits.
    pub pool: PoolLimits,
    /// Its share of a server that several plugins wait for, beside theirs; at least 1.
    pub weight: u32,
}

impl Limits {
    /// Those of a plugin, or of a database that is no plugin's, by its name.
    pub fn plugin(&self, id: &str) -> &PluginLimits {
        self.plugins.get(id).unwrap_or(&self.base)
    }
}

impl Config {
    /// What of it can change while greenroom runs.
    pub fn limits(&self) -> Limits {
        let of = |settings: &PluginSettings| PluginLimits { pool: settings.limits.clone(), weight: settings.weight };
        let (database, own) = (&self.database, |limits: &PoolLimits| PluginLimits { pool: limits.clone(), weight: 1 });
        let others = database.others.iter().map(|(name, other)| (Arc::clone(name), own(&other.limits)));
        let plugins = database.plugins.iter().map(|(id, settings)| (Arc::clone(id), of(settings)));
        Limits {
            server: self.server_limits,
            timeouts: self.timeouts.clone(),
            shutdown_grace: self.shutdown_grace,
            log_level: self.log.level,
            plugins: others.chain(plugins).collect(),
            base: of(&database.base),
        }
    }

    /// Whether the two differ in nothing but limits. How many greenrooms share a server counts only for `check`.
    pub(super) fn differs_in_limits_alone(&self, other: &Self) -> bool {
        let format = |log: &LogConfig| log.format;
        (&self.listeners, &self.http, self.threads, self.metrics, format(&self.log))
            == (&other.listeners, &other.http, other.threads, other.metrics, format(&other.log))
            && self.database.is_in_the_same_places(&other.database)
    }
}

impl DatabaseConfig {
    fn is_in_the_same_places(&self, other: &Self) -> bool {
        let rules = |config: &Self| {
            let Self { backstage_division, prefix, schema_prefix, unknown, .. } = config;
            (*backstage_division, Arc::clone(prefix), Arc::clone(schema_prefix), *unknown)
        };
        let ids: BTreeSet<&Arc<str>> = self.plugins.keys().chain(other.plugins.keys()).collect();
        rules(self) == rules(other)
            && self.base.place == other.base.place
            && ids.into_iter().all(|id| self.plugin(id).place == other.plugin(id).place)
            && self.other_places().eq(other.other_places())
    }

    fn other_places(&self) -> impl Iterator<Item = (&Arc<str>, (&Connection, &Arc<str>))> {
        self.others.iter().map(|(name, other)| (name, other.place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "backend: {{ database: {{ client: pg, connection: {{ host: db, user: u, password: p }} }} }}\n{more}"
        );
        Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn limits_are_those_of_the_plugin_of_the_database_or_of_all() {
        let limits = config(
            "greenroom: { pool: { max: 7 }, plugin: { catalog: { weight: 4, pool: { max: 20 } } }, \
             database: { reports: { pool: { max: 2 } } } }",
        )
        .limits();
        let of = |id: &str| (limits.plugin(id).pool.max, limits.plugin(id).weight);
        assert_eq!([of("catalog"), of("reports"), of("auth")], [(20, 4), (2, 1), (7, 1)]);
    }

    #[test]
    fn what_is_no_limit_is_told_apart() {
        let plain = config("");
        let same = |more: &str| config(more).differs_in_limits_alone(&plain);
        for limit in [
            "greenroom: { pool: { max: 3, mode: session }, maxServerConnections: 4, replicas: 3 }",
            "greenroom: { plugin: { catalog: { weight: 2 } }, timeouts: { transactionMillis: 1 }, log: { level: debug } }",
        ] {
            assert!(same(limit), "{limit}");
        }
        for other in [
            "greenroom: { listen: [{ host: 127.0.0.1, port: 1 }] }",
            "greenroom: { http: false }",
            "greenroom: { threads: 2 }",
            "greenroom: { metrics: { maxPlugins: 2 } }",
            "greenroom: { log: { format: json } }",
            "greenroom: { unknownDatabases: passthrough }",
            "greenroom: { clientPassword: x }",
            "greenroom: { plugin: { catalog: { clientPassword: x } } }",
            "greenroom: { database: { reports: {} } }",
        ] {
            assert!(!same(other), "{other}");
        }
    }
}
