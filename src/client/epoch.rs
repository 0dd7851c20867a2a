//! The limits in time on what clients do, for as long as they stay as they are.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::config::{Limits, Timeouts};

/// From one change of the limits to the next.
#[derive(Debug)]
pub struct Epoch {
    /// Limits in time.
    pub timeouts: Timeouts,
    /// How long a drain waits for transactions to end.
    pub shutdown_grace: Duration,
    /// Cancelled when the next one has begun, and when the proxy drains: whoever waits for the one waits for both.
    pub(super) over: CancellationToken,
}

/// The epoch now.
#[derive(Debug)]
pub(super) struct Epochs {
    /// Guards a pointer only.
    now: RwLock<Arc<Epoch>>,
    draining: CancellationToken,
}

impl Epochs {
    pub(super) fn new(limits: &Limits, draining: CancellationToken) -> Self {
        Self { now: RwLock::new(begin(limits, &draining)), draining }
    }

    pub(super) fn now(&self) -> Arc<Epoch> {
        Arc::clone(&self.now.read())
    }

    pub(super) fn next(&self, limits: &Limits) {
        let last = std::mem::replace(&mut *self.now.write(), begin(limits, &self.draining));
        last.over.cancel();
    }
}

fn begin(limits: &Limits, draining: &CancellationToken) -> Arc<Epoch> {
    let (timeouts, shutdown_grace) = (limits.timeouts.clone(), limits.shutdown_grace);
    Arc::new(Epoch { timeouts, shutdown_grace, over: draining.child_token() })
}
