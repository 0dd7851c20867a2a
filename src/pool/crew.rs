//! What a scheduler has done to real connections: opens them, closes them, and looks after the idle ones.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use memchr::memmem;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pool;
use super::dispatch::{Close, Idle, PoolState};
use super::entry::Entry;
use super::error::OpenError;
use super::listener::Senders;
use super::opening::Failed;
use super::reaper;
use super::reason::CloseReason;
use super::scheduler::{CloseOf, CoreOf, Crew, Scheduler};
use super::slot::{Closing, Opening};
use super::store::{Borrowed, Shell, Store};
use crate::config::{Limits, PluginLimits, PoolLimits, ServerLimits};
use crate::metrics::ServerMetrics;
use crate::route::{PluginId, PoolKey};

/// What CREATE DATABASE copies when no other template is named.
const TEMPLATE: &str = "template1";

/// The crew of one PostgreSQL server.
#[derive(Debug)]
pub(super) struct PostgresCrew {
    /// Told whenever a connection has ended.
    ended: Notify,
    /// Told when the limits have changed.
    limits_changed: Arc<Notify>,
    /// Who sends to channels.
    pub(super) senders: Arc<Senders>,
    metrics: Arc<ServerMetrics>,
    stop: CancellationToken,
    /// Attempts to connect that failed since the last one that worked.
    failures: AtomicU32,
}

/// The servers of one pool, as the core sees them.
#[derive(Debug)]
pub(super) struct Servers {
    pool: Weak<Pool>,
    store: Arc<Store>,
}

impl Idle for Servers {
    type Lent = Borrowed;
    type Out = Box<Entry>;

    fn lend(&self) -> Option<Borrowed> {
        self.store.take()
    }

    fn longest(&self) -> Option<Instant> {
        self.store.longest_idle()
    }

    fn take_longest(&self) -> Option<Box<Entry>> {
        self.store.take_longest_idle()
    }

    fn take_all(&self) -> Vec<Box<Entry>> {
        self.store.take_out(|_| true)
    }
}

impl Crew for PostgresCrew {
    type Servers = Servers;
    type Lock = Mutex<CoreOf<Self>>;

    fn open(scheduler: &Arc<Scheduler>, pool: usize) {
        let under_way = Opening::counted(Arc::clone(scheduler), Some(pool));
        match scheduler.pool(pool).upgrade() {
            Some(pool) => drop(tokio::spawn(open(pool, Unbegun(Some((Arc::clone(scheduler), under_way)))))),
            // Nobody needs it any more.
            None => scheduler.slot_came_back(),
        }
    }

    fn close(scheduler: &Arc<Scheduler>, close: CloseOf<Self>, closing: Closing) {
        let Close { pool, server, reason, for_pool } = close;
        let Some(pool) = scheduler.pool(pool).upgrade() else { return };
        if let Some(heir) = for_pool.and_then(|heir| scheduler.pool(heir).upgrade()) {
            pool.all_metrics.evicted(&pool.metrics.database, &heir.metrics.database);
        }
        server.close(&pool, reason, closing);
    }

    fn ask_again(scheduler: &Arc<Scheduler>, at: Instant) {
        let scheduler = Arc::clone(scheduler);
        tokio::spawn(async move {
            sleep_until(at).await;
            scheduler.decide(|_, _| ());
        });
    }

    fn ended(&self, full_for: Duration) {
        self.metrics.at_ceiling.inc_by(full_for.as_secs_f64());
        self.ended.notify_waiters();
    }

    fn look_after(scheduler: &Arc<Scheduler>) {
        reaper::start(scheduler);
    }

    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// An attempt to open one whose task has not begun. Dropped like this, the runtime is ending: nothing more is opened then, for
/// that would be dropped at once as well, and so on without an end.
#[derive(Debug)]
struct Unbegun(Option<(Arc<Scheduler>, Opening)>);

impl Unbegun {
    fn begin(mut self) -> (Arc<Scheduler>, Opening) {
        self.0.take().expect("only this and drop take it out")
    }
}

impl Drop for Unbegun {
    fn drop(&mut self) {
        if let Some((scheduler, _under_way)) = self.0.take() {
            scheduler.decide(|core, _| core.close());
            scheduler.slot_came_back();
        }
    }
}

/// Opens one server for the pool, whose slot is counted, and puts it into the store.
async fn open(pool: Arc<Pool>, unbegun: Unbegun) {
    let (scheduler, under_way) = unbegun.begin();
    let began = Instant::now();
    let opened = tokio::select! {
        // The attempt is begun in any case, for it takes over the slot that is counted already.
        biased;
        opened = pool.store.open() => opened,
        // Nobody will need it. Dropping the attempt gives its slot back.
        () = scheduler.crew.stop.cancelled() => Ok(Shell(None)),
    };
    if matches!(opened, Ok(Shell(None))) {
        return drop(under_way);
    }
    under_way.take_back();
    match opened {
        Ok(shell) => scheduler.opened(pool.index, began.elapsed(), || pool.store.add(shell)),
        Err(Failed { error, slot }) => scheduler.open_failed(pool.index, error, slot),
    }
}

impl Scheduler {
    pub(super) fn new(limits: ServerLimits, metrics: Arc<ServerMetrics>, stop: CancellationToken) -> Arc<Self> {
        let crew = PostgresCrew {
            ended: Notify::new(),
            limits_changed: Arc::default(),
            senders: Arc::default(),
            metrics,
            stop,
            failures: AtomicU32::new(0),
        };
        crew.show(limits);
        Arc::new(Self::of(crew, limits))
    }

    /// A pool more; returns its place.
    pub(super) fn add_pool(&self, store: Arc<Store>, pool: Weak<Pool>, limits: &PoolLimits) -> usize {
        self.look(|core| core.add_pool(Servers { pool, store }, limits))
    }

    fn pool(&self, pool: usize) -> Weak<Pool> {
        self.look(|core| core.pool(pool).idle.pool.clone())
    }

    /// From now on these are the limits; who has ever borrowed.
    pub(super) fn reload(self: &Arc<Self>, limits: &Limits) -> Vec<PluginId> {
        let of = |plugin: &PluginId| {
            let PluginLimits { pool, weight } = limits.plugin(plugin.as_str());
            (pool.clone(), *weight)
        };
        let plugins = self.decide(|core, now| {
            core.reload(limits.server, of, now);
            core.plugin_ids().cloned().collect()
        });
        self.crew.show(limits.server);
        self.crew.limits_changed.notify_one();
        plugins
    }

    /// Told when the limits have changed.
    pub(super) fn limits_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.crew.limits_changed)
    }

    /// The shortest of the pools' reap intervals.
    pub(super) fn reap_interval(&self) -> Duration {
        let shortest = self.look(|core| core.pools().map(|(_, pool)| pool.limits.reap_interval).min());
        shortest.unwrap_or(Duration::from_secs(1))
    }

    /// Something is open that will be idle: whether nobody looks at idle servers yet, and the caller is to begin.
    pub(super) fn reaping_begins(&self) -> bool {
        self.look(|core| core.reaping_begins())
    }

    /// Whether whoever looks at idle servers may stop.
    pub(super) fn reaping_ends(&self) -> bool {
        self.look(|core| core.reaping_ends())
    }

    /// Closes the idle servers that are dead or too old, and those idle for too long, longest first, down to the floor.
    pub(super) fn reap(self: &Arc<Self>, now: Instant) {
        let at_ceiling = self.look(|core| core.take_full_for(now));
        self.crew.metrics.at_ceiling.inc_by(at_ceiling.as_secs_f64());
        self.close_idle(|pool, state, entry, total| {
            entry.follow(&state.limits);
            if entry.is_dead() {
                Some(CloseReason::ServerEnded)
            } else if entry.expires <= now {
                Some(CloseReason::Lifetime)
            } else if entry.configuration != pool.configuration_number() {
                Some(CloseReason::Reconfigured)
            } else {
                let idle_for = now.duration_since(entry.idle_since);
                (total > state.limits.min && idle_for >= state.limits.idle_timeout).then_some(CloseReason::Idle)
            }
        });
    }

    /// Closes the idle servers of other databases than this pool's that `statement` names, for PostgreSQL refuses to create
    /// from, alter or drop a database that somebody is connected to. It waits for them to leave for some seconds by itself.
    pub(super) fn leave_databases(self: &Arc<Self>, own: &PoolKey, statement: &[u8]) {
        // As it may be written: with a doubled quote, or in whatever case without quotes. One too many does no harm.
        let folded = statement.to_ascii_lowercase();
        let is_named = |name: &str| {
            let written = name.replace('"', "\"\"");
            [statement, &folded].into_iter().any(|text| memmem::find(text, written.as_bytes()).is_some())
        };
        let leaves = |pool: &Pool| {
            let name = &pool.key.database;
            (is_named(name) || &**name == TEMPLATE) && *name != own.database
        };
        self.close_idle(|pool, _, _, _| leaves(pool).then_some(CloseReason::DatabaseChange));
        self.look(|core| {
            for (_, state) in core.pools() {
                let pool = state.idle.pool.upgrade().filter(|pool| leaves(pool));
                if let Some(pool) = pool.filter(|_| state.leased + state.opening == 0) {
                    // The next login has to open a server, and finds out whether there still is such a database.
                    pool.forget_parameters();
                }
            }
        });
    }

    /// Closes every idle server for which there is a reason, asked with how many its pool has open, lent ones included.
    fn close_idle(
        self: &Arc<Self>,
        reason: impl Fn(&Pool, &PoolState<Servers>, &mut Entry, u32) -> Option<CloseReason>,
    ) {
        let mut closed = Vec::new();
        self.decide(|core, _| {
            for (_, state) in core.pools() {
                let Some(pool) = state.idle.pool.upgrade() else { continue };
                let mut total = state.leased + state.idle.store.len();
                let mut reasons = Vec::new();
                let out = state.idle.store.take_out(|entry| {
                    let reason = reason(&pool, state, entry, total);
                    total -= u32::from(reason.is_some());
                    reasons.extend(reason);
                    reason.is_some()
                });
                closed.extend(out.into_iter().zip(reasons).map(|(entry, reason)| (entry, Arc::clone(&pool), reason)));
            }
            closed.iter().for_each(|_| core.closing_began());
        });
        for (entry, pool, reason) in closed {
            entry.close(&pool, reason, Closing::counted(Arc::clone(self)));
        }
    }

    /// Refuses every waiter, closes every idle server, and waits until no connection is left.
    pub(super) async fn close(self: &Arc<Self>) {
        self.decide(|core, _| core.close());
        loop {
            let ended = self.crew.ended.notified();
            if self.look(|core| core.used()) == 0 {
                return;
            }
            // Every connection ends by a limit of its own: opening by the create timeout, closing two minutes after the
            // destroy timeout. The caller need not wait for that.
            ended.await;
        }
    }

    /// Used, opening, closing, leases, waiting.
    #[cfg(test)]
    pub(super) fn counts(&self) -> [u32; 5] {
        self.look(|core| [core.used(), core.opening, core.closing, core.leases, core.waiting as u32])
    }

    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.crew.stop
    }
}

impl PostgresCrew {
    /// A connection is open.
    pub(super) fn connected(&self) {
        let failures = self.failures.swap(0, Relaxed);
        if failures > 0 {
            tracing::info!(failures, "PostgreSQL takes connections again");
        }
    }

    /// None could be opened. Of many in a row the first, second, fourth and so on are told: where PostgreSQL is away, all fail.
    pub(super) fn not_connected(&self, database: &str, error: &OpenError) {
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        if failures.is_power_of_two() {
            let error = error as &dyn std::error::Error;
            tracing::warn!(database, failures, error, "cannot connect to PostgreSQL");
        }
    }

    fn show(&self, limits: ServerLimits) {
        let named = [
            ("maxServerConnections", limits.ceiling),
            ("reservedConnections", limits.reserved),
            ("maxParallelConnects", limits.parallel_connects),
        ];
        named.into_iter().for_each(|(name, value)| self.metrics.limit(name, value));
    }
}
