//! Passwords that change: the files that they stand in, and the commands that print them.
//!
//! A login has one [`Secret`], which all its pools share: what one of them learns (a new password, a command that fails) the
//! others know. Clients prove what [`Secrets::client_password`] says.
//!
//! - `file`: a file, read again whenever its text is needed.
//! - `printed`: what a command prints, kept until shortly before its end; at most one run at a time.
//! - `run`: a run of a command, bounded in time and size.
//! - `output`: what a command may print.
//! - `time`: points in time as tools write them.

mod error;
mod file;
mod output;
mod printed;
mod run;
mod time;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

pub use error::SecretError;
use file::PasswordFile;
use printed::Printed;

use crate::config::{Login, Password, SecretText, ServerAddress};
use crate::metrics::Metrics;

/// The passwords of one proxy.
pub struct Secrets {
    metrics: Arc<Metrics>,
    /// Guards the maps only.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    files: HashMap<Arc<Path>, Arc<PasswordFile>>,
    secrets: HashMap<(ServerAddress, Arc<str>), (Password, Arc<Secret>)>,
}

impl Secrets {
    /// Nothing is read or run before it is needed.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics, known: Mutex::default() })
    }

    /// What the PostgreSQL at `address` is told by `login`; `None` if nothing is configured.
    pub fn of(&self, address: &ServerAddress, login: &Login) -> Option<Arc<Secret>> {
        let password = login.password.as_ref()?;
        let mut known = self.known.lock();
        let key = (address.clone(), Arc::clone(&login.user));
        if let Some((configured, secret)) = known.secrets.get(&key)
            && configured == password
        {
            return Some(Arc::clone(secret));
        }
        let source = match password {
            Password::Text(text) => match &text.file {
                Some(file) => Source::File(self.file(&mut known, file, text)),
                None => Source::Fixed(text.text.clone()),
            },
            Password::Command(command) => {
                let login = format!("{}@{address}", login.user);
                Source::Command(Printed::new(command.clone(), login, Arc::clone(&self.metrics)))
            }
        };
        let secret = Arc::new(Secret { source, accepted: Mutex::default() });
        known.secrets.insert(key, (password.clone(), Arc::clone(&secret)));
        Some(secret)
    }

    /// What clients of `login` have to know now; `None` if nothing would prove that they are who they say.
    pub async fn client_password(&self, login: &Login) -> Option<SecretString> {
        let configured = login.client_password.as_ref()?;
        let Some(path) = &configured.file else { return Some(configured.text.clone()) };
        let file = self.file(&mut self.known.lock(), path, configured);
        Some(file.read().await)
    }

    fn file(&self, known: &mut Known, path: &Arc<Path>, text: &SecretText) -> Arc<PasswordFile> {
        let new = || PasswordFile::new(Arc::clone(path), text.text.clone(), Arc::clone(&self.metrics));
        Arc::clone(known.files.entry(Arc::clone(path)).or_insert_with(new))
    }
}

/// What one login tells PostgreSQL.
pub struct Secret {
    source: Source,
    /// The last password that PostgreSQL took. While a password is being changed, it may be right for longer than the
    /// file says, or already wrong.
    accepted: Mutex<Option<SecretString>>,
}

enum Source {
    Fixed(SecretString),
    File(Arc<PasswordFile>),
    Command(Arc<Printed>),
}

impl Secret {
    /// The password to log in with now. A command may have to be waited for.
    ///
    /// # Errors
    /// A command that gives none. A file always has a last text.
    pub async fn current(&self) -> Result<SecretString, SecretError> {
        match &self.source {
            Source::Fixed(password) => Ok(password.clone()),
            Source::File(file) => Ok(file.read().await),
            Source::Command(printed) => printed.current().await,
        }
    }

    /// The last password that PostgreSQL took.
    pub fn last_accepted(&self) -> Option<SecretString> {
        self.accepted.lock().clone()
    }

    /// Another password than `refused`, which PostgreSQL did not take: a newer one, or else the one that it took before. Or the
    /// same, if PostgreSQL took that from somebody else meanwhile: before the attempt it had taken `accepted` last.
    pub async fn instead_of(&self, refused: &SecretString, accepted: Option<&SecretString>) -> Option<SecretString> {
        let newer = match &self.source {
            Source::Fixed(_) => return None,
            Source::File(file) => Some(file.read().await),
            Source::Command(printed) => printed.anew(refused).await,
        };
        let differs = |password: &SecretString| !same(password, refused);
        let was_taken_before = accepted.is_some_and(|password| !differs(password));
        newer.filter(differs).or_else(|| self.last_accepted().filter(|last| differs(last) || !was_taken_before))
    }

    /// PostgreSQL has taken this one.
    pub fn accepted(&self, password: &SecretString) {
        match &self.source {
            Source::Fixed(_) => return,
            Source::File(_) => {}
            Source::Command(printed) => printed.accepted(),
        }
        *self.accepted.lock() = Some(password.clone());
    }
}

/// Whether two secrets are the same. Both are ours, so that the time it takes tells nobody anything.
pub fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
