//! What has to hold: for each round of decisions by what was before it, and after every event.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::super::pool::shared;
use super::super::{Grant, Work};
use super::event::Limits;
use super::world::{Asked, World};
use super::{PLUGINS, POOLS};
use crate::config::PoolLimits;
use crate::pool::reason::CloseReason;

/// So many of a plugin whose migrations are in progress are served in a row while others wait who are before it.
const MOST_IN_A_ROW: u32 = 8;

/// What there was before a round of decisions, by the world's books. Shares are the core's: other tests are about those.
pub(super) struct Before {
    limits: Limits,
    used: u32,
    closing: u32,
    opening: u32,
    /// Since when each idle server has been idle.
    idle: Vec<(u32, Instant)>,
    leases: [u32; PLUGINS],
    shares: [f64; PLUGINS],
    migrating: [bool; PLUGINS],
    usual: f64,
    in_a_row: u32,
    /// In the order of arrival.
    waiting: Vec<(u64, Asked)>,
    /// When a connection may be tried, and whether it is one to see whether PostgreSQL takes it.
    paused_until: Option<Instant>,
    just_failed: Option<usize>,
    is_probing: bool,
    closed: bool,
}

impl Before {
    pub(super) fn of(world: &World) -> Self {
        let plugins: [usize; PLUGINS] = std::array::from_fn(|plugin| plugin);
        let t = world.core.seconds(world.now);
        Self {
            limits: world.limits.clone(),
            used: world.used(),
            closing: world.closing(),
            opening: world.opening.len() as u32 + world.rooms(),
            idle: world.shelves.iter().flat_map(|shelf| shelf.0.borrow().clone()).collect(),
            leases: plugins.map(|plugin| world.leases(plugin)),
            shares: plugins.map(|plugin| world.core.plugins[plugin].share(t)),
            migrating: plugins.map(|plugin| world.core.plugins[plugin].is_migrating(world.now)),
            usual: world.core.usual,
            in_a_row: world.core.in_a_row,
            waiting: world.waiting.iter().map(|(ticket, waits)| (*ticket, waits.asked)).collect(),
            paused_until: world.pause.until,
            just_failed: world.just_failed,
            is_probing: !world.pause.last.is_zero(),
            closed: world.closed,
        }
    }

    /// Whether these decisions could follow.
    pub(super) fn judge(mut self, work: &Work<u32, u32, u64>, now: Instant) {
        let rooms = work.answers.iter().filter(|answer| matches!(answer.result, Ok(Grant::Room))).count() as u32;
        let opens = work.open.len() as u32 + rooms;
        let ServerLimits { ceiling, parallel } = self.server();
        let parallel = if self.is_probing { 1 } else { parallel };
        assert!(self.used + opens <= ceiling.max(self.used), "nothing is opened at the ceiling, or above it");
        assert!(self.opening + opens <= parallel.max(self.opening), "a storm is slowed down");
        assert!(opens == 0 || self.paused_until.is_none_or(|until| until <= now), "a pause is kept");
        if let Some(pool) = self.just_failed {
            let waiting = self.waiting.iter().filter(|(_, asked)| asked.pool == pool && !asked.private).count();
            let opened = work.open.iter().filter(|opened| **opened == pool).count();
            assert!(opened <= waiting.saturating_sub(1), "a failure holds one back");
        }
        self.judge_closes(work, self.used + opens);
        for answer in &work.answers {
            match &answer.result {
                Ok(grant) => self.judge_order(answer.waiter.tell, answer.plugin, grant),
                Err(_) => self.waiting.retain(|(ticket, _)| *ticket != answer.waiter.tell),
            }
        }
    }

    fn judge_closes(&self, work: &Work<u32, u32, u64>, used: u32) {
        let of = |reason| work.close.iter().filter(|close| close.reason == reason).count() as u32;
        if self.closed {
            return assert_eq!(of(CloseReason::Shutdown), self.idle.len() as u32, "nothing stays idle");
        }
        let above = self.used.saturating_sub(self.closing).saturating_sub(self.limits.server.ceiling);
        assert_eq!(of(CloseReason::Ceiling), above.min(self.idle.len() as u32), "the ceiling is come down to");
        let (evicted, left) = (of(CloseReason::Evicted), self.waiting.len() - work.answers.len());
        assert!(evicted == 0 || used >= self.limits.server.ceiling, "only a full server evicts");
        assert!(evicted <= left as u32, "nobody is evicted for nobody");
        let since = |server| self.idle.iter().find(|(idle, _)| *idle == server).expect("it was idle").1;
        let newest = work.close.iter().map(|close| since(close.server)).max();
        let is_out = |server| {
            let lent =
                work.answers.iter().any(|answer| matches!(answer.result, Ok(Grant::Server(lent)) if lent == server));
            lent || work.close.iter().any(|close| close.server == server)
        };
        let oldest = self.idle.iter().filter(|(server, _)| !is_out(*server)).map(|(_, since)| *since).min();
        assert!(newest.zip(oldest).is_none_or(|(closed, kept)| closed <= kept), "the longest idle goes first");
    }

    /// Whether it was that plugin's turn, and that waiter's.
    fn judge_order(&mut self, ticket: u64, plugin: usize, grant: &Grant<u32>) {
        self.may_have_one_more(plugin);
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == ticket).expect("it waited");
        let asked = self.waiting[at].1;
        assert_eq!(matches!(grant, Grant::Room), asked.private);
        let same = |other: &Asked| other.private == asked.private && (asked.private || other.pool == asked.pool);
        let own = self.waiting[..at].iter().filter(|(_, other)| other.plugin == plugin);
        assert!(own.filter(|(_, other)| same(other)).count() == 0, "first come, first served within a plugin");
        let key = self.key(plugin, ticket);
        for other in (0..PLUGINS).filter(|other| *other != plugin) {
            let first = self.waiting.iter().find(|(_, waiting)| waiting.plugin == other);
            if let Some((first, _)) = first.filter(|(_, waiting)| same(waiting) && self.surely_may(other)) {
                assert!(self.key(other, *first) > key, "{other} had a better claim than {plugin}");
            }
        }
        let overtakes = self.migrating[plugin] && self.in_a_row < MOST_IN_A_ROW;
        self.waiting.remove(at);
        let others = self.waiting.iter().any(|(_, waiting)| waiting.plugin != plugin);
        self.in_a_row = if overtakes && others { self.in_a_row + 1 } else { 0 };
        self.leases[plugin] += 1;
    }

    /// Migrations first, then the one that has had least for its weight, then the one that came first.
    fn key(&self, plugin: usize, ticket: u64) -> (bool, Total, u64) {
        let behind = !(self.migrating[plugin] && self.in_a_row < MOST_IN_A_ROW);
        let held = f64::from(self.leases[plugin]) * self.usual / f64::from(self.limits.plugins[plugin].weight);
        (behind, Total(self.shares[plugin] + held), ticket)
    }

    fn may_have_one_more(&self, plugin: usize) {
        assert!(self.leases[plugin] < self.limits.plugins[plugin].max, "the plugin's max");
        assert!(self.may(plugin), "places are kept for those who hold none");
    }

    /// Whether the plugin may have one more, while nobody waits.
    pub(super) fn may(&self, plugin: usize) -> bool {
        let (own, all) = (self.leases[plugin], self.leases.iter().sum::<u32>());
        let kept = own > 0 && all + self.limits.server.reserved >= self.limits.server.ceiling;
        own < self.limits.plugins[plugin].max && !kept
    }

    /// Whether the plugin may have one more, whatever others have been promised.
    fn surely_may(&self, plugin: usize) -> bool {
        let (own, promised) = (self.leases[plugin], self.waiting.len() as u32);
        let free =
            self.leases.iter().sum::<u32>() + promised + self.limits.server.reserved < self.limits.server.ceiling;
        own < self.limits.plugins[plugin].max && (own == 0 || free)
    }

    fn server(&self) -> ServerLimits {
        ServerLimits { ceiling: self.limits.server.ceiling, parallel: self.limits.server.parallel_connects }
    }
}

/// The two that are asked for most.
struct ServerLimits {
    ceiling: u32,
    parallel: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Total(f64);

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.0.total_cmp(&other.0))
    }
}

impl World {
    /// What holds after every event.
    pub(super) fn check(&self) {
        let leases = self.held.len() as u32;
        assert_eq!(self.core.used(), self.used(), "every connection is counted once");
        let counted = (self.core.leases, self.core.opening, self.core.closing, self.core.waiting);
        let opening = self.opening.len() as u32 + self.rooms();
        assert_eq!(counted, (leases, opening, self.closing(), self.waiting.len()), "leased, opening, closing, waiting");
        for (pool, state) in self.core.pools() {
            let leased = self.held.iter().filter(|held| held.pool == Some(pool)).count() as u32;
            let opening = self.opening.iter().filter(|opening| **opening == pool).count() as u32;
            assert_eq!((state.leased, state.opening), (leased, opening), "pool {pool}");
        }
        let servers: Vec<u32> = self.held.iter().map(|held| held.server).collect();
        assert_eq!(servers.iter().collect::<BTreeSet<_>>().len(), servers.len(), "a server has one holder");
        self.check_limits();
        if self.closed {
            assert!(self.waiting.is_empty() && self.idle() == 0, "everybody is told, nothing stays idle");
            return;
        }
        let above = (self.used() - self.closing()).saturating_sub(self.limits.server.ceiling);
        assert!(above == 0 || self.idle() == 0, "nothing is idle above the ceiling");
        self.check_progress();
    }

    /// Limits that several plugins share are theirs as they are now, not as they ever were.
    fn check_limits(&self) {
        let mut all = self.limits.plugins.iter().map(|plugin| plugin.pool());
        let first = all.next().expect("there are plugins");
        let expected = all.fold(first, |all, own| shared(all, &own));
        let most = |of: fn(&PoolLimits) -> u32| self.limits.plugins.iter().map(|own| of(&own.pool())).max();
        assert_eq!(Some(expected.min), most(|own| own.min));
        (0..POOLS).for_each(|pool| assert_eq!(self.core.pool(pool).limits, expected, "pool {pool}"));
        for (plugin, own) in self.limits.plugins.iter().enumerate() {
            assert_eq!(*self.core.plugin_limits(plugin), own.pool());
        }
    }

    /// Who could be served is served, and who could be served soon has something on its way.
    fn check_progress(&self) {
        let (leases, limits) = (self.held.len() as u32, &self.limits.server);
        let nothing_moves = self.opening.is_empty() && self.rooms() == 0 && self.closing() == 0;
        let mut plugins = BTreeSet::new();
        for (ticket, waits) in &self.waiting {
            let asked = waits.asked;
            // Those behind the first of a plugin may have to let it have what is on its way.
            if !plugins.insert(asked.plugin) {
                continue;
            }
            let own = self.leases(asked.plugin);
            let may =
                own < self.limits.plugins[asked.plugin].max && (own == 0 || leases + limits.reserved < limits.ceiling);
            // What others were promised counts as theirs.
            if !may || !(own == 0 || nothing_moves) {
                continue;
            }
            let idle = !self.shelves[asked.pool].0.borrow().is_empty();
            assert!(asked.private || !idle, "{ticket} waits beside an idle server");
            let room = self.used() < limits.ceiling || self.idle() > 0;
            let is_asked_again = self.retries.iter().any(|at| *at > self.now);
            assert!(!nothing_moves || !room || is_asked_again, "{ticket} waits, and nothing is on its way");
            // What closes above the ceiling makes no room.
            let soon = self.used() - self.closing() < limits.ceiling || self.opening.contains(&asked.pool);
            assert!(soon || self.idle() == 0 || is_asked_again, "{ticket} waits, and nobody is evicted for it");
        }
    }
}
