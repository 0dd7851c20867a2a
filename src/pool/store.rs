//! Idle servers, kept in bb8, newest last.
//!
//! bb8 is the connection manager and the idle store, and decides nothing: the scheduler asks it for a server only when one
//! is idle, adds every new one itself, and closes by emptying the shell that bb8 then drops. bb8's own waiting, minimum,
//! reaping and retries are off (docs/adr/0001).

use std::future::Future;
use std::pin::pin;
use std::sync::Weak;
use std::task::{Context, Poll, Waker};

use bb8::ManageConnection;
use tokio::time::Instant;

use super::entry::Entry;
use super::opening::Failed;
use super::{Pool, opening};

/// What bb8 keeps: a server, or the empty shell of one that was taken out to be closed.
#[derive(Debug)]
pub(super) struct Shell(pub(super) Option<Box<Entry>>);

/// Tells bb8 how connections are made, and which are not worth keeping.
#[derive(Debug)]
pub(super) struct Manager(Weak<Pool>);

impl ManageConnection for Manager {
    type Connection = Shell;
    type Error = Failed;

    /// Opens a server. The scheduler has counted its slot before.
    async fn connect(&self) -> Result<Shell, Failed> {
        match self.0.upgrade() {
            Some(pool) => opening::shared(&pool).await.map(|entry| Shell(Some(entry))),
            None => Ok(Shell(None)),
        }
    }

    async fn is_valid(&self, _: &mut Shell) -> Result<(), Failed> {
        Ok(())
    }

    fn has_broken(&self, shell: &mut Shell) -> bool {
        shell.0.is_none()
    }
}

/// A server on loan from the store; dropping it gives it back, unless its shell is empty.
pub(super) type Borrowed = bb8::PooledConnection<'static, Manager>;

/// The idle servers of one pool.
#[derive(Debug)]
pub(super) struct Store {
    manager: Manager,
    idle: bb8::Pool<Manager>,
}

impl Store {
    pub(super) fn new(pool: Weak<Pool>) -> Self {
        let idle = bb8::Pool::builder()
            .max_size(u32::MAX)
            .min_idle(None)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(false)
            .retry_connection(false)
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(Manager(Weak::clone(&pool)));
        Self { manager: Manager(pool), idle }
    }

    /// Opens a server, which is not in the store yet.
    pub(super) async fn open(&self) -> Result<Shell, Failed> {
        self.manager.connect().await
    }

    /// Puts a new server in.
    pub(super) fn add(&self, shell: Shell) {
        if self.idle.add(shell).is_err() {
            unreachable!("the store's own limit is above every ceiling");
        }
    }

    /// How many are idle.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.idle.state().idle_connections
    }

    /// Takes the one that was given back last.
    #[inline]
    pub(super) fn take(&self) -> Option<Borrowed> {
        if self.len() == 0 {
            return None;
        }
        // Under the scheduler's lock nobody else takes, and one is idle: bb8 answers at the first poll.
        let got = pin!(self.idle.get_owned()).poll(&mut Context::from_waker(Waker::noop()));
        match got {
            Poll::Ready(Ok(borrowed)) => Some(borrowed),
            _ => None,
        }
    }

    /// Since when the one that was given back first has been idle.
    pub(super) fn longest_idle(&self) -> Option<Instant> {
        let mut longest = None;
        if self.len() > 0 {
            self.take_out(|entry| {
                longest.get_or_insert(entry.idle_since);
                false
            });
        }
        longest
    }

    /// Takes the one out that was given back first.
    pub(super) fn take_longest_idle(&self) -> Option<Box<Entry>> {
        let mut taken = false;
        self.take_out(|_| !std::mem::replace(&mut taken, true)).pop()
    }

    /// Takes every one that is not `wanted` (asked oldest first) out for good; the others keep their order.
    // Boxed where it lives: a shell of bb8 moves often.
    #[allow(clippy::vec_box)]
    pub(super) fn take_out(&self, mut unwanted: impl FnMut(&mut Entry) -> bool) -> Vec<Box<Entry>> {
        let mut all: Vec<Borrowed> = std::iter::from_fn(|| self.take()).collect();
        let mut out = Vec::new();
        // Given back oldest first, the newest is on top again.
        while let Some(mut borrowed) = all.pop() {
            if borrowed.0.as_mut().is_none_or(|entry| unwanted(entry)) {
                out.extend(borrowed.0.take());
            }
        }
        out
    }
}
