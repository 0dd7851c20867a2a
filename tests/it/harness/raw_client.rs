//! A client made of hand-written frames, which sees every reply as it came.

use std::time::Duration;

use greenroom::config::ListenAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::frames::{self, Frame};
use super::login::{Startup, log_in};
use super::stream::{Stream, read_frame};
use super::{PATIENCE, Reply, codes, soon};

/// A connection on which a test writes any bytes, and reads whole replies.
#[derive(Debug)]
pub(crate) struct RawClient {
    stream: Stream,
    /// What the login was answered with; empty for a connection without one.
    pub(crate) hello: Vec<Reply>,
}

impl RawClient {
    /// Connects and says nothing.
    pub(crate) async fn connect(address: &ListenAddress) -> Self {
        let stream = soon("connecting", Stream::connect(address)).await;
        Self { stream: stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}")), hello: Vec::new() }
    }

    /// Connects and logs in; a refusal fails the test.
    pub(crate) async fn log_in(address: &ListenAddress, startup: &Startup) -> Self {
        let client = Self::try_log_in(address, startup).await;
        let last = client.hello.last().map(|reply| reply.tag);
        assert_eq!(last, Some(b'Z'), "a login was refused: {:?}", client.hello);
        client
    }

    /// Connects and tries to log in; `hello` says how it went.
    pub(crate) async fn try_log_in(address: &ListenAddress, startup: &Startup) -> Self {
        let mut client = Self::connect(address).await;
        client.say_hello(startup).await;
        client
    }

    /// Sends a startup message and answers up to the end of the login.
    pub(crate) async fn say_hello(&mut self, startup: &Startup) {
        let said = soon("logging in", log_in(&mut self.stream, startup)).await;
        self.hello = said.expect("a login is answered");
    }

    /// Process id and secret of this session, from the login.
    pub(crate) fn key(&self) -> (i32, Vec<u8>) {
        let key = self.hello.iter().find(|reply| reply.tag == b'K').expect("a login brings a BackendKeyData");
        let (pid, secret) = key.body.split_first_chunk::<4>().expect("a key starts with a process id");
        (i32::from_be_bytes(*pid), secret.to_vec())
    }

    /// Sends messages in one write.
    pub(crate) async fn send(&mut self, frames: &[Frame]) {
        self.send_bytes(&frames::wire(frames)).await;
    }

    /// Sends any bytes in one write.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon("writing", self.stream.write_all(bytes)).await.expect("the connection takes bytes");
    }

    /// Sends bytes in two writes, with a pause at the cut that keeps them apart on the wire.
    pub(crate) async fn send_cut(&mut self, bytes: &[u8], at: usize) {
        self.send_bytes(&bytes[..at]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.send_bytes(&bytes[at..]).await;
    }

    /// Sends messages and reads up to and with the ReadyForQuery of each Query, Sync and FunctionCall among them.
    pub(crate) async fn ask(&mut self, frames: &[Frame]) -> Vec<Reply> {
        self.send(frames).await;
        self.until(b'Z', cycles(frames)).await
    }

    /// Sends a simple Query and reads up to its ReadyForQuery.
    pub(crate) async fn query(&mut self, sql: &str) -> Vec<Reply> {
        self.ask(&[frames::query(sql)]).await
    }

    /// Runs a simple Query that must not fail.
    pub(crate) async fn run(&mut self, sql: &str) -> Vec<Reply> {
        let replies = self.query(sql).await;
        assert!(codes(&replies).is_empty(), "{sql}: {replies:?}");
        replies
    }

    /// Reads up to and with the `count`th reply with this tag.
    pub(crate) async fn until(&mut self, tag: u8, count: usize) -> Vec<Reply> {
        let (replies, end) = self.heard(tag, count, PATIENCE).await;
        let expected = char::from(tag);
        assert_eq!(end, Heard::All, "{count} times {expected:?} expected, not only {replies:?}");
        replies
    }

    /// The same, for at most this long from reply to reply; says what came, and how it ended.
    pub(crate) async fn heard(&mut self, tag: u8, count: usize, patience: Duration) -> (Vec<Reply>, Heard) {
        let mut replies = Vec::new();
        let mut missing = count;
        while missing > 0 {
            match timeout(patience, read_frame(&mut self.stream)).await {
                Ok(Ok(Some((seen, body)))) => {
                    missing -= usize::from(seen == tag);
                    replies.push(Reply { tag: seen, body });
                }
                Ok(Ok(None) | Err(_)) => return (replies, Heard::Closed),
                Err(_) => return (replies, Heard::Silence),
            }
        }
        (replies, Heard::All)
    }

    /// Reads what comes until nothing has come for a while.
    pub(crate) async fn until_quiet(&mut self, pause: Duration) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Ok(Ok(Some((tag, body)))) = timeout(pause, read_frame(&mut self.stream)).await {
            replies.push(Reply { tag, body });
        }
        replies
    }

    /// Reads until the other side closes the connection.
    pub(crate) async fn until_closed(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Ok(Some((tag, body))) = soon("the end of the connection", read_frame(&mut self.stream)).await {
            replies.push(Reply { tag, body });
        }
        replies
    }

    /// Reads the one byte that answers SSLRequest and GSSENCRequest; `None` at the end of the connection.
    pub(crate) async fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match soon("an answer of one byte", self.stream.read(&mut byte)).await {
            Ok(1) => Some(byte[0]),
            _ => None,
        }
    }

    /// Reads only the header of the next reply: its tag, and how long its body is.
    pub(crate) async fn header(&mut self) -> (u8, usize) {
        let reading = async { Ok::<_, std::io::Error>((self.stream.read_u8().await?, self.stream.read_u32().await?)) };
        let (tag, len) = soon("a reply", reading).await.expect("the connection goes on");
        (tag, len as usize - 4)
    }

    /// Reads bytes and forgets them.
    pub(crate) async fn skip(&mut self, len: usize) {
        let mut bytes = (&mut self.stream).take(len as u64);
        let copied = soon("many bytes", tokio::io::copy(&mut bytes, &mut tokio::io::sink())).await;
        assert_eq!(copied.expect("the connection goes on"), len as u64);
    }

    /// Says goodbye and waits until the other side has closed, too.
    pub(crate) async fn leave(mut self) {
        self.send(&[frames::terminate()]).await;
        self.until_closed().await;
    }

    /// Asks for the cancellation of what the session with this key does, and waits until that was taken.
    pub(crate) async fn cancel(address: &ListenAddress, (pid, secret): &(i32, Vec<u8>)) {
        let mut client = Self::connect(address).await;
        client.send_bytes(&frames::cancel_request(*pid, secret)).await;
        assert!(client.until_closed().await.is_empty(), "a CancelRequest is never answered");
    }
}

/// How a client's listening ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// With what it listened for.
    All,
    /// The connection ended.
    Closed,
    /// Nothing came any more.
    Silence,
}

/// How many ReadyForQuery these messages bring when no COPY swallows a Sync and no error a Query.
pub(crate) fn cycles(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| matches!(frame.tag, b'Q' | b'S' | b'F')).count()
}
