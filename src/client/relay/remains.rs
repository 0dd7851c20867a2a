//! What a session has left on the server that it was lent: what can go with the session goes with it, what cannot keeps the
//! server, and what is gone sets it free.

use tokio::time::timeout;

use super::Relay;
use super::lending::{Brought, Lending, Lent};
use crate::pool::Lease;
use crate::protocol::tag::TxStatus;
use crate::server::{Dress, QueryError, Remains, Role, Setting};
use crate::session::Change;
use crate::sql::{Effect, Effects, carried, quote};

/// What RESET may have done its work in.
const MAY_RESET: Effects = Effects::of(&[Effect::Reset, Effect::Procedural, Effect::Unreadable]);

impl Relay<'_> {
    /// A transaction that may have left something behind has ended: its server is asked, while the client has its answer
    /// already.
    pub(super) fn ask_what_is_left(&mut self) {
        let Lending::Leased(lease) = std::mem::replace(&mut self.lending, Lending::Free) else { return };
        // A cancel of the client's must not hit a question of ours.
        self.key.place.rests();
        self.session.unnamed_left_server();
        // What a RESET has taken away is put on again when it has told.
        self.session.take_cycle_effects();
        let asked = timeout(self.member.create_timeout(), asked(lease));
        self.wait(Box::pin(async { asked.await? }), true);
    }

    /// The server has told.
    pub(super) fn on_told(&mut self, mut lease: Lease, mut remains: Remains) {
        let names = std::mem::take(&mut remains.names);
        let left = self.take_along(&mut lease, remains);
        self.session.set_settings(self.dress.fingerprint());
        self.tell_unheard(&mut lease);
        let goes_back = self.session.keeps_only(left, &names, &lease.server().prepared);
        self.keep(lease);
        if !goes_back {
            // What was asked meanwhile is asked about in its turn.
            let is_asked_again = left.is_empty() && !self.session.is_settled();
            if is_asked_again { self.note_pin() } else { self.note_kept() }
        } else {
            if self.pinned.take().is_some() {
                tracing::debug!(plugin = &*self.metrics.name, "nothing is left of the session on its server");
            }
            if self.session.is_settled() {
                return self.end_lease(false);
            }
            // What the client has asked meanwhile is done here, and then the server goes back.
        }
        self.put_on_again();
    }

    /// What a RESET took from a server that the session goes on with, it has again ahead of anything else.
    fn put_on_again(&mut self) {
        let Lending::Leased(lease) = &mut self.lending else { return };
        let (server, behind) = (lease.server(), self.ahead.len());
        let cycles = server.dress.change_to(&self.dress, &mut self.ahead);
        server.is_altered |= self.dress.has_more();
        if cycles > 0 {
            self.session.expect_prelude(cycles);
            self.ahead.rotate_left(behind);
        }
    }

    /// What the session has changed goes with it from now on. Tells what cannot.
    fn take_along(&mut self, lease: &mut Lease, remains: Remains) -> Effects {
        let Remains { mut left, role, settings, are_hidden, .. } = remains;
        if are_hidden && self.session.may_have_left(Effect::Settings) {
            left.insert(Effect::Settings);
        }
        let is_private = lease.is_private();
        self.dress.role = role.map(|name| Role::set_now(&quote::identifier(&name)));
        let (mut path, mut name, mut others) = (None, None, Vec::new());
        for Setting { name: setting, value } in settings {
            match setting.as_str() {
                "search_path" => path = Some(value),
                "application_name" => name = Some(value),
                _ if carried::can_be_carried(&setting, &value) => others.push((setting, value)),
                _ => {
                    left.insert(Effect::Settings);
                    // The session's statements are not known by this one.
                    if !carried::is_free_of_literals(&setting) {
                        left.insert(Effect::Meaning);
                    }
                }
            }
        }
        // Where temporary tables come first, every new table is one.
        if path.as_ref().is_some_and(|path| path.to_ascii_lowercase().contains("pg_temp")) {
            left.insert(Effect::Temporary);
        }
        let was_reset = |value: &Option<String>, own: &str| !is_private && value.as_deref() == Some(own);
        let path_was_reset = was_reset(&path, Dress::NOWHERE);
        let name_was_reset = was_reset(&name, Dress::OWN_NAME);
        match path_was_reset {
            true => self.dress.reset_search_path(),
            false => self.dress.has_search_path(path.as_deref()),
        }
        let home_name = self.dress.home_name().to_owned();
        self.dress.has_application_name(name.as_deref().filter(|_| !name_was_reset).unwrap_or(&home_name));
        let worn = others.clone();
        // What it began with was set on this server, unless a RESET took it away.
        let is_there = |name: &str| worn.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let gone = self.dress.home_settings().filter(|(name, _)| !is_there(name));
        others.extend(gone.map(|(name, value)| (name.to_owned(), value.to_owned())));
        self.dress.has_settings(others);

        let server = lease.server();
        server.is_altered |= self.session.may_have_left(Effect::Settings) || self.dress.has_more();
        // Who comes next could tell from temp_buffers, and from the schema.
        server.is_spent |= self.session.may_have_left(Effect::Temporary);
        server.dress.clone_from(&self.dress);
        server.dress.has_settings(worn);
        if path_was_reset {
            server.dress.has_search_path(None);
        }
        if name_was_reset {
            server.dress.has_application_name(Dress::OWN_NAME);
        }
        left
    }

    /// What the client has set with a statement of its own goes with its session from server to server.
    pub(super) fn note_change(&mut self) {
        let dress = &mut self.dress;
        let mut alters = false;
        match self.session.take_change() {
            Some(Change::SearchPath(path)) => dress.set_search_path(&path),
            Some(Change::Role(role)) => dress.role = Some(Role::set_now(&role)),
            Some(Change::ResetRole) => dress.role = None,
            Some(Change::Settings(made)) => {
                made.iter().for_each(|made| dress.set_setting(&made.name, &made.value));
                alters = true;
            }
            Some(Change::Reset(name)) => match &*name {
                "search_path" => dress.reset_search_path(),
                "application_name" => dress.reset_application_name(),
                _ => dress.reset_setting(&name),
            },
            Some(Change::ResetAll) => dress.reset_all(),
            Some(Change::DiscardAll) => return self.on_discarded(),
            Some(Change::Nothing) | None => return,
        }
        self.session.set_settings(self.dress.fingerprint());
        // The server has done it already.
        if let Lending::Leased(lease) = &mut self.lending {
            let server = lease.server();
            server.is_altered |= alters;
            server.dress.clone_from(&self.dress);
        }
    }

    /// The session is as it was when it began.
    fn on_discarded(&mut self) {
        self.dress.reset_all();
        self.dress.role = None;
        self.session.set_settings(self.dress.fingerprint());
        let was_kept = self.session.everything_was_discarded();
        if was_kept {
            self.pinned = None;
            tracing::debug!(
                plugin = &*self.metrics.name,
                "a session has discarded everything that it kept its server for"
            );
        }
        if let Lending::Leased(lease) = &mut self.lending {
            let server = lease.server();
            server.dress.clone_from(&self.dress);
            // Nobody else gets what DISCARD does not throw away.
            server.is_spent |= was_kept;
        }
    }

    /// A session that changed settings on a server it had borrowed may have RESET them to the server's own: it has its own
    /// back before anything else is read from the client.
    ///
    /// Until the transaction ends, a ROLLBACK TO a savepoint behind the RESET may bring that back, without what was put on here.
    pub(super) fn dress_again(&mut self) {
        let mut effects = self.session.take_cycle_effects();
        if effects.is_disjoint(MAY_RESET) {
            return;
        }
        match std::mem::replace(&mut self.lending, Lending::Free) {
            // Nothing can be asked here before that is undone.
            Lending::Leased(lease) if !lease.is_private() && self.status == TxStatus::Failed => {
                self.lending = Lending::Leased(lease);
                self.session.counts_again(effects);
            }
            Lending::Leased(lease) if !lease.is_private() => {
                let is_between = self.status == TxStatus::Idle;
                if !is_between {
                    effects.keep(Effect::Reset);
                    self.session.counts_again(effects);
                }
                // A cancel of the client's must not hit a question of ours.
                self.key.place.rests();
                self.session.unnamed_left_server();
                let limit = self.member.create_timeout();
                let dressed = timeout(limit, dressed_again(lease, self.dress.clone(), is_between));
                self.wait(Box::pin(async { dressed.await? }), true);
            }
            other => self.lending = other,
        }
    }
}

/// What there is of the session on its server. If it will not tell, the session keeps it.
async fn asked(mut lease: Lease) -> Lent {
    match Remains::ask(lease.server()).await {
        Ok(remains) => Ok(Brought::Asked(lease, remains)),
        Err(QueryError::Refused { .. }) => Ok(Brought::Own(lease)),
        Err(error) => Err(error.into()),
    }
}

/// Gives the session its own settings back if a RESET took them away.
async fn dressed_again(mut lease: Lease, dress: Dress, is_between: bool) -> Lent {
    // No SELECT: with it the client's transaction would have its snapshot, and its modes could not be set any more.
    let (rows, _) = lease.server().query_anywhere("SHOW search_path; SHOW application_name").await?;
    let mut now = rows.into_iter().flatten();
    let (path, name) = (now.next().flatten(), now.next().flatten());
    if path.as_deref() == Some(Dress::NOWHERE) {
        lease.server().query_anywhere(&dress.home_path_sql()).await?;
    }
    if name.as_deref() == Some(Dress::OWN_NAME) {
        lease.server().query_anywhere(&dress.home_name_sql()).await?;
    }
    if is_between && dress.began_with_settings() {
        let set = match Remains::ask(lease.server()).await {
            Ok(remains) => remains.settings,
            Err(QueryError::Refused { .. }) => return Ok(Brought::Own(lease)),
            Err(error) => return Err(error.into()),
        };
        let is_set = |name: &str| set.iter().any(|setting| setting.name.eq_ignore_ascii_case(name));
        let gone: Vec<_> = dress.home_settings().filter(|(name, _)| !is_set(name)).collect();
        if !gone.is_empty() {
            lease.server().query(&Dress::settings_sql(gone)).await?;
        }
    }
    Ok(Brought::Own(lease))
}
