//! A place in a plugin's queue.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::crew::PostgresCrew;
use super::error::AcquireError;
use super::scheduler::{Crew, Granted, Scheduler};

/// A place in a plugin's queue. Dropping it leaves the queue, and gives back what had just been given.
pub(super) struct Place<'s, C: Crew = PostgresCrew> {
    scheduler: &'s Arc<Scheduler<C>>,
    pool: usize,
    plugin: usize,
    id: u64,
    since: Instant,
    answer: oneshot::Receiver<Granted<C>>,
}

impl<'s, C: Crew> Place<'s, C> {
    /// Behind all others of the plugin.
    pub(super) fn last(scheduler: &'s Arc<Scheduler<C>>, pool: usize, plugin: usize, private: bool) -> Self {
        let since = scheduler.crew.now();
        let (id, answer) = scheduler.wait(pool, plugin, private);
        Self { scheduler, pool, plugin, id, since, answer }
    }

    /// Waits to be served.
    pub(super) async fn turn(&mut self) -> Granted<C> {
        (&mut self.answer).await.unwrap_or(Err(AcquireError::Closed))
    }

    /// The server that was lent is dead, and is closed next: whoever got it is the next one again, also for what that one
    /// sets free.
    pub(super) fn back_to_the_front(&mut self) {
        self.answer = self.scheduler.wait_again(self.pool, self.plugin, self.id, self.since);
    }
}

impl<C: Crew> Drop for Place<'_, C> {
    fn drop(&mut self) {
        self.scheduler.leave(self.plugin, self.id);
    }
}
