//! What follows from one round of decisions: who is told what, what is opened and what is closed.

use std::sync::Arc;

use tokio::time::Instant;

use super::Waiter;
use crate::pool::error::OpenError;
use crate::pool::reason::CloseReason;

/// What a waiter is given.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) enum Grant<L> {
    /// An idle server of the pool.
    Server(L),
    /// Room for a connection of its own, which it opens itself.
    Room,
}

/// Why a waiter is given nothing.
#[derive(Debug, Clone)]
pub(in crate::pool) enum Refusal {
    /// A connection for its pool failed, and it was the first in the queue.
    Open(Arc<OpenError>),
    /// Nobody is served any more.
    Closed,
}

/// What follows from an event.
#[derive(Debug)]
pub(in crate::pool) struct Work<L, O, T> {
    /// Who is told what.
    pub(in crate::pool) answers: Vec<Answer<L, T>>,
    /// The pools for which a connection is to be opened, one for each.
    pub(in crate::pool) open: Vec<usize>,
    /// What is to be closed.
    pub(in crate::pool) close: Vec<Close<O>>,
    /// When [`super::Core::decide`] is to be asked again at the latest.
    pub(in crate::pool) retry: Option<Instant>,
}

/// The end of a wait.
#[derive(Debug)]
pub(in crate::pool) struct Answer<L, T> {
    pub(in crate::pool) waiter: Waiter<T>,
    pub(in crate::pool) plugin: usize,
    /// When its lease began; it is to be named when the lease ends.
    pub(in crate::pool) since: Instant,
    pub(in crate::pool) result: Result<Grant<L>, Refusal>,
}

/// An idle server that is to be closed. It is counted as closing already.
#[derive(Debug)]
pub(in crate::pool) struct Close<O> {
    pub(in crate::pool) pool: usize,
    pub(in crate::pool) server: O,
    pub(in crate::pool) reason: CloseReason,
    /// The pool that gets its room.
    pub(in crate::pool) for_pool: Option<usize>,
}
