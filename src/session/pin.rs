//! Why a session keeps its server beyond the transaction.

use std::fmt;

use crate::sql::Effect;

/// Why a session keeps its server; the words are those of the metric's label and of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// The plugin's pool is in session mode.
    SessionMode,
    /// The client logged in with settings of its own (`options`, `DateStyle`, a client_encoding, ...).
    StartupSettings,
    /// The database has functions or views that may leave state where no text shows it.
    DatabaseCode,
    /// Prepared statements of the protocol that only a server of the session's own can keep: too large, too many, or with a
    /// literal like 'now' that means the time when it was parsed.
    PreparedStatement,
    /// The text of a statement.
    Statement(Effect),
}

impl PinReason {
    /// Every reason, for docs and tests.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::SessionMode, Self::StartupSettings, Self::DatabaseCode, Self::PreparedStatement].into_iter().chain(
            Effect::ALL
                .into_iter()
                .filter(|effect| {
                    ![Effect::Code, Effect::SequenceRead, Effect::Public, Effect::Deallocate].contains(effect)
                })
                .map(Self::Statement),
        )
    }

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionMode => "session_mode",
            Self::StartupSettings => "startup_settings",
            Self::DatabaseCode => "database_code",
            Self::PreparedStatement => "prepared_statement",
            Self::Statement(effect) => match effect {
                Effect::Settings => "settings",
                Effect::Role => "role",
                Effect::Listen => "listen",
                Effect::Temporary => "temporary_table",
                Effect::AdvisoryLock => "advisory_lock",
                Effect::HeldCursor => "held_cursor",
                Effect::Prepare => "sql_prepare",
                Effect::Sequence | Effect::SequenceRead => "sequence",
                Effect::Random => "random_seed",
                Effect::Load => "load",
                Effect::Procedural => "procedural_code",
                Effect::Unreadable => "unreadable_text",
                // Never a reason to pin: it is closed and asked about instead.
                Effect::Code => "schema_change",
                // Nor is this: it leaves less behind than there was.
                Effect::Deallocate => "deallocate",
                // Nor is this: it is only counted.
                Effect::Public => "public",
            },
        }
    }
}

impl fmt::Display for PinReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
