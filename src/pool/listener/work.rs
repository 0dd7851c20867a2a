//! The connection that listens: opened like a session's own, read for as long as anybody has an ear.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::mailbox::Notification;
use super::{Asker, ListenError, Listener, State, Wish};
use crate::pool::Member;
use crate::pool::acquire::Kind;
use crate::pool::error::AcquireError;
use crate::pool::reason::CloseReason;
use crate::protocol::{Backend, Frontend, frame, message};
use crate::server::Dress;
use crate::sql::listening::Command;
use crate::sql::quote;

/// The longest message: a notification's payload has less than 8000 bytes.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// Silence is not trusted for longer: a connection that is lost without a word would be missed notifications.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long PostgreSQL may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What PostgreSQL shows of it.
const NAME: &str = "greenroom: listens for clients";

/// Opens the connection, and listens until nobody wants that any more.
pub(super) async fn listen(work: AtWork) {
    let pool = Arc::clone(&work.member.pool);
    let kind = Kind::Private { startup: startup(&work.listener), dress: Dress::none() };
    let opened = tokio::select! {
        opened = work.member.acquire(kind) => opened,
        () = work.is_unwanted() => return,
    };
    let entry = match opened {
        Ok((lease, _)) => lease.stays(),
        Err(error) => return work.ends(&error.into()),
    };
    let Some(mut entry) = entry else { return work.ends(&AcquireError::Closed.into()) };
    let database = &*pool.key.database;
    tracing::info!(database, pid = entry.server.cancel.pid(), "a connection listens for clients");
    work.has_opened();
    let reason = Talk::new(&work).until_its_end(&mut entry.server.stream).await;
    match reason {
        CloseReason::ServerEnded => tracing::warn!(database, "the connection that listens for clients was lost"),
        CloseReason::Ceiling => tracing::warn!(database, "there is no place any more for the connection that listens"),
        _ => tracing::info!(database, "nobody is to be listened for any more"),
    }
    work.ends(&ListenError::Lost);
    entry.close(&pool, reason, pool.scheduler.closing());
}

fn startup(listener: &Listener) -> Vec<(String, String)> {
    let startup = [("application_name", NAME), ("client_encoding", &*listener.encoding)];
    startup.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Somebody is at work for a listener. Whatever ends that, those who would wait in vain are told.
pub(super) struct AtWork {
    listener: Arc<Listener>,
    member: Member,
    number: u64,
}

impl AtWork {
    /// The scheduler, and the listener, know of it.
    pub(super) fn begins(listener: &Arc<Listener>, member: &Member, number: u64) -> Self {
        Self { listener: Arc::clone(listener), member: member.clone(), number }
    }

    fn has_opened(&self) {
        let mut state = self.listener.state.lock();
        state.is_open = state.at_work == Some(self.number);
    }

    /// Ready once nobody has an ear: whoever wants one from then on has somebody else at work.
    async fn is_unwanted(&self) {
        while !self.ends_if_unwanted() {
            self.listener.news.notified().await;
        }
    }

    fn ends_if_unwanted(&self) -> bool {
        let mut state = self.listener.state.lock();
        let is_unwanted = state.ears.is_empty();
        if is_unwanted {
            self.put_down(&mut state);
        }
        is_unwanted
    }

    fn put_down(&self, state: &mut State) {
        if state.at_work == Some(self.number) {
            state.at_work = None;
            state.is_open = false;
            // Nobody will answer these.
            state.wishes.retain(|wish| !matches!(wish, Wish::Sync(_)));
            self.member.pool.scheduler.look(|core| core.listener_ended());
        }
    }

    /// Whether the ceiling was lowered, and leaves no place for it.
    fn is_above_ceiling(&self) -> bool {
        self.member.pool.scheduler.look(|core| core.is_one_listener_too_many())
    }

    /// Nothing is heard any more by those who still have ears.
    fn ends(&self, error: &ListenError) {
        let mut state = self.listener.state.lock();
        if state.at_work != Some(self.number) {
            return;
        }
        self.put_down(&mut state);
        let (ears, wishes) = (std::mem::take(&mut state.ears), std::mem::take(&mut state.wishes));
        state.channels.clear();
        drop(state);
        if matches!(error, ListenError::Lost) {
            ears.into_values().for_each(|mailbox| mailbox.lost());
        }
        for wish in wishes {
            if let Wish::Listen { asker, .. } = wish {
                // Who has left needs no answer.
                let _ = asker.done.send(Err(error.clone()));
            }
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.ends(&ListenError::Lost);
    }
}

/// A simple query that is not answered yet.
#[derive(Debug, Default)]
struct Asked {
    listen: Option<Asker>,
    /// Who waits for it to be answered.
    syncs: Vec<oneshot::Sender<()>>,
    refused: Option<Bytes>,
}

/// What is said on the connection.
struct Talk<'w> {
    work: &'w AtWork,
    asked: VecDeque<Asked>,
    /// What PostgreSQL listens to, or has been asked to.
    channels: HashSet<Box<[u8]>>,
    /// How many of these are counted.
    shown: i64,
    /// Not sent yet.
    out: BytesMut,
    /// What was written may rest in a TLS session's buffer.
    is_to_be_flushed: bool,
    /// Not read yet.
    read: BytesMut,
    /// Since then there was nothing to wait for, or nothing has come.
    silent_since: Instant,
}

impl<'w> Talk<'w> {
    fn new(work: &'w AtWork) -> Self {
        let (out, read) = (BytesMut::new(), BytesMut::with_capacity(4096));
        let (asked, channels, silent_since) = (VecDeque::new(), HashSet::new(), Instant::now());
        Self { work, asked, channels, shown: 0, out, is_to_be_flushed: false, read, silent_since }
    }

    /// Asks what is wished for and tells what is heard. What ended that.
    async fn until_its_end(mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> CloseReason {
        let listener = &self.work.listener;
        let stopped = self.work.member.pool.scheduler.stopped();
        let (mut from, mut to) = tokio::io::split(stream);
        // Nothing is lost where a branch is dropped: what was read or written is accounted for at once.
        loop {
            self.ask();
            let limit = self.silent_since + if self.asked.is_empty() { HEARTBEAT } else { PATIENCE };
            let has_something_to_send = !self.out.is_empty() || self.is_to_be_flushed;
            tokio::select! {
                // In this order: what has come while greenroom itself stood still is read before it counts as missing.
                biased;
                () = stopped.cancelled() => return CloseReason::Shutdown,
                sent = send(&mut to, &self.out), if has_something_to_send => match sent {
                    Ok(bytes) => {
                        self.is_to_be_flushed = bytes > 0;
                        self.out.advance(bytes);
                    }
                    Err(_) => return CloseReason::ServerEnded,
                },
                read = from.read_buf(&mut self.read) => {
                    self.silent_since = Instant::now();
                    if !read.is_ok_and(|bytes| bytes > 0) || self.hear().is_err() {
                        return CloseReason::ServerEnded;
                    }
                }
                () = listener.news.notified() => {
                    if self.work.is_above_ceiling() {
                        return CloseReason::Ceiling;
                    }
                }
                () = sleep_until(limit) => {
                    if !self.asked.is_empty() {
                        return CloseReason::ServerEnded;
                    }
                    self.say(b"", Asked::default());
                }
            }
            if self.work.ends_if_unwanted() {
                return CloseReason::Unheard;
            }
        }
    }

    fn say(&mut self, sql: &[u8], asked: Asked) {
        let mut query = Vec::new();
        message::frame(&mut query, Frontend::QUERY.0, |out| message::put_str(out, sql));
        self.out.extend_from_slice(&query);
        if self.asked.is_empty() {
            // Until now there was nothing to be answered.
            self.silent_since = Instant::now();
        }
        self.asked.push_back(asked);
    }

    /// Asks what is wished for now, each LISTEN by itself; those who only wait for an answer share one.
    fn ask(&mut self) {
        let mut state = self.work.listener.state.lock();
        let wishes = std::mem::take(&mut state.wishes);
        let is_wanted = |channel: &[u8]| state.channels.contains_key(channel) || self.is_asked_for(channel);
        let unwanted: Vec<_> = match state.somebody_left {
            true => self.channels.iter().filter(|channel| !is_wanted(channel)).cloned().collect(),
            false => Vec::new(),
        };
        state.somebody_left = false;
        drop(state);
        for channel in unwanted {
            let sql = format!("UNLISTEN {}", quote::identifier(&String::from_utf8_lossy(&channel)));
            self.channels.remove(&channel);
            self.say(sql.as_bytes(), Asked::default());
        }
        let mut syncs = Vec::new();
        for wish in wishes {
            match wish {
                Wish::Sync(done) => syncs.push(done),
                Wish::Listen { asker, sql } => {
                    let sql = self.kept_by_others(&asker.commands, &sql);
                    self.channels.extend(asker.channels());
                    self.say(&sql, Asked { listen: Some(asker), ..Asked::default() });
                }
            }
        }
        if !syncs.is_empty() {
            self.say(b"", Asked { syncs, ..Asked::default() });
        }
        self.show();
    }

    /// Whether somebody's LISTEN to it is not answered yet.
    fn is_asked_for(&self, channel: &[u8]) -> bool {
        self.asked.iter().any(|asked| asked.listen.as_ref().is_some_and(|asker| asker.wants(channel)))
    }

    /// The client's text, and behind it, in the same transaction, what others go on to hear. What nobody hears any more is ended
    /// later.
    fn kept_by_others(&self, commands: &[Command], sql: &[u8]) -> Vec<u8> {
        let mut sql = sql.to_vec();
        let is_ended = |channel: &[u8]| commands.iter().any(|command| command.ends(channel));
        for channel in self.channels.iter().filter(|channel| is_ended(channel)) {
            // The text may end in a comment.
            sql.extend(format!("\n;LISTEN {}", quote::identifier(&String::from_utf8_lossy(channel))).bytes());
        }
        sql
    }

    /// Others may count their channels in the same gauge.
    fn show(&mut self) {
        let channels = i64::try_from(self.channels.len()).unwrap_or(i64::MAX);
        self.work.member.pool.metrics.channels.add(channels - self.shown);
        self.shown = channels;
    }

    /// Looks at what has been read.
    fn hear(&mut self) -> io::Result<()> {
        loop {
            let frame = frame::take(&mut self.read, MAX_MESSAGE_BYTES).map_err(io::Error::other)?;
            let Some(frame) = frame else { return Ok(()) };
            match Backend(frame.tag) {
                Backend::NOTIFICATION => self.tell(&frame.body),
                Backend::ERROR => {
                    if let Some(asked) = self.asked.front_mut() {
                        asked.refused = Some(frame.body);
                    }
                }
                Backend::READY_FOR_QUERY => self.answered(),
                _ => {}
            }
        }
    }

    /// Tells everybody who listens to its channel.
    fn tell(&self, body: &[u8]) {
        let Some(mut notification) = Notification::read(body) else { return };
        let senders = &self.work.member.pool.scheduler.crew.senders;
        notification.pid = senders.client_of(notification.pid).unwrap_or(notification.pid);
        let state = self.work.listener.state.lock();
        for (_, mailbox) in state.channels.get(notification.channel()).into_iter().flatten() {
            mailbox.put(&notification);
        }
    }

    fn answered(&mut self) {
        let Some(Asked { listen, syncs, refused }) = self.asked.pop_front() else { return };
        if let Some(asker) = listen {
            let mut state = self.work.listener.state.lock();
            match refused {
                Some(body) => {
                    // It may have been refused to one and granted to another, or may be asked for by another.
                    for channel in asker.channels() {
                        if !state.channels.contains_key(&channel) && !self.is_asked_for(&channel) {
                            self.channels.remove(&channel);
                        }
                    }
                    let _ = asker.done.send(Err(ListenError::Refused(body)));
                }
                None => {
                    self.channels.extend(asker.channels());
                    // Who has given it up hears what it has heard before.
                    match asker.done.send(Ok(())) {
                        Ok(()) => state.obeys(asker.ear, &asker.commands),
                        Err(_) => state.somebody_left = true,
                    }
                }
            }
        }
        for done in syncs {
            let _ = done.send(());
        }
    }
}

impl Asker {
    /// What PostgreSQL is asked to listen to.
    fn channels(&self) -> impl Iterator<Item = Box<[u8]>> {
        Command::channels(&self.commands).map(|channel| channel.as_bytes().into())
    }

    fn wants(&self, channel: &[u8]) -> bool {
        Command::channels(&self.commands).any(|wanted| wanted.as_bytes() == channel)
    }
}

/// Sends some of it, or sees that what was sent before is on its way.
async fn send(to: &mut WriteHalf<impl AsyncWrite>, out: &[u8]) -> io::Result<usize> {
    if out.is_empty() {
        to.flush().await?;
        return Ok(0);
    }
    match to.write(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.channels.clear();
        self.show();
    }
}

#[cfg(test)]
mod tests;
