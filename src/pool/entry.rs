//! A server with its place under the ceiling, its age, and its end.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use rand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep, timeout};

use super::Pool;
use super::reason::CloseReason;
use super::slot::{Closing, Occupied};
use crate::config::PoolLimits;
use crate::metrics::ServerState;
use crate::protocol::{Backend, frame, message};
use crate::server::{LONGEST_END, Server};

/// The longest message an idle server may send unasked, in bytes.
const MAX_UNASKED_BYTES: u32 = 64 << 10;

/// How long a server may take to close its end before what it does is cancelled.
const PATIENCE: Duration = Duration::from_millis(50);

/// The pause before the next statement is cancelled.
const BETWEEN_CANCELS: Duration = Duration::from_secs(1);

/// A server of a pool.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) server: Server,
    occupied: Occupied,
    pub(super) idle_since: Instant,
    opened: Instant,
    /// Its life, beside that of others: connections that were opened together do not end together.
    jitter: f64,
    pub(super) expires: Instant,
    /// What it began with, as a number of its pool's configuration.
    pub(super) configuration: u64,
    destroy_timeout: Duration,
}

impl Entry {
    /// A server that was just opened.
    pub(super) fn new(server: Server, occupied: Occupied, limits: &PoolLimits) -> Self {
        let (now, jitter) = (Instant::now(), rand::rng().random_range(0.9..=1.1));
        let destroy_timeout = limits.destroy_timeout;
        let (expires, configuration) = (now, 0);
        let mut entry =
            Self { server, occupied, idle_since: now, opened: now, jitter, expires, configuration, destroy_timeout };
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

    /// Counts it as doing something else.
    pub(super) fn is(&mut self, state: ServerState) {
        self.occupied.state.set(state);
    }

    /// Ends the connection, which is counted as closing, in the background. The slot comes back when the server has closed
    /// its end; after the destroy timeout nobody waits for it any more.
    pub(super) fn close(mut self: Box<Self>, pool: &Pool, reason: CloseReason, closing: Closing) {
        pool.all_metrics.closed(reason.as_str());
        tracing::debug!(pool = %pool.key, pid = self.server.cancel.pid(), reason = reason.as_str(), "server connection closed");
        self.is(ServerState::Closing);
        // In the middle of a message a goodbye would be part of it.
        let amid = [CloseReason::Doubtful, CloseReason::ClientGone, CloseReason::Abandoned, CloseReason::Unfinished];
        let polite = !amid.contains(&reason);
        // Outside a runtime (the process is ending) dropping the socket is all that can be done.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(self);
            return drop(closing);
        };
        runtime.spawn(async move {
            let Self { mut server, occupied, destroy_timeout, .. } = *self;
            let pid = server.cancel.pid();
            let mut end = pin!(farewell(&mut server, polite));
            let late = timeout(destroy_timeout, &mut end).await.is_err();
            // Somebody may have waited for this place: another connection gives one up.
            let closing = (!late).then_some(closing);
            if late {
                tracing::warn!(pid, ?destroy_timeout, "PostgreSQL keeps a connection open: it still counts");
                let _ = timeout(LONGEST_END, end).await;
            }
            drop(occupied);
            drop(closing);
        });
    }
}

/// Stops what the server may still be doing, says goodbye, and waits for its end of the connection.
async fn farewell(server: &mut Server, polite: bool) {
    let (mut from, mut to) = tokio::io::split(&mut server.stream);
    let goodbye = async {
        let mut goodbye = Vec::new();
        if polite {
            message::terminate(&mut goodbye);
        }
        // A connection that is broken says so when it is read.
        let _ = to.write_all(&goodbye).await;
        let _ = to.shutdown().await;
        pending::<()>().await;
    };
    let closed = async {
        let mut nothing = [0; 4096];
        while from.read(&mut nothing).await.is_ok_and(|len| len > 0) {}
    };
    // A busy server reads the goodbye only after its statement, and there may be more of them behind that.
    let cancels = async {
        sleep(PATIENCE).await;
        loop {
            let _ = Arc::clone(&server.cancel).begin().send().await;
            sleep(BETWEEN_CANCELS).await;
        }
    };
    tokio::select! {
        () = closed => {}
        () = goodbye => {}
        () = cancels => {}
    }
}

/// Whether these are whole messages that a healthy idle server may send: notices. One that tells of changed settings is not
/// what its pool takes it for; the next one is asked.
fn is_idle_talk(bytes: &[u8]) -> bool {
    let mut buf = BytesMut::from(bytes);
    loop {
        match frame::take(&mut buf, MAX_UNASKED_BYTES) {
            Ok(Some(frame)) if Backend(frame.tag) == Backend::NOTICE => {}
            Ok(None) => return buf.is_empty(),
            _ => return false,
        }
    }
}
