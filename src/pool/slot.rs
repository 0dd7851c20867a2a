//! Counts that come back by themselves: a place under the ceiling, a plugin's place under its max, one of those who open or
//! are closing.

use std::sync::Arc;

use tokio::time::Instant;

use super::crew::PostgresCrew;
use super::scheduler::{Crew, Scheduler};

/// A place under the server's ceiling, held until the server has closed its end.
#[derive(Debug)]
pub(super) struct Slot<C: Crew = PostgresCrew> {
    scheduler: Arc<Scheduler<C>>,
    taken_back: bool,
}

impl<C: Crew> Slot<C> {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler<C>>) -> Self {
        Self { scheduler, taken_back: false }
    }

    /// The scheduler takes the count back by itself.
    pub(super) fn take_back(mut self) {
        self.taken_back = true;
    }
}

impl<C: Crew> Drop for Slot<C> {
    fn drop(&mut self) {
        if !self.taken_back {
            self.scheduler.slot_came_back();
        }
    }
}

/// One lease of a plugin, under its max.
#[derive(Debug)]
pub(super) struct Seat<C: Crew = PostgresCrew> {
    scheduler: Arc<Scheduler<C>>,
    plugin: usize,
    /// When the lease began.
    since: Instant,
    taken_back: bool,
}

impl<C: Crew> Seat<C> {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler<C>>, plugin: usize, since: Instant) -> Self {
        Self { scheduler, plugin, since, taken_back: false }
    }

    /// The scheduler takes the count back by itself; whose it was, and since when.
    pub(super) fn take_back(mut self) -> (usize, Instant) {
        self.taken_back = true;
        (self.plugin, self.since)
    }
}

impl<C: Crew> Drop for Seat<C> {
    fn drop(&mut self) {
        if !self.taken_back {
            self.scheduler.seat_came_back(self.plugin, self.since);
        }
    }
}

/// One of the connections that are being opened, until its login is over.
#[derive(Debug)]
pub(super) struct Opening<C: Crew = PostgresCrew>(Arc<Scheduler<C>>);

impl<C: Crew> Opening<C> {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler<C>>) -> Self {
        Self(scheduler)
    }
}

impl<C: Crew> Drop for Opening<C> {
    fn drop(&mut self) {
        self.0.room_opened();
    }
}

/// A connection that is being closed.
#[derive(Debug)]
pub(super) struct Closing<C: Crew = PostgresCrew>(Arc<Scheduler<C>>);

impl<C: Crew> Closing<C> {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler<C>>) -> Self {
        Self(scheduler)
    }
}

impl<C: Crew> Drop for Closing<C> {
    fn drop(&mut self) {
        self.0.closing_ended();
    }
}
