//! One round of decisions: whose turn it is, what can be given at once, and what is promised to those who have to wait.

use std::time::Duration;

use tokio::time::Instant;

use super::{Close, Core, Grant, Idle, MOST_IN_A_ROW, PluginState, PoolState, Work};
use crate::pool::reason::CloseReason;

/// What one round of decisions has promised to those that could not be served at once.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// By pool: connections on their way that nobody has been promised.
    pub(super) opening: Vec<u32>,
    /// By pool: how many wait for an idle server of it and have been looked at.
    pub(super) ahead: Vec<u32>,
    /// By pool: connections that are not tried before a pause ends.
    pub(super) held_back: Vec<u32>,
    /// The pool that somebody has just come to: for him one is tried at once, whatever failed before.
    pub(super) came: Option<usize>,
    /// By plugin: what it has been promised.
    pub(super) promised: Vec<u32>,
    pub(super) all_promised: u32,
    /// By plugin: how many of its queue have been looked at.
    pub(super) looked_at: Vec<usize>,
    /// Connections that are closing, whose room nobody has been promised.
    pub(super) closing: u32,
}

impl Round {
    /// Nobody has been looked at yet.
    pub(super) fn begin<I>(&mut self, pools: &[PoolState<I>], plugins: usize, closing: u32, came: Option<usize>) {
        self.opening.clear();
        self.opening.extend(pools.iter().map(|pool| pool.opening));
        let by_pool = [&mut self.ahead, &mut self.held_back].map(|counts| (counts, pools.len()));
        for (counts, len) in by_pool.into_iter().chain([(&mut self.promised, plugins)]) {
            counts.clear();
            counts.resize(len, 0);
        }
        self.came = came;
        self.looked_at.clear();
        self.looked_at.resize(plugins, 0);
        (self.all_promised, self.closing) = (0, closing);
    }
}

/// What could be done for somebody who cannot be served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// Something is on its way.
    Made,
    /// A connection, when the pause after one that failed is over.
    HeldBack,
    /// Nothing for this pool now.
    Later,
    /// Nothing for anybody.
    Nothing,
}

impl<I: Idle, T> Core<I, T> {
    /// The plugin whose turn it is, of those of whom somebody waits who has not been looked at: migrations first, then the
    /// one that has had least for its weight, then the one whose waiter came first.
    pub(super) fn next_plugin(&self, round: &Round, now: Instant) -> Option<usize> {
        let t = self.seconds(now);
        let overtake = self.in_a_row < MOST_IN_A_ROW;
        let mut best: Option<(bool, f64, u64, usize)> = None;
        for (index, plugin) in self.plugins.iter().enumerate() {
            let Some(waiter) = plugin.queue().nth(round.looked_at[index]) else { continue };
            if !self.may_have(index, round.promised[index], round.all_promised) {
                continue;
            }
            let behind = !(overtake && plugin.is_migrating(now));
            let key = (behind, plugin.expected_share(t, round.promised[index], self.usual), waiter.id, index);
            let better = best.is_none_or(|best| {
                let order = key.0.cmp(&best.0).then(key.1.total_cmp(&best.1)).then(key.2.cmp(&best.2));
                order.is_lt()
            });
            if better {
                best = Some(key);
            }
        }
        best.map(|(.., index)| index)
    }

    /// Whether the plugin may have one more lease beyond what it, and everybody, was promised.
    pub(super) fn may_have(&self, plugin: usize, promised: u32, all_promised: u32) -> bool {
        let plugin = &self.plugins[plugin];
        plugin.leases() + promised < plugin.limits.max && !self.is_reserved(plugin, promised, all_promised)
    }

    /// Whether the plugin, which holds something, would take a place that is kept for those who hold nothing.
    pub(super) fn is_reserved(&self, plugin: &PluginState<T>, promised: u32, all_promised: u32) -> bool {
        plugin.leases() + promised > 0 && self.leases + all_promised + self.limits.reserved >= self.limits.ceiling
    }

    /// What can be given at once to the plugin's waiter in this place of its queue.
    pub(super) fn grant(&mut self, plugin: usize, at: usize, now: Instant) -> Option<Grant<I::Lent>> {
        let waiter = self.plugins[plugin].waiter(at);
        if !waiter.private {
            let pool = &mut self.pools[waiter.pool];
            let lent = pool.idle.lend()?;
            pool.leased += 1;
            return Some(Grant::Server(lent));
        }
        let pauses = self.refused_until.is_some_and(|until| until > now);
        if pauses || self.used >= self.limits.ceiling || self.opening >= self.parallel_connects() {
            return None;
        }
        self.used += 1;
        self.opening += 1;
        Some(Grant::Room)
    }

    /// Sees to it that a waiter who cannot be served now will be: by a connection on its way, a new one, or room that an
    /// idle one of another pool gives up.
    pub(super) fn promise(
        &mut self,
        pool: usize,
        private: bool,
        since: Instant,
        now: Instant,
        round: &mut Round,
        work: &mut Work<I::Lent, I::Out, T>,
    ) -> Promise {
        let mut pauses = [self.refused_until, None];
        if !private {
            if round.opening[pool] > 0 {
                round.opening[pool] -= 1;
                return Promise::Made;
            }
            if self.used >= self.limits.ceiling && round.closing == 0 && self.nothing_is_idle() {
                return Promise::Nothing;
            }
            let wanted = match self.pools[pool].wanted_since {
                // The first one is on its way: before it is open nothing can be given back.
                Some(wanted) if self.pools[pool].leased == 0 => wanted,
                // Where people come and go, each may wait for a moment only, and yet there is always a queue.
                wanted => wanted.map_or(since, |wanted| wanted.min(since)),
            };
            let patience = self.is_served_sooner(pool, round.ahead[pool]).then(|| wanted + self.patience());
            round.ahead[pool] += 1;
            if let Some(at) = self.pools[pool].holds_back(round.held_back[pool])
                && round.came.take_if(|came| *came == pool).is_none()
            {
                round.held_back[pool] += 1;
                work.retry = Some(work.retry.map_or(at, |earlier| earlier.min(at)));
                return Promise::HeldBack;
            }
            pauses[1] = patience;
        }
        if let Some(at) = pauses.into_iter().flatten().filter(|at| *at > now).max() {
            work.retry = Some(work.retry.map_or(at, |earlier| earlier.min(at)));
            return Promise::Later;
        }
        if self.used < self.limits.ceiling {
            if self.opening >= self.parallel_connects() {
                // There is room; it is looked at again when one of those is open.
                return Promise::Made;
            }
            self.used += 1;
            self.opening += 1;
            self.pools[pool].open_began(now);
            work.open.push(pool);
            return Promise::Made;
        }
        if round.closing > 0 {
            round.closing -= 1;
            return Promise::Made;
        }
        let Some((from, server)) = self.take_longest_idle() else { return Promise::Nothing };
        self.close_one(Close { pool: from, server, reason: CloseReason::Evicted, for_pool: Some(pool) }, work);
        Promise::Made
    }

    /// Whether somebody with so many before him is likely to be lent one of the pool's servers, which come and go, before one
    /// could be opened for him.
    fn is_served_sooner(&self, pool: usize, ahead: u32) -> bool {
        let servers = self.pools[pool].leased + self.pools[pool].opening;
        servers > 0 && f64::from(ahead + 1) * self.usual / f64::from(servers) < self.connecting
    }

    /// How long somebody who was likely to be served sooner waits before a server is opened for him all the same.
    fn patience(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.limits.patience) * self.connecting)
    }

    /// Whether no pool has an idle server.
    fn nothing_is_idle(&self) -> bool {
        self.pools.iter().all(|pool| pool.idle.longest().is_none())
    }

    /// Takes the server out that has been idle for longest, in whatever pool.
    pub(super) fn take_longest_idle(&mut self) -> Option<(usize, I::Out)> {
        let idle = self.pools.iter().enumerate().filter_map(|(index, pool)| Some((pool.idle.longest()?, index)));
        let (_, index) = idle.min()?;
        self.pools[index].idle.take_longest().map(|server| (index, server))
    }
}
