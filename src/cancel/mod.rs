//! Cancel keys: a client's key leads to the server that is leased to it at that moment, and never to a neighbour's.
//!
//! A session's place ([`CancelPlace`]) says under one lock whether it waits for a server or which one it has. A cancel marks
//! the server as being cancelled under that same lock, so that a lease which ends a moment later knows of it and the
//! server is not lent on before the cancel has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::server::{CancelTarget, Cancelling};
use crate::session::LOWEST_PID;

/// Bytes of a secret, as protocol 3.0 has them.
const SHORT_SECRET_BYTES: usize = 4;

/// As PostgreSQL has them in protocol 3.2.
const LONG_SECRET_BYTES: usize = 32;

/// The keys of every session of a proxy.
#[derive(Debug, Default)]
pub struct CancelKeys(Mutex<Keys>);

#[derive(Debug)]
struct Keys {
    /// Process numbers of sessions: this one was the last, counted from [`LOWEST_PID`], and the next is so far away.
    last: i32,
    step: i32,
    sessions: HashMap<i32, (Arc<[u8]>, Arc<CancelPlace>)>,
}

impl Default for Keys {
    /// Any beginning and any odd step: each number comes once in a billion, and those of another greenroom in front of the same
    /// PostgreSQL are hardly ever given to sessions of this one.
    fn default() -> Self {
        let mut rng = rand::rng();
        Self {
            last: rng.random_range(0..LOWEST_PID),
            step: rng.random_range(0..LOWEST_PID) | 1,
            sessions: HashMap::new(),
        }
    }
}

impl Keys {
    fn next_pid(&mut self) -> i32 {
        // There are 2^30 numbers from LOWEST_PID on, and an odd step leads to all of them.
        self.last = self.last.wrapping_add(self.step) & (LOWEST_PID - 1);
        LOWEST_PID + self.last
    }
}

/// What a session is doing, as far as a cancel is concerned.
#[derive(Debug, Default)]
pub struct CancelPlace {
    /// What the session waits for or has.
    doing: Mutex<Doing>,
    cancelled: AtomicBool,
    wake: Notify,
    ended: AtomicBool,
    /// Cancelled when the session is ended.
    news: Mutex<CancellationToken>,
}

#[derive(Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    Waiting,
    Leased(Arc<CancelTarget>),
}

/// A session's key; it is forgotten when this is dropped.
#[derive(Debug)]
pub struct CancelKey {
    keys: Arc<CancelKeys>,
    /// The session's process number.
    pub pid: i32,
    /// What a cancel request must bear.
    pub secret: Arc<[u8]>,
    /// The session's place.
    pub place: Arc<CancelPlace>,
}

impl CancelKeys {
    /// A new session's key, unlike that of any other session; a long one is for clients that take it.
    pub fn issue(self: &Arc<Self>, long: bool) -> CancelKey {
        let mut secret = [0; LONG_SECRET_BYTES];
        rand::rng().fill(&mut secret);
        let secret: Arc<[u8]> = secret[..if long { LONG_SECRET_BYTES } else { SHORT_SECRET_BYTES }].into();
        let place = Arc::<CancelPlace>::default();
        let mut keys = self.0.lock();
        let mut pid = keys.next_pid();
        while keys.sessions.contains_key(&pid) {
            pid = keys.next_pid();
        }
        keys.sessions.insert(pid, (Arc::clone(&secret), Arc::clone(&place)));
        CancelKey { keys: Arc::clone(self), pid, secret, place }
    }

    /// Cancels what the session with this key does. Returns once the cancel has ended; a wrong key does nothing.
    pub async fn cancel(&self, pid: i32, secret: &[u8]) {
        let place = match self.0.lock().sessions.get(&pid) {
            Some((expected, place)) if is_equal(expected, secret) => Arc::clone(place),
            _ => {
                tracing::debug!(pid, "cancel request with an unknown key");
                return;
            }
        };
        place.cancel().await;
    }
}

impl CancelPlace {
    /// The session waits for a server.
    pub fn waits(&self) {
        *self.doing.lock() = Doing::Waiting;
    }

    /// The session has this server now.
    pub fn leases(&self, target: Arc<CancelTarget>) {
        *self.doing.lock() = Doing::Leased(target);
        self.cancelled.store(false, Ordering::Release);
    }

    /// The session has no server. From here on no cancel can begin for the one it had.
    pub fn rests(&self) {
        *self.doing.lock() = Doing::Nothing;
        self.cancelled.store(false, Ordering::Release);
    }

    /// Cancels what the session does. Returns once the cancel has ended.
    pub async fn cancel(&self) {
        let cancelling = match &*self.doing.lock() {
            Doing::Nothing => return,
            Doing::Waiting => {
                self.cancelled.store(true, Ordering::Release);
                self.wake.notify_one();
                return;
            }
            Doing::Leased(target) => target.begin(),
        };
        if let Err(error) = cancelling.send().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cancel request did not reach PostgreSQL");
        }
    }

    /// The server that the session has now, if any, for a signal that PostgreSQL sends: until this is dropped nobody else has
    /// it.
    pub fn begin_signal(&self) -> Option<Cancelling> {
        match &*self.doing.lock() {
            Doing::Leased(target) => Some(target.begin()),
            Doing::Nothing | Doing::Waiting => None,
        }
    }

    /// Ends the session, as pg_terminate_backend() does.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.news.lock().cancel();
    }

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// This is cancelled when the session is ended. To be followed by a look at [`Self::is_ended`].
    pub fn wakes(&self, news: CancellationToken) {
        *self.news.lock() = news;
    }

    /// Waits until a cancel comes while the session waits for a server.
    pub async fn cancelled_while_waiting(&self) {
        while !self.cancelled.swap(false, Ordering::AcqRel) {
            self.wake.notified().await;
        }
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.keys.0.lock().sessions.remove(&self.pid);
    }
}

/// Compares without telling by its time where the difference is.
fn is_equal(expected: &[u8], given: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    bool::from(expected.ct_eq(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unlike_each_other_and_above_every_real_process_number() {
        let keys = Arc::<CancelKeys>::default();
        let (first, second) = (keys.issue(false), keys.issue(true));
        assert_eq!([first.secret.len(), second.secret.len()], [4, 32]);
        assert!(first.pid >= LOWEST_PID && second.pid >= LOWEST_PID && first.pid != second.pid);
    }

    #[test]
    fn no_number_comes_again_soon_and_another_process_has_others() {
        let numbers = || {
            let mut keys = Keys::default();
            (0..10_000).map(|_| keys.next_pid()).collect::<std::collections::HashSet<_>>()
        };
        let (one, other) = (numbers(), numbers());
        assert_eq!(one.len(), 10_000);
        assert!(one.iter().all(|pid| *pid >= LOWEST_PID));
        assert!(one.intersection(&other).count() < 1000);
    }

    #[test]
    fn a_key_is_forgotten_with_its_session() {
        let keys = Arc::<CancelKeys>::default();
        let pid = keys.issue(false).pid;
        assert!(!keys.0.lock().sessions.contains_key(&pid));
    }

    #[tokio::test]
    async fn whoever_waits_for_news_is_told_that_the_session_was_ended() {
        let keys = Arc::<CancelKeys>::default();
        let (place, news) = (keys.issue(false).place.clone(), CancellationToken::new());
        place.wakes(news.clone());
        assert!(!place.is_ended());
        place.end();
        news.cancelled().await;
        assert!(place.is_ended());
    }

    #[tokio::test]
    async fn a_waiting_session_is_woken_by_its_own_key_only() {
        let keys = Arc::<CancelKeys>::default();
        let key = keys.issue(true);
        key.place.waits();
        let wrong: Vec<_> = key.secret.iter().map(|byte| byte.wrapping_add(1)).collect();
        for wrong in [&wrong, &key.secret[..4], &[]] {
            keys.cancel(key.pid, wrong).await;
            assert!(!key.place.cancelled.load(Ordering::Acquire));
        }
        keys.cancel(key.pid, &key.secret).await;
        key.place.cancelled_while_waiting().await;
    }
}
