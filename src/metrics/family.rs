//! The table of every metric family, and the only place where families are registered.

use std::fmt;

use prometheus::core::Collector;
use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// What a family counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Durations, by bucket.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// One row of the table. The unit is the end of the name: `_seconds`, `_bytes`, or things counted.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it counts in.
    pub kind: Kind,
    /// The names of its labels, in the order their values are given.
    pub labels: &'static [&'static str],
    /// What it means, in one line.
    pub help: &'static str,
}

const fn row(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind, labels, help }
}

/// Every family that greenroom exports. docs/metrics.md says more of each; a test holds the two together.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    row("greenroom_build_info", Kind::Gauge, &["version"], "Always 1; the label tells the running version."),
    row("greenroom_config_reloads_total", Kind::Counter, &["result"], "Times the configuration was read again."),
    row("greenroom_config_last_success_timestamp_seconds", Kind::Gauge, &[], "When the configuration was last read without a mistake, as Unix time."),
    row("greenroom_client_connections", Kind::Gauge, &["plugin", "state"], "Clients connected now."),
    row("greenroom_client_logins_total", Kind::Counter, &["plugin", "result"], "Client logins that ended."),
    row("greenroom_server_connections", Kind::Gauge, &["server", "database", "state"], "Connections to PostgreSQL now."),
    row("greenroom_server_connects_total", Kind::Counter, &["server", "result"], "Attempts to connect to PostgreSQL that ended."),
    row("greenroom_server_limit", Kind::Gauge, &["server", "limit"], "Limits of a PostgreSQL server, as configured."),
    row("greenroom_server_at_ceiling_seconds_total", Kind::Counter, &["server"], "Time during which every place under the ceiling was taken."),
    row("greenroom_evictions_total", Kind::Counter, &["from", "to"], "Idle connections that gave their place to another pool."),
    row("greenroom_pool_limit", Kind::Gauge, &["plugin", "limit"], "Limits of a plugin, as configured."),
    row("greenroom_server_closed_total", Kind::Counter, &["reason"], "Connections to PostgreSQL that were closed."),
    row("greenroom_password_renewals_total", Kind::Counter, &["source", "result"], "Passwords read anew from files that had changed, and runs of commands that print them."),
    row("greenroom_leases", Kind::Gauge, &["plugin"], "Server connections on loan now."),
    row("greenroom_acquire_seconds", Kind::Histogram, &["plugin"], "From asking for a server to having one or giving up."),
    row("greenroom_acquire_waiting", Kind::Gauge, &["plugin"], "Requests for a server that wait now."),
    row("greenroom_acquire_timeouts_total", Kind::Counter, &["plugin"], "Requests for a server that waited for the whole acquire timeout."),
    row("greenroom_transactions_total", Kind::Counter, &["plugin"], "Transactions that ended."),
    row("greenroom_transaction_seconds", Kind::Histogram, &["plugin"], "From a transaction's first message to its end."),
    row("greenroom_queries_total", Kind::Counter, &["plugin"], "Query, Execute and FunctionCall messages of clients."),
    row("greenroom_public_references_total", Kind::Counter, &["plugin"], "Statements that name the schema public by hand, in schema division."),
    row("greenroom_bytes_total", Kind::Counter, &["plugin", "direction"], "Bytes of the protocol received from and sent to clients."),
    row("greenroom_pins_total", Kind::Counter, &["plugin", "reason"], "Sessions that began to keep their server beyond a transaction."),
    row("greenroom_pinned_sessions", Kind::Gauge, &["plugin", "reason"], "Sessions that keep their server beyond a transaction now."),
    row("greenroom_listening_clients", Kind::Gauge, &["plugin"], "Clients for which greenroom listens to channels now."),
    row("greenroom_listening_ended_total", Kind::Counter, &["plugin", "reason"], "Clients that were ended because they would have missed a notification."),
    row("greenroom_notifications_total", Kind::Counter, &["plugin"], "Notifications that greenroom heard for clients and gave them."),
    row("greenroom_channels", Kind::Gauge, &["server", "database"], "Channels that greenroom listens to now."),
    row("process_cpu_seconds_total", Kind::Counter, &[], "Total user and system CPU time spent in seconds."),
    row("process_max_fds", Kind::Gauge, &[], "Maximum number of open file descriptors."),
    row("process_open_fds", Kind::Gauge, &[], "Number of open file descriptors."),
    row("process_resident_memory_bytes", Kind::Gauge, &[], "Resident memory size in bytes."),
    row("process_start_time_seconds", Kind::Gauge, &[], "Start time of the process since unix epoch in seconds."),
    row("process_threads", Kind::Gauge, &[], "Number of OS threads in the process."),
    row("process_virtual_memory_bytes", Kind::Gauge, &[], "Virtual memory size in bytes."),
];

/// From half a millisecond, a fast transaction, to a minute, beyond every default timeout. 25 s is the default acquire
/// timeout: what lies above it waited in vain.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0];

/// Registers families by the name they have in the table.
pub(super) struct Families<'a> {
    registry: &'a Registry,
}

impl<'a> Families<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self { registry }
    }

    pub(super) fn counters(&self, name: &str) -> IntCounterVec {
        let family = family(name, Kind::Counter);
        self.registered(IntCounterVec::new(Opts::new(family.name, family.help), family.labels))
    }

    /// A counter of time.
    pub(super) fn seconds(&self, name: &str) -> CounterVec {
        let family = family(name, Kind::Counter);
        self.registered(CounterVec::new(Opts::new(family.name, family.help), family.labels))
    }

    pub(super) fn gauges(&self, name: &str) -> IntGaugeVec {
        let family = family(name, Kind::Gauge);
        self.registered(IntGaugeVec::new(Opts::new(family.name, family.help), family.labels))
    }

    pub(super) fn histograms(&self, name: &str) -> HistogramVec {
        let family = family(name, Kind::Histogram);
        let opts = HistogramOpts::new(family.name, family.help).buckets(SECONDS.to_vec());
        self.registered(HistogramVec::new(opts, family.labels))
    }

    /// The `process_` families, read from /proc when they are asked for.
    pub(super) fn process(&self) {
        #[cfg(target_os = "linux")]
        self.registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("no other family has a name of the process collector");
    }

    fn registered<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect("names and labels of the table are valid");
        self.registry.register(Box::new(collector.clone())).expect("each row of the table is registered once");
        collector
    }
}

fn family(name: &str, kind: Kind) -> &'static Family {
    let found = FAMILIES.iter().find(|family| family.name == name && family.kind == kind);
    found.expect("a family is made from its row in the table")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics::{
        ClientState, ConnectResult, DeafReason, Label, LoginResult, Metrics, PasswordSource, ReloadResult,
        RenewalResult, ServerState,
    };

    const DOCS: &str = include_str!("../../docs/metrics.md");

    /// Metrics of which every family has a child, as exported.
    fn exported() -> String {
        let metrics = Metrics::new(10);
        let _pin = metrics.plugin("catalog").pin("listen");
        let _connection = metrics.pool("db:5432", "backstage").connections.enter(ServerState::Idle);
        metrics.closed("idle");
        metrics.evicted("backstage", "other");
        metrics.server("db:5432").limit("maxServerConnections", 12);
        metrics.plugin("catalog").limit("catalog", "max", 10);
        metrics.encode()
    }

    #[test]
    fn what_is_exported_is_exactly_the_table() {
        let text = exported();
        let types: BTreeSet<String> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).map(str::to_owned).collect();
        let table: BTreeSet<String> =
            FAMILIES.iter().map(|family| format!("{} {}", family.name, family.kind)).collect();
        assert_eq!(types, table);
        for family in FAMILIES {
            let help = format!("# HELP {} {}\n", family.name, family.help);
            assert!(family.name.starts_with("process_") || text.contains(&help), "{help}");
        }
    }

    #[test]
    fn exported_series_bear_the_labels_of_the_table() {
        let text = exported();
        for family in FAMILIES.iter().filter(|family| !family.labels.is_empty()) {
            let series = text.lines().find(|line| line.starts_with(&format!("{}{{", sample(family)))).unwrap();
            let labels = &series[series.find('{').unwrap() + 1..series.rfind('}').unwrap()];
            let names: BTreeSet<&str> = labels.split(',').map(|label| label.split('=').next().unwrap()).collect();
            assert_eq!(names, family.labels.iter().copied().collect(), "{series}");
        }
    }

    fn sample(family: &Family) -> String {
        match family.kind {
            Kind::Histogram => format!("{}_count", family.name),
            Kind::Counter | Kind::Gauge => family.name.to_owned(),
        }
    }

    #[test]
    fn the_docs_have_one_row_for_each_family_with_its_type_and_labels() {
        let documented: Vec<&str> = DOCS
            .lines()
            .filter(|line| line.starts_with("| `greenroom_") || line.starts_with("| `process_"))
            .map(|line| &line[..line.match_indices('|').nth(3).unwrap().0 + 1])
            .collect();
        let table: Vec<String> = FAMILIES
            .iter()
            .map(|family| {
                let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
                let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
                format!("| `{}` | {} | {labels} |", family.name, family.kind)
            })
            .collect();
        assert_eq!(documented, table);
    }

    #[test]
    fn every_series_that_the_docs_ask_prometheus_for_exists() {
        let series: BTreeSet<String> = FAMILIES
            .iter()
            .flat_map(|family| match family.kind {
                Kind::Histogram => {
                    ["", "_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)).to_vec()
                }
                Kind::Counter | Kind::Gauge => vec![family.name.to_owned()],
            })
            .collect();
        let words = DOCS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("greenroom_") || word.starts_with("process_")) {
            assert!(series.contains(word), "docs/metrics.md names {word}");
        }
    }

    #[test]
    fn the_docs_explain_every_fixed_label_value() {
        fn values<L: Label>() -> Vec<&'static str> {
            L::ALL.iter().map(|label| label.as_str()).collect()
        }
        let all = [
            values::<ClientState>(),
            values::<LoginResult>(),
            values::<ServerState>(),
            values::<DeafReason>(),
            values::<ConnectResult>(),
            values::<PasswordSource>(),
            values::<RenewalResult>(),
            values::<ReloadResult>(),
        ]
        .concat();
        for value in all.into_iter().chain(["received", "sent", "other", "unknown"]) {
            assert!(DOCS.contains(&format!("| `{value}` |")), "docs/metrics.md lacks {value}");
        }
    }
}
