//! What can happen next: moves the bytes that can move, then reports the first thing that needs a decision.
//!
//! Reads and writes are polled directly. Readiness is asked before a buffer is borrowed, so that a client or server that
//! has nothing to say costs no buffer; tokio forgets a readiness after a short read, so that the second read of an empty
//! socket never happens.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::errand::Done;
use super::lending::{Lending, Lent};
use super::{HeldBack, Relay};
use crate::net::{Buffer, Buffers, LARGE_BYTES, Stream};

/// Something that needs a decision.
pub(super) enum Event {
    ClientBytes(usize),
    /// It cannot be written to, or has nothing left to wait for.
    ClientGone,
    /// It sends nothing more.
    ClientLeft,
    ServerBytes(usize),
    ServerGone,
    /// The wait for a server is over.
    Lent(Box<Lent>),
    /// There is something to be told of what it listens to.
    Heard,
    /// It has taken that, and ReadyForQuery is next.
    Told,
    /// What was done for the client is done.
    ErrandDone(Done),
    /// The client cancelled its wait.
    Cancelled,
    Deadline,
    Draining,
    /// Somebody has ended it.
    Ended,
}

/// Answers of our own that a client may leave untaken, in bytes, before it is read from no more.
const MOST_OWN_BYTES: usize = 64 << 10;

impl Relay<'_> {
    /// Ready with the next event.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.poll_write_client(cx).is_err() {
            return Poll::Ready(Event::ClientGone);
        }
        self.poll_write_server(cx);
        if self.hearing.is_some()
            && let Poll::Ready(event) = self.poll_hearing(cx)
        {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.poll_read_server(cx) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.poll_read_client(cx) {
            return Poll::Ready(event);
        }
        if self.leaving && !self.owes_client() && !self.asks_more() {
            return Poll::Ready(Event::ClientGone);
        }
        if let Lending::Waiting(waiting) = &mut self.lending {
            if let Poll::Ready(lent) = waiting.lent.as_mut().poll(cx) {
                return Poll::Ready(Event::Lent(Box::new(lent)));
            }
            // While there is an errand, it is that which a cancel ends.
            if self.errand.is_none() && waiting.cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Cancelled);
            }
        }
        if let Some(errand) = &mut self.errand {
            if let Poll::Ready(done) = errand.done.as_mut().poll(cx) {
                return Poll::Ready(Event::ErrandDone(done));
            }
            if errand.cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Cancelled);
            }
        }
        while !self.is_draining && self.news.as_mut().poll(cx).is_ready() {
            self.on_news();
        }
        if self.is_ended && self.is_to_end() {
            return Poll::Ready(Event::Ended);
        }
        if self.is_draining {
            let may_go = self.is_at_rest() && !self.owes_client();
            if may_go || self.ending.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Draining);
            }
        }
        let deadline = self.deadline();
        ready!(self.timer.poll(deadline, cx));
        Poll::Ready(Event::Deadline)
    }

    /// Whether something that was asked will still come to an end by itself.
    fn asks_more(&self) -> bool {
        self.session.ends_by_itself() || self.held_back != HeldBack::No || self.is_asking()
    }

    /// Whether something waits to be taken by the client.
    pub(super) fn owes_client(&self) -> bool {
        !self.own.is_empty() || self.down.as_ref().is_some_and(|down| !down.outgoing().is_empty())
    }

    fn poll_write_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.owes_client() {
            let down = self.down.as_ref().map(Buffer::outgoing).unwrap_or_default();
            let own = &self.own[self.own_sent..];
            let wrote = match poll_write_two(&mut self.client, cx, down, own) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(wrote) => wrote?,
                Poll::Pending => {
                    self.times.write_blocked.get_or_insert_with(Instant::now);
                    return Ok(());
                }
            };
            self.metrics.bytes_sent.inc_by(wrote as u64);
            self.times.write_blocked = None;
            let of_down = wrote.min(down.len());
            if let Some(down) = &mut self.down {
                down.sent(of_down);
            }
            self.own_sent += wrote - of_down;
            if self.own_sent == self.own.len() {
                self.own.clear();
                self.own.shrink_to(MOST_OWN_BYTES);
                self.own_sent = 0;
            }
        }
        give_back_if_empty(&mut self.down, &self.shared.buffers);
        Ok(())
    }

    fn poll_write_server(&mut self, cx: &mut Context<'_>) {
        let Lending::Leased(lease) = &mut self.lending else { return };
        let stream = &mut lease.server().stream;
        loop {
            let ahead = &self.ahead[self.ahead_sent..];
            let up = self.up.as_ref().map(Buffer::outgoing).unwrap_or_default();
            if (ahead.is_empty() && up.is_empty()) || self.server_is_deaf {
                break;
            }
            let wrote = match poll_write_two(stream, cx, ahead, up) {
                Poll::Pending => return,
                Poll::Ready(Ok(wrote)) if wrote > 0 => wrote,
                // It may have said why before it stopped listening: that is read first.
                Poll::Ready(_) => {
                    self.server_is_deaf = true;
                    break;
                }
            };
            self.server_needs_flush = true;
            let of_ahead = wrote.min(ahead.len());
            self.ahead_sent += of_ahead;
            if self.ahead_sent == self.ahead.len() {
                self.ahead.clear();
                self.ahead_sent = 0;
            }
            if let Some(up) = &mut self.up {
                up.sent(wrote - of_ahead);
            }
        }
        if self.server_needs_flush && !self.server_is_deaf {
            match Pin::new(stream).poll_flush(cx) {
                Poll::Pending => return,
                Poll::Ready(flushed) => self.server_is_deaf = flushed.is_err(),
            }
            self.server_needs_flush = false;
        }
        give_back_if_empty(&mut self.up, &self.shared.buffers);
    }

    fn poll_read_server(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // A client that does not read stops its server from being read: the server waits, as it would for it directly.
        if self.owes_client() || self.is_ready_held_back() {
            return Poll::Pending;
        }
        let Lending::Leased(lease) = &mut self.lending else { return Poll::Pending };
        let stream = &mut lease.server().stream;
        let read = ready!(poll_read(stream, cx, &mut self.down, &mut self.bulk.down, &self.shared.buffers));
        match read {
            Ok(bytes) if bytes > 0 => Poll::Ready(Event::ServerBytes(bytes)),
            _ => Poll::Ready(Event::ServerGone),
        }
    }

    fn poll_read_client(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // What waits for a server is not read past: the client waits, as it would for PostgreSQL.
        let waits = self.up.as_ref().is_some_and(|up| !up.outgoing().is_empty()) || !self.ahead.is_empty();
        // What stands ahead counts like the largest buffer: of frames that are rewritten nothing stays in the buffer itself.
        let full = self.up.as_ref().is_some_and(|up| !up.has_room()) || self.ahead.len() >= LARGE_BYTES;
        // Nor is a client that does not take its answers.
        if self.own.len() > MOST_OWN_BYTES || (self.errand.is_some() && full) {
            return Poll::Pending;
        }
        let held_back = self.held_back != HeldBack::No;
        if self.leaving || (waits && matches!(self.lending, Lending::Leased(_))) || ((waits || held_back) && full) {
            return Poll::Pending;
        }
        let read = ready!(poll_read(&mut self.client, cx, &mut self.up, &mut self.bulk.up, &self.shared.buffers));
        match read {
            Ok(bytes) if bytes > 0 => {
                self.metrics.bytes_received.inc_by(bytes as u64);
                Poll::Ready(Event::ClientBytes(bytes))
            }
            _ => Poll::Ready(Event::ClientLeft),
        }
    }
}

/// Reads into the buffer, which is borrowed when there is something to read and given back when there was not. A read that
/// fills a small buffer makes the next one large.
fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    slot: &mut Option<Buffer>,
    bulk: &mut bool,
    buffers: &Buffers,
) -> Poll<io::Result<usize>> {
    ready!(stream.poll_read_ready(cx))?;
    let buffer = slot.get_or_insert_with(|| buffers.take(*bulk));
    if !buffer.has_room() {
        // A frame that must be seen whole, or as much of it as the largest buffer holds.
        grow(buffer, buffers);
    }
    let mut room = buffer.room();
    let size = room.capacity();
    let polled = Pin::new(stream).poll_read(cx, &mut room);
    let bytes = room.filled().len();
    if polled.is_pending() {
        give_back_if_empty(slot, buffers);
        return Poll::Pending;
    }
    buffer.filled(bytes);
    *bulk = bytes == size;
    if bytes == 0 {
        give_back_if_empty(slot, buffers);
    }
    polled.map_ok(|()| bytes)
}

pub(super) fn grow(buffer: &mut Buffer, buffers: &Buffers) {
    if !buffer.is_large() {
        let mut larger = buffers.take(true);
        buffer.move_into(&mut larger);
        buffers.give_back(std::mem::replace(buffer, larger));
    }
}

fn give_back_if_empty(slot: &mut Option<Buffer>, buffers: &Buffers) {
    if slot.as_ref().is_some_and(Buffer::is_empty)
        && let Some(buffer) = slot.take()
    {
        buffers.give_back(buffer);
    }
}

/// One write of what is in two places; a single one costs no vector.
fn poll_write_two(stream: &mut Stream, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    match (first.is_empty(), second.is_empty()) {
        (true, _) => stream.poll_write(cx, second),
        (_, true) => stream.poll_write(cx, first),
        _ => stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
    }
}
