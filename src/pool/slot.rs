//! Counts that come back by themselves: a place under the ceiling, a plugin's place under its max, one of those who open.

use std::sync::Arc;

use tokio::time::Instant;

use super::scheduler::Scheduler;

/// A place under the server's ceiling, held until the server has closed its end.
#[derive(Debug)]
pub(super) struct Slot(Arc<Scheduler>);

impl Slot {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler>) -> Self {
        Self(scheduler)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slot_came_back();
    }
}

/// One lease of a plugin, under its max.
#[derive(Debug)]
pub(super) struct Seat {
    scheduler: Arc<Scheduler>,
    plugin: usize,
    /// When the lease began.
    since: Instant,
    taken_back: bool,
}

impl Seat {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler>, plugin: usize, since: Instant) -> Self {
        Self { scheduler, plugin, since, taken_back: false }
    }

    /// The scheduler takes the count back by itself; whose it was, and since when.
    pub(super) fn take_back(mut self) -> (usize, Instant) {
        self.taken_back = true;
        (self.plugin, self.since)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.taken_back {
            self.scheduler.seat_came_back(self.plugin, self.since);
        }
    }
}

/// One of the connections that are being opened, until its login is over.
#[derive(Debug)]
pub(super) struct Opening(Arc<Scheduler>);

impl Opening {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler>) -> Self {
        Self(scheduler)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.room_opened();
    }
}
