//! What a cancel request needs to know of a server, and how many are on their way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::{ConnectError, Connector};

/// The longest a cancel request may take, connecting included.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// The key of one server connection.
///
/// While a cancel is on its way the server must not be lent to anyone else: PostgreSQL interrupts whatever the process
/// runs when the signal arrives.
#[derive(Debug)]
pub struct CancelTarget {
    connector: Arc<Connector>,
    pid: i32,
    secret: Bytes,
    in_flight: watch::Sender<u32>,
    /// A cancel was given up on its way: it may still arrive at any time.
    tainted: AtomicBool,
}

impl CancelTarget {
    /// The target behind a BackendKeyData.
    pub fn new(connector: Arc<Connector>, pid: i32, secret: Bytes) -> Arc<Self> {
        Arc::new(Self { connector, pid, secret, in_flight: watch::Sender::new(0), tainted: AtomicBool::new(false) })
    }

    /// The process that serves the connection.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A cancel is about to be sent. To be called while the server is known to be leased to the client that cancels.
    pub fn begin(self: &Arc<Self>) -> Cancelling {
        self.in_flight.send_modify(|count| *count += 1);
        Cancelling(Arc::clone(self))
    }

    /// Whether a cancel is on its way.
    #[inline]
    pub fn is_cancelling(&self) -> bool {
        *self.in_flight.borrow() > 0
    }

    /// Whether a cancel may still arrive though nobody waits for it: the server must not be lent again.
    pub fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Acquire)
    }

    /// Something may end it, or cancel what it does, at any time: it must not be lent again.
    pub fn taint(&self) {
        self.tainted.store(true, Ordering::Release);
    }

    /// Waits until no cancel is on its way any more.
    pub async fn settled(&self) {
        let mut in_flight = self.in_flight.subscribe();
        // The sender lives as long as self: the wait ends with the condition only.
        let _ = in_flight.wait_for(|count| *count == 0).await;
    }
}

/// A cancel that is on its way; it has ended when this is dropped.
#[derive(Debug)]
pub struct Cancelling(Arc<CancelTarget>);

impl Cancelling {
    /// What it is for.
    pub fn target(&self) -> &CancelTarget {
        &self.0
    }

    /// Sends it and waits until PostgreSQL has taken it.
    ///
    /// # Errors
    /// A server that cannot be reached, or did not answer in time.
    pub async fn send(self) -> Result<(), ConnectError> {
        let target = &self.0;
        let sent = tokio::time::timeout(CANCEL_TIMEOUT, target.connector.send_cancel(target.pid, &target.secret)).await;
        sent.unwrap_or_else(|_| {
            target.taint();
            Err(ConnectError::Lost(std::io::ErrorKind::TimedOut.into()))
        })
    }
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|count| *count -= 1);
    }
}
