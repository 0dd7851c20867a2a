//! The virtual session: what a client believes it has, kept apart from the server that happens to serve it.
//!
//! No I/O: frames go in, decisions come out. [`Session::on_client`] says what becomes of a client's frame,
//! [`Session::on_server`] whose answer a server's frame is. Both count what was asked and is not yet answered, so that a
//! lease ends when nothing of this client is left on the server, and an answer to one of our own messages never reaches
//! a client.
//!
//! - `acting`: statements that are acted upon.
//! - `hearing`: LISTEN and UNLISTEN.
//! - `settings`: lone statements about settings.
//! - `asked`: the queue of what was asked.
//! - `named`: frames that name a prepared statement.
//! - `deallocate`: a lone DEALLOCATE of one.
//! - `messages`: messages of ours about them.
//! - `way`: what goes ahead of texts that may see the names of statements.
//! - `statements`: the client's prepared statements that have names.
//! - `prepared`: what a server has prepared.
//! - `parameter`: numbers of processes among the parameters of a Bind.
//! - `process`: numbers of processes, the session's own and those that a signal is for.
//! - `texts`: what texts may leave behind.
//! - `unnamed`: the client's own unnamed statement.
//! - `pin`: why a session keeps its server, and until when.

mod acting;
pub mod asked;
mod deallocate;
mod frames;
mod hearing;
mod messages;
mod named;
mod parameter;
pub mod pin;
pub mod prepared;
mod process;
mod replies;
mod settings;
pub mod statements;
mod texts;
pub mod unnamed;
mod way;

use acting::Acting;
use asked::{Asked, Queue};
pub use frames::Verdict;
use hearing::Hearing;
pub use hearing::{ListenBatch, Unlistened};
use pin::Pin;
pub use pin::PinReason;
use prepared::Batch;
pub use prepared::{Description, Fingerprint, Prepared};
use process::Signals;
pub use process::{LOWEST_PID, Outcome, SignalNumber, Wanted};
pub use replies::{Failure, Reply};
pub use settings::Change;
pub use statements::Serial;
use statements::{LeaseNumber, Statements};
use unnamed::Unnamed;
pub use way::Takeover;

use crate::protocol::tag::TxStatus;
use crate::sql::{Effect, Effects, Quoting, Scanner};

/// One client's virtual session, from its login to its goodbye.
#[derive(Debug)]
pub struct Session {
    quoting: Quoting,
    queue: Queue,
    unnamed: Unnamed,
    statements: Statements,
    /// What the texts of the transaction at hand may leave behind.
    effects: Effects,
    /// What statements too large to be kept may leave behind whenever they are executed, and what stays true of every text.
    lasting_effects: Effects,
    pin: Pin,
    /// The server is to be asked what is left there once the unnamed statement with this number is no more.
    asks_later_than: Option<u64>,
    /// A frame larger than the buffer is passing through; its text is read in pieces.
    passing: Option<Passing>,
    /// Whether a COPY takes data, and from whom the next move is.
    copy_in: CopyIn,
    /// A Sync was sent where that COPY takes data: if it fails, whether the server has ignored it cannot be told.
    copy_has_sync: bool,
    /// Where the session's transaction stands, as the last ReadyForQuery said.
    status: TxStatus,
    acting: Acting,
    hearing: Hearing,
    signals: Signals,
    /// Something that was asked in this lease may tell those who listen.
    notifies: bool,
    /// What goes to the server in place of the beginning of the frame at hand.
    splice: Vec<u8>,
    /// The statement that was prepared again for the frame at hand, to see what PostgreSQL tells of it now.
    looked_at: Option<Serial>,
    /// What was told of the parameters of a statement; what is told of its columns comes next.
    parameters: Vec<u8>,
    /// A number for the batch at hand, or the next one.
    batch: Batch,
    /// The last statement with a name that was prepared before the batch at hand.
    last_before_batch: Serial,
    /// A number for the lease at hand, or the next one.
    lease: LeaseNumber,
    /// What any text may do while this lease lasts, though none shows it.
    suspicion: Effects,
    /// What is told instead of an error of the server's.
    reworded: Vec<u8>,
    /// A frame waits for a server: what will have failed if there is none.
    blocked: Option<Asked>,
    /// There was none, and the client has been told: the frame itself is for nobody.
    blocked_has_failed: bool,
    /// The frame at hand was shown before.
    is_shown_again: bool,
    /// What the statements that were bound in the batch at hand may leave behind.
    bound_effects: Effects,
    /// A statement that is running has freed the names of all prepared statements.
    has_deallocated: bool,
    /// Numbers for the settings that prepared statements depend on.
    settings: Fingerprint,
    /// What it was when the session began.
    first_settings: Option<Fingerprint>,
    /// What was asked since the last ReadyForQuery may leave behind.
    cycle_effects: Effects,
    /// Messages of the extended protocol were sent since the last Sync: only Sync ends their implicit transaction.
    batch_is_open: bool,
    /// A statement was bound among them.
    batch_has_bound: bool,
    /// A Query came in a batch before its Sync.
    mixes_protocols: bool,
    /// An error ended a batch whose Sync has not come yet: the server ignores everything up to it.
    skipping: bool,
    /// The same, of an error that was ours: we ignore everything up to Sync.
    discarding: bool,
    /// Something was answered that was not asked, or cannot be told: the server must not be used again.
    doubtful: bool,
    queries: u32,
    /// Texts that name the schema public.
    public_references: u32,
}

/// Where a COPY ... FROM STDIN stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyIn {
    /// None runs.
    No,
    /// The server takes data and ignores Flush and Sync.
    Taking,
    /// The end of its data has been sent.
    Ending,
}

/// Encodings of clients with ASCII bytes inside of characters (PostgreSQL, "Supported Character Sets"), as it reports them.
const UNREADABLE_ENCODINGS: [&[u8]; 7] = [b"SJIS", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB", b"SHIFT_JIS_2004"];

#[derive(Debug)]
struct Passing {
    scanner: Scanner,
    is_named: bool,
    keeps_unnamed: bool,
}

impl Session {
    /// A session whose literals the server will read with `quoting`.
    pub fn new(quoting: Quoting) -> Self {
        Self {
            quoting,
            queue: Queue::default(),
            unnamed: Unnamed::default(),
            statements: Statements::default(),
            effects: Effects::NONE,
            lasting_effects: Effects::NONE,
            pin: Pin::default(),
            asks_later_than: None,
            passing: None,
            copy_in: CopyIn::No,
            copy_has_sync: false,
            status: TxStatus::Idle,
            acting: Acting::default(),
            hearing: Hearing::default(),
            signals: Signals::default(),
            notifies: false,
            splice: Vec::new(),
            looked_at: None,
            parameters: Vec::new(),
            batch: 0,
            last_before_batch: 0,
            lease: 1,
            suspicion: Effects::NONE,
            reworded: Vec::new(),
            blocked: None,
            blocked_has_failed: false,
            is_shown_again: false,
            bound_effects: Effects::NONE,
            has_deallocated: false,
            settings: Fingerprint::default(),
            first_settings: None,
            cycle_effects: Effects::NONE,
            batch_is_open: false,
            batch_has_bound: false,
            mixes_protocols: false,
            skipping: false,
            discarding: false,
            doubtful: false,
            queries: 0,
            public_references: 0,
        }
    }

    /// The server reads literals differently from now on.
    pub fn set_quoting(&mut self, quoting: Quoting) {
        self.quoting = quoting;
    }

    /// Whether everything that was asked has been answered.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.copy_in == CopyIn::No && !self.batch_is_open
    }

    /// Whether every answer has come and the next move is the client's, perhaps in the middle of a batch.
    #[inline]
    pub fn is_waiting_for_client(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the server did something that was not asked of it, and so must not be lent again.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether a server that has done all as it should may not serve another session all the same.
    ///
    /// A Query in a batch without its Sync: PostgreSQL 18 goes on in the batch's implicit transaction, and can begin none after
    /// the Sync that ends it (XX000, `unexpected state STARTED`).
    pub fn may_have_spoiled_server(&self) -> bool {
        self.mixes_protocols
    }

    /// What the transaction at hand may leave behind.
    pub fn effects(&self) -> Effects {
        let mut effects = self.effects;
        effects.extend(self.lasting_effects);
        effects
    }

    /// The client's texts are in this encoding from now on.
    ///
    /// In some, the second byte of a character can be a backslash, and the scanner could be led astray by it.
    pub fn set_encoding(&mut self, name: &[u8]) {
        if UNREADABLE_ENCODINGS.iter().any(|unreadable| name.eq_ignore_ascii_case(unreadable)) {
            self.lasting_effects.insert(Effect::Unreadable);
            self.pin_for(PinReason::Statement(Effect::Unreadable));
        }
    }

    /// Whether the server will say ReadyForQuery without anything more from the client.
    pub fn ends_by_itself(&self) -> bool {
        self.queue.ends_by_itself() && self.copy_in != CopyIn::Taking && !self.batch_is_open && self.passing.is_none()
    }

    /// What was asked since the last call may leave behind.
    pub fn take_cycle_effects(&mut self) -> Effects {
        std::mem::replace(&mut self.cycle_effects, self.lasting_effects)
    }

    /// What [`Self::take_cycle_effects`] told is not over yet: it counts for the next call as well.
    pub fn counts_again(&mut self, effects: Effects) {
        self.cycle_effects.extend(effects);
    }

    /// A simple query of ours has ended the server's unnamed statement.
    pub fn unnamed_left_server(&mut self) {
        self.unnamed.leave_server();
    }

    /// The answers to `cycles` simple queries of ours come before any other and are for nobody else.
    ///
    /// To be called when a lease begins, before its first byte is sent.
    pub fn expect_prelude(&mut self, cycles: u32) {
        self.queue.put_prelude_first(cycles);
    }

    /// A transaction ended on a server that the session keeps.
    pub fn transaction_ended(&mut self) {
        self.effects = Effects::NONE;
    }

    /// The lease ended and its server is gone or another's.
    pub fn lease_ended(&mut self) {
        self.status = TxStatus::Idle;
        self.acting.lease_ended();
        self.hearing.lease_ended();
        self.forget_signals();
        self.notifies = false;
        self.effects = Effects::NONE;
        self.cycle_effects = Effects::NONE;
        self.doubtful = false;
        self.mixes_protocols = false;
        self.looked_at = None;
        self.asks_later_than = None;
        self.lease += 1;
        self.suspicion = Effects::NONE;
        self.unnamed.lease_ended();
    }

    /// Whether those who listen may be told something by what was asked in this lease. Of a session that keeps its server nobody
    /// can tell.
    #[inline]
    pub fn may_notify(&self) -> bool {
        self.notifies || self.pin().is_some()
    }

    /// Statements asked since the last call.
    pub fn take_queries(&mut self) -> u32 {
        std::mem::take(&mut self.queries)
    }

    /// Texts read since the last call that name the schema public by hand.
    #[inline]
    pub fn take_public_references(&mut self) -> u32 {
        std::mem::take(&mut self.public_references)
    }
}

#[cfg(test)]
mod conversation_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod pin_tests;
#[cfg(test)]
mod postgres_tests;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod tests;
