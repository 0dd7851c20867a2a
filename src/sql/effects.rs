//! The set of things that a text may leave behind in its session.

use std::fmt;

/// One kind of thing that outlives a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Effect {
    /// SET, RESET, DISCARD, set_config().
    Settings,
    /// Nothing more: but one of these settings may decide what a literal means.
    Meaning,
    /// A setting of an extension, which no catalog lists and no RESET forgets; or one whose name the text does not tell.
    Placeholder,
    /// SET ROLE, SET SESSION AUTHORIZATION.
    Role,
    /// LISTEN.
    Listen,
    /// A temporary table, view, sequence or function that is not dropped at COMMIT.
    Temporary,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// DECLARE ... WITH HOLD.
    HeldCursor,
    /// PREPARE, EXECUTE, DEALLOCATE name, pg_prepared_statements: SQL that makes, uses or sees names of prepared statements.
    Prepare,
    /// DEALLOCATE ALL, DISCARD ALL: no prepared statement is left.
    Deallocate,
    /// nextval(), setval(): currval() and lastval() of the session change.
    Sequence,
    /// currval(), lastval(): what the session did before is read.
    SequenceRead,
    /// setseed().
    Random,
    /// LOAD.
    Load,
    /// DO, CALL and functions that run SQL given as a string: whatever their text hides.
    Procedural,
    /// Text that this scanner cannot read for certain (names with Unicode escapes).
    Unreadable,
    /// Settings that decide how texts are read (client_encoding, standard_conforming_strings): what is sent right behind may
    /// have been read in another way than here.
    Reading,
    /// The database's own code may have changed: CREATE FUNCTION, VIEW, RULE, EXTENSION and their like.
    Code,
    /// Nothing: but something of the schema public is named by hand, which a search_path cannot lead elsewhere.
    Public,
    /// Perhaps nothing new: but settings may go back to what the session began with.
    Reset,
    /// Nothing new: but something that was left behind may be gone now (DROP, CLOSE, DEALLOCATE, pg_advisory_unlock()).
    Release,
    /// Nothing: but until the transaction ends a name or a literal may mean something else (SET LOCAL, temporary tables that
    /// COMMIT drops).
    Local,
    /// Nothing: but the number of a process is asked for, or used (pg_backend_pid(), pg_cancel_backend(),
    /// pg_terminate_backend()).
    Process,
    /// Nothing: but those who listen are told something, with the number of the process (NOTIFY, pg_notify()).
    Notify,
}

impl Effect {
    /// Every effect, in the order in which the first one of a set names a pin.
    pub const ALL: [Self; 24] = [
        Self::Role,
        Self::Placeholder,
        Self::Settings,
        Self::Meaning,
        Self::Listen,
        Self::Temporary,
        Self::AdvisoryLock,
        Self::HeldCursor,
        Self::Prepare,
        Self::Deallocate,
        Self::Sequence,
        Self::SequenceRead,
        Self::Random,
        Self::Load,
        Self::Procedural,
        Self::Unreadable,
        Self::Reading,
        Self::Code,
        Self::Public,
        Self::Reset,
        Self::Release,
        Self::Local,
        Self::Process,
        Self::Notify,
    ];
}

/// A set of [`Effect`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects(u32);

impl Effects {
    /// Nothing is left behind.
    pub const NONE: Self = Self(0);

    /// Adds one.
    #[inline]
    pub fn insert(&mut self, effect: Effect) {
        self.0 |= 1 << effect as u32;
    }

    /// Takes one out.
    pub fn remove(&mut self, effect: Effect) {
        self.0 &= !(1 << effect as u32);
    }

    /// Takes everything else out.
    pub fn keep(&mut self, effect: Effect) {
        self.0 &= 1 << effect as u32;
    }

    /// Whether `effect` is in the set.
    #[inline]
    pub fn contains(self, effect: Effect) -> bool {
        self.0 & (1 << effect as u32) != 0
    }

    /// Whether nothing is left behind.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of it is in `other` too.
    #[inline]
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether nothing of it is in `other`.
    #[inline]
    pub fn is_disjoint(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    /// These effects, and no others.
    pub const fn of(effects: &[Effect]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < effects.len() {
            set |= 1 << effects[at] as u32;
            at += 1;
        }
        Self(set)
    }

    /// These and those of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of it is in `other` too.
    #[must_use]
    #[inline]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Adds all of `other`.
    #[inline]
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The members, most telling first.
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL.into_iter().filter(move |effect| self.contains(*effect))
    }
}

impl FromIterator<Effect> for Effects {
    fn from_iter<I: IntoIterator<Item = Effect>>(effects: I) -> Self {
        let mut set = Self::NONE;
        effects.into_iter().for_each(|effect| set.insert(effect));
        set
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
