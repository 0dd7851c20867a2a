//! The virtual session: what a client believes it has, kept apart from the server that happens to serve it.
//!
//! No I/O: frames go in, decisions come out. [`Session::on_client`] says what becomes of a client's frame,
//! [`Session::on_server`] whose answer a server's frame is. Both count what was asked and is not yet answered, so that a
//! lease ends when nothing of this client is left on the server, and an answer to one of our own messages never reaches
//! a client.
//!
//! - `asked`: the queue of what was asked.
//! - `unnamed`: the client's own unnamed statement.
//! - `pin`: why a session keeps its server.

pub mod asked;
mod frames;
pub mod pin;
mod replies;
pub mod unnamed;

use asked::Queue;
pub use frames::Verdict;
pub use pin::PinReason;
pub use replies::{Failure, Reply};
use unnamed::Unnamed;

use crate::sql::{Effects, Quoting, Scanner};

/// One client's virtual session, from its login to its goodbye.
#[derive(Debug)]
pub struct Session {
    quoting: Quoting,
    queue: Queue,
    unnamed: Unnamed,
    /// What the texts of the transaction at hand may leave behind.
    effects: Effects,
    pin: Option<PinReason>,
    /// A frame larger than the buffer is passing through; its text is read in pieces.
    passing: Option<Passing>,
    /// The server waits for COPY data and ignores Flush and Sync.
    copying_in: bool,
    /// Messages of the extended protocol were sent since the last Sync: only Sync ends their implicit transaction.
    batch_is_open: bool,
    /// An error ended a batch whose Sync has not come yet: the server ignores everything up to it.
    skipping: bool,
    /// The same, of an error that was ours: we ignore everything up to Sync.
    discarding: bool,
    /// Something was answered that was not asked, or cannot be told: the server must not be used again.
    doubtful: bool,
    queries: u32,
}

#[derive(Debug)]
struct Passing {
    scanner: Scanner,
    keeps_unnamed: bool,
}

impl Session {
    /// A session whose literals the server will read with `quoting`.
    pub fn new(quoting: Quoting) -> Self {
        Self {
            quoting,
            queue: Queue::default(),
            unnamed: Unnamed::default(),
            effects: Effects::NONE,
            pin: None,
            passing: None,
            copying_in: false,
            batch_is_open: false,
            skipping: false,
            discarding: false,
            doubtful: false,
            queries: 0,
        }
    }

    /// The server reads literals differently from now on.
    pub fn set_quoting(&mut self, quoting: Quoting) {
        self.quoting = quoting;
    }

    /// Whether everything that was asked has been answered.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.copying_in && !self.batch_is_open
    }

    /// Whether every answer has come and the next move is the client's, perhaps in the middle of a batch.
    #[inline]
    pub fn is_waiting_for_client(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the server did something that was not asked of it, and so must not be lent again.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Why the session keeps its server, once it does.
    #[inline]
    pub fn pin(&self) -> Option<PinReason> {
        self.pin
    }

    /// Keeps the server until the client ends. The first reason stands.
    pub fn pin_for(&mut self, reason: PinReason) {
        self.pin.get_or_insert(reason);
    }

    /// What the texts since the last lease ended may leave behind.
    pub fn effects(&self) -> Effects {
        self.effects
    }

    /// Whether the first thing asked of a fresh server would find the unnamed statement of whoever had it before.
    ///
    /// A simple query and a Parse of the unnamed statement replace it; anything else must be preceded by a query of ours.
    pub fn needs_blank_server(&self) -> bool {
        !self.queue.begins_by_replacing_unnamed()
    }

    /// The answers to `cycles` simple queries of ours come before any other and are for nobody else.
    ///
    /// To be called when a lease begins, before its first byte is sent.
    pub fn expect_prelude(&mut self, cycles: u32) {
        self.queue.put_prelude_first(cycles);
    }

    /// A transaction ended on a server that the session keeps.
    pub fn transaction_ended(&mut self) {
        self.effects = Effects::NONE;
    }

    /// The lease ended and its server is gone or another's.
    pub fn lease_ended(&mut self) {
        self.effects = Effects::NONE;
        self.doubtful = false;
        self.unnamed.leave_server();
    }

    /// Statements asked since the last call.
    pub fn take_queries(&mut self) -> u32 {
        std::mem::take(&mut self.queries)
    }
}

#[cfg(test)]
mod tests;
