//! What an examination found, how bad it is, and what mends it.

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Works now and may not always.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that mends a finding by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Statements for somebody who may: the database's owner, or a superuser.
    Sql {
        /// Where they must be run.
        database: String,
        /// The statements.
        sql: String,
    },
    /// A setting to change.
    Setting(String),
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a server, a database, a plugin.
    pub subject: String,
    /// What it is.
    pub what: String,
    /// What mends it; each by itself.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    /// Something found, with no remedy yet.
    pub fn new(severity: Severity, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity, subject: subject.into(), what: what.into(), remedies: Vec::new() }
    }

    /// Statements that mend it.
    pub(super) fn sql(mut self, database: &str, sql: impl Into<String>) -> Self {
        self.remedies.push(Remedy::Sql { database: database.to_owned(), sql: sql.into() });
        self
    }

    /// A setting that mends it.
    pub(super) fn setting(mut self, setting: impl Into<String>) -> Self {
        self.remedies.push(Remedy::Setting(setting.into()));
        self
    }
}

/// An error.
pub(super) fn error(subject: impl Into<String>, what: impl Into<String>) -> Finding {
    Finding::new(Severity::Error, subject, what)
}

/// A warning.
pub(super) fn warning(subject: impl Into<String>, what: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, subject, what)
}

/// A note.
pub(super) fn note(subject: impl Into<String>, what: impl Into<String>) -> Finding {
    Finding::new(Severity::Note, subject, what)
}

/// Something that is as it should be.
pub(super) fn ok(subject: impl Into<String>, what: impl Into<String>) -> Finding {
    Finding::new(Severity::Ok, subject, what)
}
