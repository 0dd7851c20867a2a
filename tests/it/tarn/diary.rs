//! What happened, and when.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use tokio::time::Instant;

/// Something that happened, in milliseconds since the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry(pub(super) u64, pub(super) String);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// A diary begins with the test.
#[derive(Debug)]
pub(super) struct Diary {
    pub(super) began: Instant,
    entries: Mutex<Vec<Entry>>,
}

impl Diary {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), entries: Mutex::default() }
    }

    pub(super) fn note(&self, what: String) {
        let at = self.began.elapsed().as_millis().try_into().expect("a test is short");
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(Entry(at, what));
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connections that lie idle now, the one on top last.
    pub(super) fn idle(&self) -> Vec<usize> {
        let mut idle = Vec::new();
        for Entry(_, what) in self.entries() {
            let mut words = what.split(' ');
            let (verb, server) = (words.next(), words.next().and_then(|server| server.parse().ok()));
            match (verb, server) {
                (Some("open" | "back"), Some(server)) => idle.push(server),
                (Some("lent" | "closed" | "died"), Some(server)) => idle.retain(|other| *other != server),
                _ => {}
            }
        }
        idle
    }
}
