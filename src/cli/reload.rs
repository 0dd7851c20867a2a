//! When the configuration is read again: on SIGHUP, and when its files have changed.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{ConfigFiles, environment};
use crate::config::{Config, Seen};
use crate::proxy::Reload;

/// How often the files are looked at: a few small ones.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the files again whenever there is a reason, until it is dropped. They were last read with what was `seen`.
pub(super) async fn watch(files: &ConfigFiles, mut seen: Seen, mut hangup: Signal, mut reload: Reload) {
    let mut last = seen.clone();
    loop {
        let asked = tokio::select! {
            Some(()) = hangup.recv() => true,
            () = sleep(LOOK_EVERY) => false,
        };
        if !asked {
            let (files, before) = (files.clone(), seen.clone());
            let Ok(now) = spawn_blocking(move || before.again(&files.paths())).await else { continue };
            // Somebody may be in the middle of writing: what counts has stayed the same from one look to the next.
            let settled = now == last;
            last = now;
            if !settled || last == seen {
                continue;
            }
        }
        let files = files.clone();
        let Ok((read, now)) = spawn_blocking(move || Config::look(&files.paths(), &environment())).await else {
            continue;
        };
        (seen, last) = (now.clone(), now);
        reload.apply(read);
    }
}
