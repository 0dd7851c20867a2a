//! Counts that come back by themselves: a place under the ceiling, a plugin's place under its max, one of those who open or
//! are closing.

use std::sync::Arc;

use tokio::time::Instant;

use super::crew::PostgresCrew;
use super::error::OpenError;
use super::scheduler::{Crew, Scheduler};
use crate::metrics::{InState, ServerState};
use crate::server::Footprint;

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

/// A slot of PostgreSQL's with what the connection in it is doing.
#[derive(Debug)]
pub(super) struct Occupied {
    // Counted no more before somebody else is.
    pub(super) state: InState<ServerState>,
    pub(super) slot: Slot,
    /// It is counted as closing, in case somebody waits for it. Ends after the slot.
    closing: Option<Closing>,
    scheduler: Arc<Scheduler>,
}

impl Occupied {
    pub(super) fn new(slot: Slot, state: InState<ServerState>) -> Self {
        let scheduler = Arc::clone(&slot.scheduler);
        Self { state, slot, closing: None, scheduler }
    }
}

impl Footprint for Occupied {
    fn leaves(&mut self) {
        self.state.set(ServerState::Closing);
        self.closing = Some(self.scheduler.closing());
    }

    fn stays(&mut self) {
        self.closing = None;
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
pub(super) struct Opening<C: Crew = PostgresCrew> {
    scheduler: Arc<Scheduler<C>>,
    /// The pool that it is opened for; `None` for one of a session's own.
    pool: Option<usize>,
    taken_back: bool,
}

impl<C: Crew> Opening<C> {
    /// The scheduler has already counted it.
    pub(super) fn counted(scheduler: Arc<Scheduler<C>>, pool: Option<usize>) -> Self {
        Self { scheduler, pool, taken_back: false }
    }

    /// The scheduler takes the count back by itself.
    pub(super) fn take_back(mut self) {
        self.taken_back = true;
    }

    /// A session's own is over, and this is how it went.
    pub(super) fn ended<T>(self, opened: &Result<T, Arc<OpenError>>) {
        let scheduler = Arc::clone(&self.scheduler);
        self.take_back();
        scheduler.room_opened(opened.as_ref().err());
    }
}

impl<C: Crew> Drop for Opening<C> {
    fn drop(&mut self) {
        match self.pool {
            _ if self.taken_back => {}
            Some(pool) => self.scheduler.open_dropped(pool),
            None => self.scheduler.room_dropped(),
        }
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
