//! Numbers of processes: the session's own, which is none of PostgreSQL's, and those of other sessions that a signal is for.
//!
//! A SELECT of pg_backend_pid() goes out with the session's own number in it. A signal to another session of ours goes out with the
//! number of a process of PostgreSQL's that stands in for that session: who finds it decides, and keeps that process from anybody
//! else until [`Session::take_signals`] tells that the signal is over. PostgreSQL says whether it may be sent, and sends it.

use std::ops::Range;

use super::asked::{Asked, Closing, Whose};
use super::frames::{Verdict, parts_of_parse};
use super::messages::close_statement;
use super::parameter::{Format, Value, is_plain};
use super::prepared::{self, NOBODYS, Prepared};
use super::statements::Serial;
use super::{CopyIn, Session};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frontend, body, message};
use crate::sql::process::{self, Pid, Signal};

/// The lowest number of a session of ours: PostgreSQL's own are below 2^22 (PID_MAX_LIMIT of Linux).
pub const LOWEST_PID: i32 = 1 << 30;

/// The most signals that a session may have under way: each keeps a server from others.
const MOST_UNDER_WAY: usize = 8;

/// A number for each signal of a session.
pub type SignalNumber = u32;

/// A signal to another session of ours, perhaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The signal's own number.
    pub signal: SignalNumber,
    /// The session's.
    pub pid: i32,
    /// It is to end, not only what it does.
    pub ends: bool,
}

/// How a signal went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// PostgreSQL has sent it.
    Sent,
    /// PostgreSQL may have sent it.
    Unclear,
    /// It was refused, or never asked for.
    NotSent,
}

/// What there is of signals in a session.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The session's own number; 0 is that of no session.
    own_pid: i32,
    last: SignalNumber,
    /// What the last verdict was about.
    wanted: Option<Wanted>,
    /// What was decided about it: the process that stands in, if any.
    decided: Option<Option<i32>>,
    /// On their way to the server, or there.
    under_way: Vec<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    signal: SignalNumber,
    by: By,
    outcome: Outcome,
}

/// What the server does to send it.
#[derive(Debug, PartialEq, Eq)]
enum By {
    Query,
    /// The unnamed statement, which is not bound yet.
    Unnamed,
    /// The portal of this name.
    Portal {
        name: Box<[u8]>,
        /// Of the unnamed statement with the number in its text: it can be bound again.
        of_unnamed: bool,
        /// Nothing else has been done since that may have put another statement in its place.
        is_certain: bool,
        /// It was executed, and nothing executes it a second time.
        is_done: bool,
    },
    /// Nothing: its batch had failed.
    Skipped,
}

impl Session {
    /// The session's own number, as its client knows it.
    pub fn is_known_as(&mut self, pid: i32) {
        self.signals.own_pid = pid;
    }

    /// Whom the signal is for that [`Verdict::Signal`] is about.
    pub fn wanted_signal(&self) -> Option<Wanted> {
        self.signals.wanted
    }

    /// This process stands in for that session; without one the statement goes out as it is. The frame is shown again.
    pub fn stands_in(&mut self, pid: Option<i32>) {
        self.signals.decided = Some(pid);
    }

    /// The signals that are over, now that the server has said ReadyForQuery: nothing that was asked can send one of them any more.
    pub fn take_signals(&mut self) -> Vec<(SignalNumber, Outcome)> {
        let is_idle = self.status == TxStatus::Idle;
        let is_over = |by: &By| match by {
            By::Query | By::Skipped => true,
            By::Unnamed | By::Portal { of_unnamed: true, .. } => is_idle,
            // One that was not executed may outlive an error, by a savepoint.
            By::Portal { is_done, .. } => is_idle || *is_done,
        };
        let over: Vec<_> = self.signals.under_way.extract_if(.., |way| is_over(&way.by)).collect();
        if over.iter().any(|way| matches!(way.by, By::Unnamed | By::Portal { of_unnamed: true, .. })) {
            // What stood in does not stand in any more: bound again, the statement is the client's own.
            self.unnamed.leave_server();
        }
        over.into_iter().map(|way| (way.signal, way.outcome)).collect()
    }

    /// Whether a signal is on its way, or may yet be sent.
    #[inline]
    pub fn has_signals(&self) -> bool {
        !self.signals.under_way.is_empty()
    }

    /// A Query whose text is about processes.
    pub(super) fn act_on_process_query(
        &mut self,
        frame: &[u8],
        text: &[u8],
        server: Option<&mut Prepared>,
    ) -> Option<Verdict> {
        if let Some(own) = self.with_own_pid(text) {
            let mut rewritten = Vec::new();
            message::frame(&mut rewritten, Frontend::QUERY.0, |out| message::put_str(out, &own));
            return Some(self.on_rewritten(&rewritten, frame.len(), server));
        }
        let signal = Signal::read(text)?;
        let Pid::Written { ref at, number } = signal.pid else { return None };
        if self.batch_is_open || self.copy_in != CopyIn::No {
            return None;
        }
        let wanted = self.want(number, signal.ends)?;
        if let Some(own) = signal.with_schema(text) {
            let mut rewritten = Vec::new();
            message::frame(&mut rewritten, Frontend::QUERY.0, |out| message::put_str(out, &own));
            return Some(self.on_rewritten(&rewritten, frame.len(), server));
        }
        if !self.queue.is_empty() {
            return Some(Verdict::AwaitAnswers);
        }
        if self.status == TxStatus::Failed {
            return None;
        }
        if server.is_none() {
            return Some(self.block(Asked::Query { deallocates: false }));
        }
        let Some(decided) = self.signals.decided else { return Some(self.ask_who_stands_in(wanted)) };
        let at = at.start + HEADER_BYTES..at.end + HEADER_BYTES;
        self.with_stand_in(frame, decided, (at, Format::Text), By::Query, server)
    }

    /// A Parse whose text is about processes.
    pub(super) fn act_on_process_parse(&mut self, frame: &[u8], server: Option<&mut Prepared>) -> Option<Verdict> {
        let (name, text, types) = parts_of_parse(frame);
        let with_text = |text: &[u8]| {
            let mut rewritten = Vec::new();
            message::frame(&mut rewritten, Frontend::PARSE.0, |out| {
                message::put_str(out, name);
                message::put_str(out, text);
                out.extend_from_slice(types);
            });
            rewritten
        };
        if let Some(own) = self.with_own_pid(text) {
            return Some(self.on_rewritten(&with_text(&own), frame.len(), server));
        }
        let signal = Signal::read(text)?;
        let is_for_ours = match &signal.pid {
            Pid::Written { number, .. } => *number >= LOWEST_PID,
            Pid::Parameter(parameter) => is_plain(types, *parameter),
        };
        if let Some(own) = signal.with_schema(text).filter(|_| is_for_ours) {
            return Some(self.on_rewritten(&with_text(&own), frame.len(), server));
        }
        let Pid::Written { at, number } = signal.pid else { return None };
        // Of one with a name nobody can tell when it is bound for the last time: each Bind has a number of its own.
        if !name.is_empty() {
            return None;
        }
        let wanted = self.want(number, signal.ends)?;
        if let Some(verdict) = self.wait_to_signal(server.is_some()) {
            return Some(verdict);
        }
        let Some(decided) = self.signals.decided else { return Some(self.ask_who_stands_in(wanted)) };
        // Behind the name, which is a NUL.
        let at = at.start + HEADER_BYTES + 1..at.end + HEADER_BYTES + 1;
        let verdict = self.with_stand_in(frame, decided, (at, Format::Text), By::Unnamed, server)?;
        if !verdict.waits() {
            self.unnamed.was_really(frame);
        }
        Some(verdict)
    }

    /// A Bind of the unnamed statement, whose text is about processes.
    pub(super) fn act_on_unnamed_signal(&mut self, frame: &[u8], server: Option<&mut Prepared>) -> Option<Verdict> {
        if self.queue.has_ended_one() {
            // Which text it has may depend on answers that are on their way.
            return Some(Verdict::AwaitAnswers);
        }
        let parse = self.unnamed.newest();
        let (text, types) = (!parse.is_empty()).then(|| {
            let (_, text, types) = parts_of_parse(parse);
            (text.to_vec(), types.to_vec())
        })?;
        self.act_on_process_bind(frame, (&text, &types), None, server)
    }

    /// A Bind of a statement, the one of that number if it has a name, whose text, with its parameters' types, is about processes.
    pub(super) fn act_on_process_bind(
        &mut self,
        frame: &[u8],
        (text, types): (&[u8], &[u8]),
        named: Option<Serial>,
        server: Option<&mut Prepared>,
    ) -> Option<Verdict> {
        let signal = Signal::read(text)?;
        let body = &frame[HEADER_BYTES..];
        let (portal, rest) = body::cstr(body)?;
        let (_, rest) = body::cstr(rest)?;
        let parameter = match (signal.pid, named) {
            (Pid::Parameter(parameter), _) if signal.lacks_schema.is_none() && is_plain(types, parameter) => parameter,
            (Pid::Written { at, number }, Some(serial)) if signal.lacks_schema.is_none() => {
                let wanted = self.want(number, signal.ends)?;
                if let Some(verdict) = self.wait_to_signal(server.is_some()) {
                    return Some(verdict);
                }
                let Some(decided) = self.signals.decided else { return Some(self.ask_who_stands_in(wanted)) };
                return self.bind_with_stand_in((frame, portal, rest), (text, types), (decided, at), (serial, server?));
            }
            (Pid::Written { .. }, None) => {
                self.unnamed_signal_is_bound(portal);
                return None;
            }
            _ => return None,
        };
        let value = Value::find(rest, parameter)?;
        let wanted = self.want(value.number, signal.ends)?;
        if let Some(verdict) = self.wait_to_signal(server.is_some()) {
            return Some(verdict);
        }
        let Some(decided) = self.signals.decided else { return Some(self.ask_who_stands_in(wanted)) };
        let before = frame.len() - rest.len();
        let at = value.at.start + before..value.at.end + before;
        let by = By::Portal { name: portal.into(), of_unnamed: false, is_certain: true, is_done: false };
        self.with_stand_in(frame, decided, (at, value.format), by, server)
    }

    /// The signal that an Execute of this portal may send, if it can be nothing else.
    pub(super) fn signal_of(&self, portal: &[u8]) -> Option<SignalNumber> {
        let sends = |way: &&UnderWay| match &way.by {
            By::Portal { name, is_certain, is_done, .. } => **name == *portal && *is_certain && !is_done,
            _ => false,
        };
        self.signals.under_way.iter().rev().find(sends).map(|way| way.signal)
    }

    /// Something else may be in this portal from now on, or in any: what an Execute of it tells is about nothing certain.
    pub(super) fn replaces_portal(&mut self, portal: Option<&[u8]>) {
        for way in &mut self.signals.under_way {
            if let By::Portal { name, is_certain, .. } = &mut way.by {
                *is_certain &= portal.is_some_and(|portal| **name != *portal);
            }
        }
    }

    /// The frame that something stands in for is not looked at any more.
    pub(super) fn skips_signal(&mut self) {
        if let (Some(wanted), Some(_)) = (self.signals.wanted.take(), self.signals.decided.take()) {
            self.signals.last = wanted.signal;
            let (signal, outcome) = (wanted.signal, Outcome::NotSent);
            self.signals.under_way.push(UnderWay { signal, by: By::Skipped, outcome });
        }
    }

    /// The Execute that may have sent this signal has ended, well or not.
    pub(super) fn signal_is_done(&mut self, signal: SignalNumber) {
        for way in self.signals.under_way.iter_mut().filter(|way| way.signal == signal) {
            if let By::Portal { is_done, .. } = &mut way.by {
                *is_done = true;
            }
        }
    }

    /// A row: what PostgreSQL says of a signal, if it is about one.
    pub(super) fn signal_row(&mut self, row: &[u8]) {
        // True, as text or binary. False is no process, or one that takes longer to end than was waited for.
        let is_true = matches!(body::data_row(row).next(), Some(Some(b"t" | b"\x01")));
        if let Some(way) = self.signal_in_front().filter(|_| is_true) {
            way.outcome = Outcome::Sent;
        }
    }

    /// An error: it may be about a signal.
    pub(super) fn signal_error(&mut self, error: &[u8]) {
        let is_refused = body::error_field(error, b'C') == Some(b"42501");
        let Some(way) = self.signal_in_front() else { return };
        if is_refused && way.outcome == Outcome::Unclear {
            way.outcome = Outcome::NotSent;
        }
        let signal = way.signal;
        self.signal_is_done(signal);
    }

    /// No signal is on its way to a server that is gone.
    pub(super) fn forget_signals(&mut self) {
        self.signals.under_way.clear();
        self.signals.wanted = None;
        self.signals.decided = None;
    }

    fn signal_in_front(&mut self) -> Option<&mut UnderWay> {
        let front = self.queue.front()?;
        self.signals.under_way.iter_mut().find(|way| match (&way.by, front) {
            (By::Query, Asked::Query { .. }) => true,
            (_, Asked::Signal(signal)) => way.signal == signal,
            _ => false,
        })
    }

    fn with_own_pid(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.signals.own_pid == 0 { None } else { process::with_own_pid(text, self.signals.own_pid) }
    }

    /// The signal, if it may be for a session of ours.
    fn want(&self, pid: i32, ends: bool) -> Option<Wanted> {
        (pid >= LOWEST_PID && self.signals.under_way.len() < MOST_UNDER_WAY).then(|| Wanted {
            signal: self.signals.last.wrapping_add(1),
            pid,
            ends,
        })
    }

    /// Whether a message of a batch that is about a signal has to wait: for what was asked before its batch, or for a server.
    fn wait_to_signal(&mut self, has_server: bool) -> Option<Verdict> {
        if self.queue.has_ended_one() {
            return Some(Verdict::AwaitAnswers);
        }
        (!has_server).then(|| self.block(Asked::Bind(None)))
    }

    fn ask_who_stands_in(&mut self, wanted: Wanted) -> Verdict {
        self.signals.wanted = Some(wanted);
        Verdict::Signal
    }

    /// The frame goes out with the number of what stands in, in the place of the one there; or as it is.
    fn with_stand_in(
        &mut self,
        frame: &[u8],
        decided: Option<i32>,
        (at, format): (Range<usize>, Format),
        by: By,
        server: Option<&mut Prepared>,
    ) -> Option<Verdict> {
        let wanted = self.signals.wanted;
        let (Some(pid), Some(wanted)) = (decided, wanted) else {
            self.signals.decided = None;
            self.signals.wanted = None;
            return None;
        };
        let mut rewritten = frame.to_vec();
        let place = rewritten.get_mut(at)?;
        format.put(place, pid);
        let verdict = self.on_rewritten(&rewritten, frame.len(), server);
        if !verdict.waits() {
            self.signals.decided = None;
            self.signals.wanted = None;
            self.signals.last = wanted.signal;
            self.signals.under_way.push(UnderWay { signal: wanted.signal, by, outcome: Outcome::Unclear });
        }
        Some(verdict)
    }

    /// A Bind of a statement that has a name and the number in its text: for this Bind alone the server is given the same with
    /// the number of what stands in. `rest` is what stands behind the names.
    fn bind_with_stand_in(
        &mut self,
        (frame, portal, rest): (&[u8], &[u8], &[u8]),
        (text, types): (&[u8], &[u8]),
        (decided, at): (Option<i32>, Range<usize>),
        (serial, server): (Serial, &mut Prepared),
    ) -> Option<Verdict> {
        self.signals.decided = None;
        let (Some(wanted), Some(pid)) = (self.signals.wanted.take(), decided) else { return None };
        let mut text = text.to_vec();
        Format::Text.put(text.get_mut(at)?, pid);
        let name = |out: &mut Vec<u8>| prepared::put_name(out, NOBODYS);
        let out = &mut self.splice;
        server.prepares_for_nobody(self.batch);
        // If a Bind fails, what is behind it is skipped, and the statement is there the next time.
        close_statement(out, name);
        message::frame(out, Frontend::PARSE.0, |out| {
            name(out);
            out.push(0);
            message::put_str(out, &text);
            out.extend_from_slice(types);
        });
        message::frame(out, Frontend::BIND.0, |out| {
            message::put_str(out, portal);
            name(out);
            out.push(0);
            out.extend_from_slice(rest);
        });
        close_statement(out, name);
        let closed = |id| Asked::Close(Closing::Ours(id));
        let parsed = Asked::Prepare { id: None, whose: Whose::Ours(serial) };
        for asked in [closed(None), parsed, Asked::Bind(Some(serial)), closed(Some(NOBODYS))] {
            self.ask_of_batch(asked);
        }
        self.signals.last = wanted.signal;
        let by = By::Portal { name: portal.into(), of_unnamed: false, is_certain: true, is_done: false };
        self.signals.under_way.push(UnderWay { signal: wanted.signal, by, outcome: Outcome::Unclear });
        Some(Verdict::Splice(frame.len()))
    }

    /// The unnamed statement is bound to this portal.
    fn unnamed_signal_is_bound(&mut self, portal: &[u8]) {
        if let Some(way) = self.signals.under_way.iter_mut().rev().find(|way| way.by == By::Unnamed) {
            way.by = By::Portal { name: portal.into(), of_unnamed: true, is_certain: true, is_done: false };
        }
    }
}
