//! What a client hears: LISTEN is done on the connection that listens for all clients of its database, and what comes from there
//! is told where PostgreSQL would tell it: at once to a client at rest, ahead of ReadyForQuery to one whose transaction has
//! just ended.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::errand::{Errand, Task};
use super::lending::Lending;
use super::poll::Event;
use super::{Ending, Flow, Relay};
use crate::cancel::CancelPlace;
use crate::client::reply::{self, Reply};
use crate::metrics::{ClientState, DeafReason};
use crate::pool::{Ear, Lease, ListenError, Notification};
use crate::protocol::message::Severity;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, body, message};
use crate::session::{ListenBatch, Unlistened, Verdict};
use crate::sql::listening::Command;
use crate::sql::quote;

/// What a client that listens hears.
pub(super) struct Hearing {
    ear: Arc<Ear>,
    /// What the client has been told that it listens to.
    channels: HashSet<Box<[u8]>>,
    sync: Sync,
    /// The client wants to be told in another encoding.
    is_foreign: bool,
}

/// How far the end of a transaction is.
enum Sync {
    /// None is at hand.
    No,
    /// Everything that was committed before it is still to be heard.
    Asked(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It was heard, and is taken by the client before ReadyForQuery.
    Telling,
    /// ReadyForQuery is next.
    Done,
}

impl Hearing {
    fn new(ear: Ear) -> Self {
        Self { ear: Arc::new(ear), channels: HashSet::new(), sync: Sync::No, is_foreign: false }
    }

    /// ReadyForQuery has come. Whether it has to wait.
    pub(super) fn holds_ready_back(&mut self) -> bool {
        match self.sync {
            Sync::No => {
                self.sync = Sync::Asked(Box::pin(self.ear.sync()));
                true
            }
            Sync::Asked(_) | Sync::Telling => true,
            Sync::Done => {
                self.sync = Sync::No;
                false
            }
        }
    }

    /// Whether the client is told about this channel anyway: a server that listens to it as well is not to be heard twice.
    pub(super) fn tells_of(&self, notification: &[u8]) -> bool {
        let channel = notification.get(4..).and_then(body::cstr).unwrap_or_default().0;
        self.channels.contains(channel)
    }

    /// The client's texts, and what it is told, are in this encoding from now on.
    pub(super) fn note_encoding(&mut self, report: &[u8]) {
        if let Some((b"client_encoding", encoding)) = body::parameter_status(report) {
            self.is_foreign = !encoding.eq_ignore_ascii_case(self.ear.encoding().as_bytes());
        }
    }

    /// What it hears with.
    pub(super) fn ear(&self) -> Arc<Ear> {
        Arc::clone(&self.ear)
    }
}

impl Relay<'_> {
    /// Ready with what there is to be done about what is heard.
    pub(super) fn poll_hearing(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let (is_at_rest, owes_client) = (self.is_at_rest(), self.owes_client());
        let Some(hearing) = &mut self.hearing else { return Poll::Pending };
        match &mut hearing.sync {
            Sync::Asked(heard) => {
                ready!(heard.as_mut().poll(cx));
                return Poll::Ready(Event::Heard);
            }
            Sync::Telling if owes_client => return Poll::Pending,
            Sync::Telling => return Poll::Ready(Event::Told),
            Sync::No | Sync::Done if !is_at_rest => return Poll::Pending,
            Sync::No | Sync::Done => {}
        }
        ready!(hearing.ear.poll(cx));
        match owes_client && hearing.ear.deaf().is_none() {
            // It is told when it has taken what it was told before.
            true => Poll::Pending,
            false => Poll::Ready(Event::Heard),
        }
    }

    /// Whether a ReadyForQuery waits for what is still to be heard, or told.
    pub(super) fn is_ready_held_back(&self) -> bool {
        self.hearing.as_ref().is_some_and(|hearing| matches!(hearing.sync, Sync::Asked(_) | Sync::Telling))
    }

    /// There is something to be told: everything that was committed before the client's transaction ended, or to a client at
    /// rest.
    pub(super) fn on_heard(&mut self) -> Flow {
        if !self.is_ready_held_back() {
            return self.tell();
        }
        // What came during the transaction is told to those who listen when it has ended.
        self.note_unlistened()?;
        self.tell()?;
        if let Some(hearing) = &mut self.hearing {
            hearing.sync = Sync::Telling;
        }
        match self.owes_client() {
            true => Flow::Continue(()),
            false => self.on_told_all(),
        }
    }

    /// The client has taken it.
    pub(super) fn on_told_all(&mut self) -> Flow {
        if let Some(hearing) = &mut self.hearing {
            hearing.sync = Sync::Done;
        }
        self.hear_no_more_if_idle();
        self.on_server_bytes(0)
    }

    /// Tells the client what was heard, with its own number where it has sent that itself. One that would miss something is
    /// ended.
    pub(super) fn tell(&mut self) -> Flow {
        let own = self.own_server();
        let Some(hearing) = &self.hearing else { return Flow::Continue(()) };
        let heard = hearing.ear.take();
        // What came before the end of hearing is told all the same.
        let deaf = hearing.ear.deaf();
        for Notification { pid, rest } in heard.filter(|heard| hearing.channels.contains(heard.channel())) {
            if hearing.is_foreign && !rest.is_ascii() {
                return self.end_deaf(DeafReason::Unclear);
            }
            self.metrics.notifications.inc();
            let pid = if own == Some(pid) { self.key.pid } else { pid };
            message::frame(&mut self.own, Backend::NOTIFICATION.0, |out| {
                out.extend_from_slice(&pid.to_be_bytes());
                out.extend_from_slice(&rest);
            });
        }
        match deaf {
            Some(reason) => self.end_deaf(reason),
            None => Flow::Continue(()),
        }
    }

    fn end_deaf(&self, reason: DeafReason) -> Flow {
        self.metrics.deaf(reason);
        tracing::warn!(
            plugin = &*self.metrics.name,
            ?reason,
            "a client that listens is ended: it would miss notifications"
        );
        Flow::Break(Ending::Told(reply::deaf(reason)))
    }

    /// The process that the client's statements run in.
    fn own_server(&mut self) -> Option<i32> {
        match &mut self.lending {
            Lending::Leased(lease) => Some(lease.server().cancel.pid()),
            _ => None,
        }
    }

    /// What the client sends to channels is heard as its own: it is noted before it goes out.
    pub(super) fn note_sender(&mut self) {
        if self.session.may_notify()
            && let Lending::Leased(lease) = &mut self.lending
        {
            lease.sends_as(self.key.pid);
        }
    }

    /// A server that is asked what its client listens to listens to that itself. Nobody else has it afterwards.
    pub(super) fn show_channels(&mut self, lease: &mut Lease) {
        let Some(hearing) = self.hearing.as_ref().filter(|_| self.session.take_channels_asked()) else { return };
        let listen = |channel| format!("LISTEN {}", quote::identifier(&String::from_utf8_lossy(channel)));
        let listens: Vec<_> = hearing.channels.iter().map(|channel| listen(channel)).collect();
        let behind = self.ahead.len();
        message::query(&mut self.ahead, &listens.join("; "));
        self.ahead.rotate_left(behind);
        self.session.expect_prelude(1);
        lease.server().is_spent = true;
    }

    /// Does what UNLISTEN and DISCARD ALL have done in the transaction that has just ended.
    fn note_unlistened(&mut self) -> Flow {
        let unlistened = self.session.take_unlistened();
        let Some(hearing) = &mut self.hearing else { return Flow::Continue(()) };
        let gone: Vec<Box<[u8]>> = match unlistened {
            Unlistened::Nothing => return Flow::Continue(()),
            Unlistened::Unclear => return self.end_deaf(DeafReason::Unclear),
            Unlistened::All => hearing.channels.iter().cloned().collect(),
            Unlistened::Channels(names) => names.into_iter().map(|name| name.into_bytes().into()).collect(),
        };
        for channel in gone {
            if hearing.channels.remove(&channel) {
                hearing.ear.unlisten(&channel);
            }
        }
        Flow::Continue(())
    }

    fn hear_no_more_if_idle(&mut self) {
        if self.hearing.as_ref().is_some_and(|hearing| hearing.channels.is_empty()) {
            self.hearing = None;
            self.session.hears(false);
        }
    }

    /// Has a LISTEN done that stands first in what is not read yet.
    pub(super) fn obey_listen(&mut self, verdict: Verdict, len: usize) -> Listens {
        let Some(up) = &mut self.up else { return Listens::NotYet };
        let unread = up.unread();
        let frame = &unread[..len];
        let text = self.session.text_of(frame);
        let Some(commands) = Command::read(text) else { return Listens::Passes };
        let first = commands.iter().position(Command::listens).unwrap_or_default();
        let (mut ahead, mut behind) = (completed(&commands[..first]), completed(&commands[first..]));
        let mut len = len;
        if verdict == Verdict::ListenInBatch {
            match ListenBatch::read(unread) {
                ListenBatch::Part => return Listens::NotYet,
                ListenBatch::Other => return Listens::Passes,
                ListenBatch::Whole { bytes, ahead: bound, behind: closed } => {
                    len = bytes;
                    ahead.extend(bound);
                    behind.extend(closed);
                }
            }
        }
        let hearing = match self.hearing.take() {
            Some(hearing) => hearing,
            None => match self.shared.pools.ear(&self.member) {
                Some(ear) => Box::new(Hearing::new(ear)),
                // The session has to keep a server.
                None => return Listens::Passes,
            },
        };
        let asked = hearing.ear.listen(commands.clone(), text);
        self.session.listens(frame);
        self.hearing = Some(hearing);
        up.discard(len);
        self.transaction_begins();
        let place = Arc::clone(&self.key.place);
        self.key.place.waits();
        self.state.set(ClientState::Waiting);
        self.errand = Some(Errand {
            done: Box::pin(async move { asked.await.map(|()| None).map_err(refused) }),
            cancelled: Box::pin(async move { CancelPlace::cancelled_while_waiting(&place).await }),
            task: Task::Listen(Box::new(Listening { commands, ahead, behind })),
        });
        Listens::Now
    }

    /// PostgreSQL listens, or will not.
    pub(super) fn on_listens(&mut self, listening: &Listening, done: Result<(), Reply>) -> Flow {
        // Where the text itself is wrong nothing of it was done.
        let is_understood = done.as_ref().err().is_none_or(|error| !error.summary().0.starts_with("42"));
        if is_understood {
            self.own.extend_from_slice(&listening.ahead);
        }
        match done {
            Ok(()) => {
                self.session.hears(true);
                self.own.extend_from_slice(&listening.behind);
                if let Some(hearing) = &mut self.hearing {
                    hearing.channels.extend(listening.channels());
                }
                // What came before it hears no more is still told.
                self.tell()?;
                if let Some(hearing) = &mut self.hearing {
                    listening.change(&mut hearing.channels);
                }
            }
            Err(error) => {
                let (code, text) = error.summary();
                tracing::info!(plugin = &*self.metrics.name, code, error = text, "LISTEN refused");
                if let Some(hearing) = &self.hearing {
                    if let Some(reason) = hearing.ear.deaf() {
                        return self.end_deaf(reason);
                    }
                    // It may have been done in the moment in which it was cancelled.
                    listening.channels().filter(|channel| !hearing.channels.contains(channel)).for_each(|channel| {
                        hearing.ear.unlisten(&channel);
                    });
                    if !hearing.channels.iter().all(|channel| hearing.ear.hears(channel)) {
                        return self.end_deaf(DeafReason::Unclear);
                    }
                }
                if let Reply::Ours(report) = &error
                    && report.severity == Severity::Fatal
                {
                    return Flow::Break(Ending::Told(report.clone()));
                }
                error.write(&mut self.own);
            }
        }
        self.hear_no_more_if_idle();
        message::ready_for_query(&mut self.own, TxStatus::Idle);
        self.turn_passes();
        Flow::Continue(())
    }
}

/// A text of LISTENs, and perhaps UNLISTENs, that is being done.
pub(super) struct Listening {
    commands: Vec<Command>,
    /// What is answered ahead of the first LISTEN's own answer.
    ahead: Vec<u8>,
    /// That answer, and what is answered behind it.
    behind: Vec<u8>,
}

impl Listening {
    fn channels(&self) -> impl Iterator<Item = Box<[u8]>> {
        Command::channels(&self.commands).map(|channel| channel.as_bytes().into())
    }

    fn change(&self, channels: &mut HashSet<Box<[u8]>>) {
        for command in &self.commands {
            match command {
                Command::Listen(channel) => drop(channels.insert(channel.as_bytes().into())),
                ended => channels.retain(|channel| !ended.ends(channel)),
            }
        }
    }
}

/// What is answered when these are done.
fn completed(commands: &[Command]) -> Vec<u8> {
    let mut out = Vec::new();
    commands.iter().for_each(|command| message::command_complete(&mut out, command.tag()));
    out
}

/// What becomes of a LISTEN.
pub(super) enum Listens {
    /// It is being done.
    Now,
    /// Not all of it is there.
    NotYet,
    /// It is the server's.
    Passes,
}

fn refused(error: ListenError) -> Reply {
    match error {
        ListenError::Acquire(error) => reply::not_lent(&error, Severity::Error),
        ListenError::Refused(body) => Reply::Passed(Severity::Error, body),
        ListenError::Lost => Reply::Ours(reply::deaf(DeafReason::Lost)),
    }
}
