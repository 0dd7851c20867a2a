//! A password that stands in a file, which somebody replaces now and then.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::SecretString;

use super::same;
use crate::metrics::{Metrics, PasswordSource, RenewalResult};

/// The longest password in a file, in bytes; a cloud's tokens are a few thousand.
const MAX_BYTES: u64 = 64 << 10;

/// A file with a password in it. Kubernetes replaces such files by swapping links and editors by renaming, so the path is
/// opened anew each time and nothing is watched: the file is small and a login is rare.
pub(super) struct PasswordFile {
    path: Arc<Path>,
    metrics: Arc<Metrics>,
    last: Mutex<Last>,
}

/// What was read last, to go on with while the file cannot be read.
struct Last {
    text: SecretString,
    /// The file could not be read the last time, and that is told already.
    failing: bool,
}

impl PasswordFile {
    /// The file at `path`, whose text was `text` when the configuration was read.
    pub(super) fn new(path: Arc<Path>, text: SecretString, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { path, metrics, last: Mutex::new(Last { text, failing: false }) })
    }

    /// Its text now; that of the last time if it is missing, empty or otherwise no password.
    pub(super) async fn read(&self) -> SecretString {
        let path = Arc::clone(&self.path);
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        match read.unwrap_or_else(|error| Err(error.into())) {
            Ok(text) => self.found(text),
            Err(error) => self.not_found(&error),
        }
    }

    fn found(&self, text: SecretString) -> SecretString {
        let mut last = self.last.lock();
        last.failing = false;
        if !same(&last.text, &text) {
            last.text = text.clone();
            self.metrics.password_renewal(PasswordSource::File, RenewalResult::Ok);
            tracing::info!(file = %self.path.display(), "the password in the file has changed");
        }
        text
    }

    fn not_found(&self, error: &io::Error) -> SecretString {
        self.metrics.password_renewal(PasswordSource::File, RenewalResult::Failed);
        let mut last = self.last.lock();
        if !last.failing {
            last.failing = true;
            let file = self.path.display();
            tracing::warn!(%file, %error, "cannot read the password in the file; the last one stays");
        }
        last.text.clone()
    }
}

/// Reads as Backstage does: without the white space at the end.
fn read(path: &Path) -> io::Result<SecretString> {
    // Opening a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    match text.trim_end() {
        "" => Err(io::Error::other("it is empty")),
        password => Ok(password.into()),
    }
}
