//! Who holds what, and for how long every place was taken.

use std::time::Duration;

use tokio::time::Instant;

use super::{Core, Idle};
use crate::pool::error::Usage;

impl<I: Idle, T> Core<I, T> {
    /// Who holds what, for somebody of the plugin who waited in vain.
    pub(in crate::pool) fn usage(&self, plugin: usize, now: Instant) -> Usage {
        let holders = self.plugins.iter().filter_map(|plugin| plugin.holding(self.epoch, now)).collect::<Vec<_>>();
        let own = &self.plugins[plugin];
        let reserved = self.is_reserved(own, 0, 0).then_some(self.limits.reserved);
        Usage {
            leases: own.leases(),
            max: own.limits.max,
            used: self.used,
            ceiling: self.limits.ceiling,
            reserved,
            holders,
        }
        .sorted()
    }

    /// For how long the server was at its ceiling since this was last asked.
    pub(in crate::pool) fn take_full_for(&mut self, now: Instant) -> Duration {
        if let Some(since) = &mut self.full_since {
            self.full_for += now.saturating_duration_since(std::mem::replace(since, now));
        }
        std::mem::take(&mut self.full_for)
    }

    pub(super) fn note_fullness(&mut self, now: Instant) {
        if self.used >= self.limits.ceiling {
            self.full_since.get_or_insert(now);
        } else if let Some(since) = self.full_since.take() {
            self.full_for += now.saturating_duration_since(since);
        }
    }
}
