//! The runtime that the commands run on, and the signals that end them.

use std::future::Future;
use std::io;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::proxy::Proxy;

/// One thread runs everything itself; more share the work. One is cheaper, and enough for any Backstage (ADR 4).
pub(super) fn with_threads(threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = match threads {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("cannot start the runtime")
}

/// Serves until the first signal, then drains; a second signal ends the drain.
pub(super) async fn serve(proxy: Proxy, mut stop: StopSignals) {
    let (first, drain) = tokio::sync::oneshot::channel::<()>();
    let impatient = async move {
        stop.next().await;
        tracing::info!("draining; a second signal ends it at once");
        // The receiver is gone only when the proxy has ended.
        let _ = first.send(());
        stop.next().await;
    };
    let serving = proxy.run_until(async {
        let _ = drain.await;
    });
    tokio::select! {
        () = serving => {}
        () = impatient => tracing::warn!("ended before all clients had finished"),
    }
}

/// SIGTERM and SIGINT, which from now on do not end the process by themselves.
#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes the signals over.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Runs a future to its end unless a signal comes first.
    pub(super) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.next() => None,
        }
    }
}
