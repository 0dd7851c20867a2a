//! A server on loan to one session.

use std::sync::Arc;

use tokio::time::Instant;

use super::entry::Entry;
use super::reason::CloseReason;
use super::slot::Seat;
use super::store::Borrowed;
use super::{Member, Pool};
use crate::metrics::{GaugeGuard, ServerState};
use crate::server::Server;

/// A server on loan to one session. It goes back with [`Self::release`] or ends with [`Self::close`]; dropped without
/// either it ends, because nobody said that it is clean.
#[derive(Debug)]
pub struct Lease {
    held: Option<Held>,
    seat: Option<Seat>,
    pool: Arc<Pool>,
    /// The number of the client for which the server may send something to channels.
    sends_as: Option<i32>,
    _counted: GaugeGuard,
}

#[derive(Debug)]
enum Held {
    /// From the pool's store.
    Shared(Borrowed),
    /// Opened for this session alone.
    Private(Box<Entry>),
}

impl Lease {
    pub(super) fn shared(member: &Member, mut borrowed: Borrowed, seat: Seat) -> Self {
        if let Some(entry) = &mut borrowed.0 {
            entry.is(ServerState::Leased);
        }
        Self::new(member, Held::Shared(borrowed), seat)
    }

    pub(super) fn private(member: &Member, entry: Box<Entry>, seat: Seat) -> Self {
        Self::new(member, Held::Private(entry), seat)
    }

    fn new(member: &Member, held: Held, seat: Seat) -> Self {
        let counted = GaugeGuard::new(&member.metrics.leases);
        Self { held: Some(held), seat: Some(seat), pool: Arc::clone(&member.pool), sends_as: None, _counted: counted }
    }

    fn entry(&mut self) -> &mut Entry {
        match &mut self.held {
            Some(Held::Shared(borrowed)) => borrowed.0.as_mut().expect("only close empties the shell"),
            Some(Held::Private(entry)) => entry,
            None => unreachable!("release and close consume the lease"),
        }
    }

    /// The server.
    #[inline]
    pub fn server(&mut self) -> &mut Server {
        &mut self.entry().server
    }

    /// Why it is lent to nobody any more, if that is so.
    pub(super) fn is_unfit(&mut self) -> Option<CloseReason> {
        let number = self.pool.configuration_number();
        let entry = self.entry();
        if entry.is_dead() {
            return Some(CloseReason::ServerEnded);
        }
        (entry.configuration != number).then_some(CloseReason::Reconfigured)
    }

    /// Whether its pool's servers begin with other settings now; it may be the first one to tell.
    fn is_outdated(&mut self) -> bool {
        let number = self.pool.configuration_number();
        if self.entry().configuration != number {
            return true;
        }
        if self.entry().server.reported.is_empty() {
            return false;
        }
        let reported = std::mem::take(&mut self.entry().server.reported);
        self.pool.configuration.changes(&reported)
    }

    /// Whether settings may have been changed on a server that others will have.
    pub fn is_altered(&mut self) -> bool {
        let is_private = self.is_private();
        let server = &self.entry().server;
        server.is_altered && !server.is_for_nobody_else() && !is_private
    }

    /// Whether the server was opened for this session alone.
    pub fn is_private(&self) -> bool {
        matches!(self.held, Some(Held::Private(_)))
    }

    /// The pool it came from.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What the server sends to channels from now on is heard as the client's of this number.
    #[inline]
    pub fn sends_as(&mut self, client: i32) {
        if self.sends_as.is_none() {
            self.sends_as = Some(client);
            let server = self.entry().server.cancel.pid();
            self.pool.scheduler.crew.senders.sends(server, client);
        }
    }

    /// Gives a clean server back. The caller has made sure that no cancel can begin any more; one that is on its way is
    /// waited for in the background, and so is what the server has sent, and the end of a server that is too old or private.
    pub fn release(mut self) {
        let now = Instant::now();
        if self.is_private() || self.entry().server.is_for_nobody_else() {
            return self.close(CloseReason::Pinned);
        }
        if self.entry().server.cancel.is_tainted() {
            return self.close(CloseReason::Doubtful);
        }
        if self.entry().expires <= now {
            return self.close(CloseReason::Lifetime);
        }
        if self.is_outdated() {
            return self.close(CloseReason::Reconfigured);
        }
        self.entry().idle_since = now;
        let unheard = self.unheard();
        if self.entry().server.cancel.is_cancelling() || unheard.is_some() {
            tokio::spawn(async move {
                let cancel = Arc::clone(&self.entry().server.cancel);
                if let Some(unheard) = unheard {
                    unheard.await;
                }
                cancel.settled().await;
                match cancel.is_tainted() {
                    true => self.close(CloseReason::Doubtful),
                    false => self.back_to_the_pool(),
                }
            });
            return;
        }
        self.back_to_the_pool();
    }

    /// Ready once everything was heard that the server has sent, if it may have: nobody is its client then. It takes no longer
    /// than whoever listens is waited for.
    fn unheard(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let client = self.sends_as.take()?;
        let server = self.entry().server.cancel.pid();
        let senders = Arc::clone(&self.pool.scheduler.crew.senders);
        let unheard = senders.unheard(&self.pool.key.database);
        if unheard.is_empty() {
            senders.forget(server, client);
            return None;
        }
        Some(async move {
            for heard in unheard {
                let _ = heard.await;
            }
            senders.forget(server, client);
        })
    }

    #[inline]
    fn back_to_the_pool(mut self) {
        self.entry().is(ServerState::Idle);
        if let (Some(Held::Shared(borrowed)), Some(seat)) = (self.held.take(), self.seat.take()) {
            self.pool.scheduler.give_back(self.pool.index, borrowed, seat);
        }
    }

    /// A private server becomes nobody's lease, and keeps its place under the ceiling.
    pub(super) fn stays(mut self) -> Option<Box<Entry>> {
        match self.held.take() {
            Some(Held::Private(mut entry)) => {
                entry.is(ServerState::Listening);
                Some(entry)
            }
            held => {
                self.held = held;
                None
            }
        }
    }

    /// Ends the server.
    pub fn close(mut self, reason: CloseReason) {
        self.end(reason);
    }

    fn end(&mut self, reason: CloseReason) {
        if self.held.is_some()
            && let Some(unheard) = self.unheard()
        {
            tokio::spawn(unheard);
        }
        match (self.held.take(), self.seat.take()) {
            (Some(Held::Shared(mut borrowed)), Some(seat)) => {
                if let Some(entry) = borrowed.0.take() {
                    entry.close(&self.pool, reason, self.pool.scheduler.closing());
                }
                self.pool.scheduler.leased_server_left(self.pool.index, borrowed, seat);
            }
            (Some(Held::Private(entry)), _) => entry.close(&self.pool, reason, self.pool.scheduler.closing()),
            _ => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end(CloseReason::Abandoned);
    }
}
