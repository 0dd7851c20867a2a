//! Whose answer a server's frame is.

use super::asked::{Asked, Closing};
use super::prepared::{self, PREFIX, Prepared};
use super::{CopyIn, PinReason, Session};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, body};

/// What becomes of a server's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is the client's.
    Forward,
    /// It answers a message of ours.
    Swallow,
    /// It is the client's, with [`Session::take_reworded`] as its body.
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
        if self.queue.front() == Some(Asked::Prelude) {
            return self.during_prelude(tag);
        }
        match tag {
            Backend::DATA_ROW | Backend::COPY_DATA => {}
            Backend::READY_FOR_QUERY => return self.ready(body.first().copied()),
            Backend::COMMAND_COMPLETE | Backend::EMPTY_QUERY | Backend::PORTAL_SUSPENDED => {
                if tag == Backend::COMMAND_COMPLETE {
                    self.command_complete(body, server);
                }
                if let Some(Asked::Execute { deallocates }) = self.queue.front() {
                    self.queue.pop();
                    self.deallocates(deallocates);
                } else if self.copy_in == CopyIn::Ending {
                    self.queue.copy_in_ended();
                }
                if tag == Backend::COMMAND_COMPLETE {
                    self.copy_in = CopyIn::No;
                }
            }
            Backend::ROW_DESCRIPTION | Backend::NO_DATA | Backend::PARAMETER_DESCRIPTION => match self.queue.front() {
                Some(Asked::Rows(_)) if tag == Backend::PARAMETER_DESCRIPTION => return Reply::Swallow,
                Some(Asked::Rows(id)) => {
                    let rows = prepared::rows_of(if tag == Backend::NO_DATA { b"" } else { body });
                    server.described(id, rows);
                    self.statements.described(id, rows);
                    self.queue.pop();
                    return Reply::Swallow;
                }
                Some(Asked::Describe) if tag != Backend::PARAMETER_DESCRIPTION => self.queue.pop(),
                _ => {}
            },
            Backend::PARSE_COMPLETE => return self.parse_complete(),
            Backend::BIND_COMPLETE => match self.queue.front() {
                Some(Asked::Bind) => self.queue.pop(),
                _ => self.doubtful = true,
            },
            Backend::CLOSE_COMPLETE => return self.close_complete(),
            Backend::COPY_IN => {
                self.copy_in = if self.queue.copy_in_began() { CopyIn::Ending } else { CopyIn::Taking };
            }
            Backend::COPY_BOTH => self.doubtful = true,
            Backend::ERROR => return self.error(body, server),
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
                Asked::Prelude | Asked::CopyEnd => {}
                // Behind an error, everything up to Sync is ignored.
                Asked::Query { .. } | Asked::Call if in_batch => {}
                Asked::Query { .. } | Asked::Call => failures.push(Failure::ErrorAndReady),
                Asked::Sync { .. } if in_batch => {
                    failures.pop();
                    failures.push(Failure::ErrorAndReady);
                    in_batch = false;
                }
                Asked::Sync { .. } => failures.push(Failure::ErrorAndReady),
                _ if in_batch => {}
                _ => {
                    failures.push(Failure::Error);
                    in_batch = true;
                }
            }
        }
        self.pin.never_was();
        self.acting.failed();
        self.status = TxStatus::Idle;
        self.discarding |= in_batch;
        self.copy_in = CopyIn::No;
        self.skipping = false;
        self.batch_is_open = false;
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
                self.unnamed.drop_live();
                self.deallocates(deallocates);
            }
            Some(Asked::Sync { ours: true }) => {
                self.skipping = false;
                return Reply::Swallow;
            }
            Some(_) => {}
            None => self.doubtful = true,
        }
        self.copy_in = CopyIn::No;
        self.skipping = false;
        match status.and_then(TxStatus::from_byte) {
            Some(status) => {
                self.status = status;
                self.acting.ready(status);
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
            Some(Asked::Prepare { ours: false, .. }) => self.statements.confirm(),
            Some(Asked::Parse { ours: true }) => {
                self.unnamed.supply_worked();
                return Reply::Swallow;
            }
            _ => return Reply::Swallow,
        }
        Reply::Forward
    }

    fn close_complete(&mut self) -> Reply {
        let Some(Asked::Close(closing)) = self.queue.front() else {
            self.doubtful = true;
            return Reply::Forward;
        };
        self.queue.pop();
        match closing {
            Closing::Unnamed => self.unnamed.drop_live(),
            Closing::Named => self.statements.confirm(),
            Closing::Other => {}
            Closing::Ours(_) => return Reply::Swallow,
        }
        Reply::Forward
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
            // Which one it was cannot be told: the server knows. Where the protocol has given no name, SQL had.
            if !self.statements.is_empty() || self.statements.are_changing() {
                self.pin_for(PinReason::PreparedStatement);
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
        self.acting.failed();
        if self.copy_in != CopyIn::No {
            // Which of the Syncs around the data the server has seen as one cannot be told.
            self.copy_in = CopyIn::No;
            self.doubtful = true;
        }
        let Some(failed) = self.queue.front() else { return Reply::Forward };
        if matches!(failed, Asked::Query { .. } | Asked::Call | Asked::Sync { .. }) {
            // ReadyForQuery follows by itself.
            return Reply::Forward;
        }
        let reworded = if mentions_ours(body) { self.reword(Some(failed), body) } else { None };
        if reworded.is_some() && failed != Asked::Stale && body::error_field(body, b'C') == Some(b"26000") {
            // A statement of ours is not there: something that no text shows has taken it away.
            self.doubtful = true;
        }
        self.queue.pop();
        if failed == (Asked::Parse { ours: false }) {
            self.unnamed.fail();
        }
        let mut undone = usize::from(failed.changes_statements());
        let Self { unnamed, queue, doubtful, .. } = self;
        let mut was_not_done = |asked: Asked| match asked {
            Asked::Prepare { id: Some(id), .. } => server.remove(id),
            Asked::Prepare { id: None, ours: true } => {
                server.give_names_up();
                *doubtful = true;
            }
            Asked::Close(Closing::Ours(Some(id))) => {
                *doubtful |= server.has_own_names();
                server.was_not_closed(id);
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
        // Ahead of a query, in a batch of its own: the query itself will tell what is missing.
        let is_ours = matches!(failed, Asked::Prepare { ours: true, .. } | Asked::Rows(_));
        match self.queue.front() {
            Some(Asked::Sync { ours: true }) if is_ours => Reply::Swallow,
            _ => match reworded {
                Some(body) => {
                    self.reworded = body;
                    Reply::Reworded
                }
                None => Reply::Forward,
            },
        }
    }

    /// The body of the error that [`Reply::Reworded`] is about.
    pub fn take_reworded(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reworded)
    }

    /// Whether a description that comes next has to be there as a whole: it is for us.
    pub fn wants_whole_rows(&self) -> bool {
        matches!(self.queue.front(), Some(Asked::Rows(_)))
    }
}

/// Whether an error names a statement by a name of ours.
fn mentions_ours(error: &[u8]) -> bool {
    body::error_field(error, b'M').is_some_and(|text| memchr::memmem::find(text, PREFIX).is_some())
}
