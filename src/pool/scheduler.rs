//! One PostgreSQL server's scheduler: takes every decision under one lock, and tells those who wait after it.
//!
//! What is decided is in `dispatch`, which knows nothing of tasks and connections; what follows for connections is done by a
//! [`Crew`]. Waking a client, opening and closing happen after the lock is released.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::crew::PostgresCrew;
use super::dispatch::{self, Answer, Close, Core, Grant as Given, Idle, Refusal};
use super::error::{AcquireError, OpenError, Usage};
use super::loan::{Grant, Loan};
use super::lock::Lock;
use super::slot::{Closing, Opening, Seat, Slot};
use crate::config::{PoolLimits, ServerLimits};
use crate::route::PluginId;

/// Who opens and closes connections as a scheduler has decided.
pub(super) trait Crew: fmt::Debug + Sized + Send + Sync + 'static {
    /// The idle servers of a pool.
    type Servers: Idle<Lent: fmt::Debug + Send + 'static, Out: Send> + Send + 'static;
    /// The lock around all decisions.
    type Lock: Lock<CoreOf<Self>>;

    /// Opens a server for the pool. Its slot is counted.
    fn open(scheduler: &Arc<Scheduler<Self>>, pool: usize);

    /// Closes a server.
    fn close(scheduler: &Arc<Scheduler<Self>>, close: CloseOf<Self>, closing: Closing<Self>);

    /// Has the scheduler decide anew at that time.
    fn ask_again(scheduler: &Arc<Scheduler<Self>>, at: Instant);

    /// A connection has ended. For so long since it was last said, the server was at its ceiling.
    fn ended(&self, full_for: Duration);

    /// Looks after idle servers from now on, if nobody does: something is open that will be idle.
    fn look_after(scheduler: &Arc<Scheduler<Self>>);

    /// The time.
    fn now(&self) -> Instant;
}

/// What a waiter is told.
pub(super) type Granted<C = PostgresCrew> = Result<Grant<C>, AcquireError>;

/// What is behind the lock.
pub(super) type CoreOf<C> = Core<<C as Crew>::Servers, Tell<C>>;

/// A server that is to be closed.
pub(super) type CloseOf<C> = Close<<<C as Crew>::Servers as Idle>::Out>;

/// A server on loan.
pub(super) type LentOf<C> = <<C as Crew>::Servers as Idle>::Lent;

type Tell<C> = oneshot::Sender<Granted<C>>;
type Work<C> = dispatch::Work<LentOf<C>, <<C as Crew>::Servers as Idle>::Out, Tell<C>>;

/// One per PostgreSQL server.
pub(super) struct Scheduler<C: Crew = PostgresCrew> {
    core: C::Lock,
    pub(super) crew: C,
}

impl<C: Crew> fmt::Debug for Scheduler<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scheduler({:?})", self.crew)
    }
}

impl<C: Crew> Scheduler<C> {
    /// Nobody waits yet, and nothing is open.
    pub(super) fn of(crew: C, limits: ServerLimits) -> Self {
        Self { core: C::Lock::new(Core::new(limits, crew.now())), crew }
    }

    /// Looks at what is behind the lock.
    #[inline]
    pub(super) fn look<R>(&self, look: impl FnOnce(&mut CoreOf<C>) -> R) -> R {
        look(&mut self.core.lock())
    }

    /// A plugin borrows from a pool; returns the plugin's place.
    pub(super) fn join(&self, pool: usize, plugin: &PluginId, limits: &PoolLimits, weight: u32) -> usize {
        self.look(|core| core.join(pool, plugin, limits, weight))
    }

    pub(super) fn pool_limits(&self, pool: usize) -> PoolLimits {
        self.look(|core| core.pool(pool).limits.clone())
    }

    pub(super) fn plugin_limits(&self, plugin: usize) -> PoolLimits {
        self.look(|core| core.plugin_limits(plugin).clone())
    }

    /// Lends an idle server if nobody waits.
    #[inline]
    pub(super) fn try_shared(self: &Arc<Self>, pool: usize, plugin: usize) -> Option<(LentOf<C>, Seat<C>)> {
        let (lent, now) = self.look(|core| {
            let now = self.crew.now();
            core.lend_at_once(pool, plugin, now).map(|lent| (lent, now))
        })?;
        Some((lent, Seat::counted(Arc::clone(self), plugin, now)))
    }

    /// Joins the queue. The answer comes through the receiver; the number is for [`Self::leave`].
    pub(super) fn wait(
        self: &Arc<Self>,
        pool: usize,
        plugin: usize,
        private: bool,
    ) -> (u64, oneshot::Receiver<Granted<C>>) {
        let (give, receive) = oneshot::channel();
        let id = self.decide(|core, now| core.arrive(pool, plugin, private, give, now));
        (id, receive)
    }

    /// Joins the queue again, with the number that it had and before all who came after it. The dead server that it was lent
    /// is closed next: nothing follows before that.
    pub(super) fn wait_again(
        &self,
        pool: usize,
        plugin: usize,
        id: u64,
        since: Instant,
    ) -> oneshot::Receiver<Granted<C>> {
        let (give, receive) = oneshot::channel();
        self.look(|core| core.arrive_again(pool, plugin, id, since, give));
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
        self.look(|core| {
            let migration = &mut core.plugin_mut(plugin).migration;
            if id.is_none_or(|id| migration.is_some_and(|last| last.id == id)) {
                *migration = None;
            }
        });
    }

    /// A healthy server comes back from a lease.
    #[inline]
    pub(super) fn give_back(self: &Arc<Self>, pool: usize, lent: LentOf<C>, seat: Seat<C>) {
        self.decide(|core, now| {
            drop(lent);
            let (plugin, since) = seat.take_back();
            core.given_back(pool, plugin, since, now);
        });
    }

    /// A leased server of the pool is being closed; the empty shell leaves the store.
    pub(super) fn leased_server_left(self: &Arc<Self>, pool: usize, shell: LentOf<C>, seat: Seat<C>) {
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
        self.crew.ended(full_for);
    }

    pub(super) fn seat_came_back(self: &Arc<Self>, plugin: usize, since: Instant) {
        self.decide(|core, now| core.lease_ended(plugin, since, now));
    }

    /// A connection of a session's own is open, or could not be opened.
    pub(super) fn room_opened(self: &Arc<Self>, failed: Option<&Arc<OpenError>>) {
        self.decide(|core, now| core.room_opened(failed.map_or(Ok(()), |error| Err(&**error)), now));
        C::look_after(self);
    }

    /// The attempt to open one was given up.
    pub(super) fn room_dropped(self: &Arc<Self>) {
        self.decide(|core, _| core.room_dropped());
    }

    /// Counts a connection as closing until the guard is dropped.
    pub(super) fn closing(self: &Arc<Self>) -> Closing<C> {
        self.look(|core| core.closing_began());
        Closing::counted(Arc::clone(self))
    }

    pub(super) fn closing_ended(self: &Arc<Self>) {
        self.decide(|core, _| core.closing_ended());
    }

    /// A server of the pool is open after so long; `add` puts it among the idle ones.
    pub(super) fn opened(self: &Arc<Self>, pool: usize, took: Duration, add: impl FnOnce()) {
        self.decide(|core, _| {
            add();
            core.opened(pool, took);
        });
        C::look_after(self);
    }

    /// The attempt to open one for the pool was given up.
    pub(super) fn open_dropped(self: &Arc<Self>, pool: usize) {
        self.decide(|core, _| core.open_dropped(pool));
    }

    /// It failed, and has ended if its slot is here; whoever is to be told at once is told.
    pub(super) fn open_failed(self: &Arc<Self>, pool: usize, error: OpenError, slot: Option<Slot<C>>) {
        let (told, full_for) = self.decide(|core, now| {
            let told = core.open_failed(pool, Arc::new(error), now);
            if let Some(slot) = slot {
                slot.take_back();
                core.connection_ended(now);
            }
            (told, core.take_full_for(now))
        });
        self.crew.ended(full_for);
        if let Some(answer) = told {
            self.answer(answer);
        }
    }

    /// Who holds what, for somebody who waited in vain.
    pub(super) fn usage(&self, plugin: usize) -> Usage {
        self.look(|core| core.usage(plugin, self.crew.now()))
    }

    /// The last failure to connect to the pool since then, and since a connect worked.
    pub(super) fn failure_since(&self, pool: usize, then: Instant) -> Option<Arc<OpenError>> {
        self.look(|core| core.pool(pool).failure_since(then))
    }

    /// Changes something, decides what follows from it, and does that after the lock is released.
    #[inline]
    pub(super) fn decide<R>(self: &Arc<Self>, change: impl FnOnce(&mut CoreOf<C>, Instant) -> R) -> R {
        let (result, work) = self.look(|core| {
            // Read under the lock: with an earlier time than that of the last round, a waiter would be left to a moment at
            // which everybody has been asked already.
            let now = self.crew.now();
            let result = change(core, now);
            let work = core.has_work().then(|| core.decide(now));
            (result, work)
        });
        if let Some(work) = work {
            self.carry_out(work);
        }
        result
    }

    fn carry_out(self: &Arc<Self>, work: Work<C>) {
        for answer in work.answers {
            self.answer(answer);
        }
        for close in work.close {
            C::close(self, close, Closing::counted(Arc::clone(self)));
        }
        for pool in work.open {
            C::open(self, pool);
        }
        if let Some(at) = work.retry {
            C::ask_again(self, at);
        }
    }

    /// Tells a waiter. One that has just left drops what it was given, which gives it back.
    fn answer(self: &Arc<Self>, answer: Answer<LentOf<C>, Tell<C>>) {
        let Answer { waiter, plugin, since, result } = answer;
        let seat = || Seat::counted(Arc::clone(self), plugin, since);
        let granted = match result {
            Ok(Given::Server(lent)) => Ok(Grant::Shared(Loan::new(self, waiter.pool, lent, seat()))),
            Ok(Given::Room) => {
                let slot = Slot::counted(Arc::clone(self));
                Ok(Grant::Room(slot, seat(), Opening::counted(Arc::clone(self), None)))
            }
            Err(Refusal::Open(error)) => Err(error.into()),
            Err(Refusal::Closed) => Err(AcquireError::Closed),
        };
        drop(waiter.tell.send(granted));
    }
}
