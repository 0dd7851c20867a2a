//! The whole of a configuration: `backend.database` and `greenroom`.

use super::check::check;
use super::database::Databases;
use super::endpoint::Reader;
use super::keys;
use super::listen::{http, listeners};
use super::section::Section;
use crate::config::mistake::Mistakes;
use crate::config::yaml::Node;
use crate::config::{Config, Environment, LogConfig, LogFormat, LogLevel, MetricsConfig, ServerLimits, Timeouts};

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// Reads a configuration from the merged files. `None`, or a mistake, is one that cannot be used.
pub(in crate::config) fn config(root: &Node, environment: &Environment, mistakes: &Mistakes) -> Option<Config> {
    let mut warnings = dropped(root, mistakes);
    let root = Section::of(root, mistakes);
    let own = root.section("greenroom");
    if let Some(node) = root.get("greenroom") {
        keys::check(node, mistakes);
    }
    let backend = root.section("backend");
    let mut written = Vec::new();
    let database =
        Databases::new(&backend, own.clone(), Reader { environment, mistakes }).read(&mut written, &mut warnings);
    let listeners = listeners(&own, mistakes);
    check(&written, &listeners, mistakes);
    let (log, metrics) = (own.section("log"), own.section("metrics"));
    warnings.extend(mistakes.remarks());
    let http = http(&own, &listeners);
    Some(Config {
        listeners: listeners.into_iter().map(|(listener, _)| listener).collect(),
        http,
        server_limits: ServerLimits::new(
            own.count("maxServerConnections", 1).unwrap_or(ServerLimits::CEILING),
            own.count("reservedConnections", 0).unwrap_or(ServerLimits::RESERVED),
            own.count("maxParallelConnects", 1).unwrap_or(ServerLimits::PARALLEL_CONNECTS),
        ),
        replicas: own.count("replicas", 1).unwrap_or(1),
        threads: own.whole("threads", 1..=1024).and_then(|threads| threads.try_into().ok()).unwrap_or(1),
        timeouts: timeouts(&own.section("timeouts")),
        shutdown_grace: own
            .millis_or_off("shutdownGraceMillis")
            .map_or(Config::SHUTDOWN_GRACE, |grace| grace.unwrap_or_default()),
        log: LogConfig {
            format: log.choice("format", FORMATS).unwrap_or_default(),
            level: log.choice("level", LEVELS).unwrap_or_default(),
        },
        metrics: MetricsConfig {
            max_plugins: metrics
                .whole("maxPlugins", 1..=10_000)
                .and_then(|most| most.try_into().ok())
                .unwrap_or(MetricsConfig::default().max_plugins),
        },
        warnings,
        database: database?,
    })
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    let standard = Timeouts::default();
    Timeouts {
        login: section.millis("loginMillis").unwrap_or(standard.login),
        idle_in_transaction: section.millis_or_off("idleInTransactionMillis").unwrap_or(standard.idle_in_transaction),
        transaction: section.millis_or_off("transactionMillis").unwrap_or(standard.transaction),
        idle_client: section.millis_or_off("idleClientMillis").unwrap_or(standard.idle_client),
        client_write: section.millis_or_off("clientWriteMillis").unwrap_or(standard.client_write),
        pin_idle: section.millis_or_off("pinIdleMillis").unwrap_or(standard.pin_idle),
    }
}

/// Tells which of our settings went away for want of a variable; it is Backstage's rule, and easily overlooked.
fn dropped(root: &Node, mistakes: &Mistakes) -> Vec<String> {
    let unset = mistakes.unset().into_iter().filter(|unset| !root.has(&unset.origin));
    unset.map(|unset| format!("{}: left out, for the variable {} is not set", unset.origin, unset.variable)).collect()
}
