//! Counts that come back by themselves: a place under the ceiling, and a plugin's place under its max.

use std::sync::Arc;

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
    taken_back: bool,
}

impl Seat {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler>, plugin: usize) -> Self {
        Self { scheduler, plugin, taken_back: false }
    }

    /// The scheduler takes the count back by itself; returns whose it was.
    pub(super) fn take_back(mut self) -> usize {
        self.taken_back = true;
        self.plugin
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.taken_back {
            self.scheduler.seat_came_back(self.plugin);
        }
    }
}
