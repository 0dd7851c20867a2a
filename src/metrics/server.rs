//! What is counted for each PostgreSQL server and for its pools.

use std::fmt;
use std::sync::Arc;

use prometheus::{Counter, CounterVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::family::Families;
use super::guard::{ResultCounters, StateGauges};
use super::label::{self, Capped, ConnectResult, ServerState};

/// The numbers of one PostgreSQL server.
pub struct ServerMetrics {
    /// The value of the label `server`.
    pub address: Box<str>,
    connects: ResultCounters<ConnectResult>,
    /// Seconds during which every place under the ceiling was taken.
    pub at_ceiling: Counter,
    vecs: Arc<ServerVecs>,
    pools: Capped<PoolMetrics>,
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerMetrics({})", self.address)
    }
}

impl ServerMetrics {
    pub(super) fn new(address: &str, vecs: Arc<ServerVecs>, max_databases: usize) -> Self {
        Self {
            address: address.into(),
            connects: ResultCounters::new(|result| vecs.connects.with_label_values(&[address, result])),
            at_ceiling: vecs.at_ceiling.with_label_values(&[address]),
            vecs,
            pools: Capped::new(max_databases),
        }
    }

    /// Counts an attempt to connect that ended.
    pub fn connect(&self, result: ConnectResult) {
        self.connects.count(result);
    }

    /// Shows a limit of the server by its name in the configuration.
    pub fn limit(&self, name: &str, value: u32) {
        self.vecs.limits.with_label_values(&[&*self.address, name]).set(value.into());
    }

    /// The metrics of the pools of one physical database on this server.
    pub fn pool(&self, database: &str) -> Arc<PoolMetrics> {
        let (gauges, channels) = (&self.vecs.connections, &self.vecs.channels);
        self.pools.get(&label::name(database), |database| PoolMetrics {
            database: database.into(),
            channels: channels.with_label_values(&[&*self.address, database]),
            connections: StateGauges::new(|state| gauges.with_label_values(&[&*self.address, database, state])),
        })
    }
}

/// The numbers of one physical database's pools; two logins on one database share them.
#[derive(Debug)]
pub struct PoolMetrics {
    /// The value of the label `database`.
    pub database: Box<str>,
    /// Server connections, by what they are doing.
    pub connections: StateGauges<ServerState>,
    /// Channels that are listened to.
    pub channels: IntGauge,
}

/// The families that have the label `server`.
pub(super) struct ServerVecs {
    connects: IntCounterVec,
    connections: IntGaugeVec,
    channels: IntGaugeVec,
    at_ceiling: CounterVec,
    limits: IntGaugeVec,
}

impl ServerVecs {
    pub(super) fn new(families: &Families<'_>) -> Self {
        Self {
            connects: families.counters("greenroom_server_connects_total"),
            connections: families.gauges("greenroom_server_connections"),
            channels: families.gauges("greenroom_channels"),
            at_ceiling: families.seconds("greenroom_server_at_ceiling_seconds_total"),
            limits: families.gauges("greenroom_server_limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{ConnectResult, Metrics, ServerState};

    #[test]
    fn a_server_connection_is_counted_where_it_leads_to_until_it_is_gone() {
        let metrics = Metrics::new(5);
        let pool = metrics.pool("db:5432", "backstage");
        metrics.server("db:5432").connect(ConnectResult::Ok);
        let mut connection = pool.connections.enter(ServerState::Opening);
        connection.set(ServerState::Leased);

        let series = "greenroom_server_connections{database=\"backstage\",server=\"db:5432\",state=\"leased\"}";
        let text = metrics.encode();
        assert!(text.contains(&format!("{series} 1\n")), "{text}");
        assert!(text.contains("greenroom_server_connects_total{result=\"ok\",server=\"db:5432\"} 1\n"), "{text}");

        drop(connection);
        assert!(metrics.encode().contains(&format!("{series} 0\n")));
        assert_eq!(metrics.pool("db:5432", "backstage").connections.total(), 0);
    }
}
