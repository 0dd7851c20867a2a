//! A PostgreSQL that answers as a test tells it: wrongly, late, in part, or not at all.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Frame;
use super::fake_answers::{answer, welcome};
use super::stream::read_frame;

/// Where a connection stands when the test is asked for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase<'a> {
    /// The connection was made, nothing was read.
    Accept,
    /// The startup message was read; `Answer::Usual` is a login without a password.
    Startup,
    /// A message was read; its number on this connection, from 0.
    Message(usize, &'a Frame),
}

/// What the server does next.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// What a PostgreSQL with no tables and no opinions would say.
    Usual,
    /// The same, a while later.
    Late(Duration),
    /// These bytes instead.
    Bytes(Vec<u8>),
    /// These bytes, and then the end of the connection.
    BytesThenClose(Vec<u8>),
    /// The end of the connection, without a word.
    Close,
    /// Nothing, ever; the connection stays open.
    Stall,
}

/// Decides what a connection says; the first number counts connections from 0.
type Script = dyn Fn(usize, Phase<'_>) -> Answer + Send + Sync;

/// A server on a free port of 127.0.0.1; dropping it ends it and its connections.
#[derive(Debug)]
pub(crate) struct FakeServer {
    port: u16,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// What reached a server during an act of the test, and how often it answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// The messages of each read, so of each write of greenroom, whichever connection it was on.
    pub(crate) reads: Vec<Vec<Frame>>,
    /// Writes of the server.
    pub(crate) writes: usize,
}

/// How often something happened.
#[derive(Debug, Default)]
struct Counts {
    /// What is read while a test listens.
    heard: Mutex<Option<Vec<Vec<Frame>>>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    logging_in: AtomicUsize,
    most_logging_in: AtomicUsize,
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl FakeServer {
    /// A server that always answers as usual.
    pub(crate) async fn usual() -> Self {
        Self::start(|_, _| Answer::Usual).await
    }

    /// A server that answers as `script` says.
    pub(crate) async fn start(script: impl Fn(usize, Phase<'_>) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let counts = Arc::new(Counts::default());
        let (script, shared): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&counts));
        let accepting = tokio::spawn(async move {
            // Dropping the set with this task ends what is still connected.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                let (script, counts) = (Arc::clone(&script), Arc::clone(&shared));
                connections.spawn(async move {
                    counts.open.fetch_add(1, Ordering::Relaxed);
                    // How a connection ends is the business of the script and of the other side.
                    let _ = Connection { stream, number, script, counts: Arc::clone(&counts) }.serve().await;
                    counts.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, counts, accepting }
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections that were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// The most connections at once that had said hello and not been welcomed or refused.
    pub(crate) fn most_logging_in(&self) -> usize {
        self.counts.most_logging_in.load(Ordering::Relaxed)
    }

    /// Reads that found bytes, and writes, since the beginning.
    pub(crate) fn reads_and_writes(&self) -> (usize, usize) {
        (self.counts.reads.load(Ordering::Relaxed), self.counts.writes.load(Ordering::Relaxed))
    }
}

impl FakeServer {
    /// Listens to what `act` brings to the server.
    pub(crate) async fn traffic(&self, act: impl Future<Output = ()>) -> Traffic {
        let before = self.reads_and_writes();
        *self.counts.heard.lock().expect("no test panics with it") = Some(Vec::new());
        act.await;
        let reads = self.counts.heard.lock().expect("no test panics with it").take();
        Traffic { reads: reads.expect("it was put there above"), writes: self.reads_and_writes().1 - before.1 }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    script: Arc<Script>,
    counts: Arc<Counts>,
}

impl Connection {
    async fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        if !self.act(Phase::Accept, Vec::new()).await? {
            return Ok(());
        }
        let mut startup = vec![0; self.stream.read_u32().await? as usize - 4];
        self.stream.read_exact(&mut startup).await?;
        if startup[..4] == 80_877_103u32.to_be_bytes() {
            self.stream.write_all(b"N").await?;
            startup = vec![0; self.stream.read_u32().await? as usize - 4];
            self.stream.read_exact(&mut startup).await?;
        }
        let logging_in = self.counts.logging_in.fetch_add(1, Ordering::Relaxed) + 1;
        self.counts.most_logging_in.fetch_max(logging_in, Ordering::Relaxed);
        let goes_on = self.act(Phase::Startup, welcome(self.number)).await;
        self.counts.logging_in.fetch_sub(1, Ordering::Relaxed);
        if !goes_on? {
            return Ok(());
        }
        let mut transaction = b'I';
        // Whole writes of the other side are counted, so frames are cut out of what one read brings.
        let mut buffer = Vec::new();
        let mut messages = 0;
        loop {
            let mut chunk = vec![0; 256 * 1024];
            let len = self.stream.read(&mut chunk).await?;
            if len == 0 {
                return Ok(());
            }
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            buffer.extend_from_slice(&chunk[..len]);
            let mut frames = Vec::new();
            while let Some(total) = whole(&buffer) {
                let mut bytes = &buffer[..total];
                let (tag, body) = read_frame(&mut bytes).await?.expect("a whole frame");
                buffer.drain(..total);
                frames.push(Frame::new(tag, body));
            }
            if let Some(heard) = self.counts.heard.lock().expect("no test panics with it").as_mut() {
                heard.push(frames.clone());
            }
            let mut usual = Vec::new();
            for frame in frames {
                if frame.tag == b'X' {
                    return Ok(());
                }
                match (self.script)(self.number, Phase::Message(messages, &frame)) {
                    Answer::Usual => usual.extend(answer(&frame, &mut transaction)),
                    Answer::Late(pause) => {
                        self.write(&std::mem::take(&mut usual)).await?;
                        tokio::time::sleep(pause).await;
                        usual.extend(answer(&frame, &mut transaction));
                    }
                    answer => {
                        self.write(&std::mem::take(&mut usual)).await?;
                        if !self.do_as_told(answer, Vec::new()).await? {
                            return Ok(());
                        }
                    }
                }
                messages += 1;
            }
            self.write(&usual).await?;
        }
    }

    /// Asks the script and does as it says; false ends the connection.
    async fn act(&mut self, phase: Phase<'_>, usual: Vec<u8>) -> io::Result<bool> {
        let answer = (self.script)(self.number, phase);
        self.do_as_told(answer, usual).await
    }

    async fn do_as_told(&mut self, answer: Answer, usual: Vec<u8>) -> io::Result<bool> {
        match answer {
            Answer::Usual => self.write(&usual).await.map(|()| true),
            Answer::Late(pause) => {
                tokio::time::sleep(pause).await;
                self.write(&usual).await.map(|()| true)
            }
            Answer::Bytes(bytes) => self.write(&bytes).await.map(|()| true),
            Answer::BytesThenClose(bytes) => self.write(&bytes).await.map(|()| false),
            Answer::Close => Ok(false),
            Answer::Stall => {
                // Until the other side gives up.
                let mut nothing = [0; 64];
                while self.stream.read(&mut nothing).await? > 0 {}
                Ok(false)
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.stream.write_all(bytes).await
    }
}

/// Bytes of the first message, when all of it is there.
fn whole(buffer: &[u8]) -> Option<usize> {
    let len = buffer.get(1..5)?.try_into().expect("four bytes");
    let total = u32::from_be_bytes(len) as usize + 1;
    (buffer.len() >= total).then_some(total)
}
