//! Looks at the idle servers of one scheduler at every reap interval.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::scheduler::Scheduler;

/// Starts looking; ends with the scheduler, or when the proxy stops.
pub(super) fn start(scheduler: &Arc<Scheduler>) {
    let (weak, stopped) = (Arc::downgrade(scheduler), scheduler.stopped().clone());
    tokio::spawn(async move {
        while let Some(interval) = weak.upgrade().map(|scheduler| scheduler.reap_interval()) {
            tokio::select! {
                () = sleep(interval) => {}
                () = stopped.cancelled() => return,
            }
            if let Some(scheduler) = weak.upgrade() {
                scheduler.reap(Instant::now());
            }
        }
    });
}
