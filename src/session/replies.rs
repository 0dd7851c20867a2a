//! Whose answer a server's frame is.

use super::asked::Asked;
use super::{CopyIn, PinReason, Session};
use crate::protocol::Backend;
use crate::protocol::tag::TxStatus;

/// What becomes of a server's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is the client's.
    Forward,
    /// It answers a message of ours.
    Swallow,
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
    /// Says whose answer a frame with this tag is. `first` is the first byte of its body: the status of ReadyForQuery.
    #[inline]
    pub fn on_server(&mut self, tag: Backend, first: Option<u8>) -> Reply {
        if self.queue.front() == Some(Asked::Prelude) {
            return self.during_prelude(tag);
        }
        match tag {
            Backend::DATA_ROW | Backend::COPY_DATA => {}
            Backend::READY_FOR_QUERY => return self.ready(first),
            Backend::COMMAND_COMPLETE | Backend::EMPTY_QUERY | Backend::PORTAL_SUSPENDED => {
                if self.queue.front() == Some(Asked::Execute) {
                    self.queue.pop();
                } else if self.copy_in == CopyIn::Ending {
                    self.queue.copy_in_ended();
                }
                if tag == Backend::COMMAND_COMPLETE {
                    self.copy_in = CopyIn::No;
                }
            }
            Backend::ROW_DESCRIPTION | Backend::NO_DATA if self.queue.front() == Some(Asked::Describe) => {
                self.queue.pop()
            }
            Backend::PARSE_COMPLETE => return self.parse_complete(),
            Backend::BIND_COMPLETE => self.answered(|asked| asked == Asked::Bind),
            Backend::CLOSE_COMPLETE => {
                if self.queue.front() == Some(Asked::Close { unnamed: true }) {
                    self.unnamed.drop_live();
                }
                self.answered(|asked| matches!(asked, Asked::Close { .. }));
            }
            Backend::COPY_IN => {
                self.copy_in = if self.queue.copy_in_began() { CopyIn::Ending } else { CopyIn::Taking };
            }
            Backend::COPY_BOTH => self.doubtful = true,
            Backend::ERROR => self.error(),
            _ => {}
        }
        Reply::Forward
    }

    /// Everything outstanding fails with one error of ours, because no server can be had for it (or none any more).
    /// Tells, in order, what the client has to be sent.
    pub fn fail_outstanding(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut in_batch = false;
        for asked in self.queue.drain() {
            match asked {
                Asked::Prelude | Asked::CopyEnd => {}
                // Behind an error, everything up to Sync is ignored.
                Asked::Query | Asked::Call if in_batch => {}
                Asked::Query | Asked::Call => failures.push(Failure::ErrorAndReady),
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
        if let Some(PinReason::Statement(_) | PinReason::PreparedStatement | PinReason::DatabaseCode) = self.pin {
            // What was to be kept never came about.
            self.pin = None;
        }
        self.acting.failed();
        self.status = TxStatus::Idle;
        self.discarding |= in_batch;
        self.copy_in = CopyIn::No;
        self.skipping = false;
        self.batch_is_open = false;
        self.unnamed.forget_pending();
        self.effects = crate::sql::Effects::NONE;
        self.cycle_effects = crate::sql::Effects::NONE;
        self.replaces_unnamed = false;
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
            Some(Asked::Query) => self.unnamed.drop_live(),
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
        match self.queue.front() {
            Some(Asked::Parse { unnamed, ours }) => {
                self.queue.pop();
                if ours {
                    return Reply::Swallow;
                }
                if unnamed {
                    self.unnamed.confirm();
                }
            }
            _ => self.doubtful = true,
        }
        Reply::Forward
    }

    fn answered(&mut self, expected: impl FnOnce(Asked) -> bool) {
        match self.queue.front() {
            Some(asked) if expected(asked) => self.queue.pop(),
            _ => self.doubtful = true,
        }
    }

    fn error(&mut self) {
        self.acting.failed();
        if self.copy_in != CopyIn::No {
            // Which of the Syncs around the data the server has seen as one cannot be told.
            self.copy_in = CopyIn::No;
            self.doubtful = true;
        }
        match self.queue.front() {
            // ReadyForQuery follows by itself; without anything asked it is the server's farewell.
            Some(Asked::Query | Asked::Call | Asked::Sync) | None => return,
            Some(Asked::Parse { unnamed: true, ours: false }) => {
                self.unnamed.fail();
                self.queue.pop();
            }
            Some(_) => self.queue.pop(),
        }
        let unnamed = &mut self.unnamed;
        let sync_is_there = self.queue.skip_to_sync(|asked| match asked {
            Asked::Parse { unnamed: true, ours: false } => unnamed.skip(),
            Asked::Parse { unnamed: true, ours: true } => unnamed.leave_server(),
            Asked::Query => unnamed.query_skipped(),
            _ => {}
        });
        self.skipping = !sync_is_there;
    }
}
