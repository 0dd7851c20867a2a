//! What SET, PREPARE, DEALLOCATE and DISCARD leave open until the words behind them have told.
//!
//! SET alone says little: LOCAL, SESSION, ROLE, TRANSACTION decide, and a dot behind one of them makes it the name of an
//! extension's setting instead. These few states know; each step says what is open next, and what is certain by now.

use super::effects::Effect;
use super::words::Key;

/// What the previous words of the statement leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Nothing,
    /// SET: the next word tells what is set.
    Set,
    /// SET SESSION.
    SetSession,
    /// SET LOCAL: what is set ends with the transaction, except for what the next word may name.
    SetLocal,
    /// SET name, SET LOCAL name, SET TRANSACTION, SET CONSTRAINTS: a dot makes it a setting of an extension.
    Scope,
    /// PREPARE: TRANSACTION or a name.
    Prepare,
    /// PREPARE TRANSACTION: a literal follows, or it was a name.
    PrepareTransaction,
    /// DEALLOCATE: PREPARE, ALL or a name.
    Deallocate,
    /// DISCARD: ALL or a kind of things.
    Discard,
}

impl Open {
    /// A keyword came that this waits for, if it is one.
    #[inline]
    pub(super) fn keyword(self, key: Key) -> Option<(Self, Option<Effect>)> {
        Some(match (self, key) {
            (Self::Set, Key::Session) => (Self::SetSession, None),
            // These end with the transaction.
            (Self::Set, Key::Local) => (Self::SetLocal, Some(Effect::Local)),
            (Self::Set, Key::Transaction | Key::Constraints) => (Self::Scope, None),
            (Self::Prepare, Key::Transaction) => (Self::PrepareTransaction, None),
            (Self::Deallocate, Key::Prepare) => (Self::Deallocate, None),
            (Self::Deallocate | Self::Discard, Key::All) => (Self::Nothing, Some(Effect::Deallocate)),
            // Tables made while pg_temp comes first are temporary; the seed has no value to go back to.
            (Self::SetLocal, Key::SearchPath) => (Self::Scope, Some(Effect::Temporary)),
            (Self::SetLocal, Key::Seed) => (Self::Scope, Some(Effect::Random)),
            (Self::Set | Self::SetSession, Key::Seed) => (Self::Scope, Some(Effect::Random)),
            (Self::Set | Self::SetSession, Key::Role | Key::Authorization) => (Self::Scope, Some(Effect::Role)),
            _ => return None,
        })
    }

    /// Something else came that decides it: a word that is no keyword, or a literal.
    #[inline]
    pub(super) fn settled(self) -> (Self, Option<Effect>) {
        match self {
            Self::Nothing | Self::Scope | Self::Discard => (Self::Nothing, None),
            Self::Set | Self::SetSession => (Self::Scope, Some(Effect::Settings)),
            Self::Prepare | Self::PrepareTransaction | Self::Deallocate => (Self::Nothing, Some(Effect::Prepare)),
            Self::SetLocal => (Self::Scope, None),
        }
    }
}
