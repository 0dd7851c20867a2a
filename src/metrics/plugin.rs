//! What is counted for each plugin, resolved once so that counting is one atomic step.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::family::Families;
use super::guard::{GaugeGuard, ResultCounters, StateGauges};
use super::label::{ClientState, DeafReason, LoginResult};

/// The numbers of one plugin. Plugins beyond the cap share one of these, so a gauge is raised and lowered by a guard,
/// never set.
#[derive(Debug)]
pub struct PluginMetrics {
    /// The value of the label `plugin`.
    pub name: Box<str>,
    /// Clients, by what they are doing.
    pub clients: StateGauges<ClientState>,
    /// Server connections on loan.
    pub leases: IntGauge,
    /// From asking for a server to having one or giving up; also that of a wait that ended in a timeout.
    pub acquire_seconds: Histogram,
    /// Requests for a server that wait.
    pub acquire_waiting: IntGauge,
    /// Requests for a server that waited in vain.
    pub acquire_timeouts: IntCounter,
    /// Transactions that ended, well or not.
    pub transactions: IntCounter,
    /// From a transaction's first message to its ReadyForQuery.
    pub transaction_seconds: Histogram,
    /// Query, Execute and FunctionCall messages.
    pub queries: IntCounter,
    /// Texts that name the schema public by hand, where it is not the plugin's.
    pub public_references: IntCounter,
    /// Bytes from clients.
    pub bytes_received: IntCounter,
    /// Bytes to clients.
    pub bytes_sent: IntCounter,
    /// Clients for which channels are listened to.
    pub listening: IntGauge,
    /// Notifications that were heard for clients and given to them.
    pub notifications: IntCounter,
    deaf: ResultCounters<DeafReason>,
    logins: ResultCounters<LoginResult>,
    limits: IntGaugeVec,
    pins: IntCounterVec,
    pinned_sessions: IntGaugeVec,
}

impl PluginMetrics {
    /// Counts a login that ended.
    pub fn login(&self, result: LoginResult) {
        self.logins.count(result);
    }

    /// Counts a client that was ended because it would have missed a notification.
    pub fn deaf(&self, reason: DeafReason) {
        self.deaf.count(reason);
    }

    /// Shows a limit of the plugin by its name in the configuration. Plugins that share a label have no limits of their own
    /// to show.
    pub fn limit(&self, plugin: &str, name: &str, value: u32) {
        if *self.name == *plugin {
            self.limits.with_label_values(&[plugin, name]).set(value.into());
        }
    }

    /// Counts a session that is pinned now, and for as long as the guard lives. `reason` is one word of a fixed set.
    pub fn pin(&self, reason: &'static str) -> GaugeGuard {
        self.pins.with_label_values(&[&*self.name, reason]).inc();
        GaugeGuard::new(&self.pinned_sessions.with_label_values(&[&*self.name, reason]))
    }
}

/// The families that have the label `plugin`.
pub(super) struct PluginVecs {
    clients: IntGaugeVec,
    logins: IntCounterVec,
    leases: IntGaugeVec,
    acquire_seconds: HistogramVec,
    acquire_waiting: IntGaugeVec,
    acquire_timeouts: IntCounterVec,
    transactions: IntCounterVec,
    transaction_seconds: HistogramVec,
    queries: IntCounterVec,
    public_references: IntCounterVec,
    bytes: IntCounterVec,
    pins: IntCounterVec,
    pinned_sessions: IntGaugeVec,
    listening: IntGaugeVec,
    notifications: IntCounterVec,
    deaf: IntCounterVec,
    limits: IntGaugeVec,
}

impl PluginVecs {
    pub(super) fn new(families: &Families<'_>) -> Self {
        Self {
            clients: families.gauges("greenroom_client_connections"),
            logins: families.counters("greenroom_client_logins_total"),
            leases: families.gauges("greenroom_leases"),
            acquire_seconds: families.histograms("greenroom_acquire_seconds"),
            acquire_waiting: families.gauges("greenroom_acquire_waiting"),
            acquire_timeouts: families.counters("greenroom_acquire_timeouts_total"),
            transactions: families.counters("greenroom_transactions_total"),
            transaction_seconds: families.histograms("greenroom_transaction_seconds"),
            queries: families.counters("greenroom_queries_total"),
            public_references: families.counters("greenroom_public_references_total"),
            bytes: families.counters("greenroom_bytes_total"),
            pins: families.counters("greenroom_pins_total"),
            pinned_sessions: families.gauges("greenroom_pinned_sessions"),
            listening: families.gauges("greenroom_listening_clients"),
            notifications: families.counters("greenroom_notifications_total"),
            deaf: families.counters("greenroom_listening_ended_total"),
            limits: families.gauges("greenroom_pool_limit"),
        }
    }

    /// Resolves the children of one plugin, so that all its series exist from now on, at zero.
    pub(super) fn plugin(&self, name: &str) -> PluginMetrics {
        PluginMetrics {
            name: name.into(),
            clients: StateGauges::new(|state| self.clients.with_label_values(&[name, state])),
            leases: self.leases.with_label_values(&[name]),
            acquire_seconds: self.acquire_seconds.with_label_values(&[name]),
            acquire_waiting: self.acquire_waiting.with_label_values(&[name]),
            acquire_timeouts: self.acquire_timeouts.with_label_values(&[name]),
            transactions: self.transactions.with_label_values(&[name]),
            transaction_seconds: self.transaction_seconds.with_label_values(&[name]),
            queries: self.queries.with_label_values(&[name]),
            public_references: self.public_references.with_label_values(&[name]),
            bytes_received: self.bytes.with_label_values(&[name, "received"]),
            bytes_sent: self.bytes.with_label_values(&[name, "sent"]),
            listening: self.listening.with_label_values(&[name]),
            notifications: self.notifications.with_label_values(&[name]),
            deaf: ResultCounters::new(|reason| self.deaf.with_label_values(&[name, reason])),
            logins: ResultCounters::new(|result| self.logins.with_label_values(&[name, result])),
            pins: self.pins.clone(),
            pinned_sessions: self.pinned_sessions.clone(),
            limits: self.limits.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{LoginResult, Metrics};

    #[test]
    fn a_pin_is_counted_for_ever_and_its_session_while_it_lasts() {
        let metrics = Metrics::new(1);
        let plugin = metrics.plugin("catalog");
        let pin = plugin.pin("listen");
        let pinned = "greenroom_pinned_sessions{plugin=\"catalog\",reason=\"listen\"}";
        assert!(metrics.encode().contains(&format!("{pinned} 1\n")));

        drop(pin);
        let text = metrics.encode();
        assert!(text.contains(&format!("{pinned} 0\n")), "{text}");
        assert!(text.contains("greenroom_pins_total{plugin=\"catalog\",reason=\"listen\"} 1\n"), "{text}");
    }

    #[test]
    fn numbers_of_a_plugin_land_in_its_series() {
        let metrics = Metrics::new(1);
        let plugin = metrics.plugin("catalog");
        plugin.login(LoginResult::Denied);
        plugin.bytes_received.inc_by(17);
        plugin.acquire_seconds.observe(0.003);

        let text = metrics.encode();
        for series in [
            "greenroom_client_logins_total{plugin=\"catalog\",result=\"denied\"} 1\n",
            "greenroom_client_logins_total{plugin=\"catalog\",result=\"ok\"} 0\n",
            "greenroom_bytes_total{direction=\"received\",plugin=\"catalog\"} 17\n",
            "greenroom_acquire_seconds_bucket{plugin=\"catalog\",le=\"0.0025\"} 0\n",
            "greenroom_acquire_seconds_bucket{plugin=\"catalog\",le=\"0.005\"} 1\n",
            "greenroom_acquire_seconds_count{plugin=\"catalog\"} 1\n",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }
}
