//! Every number greenroom tells: what exists, who counts it, and how it is written for Prometheus.
//!
//! [`Metrics`] owns one registry; there is no global one. A part resolves its children once and keeps them:
//! [`Metrics::plugin`], [`Metrics::server`] and [`Metrics::pool`] look a name up and may allocate, what they return is
//! plain atomics. Gauges are raised by a guard that lowers them when it is dropped, so counts always come back.
//!
//! - [`family`]: the table of all families; docs/metrics.md says the same to an operator.
//! - [`label`]: the label values that are fixed, and what becomes of names that come from outside.
//! - [`guard`]: gauges that count what is there now.
//! - [`plugin`], [`server`]: the children of one plugin, of one PostgreSQL server and of one pool.

pub mod family;
pub mod guard;
pub mod label;
pub mod plugin;
pub mod server;

use std::sync::Arc;
use std::time::SystemTime;

use prometheus::{IntCounterVec, IntGauge, Registry, TextEncoder};

pub use guard::{GaugeGuard, InState, StateGauges};
pub use label::{
    ClientState, ConnectResult, DeafReason, Label, LoginResult, PasswordSource, ReloadResult, RenewalResult,
    ServerState,
};
pub use plugin::PluginMetrics;
pub use server::{PoolMetrics, ServerMetrics};

use family::Families;
use guard::ResultCounters;
use label::Capped;
use plugin::PluginVecs;
use server::ServerVecs;

/// All metrics of one proxy.
pub struct Metrics {
    registry: Registry,
    plugin_vecs: PluginVecs,
    plugins: Capped<PluginMetrics>,
    server_vecs: Arc<ServerVecs>,
    servers: Capped<ServerMetrics>,
    evictions: IntCounterVec,
    closed: IntCounterVec,
    /// By the index of the source.
    renewals: Box<[ResultCounters<RenewalResult>]>,
    reloads: ResultCounters<ReloadResult>,
    config_read: IntGauge,
    max_names: usize,
}

impl Metrics {
    /// Registers every family. At most `max_plugins` plugins, and as many servers and databases of each server, get a
    /// label of their own: the first ones asked for. The rest share `other`.
    pub fn new(max_plugins: usize) -> Arc<Self> {
        let registry = Registry::new();
        let families = Families::new(&registry);
        families.gauges("greenroom_build_info").with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        families.process();
        let renewals = families.counters("greenroom_password_renewals_total");
        let of = |source: &PasswordSource| {
            ResultCounters::new(|result| renewals.with_label_values(&[source.as_str(), result]))
        };
        let reloads = families.counters("greenroom_config_reloads_total");
        Arc::new(Self {
            reloads: ResultCounters::new(|result| reloads.with_label_values(&[result])),
            config_read: families
                .gauges("greenroom_config_last_success_timestamp_seconds")
                .with_label_values::<&str>(&[]),
            plugin_vecs: PluginVecs::new(&families),
            plugins: Capped::new(max_plugins),
            server_vecs: Arc::new(ServerVecs::new(&families)),
            servers: Capped::new(max_plugins),
            closed: families.counters("greenroom_server_closed_total"),
            evictions: families.counters("greenroom_evictions_total"),
            renewals: PasswordSource::ALL.iter().map(of).collect(),
            max_names: max_plugins,
            registry,
        })
    }

    /// The metrics of one plugin: its own, or those of `other` once the cap is reached.
    pub fn plugin(&self, name: &str) -> Arc<PluginMetrics> {
        self.plugins.get(&label::name(name), |label| self.plugin_vecs.plugin(label))
    }

    /// The metrics of clients whose plugin is not known (yet): before the startup message, or refused for its database.
    /// They never use up a label that a plugin could have.
    pub fn unknown(&self) -> Arc<PluginMetrics> {
        self.plugin(label::UNKNOWN)
    }

    /// Every plugin seen so far, by name.
    pub fn plugins(&self) -> Vec<Arc<PluginMetrics>> {
        self.plugins.all()
    }

    /// The metrics of one PostgreSQL server, by its address as text.
    pub fn server(&self, address: &str) -> Arc<ServerMetrics> {
        self.servers
            .get(&label::address(address), |label| ServerMetrics::new(label, self.server_vecs.clone(), self.max_names))
    }

    /// The metrics of the pools of one physical database on one server.
    pub fn pool(&self, address: &str, database: &str) -> Arc<PoolMetrics> {
        self.server(address).pool(database)
    }

    /// Counts a server connection that was closed, and why.
    pub fn closed(&self, reason: &'static str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// Counts an idle connection of a database that gave its place to another one's.
    pub fn evicted(&self, from: &str, to: &str) {
        self.evictions.with_label_values(&[from, to]).inc();
    }

    /// Counts a password that was, or could not be, renewed.
    pub fn password_renewal(&self, source: PasswordSource, result: RenewalResult) {
        self.renewals[source.index()].count(result);
    }

    /// Counts a reading of the changed configuration, and how it ended.
    pub fn reload(&self, result: ReloadResult) {
        self.reloads.count(result);
    }

    /// The configuration was read without a mistake, at that time.
    pub fn config_read(&self, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.config_read.set(since.as_secs().try_into().unwrap_or(i64::MAX));
    }

    /// Writes everything in Prometheus' text format 0.0.4. It reads `/proc` and takes about a millisecond for 500
    /// series: not for a thread that relays.
    pub fn encode(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("a gathered family has a name and samples")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_beyond_the_cap_share_the_label_other() {
        let metrics = Metrics::new(2);
        for name in ["catalog", "scaffolder", "search", "auth"] {
            metrics.plugin(name).queries.inc();
        }
        metrics.unknown().queries.inc();
        metrics.plugin("catalog").queries.inc();

        let text = metrics.encode();
        assert!(text.contains("greenroom_queries_total{plugin=\"catalog\"} 2\n"), "{text}");
        assert!(text.contains("greenroom_queries_total{plugin=\"scaffolder\"} 1\n"), "{text}");
        assert!(text.contains("greenroom_queries_total{plugin=\"other\"} 2\n"), "{text}");
        assert!(text.contains("greenroom_queries_total{plugin=\"unknown\"} 1\n"), "{text}");
        assert!(!text.contains("search") && !text.contains("auth"), "{text}");
    }

    #[test]
    fn databases_beyond_the_cap_share_the_label_other() {
        let metrics = Metrics::new(1);
        let _catalog = metrics.pool("db:5432", "catalog").connections.enter(ServerState::Idle);
        let _stranger = metrics.pool("db:5432", "x1").connections.enter(ServerState::Idle);
        let _another = metrics.pool("db:5432", "x2").connections.enter(ServerState::Idle);

        let text = metrics.encode();
        assert!(
            text.contains("greenroom_server_connections{database=\"other\",server=\"db:5432\",state=\"idle\"} 2\n"),
            "{text}"
        );
        assert!(!text.contains("x1"), "{text}");
    }

    #[test]
    fn a_name_from_outside_cannot_write_lines_of_its_own() {
        let metrics = Metrics::new(10);
        metrics.plugin("a\"} 9\nfake_total{x=\"y").queries.inc();
        metrics.plugin(&"n".repeat(5000)).queries.inc();
        metrics.plugin("").queries.inc();

        let text = metrics.encode();
        assert!(!text.lines().any(|line| line.starts_with("fake_total")), "{text}");
        assert!(text.lines().all(|line| line.len() < 300), "{text}");
        assert!(text.contains("greenroom_queries_total{plugin=\"unknown\"} 1\n"), "{text}");
    }

    #[test]
    fn two_proxies_count_apart() {
        let (one, two) = (Metrics::new(10), Metrics::new(10));
        one.plugin("catalog").transactions.inc();
        assert_eq!(two.plugin("catalog").transactions.get(), 0);
    }

    #[test]
    fn a_fresh_proxy_tells_its_version() {
        let version = env!("CARGO_PKG_VERSION");
        let text = Metrics::new(0).encode();
        assert!(text.contains(&format!("greenroom_build_info{{version=\"{version}\"}} 1\n")), "{text}");
    }
}
