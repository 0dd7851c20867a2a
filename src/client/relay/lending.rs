//! The lease of one client: asking for it, dressing it, keeping it, giving it back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::{Ending, Flow, HeldBack, Relay};
use crate::cancel::CancelPlace;
use crate::client::reply;
use crate::metrics::ClientState;
use crate::pool::{AcquireError, CloseReason, Ear, Kind, Lease, Member};
use crate::protocol::message::{self, Severity};
use crate::protocol::tag::TxStatus;
use crate::server::{Code, Dress, QueryError, Remains, Role, Sequences};
use crate::session::{Description, PinReason, Serial, Takeover};
use crate::sql::{Effect, Effects};

/// What a wait for a server brings.
pub(super) type Lent = Result<Brought, LendError>;

/// A server that was waited for.
pub(super) enum Brought {
    /// It has nothing of the session yet.
    Fresh(Lease),
    /// The session's own comes back.
    Own(Lease),
    /// The session's own, which has told what there is of the session on it.
    Asked(Lease, Remains),
    /// The session's own, which was given the client's statements by their own names, and has told of them.
    TakenOver(Lease, Vec<(Serial, Option<Description>)>),
}

/// Why it brings none.
#[derive(Debug, thiserror::Error)]
pub(super) enum LendError {
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// PostgreSQL does not let the login have the session's role any more.
    #[error("the session's role cannot be set: {0}")]
    Role(QueryError),
    #[error("the server could not be prepared: {0}")]
    Prepare(#[from] QueryError),
    #[error("the server did not answer while it was prepared")]
    TimedOut(#[from] Elapsed),
}

/// Whether this client holds a server now. Whether it keeps it beyond the transaction is the session's pin.
pub(super) enum Lending {
    /// Between transactions: nothing held.
    Free,
    /// A server is on its way.
    Waiting(Box<Waiting>),
    /// Held.
    Leased(Lease),
}

/// A wait for a server, which a cancel can end.
pub(super) struct Waiting {
    /// It is for the one that the session has already.
    pub(super) own: bool,
    pub(super) lent: Pin<Box<dyn Future<Output = Lent> + Send>>,
    pub(super) cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Relay<'_> {
    /// Asks for a server for what has arrived.
    pub(super) fn borrow(&mut self) -> Flow {
        let code = self.member.pool.facts.code();
        if code == Code::Stateful {
            self.session.pin_for(PinReason::DatabaseCode);
        }
        self.facts = self.member.pool.facts.snapshot();
        if !self.needs_own_server()
            && code == Code::Harmless
            && self.hearing.is_none()
            && let Some(lease) = self.member.try_acquire()
        {
            self.lend(lease);
            return Flow::Continue(());
        }
        self.state.set(ClientState::Waiting);
        self.key.place.waits();
        let lent: Pin<Box<dyn Future<Output = Lent> + Send>> = match self.needs_own_server() {
            true => Box::pin(private(self.member.clone(), self.dress.clone())),
            false => {
                let shared = shared(self.member.clone(), self.dress.clone());
                match &self.hearing {
                    Some(hearing) => Box::pin(heard(shared, hearing.ear())),
                    None => Box::pin(shared),
                }
            }
        };
        self.wait(lent, false);
        Flow::Continue(())
    }

    /// Whether only a server with the session's own startup parameters will do.
    fn needs_own_server(&self) -> bool {
        self.session.needs_own_server() || (self.session.pin().is_some() && self.dress.began_with_settings())
    }

    /// The server is given what the client has prepared elsewhere, ahead of a frame that may look for it.
    pub(super) fn take_over(&mut self) {
        let Lending::Leased(lease) = std::mem::replace(&mut self.lending, Lending::Free) else { return };
        // A cancel of the client's must not hit a question of ours.
        self.key.place.rests();
        self.session.unnamed_left_server();
        let taken_over = taken_over(lease, self.session.to_take_over(), self.status);
        let taken_over = timeout(self.member.create_timeout(), taken_over);
        self.wait(Box::pin(async { taken_over.await? }), true);
    }

    /// Waits for a server: for the session's `own`, which is being asked, or for one to begin with.
    pub(super) fn wait(&mut self, lent: Pin<Box<dyn Future<Output = Lent> + Send>>, own: bool) {
        let place = Arc::clone(&self.key.place);
        let cancelled = Box::pin(async move { CancelPlace::cancelled_while_waiting(&place).await });
        self.lending = Lending::Waiting(Box::new(Waiting { own, lent, cancelled }));
    }

    /// The wait is over.
    pub(super) fn on_lent(&mut self, lent: Lent) -> Flow {
        self.lending = Lending::Free;
        self.on_brought(lent)?;
        if self.held_back != HeldBack::No && !matches!(self.lending, Lending::Waiting(_)) {
            return self.on_client_bytes(0);
        }
        Flow::Continue(())
    }

    fn on_brought(&mut self, lent: Lent) -> Flow {
        match lent {
            Ok(Brought::Fresh(lease)) => {
                // Whoever had it before may have sent it from there: it is not the client's own.
                self.tell()?;
                self.facts = self.member.pool.facts.snapshot();
                self.times.lent = Some(Instant::now());
                self.lend(lease);
            }
            Ok(Brought::Own(mut lease)) => {
                self.tell_unheard(&mut lease);
                self.keep(lease);
                if self.status == TxStatus::Idle {
                    self.note_kept();
                }
            }
            Ok(Brought::Asked(lease, remains)) => self.on_told(lease, remains),
            Ok(Brought::TakenOver(mut lease, told)) => {
                self.session.has_taken_over(told, &mut lease.server().prepared);
                self.tell_unheard(&mut lease);
                self.keep(lease);
            }
            Err(LendError::Acquire(error)) => {
                let error = reply::not_lent(&error, Severity::Error);
                let (code, text) = error.summary();
                tracing::warn!(plugin = &*self.metrics.name, code, error = text, "no server for a transaction");
                return self.fail_outstanding(&error);
            }
            Err(LendError::Role(QueryError::Refused { body, .. })) => {
                return self.fail_outstanding(&reply::Reply::Passed(Severity::Error, body));
            }
            Err(error) => {
                tracing::warn!(plugin = &*self.metrics.name, %error, "a server was lost");
                return Flow::Break(Ending::Told(reply::server_lost()));
            }
        }
        Flow::Continue(())
    }

    /// Dresses a fresh server: what differs goes out ahead of the client's bytes, in the same write. A role is waited for.
    fn lend(&mut self, mut lease: Lease) {
        if self.told.configuration != self.member.pool.configuration_number() {
            self.tell_configuration();
        }
        if !lease.server().reported.is_empty() {
            self.tell_unheard(&mut lease);
        }
        if !lease.is_private() && !lease.server().dress.is_in_role_of(&self.dress) {
            let in_role = timeout(self.member.create_timeout(), in_role(lease, self.dress.clone()));
            self.key.place.waits();
            return self.wait(Box::pin(async { in_role.await? }), false);
        }
        if lease.is_private() {
            // A new server may be the first one of a new configuration.
            self.told.configuration = 0;
            if self.member.pool.facts.code() == Code::Stateful || self.session.pin().is_none() {
                // The database turned out to have code of its own while the session waited.
                self.session.pin_for(PinReason::DatabaseCode);
            }
            self.has_own_sequences = true;
        } else {
            self.note_sequence_reads();
            let (server, mut cycles) = (lease.server(), 0);
            // What stood before an injection goes behind the prelude; usually there is none, and nothing is allocated.
            let behind = self.ahead.len();
            let prelude = &mut self.ahead;
            self.has_own_sequences = server.sequences.are_own(self.key.pid);
            // Who keeps the server may come to ask much later.
            let may_ask = self.member.pool.facts.are_sequences_read() || self.session.pin().is_some();
            if !self.has_own_sequences && may_ask {
                message::query(prelude, "DISCARD SEQUENCES");
                cycles += 1;
                self.has_own_sequences = true;
            }
            server.sequences = match self.has_own_sequences {
                true => Sequences::Of(self.key.pid),
                false => Sequences::Mixed,
            };
            cycles += server.dress.change_to(&self.dress, prelude);
            server.is_altered |= self.dress.has_more();
            if cycles > 0 {
                self.session.expect_prelude(cycles);
                prelude.rotate_left(behind);
            }
        }
        self.show_channels(&mut lease);
        self.keep(lease);
    }

    /// Holds a server that needs no dressing.
    pub(super) fn keep(&mut self, mut lease: Lease) {
        self.key.place.leases(Arc::clone(&lease.server().cancel));
        self.lending = Lending::Leased(lease);
        self.server_said_farewell = false;
        self.server_is_deaf = false;
        self.server_needs_flush = false;
        self.state.set(ClientState::Active);
        self.note_pin();
        self.note_sender();
    }

    /// What a session did to sequences is read: from now on nobody in this database gets a server that remembers
    /// another's.
    fn note_sequence_reads(&mut self) {
        if self.session.effects().contains(Effect::SequenceRead) {
            self.member.pool.facts.sequences_are_read();
        }
    }

    /// A statement that reads what its session did to sequences must not be asked of a server that remembers another's.
    /// That can happen once, to the first in a database that does so in the middle of a transaction.
    pub(super) fn check_sequence_reads(&mut self) -> Flow {
        self.note_sequence_reads();
        let reads = self.session.effects().contains(Effect::SequenceRead);
        if reads && !self.has_own_sequences && matches!(self.lending, Lending::Leased(_)) {
            return Flow::Break(Ending::Told(reply::sequences_of_a_stranger()));
        }
        Flow::Continue(())
    }

    /// A session keeps its server from now on, unless that is still to be asked.
    pub(super) fn note_pin(&mut self) {
        if !self.session.can_be_asked() {
            self.note_kept();
        }
    }

    /// The first pin of a session is logged and counted.
    pub(super) fn note_kept(&mut self) {
        if self.pinned.is_none()
            && let Some(reason) = self.session.pin()
        {
            self.pinned = Some(self.metrics.pin(reason.as_str()));
            self.state.set(ClientState::Pinned);
            tracing::info!(
                plugin = &*self.metrics.name,
                reason = reason.as_str(),
                "session keeps a server connection of its own"
            );
        }
    }

    /// ReadyForQuery has come. At the end of a transaction the server goes back before the client is told, unless the
    /// session keeps it.
    pub(super) fn on_ready(&mut self, is_last: bool) -> Flow {
        if self.session.has_signals() {
            self.end_signals();
        }
        self.turn_passes();
        self.note_changed_code();
        self.note_change();
        self.note_migration();
        if !self.session.is_settled() {
            // More was sent behind it: the next transaction has begun already.
            self.times.transaction.get_or_insert(self.times.clients_turn);
            return Flow::Continue(());
        }
        if self.status != TxStatus::Idle {
            self.dress_again();
            return Flow::Continue(());
        }
        if self.session.pin().is_none() {
            self.end_lease(!is_last);
            return Flow::Continue(());
        }
        let asks = is_last && self.session.is_to_be_asked();
        self.session.transaction_ended();
        if asks {
            self.ask_what_is_left();
        } else {
            self.note_kept();
            self.dress_again();
        }
        Flow::Continue(())
    }

    /// The server goes back, unless something is not as it should be.
    pub(super) fn end_lease(&mut self, more_came: bool) {
        let in_a_frame = self.up_left > 0 && self.up_forwards;
        let is_finished = !more_came && !self.has_bytes_for_server() && !in_a_frame;
        let doubtful = !is_finished || self.session.is_doubtful() || self.session.may_have_spoiled_server();
        // Code that appeared while the server was lent may have been called without a word of it in any text.
        let same_code = self.member.pool.facts.is_still(self.facts);
        self.forget_bytes_for_server();
        self.session.lease_ended();
        self.signalling.clear();
        self.state.set(ClientState::Idle);
        self.key.place.rests();
        if let Lending::Leased(mut lease) = std::mem::replace(&mut self.lending, Lending::Free) {
            lease.server().prepared.lease_ended();
            match (doubtful, same_code) {
                (true, _) => lease.close(CloseReason::Doubtful),
                (_, false) => lease.close(CloseReason::CodeChanged),
                _ if lease.is_altered() => drop(tokio::spawn(cleaned(lease, self.member.create_timeout()))),
                _ => lease.release(),
            }
        }
    }

    /// Statements that define code, and those that hide what they do, may have changed what the database's code does.
    fn note_changed_code(&mut self) {
        let effects = self.session.effects();
        const HIDING: Effects = Effects::of(&[Effect::Code, Effect::Procedural, Effect::Unreadable, Effect::Reading]);
        if !effects.is_disjoint(HIDING) {
            self.member.pool.facts.forget();
        }
    }

    /// Puts away whatever is held. Nothing here is clean enough to be lent again.
    pub(super) fn put_lease_away(&mut self) {
        let reason = match self.session.pin() {
            Some(_) if self.is_at_rest() => CloseReason::Pinned,
            _ => CloseReason::ClientGone,
        };
        self.note_changed_code();
        self.close_lease(reason);
    }

    pub(super) fn close_lease(&mut self, reason: CloseReason) {
        self.key.place.rests();
        match std::mem::replace(&mut self.lending, Lending::Free) {
            Lending::Leased(lease) => lease.close(reason),
            // It is in the middle of an answer to a question of ours, which soon ends by its time limit.
            Lending::Waiting(waiting) if waiting.own => drop(tokio::spawn(async move {
                if let Ok(Brought::Own(lease) | Brought::Asked(lease, _) | Brought::TakenOver(lease, _)) =
                    waiting.lent.await
                {
                    lease.close(reason);
                }
            })),
            _ => {}
        }
        self.forget_bytes_for_server();
        self.session.lease_ended();
        self.signalling.clear();
    }

    /// Whatever was on its way to a server that is gone belongs to no other one, nor does the rest of a frame.
    fn forget_bytes_for_server(&mut self) {
        self.ahead.clear();
        self.ahead_sent = 0;
        self.up_forwards = false;
        if let Some(up) = &mut self.up {
            up.discard_outgoing();
        }
    }
}

/// A shared server, after its database's code was asked about if that is not known.
async fn shared(member: Member, dress: Dress) -> Lent {
    let (mut lease, _) = member.acquire(Kind::Shared).await.map_err(LendError::Acquire)?;
    let code = match member.pool.facts.code() {
        // Asked on a server that nobody else has now; the answer is kept for everybody.
        Code::Unknown => {
            let pool = Arc::clone(lease.pool());
            timeout(member.create_timeout(), pool.facts.ask(lease.server())).await??
        }
        known => known,
    };
    if code == Code::Stateful {
        lease.release();
        return private(member, dress).await;
    }
    Ok(Brought::Fresh(lease))
}

/// A server for a client that listens: what others have sent from there has been heard before the client sends anything.
async fn heard(lent: impl Future<Output = Lent>, hearing: Arc<Ear>) -> Lent {
    let lent = lent.await?;
    hearing.sync().await;
    Ok(lent)
}

/// A server of the session's own.
async fn private(member: Member, dress: Dress) -> Lent {
    let startup = dress.own_startup();
    let settings = dress.own_settings_sql();
    let kind = Kind::Private { startup, dress };
    let (mut lease, _) = member.acquire(kind).await.map_err(LendError::Acquire)?;
    for sql in settings {
        timeout(member.create_timeout(), lease.server().query(&sql)).await?.map_err(LendError::Role)?;
    }
    Ok(Brought::Fresh(lease))
}

/// A server in the session's role; what follows must not be done as anybody else.
async fn in_role(mut lease: Lease, dress: Dress) -> Lent {
    let role = dress.role.as_ref().map(|role| Role::set_now(&role.name));
    match lease.server().query(&dress.role_sql()).await {
        Ok(_) => {
            lease.server().dress.role = role;
            Ok(Brought::Fresh(lease))
        }
        Err(error @ QueryError::Refused { .. }) => {
            // The server is as it was.
            lease.release();
            Err(LendError::Role(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// The session's own server, with the client's statements on it as far as they can be prepared.
async fn taken_over(mut lease: Lease, statements: Vec<Takeover>, status: TxStatus) -> Lent {
    let told = lease.server().take_over(statements, status).await?;
    Ok(Brought::TakenOver(lease, told))
}

/// What the session has changed on its server is put right before anybody else has it; failing that, it is closed.
async fn cleaned(mut lease: Lease, limit: Duration) {
    match timeout(limit, lease.server().reset_settings()).await {
        Ok(Ok(())) => lease.release(),
        _ => lease.close(CloseReason::Doubtful),
    }
}
