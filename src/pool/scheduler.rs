//! Decides who is lent a server next: order, limits, and the ceiling of one PostgreSQL server.
//!
//! Every decision is taken under one lock in [`Core::dispatch`], in the order of the queue. What follows from it (waking a
//! client, opening, closing) happens after the lock is released.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use memchr::memmem;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pool;
use super::dispatch::{Core, Granted, PluginState, PoolState, Work};
use super::error::{OpenError, Usage};
use super::queue::{Queue, Waiter};
use super::reason::CloseReason;
use super::slot::Seat;
use super::store::{Borrowed, Shell, Store};
use crate::config::PoolLimits;
use crate::route::{PluginId, PoolKey};

/// What CREATE DATABASE copies when no other template is named.
const TEMPLATE: &str = "template1";

/// One per PostgreSQL server.
#[derive(Debug)]
pub(super) struct Scheduler {
    core: Mutex<Core>,
    /// Told whenever a connection has ended.
    ended: Notify,
    stop: CancellationToken,
}

impl Scheduler {
    pub(super) fn new(ceiling: u32, stop: CancellationToken) -> Arc<Self> {
        let core = Core {
            ceiling,
            used: 0,
            closing: 0,
            waiters: Queue::default(),
            pools: Vec::new(),
            plugins: Vec::new(),
            plugin_index: HashMap::new(),
            next_id: 0,
            closed: false,
        };
        let scheduler = Arc::new(Self { core: Mutex::new(core), ended: Notify::new(), stop });
        super::reaper::start(&scheduler);
        scheduler
    }

    /// A pool more; returns its place.
    pub(super) fn add_pool(&self, store: Arc<Store>, pool: Weak<Pool>, limits: &PoolLimits) -> usize {
        let mut core = self.core.lock();
        let limits = limits.clone();
        core.pools.push(PoolState {
            pool,
            store,
            limits,
            opening: 0,
            leased: 0,
            retry_at: None,
            retry_armed: None,
            failure: None,
        });
        core.pools.len() - 1
    }

    /// A plugin borrows from a pool; returns the plugin's place. A shared pool keeps the largest floor and the longest
    /// times of those who borrow from it, and is looked at and tried again as often as the most eager of them wants.
    pub(super) fn join(&self, pool: usize, plugin: &PluginId, limits: &PoolLimits) -> usize {
        let mut core = self.core.lock();
        let shared = &mut core.pools[pool].limits;
        shared.min = shared.min.max(limits.min);
        shared.idle_timeout = shared.idle_timeout.max(limits.idle_timeout);
        shared.create_timeout = shared.create_timeout.max(limits.create_timeout);
        shared.destroy_timeout = shared.destroy_timeout.max(limits.destroy_timeout);
        shared.max_connection_lifetime = shared.max_connection_lifetime.max(limits.max_connection_lifetime);
        shared.create_retry_interval = shared.create_retry_interval.min(limits.create_retry_interval);
        shared.propagate_create_error |= limits.propagate_create_error;
        shared.reap_interval = shared.reap_interval.min(limits.reap_interval);
        let next = core.plugins.len();
        let index = *core.plugin_index.entry(plugin.clone()).or_insert(next);
        if index == next {
            core.plugins.push(PluginState { id: plugin.clone(), leases: 0, max: limits.max, migration: None });
        }
        core.plugins[index].max = limits.max;
        index
    }

    pub(super) fn pool_limits(&self, pool: usize) -> PoolLimits {
        self.core.lock().pools[pool].limits.clone()
    }

    /// Lends an idle server if nobody waits.
    #[inline]
    pub(super) fn try_shared(self: &Arc<Self>, pool: usize, plugin: usize) -> Option<(Borrowed, Seat)> {
        let mut core = self.core.lock();
        if !core.waiters.is_empty() || core.closed || core.plugins[plugin].leases >= core.plugins[plugin].max {
            return None;
        }
        let borrowed = core.pools[pool].store.take()?;
        core.pools[pool].leased += 1;
        core.plugins[plugin].leases += 1;
        Some((borrowed, Seat::counted(Arc::clone(self), plugin)))
    }

    /// Joins the queue. The answer comes through the receiver; the number is for [`Self::leave`].
    pub(super) fn wait(
        self: &Arc<Self>,
        pool: usize,
        plugin: usize,
        private: bool,
    ) -> (u64, oneshot::Receiver<Granted>) {
        let (give, receive) = oneshot::channel();
        let id = self.decide(|core| {
            let id = core.next_id;
            core.next_id += 1;
            let before_its_turn = core.is_migrating(plugin);
            core.waiters.join(Waiter { id, pool, plugin, private, give }, before_its_turn);
            id
        });
        (id, receive)
    }

    /// Leaves the queue, if still in it.
    pub(super) fn leave(self: &Arc<Self>, id: u64) {
        self.decide(|core| core.waiters.leave(id));
    }

    /// The plugin's migrations are in progress, until then at the latest: whoever waits for it goes to the front. The number
    /// is for [`Self::migration_ended`].
    pub(super) fn migration_began(self: &Arc<Self>, plugin: usize, until: Instant) -> u64 {
        self.decide(|core| {
            let id = core.next_id;
            core.next_id += 1;
            core.plugins[plugin].migration = Some((id, until));
            core.waiters.put_in_front(plugin);
            id
        })
    }

    /// These migrations of the plugin, or any, have ended. Those who wait already keep their place.
    pub(super) fn migration_ended(&self, plugin: usize, id: Option<u64>) {
        let migration = &mut self.core.lock().plugins[plugin].migration;
        if id.is_none_or(|id| migration.is_some_and(|(last, _)| last == id)) {
            *migration = None;
        }
    }

    /// A healthy server comes back from a lease.
    #[inline]
    pub(super) fn give_back(self: &Arc<Self>, pool: usize, borrowed: Borrowed, seat: Seat) {
        self.decide(|core| {
            drop(borrowed);
            core.pools[pool].leased -= 1;
            core.plugins[seat.take_back()].leases -= 1;
        });
    }

    /// A leased server of the pool is being closed; the empty shell leaves the store.
    pub(super) fn leased_server_left(self: &Arc<Self>, pool: usize, shell: Borrowed) {
        self.decide(|core| {
            drop(shell);
            core.pools[pool].leased -= 1;
        });
    }

    pub(super) fn slot_came_back(self: &Arc<Self>) {
        self.decide(|core| core.used -= 1);
        self.ended.notify_waiters();
    }

    pub(super) fn seat_came_back(self: &Arc<Self>, plugin: usize) {
        self.decide(|core| core.plugins[plugin].leases -= 1);
    }

    /// Counts a connection as closing until the guard is dropped.
    pub(super) fn closing(self: &Arc<Self>) -> Closing {
        self.core.lock().closing += 1;
        Closing(Arc::clone(self))
    }

    /// Who holds what, for somebody who waited in vain.
    pub(super) fn usage(&self, plugin: usize) -> Usage {
        let core = self.core.lock();
        let mut holders: Vec<_> =
            core.plugins.iter().filter(|plugin| plugin.leases > 0).map(|held| (held.id.clone(), held.leases)).collect();
        holders.sort_by_key(|(_, leases)| std::cmp::Reverse(*leases));
        let PluginState { leases, max, .. } = core.plugins[plugin];
        Usage { leases, max, used: core.used, ceiling: core.ceiling, holders }
    }

    /// The last failure to connect to the pool since a connect worked.
    pub(super) fn failure(&self, pool: usize) -> Option<Arc<OpenError>> {
        self.core.lock().pools[pool].failure.clone()
    }

    /// The shortest of the pools' reap intervals.
    pub(super) fn reap_interval(&self) -> Duration {
        let core = self.core.lock();
        core.pools.iter().map(|pool| pool.limits.reap_interval).min().unwrap_or(Duration::from_secs(1))
    }

    /// Closes the idle servers that are dead or too old, and those idle for too long, longest first, down to the floor.
    pub(super) fn reap(self: &Arc<Self>, now: Instant) {
        let mut closed = Vec::new();
        self.decide(|core| {
            for state in &core.pools {
                let Some(pool) = state.pool.upgrade() else { continue };
                let mut total = state.leased + state.opening + state.store.len();
                let (min, idle_timeout) = (state.limits.min, state.limits.idle_timeout);
                let mut reasons = Vec::new();
                let out = state.store.take_out(|entry| {
                    let reason = if entry.is_dead() {
                        CloseReason::ServerEnded
                    } else if entry.expires <= now {
                        CloseReason::Lifetime
                    } else if total > min && now.duration_since(entry.idle_since) >= idle_timeout {
                        CloseReason::Idle
                    } else {
                        return false;
                    };
                    total -= 1;
                    reasons.push(reason);
                    true
                });
                closed.extend(out.into_iter().zip(reasons).map(|(entry, reason)| (entry, Arc::clone(&pool), reason)));
            }
        });
        for (entry, pool, reason) in closed {
            entry.close(&pool, reason);
        }
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
        let mut closed = Vec::new();
        self.decide(|core| {
            for state in &core.pools {
                let Some(pool) = state.pool.upgrade() else { continue };
                let name = &pool.key.database;
                if (is_named(name) || &**name == TEMPLATE) && *name != own.database {
                    if state.leased + state.opening == 0 {
                        // The next login has to open a server, and finds out whether there still is such a database.
                        pool.forget_parameters();
                    }
                    let out = state.store.take_out(|_| true).into_iter();
                    closed.extend(out.map(|entry| (entry, Arc::clone(&pool))));
                }
            }
        });
        for (entry, pool) in closed {
            entry.close(&pool, CloseReason::DatabaseChange);
        }
    }

    /// Refuses every waiter, closes every idle server, and waits until no connection is left.
    pub(super) async fn close(self: &Arc<Self>) {
        self.decide(|core| core.closed = true);
        loop {
            let ended = self.ended.notified();
            if self.core.lock().used == 0 {
                return;
            }
            // Every connection ends by a limit of its own: opening by the create timeout, closing by the destroy timeout.
            ended.await;
        }
    }

    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Changes something, decides what follows from it, and does that after the lock is released.
    #[inline]
    fn decide<T>(self: &Arc<Self>, change: impl FnOnce(&mut Core) -> T) -> T {
        let (result, work) = {
            let mut core = self.core.lock();
            let result = change(&mut core);
            let work = (core.closed || !core.waiters.is_empty()).then(|| core.dispatch(self));
            (result, work)
        };
        if let Some(work) = work {
            self.carry_out(work);
        }
        result
    }

    fn carry_out(self: &Arc<Self>, work: Work) {
        for (give, what) in work.give {
            // A waiter that has just left drops what it was given, which gives it back.
            drop(give.send(what));
        }
        for (entry, pool, reason) in work.close {
            entry.close(&pool, reason);
        }
        for pool in work.open {
            tokio::spawn(Arc::clone(self).open(pool));
        }
        for at in work.retry {
            let scheduler = Arc::clone(self);
            tokio::spawn(async move {
                sleep_until(at).await;
                scheduler.decide(|_| ());
            });
        }
    }

    /// Opens one server for the pool, whose slot is counted, and puts it into the store.
    async fn open(self: Arc<Self>, pool: Arc<Pool>) {
        let opened = tokio::select! {
            opened = pool.store.open() => opened,
            // Nobody will need it. Dropping the attempt gives its slot back.
            () = self.stop.cancelled() => Ok(Shell(None)),
        };
        let index = pool.index;
        self.decide(|core| {
            core.pools[index].opening -= 1;
            match opened {
                Ok(Shell(None)) => {}
                Ok(shell) => {
                    core.pools[index].failure = None;
                    core.pools[index].retry_at = None;
                    pool.store.add(shell);
                }
                Err(error) => core.open_failed(index, Arc::new(error)),
            }
        });
    }
}

/// A connection that is being closed.
#[derive(Debug)]
pub(super) struct Closing(Arc<Scheduler>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.decide(|core| core.closing -= 1);
    }
}
