//! One pool of servers, as far as decisions need it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::PoolLimits;
use crate::pool::error::OpenError;

/// The idle servers of a pool, the one that was given back last on top.
pub(in crate::pool) trait Idle {
    /// A server on loan.
    type Lent;
    /// A server that was taken out for good.
    type Out;

    /// Takes the one on top; whoever has it puts it back by dropping it.
    fn lend(&self) -> Option<Self::Lent>;

    /// Since when the one at the bottom has been idle.
    fn longest(&self) -> Option<Instant>;

    /// Takes the one at the bottom out for good.
    fn take_longest(&self) -> Option<Self::Out>;

    /// Takes all out for good.
    fn take_all(&self) -> Vec<Self::Out>;
}

/// One pool.
#[derive(Debug)]
pub(in crate::pool) struct PoolState<I> {
    pub(in crate::pool) idle: I,
    /// What the limits of all who borrow from it come to.
    pub(in crate::pool) limits: PoolLimits,
    /// The plugins that borrow from it.
    pub(super) members: Vec<usize>,
    pub(in crate::pool) opening: u32,
    /// Lent out now.
    pub(in crate::pool) leased: u32,
    /// How many wait for a server of it.
    waiting: u32,
    /// Since when there has been no moment at which nobody waited; or since a server was last opened for them.
    pub(super) wanted_since: Option<Instant>,
    /// When the pause after each failed connect ends.
    retries: VecDeque<Instant>,
    /// So many connections that somebody waits for are not tried before the next pause ends; never more than there are pauses.
    pub(super) held_back: u32,
    /// The last failure since a connect worked, and when it was, for waiters that are not told at once.
    failure: Option<(Instant, Arc<OpenError>)>,
}

impl<I> PoolState<I> {
    pub(super) fn new(idle: I, limits: PoolLimits) -> Self {
        Self {
            idle,
            limits,
            members: Vec::new(),
            opening: 0,
            leased: 0,
            waiting: 0,
            wanted_since: None,
            retries: VecDeque::new(),
            held_back: 0,
            failure: None,
        }
    }

    /// Somebody waits for a server of it from now on.
    pub(super) fn waiter_came(&mut self, now: Instant) {
        self.waiting += 1;
        self.wanted_since.get_or_insert(now);
    }

    /// Somebody does not wait any more.
    pub(super) fn waiter_went(&mut self) {
        self.waiting -= 1;
        if self.waiting == 0 {
            self.wanted_since = None;
        }
    }

    /// Nobody waits any more.
    pub(super) fn all_waiters_went(&mut self) {
        (self.waiting, self.wanted_since) = (0, None);
    }

    /// A server is being opened for those who wait.
    pub(super) fn open_began(&mut self, now: Instant) {
        self.opening += 1;
        self.wanted_since = self.wanted_since.map(|_| now);
    }

    pub(super) fn connect_worked(&mut self) {
        self.failure = None;
    }

    /// Whether the first waiter is to be told at once.
    pub(super) fn connect_failed(&mut self, error: Arc<OpenError>, now: Instant) -> bool {
        // A pause that is over already lets nothing be tried in place of this one.
        self.end_pauses(now);
        self.retries.push_back(now + self.limits.create_retry_interval);
        self.held_back += 1;
        self.failure = Some((now, error));
        self.limits.propagate_create_error
    }

    /// The last failure since then, and since a connect worked.
    pub(in crate::pool) fn failure_since(&self, then: Instant) -> Option<Arc<OpenError>> {
        self.failure.as_ref().filter(|(at, _)| *at >= then).map(|(_, error)| Arc::clone(error))
    }

    /// Each pause that is over lets one connection be tried. None is longer than the interval is now.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        let latest = now + self.limits.create_retry_interval;
        self.retries.iter_mut().rev().take_while(|at| **at > latest).for_each(|at| *at = latest);
        while self.retries.front().is_some_and(|at| *at <= now) {
            self.retries.pop_front();
            self.held_back = self.held_back.saturating_sub(1);
        }
    }

    /// Until when one more connection is held back besides so many others.
    pub(super) fn holds_back(&self, others: u32) -> Option<Instant> {
        self.retries.front().copied().filter(|_| others < self.held_back)
    }
}

/// A shared pool keeps the largest floor and the longest times of those who borrow from it, and is looked at and tried again
/// as often as the most eager of them wants.
pub(super) fn shared(mut shared: PoolLimits, limits: &PoolLimits) -> PoolLimits {
    shared.min = shared.min.max(limits.min);
    shared.idle_timeout = shared.idle_timeout.max(limits.idle_timeout);
    shared.create_timeout = shared.create_timeout.max(limits.create_timeout);
    shared.destroy_timeout = shared.destroy_timeout.max(limits.destroy_timeout);
    shared.max_connection_lifetime = shared.max_connection_lifetime.max(limits.max_connection_lifetime);
    shared.create_retry_interval = shared.create_retry_interval.min(limits.create_retry_interval);
    shared.propagate_create_error |= limits.propagate_create_error;
    shared.reap_interval = shared.reap_interval.min(limits.reap_interval);
    shared
}
