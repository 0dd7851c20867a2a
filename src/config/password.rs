//! Passwords as they are configured: text, a file that may change, a command that prints them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// Text that must not be shown, and the file that it stands in if it does.
#[derive(Debug, Clone)]
pub struct SecretText {
    /// The text; of a file, what stood in it when the configuration was read.
    pub text: SecretString,
    /// The file, when it was written as `$file`. Its text may change.
    pub file: Option<Arc<Path>>,
}

impl SecretText {
    /// Text that stays as it is.
    pub fn fixed(text: &str) -> Self {
        Self { text: text.into(), file: None }
    }
}

/// A file is the same whatever stood in it at the time.
impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        match (&self.file, &other.file) {
            (None, None) => self.text.expose_secret() == other.text.expose_secret(),
            (ours, theirs) => ours == theirs,
        }
    }
}

/// What PostgreSQL is told when it asks for a password.
#[derive(Debug, Clone, PartialEq)]
pub enum Password {
    /// This.
    Text(SecretText),
    /// What a command prints.
    Command(PasswordCommand),
}

/// A command that prints a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordCommand {
    /// The program and its arguments, at least the program; no shell reads them.
    pub command: Vec<String>,
    /// The longest that it may run.
    pub timeout: Duration,
    /// How long a password is good for, when the command does not say.
    pub valid_for: Duration,
    /// So long before its end a password is renewed.
    pub refresh_before: Duration,
}

impl PasswordCommand {
    /// `timeoutMillis`, when it is not configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// `validForMillis`, when it is not configured: the life of an RDS token.
    pub const VALID_FOR: Duration = Duration::from_secs(900);
    /// `refreshBeforeMillis`, when it is not configured.
    pub const REFRESH_BEFORE: Duration = Duration::from_secs(60);
}
