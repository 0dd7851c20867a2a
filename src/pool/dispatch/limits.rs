//! Whose limits count where, and what becomes of them when they change.

use tokio::time::Instant;

use super::pool::shared;
use super::{Close, Core, Idle, PluginState, Work};
use crate::config::{PoolLimits, ServerLimits};
use crate::pool::reason::CloseReason;
use crate::route::PluginId;

impl<I: Idle, T> Core<I, T> {
    /// A plugin borrows from a pool; its place. One that is known already keeps its limits until [`Self::reload`].
    pub(in crate::pool) fn join(&mut self, pool: usize, id: &PluginId, limits: &PoolLimits, weight: u32) -> usize {
        let next = self.plugins.len();
        let index = *self.plugin_index.entry(id.clone()).or_insert(next);
        if index == next {
            self.plugins.push(PluginState::new(id.clone(), limits.clone(), weight));
        }
        if !self.pools[pool].members.contains(&index) {
            self.pools[pool].members.push(index);
            self.share_limits(pool);
        }
        index
    }

    /// From now on these are the limits: the server's, and those that each plugin is asked for, with its weight.
    pub(in crate::pool) fn reload(
        &mut self,
        limits: ServerLimits,
        of: impl Fn(&PluginId) -> (PoolLimits, u32),
        now: Instant,
    ) {
        self.limits = limits;
        let t = self.seconds(now);
        for plugin in &mut self.plugins {
            let (limits, weight) = of(&plugin.id);
            plugin.set_limits(limits, weight, t);
        }
        (0..self.pools.len()).for_each(|pool| self.share_limits(pool));
        self.note_fullness(now);
    }

    /// What is known of a plugin's limits.
    pub(in crate::pool) fn plugin_limits(&self, plugin: usize) -> &PoolLimits {
        &self.plugins[plugin].limits
    }

    /// Every plugin that ever borrowed.
    pub(in crate::pool) fn plugin_ids(&self) -> impl Iterator<Item = &PluginId> {
        self.plugins.iter().map(|plugin| &plugin.id)
    }

    fn share_limits(&mut self, pool: usize) {
        let members = self.pools[pool].members.iter().map(|member| &self.plugins[*member].limits);
        let mut all = members.clone();
        if let Some(first) = all.next() {
            self.pools[pool].limits = all.fold(first.clone(), shared);
        }
    }

    /// A connection that listens is wanted. Whether there may be one: they take no more than half of all places, for without
    /// the other half there would be nobody to hear from.
    pub(in crate::pool) fn listener_begins(&mut self) -> bool {
        let may_begin = !self.closed && (self.listeners + 1) * 2 <= self.limits.ceiling;
        self.listeners += u32::from(may_begin);
        may_begin
    }

    /// Whether there are more of them than may begin now.
    pub(in crate::pool) fn is_one_listener_too_many(&self) -> bool {
        self.listeners * 2 > self.limits.ceiling
    }

    /// It is wanted no more.
    pub(in crate::pool) fn listener_ended(&mut self) {
        self.listeners -= 1;
    }

    /// How many connections there are above the ceiling, which has been lowered, that are not closing yet.
    #[inline]
    pub(super) fn above_ceiling(&self) -> u32 {
        self.used.saturating_sub(self.closing).saturating_sub(self.limits.ceiling)
    }

    /// Closes idle connections above the ceiling. Leases end by themselves, and are closed then.
    pub(super) fn come_down(&mut self, work: &mut Work<I::Lent, I::Out, T>) {
        while self.above_ceiling() > 0
            && let Some((pool, server)) = self.take_longest_idle()
        {
            self.close_one(Close { pool, server, reason: CloseReason::Ceiling, for_pool: None }, work);
        }
    }
}
