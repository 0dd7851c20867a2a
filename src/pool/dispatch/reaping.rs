//! When idle servers are looked at: from the first one that is open until nothing is left.

use super::{Core, Idle};

impl<I: Idle, T> Core<I, T> {
    /// Something is open that will be idle: whether nobody looks yet, and the caller is to begin.
    pub(in crate::pool) fn reaping_begins(&mut self) -> bool {
        !std::mem::replace(&mut self.reaping, true)
    }

    /// Whether whoever looks may stop, because nothing is idle, lent, on its way or asked for.
    pub(in crate::pool) fn reaping_ends(&mut self) -> bool {
        let idle = self.pools.iter().any(|pool| pool.idle.longest().is_some());
        self.reaping = idle || self.leases + self.opening > 0 || self.waiting > 0;
        !self.reaping
    }
}
