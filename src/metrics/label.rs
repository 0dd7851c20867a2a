//! Label values: the fixed ones, typed, and what becomes of names that come from outside.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A label whose values are all known beforehand, so that children can be resolved beforehand too.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The value as it is exported.
    fn as_str(self) -> &'static str;

    /// The value's place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])+ $name:ident { $($(#[$value_doc:meta])+ $value:ident = $text:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])+ $value,)+
        }
        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What a client is doing; it is in one state at a time, so their sum is the number of clients.
    ClientState {
        /// From the accepted connection to the end of its login.
        Login = "login",
        /// Logged in, holds no server and asks for none.
        Idle = "idle",
        /// Waits for a server.
        Waiting = "waiting",
        /// Holds a server until its transaction ends, or in session mode until it leaves.
        Active = "active",
        /// Keeps its server beyond the transaction.
        Pinned = "pinned",
    }
}

label! {
    /// How a client's login ended.
    LoginResult {
        /// The client is in.
        Ok = "ok",
        /// Wrong user or password, or a way in that is not open to it.
        Denied = "denied",
        /// No route has the database that was asked for.
        UnknownDatabase = "unknown_database",
        /// PostgreSQL was needed and could not be had, or greenroom is draining.
        Unavailable = "unavailable",
        /// The login timeout passed.
        Timeout = "timeout",
        /// The client left, or broke the protocol.
        Broken = "broken",
    }
}

label! {
    /// What a connection to PostgreSQL is doing; each counts against `greenroom.maxServerConnections`.
    ServerState {
        /// From dialling to the end of its login.
        Opening = "opening",
        /// Clean and free to be lent.
        Idle = "idle",
        /// On loan.
        Leased = "leased",
        /// Listens for the channels of all clients of its database.
        Listening = "listening",
        /// Being closed; PostgreSQL has not closed its end yet.
        Closing = "closing",
    }
}

label! {
    /// Why a client that listens was ended.
    DeafReason {
        /// The connection that listened for it was lost.
        Lost = "lost",
        /// More notifications waited for it than are kept.
        Slow = "slow",
        /// What it listens to could not be told any more: an UNLISTEN in an unusual place, or another client_encoding.
        Unclear = "unclear",
    }
}

label! {
    /// How an attempt to connect to PostgreSQL ended.
    ConnectResult {
        /// Logged in.
        Ok = "ok",
        /// PostgreSQL could not be reached, or refused.
        Failed = "failed",
        /// The create timeout passed.
        Timeout = "timeout",
    }
}

label! {
    /// Where a password that changes comes from.
    PasswordSource {
        /// A file that the configuration names by `$file`.
        File = "file",
        /// A `passwordCommand`.
        Command = "command",
    }
}

label! {
    /// How the renewal of a password ended.
    RenewalResult {
        /// There is a new one.
        Ok = "ok",
        /// The file cannot be read, or the command gave none.
        Failed = "failed",
        /// The command ran for too long.
        Timeout = "timeout",
    }
}

label! {
    /// How a reading of the changed configuration ended.
    ReloadResult {
        /// All that is new is in force.
        Ok = "ok",
        /// The limits are in force, the rest needs a restart.
        Partial = "partial",
        /// It is wrong, and nothing has changed.
        Failed = "failed",
    }
}

/// What the names beyond the cap are folded into.
pub const OTHER: &str = "other";

/// Stands for a name that is not known.
pub const UNKNOWN: &str = "unknown";

/// PostgreSQL cuts its own names at this length.
const MAX_NAME_BYTES: usize = 63;

/// The longest host name there is.
const MAX_ADDRESS_BYTES: usize = 253;

/// A plugin's or database's name as a label: printable ASCII, bounded, never empty.
pub(super) fn name(name: &str) -> Cow<'_, str> {
    printable(name, MAX_NAME_BYTES)
}

/// A server's address as a label.
pub(super) fn address(address: &str) -> Cow<'_, str> {
    printable(address, MAX_ADDRESS_BYTES)
}

fn printable(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed(UNKNOWN); // an empty label is a missing one to Prometheus
    }
    if text.len() <= max_bytes && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(max_bytes).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect())
}

/// Children by name, of which only so many have a name of their own.
pub(super) struct Capped<T> {
    max: usize,
    /// Guards the map only: it is held for a look-up, never while a metric is counted.
    children: Mutex<BTreeMap<Box<str>, Arc<T>>>,
}

impl<T> Capped<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { max, children: Mutex::new(BTreeMap::new()) }
    }

    /// The child of that name, made when it is new; the one of [`OTHER`] when it is new and the cap is reached.
    pub(super) fn get(&self, name: &str, make: impl FnOnce(&str) -> T) -> Arc<T> {
        let mut children = self.children.lock();
        let spare = |name: &str| name == OTHER || name == UNKNOWN;
        let full = || children.keys().filter(|name| !spare(name)).count() >= self.max;
        let label = if !children.contains_key(name) && !spare(name) && full() { OTHER } else { name };
        if let Some(child) = children.get(label) {
            return child.clone();
        }
        let child = Arc::new(make(label));
        children.insert(label.into(), child.clone());
        child
    }

    /// Every child, by name.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.children.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_index_says() {
        fn check<L: Label + PartialEq + std::fmt::Debug>() {
            for (index, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), index);
            }
        }
        check::<ClientState>();
        check::<LoginResult>();
        check::<ServerState>();
        check::<DeafReason>();
        check::<ConnectResult>();
        check::<PasswordSource>();
        check::<RenewalResult>();
        check::<ReloadResult>();
    }

    #[test]
    fn names_become_printable_bounded_and_never_empty() {
        assert_eq!(name("backstage_plugin_catalog-2"), "backstage_plugin_catalog-2");
        assert_eq!(name("käse\n\u{202e}x y"), "k_se__x_y");
        assert_eq!(name(&"é".repeat(100)), "_".repeat(63));
        assert_eq!(name(""), "unknown");
        assert_eq!(address("[::1]:5432"), "[::1]:5432");
    }
}
