//! Frames of the server: what goes to the client, what answers a message of ours, and where the transaction stands.

use tokio::time::Instant;

use super::lending::Lending;
use super::poll::grow;
use super::told::Heard;
use super::{Ending, Flow, HeldBack, Relay};
use crate::client::reply;
use crate::net::{Buffer, Buffers, LARGE_BYTES};
use crate::pool::CloseReason;
use crate::protocol::frame::{HEADER_BYTES, Header, MAX_MESSAGE_BYTES};
use crate::protocol::{Backend, body};
use crate::session::{Prepared, Reply};
use crate::sql::Quoting;

impl Relay<'_> {
    /// Looks at every frame as far as it is there.
    pub(super) fn on_server_bytes(&mut self, bytes: usize) -> Flow {
        let _ = bytes;
        while let Some(down) = &mut self.down {
            let unread = down.unread();
            if unread.is_empty() {
                break;
            }
            if self.down_left > 0 {
                let len = unread.len().min(self.down_left);
                self.down_left -= len;
                if self.down_forwards {
                    down.pass(len);
                } else {
                    down.discard(len);
                }
                continue;
            }
            let Ok(header) = Header::read(unread, MAX_MESSAGE_BYTES) else {
                return Flow::Break(Ending::Told(reply::server_lost()));
            };
            let Some(header) = header else { break };
            let len = unread.len().min(header.total);
            let tag = Backend(header.tag);
            // Whether its body is passed on as it comes. Most of what a server says: rows need no look.
            let streams = match tag {
                Backend::ROW_DESCRIPTION => !self.session.wants_whole_descriptions(),
                Backend::DATA_ROW => !self.session.has_signals(),
                Backend::COPY_DATA | Backend::FUNCTION_CALL => true,
                _ => false,
            };
            if len < header.total && !streams && header.total <= LARGE_BYTES {
                break;
            }
            let frame_body = unread.get(HEADER_BYTES..len).unwrap_or_default();
            let mut is_heard_elsewhere = false;
            if let Some(hearing) = &mut self.hearing {
                let ends_transaction = tag == Backend::READY_FOR_QUERY && frame_body == b"I";
                if ends_transaction && !self.session.is_next_ready_ours() && hearing.holds_ready_back() {
                    return Flow::Continue(());
                }
                is_heard_elsewhere = tag == Backend::NOTIFICATION && hearing.tells_of(frame_body);
            }
            let mut reply = match &mut self.lending {
                Lending::Leased(lease) => self.session.on_server(tag, frame_body, &mut lease.server().prepared),
                // What it says unasked, behind the end of the lease.
                _ => self.session.on_server(tag, frame_body, &mut Prepared::default()),
            };
            if tag == Backend::ERROR {
                let error = &unread[HEADER_BYTES..len];
                self.server_said_farewell = is_farewell(error);
                if self.dress.home_path().is_some() {
                    self.shared.traps.look_at_error(&self.member.plugin, self.extensions.as_deref(), error);
                }
            } else if is_heard_elsewhere {
                down.discard(len);
                self.down_left = header.total - len;
                self.down_forwards = false;
                continue;
            } else if tag == Backend::NOTIFICATION
                && let Lending::Leased(lease) = &mut self.lending
                && frame_body.starts_with(&lease.server().cancel.pid().to_be_bytes())
            {
                // A server that listens itself has heard what its own client has sent.
                let head = [&unread[..HEADER_BYTES], &self.key.pid.to_be_bytes()].concat();
                down.replace(head.len(), &head);
            } else if tag == Backend::PARAMETER_STATUS {
                let report = &unread[HEADER_BYTES..len];
                if let Lending::Leased(lease) = &mut self.lending {
                    lease.server().reported.note(report);
                }
                if let Some(hearing) = &mut self.hearing {
                    hearing.note_encoding(report);
                }
                note_how_texts_are_read(&mut self.session, report);
                let is_shared = matches!(&self.lending, Lending::Leased(lease) if !lease.is_private());
                if reply == Reply::Swallow && self.told.lacks(report, &self.dress) {
                    // The configuration has changed, and the server says so when it answers a message of ours.
                    reply = Reply::Forward;
                }
                let heard = match reply {
                    Reply::Forward => self.told.hears(report, &self.dress, is_shared),
                    _ => Heard::AsItIs,
                };
                if heard != Heard::AsItIs {
                    down.discard(len);
                    if let Heard::Instead(frame) = heard {
                        put(down, &frame, &self.shared.buffers);
                    }
                    continue;
                }
            }
            self.down_left = header.total - len;
            self.down_forwards = reply != Reply::Swallow;
            match reply {
                Reply::Forward => down.pass(len),
                Reply::Swallow => {
                    down.discard(len);
                    // What waits for an errand is still to be asked.
                    if tag == Backend::READY_FOR_QUERY && self.session.is_settled() && self.errand.is_none() {
                        // It was the way home, behind what the client has asked.
                        let is_last = down.unread().is_empty();
                        self.on_ready(is_last)?;
                    }
                }
                Reply::Reworded => {
                    let error = self.session.take_reworded();
                    // Without room for more it says as much, if with another name.
                    let len = if down.replace(len, &error) { error.len() } else { len };
                    down.pass(len);
                }
                Reply::Broken => return Flow::Break(Ending::Told(reply::server_lost())),
                Reply::PreludeFailed if self.server_said_farewell => {
                    down.pass(len);
                    return Flow::Break(Ending::Silent);
                }
                Reply::PreludeFailed => {
                    tracing::error!(plugin = &*self.metrics.name, "a server could not be prepared for a session");
                    return Flow::Break(Ending::Told(reply::prelude_failed()));
                }
                Reply::Ready(status) => {
                    down.pass(len);
                    let is_last = down.unread().is_empty();
                    self.status = status;
                    self.on_ready(is_last)?;
                }
            }
        }
        if self.session.is_waiting_for_client() && !self.session.is_settled() {
            // In the middle of a batch, behind a Flush.
            self.times.clients_turn = Instant::now();
        }
        if self.down.as_ref().is_some_and(Buffer::is_empty)
            && let Some(down) = self.down.take()
        {
            self.shared.buffers.give_back(down);
        }
        if self.held_back == HeldBack::ForAnswers {
            return self.on_client_bytes(0);
        }
        Flow::Continue(())
    }

    /// The server ended. Its last words have been passed on; if they were a farewell, there is nothing to add.
    pub(super) fn on_server_gone(&mut self) -> Flow {
        self.close_lease(CloseReason::ServerEnded);
        match self.server_said_farewell {
            true => Flow::Break(Ending::Silent),
            false => Flow::Break(Ending::Told(reply::server_lost())),
        }
    }
}

/// Puts a frame of ours between what goes out and what has not been looked at.
fn put(down: &mut Buffer, frame: &[u8], buffers: &Buffers) {
    if !down.put(frame) {
        grow(down, buffers);
        // Where the largest one is full to the last byte, the client goes without.
        down.put(frame);
    }
}

/// Whether an ErrorResponse ends the connection.
fn is_farewell(body: &[u8]) -> bool {
    let severity = body::error_field(body, b'V').or_else(|| body::error_field(body, b'S'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}

pub(super) fn note_how_texts_are_read(session: &mut crate::session::Session, body: &[u8]) {
    match body::parameter_status(body) {
        Some((b"standard_conforming_strings", b"off")) => session.set_quoting(Quoting::Backslash),
        Some((b"standard_conforming_strings", _)) => session.set_quoting(Quoting::Standard),
        Some((b"client_encoding", name)) => session.set_encoding(name),
        _ => {}
    }
}
