//! Why a session keeps its server beyond the transaction, and what a server can be asked about before it does not.

use std::fmt;

use super::unnamed::Place;
use super::{Prepared, Session};
use crate::sql::{Effect, Effects};

/// What a server tells when it is asked. Everything else stays until the session ends or discards it.
const TOLD: Effects = Effects::of(&[
    Effect::Role,
    Effect::Settings,
    Effect::Meaning,
    Effect::Temporary,
    Effect::AdvisoryLock,
    Effect::HeldCursor,
    Effect::Prepare,
    Effect::Reset,
    Effect::Release,
]);

/// What leaves uncertain which settings a server has until it is asked.
const SETS: Effects = Effects::of(&[Effect::Settings, Effect::Procedural, Effect::Unreadable]);

/// What a session may keep a server for whose statements are still what they are to others: none of it changes what a statement
/// means, or who can see its name. (A setting on which a literal depends has another effect beside this one.)
const LEAVES_STATEMENTS: Effects =
    Effects::of(&[Effect::AdvisoryLock, Effect::HeldCursor, Effect::Settings, Effect::Reset, Effect::Release]);

/// What is no reason to keep a server.
const NO_REASON: Effects = Effects::of(&[
    Effect::Meaning,
    Effect::Code,
    Effect::Public,
    Effect::Deallocate,
    Effect::Reset,
    Effect::Release,
    Effect::Local,
    Effect::Process,
    Effect::Notify,
]);

/// Why a session keeps its server; the words are those of the metric's label and of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// The plugin's pool is in session mode.
    SessionMode,
    /// The client logged in with settings of its own (`options`, `DateStyle`, a client_encoding, ...).
    StartupSettings,
    /// The database has functions or views that may leave state where no text shows it.
    DatabaseCode,
    /// Prepared statements of the protocol that have names.
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
                .filter(|effect| !NO_REASON.contains(*effect) && *effect != Effect::SequenceRead)
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
                Effect::Placeholder => "extension_setting",
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
                Effect::Reading => "reading_of_texts",
                // Never a reason to pin: it is closed and asked about instead.
                Effect::Code => "schema_change",
                // Nor is this: it leaves less behind than there was.
                Effect::Deallocate => "deallocate",
                // Nor is this: it is only counted.
                Effect::Public => "public",
                // Nor are these: they leave nothing new.
                Effect::Reset => "reset",
                Effect::Release => "release",
                Effect::Local => "local",
                Effect::Process => "process",
                Effect::Notify => "notify",
                Effect::Meaning => "meaning",
            },
        }
    }
}

/// Whether a session keeps its server, and for all of what.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pin {
    /// The first reason, which is the one that is told.
    reason: Option<PinReason>,
    /// What statements may have left on the server since.
    left: Effects,
    /// There is a reason that no statement can end.
    otherwise: bool,
    /// The client's statements have its own names there, and could have been prepared elsewhere.
    for_names: bool,
}

impl Pin {
    /// What was to be left behind never came about: no server was had for it.
    pub(super) fn never_was(&mut self) {
        if let Some(PinReason::Statement(_) | PinReason::PreparedStatement | PinReason::DatabaseCode) = self.reason {
            *self = Self::default();
        }
    }

    /// Whether there is a pin that DISCARD ALL ends. The server that was kept is closed then, with all that it does not throw
    /// away (a seed, settings of extensions).
    pub(super) fn is_discarded(&self) -> bool {
        use PinReason::{DatabaseCode, SessionMode, StartupSettings};
        self.reason.is_some_and(|reason| !matches!(reason, SessionMode | StartupSettings | DatabaseCode))
    }

    /// A statement may leave this behind.
    pub(super) fn leaves(&mut self, mut effects: Effects) {
        // These are looked after elsewhere: they are not left in the session.
        effects.remove(Effect::Code);
        effects.remove(Effect::Deallocate);
        effects.remove(Effect::Local);
        // What only takes away is of interest where there is something.
        self.left.extend(effects);
        self.reason = self.reason.or_else(|| first_reason(effects));
        if self.reason.is_none() {
            self.left = Effects::NONE;
        }
    }
}

/// The most telling one names the pin.
fn first_reason(effects: Effects) -> Option<PinReason> {
    effects.iter().find(|effect| !NO_REASON.contains(*effect)).map(PinReason::Statement)
}

impl Session {
    /// Why the session keeps its server, once it does.
    #[inline]
    pub fn pin(&self) -> Option<PinReason> {
        self.pin.reason
    }

    /// Keeps the server until the client ends. The first reason is the one that is told.
    pub fn pin_for(&mut self, reason: PinReason) {
        self.pin.reason.get_or_insert(reason);
        match reason {
            PinReason::Statement(effect) => self.pin.left.insert(effect),
            _ => self.pin.otherwise = true,
        }
    }

    /// Keeps the server for statements that have the client's own names there, until nothing else is left and all of them can be
    /// prepared elsewhere.
    pub(super) fn pin_for_names(&mut self) {
        self.pin.reason.get_or_insert(PinReason::PreparedStatement);
        self.pin.for_names = true;
    }

    /// The settings that literals depend on have changed, or may have, on a server that is kept.
    pub(super) fn literals_may_change(&mut self) {
        self.pin.left.insert(Effect::Meaning);
    }

    /// The settings that literals depend on, if they are known for certain.
    #[inline]
    pub(super) fn settings_of_literals(&self) -> Option<u64> {
        let is_certain = !self.pin.left.contains(Effect::Meaning) && !self.effects.contains(Effect::Local);
        is_certain.then_some(self.settings.literals)
    }

    /// Whether the session keeps no server, or only for what its statements have nothing to do with.
    #[inline]
    pub(super) fn pin_leaves_statements(&self) -> bool {
        let Pin { reason, left, otherwise, for_names } = self.pin;
        reason.is_none() || (!otherwise && !for_names && left.is_within(LEAVES_STATEMENTS))
    }

    /// Whether only a server that was opened with the session's own startup parameters will do: where settings may go back
    /// to what they were at the start, and for whatever stays until the session ends.
    pub fn needs_own_server(&self) -> bool {
        self.pin.otherwise
            || self.pin.for_names
            || (self.pin.reason.is_some() && !self.pin.left.is_within(TOLD))
            || self.pin.left.contains(Effect::Reset)
    }

    /// Whether a server could tell everything that the session may have left on it.
    pub fn can_be_asked(&self) -> bool {
        let of_statements = self.pin.reason.is_some() && !self.pin.otherwise && self.lasting_effects.is_empty();
        of_statements && self.pin.left.is_within(TOLD) && !self.doubtful
    }

    /// Whether it may have left this on its server since it keeps it.
    pub fn may_have_left(&self, effect: Effect) -> bool {
        self.pin.left.contains(effect)
    }

    /// Whether the transaction that has just ended may have changed what there is to be told.
    ///
    /// A question ends the unnamed statement there; the client's may have got its meaning before the settings that the
    /// transaction leaves behind, and would get another one elsewhere. The question waits until that statement is no more.
    pub fn is_to_be_asked(&mut self) -> bool {
        let keeps_names_only = self.pin.for_names && self.pin.left.is_empty();
        let may_have_changed = self.asks_later_than.is_some()
            || !self.effects.is_disjoint(TOLD)
            || (keeps_names_only && self.statements.can_go(self.settings.literals));
        if !may_have_changed || !self.can_be_asked() {
            return false;
        }
        let unnamed = self.unnamed.number();
        let is_older = self.asks_later_than == Some(unnamed) || !self.effects.is_disjoint(SETS);
        let has_older_meaning = is_older && self.unnamed.place() == Place::There && self.unnamed.effects().is_empty();
        self.asks_later_than = has_older_meaning.then_some(unnamed);
        !has_older_meaning
    }

    /// The server has told what there is of the session on it, and it has been asked nothing since that is not known here.
    /// `names` are those that the protocol has given to statements there, but for ours. Whether the session need not keep it any
    /// longer.
    pub fn keeps_only(&mut self, left: Effects, names: &[String], server: &Prepared) -> bool {
        if !self.can_be_asked() {
            return false;
        }
        let asked_since = self.effects;
        let had_names = std::mem::take(&mut self.pin).for_names;
        self.pin.leaves(left);
        self.pin.leaves(asked_since);
        if had_names && !server.has_our_names() && !self.statements.are_only(names, self.lease) {
            // Somebody has given a name there that is not known here.
            self.pin_for(PinReason::PreparedStatement);
        } else if had_names && !self.statements.can_go(self.settings.literals) {
            self.pin_for_names();
        }
        self.pin.reason.is_none()
    }
}

impl fmt::Display for PinReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
