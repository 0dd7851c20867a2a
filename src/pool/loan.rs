//! What a waiter is given, on its way to it.

use std::sync::Arc;

use super::crew::PostgresCrew;
use super::scheduler::{Crew, LentOf, Scheduler};
use super::slot::{Opening, Seat, Slot};

/// What a waiter is given.
#[derive(Debug)]
pub(super) enum Grant<C: Crew = PostgresCrew> {
    /// An idle server of the pool.
    Shared(Loan<C>),
    /// Room for a connection of its own, which it opens itself.
    Room(Slot<C>, Seat<C>, Opening<C>),
}

/// An idle server on its way to a waiter; dropped, it goes back.
#[derive(Debug)]
pub(super) struct Loan<C: Crew = PostgresCrew> {
    scheduler: Arc<Scheduler<C>>,
    pool: usize,
    lent: Option<(LentOf<C>, Seat<C>)>,
}

impl<C: Crew> Loan<C> {
    pub(super) fn new(scheduler: &Arc<Scheduler<C>>, pool: usize, lent: LentOf<C>, seat: Seat<C>) -> Self {
        Self { scheduler: Arc::clone(scheduler), pool, lent: Some((lent, seat)) }
    }

    /// It has arrived.
    pub(super) fn arrived(mut self) -> (LentOf<C>, Seat<C>) {
        self.lent.take().expect("only this and drop take it out")
    }
}

impl<C: Crew> Drop for Loan<C> {
    fn drop(&mut self) {
        if let Some((lent, seat)) = self.lent.take() {
            self.scheduler.give_back(self.pool, lent, seat);
        }
    }
}
