//! The loop that carries a client's bytes to the server it is lent, and the answers back.
//!
//! One task for each client. `poll` waits for the next thing that can happen and moves bytes that are ready; everything
//! else here is a plain function of what has arrived. Both directions flow independently of each other, so that neither
//! a client that does not read nor a server that does not read stops the other direction.
//!
//! - `poll`: what can happen next.
//! - `upstream`: frames of the client.
//! - `downstream`: frames of the server.
//! - `errand`: what greenroom does itself for a client.
//! - `hearing`: what a client hears that listens.
//! - `lending`: the lease: asking, dressing, giving back.
//! - `limits`: deadlines.
//! - `remains`: what a session has left on its server.
//! - `signals`: what one client does to another.
//! - `told`: what the client has heard of its settings.
//! - `notice`: what is told to others: migrations, and what is expected of public.

mod downstream;
mod errand;
mod hearing;
mod lending;
mod limits;
mod notice;
mod poll;
mod remains;
mod signals;
mod told;
mod upstream;

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;
use tokio_util::sync::{WaitForCancellationFuture, WaitForCancellationFutureOwned};

use super::epoch::Epoch;
use super::login::LoggedIn;
use super::registry::Registered;
use super::reply;
use super::shared::Shared;
use crate::cancel::CancelKey;
use crate::config::PoolMode;
use crate::metrics::{ClientState, GaugeGuard, InState, PluginMetrics};
use crate::net::{Buffer, Stream};
use crate::pool::{Member, Migration};
use crate::protocol::message::Report;
use crate::protocol::tag::TxStatus;
use crate::server::{Dress, FactsSnapshot};
use crate::session::{PinReason, Session};
use errand::Errand;
use hearing::Hearing;
use lending::Lending;
use limits::{Timer, news};
use poll::Event;
use signals::Signalling;
use told::Told;

/// How a client's time ends.
#[derive(Debug)]
enum Ending {
    /// It said goodbye, or left, or the server has said everything there is to say.
    Silent,
    /// It is told this first.
    Told(Report),
}

/// Whether the relay goes on.
type Flow = ControlFlow<Ending>;

/// One client's relay.
pub(super) struct Relay<'a> {
    shared: &'a Shared,
    client: Stream,
    member: Member,
    key: CancelKey,
    _registered: Registered,
    /// What a server wears for this session.
    dress: Dress,
    /// What the client believes of it.
    told: Told,
    session: Session,
    /// Where the plugin's extensions are, if it has a schema and they have one.
    extensions: Option<Arc<str>>,
    /// The session has taken the lock of its plugin's migrations.
    migration: Option<Migration>,
    lending: Lending,
    /// What is being done for the client meanwhile.
    errand: Option<Errand<'a>>,
    /// What the client hears, if it listens to anything.
    hearing: Option<Box<Hearing>>,
    /// Where the session's transaction stands, as the client was last told.
    status: TxStatus,

    /// From the client: borrowed while something is in it.
    up: Option<Buffer>,
    /// Goes to the server before what is in `up`: our own messages, and frames that stood before one of them.
    ahead: Vec<u8>,
    /// How many of its bytes went out.
    ahead_sent: usize,
    /// Bytes still to come of a client's frame that is larger than the buffer.
    up_left: usize,
    /// Whether they go to the server.
    up_forwards: bool,

    /// The frame that is read next waits for something.
    held_back: HeldBack,

    /// From the server: borrowed while something is in it.
    down: Option<Buffer>,
    /// Goes to the client after what is in `down`: what greenroom answers itself.
    own: Vec<u8>,
    own_sent: usize,
    /// Bytes still to come of a server's frame that is larger than the buffer.
    down_left: usize,
    /// Whether they go to the client.
    down_forwards: bool,
    /// The last read filled the whole buffer: the next one had better be larger.
    bulk: Bulk,
    /// The server's last error was a farewell.
    server_said_farewell: bool,
    /// The server no longer takes bytes; it may still have something to say.
    server_is_deaf: bool,
    /// Bytes were written that may rest in a TLS session's buffer.
    server_needs_flush: bool,
    /// The client sends nothing more; what it asked for is still done, as PostgreSQL would.
    leaving: bool,

    metrics: Arc<PluginMetrics>,
    state: InState<ClientState>,
    pinned: Option<GaugeGuard>,
    /// What was known of the database's code when the lease began.
    facts: FactsSnapshot,
    /// The leased server remembers of sequences only what this session did.
    has_own_sequences: bool,
    /// The limits in time.
    epoch: Arc<Epoch>,
    /// They have changed, the proxy drains, or the client is ended.
    news: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The client is told to go when it is at rest.
    is_draining: bool,
    /// Somebody has ended it.
    is_ended: bool,
    /// Signals that it may send to others.
    signalling: Vec<Signalling>,
    /// It is told to go wherever it is. Only waited for while draining.
    ending: Pin<Box<WaitForCancellationFuture<'a>>>,
    times: Times,
    timer: Timer,
}

/// What a client's frame waits for before anything is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldBack {
    No,
    /// A server: what becomes of it depends on what that one has prepared.
    ForServer,
    /// Answers that are on their way.
    ForAnswers,
}

/// Which directions carry bulk.
#[derive(Debug, Default)]
struct Bulk {
    up: bool,
    down: bool,
}

/// When things began; each reading of the clock serves every limit.
#[derive(Debug)]
struct Times {
    /// The transaction at hand, from its first message.
    transaction: Option<Instant>,
    /// The last wait for a server was over.
    lent: Option<Instant>,
    /// The client's turn: the last ReadyForQuery, or the login.
    clients_turn: Instant,
    /// The client does not take what was sent to it.
    write_blocked: Option<Instant>,
}

impl<'a> Relay<'a> {
    pub(super) fn new(client: LoggedIn, shared: &'a Shared) -> Self {
        let mut up = None;
        if !client.leftover.is_empty() {
            // A hello is read into a buffer smaller than this one.
            up.insert(shared.buffers.take(true)).append(&client.leftover);
        }
        let epoch = shared.epoch();
        let news = news(&epoch, &client.key);
        let mut relay = Self {
            metrics: Arc::clone(&client.member.metrics),
            client: client.stream,
            member: client.member,
            _registered: client.registered,
            news,
            // Before its first statement already.
            is_ended: client.key.place.is_ended(),
            key: client.key,
            told: Told::greeted(&client.dress, client.greeted),
            dress: client.dress,
            session: client.session,
            extensions: client.extensions,
            migration: None,
            lending: Lending::Free,
            errand: None,
            hearing: None,
            status: TxStatus::Idle,
            up,
            ahead: Vec::new(),
            ahead_sent: 0,
            up_left: 0,
            up_forwards: false,
            held_back: HeldBack::No,
            down: None,
            own: Vec::new(),
            own_sent: 0,
            down_left: 0,
            down_forwards: false,
            bulk: Bulk::default(),
            server_said_farewell: false,
            server_is_deaf: false,
            server_needs_flush: false,
            leaving: false,
            state: client.state,
            pinned: None,
            facts: FactsSnapshot::default(),
            has_own_sequences: true,
            epoch,
            is_draining: false,
            signalling: Vec::new(),
            ending: Box::pin(shared.ending.cancelled()),
            times: Times { transaction: None, lent: None, clients_turn: Instant::now(), write_blocked: None },
            timer: Timer::default(),
            shared,
        };
        relay.state.set(ClientState::Idle);
        relay.session.set_settings(relay.dress.fingerprint());
        relay.session.set_ways_home(relay.dress.ways_home());
        if relay.member.mode() == PoolMode::Session {
            relay.session.pin_for(PinReason::SessionMode);
        }
        if let Some((lease, reason)) = client.kept {
            relay.session.pin_for(reason);
            relay.keep(lease);
        }
        relay
    }

    /// Carries bytes until the client or the server ends.
    pub(super) async fn run(mut self) {
        let begun = if self.up.is_some() { self.on_client_bytes(0) } else { Flow::Continue(()) };
        let ending = match begun {
            Flow::Continue(()) => poll_fn(|cx| self.poll_ending(cx)).await,
            Flow::Break(ending) => ending,
        };
        self.end(ending).await;
    }

    /// Ready at the end. Dropping what waits for it loses nothing: what has moved is accounted for at once.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let event = ready!(self.poll_event(cx));
            if let Flow::Break(ending) = self.on_event(event) {
                return Poll::Ready(ending);
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Flow {
        match event {
            Event::ClientBytes(bytes) => self.on_client_bytes(bytes),
            Event::ClientGone => Flow::Break(Ending::Silent),
            Event::ClientLeft => self.on_client_left(),
            Event::ServerBytes(bytes) => self.on_server_bytes(bytes),
            Event::ServerGone => self.on_server_gone(),
            Event::Lent(result) => self.on_lent(*result),
            Event::Heard => self.on_heard(),
            Event::Told => self.on_told_all(),
            Event::ErrandDone(result) => self.on_errand_done(result),
            Event::Cancelled if self.errand.is_some() => {
                self.on_errand_done(Err(reply::Reply::Ours(reply::cancelled())))
            }
            Event::Cancelled => self.fail_outstanding(&reply::Reply::Ours(reply::cancelled())),
            Event::Deadline => self.on_deadline(),
            Event::Draining => Flow::Break(Ending::Told(reply::shutdown())),
            Event::Ended => self.on_ended(),
        }
    }

    /// The client sends nothing more. PostgreSQL does what it was asked before it looks at the end of its input; a client
    /// that vanished while it waited for a server does not hold its place.
    fn on_client_left(&mut self) -> Flow {
        let has_server = matches!(self.lending, Lending::Leased(_)) || self.is_asking();
        // What came while its server is asked is read when that has told.
        let is_unread = self.is_asking() && self.up.as_ref().is_some_and(|up| !up.unread().is_empty());
        // What is held back was asked before.
        let asks_more = self.session.ends_by_itself() || self.held_back != HeldBack::No || is_unread;
        if !(has_server && asks_more) {
            return Flow::Break(Ending::Silent);
        }
        self.leaving = true;
        Flow::Continue(())
    }

    /// Whether the session's own server is being asked something.
    fn is_asking(&self) -> bool {
        matches!(&self.lending, Lending::Waiting(waiting) if waiting.own)
    }

    /// Gives everything back. What the client left unfinished is rolled back by closing the server.
    async fn end(mut self, ending: Ending) {
        self.put_lease_away();
        if let Ending::Told(report) = &ending {
            report.write(&mut self.own);
        }
        // What the server said last belongs to the client, even if the server is gone.
        let down = self.down.as_ref().map(Buffer::outgoing).unwrap_or_default();
        // Nothing can be said in the middle of a message.
        let in_message = self.down_left > 0 && self.down_forwards;
        let own = if in_message { &[] } else { &self.own[self.own_sent..] };
        if !down.is_empty() || !own.is_empty() {
            let last = [down, own].concat();
            reply::send_last(&mut self.client, &last).await;
        }
        for buffer in [self.up.take(), self.down.take()].into_iter().flatten() {
            self.shared.buffers.give_back(buffer);
        }
    }

    /// Nothing is asked, nothing is on its way, and no transaction is open: the client could leave without loss.
    fn is_at_rest(&self) -> bool {
        let nothing_on_its_way = self.up.is_none() && self.ahead.is_empty() && self.errand.is_none();
        self.status == TxStatus::Idle && self.session.is_settled() && nothing_on_its_way
    }
}
