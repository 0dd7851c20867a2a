//! A clock that stands still while anything moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

/// How often sockets are asked for news before time may pass. The longest chain of messages of one moment is a login's, with
/// a few dead connections before it.
const LOOKS: usize = 16;

/// No test goes on for longer, by this clock.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Runs `test` by a clock that jumps to the next timer whenever nobody has anything to do.
///
/// Tokio's own paused clock jumps as soon as all tasks wait, be it for bytes that are there already. A Unix socket hands bytes
/// over at once: when sockets were asked often enough in a row, none are on their way.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let (news, looks) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let look_again = Arc::clone(&news);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(move || {
            // With a task to run the runtime asks its sockets, and does not wait.
            if looks.fetch_add(1, Ordering::Relaxed) % LOOKS != 0 {
                look_again.notify_one();
            }
        })
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::spawn(async move {
            loop {
                news.notified().await;
            }
        });
        timeout(LONGEST, test).await.expect("a test ends some day")
    })
}

/// Lets everything happen that needs no time.
pub(super) async fn settle() {
    for _ in 0..LOOKS {
        yield_now().await;
    }
}
