//! The lease of one client: asking for it, dressing it, keeping it, giving it back.

use std::pin::Pin;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::{Ending, Flow, HeldBack, Relay};
use crate::cancel::CancelPlace;
use crate::client::reply;
use crate::metrics::ClientState;
use crate::pool::{AcquireError, CloseReason, Kind, Lease, Member};
use crate::protocol::message::{self, Severity};
use crate::protocol::tag::TxStatus;
use crate::server::{Code, Dress, QueryError, Role, Sequences};
use crate::session::PinReason;
use crate::sql::Effect;
use crate::sql::statement::Statement;

/// What a wait for a server brings.
pub(super) type Lent = Result<Brought, LendError>;

/// A server that was waited for.
pub(super) enum Brought {
    /// It has nothing of the session yet.
    Fresh(Lease),
    /// The session's own comes back.
    Own(Lease),
    /// The session's own, and there is nothing of the session left on it.
    Clean(Lease),
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
        if self.session.pin().is_none()
            && code == Code::Harmless
            && let Some(lease) = self.member.try_acquire()
        {
            self.lend(lease);
            return Flow::Continue(());
        }
        self.state.set(ClientState::Waiting);
        self.key.place.waits();
        let lent: Pin<Box<dyn Future<Output = Lent> + Send>> = match self.session.pin() {
            Some(_) => Box::pin(private(self.member.clone(), self.dress.clone())),
            None => Box::pin(shared(self.member.clone(), self.dress.clone())),
        };
        self.wait(lent);
        Flow::Continue(())
    }

    fn wait(&mut self, lent: Pin<Box<dyn Future<Output = Lent> + Send>>) {
        let place = std::sync::Arc::clone(&self.key.place);
        let cancelled = Box::pin(async move { CancelPlace::cancelled_while_waiting(&place).await });
        self.lending = Lending::Waiting(Box::new(Waiting { lent, cancelled }));
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
                self.facts = self.member.pool.facts.snapshot();
                self.times.lent = Some(Instant::now());
                self.lend(lease);
            }
            Ok(Brought::Own(lease)) => self.keep(lease),
            Ok(Brought::Clean(lease)) => {
                self.keep(lease);
                if self.session.unpin() {
                    self.pinned = None;
                    tracing::debug!(plugin = &*self.metrics.name, "the session's server is clean again");
                    self.end_lease(false);
                }
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
        if !lease.is_private() && !lease.server().dress.is_in_role_of(&self.dress) {
            let in_role = timeout(self.member.create_timeout(), in_role(lease, self.dress.clone()));
            self.key.place.waits();
            return self.wait(Box::pin(async { in_role.await? }));
        }
        if lease.is_private() {
            // The database turned out to have code of its own while the session waited.
            self.session.pin_for(PinReason::DatabaseCode);
            self.has_own_sequences = true;
        } else {
            self.note_sequence_reads();
            let (server, mut cycles) = (lease.server(), 0);
            // What stood before an injection goes behind the prelude; usually there is none, and nothing is allocated.
            let behind = self.ahead.len();
            let prelude = &mut self.ahead;
            self.has_own_sequences = server.sequences.are_own(self.key.pid);
            if !self.has_own_sequences && self.member.pool.facts.are_sequences_read() {
                message::query(prelude, "DISCARD SEQUENCES");
                cycles += 1;
                self.has_own_sequences = true;
            }
            server.sequences = match self.has_own_sequences {
                true => Sequences::Of(self.key.pid),
                false => Sequences::Mixed,
            };
            cycles += server.dress.change_to(&self.dress, prelude);
            if cycles > 0 {
                self.session.expect_prelude(cycles);
                prelude.rotate_left(behind);
            }
        }
        self.keep(lease);
    }

    /// Holds a server that needs no dressing.
    pub(super) fn keep(&mut self, mut lease: Lease) {
        self.key.place.leases(std::sync::Arc::clone(&lease.server().cancel));
        self.lending = Lending::Leased(lease);
        self.server_said_farewell = false;
        self.server_is_deaf = false;
        self.server_needs_flush = false;
        self.state.set(ClientState::Active);
        self.note_pin();
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

    /// The first pin of a session is logged and counted.
    pub(super) fn note_pin(&mut self) {
        if self.pinned.is_none()
            && let Some(reason) = self.session.pin()
        {
            self.pinned = Some(self.metrics.pin(reason.as_str()));
            self.state.set(ClientState::Pinned);
            tracing::info!(
                plugin = &*self.metrics.name,
                reason = reason.as_str(),
                "session keeps a server connection of its own until its client ends"
            );
        }
    }

    /// ReadyForQuery has come. At the end of a transaction the server goes back before the client is told, unless the
    /// session keeps it.
    pub(super) fn on_ready(&mut self, is_last: bool) -> Flow {
        self.turn_passes();
        self.note_changed_code();
        self.note_setting();
        if !self.session.is_settled() {
            // More was sent behind it: the next transaction has begun already.
            self.times.transaction.get_or_insert(self.times.clients_turn);
            return Flow::Continue(());
        }
        self.dress_again();
        if self.status != TxStatus::Idle {
            return Flow::Continue(());
        }
        if self.session.pin().is_none() {
            self.end_lease(!is_last);
        } else {
            let has_temporary_ones = self.session.has_only(Effect::Temporary);
            self.session.transaction_ended();
            if has_temporary_ones && is_last {
                self.look_for_temporary_ones();
            }
        }
        Flow::Continue(())
    }

    /// The server goes back, unless something is not as it should be.
    fn end_lease(&mut self, more_came: bool) {
        let in_a_frame = self.up_left > 0 && self.up_forwards;
        let doubtful = self.session.is_doubtful() || more_came || self.has_bytes_for_server() || in_a_frame;
        // Code that appeared while the server was lent may have been called without a word of it in any text.
        let same_code = self.member.pool.facts.is_still(self.facts);
        self.forget_bytes_for_server();
        self.session.lease_ended();
        self.state.set(ClientState::Idle);
        self.key.place.rests();
        if let Lending::Leased(mut lease) = std::mem::replace(&mut self.lending, Lending::Free) {
            match (doubtful, same_code) {
                (true, _) => lease.close(CloseReason::Doubtful),
                // It knows names that the session has given.
                _ if lease.server().prepared.has_own_names() => lease.close(CloseReason::Pinned),
                (_, false) => lease.close(CloseReason::CodeChanged),
                _ => lease.release(),
            }
        }
    }

    /// A transaction that made temporary objects on a shared server has ended: if it has dropped them itself, as the
    /// catalog's migrations do, the session need not keep the server.
    fn look_for_temporary_ones(&mut self) {
        match std::mem::replace(&mut self.lending, Lending::Free) {
            Lending::Leased(lease) if !lease.is_private() => {
                // A cancel of the client's must not hit a question of ours.
                self.key.place.rests();
                self.session.unnamed_left_server();
                let looked = timeout(self.member.create_timeout(), without_temporary_ones(lease));
                self.wait(Box::pin(async { looked.await? }));
            }
            other => self.lending = other,
        }
    }

    /// Statements that define code, and those that hide what they do, may have changed what the database's code does.
    fn note_changed_code(&mut self) {
        let effects = self.session.effects();
        if [Effect::Code, Effect::Procedural, Effect::Unreadable].into_iter().any(|effect| effects.contains(effect)) {
            self.member.pool.facts.forget();
        }
    }

    /// What the client has set with a statement of its own goes with its session from server to server.
    fn note_setting(&mut self) {
        match self.session.take_setting() {
            Some(Statement::SetSearchPath(path)) => self.dress.set_search_path(&path),
            Some(Statement::SetRole(role)) => self.dress.role = Some(Role::set_now(&role)),
            Some(Statement::ResetRole) => self.dress.role = None,
            _ => return,
        }
        self.session.set_settings(self.dress.fingerprint());
        // The server has done it already.
        if let Lending::Leased(lease) = &mut self.lending {
            lease.server().dress.clone_from(&self.dress);
        }
    }

    /// A session that changed settings on a server it had borrowed may have RESET the search_path: it has its own back
    /// before anything else is read from the client.
    fn dress_again(&mut self) {
        let changed = [Effect::Settings, Effect::Procedural, Effect::Unreadable];
        let effects = self.session.take_cycle_effects();
        let may_have = self.dress.search_path.is_some() && changed.into_iter().any(|effect| effects.contains(effect));
        if !may_have || self.status == TxStatus::Failed {
            return;
        }
        match std::mem::replace(&mut self.lending, Lending::Free) {
            Lending::Leased(lease) if !lease.is_private() => {
                // A cancel of the client's must not hit a question of ours.
                self.key.place.rests();
                self.session.unnamed_left_server();
                let limit = self.member.create_timeout();
                let dressed = timeout(limit, dressed_again(lease, self.dress.clone()));
                self.wait(Box::pin(async { dressed.await? }));
            }
            other => self.lending = other,
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
        if let Lending::Leased(lease) = std::mem::replace(&mut self.lending, Lending::Free) {
            lease.close(reason);
        }
        self.forget_bytes_for_server();
        self.session.lease_ended();
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
            let pool = std::sync::Arc::clone(lease.pool());
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

/// A server of the session's own.
async fn private(member: Member, dress: Dress) -> Lent {
    let mut startup = vec![("application_name".to_owned(), dress.application_name.to_string())];
    startup.extend(dress.home_path().map(|path| ("search_path".to_owned(), path.to_owned())));
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

/// Gives the session its own search_path back if a RESET took it away.
async fn dressed_again(mut lease: Lease, dress: Dress) -> Lent {
    let asked = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('application_name')";
    let (rows, _) = lease.server().query_anywhere(asked).await?;
    let mut now = rows.into_iter().flatten();
    let (path, name) = (now.next().flatten(), now.next().flatten());
    if path.as_deref() == Some(Dress::NOWHERE) {
        lease.server().query_anywhere(&dress.home_path_sql()).await?;
    }
    if name.as_deref() == Some(Dress::OWN_NAME) {
        lease.server().query_anywhere(&dress.application_name_sql()).await?;
    }
    Ok(Brought::Own(lease))
}

/// Asks whether anything is in the server's temporary schema: whatever is in a schema depends on it.
async fn without_temporary_ones(mut lease: Lease) -> Lent {
    let asked = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                 WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
                 AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())";
    match lease.server().query(asked).await {
        Ok(rows) if rows == [[Some("t".to_owned())]] => Ok(Brought::Clean(lease)),
        // In doubt the session keeps it.
        Ok(_) | Err(QueryError::Refused { .. }) => Ok(Brought::Own(lease)),
        Err(error) => Err(error.into()),
    }
}
