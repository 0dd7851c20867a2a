//! Listens for all clients of a physical database, on one connection.
//!
//! A client that listens has an [`Ear`]; the connection is opened with the first and closed after the last. A LISTEN is
//! acknowledged after PostgreSQL has done so on that connection, and the client hears what comes from just there on.
//!
//! - `mailbox`: what was heard for one client.
//! - `senders`: who has sent it.
//! - `work`: the connection.

mod mailbox;
mod senders;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use mailbox::Mailbox;
pub use mailbox::{MOST_BYTES, Notification};
pub(super) use senders::Senders;
use work::AtWork;

use super::error::AcquireError;
use super::{Member, Pools};
use crate::config::ServerAddress;
use crate::metrics::{DeafReason, GaugeGuard};
use crate::sql::listening::Command;

/// Where clients hear the same: an address, a physical database and the encoding of what is told.
pub(super) type Key = (ServerAddress, Arc<str>, Arc<str>);

/// Why a LISTEN was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ListenError {
    /// No connection could be had for it.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// PostgreSQL refused it; the body of its ErrorResponse.
    #[error("PostgreSQL refused a LISTEN")]
    Refused(Bytes),
    /// The connection was lost.
    #[error("the connection that listens was lost")]
    Lost,
}

/// Listens for all clients of a physical database.
#[derive(Debug)]
pub(super) struct Listener {
    /// The encoding of what is told.
    encoding: Arc<str>,
    /// Guards who hears what, and what is to be asked next.
    state: Mutex<State>,
    /// Told when there is something to be asked, or somebody has left.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Who opens the connection, or has it, by a number.
    at_work: Option<u64>,
    /// The connection is there.
    is_open: bool,
    last_id: u64,
    /// Everybody who listens, or is about to.
    ears: HashMap<u64, Arc<Mailbox>>,
    /// Who hears what.
    channels: HashMap<Box<[u8]>, Vec<Hears>>,
    /// What is to be asked next.
    wishes: Vec<Wish>,
    /// There may be channels that nobody wants to hear any more.
    somebody_left: bool,
}

/// Somebody who hears a channel.
type Hears = (u64, Arc<Mailbox>);

/// Something to be asked of PostgreSQL.
#[derive(Debug)]
enum Wish {
    /// To listen.
    Listen { asker: Asker, sql: Bytes },
    /// Nothing: when it has answered, everything that was committed before has been heard.
    Sync(oneshot::Sender<()>),
}

/// Who is to hear other channels once PostgreSQL has done so.
#[derive(Debug)]
struct Asker {
    ear: u64,
    commands: Vec<Command>,
    done: oneshot::Sender<Result<(), ListenError>>,
}

/// One client's right to hear. Dropping it ends all that it listens to.
#[derive(Debug)]
pub struct Ear {
    id: u64,
    listener: Arc<Listener>,
    mailbox: Arc<Mailbox>,
    _counted: GaugeGuard,
}

impl Pools {
    /// An ear for a client of this plugin; `None` if no connection may be kept for it.
    pub fn ear(&self, member: &Member) -> Option<Ear> {
        let parameters = member.pool.parameters()?;
        let (_, encoding) = parameters.iter().find(|(name, _)| &**name == "client_encoding")?;
        let key = &member.pool.key;
        let key: Key = (key.address.clone(), Arc::clone(&key.database), Arc::from(&**encoding));
        let encoding = Arc::clone(&key.2);
        let listener = Arc::clone(self.known.lock().listeners.entry(key).or_insert_with_key(|(_, database, _)| {
            let listener = Listener::new(encoding);
            member.pool.scheduler.crew.senders.heard_by(Arc::clone(database), Arc::clone(&listener));
            listener
        }));
        listener.ear(member)
    }
}

impl Listener {
    fn new(encoding: Arc<str>) -> Arc<Self> {
        Arc::new(Self { encoding, state: Mutex::default(), news: Notify::new() })
    }

    /// The ceiling may have changed.
    pub(super) fn limits_have_changed(&self) {
        self.news.notify_one();
    }

    /// Ready, or dropped, once everything has been heard that was committed before; `None` if nobody hears anything.
    fn sync(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        state.is_open.then(|| {
            let (done, answer) = oneshot::channel();
            state.wishes.push(Wish::Sync(done));
            self.news.notify_one();
            answer
        })
    }

    fn ear(self: &Arc<Self>, member: &Member) -> Option<Ear> {
        let mailbox = Arc::<Mailbox>::default();
        let mut state = self.state.lock();
        if state.at_work.is_none() {
            if !member.pool.scheduler.look(|core| core.listener_begins()) {
                return None;
            }
            let number = state.new_id();
            state.at_work = Some(number);
            tokio::spawn(work::listen(AtWork::begins(self, member, number)));
        }
        let id = state.new_id();
        state.ears.insert(id, Arc::clone(&mailbox));
        let counted = GaugeGuard::new(&member.metrics.listening);
        Some(Ear { id, listener: Arc::clone(self), mailbox, _counted: counted })
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// From here on the ear, if it is still there, hears what these leave.
    fn obeys(&mut self, ear: u64, commands: &[Command]) {
        let Some(mailbox) = self.ears.get(&ear).map(Arc::clone) else {
            self.somebody_left = true;
            return;
        };
        for command in commands {
            match command {
                Command::Listen(channel) => {
                    let hears = self.channels.entry(channel.as_bytes().into()).or_default();
                    if hears.iter().all(|(other, _)| *other != ear) {
                        hears.push((ear, Arc::clone(&mailbox)));
                    }
                }
                Command::Unlisten(channel) => self.leaves(ear, channel.as_bytes()),
                Command::UnlistenAll => self.leaves_all(ear),
            }
        }
    }

    fn leaves(&mut self, ear: u64, channel: &[u8]) {
        if let Some(hears) = self.channels.get_mut(channel) {
            hears.retain(|(other, _)| *other != ear);
            if hears.is_empty() {
                self.channels.remove(channel);
            }
        }
        self.somebody_left = true;
    }

    fn leaves_all(&mut self, ear: u64) {
        self.channels.retain(|_, hears| {
            hears.retain(|(other, _)| *other != ear);
            !hears.is_empty()
        });
        self.somebody_left = true;
    }
}

impl Ear {
    /// Listens to channels with the client's own text, which says just that. If the future is dropped before it is done, nothing
    /// changes.
    pub fn listen(
        &self,
        commands: Vec<Command>,
        sql: &[u8],
    ) -> impl Future<Output = Result<(), ListenError>> + Send + 'static {
        let (done, answer) = oneshot::channel();
        let asker = Asker { ear: self.id, commands, done };
        self.wish(Wish::Listen { asker, sql: Bytes::copy_from_slice(sql) });
        async { answer.await.unwrap_or(Err(ListenError::Lost)) }
    }

    /// Whether it hears the channel.
    pub fn hears(&self, channel: &[u8]) -> bool {
        let state = self.listener.state.lock();
        state.channels.get(channel).is_some_and(|hears| hears.iter().any(|(ear, _)| *ear == self.id))
    }

    /// Listens to a channel no more, at once. What was heard already waits.
    pub fn unlisten(&self, channel: &[u8]) {
        self.listener.state.lock().leaves(self.id, channel);
        self.listener.news.notify_one();
    }

    /// Ready once everything has been heard that was committed before, or nothing is heard any more.
    pub fn sync(&self) -> impl Future<Output = ()> + Send + 'static {
        let (done, answer) = oneshot::channel();
        self.wish(Wish::Sync(done));
        async { answer.await.unwrap_or(()) }
    }

    /// The encoding of what is told.
    pub fn encoding(&self) -> &str {
        &self.listener.encoding
    }

    /// Ready when there is something to be told.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll(cx)
    }

    /// Everything that has been heard.
    pub fn take(&self) -> impl Iterator<Item = Notification> + use<> {
        self.mailbox.take().into_iter()
    }

    /// Why something was, or will be, missed.
    pub fn deaf(&self) -> Option<DeafReason> {
        self.mailbox.deaf()
    }

    /// Dropped if nothing is heard any more.
    fn wish(&self, wish: Wish) {
        let mut state = self.listener.state.lock();
        if state.ears.contains_key(&self.id) {
            state.wishes.push(wish);
            drop(state);
            self.listener.news.notify_one();
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut state = self.listener.state.lock();
        state.ears.remove(&self.id);
        state.leaves_all(self.id);
        drop(state);
        self.listener.news.notify_one();
    }
}
