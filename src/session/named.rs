//! What becomes of the frames that name a prepared statement.
//!
//! On a server that others use, a statement has a name of ours and is known by what it says; the client's name is replaced on
//! the way. That is for the plain case. In every other one the server has the client's own names and is its session's from then
//! on: what SQL sees of them (EXECUTE, pg_prepared_statements) is right by itself.
//!
//! Two rules keep strangers apart (docs/adr/0009). What may see the names of a server, or has the client's own in it, is
//! preceded in its own batch by a Close of every statement with a name of ours: if it is looked at, they are gone. And a
//! statement is used only where PostgreSQL has described it as it was described when the client prepared it.

use std::sync::Arc;

use super::PinReason;
use super::asked::{Asked, Closing, Whose};
use super::frames::Verdict;
use super::hearing::left_by_parse;
use super::messages::{close_statement, describe_statement, put_parse};
use super::prepared::{self, Fingerprint, Id, Key, Prepared};
use super::statements::{self, Own, Serial, Statement};
use super::way::Ahead;
use super::{Passing, Session};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::message;
use crate::protocol::{Backend, Frontend, body};
use crate::sql::{Effect, Effects, timeless};

/// What is told of a statement when it is prepared, and leaves nothing behind.
const IS_PLAIN: Effects = Effects::of(&[Effect::Public, Effect::Process, Effect::Notify]);

/// What a statement that others use may leave behind when it is executed: none of it changes what a statement means.
const IS_SHARED: Effects =
    IS_PLAIN.and(Effects::of(&[Effect::AdvisoryLock, Effect::HeldCursor, Effect::Settings, Effect::Release]));

/// What one may leave behind that is the client's alone for a while, and can be prepared elsewhere as any other: whoever executes
/// it there keeps that server.
const CAN_GO: Effects =
    IS_SHARED.and(Effects::of(&[Effect::Meaning, Effect::Reset, Effect::Role, Effect::Temporary, Effect::Local]));

/// The longest Parse of a statement that others use, in bytes.
const MOST_SHARED_BYTES: usize = 64 << 10;

/// Where a statement is that a frame uses.
enum Place {
    /// On the server, by this name of ours.
    Shared(Id),
    /// On the server, by the client's name, or nowhere at all.
    Own,
    /// On the server, but its columns are others now, or what its literals mean.
    Stale,
    /// It has to be waited for.
    Await,
}

impl Session {
    /// What a server has prepared under these settings and no others may be shared.
    pub fn set_settings(&mut self, fingerprint: Fingerprint) {
        self.settings = fingerprint;
        self.first_settings.get_or_insert(fingerprint);
    }

    /// Whether those that literals depend on are what they were when the session began.
    pub(super) fn has_first_settings(&self) -> bool {
        self.first_settings.is_none_or(|first| first.literals == self.settings.literals)
    }

    /// A Parse that gives a name.
    pub(super) fn on_named_parse(
        &mut self,
        frame: &[u8],
        name: &[u8],
        text: &[u8],
        effects: Effects,
        mut server: Option<&mut Prepared>,
    ) -> Verdict {
        if self.must_wait() {
            return Verdict::AwaitAnswers;
        }
        let left = left_by_parse(frame, effects);
        let is_kept = self.statements.bytes() + frame.len() <= statements::MOST_BYTES;
        let is_small = is_kept && frame.len() <= MOST_SHARED_BYTES && name.len() <= statements::MOST_NAME_BYTES;
        let can_go = is_small && left.is_within(CAN_GO) && timeless::is_timeless(text);
        if can_go && left.is_within(IS_SHARED) {
            // The rest is left when it is executed.
            self.leaves(left.common(IS_PLAIN));
            if !self.may_share() {
                self.pin_for_names();
            }
        } else {
            self.leaves(left);
            if can_go { self.pin_for_names() } else { self.pin_for(PinReason::PreparedStatement) }
        }
        // What an EXECUTE will tell of its columns is looked up now.
        let executes = Effects::of(&[Effect::Prepare]);
        if !effects.is_disjoint(executes)
            && let Some(ahead) = self.clear_way(executes, server.as_deref_mut(), Ahead::InBatch)
            && ahead.waits()
        {
            return ahead;
        }
        let Some(server) = server else { return self.block(Asked::Bind(None)) };
        if self.must_have_own(name, server) {
            return Verdict::AwaitAnswers;
        }
        if let Some((taken, id)) = self.name_taken(name, server) {
            self.put_other_name(frame, HEADER_BYTES, name, |out| prepared::put_name(out, id));
            self.ask_of_batch(Asked::Prepare { id: None, whose: Whose::Again(taken) });
            return Verdict::Splice(HEADER_BYTES + name.len() + 1);
        }
        let body = &frame[HEADER_BYTES + name.len() + 1..];
        let statement = Statement::new(self.statements.next_serial(), body, effects).under(self.settings_of_literals());
        if self.shares(server) {
            self.prepare(server, &statement, Whose::Clients);
            self.statements.parse(name, statement);
            self.batch_is_open = true;
            return Verdict::Splice(frame.len());
        }
        let ahead = self.close_ours(server);
        server.client_names_one();
        if can_go {
            // What it is elsewhere is compared with what is told of it now.
            let serial = statement.serial;
            self.statements.parse(name, statement.there(self.lease));
            self.splice.extend_from_slice(frame);
            describe_statement(&mut self.splice, |out| out.extend_from_slice(name));
            self.ask_of_batch(Asked::Prepare { id: None, whose: Whose::Clients });
            self.ask_of_batch(Asked::Description { id: None, serial });
            return Verdict::Splice(frame.len());
        }
        if is_kept {
            self.statements.parse(name, statement.there(self.lease));
            self.ask_of_batch(Asked::Prepare { id: None, whose: Whose::Clients });
        } else {
            self.lasting_effects.extend(effects);
            self.lasting_effects.remove(Effect::Process);
            self.lasting_effects.remove(Effect::Notify);
            self.ask_of_batch(Asked::Prepare { id: None, whose: Whose::Untold });
        }
        ahead
    }

    /// A Parse that gives a name, and is too large to be read or kept: only a server of the session's own has it.
    pub(super) fn on_large_named_parse(
        &mut self,
        start: &[u8],
        name: &[u8],
        rest: &[u8],
        server: Option<&mut Prepared>,
    ) -> Verdict {
        if self.must_wait() {
            return Verdict::AwaitAnswers;
        }
        self.pin_for(PinReason::PreparedStatement);
        let Some(server) = server else { return self.block(Asked::Bind(None)) };
        if self.must_have_own(name, server) {
            return Verdict::AwaitAnswers;
        }
        self.passing = Some(Passing { is_named: true, ..self.passing(rest, false) });
        let has_end = start.len() > HEADER_BYTES + name.len();
        if has_end && let Some((taken, id)) = self.name_taken(name, server) {
            self.put_other_name(start, HEADER_BYTES, name, |out| prepared::put_name(out, id));
            self.ask_of_batch(Asked::Prepare { id: None, whose: Whose::Again(taken) });
            return Verdict::Splice(HEADER_BYTES + name.len() + 1);
        }
        let ahead = self.close_ours(server);
        server.client_names_one();
        self.ask_of_batch(Asked::Prepare { id: None, whose: Whose::Untold });
        ahead
    }

    /// A Bind or Describe of a statement with this name, which begins there in the frame.
    pub(super) fn on_use(
        &mut self,
        frame: &[u8],
        at: usize,
        name: &[u8],
        asked: fn(Option<Serial>) -> Asked,
        mut server: Option<&mut Prepared>,
    ) -> Verdict {
        if self.must_wait() {
            return Verdict::AwaitAnswers;
        }
        let known = self.statements.get(name).map(|statement| (statement.serial, statement.effects));
        let (serial, effects) = known.map_or((None, Effects::NONE), |(serial, effects)| (Some(serial), effects));
        let is_bind = matches!(asked(None), Asked::Bind(_));
        if is_bind {
            if effects.contains(Effect::Process)
                && let Some(statement) = self.statements.get(name)
                && let content = Arc::clone(&statement.content)
                && let Some(verdict) = self.act_on_process_bind(frame, content.parts(), serial, server.as_deref_mut())
            {
                return verdict;
            }
            if effects.contains(Effect::Listen)
                && let Some(verdict) = self.act_on_listen_bind(name)
            {
                return verdict;
            }
            self.note_hearing_bind(name);
            self.executes(effects);
            if self.pin().is_some() || self.effects.contains(Effect::Local) {
                let literals = self.settings_of_literals();
                self.statements.is_used(name, literals);
            }
            let ahead = self.clear_way(effects, server.as_deref_mut(), Ahead::InBatch);
            if let Some(verdict) = ahead.filter(|verdict| verdict.waits()) {
                return verdict;
            }
        }
        let Some(server) = server else { return self.block(Asked::Bind(None)) };
        if name.len() > statements::MOST_NAME_BYTES {
            self.pin_for(PinReason::PreparedStatement);
        }
        let place = match serial {
            Some(_) => self.place(name, server),
            None => Place::Own,
        };
        let other = |session: &mut Self, put: &dyn Fn(&mut Vec<u8>), asked| {
            session.put_other_name(frame, at, name, put);
            session.ask_of_batch(asked);
            Verdict::Splice(at + name.len() + 1)
        };
        match (place, serial) {
            (Place::Await, _) => Verdict::AwaitAnswers,
            (Place::Shared(id), _) => other(self, &|out| prepared::put_name(out, id), asked(serial)),
            (Place::Stale, Some(serial)) => {
                let nobodys = self.name_of_none();
                other(self, &|out| out.extend_from_slice(&nobodys), Asked::Stale { serial, describes: !is_bind })
            }
            _ => {
                let verdict = self.by_own_name(frame, at, name, server);
                self.ask_of_batch(asked(serial));
                verdict
            }
        }
    }

    /// A Close of a statement with this name. Where others use it too the server has none that is called so, and says that it
    /// is closed.
    pub(super) fn on_named_close(&mut self, frame: &[u8], name: &[u8], server: Option<&mut Prepared>) -> Verdict {
        if self.must_wait() {
            return Verdict::AwaitAnswers;
        }
        let Some(server) = server else { return self.block(Asked::Bind(None)) };
        let verdict = self.by_own_name(frame, HEADER_BYTES + 1, name, server);
        let closing = if self.statements.close(name) { Closing::Named } else { Closing::Other };
        self.ask_of_batch(Asked::Close(closing));
        verdict
    }

    /// Whether what this session prepares now means to others what it means to it.
    fn may_share(&self) -> bool {
        let is_as_others = self.pin_leaves_statements() && !self.effects.contains(Effect::Local);
        is_as_others && self.suspicion.is_empty() && !self.doubtful
    }

    /// Whether this session's statements have names of ours on the server.
    fn shares(&self, server: &Prepared) -> bool {
        server.has_our_names() && self.may_share()
    }

    /// Whether it cannot be told yet which statements the client has, what the server calls them, or under which settings the
    /// next one is prepared: what was asked about them in an earlier batch may not have been done.
    pub(super) fn must_wait(&self) -> bool {
        let is_uncertain =
            || self.statements.are_changing() || self.queue.asks_about_names() || self.acting.asked.is_some();
        self.queue.has_ended_one() && is_uncertain()
    }

    /// Where a statement has the name, and the server does not have it under the client's own: by which number of ours a Parse
    /// finds it taken, so that PostgreSQL says so itself, and whatever else is wrong before that.
    ///
    /// If the server lacks the statement, an empty one stands for it, which can be prepared even if a transaction has failed.
    fn name_taken(&mut self, name: &[u8], server: &mut Prepared) -> Option<(Serial, Id)> {
        let statement = self.statements.get(name)?;
        let serial = statement.serial;
        let found = match self.shares(server) {
            true => server.find(&self.key(statement)),
            false if matches!(statement.own(self.lease), Own::There | Own::Again(_)) => return None,
            false => None,
        };
        let id = found.map_or_else(|| self.stand_in(serial, server), |found| found.id);
        Some((serial, id))
    }

    /// Whether a Parse has to wait until the server has the statement under its own name: PostgreSQL cuts off what is longer,
    /// but tells of all that the Parse has.
    fn must_have_own(&mut self, name: &[u8], server: &mut Prepared) -> bool {
        name.len() > statements::MOST_NAME_BYTES && matches!(self.place(name, server), Place::Await)
    }

    /// Prepares an empty statement under a name of ours, for a message that fails because of it.
    fn stand_in(&mut self, serial: Serial, server: &mut Prepared) -> Id {
        let Self { splice, queue, batch, .. } = self;
        let id = server.stand_in(*batch, |id| {
            close_statement(splice, |out| prepared::put_name(out, id));
            queue.push(Asked::Close(Closing::Ours(Some(id))));
        });
        message::frame(splice, Frontend::PARSE.0, |out| {
            prepared::put_name(out, id);
            out.extend_from_slice(b"\0\0\0\0");
        });
        queue.push(Asked::Prepare { id: Some(id), whose: Whose::Ours(serial) });
        id
    }

    /// Looks for the client's statement of this name, and has it prepared if the server lacks it.
    ///
    /// What is prepared for it stands in the client's own batch, and an error in it is what PostgreSQL would have said of the
    /// statement: it would have looked at its tables again too. Only then the client's own message follows.
    fn place(&mut self, name: &[u8], server: &mut Prepared) -> Place {
        let Some(statement) = self.statements.get(name).cloned() else { return Place::Own };
        let serial = statement.serial;
        let is_looked_at = self.looked_at == Some(serial);
        if is_looked_at && self.queue.asks_to_describe(serial) {
            return Place::Await;
        }
        let shares = self.shares(server);
        if *statement.own(self.lease) == Own::Again(None) && self.queue.asks_to_describe(serial) && !shares {
            if statement.description.is_none() {
                return Place::Own;
            }
            self.looked_at = Some(serial);
            self.flush();
            return Place::Await;
        }
        let found = match shares {
            true => server.find(&self.key(&statement)).map(|found| (Some(found.id), found.description)),
            false => match statement.own(self.lease) {
                Own::There => return Place::Own,
                Own::Lost => return Place::Stale,
                Own::Again(description) => Some((None, description.clone())),
                Own::Unknown | Own::Missing => None,
            },
        };
        match found {
            // Nothing is told of one whose own Parse is in this batch.
            Some((id, description)) if description == statement.description => {
                self.looked_at = None;
                id.map_or(Place::Own, Place::Shared)
            }
            Some(_) if is_looked_at => {
                self.looked_at = None;
                Place::Stale
            }
            _ => {
                self.looked_at = Some(serial);
                if shares {
                    self.prepare(server, &statement, Whose::Ours(serial));
                } else {
                    self.prepare_own(server, name, &statement);
                }
                self.flush();
                Place::Await
            }
        }
    }

    /// What is told of a statement comes before anything is executed.
    pub(super) fn flush(&mut self) {
        message::frame(&mut self.splice, Frontend::FLUSH.0, |_| ());
        self.batch_is_open = true;
    }

    fn key(&self, statement: &Statement) -> Key {
        Key { content: Arc::clone(&statement.content), settings: self.settings.meaning }
    }

    /// Prepares the statement under a name of ours, for the client itself or for a use of it, and asks what there is to be
    /// told of it. What has to be closed for it is closed before.
    fn prepare(&mut self, server: &mut Prepared, statement: &Statement, whose: Whose) {
        let key = self.key(statement);
        let Self { splice, queue, batch, .. } = self;
        let id = server.insert(key, *batch, |id| {
            close_statement(splice, |out| prepared::put_name(out, id));
            queue.push(Asked::Close(Closing::Ours(Some(id))));
        });
        put_parse(splice, |out| prepared::put_name(out, id), statement);
        queue.push(Asked::Prepare { id: Some(id), whose });
        describe_statement(splice, |out| prepared::put_name(out, id));
        queue.push(Asked::Description { id: Some(id), serial: statement.serial });
    }

    /// Prepares the statement again under the client's own name.
    pub(super) fn prepare_own(&mut self, server: &mut Prepared, name: &[u8], statement: &Statement) {
        self.close_ours(server);
        server.client_names_one();
        let Self { splice, queue, .. } = self;
        // An older one may be there.
        close_statement(splice, |out| out.extend_from_slice(name));
        queue.push(Asked::Close(Closing::Ours(None)));
        put_parse(splice, |out| out.extend_from_slice(name), statement);
        queue.push(Asked::Prepare { id: None, whose: Whose::Ours(statement.serial) });
        describe_statement(splice, |out| out.extend_from_slice(name));
        queue.push(Asked::Description { id: None, serial: statement.serial });
        self.statements.is_prepared_again(statement.serial, self.lease);
    }

    /// The frame goes out with the client's own name in it, which is no statement's where others are served too.
    fn by_own_name(&mut self, frame: &[u8], at: usize, name: &[u8], server: &mut Prepared) -> Verdict {
        if !server.has_our_names() || !self.may_share() {
            return self.close_ours(server);
        }
        if !name.starts_with(prepared::PREFIX) {
            return Verdict::Forward;
        }
        // Or it would be one of ours.
        self.put_other_name(frame, at, name, |out| {
            out.extend_from_slice(name);
            out.push(b'?');
        });
        Verdict::Splice(at + name.len() + 1)
    }

    /// A name that no statement has: not even one of the client's, on a server that has the client's own names.
    fn name_of_none(&self) -> Vec<u8> {
        let mut names = (0..).map(|number: usize| format!("{STALE}{number}").into_bytes());
        names.find(|name| self.statements.get(name).is_none()).expect("there are more numbers than statements")
    }

    /// The frame is shown again when there is a server; if there will be none, this is what has failed.
    pub(super) fn block(&mut self, asked: Asked) -> Verdict {
        self.blocked = Some(asked);
        Verdict::AwaitServer
    }

    /// The beginning of the frame, with another name in the place of the one that begins there.
    fn put_other_name(&mut self, frame: &[u8], at: usize, name: &[u8], other: impl FnOnce(&mut Vec<u8>)) {
        let rest = frame_len(frame) - (at + name.len() + 1);
        message::beginning(&mut self.splice, frame[0], rest, |out| {
            out.extend_from_slice(&frame[HEADER_BYTES..at]);
            other(out);
            out.push(0);
        });
    }

    /// What the client is told instead of an error that is about a name of ours: whole messages.
    pub(super) fn reword(&self, failed: Asked, error: &[u8]) -> Option<Vec<u8>> {
        let (Asked::Bind(Some(serial))
        | Asked::Describe(Some(serial))
        | Asked::Stale { serial, .. }
        | Asked::Prepare { whose: Whose::Again(serial), .. }) = failed
        else {
            return None;
        };
        let is_about_names = [&b"08P01"[..], b"26000", b"42P05"].contains(&body::error_field(error, b'C')?);
        let is_stale = matches!(failed, Asked::Stale { .. });
        let text = body::error_field(error, b'M').filter(|_| is_about_names)?;
        let ours = if is_stale { 0..0 } else { prepared::name_in(text)? };
        let name = self.statements.name_of(serial).unwrap_or_default();
        let mut told = Vec::with_capacity(error.len() + 64);
        if let (Asked::Stale { describes: true, .. }, Some(description)) = (failed, self.statements.description(serial))
        {
            message::frame(&mut told, Backend::PARAMETER_DESCRIPTION.0, |out| description.put_parameters(out));
        }
        let (mut reworded, mut rest) = (Vec::with_capacity(error.len() + 64), error);
        while let Some((code, value)) = rest.split_first().filter(|(code, _)| **code != 0) {
            let (value, behind) = body::cstr(value)?;
            reworded.push(*code);
            match code {
                b'C' if is_stale => reworded.extend_from_slice(b"0A000"),
                b'F' if is_stale => reworded.extend_from_slice(b"plancache.c"),
                b'R' if is_stale => reworded.extend_from_slice(b"RevalidateCachedQuery"),
                b'M' if is_stale => reworded.extend_from_slice(b"cached plan must not change result type"),
                b'M' => reworded.extend([&value[..ours.start], name, &value[ours.end..]].concat()),
                _ => reworded.extend_from_slice(value),
            }
            reworded.push(0);
            rest = behind;
        }
        reworded.push(0);
        message::frame(&mut told, Backend::ERROR.0, |out| out.extend_from_slice(&reworded));
        Some(told)
    }
}

/// How a name begins that no statement has.
const STALE: &str = "greenroom:stale";

/// How long the whole frame is, by its own word.
fn frame_len(frame: &[u8]) -> usize {
    let length = frame[1..].first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    length as usize + 1
}
