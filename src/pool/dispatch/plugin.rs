//! One plugin on one server: who of it waits, what it holds, and what it has had for its weight.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::PoolLimits;
use crate::pool::error::Holder;
use crate::route::PluginId;

/// Somebody who waits.
#[derive(Debug)]
pub(in crate::pool) struct Waiter<T> {
    pub(in crate::pool) id: u64,
    pub(in crate::pool) pool: usize,
    /// It wants room for a connection of its own.
    pub(in crate::pool) private: bool,
    /// Since when it has waited.
    pub(in crate::pool) since: Instant,
    /// How it is told.
    pub(in crate::pool) tell: T,
}

/// What a plugin can have had more than the others, in seconds for its weight, when it asks again; more is forgotten.
const MOST_OWED: f64 = 2.0;

/// Migrations in progress: until their lock is given back, or then at the latest.
#[derive(Debug, Clone, Copy)]
pub(in crate::pool) struct Migration {
    pub(in crate::pool) id: u64,
    pub(in crate::pool) until: Instant,
}

/// One plugin.
///
/// Its share is the server time that it has had, in seconds, divided by its weight. A plugin that comes back after a
/// while does not bring along what it has not used: its share begins where the others' are. Nor does one that has used
/// much bring all of that.
#[derive(Debug)]
pub(in crate::pool) struct PluginState<T> {
    pub(super) id: PluginId,
    pub(in crate::pool) limits: PoolLimits,
    weight: f64,
    queue: VecDeque<Waiter<T>>,
    /// When each of its leases began, in seconds of the core's own time.
    held: Vec<f64>,
    /// Its share by the leases that have ended.
    ended: f64,
    pub(in crate::pool) migration: Option<Migration>,
}

impl<T> PluginState<T> {
    pub(super) fn new(id: PluginId, limits: PoolLimits, weight: u32) -> Self {
        let (queue, held, weight) = (VecDeque::new(), Vec::new(), f64::from(weight.max(1)));
        Self { id, limits, weight, queue, held, ended: 0.0, migration: None }
    }

    /// Has other limits from `t` on. What it has had until then was for its old weight, and stays so.
    pub(super) fn set_limits(&mut self, limits: PoolLimits, weight: u32, t: f64) {
        self.limits = limits;
        let share = self.share(t);
        self.weight = f64::from(weight.max(1));
        self.ended += share - self.share(t);
    }

    /// How many it holds.
    #[inline]
    pub(super) fn leases(&self) -> u32 {
        self.held.len() as u32
    }

    /// Whether anybody of it waits.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn queue(&self) -> impl Iterator<Item = &Waiter<T>> {
        self.queue.iter()
    }

    pub(super) fn waiter(&self, at: usize) -> &Waiter<T> {
        &self.queue[at]
    }

    pub(super) fn arrive(&mut self, waiter: Waiter<T>, floor: f64, t: f64) {
        self.comes_back(floor);
        if self.queue.is_empty() {
            // Or the next request after a transaction of minutes would wait as long, behind all who have had less.
            self.ended -= (self.share(t) - floor - MOST_OWED).max(0.0);
        }
        self.queue.push_back(waiter);
    }

    /// Somebody is back, before all who came after him.
    pub(super) fn arrive_again(&mut self, waiter: Waiter<T>) {
        let at = self.queue.iter().position(|other| other.id > waiter.id).unwrap_or(self.queue.len());
        self.queue.insert(at, waiter);
    }

    /// It asks for a server: if it neither had one nor waited for one, its share begins at the floor.
    #[inline]
    pub(super) fn comes_back(&mut self, floor: f64) {
        if self.queue.is_empty() && self.held.is_empty() {
            self.ended = self.ended.max(floor);
        }
    }

    pub(super) fn leave(&mut self, id: u64) -> Option<Waiter<T>> {
        let at = self.queue.iter().position(|waiter| waiter.id == id)?;
        self.queue.remove(at)
    }

    /// Takes out whoever is in this place.
    pub(super) fn serve(&mut self, at: usize) -> Waiter<T> {
        self.queue.remove(at).expect("it was looked at under the same lock")
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiter<T>> + '_ {
        self.queue.drain(..)
    }

    #[inline]
    pub(super) fn lease_begins(&mut self, t: f64) {
        self.held.push(t);
    }

    /// The lease that began at `t` has ended after so many seconds.
    #[inline]
    pub(super) fn lease_ended(&mut self, t: f64, seconds: f64) {
        if let Some(at) = self.held.iter().position(|began| *began == t) {
            self.held.swap_remove(at);
        }
        self.ended += seconds / self.weight;
    }

    /// Its share now, with the leases that it holds.
    pub(super) fn share(&self, t: f64) -> f64 {
        self.ended + self.held.iter().map(|began| t - began).sum::<f64>() / self.weight
    }

    /// Its share once what it holds and has been promised has taken as long as usual: so that of two servers that are
    /// free at once, one plugin does not get both.
    pub(super) fn expected_share(&self, t: f64, promised: u32, usual: f64) -> f64 {
        self.share(t) + f64::from(self.leases() + promised) * usual / self.weight
    }

    /// Whether its requests go before others'.
    pub(super) fn is_migrating(&self, now: Instant) -> bool {
        self.migration.is_some_and(|migration| now < migration.until)
    }

    /// What it holds, if anything, and since when.
    pub(super) fn holding(&self, epoch: Instant, now: Instant) -> Option<Holder> {
        let first = self.held.iter().copied().min_by(f64::total_cmp)?;
        let longest = now.saturating_duration_since(epoch).saturating_sub(Duration::from_secs_f64(first));
        Some(Holder { plugin: self.id.clone(), leases: self.leases(), longest })
    }
}
