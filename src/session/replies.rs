//! Whose answer a server's frame is.

use super::asked::{Asked, Closing, Whose};
use super::prepared::{Description, Id, Prepared};
use super::statements::{Own, Serial};
use super::{CopyIn, Session};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, body};

/// What becomes of a server's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is the client's.
    Forward,
    /// It answers a message of ours.
    Swallow,
    /// It is the client's, who gets [`Session::take_reworded`] in its place.
    Reworded,
    /// It is the client's, and says where the transaction stands. Nothing more may be outstanding: ask
    /// [`Session::is_settled`].
    Ready(TxStatus),
    /// One of our own messages failed: the server is not what it should be and must be closed at once.
    PreludeFailed,
    /// It is not the protocol: nothing of this server can be trusted any more.
    Broken,
}

/// What was asked and cannot be answered any more, as [`Session::fail_outstanding`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An error, then ReadyForQuery.
    ErrorAndReady,
    /// An error; what follows up to Sync is ignored, and Sync brings ReadyForQuery.
    Error,
}

impl Session {
    /// Says whose answer a frame with this tag is. `body` is what is there of its body; `server` is what the server that
    /// said it has prepared.
    #[inline]
    pub fn on_server(&mut self, tag: Backend, body: &[u8], server: &mut Prepared) -> Reply {
        if matches!(self.queue.front(), Some(Asked::Prelude)) {
            return self.during_prelude(tag);
        }
        match tag {
            Backend::DATA_ROW if self.has_signals() => self.signal_row(body),
            Backend::DATA_ROW | Backend::COPY_DATA => {}
            Backend::READY_FOR_QUERY => return self.ready(body.first().copied()),
            Backend::COMMAND_COMPLETE | Backend::EMPTY_QUERY | Backend::PORTAL_SUSPENDED => {
                if tag == Backend::COMMAND_COMPLETE {
                    self.hears_answer(tag, body);
                    self.command_complete(body, server);
                }
                if let Some(Asked::Execute { deallocates }) = self.queue.front() {
                    self.queue.pop();
                    self.deallocates(deallocates);
                } else if let Some(Asked::Signal(signal)) = self.queue.front() {
                    self.queue.pop();
                    self.signal_is_done(signal);
                } else if self.copy_in == CopyIn::Ending {
                    self.queue.copy_in_ended();
                }
                if tag == Backend::COMMAND_COMPLETE {
                    self.copy_in = CopyIn::No;
                }
            }
            Backend::ROW_DESCRIPTION | Backend::NO_DATA | Backend::PARAMETER_DESCRIPTION => match self.queue.front() {
                Some(Asked::Description { id, serial }) => return self.description(tag, body, id, serial, server),
                Some(Asked::Describe(_)) if tag != Backend::PARAMETER_DESCRIPTION => self.queue.pop(),
                _ => {}
            },
            Backend::PARSE_COMPLETE => return self.parse_complete(),
            Backend::BIND_COMPLETE => match self.queue.front() {
                Some(Asked::Bind(_)) => self.queue.pop(),
                _ => self.doubtful = true,
            },
            Backend::CLOSE_COMPLETE => return self.close_complete(server),
            Backend::COPY_IN => {
                let (is_ending, has_sync) = self.queue.copy_in_began();
                self.copy_in = if is_ending { CopyIn::Ending } else { CopyIn::Taking };
                self.copy_has_sync = has_sync;
            }
            Backend::COPY_BOTH => self.doubtful = true,
            Backend::ERROR => {
                self.hears_answer(tag, body);
                return self.error(body, server);
            }
            _ => {}
        }
        Reply::Forward
    }

    /// Everything outstanding fails with one error of ours, because no server can be had for it (or none any more).
    /// Tells, in order, what the client has to be sent.
    pub fn fail_outstanding(&mut self) -> Vec<Failure> {
        if let Some(asked) = self.blocked.take() {
            self.queue.push(asked);
            self.blocked_has_failed = true;
        }
        let mut failures = Vec::new();
        let mut in_batch = false;
        for asked in self.queue.drain() {
            match asked {
                Asked::CopyEnd => {}
                ours if ours.is_ours() => {}
                // Behind an error, everything up to Sync is ignored.
                Asked::Query { .. } | Asked::Call if in_batch => {}
                Asked::Query { .. } | Asked::Call => failures.push(Failure::ErrorAndReady),
                Asked::Sync if in_batch => {
                    failures.pop();
                    failures.push(Failure::ErrorAndReady);
                    in_batch = false;
                }
                Asked::Sync => failures.push(Failure::ErrorAndReady),
                _ if in_batch => {}
                _ => {
                    failures.push(Failure::Error);
                    in_batch = true;
                }
            }
        }
        self.pin.never_was();
        self.acting.lease_ended();
        self.status = TxStatus::Idle;
        self.discarding |= in_batch;
        self.copy_in = CopyIn::No;
        self.skipping = false;
        self.batch_is_open = false;
        self.batch_has_bound = false;
        self.unnamed.forget_pending();
        self.statements.undo_all();
        self.has_deallocated = false;
        self.effects = crate::sql::Effects::NONE;
        self.cycle_effects = crate::sql::Effects::NONE;
        self.bound_effects = crate::sql::Effects::NONE;
        failures
    }

    fn during_prelude(&mut self, tag: Backend) -> Reply {
        match tag {
            Backend::READY_FOR_QUERY => {
                self.queue.pop();
                Reply::Swallow
            }
            Backend::ERROR => Reply::PreludeFailed,
            // These belong to nobody's question.
            Backend::NOTICE | Backend::NOTIFICATION => Reply::Forward,
            _ => Reply::Swallow,
        }
    }

    #[inline]
    fn ready(&mut self, status: Option<u8>) -> Reply {
        match self.queue.ready() {
            Some(Asked::Query { deallocates }) => {
                self.unnamed.ended();
                self.deallocates(deallocates);
            }
            Some(_) => {}
            None => self.doubtful = true,
        }
        self.copy_in = CopyIn::No;
        self.skipping = false;
        match status.and_then(TxStatus::from_byte) {
            Some(status) => {
                self.status = status;
                self.acting.ready(status, self.queue.is_empty());
                Reply::Ready(status)
            }
            None => Reply::Broken,
        }
    }

    fn parse_complete(&mut self) -> Reply {
        let asked = self.queue.front();
        match asked {
            Some(Asked::Parse { .. } | Asked::Prepare { .. }) => self.queue.pop(),
            _ => {
                self.doubtful = true;
                return Reply::Forward;
            }
        }
        match asked {
            Some(Asked::Parse { ours: false }) => self.unnamed.confirm(),
            Some(Asked::Parse { ours: true }) => {
                self.unnamed.supply_worked();
                return Reply::Swallow;
            }
            Some(Asked::Prepare { whose: Whose::Clients, .. }) => self.statements.confirm(),
            Some(Asked::Prepare { whose: Whose::Untold, .. }) => {}
            Some(Asked::Prepare { whose: Whose::Again(_), .. }) => self.doubtful = true,
            _ => return Reply::Swallow,
        }
        Reply::Forward
    }

    fn close_complete(&mut self, server: &mut Prepared) -> Reply {
        let Some(Asked::Close(closing)) = self.queue.front() else {
            self.doubtful = true;
            return Reply::Forward;
        };
        self.queue.pop();
        match closing {
            Closing::Unnamed => self.unnamed.ended(),
            Closing::Named => self.statements.confirm(),
            Closing::Other => {}
            Closing::Ours(id) => {
                // In doubt, it may be another one that is closed.
                if let Some(id) = id.filter(|_| !self.doubtful) {
                    server.is_closed(id);
                }
                return Reply::Swallow;
            }
        }
        Reply::Forward
    }

    /// PostgreSQL tells of a statement, because we have asked: of its parameters first, then of its columns.
    fn description(
        &mut self,
        tag: Backend,
        body: &[u8],
        id: Option<Id>,
        serial: Serial,
        server: &mut Prepared,
    ) -> Reply {
        if tag == Backend::PARAMETER_DESCRIPTION {
            self.parameters = body.to_vec();
            return Reply::Swallow;
        }
        self.queue.pop();
        let columns = if tag == Backend::NO_DATA { b"" } else { body };
        // What cannot be read is used as it is.
        if let Some(description) = Description::read(&std::mem::take(&mut self.parameters), columns) {
            self.statements.described(serial, &description);
            match id {
                Some(id) => server.described(id, &description),
                None => self.statements.own_is_described(serial, self.lease, description),
            }
        }
        Reply::Swallow
    }

    /// A statement ended well; its tag says what it was.
    #[inline]
    fn command_complete(&mut self, tag: &[u8], server: &mut Prepared) {
        if tag.first() != Some(&b'D') {
            return;
        }
        if tag.starts_with(b"DISCARD ALL\0") || tag.starts_with(b"DEALLOCATE ALL\0") {
            server.clear();
            let is_known = self.queue.front().is_some_and(Asked::changes_statements);
            if is_known {
                self.has_deallocated = true;
            } else {
                // No text has shown it.
                self.doubtful = true;
                self.statements.forget();
            }
        } else if tag.starts_with(b"DEALLOCATE\0") {
            if self.queue.front().is_some_and(Asked::changes_statements) && self.statements.closes_one_next() {
                self.has_deallocated = true;
                return;
            }
            // Which one it was cannot be told: the server knows. Where the protocol has given no name, SQL had.
            if !self.statements.is_empty() || self.statements.are_changing() {
                self.pin_for_names();
            }
        }
    }

    /// What could have freed the names of all prepared statements has ended.
    fn deallocates(&mut self, could_have: bool) {
        match (could_have, std::mem::take(&mut self.has_deallocated)) {
            (false, _) => {}
            (true, true) => self.statements.confirm(),
            (true, false) => self.statements.undo(1),
        }
    }

    fn error(&mut self, body: &[u8], server: &mut Prepared) -> Reply {
        self.doubtful |= self.acting.failed();
        if self.copy_in != CopyIn::No {
            self.copy_in = CopyIn::No;
            self.doubtful |= self.copy_has_sync;
        }
        if self.has_signals() {
            self.signal_error(body);
        }
        let Some(failed) = self.queue.front() else { return Reply::Forward };
        if matches!(failed, Asked::Query { .. } | Asked::Call | Asked::Sync) {
            // ReadyForQuery follows by itself.
            return Reply::Forward;
        }
        let reworded = self.reword(failed, body);
        let is_stale = matches!(failed, Asked::Stale { .. });
        if reworded.is_some() && !is_stale && body::error_field(body, b'C') == Some(b"26000") {
            // A statement of ours is not there: something that no text shows has taken it away.
            self.doubtful = true;
        }
        self.looked_at = None;
        self.queue.pop();
        if failed == (Asked::Parse { ours: false }) {
            self.unnamed.fail();
        }
        if let Asked::Prepare { id: None, whose: Whose::Ours(serial) } = failed {
            // What was there is closed. Stopped by a cancel, it may well be possible.
            self.statements.set_own(serial, self.lease, &Own::Unknown);
        }
        let mut undone = usize::from(failed.changes_statements());
        let Self { unnamed, queue, statements, lease, doubtful, .. } = self;
        let mut was_not_done = |asked: Asked| match asked {
            Asked::Prepare { id: Some(id), .. } if !*doubtful => server.remove(id),
            Asked::Prepare { id: None, whose: Whose::Ours(serial) } => {
                statements.was_not_prepared_again(serial, *lease);
            }
            Asked::Parse { ours: true } => unnamed.leave_server(),
            Asked::Parse { ours: false } => unnamed.skip(),
            Asked::Query { .. } | Asked::Close(Closing::Unnamed) => unnamed.end_skipped(),
            _ => {}
        };
        match failed {
            Asked::Parse { ours: false } => {}
            other => was_not_done(other),
        }
        let sync_is_there = queue.skip_to_sync(|asked| {
            undone += usize::from(asked.changes_statements());
            was_not_done(asked);
        });
        self.statements.undo(undone);
        self.skipping = !sync_is_there;
        match reworded {
            Some(body) => {
                self.reworded = body;
                Reply::Reworded
            }
            None => Reply::Forward,
        }
    }

    /// The messages that [`Reply::Reworded`] is about.
    pub fn take_reworded(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reworded)
    }

    /// Whether a description that comes next has to be there as a whole: it is for us.
    pub fn wants_whole_descriptions(&self) -> bool {
        matches!(self.queue.front(), Some(Asked::Description { .. }))
    }
}
