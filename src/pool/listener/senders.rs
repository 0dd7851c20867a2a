//! Who has sent what is heard: PostgreSQL tells only from which server a notification comes.
//!
//! A server that may send something is known by its client's number from before the client's statement goes out until everything
//! that it has sent was heard; the next client has it after that.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Listener;

/// The servers of one PostgreSQL that may send something, and who listens there.
#[derive(Debug, Default)]
pub(in crate::pool) struct Senders {
    /// By the process of the server: the number of its client.
    clients: Mutex<HashMap<i32, i32>>,
    /// With the physical database of each.
    listeners: Mutex<Vec<(Arc<str>, Arc<Listener>)>>,
}

impl Senders {
    /// What this server sends from now on is this client's.
    pub(in crate::pool) fn sends(&self, server: i32, client: i32) {
        self.clients.lock().insert(server, client);
    }

    /// Whose it is what this server has sent, if that is known.
    pub(super) fn client_of(&self, server: i32) -> Option<i32> {
        self.clients.lock().get(&server).copied()
    }

    /// Everything that the server has sent for this client was heard.
    pub(in crate::pool) fn forget(&self, server: i32, client: i32) {
        let mut clients = self.clients.lock();
        if clients.get(&server) == Some(&client) {
            clients.remove(&server);
        }
    }

    /// There is somebody who listens in this database.
    pub(super) fn heard_by(&self, database: Arc<str>, listener: Arc<Listener>) {
        self.listeners.lock().push((database, listener));
    }

    /// One for each who listens in this database: ready, or dropped, once everything was heard there that has been committed.
    pub(in crate::pool) fn unheard(&self, database: &str) -> Vec<oneshot::Receiver<()>> {
        let listeners = self.listeners.lock();
        listeners.iter().filter(|(of, _)| **of == *database).filter_map(|(_, listener)| listener.sync()).collect()
    }
}
