//! Looks at the idle servers of one scheduler at every reap interval, while there is anything that may become idle, and when
//! the limits change.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::scheduler::Scheduler;

/// Something is open: looks from now on, if nobody does yet, until nothing is left or the proxy stops.
pub(super) fn start(scheduler: &Arc<Scheduler>) {
    // Outside a runtime the process is ending.
    let Ok(runtime) = Handle::try_current() else { return };
    if !scheduler.reaping_begins() {
        return;
    }
    let (weak, stopped) = (Arc::downgrade(scheduler), scheduler.stopped().clone());
    let changed = scheduler.limits_changed();
    runtime.spawn(async move {
        while let Some(interval) = weak.upgrade().map(|scheduler| scheduler.reap_interval()) {
            tokio::select! {
                () = sleep(interval) => {}
                () = changed.notified() => {}
                () = stopped.cancelled() => return,
            }
            let Some(scheduler) = weak.upgrade() else { return };
            scheduler.reap(Instant::now());
            if scheduler.reaping_ends() {
                return;
            }
        }
    });
}
