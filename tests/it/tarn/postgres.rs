//! A PostgreSQL whose logins end when and as the test says, on a Unix socket.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::diary::Diary;
use crate::harness::{Frame, answer, welcome};

const CANCEL_REQUEST: u32 = 80_877_102;

/// How one login ends.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Login {
    /// After so many milliseconds.
    pub(super) after: u64,
    pub(super) fails: bool,
}

impl Login {
    pub(super) const fn works_after(millis: u64) -> Self {
        Self { after: millis, fails: false }
    }

    pub(super) const fn fails_after(millis: u64) -> Self {
        Self { after: millis, fails: true }
    }
}

/// What it says to a login that fails; a code that says nothing about passwords, nor that it is full.
pub(super) fn refusal(number: usize) -> String {
    format!("login {number} failed")
}

/// A server, ended with the test's runtime. Connections are numbered from 1.
#[derive(Debug)]
pub(super) struct Postgres {
    directory: TempDir,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    diary: Arc<Diary>,
    /// The first logins; any others are like the last one.
    logins: Vec<Login>,
    slow_to_close: Duration,
    connections: AtomicUsize,
    /// By number: tells a connection to end.
    ends: Mutex<HashMap<usize, Arc<Notify>>>,
}

impl Postgres {
    pub(super) const PORT: u16 = 5432;

    pub(super) fn start(diary: Arc<Diary>, logins: Vec<Login>, slow_to_close: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a directory for a socket");
        let path = directory.path().join(format!(".s.PGSQL.{}", Self::PORT));
        let listener = UnixListener::bind(path).expect("nobody else listens there");
        let (connections, ends) = (AtomicUsize::new(0), Mutex::default());
        let shared = Arc::new(Shared { diary, logins, slow_to_close, connections, ends });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move {
                    // How a connection ends is the diary's business.
                    let _ = shared.serve(&mut stream).await;
                    // Closing alone may take until a program is executed that another test has just forked.
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { directory, shared }
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends a connection, without a word.
    pub(super) fn kill(&self, number: usize) {
        self.shared.end_of(number).notify_one();
    }
}

impl Shared {
    fn end_of(&self, number: usize) -> Arc<Notify> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ends.entry(number).or_default())
    }

    async fn serve(&self, stream: &mut UnixStream) -> io::Result<()> {
        let mut startup = vec![0; stream.read_u32().await? as usize - 4];
        stream.read_exact(&mut startup).await?;
        if startup[..4] == CANCEL_REQUEST.to_be_bytes() {
            return Ok(());
        }
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.diary.note(format!("opens {number}"));
        let login = *self.logins.get(number - 1).or(self.logins.last()).expect("there is one at least");
        let mut one = [0];
        tokio::select! {
            () = sleep(Duration::from_millis(login.after)) => {}
            // Whoever logs in says nothing more, except that it goes.
            _ = stream.read(&mut one) => {
                self.diary.note(format!("failed {number}"));
                return Ok(());
            }
        }
        if login.fails {
            self.diary.note(format!("failed {number}"));
            let fields = format!("SFATAL\0VFATAL\0C58000\0M{}\0\0", refusal(number));
            return stream.write_all(&Frame::new(b'E', fields).bytes()).await;
        }
        self.diary.note(format!("open {number}"));
        stream.write_all(&welcome(number - 1)).await?;
        let end = self.end_of(number);
        tokio::select! {
            left = self.converse(stream) => {
                self.diary.note(format!("closed {number}"));
                sleep(self.slow_to_close).await;
                left
            }
            () = end.notified() => {
                self.diary.note(format!("died {number}"));
                Ok(())
            }
        }
    }

    /// Answers until the other side goes.
    async fn converse(&self, stream: &mut UnixStream) -> io::Result<()> {
        let mut transaction = b'I';
        loop {
            let Ok(tag) = stream.read_u8().await else { return Ok(()) };
            let mut body = vec![0; stream.read_u32().await? as usize - 4];
            stream.read_exact(&mut body).await?;
            if tag == b'X' {
                return Ok(());
            }
            stream.write_all(&answer(&Frame::new(tag, body), &mut transaction)).await?;
        }
    }
}
