//! The user that the server's programs run as: ourselves, or an unprivileged one when we are root.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::StartError;

/// Who the server's programs run as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    uid: u32,
    /// The group to change to, when we are root and have to become somebody else.
    switch_to_group: Option<u32>,
}

impl Account {
    /// Finds the user: ourselves, or `postgres` (else `nobody`) when we are root, which PostgreSQL refuses.
    pub(super) fn find() -> Result<Self, StartError> {
        let own = id(&["-u"]).ok_or(StartError::NoAccount)?;
        if own != 0 {
            return Ok(Self { uid: own, switch_to_group: None });
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|user| Some(Self { uid: id(&["-u", user])?, switch_to_group: Some(id(&["-g", user])?) }))
            .ok_or(StartError::NoAccount)
    }

    /// The numeric id of the user.
    pub(super) fn uid(self) -> u32 {
        self.uid
    }

    /// A command that runs as this user, from a directory that everybody may be in and without PG* settings of ours.
    pub(super) fn command(self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        if let Some(gid) = self.switch_to_group {
            command.uid(self.uid).gid(gid);
        }
        command
    }

    /// Runs a program as this user to its end, and fails with what it said if it failed.
    pub(super) async fn run(self, program: &Path, args: &[&Path], limit: Duration) -> Result<(), StartError> {
        let name = program.display().to_string();
        let mut command = tokio::process::Command::from(self.command(program));
        let output = command.args(args).kill_on_drop(true).output();
        let output = match tokio::time::timeout(limit, output).await {
            Ok(output) => output.map_err(StartError::io("run", program))?,
            Err(_) => return Err(StartError::TooSlow { what: name, seconds: limit.as_secs() }),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(StartError::Program { program: name, output: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// Makes a directory that only this user may enter.
    pub(super) fn create_dir(self, path: &Path) -> Result<(), StartError> {
        DirBuilder::new().mode(0o700).create(path).map_err(StartError::io("create", path))?;
        self.own(path)
    }

    /// Writes a file that only this user may read, in place of what was there.
    pub(super) fn write(self, path: &Path, content: &[u8]) -> Result<(), StartError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StartError::io("replace", path)(error));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(StartError::io("create", path))?;
        file.write_all(content).map_err(StartError::io("write", path))?;
        self.own(path)
    }

    fn own(self, path: &Path) -> Result<(), StartError> {
        match self.switch_to_group {
            Some(gid) => chown(path, Some(self.uid), Some(gid)).map_err(StartError::io("change the owner of", path)),
            None => Ok(()),
        }
    }
}

/// Asks `id`, which knows every user database there may be.
fn id(args: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(args).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
