//! The directories of a cluster and the files that we write into them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString as _};

use super::account::Account;
use super::binaries::Binaries;
use super::builder::Builder;
use super::error::StartError;
use super::template;

/// How long `initdb`, or a copy of what it made, may take on a busy machine.
pub(super) const MAKE_LIMIT: Duration = Duration::from_secs(120);

/// A socket's address has room for 107 bytes, of which its name takes about 16.
const SOCKET_DIR_MAX_BYTES: usize = 80;

/// How much of the log goes into an error.
const LOG_TAIL_BYTES: u64 = 4096;

/// Settings of a cluster that need not survive the machine.
const TEMPORARY: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "32MB"),
    ("autovacuum_naptime", "5min"),
];

/// Where a cluster is.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Holds the socket, and the data of a temporary cluster.
    run: RunDir,
    data: PathBuf,
    log: PathBuf,
    temporary: bool,
}

impl Cluster {
    /// Copies a cluster from the template; returns it with its superuser's password.
    pub(super) async fn temporary(binaries: &Binaries, account: Account) -> Result<(Self, String), StartError> {
        let run = RunDir::create(account)?;
        let data = run.path.join("data");
        let password = template::copy_to(&data, binaries, account).await?;
        let log = run.path.join("log");
        Ok((Self { run, data, log, temporary: true }, password))
    }

    /// Finds a cluster in this directory, or makes it there with this password of its superuser.
    pub(super) async fn kept(
        binaries: &Binaries,
        account: Account,
        dir: &Path,
        password: &str,
    ) -> Result<Self, StartError> {
        let dir = std::path::absolute(dir).map_err(StartError::io("find", dir))?;
        fs::create_dir_all(&dir).map_err(StartError::io("create", &dir))?;
        account
            .run(Path::new("test"), &[Path::new("-x"), &dir], MAKE_LIMIT)
            .await
            .map_err(|_| StartError::Unreachable { path: dir.clone(), uid: account.uid() })?;
        let run = RunDir::create(account)?;
        let data = dir.join("postgres");
        if !data.exists() {
            // A name of its own until it is complete: an initdb that was interrupted is not mistaken for a cluster.
            let unfinished = dir.join("postgres.unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(StartError::io("remove", &unfinished))?;
            }
            let password_file = run.path.join("password");
            account.create_dir(&unfinished)?;
            initdb(binaries, account, &unfinished, &password_file, password, &[]).await?;
            fs::rename(&unfinished, &data).map_err(StartError::io("create", &data))?;
        }
        release_stale_lock(&data).await?;
        Ok(Self { run, log: dir.join("postgres.log"), data, temporary: false })
    }

    /// Writes the server's configuration, in place of what is there.
    pub(super) fn configure(&self, account: Account, wanted: &Builder, port: u16) -> Result<(), StartError> {
        let mut conf = String::from("# Written at every start; use ALTER SYSTEM for settings of your own.\n");
        let mut set = |name: &str, value: &str| {
            conf.push_str(&format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''")));
        };
        set("listen_addresses", "127.0.0.1");
        set("port", &port.to_string());
        set("unix_socket_directories", &self.socket_dir().display().to_string());
        set("password_encryption", if wanted.auth.method() == "md5" { "md5" } else { "scram-sha-256" });
        if self.temporary {
            TEMPORARY.iter().for_each(|(name, value)| set(name, value));
        }
        if let Some(tls) = &wanted.tls {
            account.write(&self.data.join("server.crt"), tls.cert.as_bytes())?;
            account.write(&self.data.join("server.key"), tls.key.as_bytes())?;
            set("ssl", "on");
        }
        wanted.settings.iter().for_each(|(name, value)| set(name, value));

        let method = wanted.auth.method();
        let mut hba = format!("local all postgres {method}\n");
        match &wanted.hba {
            Some(lines) => lines.iter().for_each(|line| hba.push_str(&format!("{line}\n"))),
            None => hba.push_str(&format!("local all all {method}\nhost all all 127.0.0.1/32 {method}\n")),
        }
        account.write(&self.data.join("postgresql.conf"), conf.as_bytes())?;
        account.write(&self.data.join("pg_hba.conf"), hba.as_bytes())
    }

    /// The data directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// What has to go with the server, whoever ends it.
    pub(super) fn temporary_dir(&self) -> &Path {
        &self.run.path
    }

    /// The directory of the unix socket.
    pub(super) fn socket_dir(&self) -> &Path {
        &self.run.path
    }

    /// The unix socket of a server that listens on this port.
    pub(super) fn socket(&self, port: u16) -> PathBuf {
        self.socket_dir().join(format!(".s.PGSQL.{port}"))
    }

    /// Opens a new log for one run of the server. Statements may stand in it, so only its owner can read it.
    pub(super) fn open_log(&self) -> Result<File, StartError> {
        let mut options = OpenOptions::new();
        let log = options.write(true).create(true).truncate(true).mode(0o600).open(&self.log);
        log.map_err(StartError::io("create", &self.log))
    }

    /// The last lines of the log.
    pub(super) fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => String::from_utf8_lossy(&tail).trim_end().to_owned(),
            Err(error) => format!("(no log at {}: {error})", self.log.display()),
        }
    }
}

/// Makes a cluster in an empty directory.
pub(super) async fn initdb(
    binaries: &Binaries,
    account: Account,
    data: &Path,
    password_file: &Path,
    password: &str,
    more: &[&str],
) -> Result<(), StartError> {
    account.write(password_file, format!("{password}\n").as_bytes())?;
    let fixed = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--pgdata"];
    let mut args: Vec<&Path> = more.iter().chain(&fixed).map(Path::new).collect();
    let from_file = format!("--pwfile={}", password_file.display());
    args.extend([data, Path::new(&from_file)]);
    let made = account.run(&binaries.initdb(), &args, MAKE_LIMIT).await;
    fs::remove_file(password_file).map_err(StartError::io("remove", password_file))?;
    made
}

/// A random word for names and passwords.
pub(super) fn random_word(len: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), len)
}

/// Deals with the lock file of a server that ended without removing it, and whose process id means something else now.
///
/// PostgreSQL would take that other process for a server of this data and refuse to start. Removing the file would also
/// remove its hint at shared memory that old backends may still use; with our own process id in it, PostgreSQL knows
/// the file to be stale (its parent is no postmaster) and still looks at the shared memory.
async fn release_stale_lock(data: &Path) -> Result<(), StartError> {
    let file = data.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&file) else { return Ok(()) };
    let Some((pid, rest)) = content.split_once('\n') else { return Ok(()) };
    let Ok(pid) = pid.trim().parse::<u32>() else { return Ok(()) };
    // A server whose owner has just been killed is on its way out.
    for _ in 0..50 {
        if !is_postmaster_of(pid, data) {
            let ours = format!("{}\n{rest}", std::process::id());
            return fs::write(&file, ours).map_err(StartError::io("write", file));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(StartError::AlreadyRunning { pid, data: data.to_path_buf() })
}

/// A postmaster's working directory is its data directory.
fn is_postmaster_of(pid: u32, data: &Path) -> bool {
    let (Ok(cwd), Ok(data)) = (fs::read_link(format!("/proc/{pid}/cwd")), fs::canonicalize(data)) else { return false };
    cwd == data
}

/// A temporary directory that only the server's user may enter; it goes when this value does.
#[derive(Debug)]
struct RunDir {
    path: PathBuf,
}

impl RunDir {
    fn create(account: Account) -> Result<Self, StartError> {
        let parent = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() + 24 <= SOCKET_DIR_MAX_BYTES);
        let parent = parent.unwrap_or_else(|| PathBuf::from("/tmp"));
        let path = parent.join(format!("greenroom-{}", random_word(12)));
        account.create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Nothing more can be done about a directory that stays.
        let _ = fs::remove_dir_all(&self.path);
    }
}
