//! The running server, and the guard that ends it should its owner be killed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;
use super::binaries::Binaries;
use super::cluster::Cluster;
use super::error::StartError;

/// How long an immediate shutdown may take before it becomes a SIGKILL.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);

/// How often we look whether the server has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Passes on the signals that it reads. When its input ends without a word, its owner was killed: then it ends the
/// server in the owner's place and removes the temporary directory.
const GUARD: &str = r#"
while read -r signal; do kill -s "$signal" "$1"; done
kill -s QUIT "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -s 0 "$1" 2>/dev/null || break; sleep 1; done
rm -rf "$2"
"#;

/// A postmaster; dropping it ends the server.
#[derive(Debug)]
pub(super) struct Postmaster {
    server: Child,
    guard: Child,
}

impl Postmaster {
    /// Starts the server and its guard, out of reach of the terminal's Ctrl-C: their owner decides when they end.
    pub(super) fn spawn(binaries: &Binaries, account: Account, cluster: &Cluster) -> Result<Self, StartError> {
        let log = cluster.open_log()?;
        let log_too = log.try_clone().map_err(StartError::io("open", cluster.data()))?;
        let mut server = account
            .command(binaries.postgres())
            .arg("-D")
            .arg(cluster.data())
            .stdout(log)
            .stderr(log_too)
            .process_group(0)
            .spawn()
            .map_err(StartError::io("run", binaries.postgres()))?;
        let guard = account
            .command("sh")
            .args(["-c", GUARD, "guard", &server.id().to_string()])
            .arg(cluster.temporary_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match guard {
            Ok(guard) => Ok(Self { server, guard }),
            Err(source) => {
                let _ = server.kill();
                let _ = server.wait();
                Err(StartError::io("run", "sh")(source))
            }
        }
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Whether the server has ended.
    pub(super) fn has_exited(&mut self) -> bool {
        // An error means that there is no such child any more.
        !matches!(self.server.try_wait(), Ok(None))
    }

    /// Ends the server by a fast shutdown; what takes longer than the limit is left to `drop`.
    pub(super) async fn stop(mut self, limit: Duration) {
        self.signal("INT");
        let deadline = Instant::now() + limit;
        while !self.has_exited() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the postmaster by SIGKILL; its backends notice on their own.
    pub(super) fn kill(mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// The guard runs as the server's user, so it may signal it whoever we are.
    fn signal(&mut self, name: &str) {
        if let Some(input) = &mut self.guard.stdin {
            // Without a guard there is still the SIGKILL at the end.
            let _ = writeln!(input, "{name}");
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if !self.has_exited() {
            self.signal("QUIT");
            let deadline = Instant::now() + IMMEDIATE_LIMIT;
            while !self.has_exited() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            // Does nothing to a server that has ended.
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
        // The guard goes first and its input after it: it must not act on a process id that is free again.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}
