//! Frames of the client: what goes to the server, what is answered here, what is ignored.

use super::hearing::Listens;
use super::lending::Lending;
use super::{Ending, Flow, HeldBack, Relay};
use crate::client::reply;
use crate::metrics::ClientState;
use crate::net::{Buffer, LARGE_BYTES};
use crate::protocol::frame::{Header, MAX_MESSAGE_BYTES};
use crate::protocol::{Frontend, message};
use crate::session::Verdict;

impl Relay<'_> {
    /// Looks at every frame that is whole, or as much of one as there can be, and asks for a server if one is needed.
    pub(super) fn on_client_bytes(&mut self, bytes: usize) -> Flow {
        let _ = bytes;
        if self.errand.is_some() {
            // What follows waits in the buffer.
            return Flow::Continue(());
        }
        if self.is_asking() {
            // What becomes of it, and of the server, depends on what that one tells.
            self.held_back = HeldBack::ForAnswers;
            return Flow::Continue(());
        }
        loop {
            self.read_frames()?;
            if self.errand.is_some() {
                // What follows waits in the buffer.
                return Flow::Continue(());
            }
            self.after_frames()?;
            if self.has_bytes_for_server() || self.held_back == HeldBack::ForServer {
                self.transaction_begins();
                match &self.lending {
                    Lending::Free => self.borrow()?,
                    Lending::Leased(_) if self.pinned.is_none() => self.state.set(ClientState::Active),
                    _ => {}
                }
            }
            if !matches!(self.lending, Lending::Leased(_)) {
                return Flow::Continue(());
            }
            if self.held_back != HeldBack::ForServer {
                break;
            }
        }
        self.note_pin();
        Flow::Continue(())
    }

    /// Looks at the frames up to one that is not all there, or has to wait.
    fn read_frames(&mut self) -> Flow {
        self.held_back = HeldBack::No;
        self.note_strange_code();
        while let Some(up) = &mut self.up {
            let unread = up.unread();
            if unread.is_empty() {
                break;
            }
            if self.up_left > 0 {
                let len = unread.len().min(self.up_left);
                self.up_left -= len;
                self.session.on_client_piece(&unread[..len], self.up_left == 0);
                if self.up_forwards {
                    up.pass(len);
                } else {
                    up.discard(len);
                }
                continue;
            }
            let header = match Header::read(unread, MAX_MESSAGE_BYTES) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => return Flow::Break(Ending::Told(reply::protocol_violation(error.to_string()))),
            };
            let is_whole = unread.len() >= header.total;
            if !is_whole && (must_be_whole(header) || unread.len() < beginning(header)) {
                break;
            }
            let server = match &mut self.lending {
                Lending::Leased(lease) => Some(&mut lease.server().prepared),
                _ => None,
            };
            let len = unread.len().min(header.total);
            let verdict = match is_whole {
                true => self.session.on_client(&unread[..len], server),
                false => self.session.on_client_start(unread, server),
            };
            match verdict {
                Verdict::Listen | Verdict::ListenInBatch => match self.obey_listen(verdict, len) {
                    Listens::Now => {}
                    Listens::NotYet => break,
                    Listens::Passes => self.session.let_listen_pass(),
                },
                Verdict::Signal => self.obey_signal(),
                Verdict::AwaitServer => self.held_back = HeldBack::ForServer,
                Verdict::TakeOver => {
                    self.held_back = HeldBack::ForServer;
                    self.take_over();
                }
                Verdict::AwaitAnswers => {
                    // Perhaps to a question of ours, behind what stands before it.
                    if self.session.has_splice() {
                        self.ahead.extend_from_slice(up.outgoing());
                        up.discard_outgoing();
                        self.session.put_splice(&mut self.ahead);
                    }
                    self.held_back = HeldBack::ForAnswers;
                }
                _ => {
                    self.up_left = header.total - len;
                    self.up_forwards = matches!(verdict, Verdict::Forward | Verdict::Splice(_));
                    self.obey(verdict, len)?;
                }
            }
            if self.held_back != HeldBack::No || self.errand.is_some() {
                break;
            }
        }
        Flow::Continue(())
    }

    /// Code that has appeared since the lease began may be called by any text, and see what others have prepared there.
    fn note_strange_code(&mut self) {
        if let Lending::Leased(lease) = &mut self.lending
            && !lease.server().prepared.is_empty()
            && !self.member.pool.facts.is_still(self.facts)
        {
            self.session.code_has_changed();
        }
    }

    /// What follows from the texts that were read.
    fn after_frames(&mut self) -> Flow {
        if let Some(statement) = self.session.take_database_change() {
            self.member.pool.leave_databases(&statement);
        }
        self.note_texts();
        self.note_sender();
        self.check_sequence_reads()?;
        if self.up.as_ref().is_some_and(Buffer::is_empty)
            && let Some(up) = self.up.take()
        {
            self.shared.buffers.give_back(up);
        }
        self.metrics.queries.inc_by(self.session.take_queries().into());
        Flow::Continue(())
    }

    pub(super) fn has_bytes_for_server(&self) -> bool {
        !self.ahead.is_empty() || self.up.as_ref().is_some_and(|up| !up.outgoing().is_empty())
    }

    /// Does with the next `len` unread bytes what the session decided.
    fn obey(&mut self, verdict: Verdict, len: usize) -> Flow {
        let Some(up) = &mut self.up else { return Flow::Continue(()) };
        match verdict {
            Verdict::Forward => up.pass(len),
            Verdict::Splice(skip) => {
                // What stood before it goes out before it.
                self.ahead.extend_from_slice(up.outgoing());
                up.discard_outgoing();
                self.session.put_splice(&mut self.ahead);
                up.discard(skip);
                up.pass(len - skip);
            }
            Verdict::ForwardWithWayHome => {
                self.ahead.extend_from_slice(up.outgoing());
                up.discard_outgoing();
                self.ahead.extend_from_slice(&up.unread()[..len]);
                up.discard(len);
                self.session.way_home(&mut self.ahead);
            }
            Verdict::Database => return self.obey_database(len),
            Verdict::OnlySimpleQuery => {
                up.discard(len);
                reply::only_simple_query().write(&mut self.own);
                self.session.discard_to_sync();
            }
            Verdict::Ignore => up.discard(len),
            // It stays where it is.
            Verdict::AwaitServer
            | Verdict::AwaitAnswers
            | Verdict::TakeOver
            | Verdict::Signal
            | Verdict::Listen
            | Verdict::ListenInBatch => {}
            Verdict::EndsCopy => {
                return Flow::Break(Ending::Told(reply::protocol_violation(
                    "a message that is not of COPY".to_owned(),
                )));
            }
            Verdict::AnswerReady => {
                up.discard(len);
                message::ready_for_query(&mut self.own, self.status);
            }
            Verdict::Terminate if !self.session.ends_by_itself() => return Flow::Break(Ending::Silent),
            Verdict::Terminate => {
                // What was asked before the goodbye is still done.
                let rest = up.unread().len();
                up.discard(rest);
                self.leaving = true;
            }
        }
        Flow::Continue(())
    }

    /// A statement about a database is answered here, or asked of the server after all.
    fn obey_database(&mut self, len: usize) -> Flow {
        let answered = self.session.take_database().and_then(|statement| self.on_database(statement));
        let Some(up) = &mut self.up else { return Flow::Continue(()) };
        match answered {
            Some(flow) => {
                up.discard(len);
                // No real database changes: nobody has to leave one.
                self.session.take_database_change();
                flow
            }
            None => {
                self.session.ask_about_database();
                up.pass(len);
                Flow::Continue(())
            }
        }
    }

    /// The outstanding questions get this error, and what had not gone out yet is dropped.
    pub(super) fn fail_outstanding(&mut self, error: &reply::Reply) -> Flow {
        self.put_lease_away();
        for failure in self.session.fail_outstanding() {
            error.write(&mut self.own);
            if failure == crate::session::Failure::ErrorAndReady {
                message::ready_for_query(&mut self.own, crate::protocol::tag::TxStatus::Idle);
            }
        }
        if self.session.pin().is_none() {
            self.pinned = None;
        }
        self.status = crate::protocol::tag::TxStatus::Idle;
        self.turn_passes();
        self.state.set(ClientState::Idle);
        self.on_client_bytes(0)
    }
}

/// Frames that the session looks into are waited for, as long as the largest buffer can hold them.
fn must_be_whole(header: Header) -> bool {
    let looked_into = [Frontend::QUERY, Frontend::PARSE, Frontend::BIND, Frontend::DESCRIBE, Frontend::CLOSE];
    looked_into.contains(&Frontend(header.tag)) && header.total <= LARGE_BYTES
}

/// How much of a frame that is never whole must be there before it is looked at: the names in it, for those that have any.
fn beginning(header: Header) -> usize {
    if must_be_whole(Header { total: 0, ..header }) { LARGE_BYTES } else { 0 }
}
