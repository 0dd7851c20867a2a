//! Where the programs of a PostgreSQL server are on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::error::StartError;

/// The directory of `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Takes the directory that was named; without one looks where `pg_config` points, in Debian's places, in PATH.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, StartError> {
        if let Some(dir) = named {
            let found = Self::in_dir(dir.to_path_buf());
            return found.ok_or_else(|| StartError::NoBinaries { looked_in: dir.display().to_string() });
        }
        pg_config()
            .into_iter()
            .chain(debian())
            .chain(env::var_os("PATH").iter().flat_map(env::split_paths).collect::<Vec<_>>())
            .find_map(Self::in_dir)
            .ok_or_else(|| StartError::NoBinaries {
                looked_in: "pg_config --bindir, /usr/lib/postgresql/*/bin or PATH".to_owned(),
            })
    }

    /// The directory itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a new cluster.
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    /// The server.
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    fn in_dir(dir: PathBuf) -> Option<Self> {
        // The programs run from "/", so a directory named relative to ours must become absolute here.
        let found = Self { dir: std::path::absolute(dir).ok()? };
        (found.initdb().is_file() && found.postgres().is_file()).then_some(found)
    }
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(dir.trim()))
}

/// Debian keeps each major version apart; the newest comes first.
fn debian() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, dir)| dir).collect()
}
