//! What PostgreSQL itself counts, looked at all the time by somebody who is not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use greenroom::config::ListenAddress;
use tokio::time::{MissedTickBehavior, interval};

use super::{Client, Stage};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(10);

/// Somebody who looks into pg_stat_activity every 10 ms, on a thread of his own so that a busy test does not keep him from
/// it; a PostgreSQL that is away is waited for.
#[derive(Debug)]
pub(crate) struct Observer {
    seen: Arc<Seen>,
    looking: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    most: AtomicUsize,
    looks: AtomicUsize,
    enough: AtomicBool,
}

impl Observer {
    /// Counts the connections of these logins from now on, directly and as the superuser.
    pub(crate) fn of(stage: &Stage, logins: &[&str]) -> Self {
        let (address, password) = (stage.address(), stage.postgres().password().to_owned());
        let logins = logins.iter().map(|login| format!("'{login}'")).collect::<Vec<_>>().join(", ");
        let count = format!(
            "select count(*) from pg_stat_activity where backend_type = 'client backend' and usename in ({logins})"
        );
        let seen = Arc::<Seen>::default();
        let theirs = Arc::clone(&seen);
        let looking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(look(&theirs, &address, &password, &count));
        });
        Self { seen, looking: Some(looking) }
    }

    /// The most connections so far that were there at once.
    pub(crate) fn most(&self) -> usize {
        self.seen.most.load(Relaxed)
    }

    /// Looks no more: the most connections that were there at once, and how often that was looked at.
    pub(crate) fn end(mut self) -> (usize, usize) {
        self.stop();
        (self.most(), self.seen.looks.load(Relaxed))
    }

    fn stop(&mut self) {
        self.seen.enough.store(true, Relaxed);
        if let Some(looking) = self.looking.take() {
            looking.join().expect("looking does not fail");
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
        self.seen.enough.store(true, Relaxed);
    }
}

async fn look(seen: &Seen, address: &ListenAddress, password: &str, count: &str) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = None;
    while !seen.enough.load(Relaxed) {
        ticks.tick().await;
        if client.is_none() {
            client = Client::try_connect(address, "postgres", password, "postgres").await.ok();
        }
        let Some(connected) = &client else { continue };
        match connected.simple_query(count).await {
            Ok(messages) => {
                let row = messages.iter().find_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                    _ => None,
                });
                seen.most.fetch_max(row.expect("a count is a number"), Relaxed);
                seen.looks.fetch_add(1, Relaxed);
            }
            Err(_) => client = None,
        }
    }
}
