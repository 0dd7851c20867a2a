//! Who is there: every client by the number that it knows as its own process's.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cancel::{CancelKey, CancelPlace};
use crate::pool::Member;

/// Every client that has logged in.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<i32, Known>>);

/// What there is to be known of a client for a signal to it.
#[derive(Clone)]
pub(super) struct Known {
    /// Its right to borrow servers: what stands in for one that holds none.
    pub(super) member: Member,
    /// What it waits for, or has.
    pub(super) place: Arc<CancelPlace>,
}

/// A client's place in the registry, until this is dropped.
pub(super) struct Registered {
    registry: Arc<Registry>,
    pid: i32,
}

impl Registry {
    /// A client has logged in.
    pub(super) fn enter(self: &Arc<Self>, key: &CancelKey, member: &Member) -> Registered {
        let known = Known { member: member.clone(), place: Arc::clone(&key.place) };
        self.0.lock().insert(key.pid, known);
        Registered { registry: Arc::clone(self), pid: key.pid }
    }

    /// The client with this number.
    pub(super) fn find(&self, pid: i32) -> Option<Known> {
        self.0.lock().get(&pid).cloned()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.0.lock().remove(&self.pid);
    }
}
