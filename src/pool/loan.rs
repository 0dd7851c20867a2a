//! What a waiter is given, on its way to it.

use std::sync::Arc;

use super::scheduler::Scheduler;
use super::slot::{Opening, Seat, Slot};
use super::store::Borrowed;

/// What a waiter is given.
#[derive(Debug)]
pub(super) enum Grant {
    /// An idle server of the pool.
    Shared(Loan),
    /// Room for a connection of its own, which it opens itself.
    Room(Slot, Seat, Opening),
}

/// An idle server on its way to a waiter; dropped, it goes back.
#[derive(Debug)]
pub(super) struct Loan {
    scheduler: Arc<Scheduler>,
    pool: usize,
    lent: Option<(Borrowed, Seat)>,
}

impl Loan {
    pub(super) fn new(scheduler: &Arc<Scheduler>, pool: usize, borrowed: Borrowed, seat: Seat) -> Self {
        Self { scheduler: Arc::clone(scheduler), pool, lent: Some((borrowed, seat)) }
    }

    /// It has arrived.
    pub(super) fn arrived(mut self) -> (Borrowed, Seat) {
        self.lent.take().expect("only this and drop take it out")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some((borrowed, seat)) = self.lent.take() {
            self.scheduler.give_back(self.pool, borrowed, seat);
        }
    }
}
