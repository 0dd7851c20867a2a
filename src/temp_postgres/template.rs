//! One `initdb` for many clusters: it takes seconds, a copy of what it made takes a fraction of one.
//!
//! The template stands in the system's directory for temporary files and is never changed once it has its name. Test
//! processes that start at once wait for the first of them to make it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use super::account::Account;
use super::binaries::Binaries;
use super::cluster::{MAKE_LIMIT, initdb, random_word};
use super::error::StartError;

/// Goes up when what stands in a template changes.
const VERSION: u32 = 1;

/// Copies the template, which is made if need be; returns the password of its superuser.
pub(super) async fn copy_to(data: &Path, binaries: &Binaries, account: Account) -> Result<String, StartError> {
    let template = std::env::temp_dir().join(name(binaries, account)?);
    if !template.exists() {
        let _lock = lock(&template.with_extension("lock")).await?;
        if !template.exists() {
            make(&template, binaries, account).await?;
        }
    }
    let found = fs::symlink_metadata(&template).map_err(StartError::io("look at", &template))?;
    if !found.is_dir() || found.uid() != account.uid() || found.mode() & 0o077 != 0 {
        return Err(StartError::ForeignTemplate { path: template, uid: account.uid() });
    }
    account.run(Path::new("cp"), &[Path::new("-Rp"), &template.join("data"), data], MAKE_LIMIT).await?;
    let password = template.join("superuser");
    fs::read_to_string(&password).map_err(StartError::io("read", &password))
}

/// Makes the template under another name and renames it when it is complete.
async fn make(template: &Path, binaries: &Binaries, account: Account) -> Result<(), StartError> {
    let unfinished = template.with_extension(random_word(12));
    let password = random_word(32);
    account.create_dir(&unfinished)?;
    account.write(&unfinished.join("superuser"), password.as_bytes())?;
    // Small segments of the write-ahead log: there is less to copy.
    let options = ["--no-sync", "--wal-segsize=1"];
    let data = unfinished.join("data");
    let made = initdb(binaries, account, &data, &unfinished.join("password"), &password, &options).await;
    let made = made.and_then(|()| fs::rename(&unfinished, template).map_err(StartError::io("create", template)));
    if made.is_err() {
        // The error matters more than what it left behind.
        let _ = fs::remove_dir_all(&unfinished);
    }
    made
}

/// A name that changes with everything that decides what is in the template.
fn name(binaries: &Binaries, account: Account) -> Result<PathBuf, StartError> {
    let postgres = binaries.postgres();
    let version = Command::new(&postgres).arg("--version").output().map_err(StartError::io("run", &postgres))?;
    let modified =
        fs::metadata(&postgres).and_then(|file| file.modified()).map_err(StartError::io("read", &postgres))?;
    let mut hash = DefaultHasher::new();
    (VERSION, &postgres, version.stdout, modified.duration_since(UNIX_EPOCH).ok()).hash(&mut hash);
    Ok(PathBuf::from(format!("greenroom-initdb-{}-{:016x}", account.uid(), hash.finish())))
}

/// Waits until no other process makes the template. The lock goes with its holder, however that ends.
async fn lock(path: &Path) -> Result<File, StartError> {
    let file = File::create(path).map_err(StartError::io("create", path))?;
    let deadline = Instant::now() + MAKE_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(source)) => return Err(StartError::io("lock", path)(source)),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(fs::TryLockError::WouldBlock) => {
                let what = format!("the process that holds {}", path.display());
                return Err(StartError::TooSlow { what, seconds: MAKE_LIMIT.as_secs() });
            }
        }
    }
}
