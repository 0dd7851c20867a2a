//! Whose turn it is, without a clock and without a PostgreSQL: nearly everybody waits for room of his own.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Pools;
use super::loan::Grant;
use super::place::Place;
use super::scheduler::{Granted, Scheduler};
use super::store::Store;
use crate::config::{Config, PoolLimits, ServerLimits};
use crate::metrics::{Metrics, ServerMetrics};
use crate::route::{PluginId, RouteTable};
use crate::secret::Secrets;

/// A scheduler with one pool.
struct House {
    scheduler: Arc<Scheduler>,
    metrics: Arc<ServerMetrics>,
    pool: usize,
}

impl House {
    fn new(ceiling: u32) -> Self {
        let limits = ServerLimits::new(ceiling, 0, ceiling);
        let metrics = Metrics::new(1).server("db:5432");
        let scheduler = Scheduler::new(limits, Arc::clone(&metrics), CancellationToken::new());
        let pool = scheduler.add_pool(Arc::new(Store::new(Weak::new())), Weak::new(), &PoolLimits::default());
        Self { scheduler, metrics, pool }
    }

    fn plugin(&self, id: &str, max: u32) -> usize {
        self.scheduler.join(self.pool, &PluginId(id.into()), &PoolLimits { max, ..PoolLimits::default() }, 1)
    }

    fn wait(&self, plugin: usize) -> oneshot::Receiver<Granted> {
        self.scheduler.wait(self.pool, plugin, true).1
    }

    /// So many plugins, one waiting request each.
    fn crowd(&self, plugins: usize) -> Vec<oneshot::Receiver<Granted>> {
        (0..plugins).map(|n| self.wait(self.plugin(&format!("greedy{n}"), 10))).collect()
    }
}

/// A time that does not come while a test runs.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn got(waiting: &mut oneshot::Receiver<Granted>) -> Option<Grant> {
    waiting.try_recv().ok().map(|granted| granted.expect("nothing is closed"))
}

fn served(waiting: &mut [oneshot::Receiver<Granted>]) -> Vec<(usize, Grant)> {
    waiting.iter_mut().enumerate().filter_map(|(at, waiting)| Some((at, got(waiting)?))).collect()
}

#[tokio::test]
async fn a_plugin_in_migration_gets_the_next_server() {
    let house = House::new(1);
    let catalog = house.plugin("catalog", 10);
    let holder = got(&mut house.wait(catalog)).expect("there is room");
    let mut crowd = house.crowd(30);
    house.scheduler.migration_began(catalog, later());
    let mut migration = house.wait(catalog);
    assert!(got(&mut migration).is_none(), "the only server is lent");
    drop(holder);
    let statement = got(&mut migration).expect("it goes before the crowd");
    assert!(served(&mut crowd).is_empty());
    drop(statement);
    assert_eq!(served(&mut crowd).first().map(|(at, _)| *at), Some(0), "then it is the first one's turn");
}

#[tokio::test]
async fn who_waits_for_a_plugin_when_its_migrations_begin_goes_to_the_front() {
    let house = House::new(1);
    let catalog = house.plugin("catalog", 10);
    let holder = got(&mut house.wait(catalog)).expect("there is room");
    let _crowd = house.crowd(3);
    let mut waiting = house.wait(catalog);
    house.scheduler.migration_began(catalog, later());
    drop(holder);
    assert!(got(&mut waiting).is_some());
}

#[tokio::test]
async fn who_gives_up_leaves_the_queue_at_once() {
    let house = House::new(1);
    let (greedy, other) = (house.plugin("greedy", 10), house.plugin("other", 10));
    let holder = got(&mut house.wait(greedy)).expect("there is room");
    let mut place = Place::last(&house.scheduler, house.pool, greedy, true);
    timeout(Duration::from_millis(10), place.turn()).await.expect_err("it waits, and gives up");
    drop(place);
    assert_eq!(house.scheduler.look(|core| core.waiting), 0);
    let mut next = house.wait(other);
    drop(holder);
    assert!(got(&mut next).is_some(), "nothing was kept for who has left");
}

#[tokio::test]
async fn migrations_stay_within_the_plugins_max() {
    let house = House::new(2);
    let catalog = house.plugin("catalog", 1);
    let first = got(&mut house.wait(catalog)).expect("there is room");
    house.scheduler.migration_began(catalog, later());
    let mut second = house.wait(catalog);
    let mut crowd = house.crowd(1);
    assert!(got(&mut second).is_none());
    assert_eq!(served(&mut crowd).len(), 1, "nobody waits for what only the migrations may not have");
    drop(first);
    assert!(got(&mut second).is_some());
}

#[tokio::test]
async fn others_have_a_turn_after_eight_statements_of_a_migration() {
    let house = House::new(1);
    let catalog = house.plugin("catalog", 10);
    let mut holder = got(&mut house.wait(catalog));
    let mut crowd = house.crowd(3);
    house.scheduler.migration_began(catalog, later());
    let (mut statements, mut turns) = (0, Vec::new());
    while !crowd.is_empty() {
        let mut migration = house.wait(catalog);
        drop(holder.take());
        while let Some((at, _turn)) = served(&mut crowd).pop() {
            crowd.remove(at);
            turns.push(statements);
        }
        statements += 1;
        holder = got(&mut migration);
    }
    assert_eq!(turns, [8, 16, 24]);
}

#[tokio::test]
async fn a_migration_that_has_ended_waits_its_turn_again() {
    let house = House::new(1);
    let catalog = house.plugin("catalog", 10);
    let ends: [&dyn Fn(u64); 2] =
        [&|id| house.scheduler.migration_ended(catalog, Some(id)), &|_| house.scheduler.migration_ended(catalog, None)];
    for end in ends {
        let holder = got(&mut house.wait(catalog)).expect("there is room");
        let mut crowd = house.crowd(1);
        let earlier = house.scheduler.migration_began(catalog, later());
        let id = house.scheduler.migration_began(catalog, later());
        house.scheduler.migration_ended(catalog, Some(earlier));
        let mut first = house.wait(catalog);
        drop(holder);
        let first = got(&mut first).expect("a session that ends earlier takes only its own migration along");
        end(id);
        let mut second = house.wait(catalog);
        drop(first);
        assert!(got(&mut second).is_none(), "others came before it");
        assert_eq!(served(&mut crowd).len(), 1);
        assert!(got(&mut second).is_some());
    }
}

#[tokio::test]
async fn a_lock_that_is_never_given_back_counts_for_its_time_only() {
    let house = House::new(1);
    let catalog = house.plugin("catalog", 10);
    let holder = got(&mut house.wait(catalog)).expect("there is room");
    let mut crowd = house.crowd(1);
    house.scheduler.migration_began(catalog, Instant::now());
    let mut late = house.wait(catalog);
    drop(holder);
    let turn = served(&mut crowd);
    assert!(turn.len() == 1 && got(&mut late).is_none());
}

#[tokio::test(start_paused = true)]
async fn time_at_the_ceiling_is_counted_though_no_server_is_ever_idle() {
    let house = House::new(1);
    let mut catalog = house.wait(house.plugin("catalog", 10));
    let Some(Grant::Room(slot, _seat, opening)) = got(&mut catalog) else { panic!("there is room") };
    sleep(Duration::from_secs(5)).await;
    opening.ended(&Ok(()));
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(house.metrics.at_ceiling.get(), 7.0, "looked at every second since it is open");
    drop(slot);
    assert_eq!(house.metrics.at_ceiling.get(), 7.5);
}

#[tokio::test]
async fn a_connect_that_had_not_begun_when_everything_ended_keeps_no_place() {
    let config =
        "backend: { database: { client: pg, connection: { host: 127.0.0.1, port: 1, user: u, password: p } } }";
    let config = Config::parse(config).expect("it is right");
    let routes = RouteTable::new(&config);
    let route = routes.resolve("backstage_plugin_catalog", None).expect("it is a plugin's");
    // Whether the end is seen before the connect begins is left to chance.
    for _ in 0..32 {
        let metrics = Metrics::new(1);
        let pools = Pools::new(config.limits(), Secrets::new(Arc::clone(&metrics)), metrics);
        let member = pools.member(&route).expect("it has no TLS");
        let _waiting = member.pool.scheduler.wait(member.pool.index, member.plugin_index, false);
        timeout(Duration::from_secs(1), pools.close()).await.expect("no connection is left");
    }
}

#[test]
fn a_connect_whose_task_dies_counts_no_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("it is bound").port();
    let config = format!(
        "backend: {{ database: {{ client: pg, connection: {{ host: 127.0.0.1, port: {port}, user: u, password: p }} }} }}"
    );
    let config = Config::parse(&config).expect("it is right");
    let route = RouteTable::new(&config).resolve("backstage_plugin_catalog", None).expect("it is a plugin's");
    let metrics = Metrics::new(1);
    let member = runtime.block_on(async {
        let pools = Pools::new(config.limits(), Secrets::new(Arc::clone(&metrics)), metrics);
        let member = pools.member(&route).expect("it has no TLS");
        let scheduler = &member.pool.scheduler;
        let (id, _waiting) = scheduler.wait(member.pool.index, member.plugin_index, false);
        tokio::time::sleep(Duration::from_millis(20)).await;
        scheduler.leave(member.plugin_index, id);
        assert_eq!(scheduler.counts(), [1, 1, 0, 0, 0], "it is still logging in");
        member
    });
    // The task does not come to its end, as if it had panicked.
    drop(runtime);
    assert_eq!(member.pool.scheduler.counts(), [0; 5]);
}
