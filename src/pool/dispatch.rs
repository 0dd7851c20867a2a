//! What is decided together, under the scheduler's lock: who is served next, what is opened for whom, what is closed for it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Pool;
use super::entry::Entry;
use super::error::{AcquireError, OpenError};
use super::queue::Queue;
use super::reason::CloseReason;
use super::scheduler::Scheduler;
use super::slot::{Seat, Slot};
use super::store::{Borrowed, Store};
use crate::config::PoolLimits;
use crate::route::PluginId;

/// What a waiter is given.
#[derive(Debug)]
pub(super) enum Grant {
    /// An idle server of the pool.
    Shared(Loan),
    /// Room for a connection of its own.
    Room(Slot, Seat),
}

/// An idle server on its way to a waiter; dropped, it goes back.
#[derive(Debug)]
pub(super) struct Loan {
    scheduler: Arc<Scheduler>,
    pool: usize,
    lent: Option<(Borrowed, Seat)>,
}

impl Loan {
    /// It has arrived.
    pub(super) fn arrived(mut self) -> (Borrowed, Seat) {
        self.lent.take().expect("only this and drop take it out")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some((borrowed, seat)) = self.lent.take() {
            self.scheduler.give_back(self.pool, borrowed, seat);
        }
    }
}

/// What a waiter is told.
pub(super) type Granted = Result<Grant, AcquireError>;

/// Everything that is decided together.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) ceiling: u32,
    /// Connections of any kind: leased, idle, opening, closing.
    pub(super) used: u32,
    /// Those of `used` that are being closed.
    pub(super) closing: u32,
    pub(super) waiters: Queue,
    pub(super) pools: Vec<PoolState>,
    pub(super) plugins: Vec<PluginState>,
    pub(super) plugin_index: HashMap<PluginId, usize>,
    pub(super) next_id: u64,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) pool: Weak<Pool>,
    pub(super) store: Arc<Store>,
    pub(super) limits: PoolLimits,
    pub(super) opening: u32,
    /// Lent out now.
    pub(super) leased: u32,
    /// After a failed connect none is tried before this.
    pub(super) retry_at: Option<Instant>,
    /// The queue will be looked at again at this time.
    pub(super) retry_armed: Option<Instant>,
    /// The last failure, for waiters that are not told at once.
    pub(super) failure: Option<Arc<OpenError>>,
}

#[derive(Debug)]
pub(super) struct PluginState {
    pub(super) id: PluginId,
    pub(super) leases: u32,
    pub(super) max: u32,
    /// The lock that its migrations have taken last, and until when it counts.
    pub(super) migration: Option<(u64, Instant)>,
}

/// What has to happen once the lock is released.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) give: Vec<(oneshot::Sender<Granted>, Granted)>,
    pub(super) open: Vec<Arc<Pool>>,
    pub(super) close: Vec<(Box<Entry>, Arc<Pool>, CloseReason)>,
    pub(super) retry: Vec<Instant>,
}

impl Core {
    /// Whether the plugin's requests are served before their turn.
    pub(super) fn is_migrating(&self, plugin: usize) -> bool {
        self.plugins[plugin].migration.is_some_and(|(_, until)| Instant::now() < until)
    }

    /// Serves the queue in its order, as far as limits allow. Whoever cannot be served now does not keep those behind from
    /// what he could not have used.
    pub(super) fn dispatch(&mut self, scheduler: &Arc<Scheduler>) -> Work {
        let mut work = Work::default();
        if self.closed {
            work.give.extend(self.waiters.drain().map(|waiter| (waiter.give, Err(AcquireError::Closed))));
            for state in &self.pools {
                let Some(pool) = state.pool.upgrade() else { continue };
                let idle = state.store.take_out(|_| true).into_iter();
                work.close.extend(idle.map(|entry| (entry, Arc::clone(&pool), CloseReason::Shutdown)));
            }
            return work;
        }
        let now = Instant::now();
        // Connections on their way, and room about to be free, that no waiter before has been promised.
        let mut opening: Vec<u32> = self.pools.iter().map(|pool| pool.opening).collect();
        let mut promised: Vec<u32> = vec![0; self.plugins.len()];
        let mut soon = self.closing;
        let mut at = 0;
        self.waiters.let_one_through();
        while let Some(waiter) = self.waiters.get(at) {
            let (pool, plugin, private) = (waiter.pool, waiter.plugin, waiter.private);
            if self.plugins[plugin].leases + promised[plugin] >= self.plugins[plugin].max {
                at += 1;
                continue;
            }
            let grant = match private {
                true if self.used < self.ceiling => {
                    self.used += 1;
                    Some(Grant::Room(
                        Slot::counted(Arc::clone(scheduler)),
                        Seat::counted(Arc::clone(scheduler), plugin),
                    ))
                }
                true => None,
                false => self.pools[pool].store.take().map(|borrowed| {
                    self.pools[pool].leased += 1;
                    let lent = Some((borrowed, Seat::counted(Arc::clone(scheduler), plugin)));
                    Grant::Shared(Loan { scheduler: Arc::clone(scheduler), pool, lent })
                }),
            };
            if let Some(grant) = grant {
                self.plugins[plugin].leases += 1;
                let waiter = self.waiters.serve(at).expect("it was just looked at");
                work.give.push((waiter.give, Ok(grant)));
                continue;
            }
            if self.promise(pool, private, now, &mut opening, &mut soon, &mut work) {
                promised[plugin] += 1;
            }
            at += 1;
        }
        work
    }

    /// Sees to it that a waiter who cannot be served now will be: by a connection on its way, a new one, or room that an
    /// idle one of another pool gives up. Whether anything is on its way.
    fn promise(
        &mut self,
        pool: usize,
        private: bool,
        now: Instant,
        opening: &mut [u32],
        soon: &mut u32,
        work: &mut Work,
    ) -> bool {
        if !private {
            if opening[pool] > 0 {
                opening[pool] -= 1;
                return true;
            }
            if let Some(at) = self.pools[pool].retry_at.filter(|at| *at > now) {
                if self.pools[pool].retry_armed != Some(at) {
                    self.pools[pool].retry_armed = Some(at);
                    work.retry.push(at);
                }
                return false;
            }
            if self.used < self.ceiling
                && let Some(handle) = self.pools[pool].pool.upgrade()
            {
                self.used += 1;
                self.pools[pool].opening += 1;
                work.open.push(handle);
                return true;
            }
        }
        if *soon > 0 {
            *soon -= 1;
            return true;
        }
        let Some((entry, pool)) = self.longest_idle() else { return false };
        work.close.push((entry, pool, CloseReason::Evicted));
        true
    }

    /// Takes the server out that has been idle for longest, in whatever pool.
    fn longest_idle(&mut self) -> Option<(Box<Entry>, Arc<Pool>)> {
        let mut oldest: Option<(Instant, usize)> = None;
        for (index, state) in self.pools.iter().enumerate() {
            if state.store.len() == 0 {
                continue;
            }
            state.store.take_out(|entry| {
                if oldest.is_none_or(|(since, _)| entry.idle_since < since) {
                    oldest = Some((entry.idle_since, index));
                }
                false
            });
        }
        let (since, index) = oldest?;
        let pool = self.pools[index].pool.upgrade()?;
        let mut taken = false;
        let mut out = self.pools[index].store.take_out(|entry| {
            let this = !taken && entry.idle_since == since;
            taken |= this;
            this
        });
        out.pop().map(|entry| (entry, pool))
    }

    /// The first waiter for the pool is told at once, if so configured; the others wait for the next try.
    pub(super) fn open_failed(&mut self, pool: usize, error: Arc<OpenError>) {
        let state = &mut self.pools[pool];
        state.retry_at = Some(Instant::now() + state.limits.create_retry_interval);
        state.failure = Some(Arc::clone(&error));
        if !state.limits.propagate_create_error {
            return;
        }
        if let Some(waiter) = self.waiters.take_first(|waiter| waiter.pool == pool && !waiter.private) {
            // Holds no grant: sending it under the lock gives nothing back.
            let _ = waiter.give.send(Err(error.into()));
        }
    }
}
