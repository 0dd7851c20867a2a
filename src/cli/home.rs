//! The directory in which `greenroom dev` keeps its data and its passwords.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::distr::{Alphanumeric, SampleString as _};

/// An existing directory that is ours.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Opens the directory, which is made if need be. Two at once are refused.
    pub(super) fn open(named: Option<&Path>) -> anyhow::Result<Self> {
        let dir = match named {
            Some(dir) => std::path::absolute(dir)?,
            None => default_dir()?,
        };
        fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}: choose another --data-dir", dir.display()))?;
        let path = dir.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        lock.try_lock().with_context(|| {
            format!("another `greenroom dev` uses {}: end it, or choose another --data-dir", dir.display())
        })?;
        Ok(Self { dir, _lock: lock })
    }

    /// The directory itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that has the password of this name.
    pub(super) fn password_file(&self, of: &str) -> PathBuf {
        self.dir.join(format!("{of}.password"))
    }

    /// The password of this name, made up the first time. Only its owner can read the file.
    pub(super) fn password(&self, of: &str) -> anyhow::Result<String> {
        let path = self.password_file(of);
        match fs::read_to_string(&path) {
            Ok(password) => return Ok(password.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        // Letters and digits only: nothing that a URL, a shell or YAML reads as something else.
        let password = Alphanumeric.sample_string(&mut rand::rng(), 24);
        // Complete under its name or not there at all.
        let unfinished = path.with_extension("unfinished");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| writeln!(file, "{password}"))
            .and_then(|()| fs::rename(&unfinished, &path));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(password)
    }
}

/// The user's own directory for data. Root's is in /var/lib: PostgreSQL then runs as another user, who could not get
/// through root's home.
fn default_dir() -> anyhow::Result<PathBuf> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root {
        return Ok(PathBuf::from("/var/lib/greenroom"));
    }
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_DATA_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("greenroom"))
        .context("neither XDG_DATA_HOME nor HOME is set: name a directory with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_the_same_and_is_private() {
        let dir = std::env::temp_dir().join(format!("greenroom-home-{}", std::process::id()));
        let first = Home::open(Some(&dir)).unwrap();
        let password = first.password("backstage").unwrap();
        assert_ne!(password, first.password("postgres").unwrap());
        assert_eq!(fs::metadata(dir.join("backstage.password")).unwrap().mode() & 0o777, 0o600);
        let refused = Home::open(Some(&dir)).unwrap_err();
        assert!(refused.to_string().contains("another `greenroom dev`"), "{refused:#}");
        drop(first);
        assert_eq!(Home::open(Some(&dir)).unwrap().password("backstage").unwrap(), password);
        fs::remove_dir_all(&dir).unwrap();
    }
}
