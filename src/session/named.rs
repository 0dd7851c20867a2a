//! What becomes of the frames that name a prepared statement.
//!
//! A session that gives names has a server of its own, which has the client's own names: what SQL sees of them (EXECUTE,
//! pg_prepared_statements) is right by itself.
//!
//! What is here beyond that shares statements: on a server they would have names of ours, and the client's would be replaced
//! on the way. It is not switched on; docs/adr/0009 says why, and what has to be so before.

use std::sync::Arc;

use super::asked::{Asked, Closing, Queue};
use super::frames::Verdict;
use super::pin::{self, PinReason};
use super::prepared::{self, Id, Key, Prepared};
use super::statements::{self, Statement};
use super::{Passing, Session};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::message;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frontend, body};
use crate::sql::{Effect, Effects};

/// What a server takes the client's names on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A simple query, which an error ahead of it must not reach.
    OfQuery,
    /// A message of a batch.
    InBatch,
}

impl Session {
    /// What a server has prepared under these settings and no others may be shared: a number for them.
    pub fn set_settings(&mut self, fingerprint: u64) {
        self.settings = fingerprint;
    }

    /// The client has no prepared statements any more.
    pub fn forget_statements(&mut self) {
        self.statements.forget();
    }

    /// A Parse that gives a name.
    pub(super) fn on_named_parse(
        &mut self,
        frame: &[u8],
        name: &[u8],
        text: &[u8],
        server: Option<&mut Prepared>,
    ) -> Verdict {
        let effects = self.effects_of(text);
        self.leaves(effects);
        // Not shared yet (docs/adr/0009): what others have prepared must not be there for texts that nobody reads.
        self.pin_for(PinReason::PreparedStatement);
        let ahead = self.take_names_over(server, Ahead::InBatch).unwrap_or(Verdict::Forward);
        // A session keeps its server, and so what is said here is never said again; but it may be asked for.
        let is_kept = self.statements.bytes() + frame.len() <= statements::MOST_BYTES;
        let body = frame.get(HEADER_BYTES + name.len() + 1..).filter(|_| is_kept).unwrap_or_default();
        self.then(ahead, |session| {
            session.statements.parse(name, Statement::new(body, effects));
            session.ask_of_batch(Asked::Prepare { id: None, ours: false })
        })
    }

    /// A Parse that gives a name, and is too large to be kept: only a server of the session's own has it.
    pub(super) fn on_large_named_parse(&mut self, name: &[u8], rest: &[u8], server: Option<&mut Prepared>) -> Verdict {
        self.pin_for(PinReason::PreparedStatement);
        let ahead = self.take_names_over(server, Ahead::InBatch).unwrap_or(Verdict::Forward);
        self.then(ahead, |session| {
            session.passing = Some(Passing { is_named: true, ..session.passing(rest, false) });
            session.statements.parse(name, Statement::new(b"", Effects::NONE));
            session.ask_of_batch(Asked::Prepare { id: None, ours: false })
        })
    }

    /// A Bind or Describe of a statement with this name, which begins there in the frame.
    pub(super) fn on_use(
        &mut self,
        frame: &[u8],
        at: usize,
        name: &[u8],
        asked: Asked,
        mut server: Option<&mut Prepared>,
    ) -> Verdict {
        let effects = self.statements.get(name).map_or(Effects::NONE, |statement| statement.effects);
        if asked == Asked::Bind {
            self.executes(effects);
        }
        let ahead = self.make_ready(effects, server.as_deref_mut(), Ahead::InBatch);
        let Some(server) = server else { return self.block(Asked::Bind) };
        if server.has_own_names() {
            let ahead = ahead.unwrap_or(Verdict::Forward);
            return self.then(ahead, |session| session.ask_of_batch(asked));
        }
        if self.must_wait() {
            return Verdict::AwaitAnswers;
        }
        let Some(statement) = self.statements.get(name) else {
            let verdict = self.leave_alone(frame, at, name);
            self.ask_of_batch(asked);
            return verdict;
        };
        let key = Key { content: Arc::clone(&statement.content), settings: self.key_of_settings() };
        let found = server.find(&key);
        let is_told = !self.queue.asks_for_rows();
        match found {
            // One whose description failed can be compared with nothing.
            Some(found) if found.rows == statement.rows || (is_told && statement.rows.is_none()) => {
                self.looked_at = None;
                self.statements.is_now(name, found);
                self.put_other_name(frame, at, name, |out| prepared::put_name(out, found.id));
                self.ask_of_batch(asked);
                return Verdict::Splice(at + name.len() + 1);
            }
            Some(_) if !is_told => {}
            Some(found) if self.looked_at == Some(found.id) => {
                // Its tables have changed since the client prepared it, and PostgreSQL would say so.
                self.looked_at = None;
                self.put_other_name(frame, at, name, |out| out.extend_from_slice(STALE));
                self.ask_of_batch(Asked::Stale);
                return Verdict::Splice(at + name.len() + 1);
            }
            _ => {
                let statement = statement.clone();
                self.looked_at = Some(self.prepare(server, &statement, true));
            }
        }
        // What its rows are is told before anything is executed.
        message::frame(&mut self.splice, Frontend::FLUSH.0, |_| ());
        self.batch_is_open = true;
        Verdict::AwaitAnswers
    }

    /// A Close of a statement with this name. The server has none that is called so, and says that it is closed.
    pub(super) fn on_named_close(&mut self, frame: &[u8], name: &[u8], server: Option<&mut Prepared>) -> Verdict {
        let Some(server) = server else { return self.block(Asked::Bind) };
        if !server.has_own_names() && self.must_wait() {
            return Verdict::AwaitAnswers;
        }
        let closing = if self.statements.close(name) { Closing::Named } else { Closing::Other };
        let verdict = match server.has_own_names() {
            true => Verdict::Forward,
            false => self.leave_alone(frame, HEADER_BYTES + 1, name),
        };
        self.ask_of_batch(Asked::Close(closing));
        verdict
    }

    /// Makes the server ready for a text with such effects. `None` if nothing has to go ahead for it.
    ///
    /// Literals become values when a statement is parsed, under the settings of that time: before a text can change them,
    /// the server has each of the client's statements for itself.
    pub(super) fn make_ready(
        &mut self,
        effects: Effects,
        server: Option<&mut Prepared>,
        ahead: Ahead,
    ) -> Option<Verdict> {
        let changes_settings = !effects.is_disjoint(pin::SETS);
        if effects.contains(Effect::Prepare) || (changes_settings && !self.statements.is_empty()) {
            return self.take_names_over(server, ahead);
        }
        None
    }

    /// The server takes the client's own names on, if it has not done so. `None` if nothing has to go ahead for it.
    pub(super) fn take_names_over(&mut self, server: Option<&mut Prepared>, ahead: Ahead) -> Option<Verdict> {
        let Some(server) = server else { return Some(self.block_for(ahead)) };
        if server.has_own_names() {
            return None;
        }
        if self.must_wait() {
            return Some(Verdict::AwaitAnswers);
        }
        // A Sync of ours must not end a batch of the client's, nor what PostgreSQL ignores after an error in one.
        let in_batch_of_its_own = ahead == Ahead::OfQuery && self.is_settled();
        let is_failed = self.status == TxStatus::Failed;
        let Self { splice, queue, statements, .. } = self;
        let end = |splice: &mut Vec<u8>, queue: &mut Queue| {
            if in_batch_of_its_own {
                message::frame(splice, Frontend::SYNC.0, |_| ());
                queue.push(Asked::Sync { ours: true });
            }
        };
        let mut close = |id| {
            close_statement(splice, |out| prepared::put_name(out, id));
            queue.push(Asked::Close(Closing::Ours(Some(id))));
        };
        if is_failed && !statements.is_empty() {
            // Nothing can be prepared now, nor executed by its name; but what is behind a ROLLBACK could see a stranger's.
            let is_own = |key: &Key| statements.iter().any(|(_, own)| own.content.body() == key.content.body());
            server.keep_only(is_own, close);
        } else {
            server.keep_own_names(&mut close);
        }
        if !splice.is_empty() {
            end(splice, queue);
        }
        for (name, statement) in statements.iter().filter(|_| !is_failed) {
            put_parse(splice, |out| out.extend_from_slice(name), statement);
            queue.push(Asked::Prepare { id: None, ours: true });
            end(splice, queue);
        }
        (!splice.is_empty()).then_some(Verdict::Splice(0))
    }

    /// The frame is shown again when there is a server; if there will be none, this is what has failed.
    fn block(&mut self, asked: Asked) -> Verdict {
        self.blocked = Some(asked);
        Verdict::AwaitServer
    }

    /// Whether it cannot be told yet which statements the client has, or what the server calls them: what was asked about
    /// them in an earlier batch may not have been done.
    fn must_wait(&self) -> bool {
        self.queue.has_ended_one() && (self.statements.are_changing() || self.queue.changes_server())
    }

    /// The same, for what is about to be asked.
    fn block_for(&mut self, ahead: Ahead) -> Verdict {
        self.block(match ahead {
            Ahead::OfQuery => Asked::Query { deallocates: false },
            Ahead::InBatch => Asked::Bind,
        })
    }

    /// Prepares the statement, for the client itself or for a use of it, and asks what its rows are. What has to be closed
    /// for it is closed before.
    fn prepare(&mut self, server: &mut Prepared, statement: &Statement, ours: bool) -> Id {
        let key = Key { content: Arc::clone(&statement.content), settings: self.key_of_settings() };
        let Self { splice, queue, .. } = self;
        let id = server.insert(key, |id| {
            close_statement(splice, |out| prepared::put_name(out, id));
            queue.push(Asked::Close(Closing::Ours(Some(id))));
        });
        put_parse(splice, |out| prepared::put_name(out, id), statement);
        queue.push(Asked::Prepare { id: Some(id), ours });
        message::frame(splice, Frontend::DESCRIBE.0, |out| {
            out.push(b'S');
            prepared::put_name(out, id);
            out.push(0);
        });
        queue.push(Asked::Rows(id));
        id
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

    /// What may mean a temporary table, or was made under settings that nobody knows, is nobody else's.
    fn key_of_settings(&self) -> u64 {
        if self.pin.is_of_its_own_meaning() { self.settings ^ self.nonce } else { self.settings }
    }

    /// A name that the client has not given to anything goes to the server as it is, which knows none like it.
    fn leave_alone(&mut self, frame: &[u8], at: usize, name: &[u8]) -> Verdict {
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

    /// What the client is told instead of an error that is about a name of ours.
    pub(super) fn reword(&mut self, failed: Option<Asked>, error: &[u8]) -> Option<Vec<u8>> {
        let fields = |put: &mut dyn FnMut(u8, &[u8])| {
            let mut rest = error;
            while let Some((code, value)) = rest.split_first().filter(|(code, _)| **code != 0) {
                let (value, behind) = body::cstr(value)?;
                put(*code, value);
                rest = behind;
            }
            Some(())
        };
        let mut reworded = Vec::with_capacity(error.len() + 64);
        let name = prepared::id_in(body::error_field(error, b'M')?).and_then(|id| self.statements.name_of(id));
        fields(&mut |code, value| {
            reworded.push(code);
            match (failed, code, name) {
                (Some(Asked::Stale), b'C', _) => reworded.extend_from_slice(b"0A000"),
                (Some(Asked::Stale), b'M', _) => reworded.extend_from_slice(b"cached plan must not change result type"),
                (_, b'M', Some(name)) => {
                    let at = memchr::memmem::find(value, prepared::PREFIX).unwrap_or(0);
                    reworded.extend_from_slice(&value[..at]);
                    reworded.extend_from_slice(name);
                    reworded.extend_from_slice(&value[at + prepared::NAME_BYTES..]);
                }
                _ => reworded.extend_from_slice(value),
            }
            reworded.push(0);
        })?;
        reworded.push(0);
        Some(reworded)
    }
}

/// A name that no statement has.
const STALE: &[u8] = b"greenroom:stale";

/// Appends a Close of a prepared statement.
pub(super) fn close_statement(out: &mut Vec<u8>, name: impl FnOnce(&mut Vec<u8>)) {
    message::frame(out, Frontend::CLOSE.0, |out| {
        out.push(b'S');
        name(out);
        out.push(0);
    });
}

/// Appends a Parse of the statement.
fn put_parse(out: &mut Vec<u8>, name: impl FnOnce(&mut Vec<u8>), statement: &Statement) {
    message::frame(out, Frontend::PARSE.0, |out| {
        name(out);
        out.push(0);
        out.extend_from_slice(statement.content.body());
    });
}

/// How long the whole frame is, by its own word.
fn frame_len(frame: &[u8]) -> usize {
    let length = frame[1..].first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    length as usize + 1
}
