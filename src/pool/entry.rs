//! A server with its place under the ceiling, its age, and its end.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use rand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::Pool;
use super::reason::CloseReason;
use super::slot::{Closing, Slot};
use crate::config::PoolLimits;
use crate::metrics::{InState, ServerState};
use crate::protocol::{Backend, frame, message};
use crate::server::Server;

/// The longest message an idle server may send unasked, in bytes.
const MAX_UNASKED_BYTES: u32 = 64 << 10;

/// A server of a pool.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) server: Server,
    _slot: Slot,
    pub(super) idle_since: Instant,
    opened: Instant,
    /// Its life, beside that of others: connections that were opened together do not end together.
    jitter: f64,
    pub(super) expires: Instant,
    pub(super) state: InState<ServerState>,
    destroy_timeout: Duration,
}

impl Entry {
    /// A server that was just opened.
    pub(super) fn new(server: Server, slot: Slot, state: InState<ServerState>, limits: &PoolLimits) -> Self {
        let (now, jitter) = (Instant::now(), rand::rng().random_range(0.9..=1.1));
        let destroy_timeout = limits.destroy_timeout;
        let mut entry =
            Self { server, _slot: slot, idle_since: now, opened: now, jitter, expires: now, state, destroy_timeout };
        entry.follow(limits);
        entry
    }

    /// The limits may have changed.
    pub(super) fn follow(&mut self, limits: &PoolLimits) {
        self.expires = self.opened + limits.max_connection_lifetime.mul_f64(self.jitter);
        self.destroy_timeout = limits.destroy_timeout;
    }

    /// Whether an idle server has ended, or said something that only a server about to end says. No system call while
    /// nothing has come.
    pub(super) fn is_dead(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if self.server.stream.poll_read_ready(&mut cx).is_pending() {
            return false;
        }
        let mut bytes = [0; 4096];
        let mut read = ReadBuf::new(&mut bytes);
        match std::pin::Pin::new(&mut self.server.stream).poll_read(&mut cx, &mut read) {
            Poll::Pending => false,
            Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(())) => read.filled().is_empty() || !is_idle_talk(read.filled()),
        }
    }

    /// Ends the connection, which is counted as closing, in the background; the slot comes back when the server has closed its end, or after the
    /// destroy timeout.
    pub(super) fn close(mut self: Box<Self>, pool: &Pool, reason: CloseReason, closing: Closing) {
        pool.all_metrics.closed(reason.as_str());
        tracing::debug!(pool = %pool.key, pid = self.server.cancel.pid(), reason = reason.as_str(), "server connection closed");
        self.state.set(ServerState::Closing);
        // In the middle of a message a goodbye would be part of it.
        let polite = !matches!(reason, CloseReason::Doubtful | CloseReason::ClientGone | CloseReason::Abandoned);
        // Outside a runtime (the process is ending) dropping the socket is all that can be done.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(self);
            return drop(closing);
        };
        runtime.spawn(async move {
            let _ = timeout(self.destroy_timeout, farewell(&mut self.server, polite)).await;
            drop(self);
            drop(closing);
        });
    }
}

/// Stops what the server may still be doing, says goodbye, and waits for its end of the connection.
async fn farewell(server: &mut Server, polite: bool) {
    let mut goodbye = Vec::new();
    if polite {
        message::terminate(&mut goodbye);
    }
    if server.stream.write_all(&goodbye).await.is_err() || server.stream.shutdown().await.is_err() {
        return;
    }
    let mut nothing = [0; 4096];
    // A busy server reads the goodbye only after its statement: it is cancelled once it has not closed at once.
    let quick = async { while server.stream.read(&mut nothing).await.is_ok_and(|len| len > 0) {} };
    if timeout(Duration::from_millis(50), quick).await.is_ok() {
        return;
    }
    let _ = Arc::clone(&server.cancel).begin().send().await;
    while server.stream.read(&mut nothing).await.is_ok_and(|len| len > 0) {}
}

/// Whether these are whole messages that a healthy idle server may send: notices and changed settings.
fn is_idle_talk(bytes: &[u8]) -> bool {
    let mut buf = BytesMut::from(bytes);
    loop {
        match frame::take(&mut buf, MAX_UNASKED_BYTES) {
            Ok(Some(frame)) if [Backend::NOTICE, Backend::PARAMETER_STATUS].contains(&Backend(frame.tag)) => {}
            Ok(None) => return buf.is_empty(),
            _ => return false,
        }
    }
}
