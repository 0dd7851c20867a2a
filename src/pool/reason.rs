//! Why a server connection was closed.

/// Why a server connection was closed; the words are those of the metric's label and of docs/metrics.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was idle for longer than idleTimeoutMillis.
    Idle,
    /// It was older than maxConnectionLifetimeMillis.
    Lifetime,
    /// PostgreSQL's configuration has changed since it was opened: new ones begin with other settings.
    Reconfigured,
    /// Another pool needed its place under the ceiling.
    Evicted,
    /// The ceiling was lowered, and it stood above.
    Ceiling,
    /// A statement wanted nobody to be connected to its database.
    DatabaseChange,
    /// The session that had kept it for itself ended.
    Pinned,
    /// Its client left in the middle of a transaction.
    ClientGone,
    /// It listened for clients of which none is left.
    Unheard,
    /// PostgreSQL ended it.
    ServerEnded,
    /// The database got code of its own while it was lent, which may have left anything behind.
    CodeChanged,
    /// What it said could not be accounted for.
    Doubtful,
    /// A lease was dropped before anybody could say that it was clean.
    Abandoned,
    /// It had logged in, and was wanted no more, or did not answer what is asked of every new one.
    Unfinished,
    /// greenroom is shutting down.
    Shutdown,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::Idle,
        Self::Lifetime,
        Self::Reconfigured,
        Self::Evicted,
        Self::Ceiling,
        Self::DatabaseChange,
        Self::Pinned,
        Self::ClientGone,
        Self::Unheard,
        Self::ServerEnded,
        Self::CodeChanged,
        Self::Doubtful,
        Self::Abandoned,
        Self::Unfinished,
        Self::Shutdown,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Reconfigured => "reconfigured",
            Self::Evicted => "evicted",
            Self::Ceiling => "ceiling",
            Self::DatabaseChange => "database_change",
            Self::Pinned => "pinned",
            Self::ClientGone => "client_gone",
            Self::Unheard => "unheard",
            Self::ServerEnded => "server_ended",
            Self::CodeChanged => "code_changed",
            Self::Doubtful => "doubtful",
            Self::Abandoned => "abandoned",
            Self::Unfinished => "unfinished",
            Self::Shutdown => "shutdown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::PinReason;

    #[test]
    fn the_docs_name_every_reason() {
        let docs = include_str!("../../docs/metrics.md");
        let reasons =
            CloseReason::ALL.into_iter().map(CloseReason::as_str).chain(PinReason::all().map(PinReason::as_str));
        for reason in reasons {
            assert!(docs.contains(&format!("| `{reason}` |")), "{reason}");
        }
    }
}
