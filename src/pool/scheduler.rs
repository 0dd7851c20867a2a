//! One PostgreSQL server's scheduler: takes every decision under one lock, and does what follows after it.
//!
//! What is decided is in `dispatch`, which knows nothing of tasks and connections. Waking a client, opening and closing happen
//! after the lock is released.

use std::sync::{Arc, Weak};
use std::time::Duration;

use memchr::memmem;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pool;
use super::dispatch::{self, Answer, Close, Core, Grant as Given, Idle, Refusal};
use super::entry::Entry;
use super::error::{AcquireError, OpenError, Usage};
use super::loan::{Grant, Loan};
use super::reaper;
use super::reason::CloseReason;
use super::slot::{Opening, Seat, Slot};
use super::store::{Borrowed, Shell, Store};
use crate::config::{PoolLimits, ServerLimits};
use crate::metrics::ServerMetrics;
use crate::route::{PluginId, PoolKey};

/// What CREATE DATABASE copies when no other template is named.
const TEMPLATE: &str = "template1";

/// What a waiter is told.
pub(super) type Granted = Result<Grant, AcquireError>;

type Work = dispatch::Work<Borrowed, Box<Entry>, oneshot::Sender<Granted>>;

/// One per PostgreSQL server.
#[derive(Debug)]
pub(super) struct Scheduler {
    core: Mutex<Core<Servers, oneshot::Sender<Granted>>>,
    /// Told whenever a connection has ended.
    ended: Notify,
    metrics: Arc<ServerMetrics>,
    stop: CancellationToken,
}

/// The servers of one pool, as the core sees them.
#[derive(Debug)]
struct Servers {
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

impl Scheduler {
    pub(super) fn new(limits: ServerLimits, metrics: Arc<ServerMetrics>, stop: CancellationToken) -> Arc<Self> {
        let named = [
            ("maxServerConnections", limits.ceiling),
            ("reservedConnections", limits.reserved),
            ("maxParallelConnects", limits.parallel_connects),
        ];
        named.into_iter().for_each(|(name, value)| metrics.limit(name, value));
        let core = Mutex::new(Core::new(limits, Instant::now()));
        Arc::new(Self { core, ended: Notify::new(), metrics, stop })
    }

    /// A pool more; returns its place.
    pub(super) fn add_pool(&self, store: Arc<Store>, pool: Weak<Pool>, limits: &PoolLimits) -> usize {
        self.core.lock().add_pool(Servers { pool, store }, limits)
    }

    /// A plugin borrows from a pool; returns the plugin's place.
    pub(super) fn join(&self, pool: usize, plugin: &PluginId, limits: &PoolLimits, weight: u32) -> usize {
        self.core.lock().join(pool, plugin, limits, weight)
    }

    pub(super) fn pool_limits(&self, pool: usize) -> PoolLimits {
        self.core.lock().pool(pool).limits.clone()
    }

    /// Lends an idle server if nobody waits.
    #[inline]
    pub(super) fn try_shared(self: &Arc<Self>, pool: usize, plugin: usize) -> Option<(Borrowed, Seat)> {
        let now = Instant::now();
        let borrowed = self.core.lock().lend_at_once(pool, plugin, now)?;
        Some((borrowed, Seat::counted(Arc::clone(self), plugin, now)))
    }

    /// Joins the queue. The answer comes through the receiver; the number is for [`Self::leave`].
    pub(super) fn wait(
        self: &Arc<Self>,
        pool: usize,
        plugin: usize,
        private: bool,
    ) -> (u64, oneshot::Receiver<Granted>) {
        let (give, receive) = oneshot::channel();
        let id = self.decide(|core, now| core.arrive(pool, plugin, private, give, now));
        (id, receive)
    }

    /// Joins the queue again, with the number that it had and before all who came after it. The dead server that it was lent
    /// is closed next: nothing follows before that.
    pub(super) fn wait_again(&self, pool: usize, plugin: usize, id: u64, since: Instant) -> oneshot::Receiver<Granted> {
        let (give, receive) = oneshot::channel();
        self.core.lock().arrive_again(pool, plugin, id, since, give);
        receive
    }

    /// Leaves the queue, if still in it.
    pub(super) fn leave(self: &Arc<Self>, plugin: usize, id: u64) {
        self.decide(|core, _| core.leave(plugin, id));
    }

    /// The plugin's migrations are in progress, until then at the latest: whoever waits for it goes before others. The
    /// number is for [`Self::migration_ended`].
    pub(super) fn migration_began(self: &Arc<Self>, plugin: usize, until: Instant) -> u64 {
        self.decide(|core, _| core.migration_began(plugin, until))
    }

    /// These migrations of the plugin, or any, have ended.
    pub(super) fn migration_ended(&self, plugin: usize, id: Option<u64>) {
        let mut core = self.core.lock();
        let migration = &mut core.plugin_mut(plugin).migration;
        if id.is_none_or(|id| migration.is_some_and(|last| last.id == id)) {
            *migration = None;
        }
    }

    /// A healthy server comes back from a lease.
    #[inline]
    pub(super) fn give_back(self: &Arc<Self>, pool: usize, borrowed: Borrowed, seat: Seat) {
        self.decide(|core, now| {
            drop(borrowed);
            let (plugin, since) = seat.take_back();
            core.given_back(pool, plugin, since, now);
        });
    }

    /// A leased server of the pool is being closed; the empty shell leaves the store.
    pub(super) fn leased_server_left(self: &Arc<Self>, pool: usize, shell: Borrowed, seat: Seat) {
        self.decide(|core, now| {
            drop(shell);
            let (plugin, since) = seat.take_back();
            core.left_pool(pool);
            core.lease_ended(plugin, since, now);
        });
    }

    pub(super) fn slot_came_back(self: &Arc<Self>) {
        let full_for = self.decide(|core, now| {
            core.connection_ended(now);
            core.take_full_for(now)
        });
        self.metrics.at_ceiling.inc_by(full_for.as_secs_f64());
        self.ended.notify_waiters();
    }

    pub(super) fn seat_came_back(self: &Arc<Self>, plugin: usize, since: Instant) {
        self.decide(|core, now| core.lease_ended(plugin, since, now));
    }

    pub(super) fn room_opened(self: &Arc<Self>) {
        self.decide(|core, _| core.room_opened());
        reaper::start(self);
    }

    /// Counts a connection as closing until the guard is dropped.
    pub(super) fn closing(self: &Arc<Self>) -> Closing {
        self.core.lock().closing_began();
        Closing(Arc::clone(self))
    }

    /// Who holds what, for somebody who waited in vain.
    pub(super) fn usage(&self, plugin: usize) -> Usage {
        self.core.lock().usage(plugin, Instant::now())
    }

    /// The last failure to connect to the pool since then, and since a connect worked.
    pub(super) fn failure_since(&self, pool: usize, then: Instant) -> Option<Arc<OpenError>> {
        self.core.lock().pool(pool).failure_since(then)
    }

    /// The shortest of the pools' reap intervals.
    pub(super) fn reap_interval(&self) -> Duration {
        let core = self.core.lock();
        core.pools().map(|(_, pool)| pool.limits.reap_interval).min().unwrap_or(Duration::from_secs(1))
    }

    /// Something is open that will be idle: whether nobody looks at idle servers yet, and the caller is to begin.
    pub(super) fn reaping_begins(&self) -> bool {
        self.core.lock().reaping_begins()
    }

    /// Whether whoever looks at idle servers may stop.
    pub(super) fn reaping_ends(&self) -> bool {
        self.core.lock().reaping_ends()
    }

    /// Closes the idle servers that are dead or too old, and those idle for too long, longest first, down to the floor.
    pub(super) fn reap(self: &Arc<Self>, now: Instant) {
        let at_ceiling = self.core.lock().take_full_for(now);
        self.metrics.at_ceiling.inc_by(at_ceiling.as_secs_f64());
        self.close_idle(|_, state, entry, total| {
            if entry.is_dead() {
                Some(CloseReason::ServerEnded)
            } else if entry.expires <= now {
                Some(CloseReason::Lifetime)
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
        for (_, state) in self.core.lock().pools() {
            let pool = state.idle.pool.upgrade().filter(|pool| leaves(pool));
            if let Some(pool) = pool.filter(|_| state.leased + state.opening == 0) {
                // The next login has to open a server, and finds out whether there still is such a database.
                pool.forget_parameters();
            }
        }
    }

    /// Closes every idle server for which there is a reason, asked with how many its pool has open, lent ones included.
    fn close_idle(
        self: &Arc<Self>,
        reason: impl Fn(&Pool, &dispatch::PoolState<Servers>, &mut Entry, u32) -> Option<CloseReason>,
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
        });
        for (entry, pool, reason) in closed {
            entry.close(&pool, reason);
        }
    }

    /// Refuses every waiter, closes every idle server, and waits until no connection is left.
    pub(super) async fn close(self: &Arc<Self>) {
        self.decide(|core, _| core.close());
        loop {
            let ended = self.ended.notified();
            if self.core.lock().used() == 0 {
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
    fn decide<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Core<Servers, oneshot::Sender<Granted>>, Instant) -> R,
    ) -> R {
        let now = Instant::now();
        let (result, work) = {
            let mut core = self.core.lock();
            let result = change(&mut core, now);
            let work = core.has_waiters().then(|| {
                let work = core.decide(now);
                // Who a close is for, and whose it is, while their places are known.
                (work.open.iter().map(|pool| core.pool(*pool).idle.pool.clone()).collect(), closes(&core, &work), work)
            });
            (result, work)
        };
        if let Some((open, close, work)) = work {
            self.carry_out(open, close, work);
        }
        result
    }

    fn carry_out(self: &Arc<Self>, open: Vec<Weak<Pool>>, close: Vec<Closer>, work: Work) {
        for answer in work.answers {
            self.answer(answer);
        }
        for (closer, Close { server, reason, .. }) in close.into_iter().zip(work.close) {
            let Some(pool) = closer.pool.upgrade() else { continue };
            if let Some(heir) = closer.heir.and_then(|heir| heir.upgrade()) {
                pool.all_metrics.evicted(&pool.metrics.database, &heir.metrics.database);
            }
            server.close(&pool, reason);
        }
        for (index, pool) in work.open.into_iter().zip(open) {
            match pool.upgrade() {
                Some(pool) => drop(tokio::spawn(Arc::clone(self).open(pool))),
                // Nobody needs it any more.
                None => {
                    self.decide(|core, _| core.open_dropped(index));
                    self.slot_came_back();
                }
            }
        }
        if let Some(at) = work.retry {
            let scheduler = Arc::clone(self);
            tokio::spawn(async move {
                sleep_until(at).await;
                scheduler.decide(|_, _| ());
            });
        }
    }

    /// Tells a waiter. One that has just left drops what it was given, which gives it back.
    fn answer(self: &Arc<Self>, answer: Answer<Borrowed, oneshot::Sender<Granted>>) {
        let Answer { waiter, plugin, since, result } = answer;
        let seat = || Seat::counted(Arc::clone(self), plugin, since);
        let granted = match result {
            Ok(Given::Server(borrowed)) => Ok(Grant::Shared(Loan::new(self, waiter.pool, borrowed, seat()))),
            Ok(Given::Room) => {
                let slot = Slot::counted(Arc::clone(self));
                Ok(Grant::Room(slot, seat(), Opening::counted(Arc::clone(self))))
            }
            Err(Refusal::Open(error)) => Err(error.into()),
            Err(Refusal::Closed) => Err(AcquireError::Closed),
        };
        drop(waiter.tell.send(granted));
    }

    /// Opens one server for the pool, whose slot is counted, and puts it into the store.
    async fn open(self: Arc<Self>, pool: Arc<Pool>) {
        let began = Instant::now();
        let opened = tokio::select! {
            // The attempt is begun in any case, for it takes over the slot that is counted already.
            biased;
            opened = pool.store.open() => opened,
            // Nobody will need it. Dropping the attempt gives its slot back.
            () = self.stop.cancelled() => Ok(Shell(None)),
        };
        let index = pool.index;
        let is_open = matches!(opened, Ok(Shell(Some(_))));
        let told = self.decide(|core, now| match opened {
            Ok(Shell(None)) => {
                core.open_dropped(index);
                None
            }
            Ok(shell) => {
                pool.store.add(shell);
                core.opened(index, now - began);
                None
            }
            Err(error) => core.open_failed(index, Arc::new(error), now),
        });
        if let Some(answer) = told {
            self.answer(answer);
        }
        if is_open {
            reaper::start(&self);
        }
    }
}

/// Whose server is closed, and for whom.
struct Closer {
    pool: Weak<Pool>,
    heir: Option<Weak<Pool>>,
}

fn closes(core: &Core<Servers, oneshot::Sender<Granted>>, work: &Work) -> Vec<Closer> {
    let pool = |index: usize| core.pool(index).idle.pool.clone();
    work.close.iter().map(|close| Closer { pool: pool(close.pool), heir: close.for_pool.map(pool) }).collect()
}

/// A connection that is being closed.
#[derive(Debug)]
pub(super) struct Closing(Arc<Scheduler>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.decide(|core, _| core.closing_ended());
    }
}
