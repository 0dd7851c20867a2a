//! What stood in the files of a configuration when it was read, so that a change is noticed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Every file that a configuration was read from, those that others include as well, with a digest of its text. Editors rename
/// and Kubernetes swaps links, so that only the text tells whether anything has changed; and it may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Seen {
    /// What stands in these files now, and in those that were seen before.
    pub fn again(&self, files: &[PathBuf]) -> Self {
        let reads = Reads::default();
        self.0.keys().chain(files).for_each(|file| drop(reads.read(file)));
        reads.seen()
    }
}

/// Reads files, and remembers what it read.
#[derive(Debug, Default)]
pub(super) struct Reads(RefCell<BTreeMap<PathBuf, Option<[u8; 32]>>>);

impl Reads {
    /// A file's text.
    pub(super) fn read(&self, file: &Path) -> std::io::Result<String> {
        let text = std::fs::read_to_string(file);
        let digest = text.as_ref().ok().map(|text| Sha256::digest(text).into());
        self.0.borrow_mut().insert(file.to_owned(), digest);
        text
    }

    pub(super) fn seen(self) -> Seen {
        Seen(self.0.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_change_of_any_file_is_seen_whether_it_could_be_read_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let put = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let pool = "greenroom: { pool: { $include: pool.yaml }, clientPassword: { $file: secret } }";
        put("app-config.yaml", pool);
        put("secret", "geheim");
        let files = [path("app-config.yaml")];
        let look = || Config::look(&files, &Default::default()).1;
        let first = look();
        assert_eq!(first, first.again(&files), "a file that is missing is still missing");
        for (name, text) in [("pool.yaml", "max: 3"), ("secret", "geheimer"), ("app-config.yaml", "greenroom: {}")] {
            let before = look();
            put(name, text);
            assert_ne!(before, before.again(&files), "{name}");
        }
        let last = look();
        put("app-config.local.yaml", "{}");
        assert_ne!(last, last.again(&[files[0].clone(), path("app-config.local.yaml")]), "a file more");
        assert!(!format!("{first:?}").contains("geheim"));
    }
}
