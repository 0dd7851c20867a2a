//! Who is served next, what is opened for whom, what is closed for it: one server's rules, without a lock, a task or a clock.
//!
//! Events go in as calls, each with the time at which it happened; [`Core::decide`] says what follows. The scheduler calls
//! both under its lock and does what was decided after it; the model tests call them alone.
//!
//! - `holding`: who holds what, and for how long everything was taken.
//! - `limits`: whose limits count where, and what becomes of them when they change.
//! - `plugin`: a plugin's queue and its share.
//! - `pool`: what is known of a pool of servers.
//! - `reaping`: when idle servers are looked at.
//! - `round`: one round of decisions.
//! - `work`: what follows from one.

mod holding;
mod limits;
mod plugin;
mod pool;
mod reaping;
mod round;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use plugin::{Migration, PluginState, Waiter};
pub(super) use pool::{Idle, PoolState};
pub(super) use work::{Answer, Close, Grant, Refusal, Work};

use super::error::OpenError;
use super::reason::CloseReason;
use crate::config::{PoolLimits, ServerLimits};
use crate::route::PluginId;
use round::{Promise, Round};

/// So many of a migration may overtake in a row before somebody who was overtaken has a turn.
const MOST_IN_A_ROW: u32 = 8;

/// The first pause after PostgreSQL refused a connection because it is full or starting; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long it takes to open a connection, before the first one has been opened, in seconds.
const FIRST_GUESS: f64 = 0.01;

/// A longer lease, or connect, counts as this one when it is asked how long they usually are, in seconds: one client that
/// kept its server for an hour says nothing about the next.
const LONGEST_USUAL: f64 = 1.0;

/// Everything that is decided together. `I` keeps idle servers, `T` is how a waiter is told.
#[derive(Debug)]
pub(super) struct Core<I, T> {
    limits: ServerLimits,
    /// Connections in whatever state: leased, idle, opening, closing.
    used: u32,
    /// Of these, the ones being opened, and being closed.
    pub(super) opening: u32,
    pub(super) closing: u32,
    /// Of those that are not lent out, the ones that listen for channels.
    listeners: u32,
    /// Lent out, over all plugins.
    pub(super) leases: u32,
    pools: Vec<PoolState<I>>,
    plugins: Vec<PluginState<T>>,
    plugin_index: HashMap<PluginId, usize>,
    pub(super) waiting: usize,
    next_id: u64,
    /// The greatest share of those who were served, or had a server while nobody waited: who comes back after a while begins
    /// from here.
    floor: f64,
    /// How long a lease usually is, in seconds.
    usual: f64,
    /// How long it usually takes to open a connection, in seconds.
    connecting: f64,
    /// Shares are counted from here.
    epoch: Instant,
    /// How many of migrations have overtaken others since one of those was served.
    in_a_row: u32,
    /// The pool that somebody has come to since the last decisions.
    came: Option<usize>,
    /// [`Self::decide`] will be asked again at this time.
    retry_armed: Option<Instant>,
    /// PostgreSQL is full or starting: no connection is tried before this.
    refused_until: Option<Instant>,
    /// How long the last pause was.
    pause: Duration,
    /// When the server came to its ceiling; for how long it was there before that.
    full_since: Option<Instant>,
    full_for: Duration,
    /// Somebody looks at the idle servers.
    reaping: bool,
    round: Round,
    closed: bool,
}

impl<I: Idle, T> Core<I, T> {
    pub(super) fn new(limits: ServerLimits, now: Instant) -> Self {
        Self {
            limits,
            used: 0,
            opening: 0,
            closing: 0,
            listeners: 0,
            leases: 0,
            pools: Vec::new(),
            plugins: Vec::new(),
            plugin_index: HashMap::new(),
            waiting: 0,
            next_id: 0,
            floor: 0.0,
            usual: 0.001,
            connecting: FIRST_GUESS,
            epoch: now,
            in_a_row: 0,
            came: None,
            retry_armed: None,
            refused_until: None,
            pause: Duration::ZERO,
            full_since: None,
            full_for: Duration::ZERO,
            reaping: false,
            round: Round::default(),
            closed: false,
        }
    }

    /// A pool more; its place. Until somebody borrows from it these are its limits.
    pub(super) fn add_pool(&mut self, idle: I, limits: &PoolLimits) -> usize {
        self.pools.push(PoolState::new(idle, limits.clone()));
        self.pools.len() - 1
    }

    pub(super) fn pool(&self, pool: usize) -> &PoolState<I> {
        &self.pools[pool]
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = (usize, &PoolState<I>)> {
        self.pools.iter().enumerate()
    }

    pub(super) fn plugin_mut(&mut self, plugin: usize) -> &mut PluginState<T> {
        &mut self.plugins[plugin]
    }

    /// Whether a change can have consequences for anybody.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.waiting > 0 || self.closed || self.above_ceiling() > 0
    }

    /// Connections in whatever state.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// A number that was not given before.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Lends an idle server of the pool if nobody waits for one.
    #[inline]
    pub(super) fn lend_at_once(&mut self, pool: usize, plugin: usize, now: Instant) -> Option<I::Lent> {
        if self.waiting > 0 || self.closed || !self.may_have(plugin, 0, 0) {
            return None;
        }
        let lent = self.pools[pool].idle.lend()?;
        self.pools[pool].leased += 1;
        self.plugins[plugin].comes_back(self.floor);
        self.lease_begins(plugin, now);
        Some(lent)
    }

    /// Somebody joins its plugin's queue; the number is for [`Self::leave`].
    pub(super) fn arrive(&mut self, pool: usize, plugin: usize, private: bool, tell: T, now: Instant) -> u64 {
        let id = self.new_id();
        self.waiting += 1;
        if !private {
            self.pools[pool].waiter_came(now);
        }
        let (floor, t) = (self.floor, self.seconds(now));
        self.plugins[plugin].arrive(Waiter { id, pool, private, since: now, tell }, floor, t);
        self.came = (!private).then_some(pool);
        id
    }

    /// Somebody who was lent a dead server waits again, with the number and from the time that he had before: in front of
    /// all who came after him.
    pub(super) fn arrive_again(&mut self, pool: usize, plugin: usize, id: u64, since: Instant, tell: T) {
        self.waiting += 1;
        self.pools[pool].waiter_came(since);
        self.plugins[plugin].arrive_again(Waiter { id, pool, private: false, since, tell });
        self.came = Some(pool);
    }

    /// Somebody leaves its queue, if it is still there.
    pub(super) fn leave(&mut self, plugin: usize, id: u64) {
        if let Some(waiter) = self.plugins[plugin].leave(id) {
            self.waits_no_more(&waiter);
        }
    }

    fn waits_no_more(&mut self, waiter: &Waiter<T>) {
        self.waiting -= 1;
        if !waiter.private {
            self.pools[waiter.pool].waiter_went();
        }
    }

    /// A server is back among the idle ones of its pool, and the lease that began then is over.
    #[inline]
    pub(super) fn given_back(&mut self, pool: usize, plugin: usize, since: Instant, now: Instant) {
        self.pools[pool].leased -= 1;
        self.lease_ended(plugin, since, now);
    }

    /// The lease that began then is over, and its server does not come back.
    pub(super) fn lease_ended(&mut self, plugin: usize, since: Instant, now: Instant) {
        let held = now.saturating_duration_since(since).as_secs_f64();
        self.usual += (held.min(LONGEST_USUAL) - self.usual) / 16.0;
        self.leases -= 1;
        let (began, t) = (self.seconds(since), self.seconds(now));
        self.plugins[plugin].lease_ended(began, held);
        if self.waiting == 0 {
            // Nobody wanted that time.
            self.floor = self.floor.max(self.plugins[plugin].share(t));
        }
    }

    /// A leased server of the pool will not come back to it.
    pub(super) fn left_pool(&mut self, pool: usize) {
        self.pools[pool].leased -= 1;
    }

    /// A connection has ended.
    pub(super) fn connection_ended(&mut self, now: Instant) {
        self.used -= 1;
        self.note_fullness(now);
    }

    /// One that was not decided upon here has begun to end; [`Self::closing_ended`] is called after
    /// [`Self::connection_ended`], or before it when that takes long.
    pub(super) fn closing_began(&mut self) {
        self.closing += 1;
    }

    pub(super) fn closing_ended(&mut self) {
        self.closing -= 1;
    }

    /// Somebody who was given room has opened a connection there, or could not.
    pub(super) fn room_opened(&mut self, opened: Result<(), &OpenError>, now: Instant) {
        self.room_dropped();
        match opened {
            Ok(()) => self.connects_work(),
            Err(error) => self.note_refusal(error, now),
        }
    }

    /// He has given up.
    pub(super) fn room_dropped(&mut self) {
        self.opening -= 1;
    }

    /// A connection for the pool is open after so long, and among its idle ones.
    pub(super) fn opened(&mut self, pool: usize, took: Duration) {
        self.open_dropped(pool);
        self.connecting += (took.as_secs_f64().min(LONGEST_USUAL) - self.connecting) / 4.0;
        self.pools[pool].connect_worked();
        self.connects_work();
    }

    /// The attempt was given up.
    pub(super) fn open_dropped(&mut self, pool: usize) {
        self.opening -= 1;
        self.pools[pool].opening -= 1;
    }

    fn connects_work(&mut self) {
        self.refused_until = None;
        self.pause = Duration::ZERO;
    }

    /// While PostgreSQL is full or starting, the pauses before the next try grow, for everybody on the server. Attempts that
    /// were under way together are refused together: they count once.
    fn note_refusal(&mut self, error: &OpenError, now: Instant) {
        if error.is_for_the_moment() && self.refused_until.is_none_or(|until| until <= now) {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.refused_until = Some(now + self.pause);
        }
    }

    /// How many connections may be opened at the same time: one, to see whether PostgreSQL takes it, after it refused the
    /// last ones because it is full or starting.
    fn parallel_connects(&self) -> u32 {
        if self.pause.is_zero() { self.limits.parallel_connects } else { 1 }
    }

    /// The attempt failed. The first waiter for the pool is told at once, if so configured; the others wait for the next try.
    pub(super) fn open_failed(
        &mut self,
        pool: usize,
        error: Arc<OpenError>,
        now: Instant,
    ) -> Option<Answer<I::Lent, T>> {
        self.open_dropped(pool);
        self.note_refusal(&error, now);
        let tells = self.pools[pool].connect_failed(Arc::clone(&error), now);
        let wanted = |waiter: &Waiter<T>| waiter.pool == pool && !waiter.private;
        let first = |state: &PluginState<T>| state.queue().find(|waiter| wanted(waiter)).map(|waiter| waiter.id);
        let waiters = self.plugins.iter().enumerate().filter_map(|(index, state)| Some((first(state)?, index)));
        let (id, plugin) = waiters.min().filter(|_| tells)?;
        let waiter = self.plugins[plugin].leave(id)?;
        self.waits_no_more(&waiter);
        Some(Answer { waiter, plugin, since: now, result: Err(Refusal::Open(error)) })
    }

    /// Whoever waits for the plugin goes before others until then at the latest.
    pub(super) fn migration_began(&mut self, plugin: usize, until: Instant) -> u64 {
        let id = self.new_id();
        self.plugins[plugin].migration = Some(Migration { id, until });
        id
    }

    /// Nobody is served any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// What follows from what has happened: serves those who wait, the least served plugin first and each plugin's own in
    /// order, as far as limits allow. Whoever cannot be served now does not keep others from what he could not have used.
    pub(super) fn decide(&mut self, now: Instant) -> Work<I::Lent, I::Out, T> {
        let mut work = Work { answers: Vec::new(), open: Vec::new(), close: Vec::new(), retry: None };
        if self.closed {
            self.refuse_all(now, &mut work);
            return work;
        }
        self.come_down(&mut work);
        let came = self.came.take();
        // Most often somebody waits because his plugin has all that it may have.
        let may_be_served = |(index, plugin): (usize, &PluginState<T>)| plugin.waits() && self.may_have(index, 0, 0);
        if !self.plugins.iter().enumerate().any(may_be_served) {
            self.note_fullness(now);
            return work;
        }
        // Its vectors are kept from round to round.
        let mut round = std::mem::take(&mut self.round);
        self.pools.iter_mut().for_each(|pool| pool.end_pauses(now));
        // What ends above the ceiling makes room for nobody.
        let closing = self.closing.saturating_sub(self.used.saturating_sub(self.limits.ceiling));
        round.begin(&self.pools, self.plugins.len(), closing, came);
        while let Some(plugin) = self.next_plugin(&round, now) {
            let at = round.looked_at[plugin];
            if let Some(grant) = self.grant(plugin, at, now) {
                let overtakes = self.plugins[plugin].is_migrating(now) && self.in_a_row < MOST_IN_A_ROW;
                let waiter = self.plugins[plugin].serve(at);
                self.waits_no_more(&waiter);
                // Whoever waits for another plugin now has been overtaken.
                let others = self.waiting > self.plugins[plugin].queue().count();
                self.in_a_row = if overtakes && others { self.in_a_row + 1 } else { 0 };
                self.lease_begins(plugin, now);
                work.answers.push(Answer { waiter, plugin, since: now, result: Ok(grant) });
                continue;
            }
            let waiter = &self.plugins[plugin].waiter(at);
            let (pool, private, since) = (waiter.pool, waiter.private, waiter.since);
            match self.promise(pool, private, since, now, &mut round, &mut work) {
                Promise::Made => {
                    round.promised[plugin] += 1;
                    round.all_promised += 1;
                }
                Promise::HeldBack => round.promised[plugin] += 1,
                Promise::Later => {}
                Promise::Nothing => break,
            }
            round.looked_at[plugin] += 1;
        }
        for (pool, held_back) in self.pools.iter_mut().zip(&round.held_back) {
            pool.held_back = *held_back;
        }
        self.round = round;
        self.note_fullness(now);
        let armed = self.retry_armed.filter(|armed| *armed > now);
        match work.retry {
            Some(at) if armed.is_some_and(|armed| armed <= at) => work.retry = None,
            Some(at) => self.retry_armed = Some(at),
            None => {}
        }
        work
    }

    fn refuse_all(&mut self, now: Instant, work: &mut Work<I::Lent, I::Out, T>) {
        for (plugin, state) in self.plugins.iter_mut().enumerate() {
            let refused = |waiter| Answer { waiter, plugin, since: now, result: Err(Refusal::Closed) };
            work.answers.extend(state.drain().map(refused));
        }
        self.waiting = 0;
        for pool in 0..self.pools.len() {
            self.pools[pool].all_waiters_went();
            for server in self.pools[pool].idle.take_all() {
                self.close_one(Close { pool, server, reason: CloseReason::Shutdown, for_pool: None }, work);
            }
        }
    }

    fn close_one(&mut self, close: Close<I::Out>, work: &mut Work<I::Lent, I::Out, T>) {
        self.closing += 1;
        work.close.push(close);
    }

    fn lease_begins(&mut self, plugin: usize, now: Instant) {
        self.leases += 1;
        let t = self.seconds(now);
        self.floor = self.floor.max(self.plugins[plugin].share(t));
        self.plugins[plugin].lease_begins(t);
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.epoch).as_secs_f64()
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod share_tests;
