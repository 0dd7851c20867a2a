//! What becomes of LISTEN, which is not the server's that happens to serve the session: a lone one is done elsewhere, and
//! for a session that has done so, what UNLISTEN and DISCARD ALL have really undone is watched.

use super::asked::Asked;
use super::frames::{Verdict, parts_of_parse};
use super::{CopyIn, Session};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, Frontend, Header, body, message};
use crate::sql::listening::{Command, Unlisten};
use crate::sql::{Effect, Effects};

/// The longest batch around a LISTEN that is looked at, in bytes.
const LONGEST_BATCH: usize = 8 << 10;

/// What shows which channels a server's own session listens to.
const LISTENING_CHANNELS: &[u8] = b"pg_listening_channels";

/// What a session hears by itself, and how that changes.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// It listens to channels, and no server of its own is needed for that.
    is_on: bool,
    /// The next LISTEN is the server's.
    passes: bool,
    /// A text asks what the session listens to.
    asks: bool,
    /// What the texts of the transaction at hand want to hear no more.
    noted: Vec<Unlisten>,
    /// How many of these were done.
    done: usize,
    /// An error, or a ROLLBACK, has come behind one of them.
    undone: bool,
    /// What is certain.
    made: Unlistened,
}

/// What a session listens to no more.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Unlistened {
    /// Nothing has changed.
    #[default]
    Nothing,
    /// These channels.
    Channels(Vec<String>),
    /// All of them.
    All,
    /// It cannot be told.
    Unclear,
}

impl Unlistened {
    fn and(self, more: &[Unlisten]) -> Self {
        more.iter().fold(self, |made, about| match (made, about) {
            (Self::Unclear, _) | (_, Unlisten::Unclear) => Self::Unclear,
            (Self::All, _) | (_, Unlisten::All) => Self::All,
            (Self::Nothing, Unlisten::Channel(name)) => Self::Channels(vec![name.clone()]),
            (Self::Channels(mut names), Unlisten::Channel(name)) => {
                names.push(name.clone());
                Self::Channels(names)
            }
        })
    }
}

impl Hearing {
    /// A text that is executed.
    fn executes(&mut self, text: &[u8]) {
        for about in Unlisten::read(text) {
            // A frame that has waited is shown again.
            if self.noted.last() != Some(&about) {
                self.noted.push(about);
            }
        }
    }

    /// A text that is executed, or prepared, may be a question.
    fn asks(&mut self, text: &[u8]) {
        let asks = |at: &[u8]| at.eq_ignore_ascii_case(LISTENING_CHANNELS);
        self.asks |= text.windows(LISTENING_CHANNELS.len()).any(asks);
    }

    /// A statement ended well.
    pub(super) fn command_complete(&mut self, tag: &[u8]) {
        match tag {
            b"UNLISTEN\0" => self.done += 1,
            b"ROLLBACK\0" => self.undone |= self.done > 0,
            b"COMMIT\0" if self.done > 0 => {
                self.settle(!self.undone);
            }
            b"DISCARD ALL\0" => self.made = Unlistened::All,
            _ => {}
        }
    }

    /// A statement failed: what was noted was undone, or was never looked at.
    pub(super) fn failed(&mut self) {
        self.undone |= self.done > 0 || !self.noted.is_empty();
    }

    /// What was done is there to stay, if it is certain what that was.
    fn settle(&mut self, certain: bool) {
        let certain = certain && !self.noted.is_empty() && self.done >= self.noted.len();
        let made = std::mem::take(&mut self.made);
        self.made = if certain { made.and(&self.noted) } else { Unlistened::Unclear };
        self.transaction_ended();
    }

    fn transaction_ended(&mut self) {
        self.noted.clear();
        self.done = 0;
        self.undone = false;
    }

    /// The transaction is over, and so is what was undone in it.
    fn take(&mut self) -> Unlistened {
        if self.done > 0 && !self.undone {
            self.settle(true);
        }
        self.transaction_ended();
        std::mem::take(&mut self.made)
    }

    /// Nothing of what was asked was done, or will be.
    pub(super) fn lease_ended(&mut self) {
        self.asks = false;
        self.made = Unlistened::Nothing;
        self.transaction_ended();
    }
}

/// Whether a message is not merely the rest of something that was asked before.
pub(super) fn begins_something(tag: Frontend) -> bool {
    !matches!(tag, Frontend::SYNC | Frontend::FLUSH | Frontend::COPY_DATA | Frontend::COPY_DONE | Frontend::COPY_FAIL)
}

/// The Bind of a LISTEN with all that stands around it.
#[derive(Debug, PartialEq, Eq)]
pub enum ListenBatch {
    /// It is not all there yet.
    Part,
    /// There is more to it than a LISTEN, or less.
    Other,
    /// All up to its Sync.
    Whole {
        /// So many.
        bytes: usize,
        /// What is answered ahead of the LISTEN's own answer.
        ahead: Vec<u8>,
        /// What is answered behind it.
        behind: Vec<u8>,
    },
}

impl ListenBatch {
    /// Reads what begins with the Bind of a LISTEN: its Execute and the Sync, perhaps with a Describe and a Close of the portal.
    pub fn read(bytes: &[u8]) -> Self {
        const BOUND: u8 = 1;
        const EXECUTED: u8 = 2;
        let (mut at, mut stage, mut ahead, mut behind) = (0, 0, Vec::new(), Vec::new());
        loop {
            let rest = &bytes[at..];
            let Ok(header) = Header::read(rest, LONGEST_BATCH as u32) else { return Self::Other };
            let Some(header) = header else { return Self::Part };
            if rest.len() < header.total {
                return Self::Part;
            }
            let body = &rest[HEADER_BYTES..header.total];
            at += header.total;
            if at > LONGEST_BATCH {
                return Self::Other;
            }
            match (Frontend(header.tag), stage) {
                (Frontend::BIND, 0) if binds_nothing(body) => {
                    message::frame(&mut ahead, Backend::BIND_COMPLETE.0, |_| ());
                    stage = BOUND;
                }
                (Frontend::DESCRIBE, BOUND) if body == b"P\0" => message::frame(&mut ahead, Backend::NO_DATA.0, |_| ()),
                // Of as many rows as it likes.
                (Frontend::EXECUTE, BOUND) if body.first() == Some(&0) && body.len() == 5 => stage = EXECUTED,
                (Frontend::CLOSE, EXECUTED) if body == b"P\0" => {
                    message::frame(&mut behind, Backend::CLOSE_COMPLETE.0, |_| ());
                }
                (Frontend::SYNC, EXECUTED) if body.is_empty() => return Self::Whole { bytes: at, ahead, behind },
                _ => return Self::Other,
            }
        }
    }
}

/// Whether a Bind is to the unnamed portal, and has no parameters.
fn binds_nothing<'b>(body: &'b [u8]) -> bool {
    let formats = |rest: &'b [u8]| {
        let (formats, rest) = rest.split_first_chunk::<2>()?;
        let formats = usize::from(u16::from_be_bytes(*formats));
        Some((formats, rest.get(formats * 2..)?))
    };
    let read = || {
        let (of_parameters, rest) = formats(body::cstr(body.strip_prefix(&[0])?)?.1)?;
        // How a result would look, which there is not, may be told.
        let (_, rest) = formats(rest.strip_prefix(&[0, 0])?)?;
        Some(of_parameters <= 1 && rest.is_empty())
    };
    read().unwrap_or(false)
}

/// What a Parse alone leaves behind, of a text with such effects: a LISTEN listens when it is executed.
#[inline]
pub(super) fn left_by_parse(frame: &[u8], mut effects: Effects) -> Effects {
    if effects.contains(Effect::Listen) {
        let (_, text, types) = parts_of_parse(frame);
        if is_one_listen(text, types) {
            effects.remove(Effect::Listen);
        }
    }
    effects
}

/// Whether a statement is one that can be done elsewhere.
fn is_one_listen(text: &[u8], types: &[u8]) -> bool {
    types == [0, 0] && matches!(Command::read(text).as_deref(), Some([Command::Listen(_)]))
}

impl Session {
    /// The session listens to channels by itself from now on, or does not any more.
    pub fn hears(&mut self, is_on: bool) {
        if self.hearing.is_on != is_on {
            self.hearing = Hearing { is_on, ..Hearing::default() };
        }
    }

    /// The LISTEN that the last verdict was about goes to the server: it is shown again.
    pub fn let_listen_pass(&mut self) {
        self.hearing.passes = true;
    }

    /// The LISTEN that the last verdict was about, the frame of which this is, is done elsewhere.
    pub fn listens(&mut self, frame: &[u8]) {
        self.queries += 1;
        if Frontend(frame[0]) == Frontend::QUERY {
            self.unnamed.drop_live();
        }
    }

    /// The text that a Query, or a Bind of what has been prepared, is about.
    pub fn text_of<'f>(&'f self, frame: &'f [u8]) -> &'f [u8] {
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        match frame.first().map(|tag| Frontend(*tag)) {
            Some(Frontend::BIND) => {
                let name = body::cstr(body).and_then(|(_, rest)| body::cstr(rest)).unwrap_or_default().0;
                self.prepared_as(name).0
            }
            _ => body::cstr(body).unwrap_or_default().0,
        }
    }

    /// The text, and the types of the parameters, of what the client has prepared with this name, or without one.
    fn prepared_as(&self, name: &[u8]) -> (&[u8], &[u8]) {
        if !name.is_empty() {
            return self.statements.get(name).map(|statement| statement.content.parts()).unwrap_or_default();
        }
        let body = self.unnamed.newest().get(HEADER_BYTES..).unwrap_or_default();
        let behind_name = body::cstr(body).unwrap_or_default().1;
        body::cstr(behind_name).unwrap_or_default()
    }

    /// What the session listens to no more, when it is between two transactions.
    pub fn take_unlistened(&mut self) -> Unlistened {
        self.hearing.take()
    }

    /// Whether what has been asked is to show which channels the session listens to.
    pub fn take_channels_asked(&mut self) -> bool {
        std::mem::take(&mut self.hearing.asks)
    }

    /// Whether the next ReadyForQuery is for nobody.
    pub fn is_next_ready_ours(&self) -> bool {
        self.queue.is_next_ready_ours()
    }

    /// Whether the session hears without a server of its own.
    #[inline]
    pub(super) fn hears_elsewhere(&self) -> bool {
        self.hearing.is_on
    }

    /// Whether a frame that would begin something new waits for the end of what was asked before: a session that listens is
    /// told in between what came of that, and nothing that comes of what it asks next.
    #[inline]
    pub(super) fn awaits_what_is_heard(&self, tag: Frontend) -> bool {
        self.hearing.is_on && self.queue.has_ended_one() && self.ends_by_itself() && begins_something(tag)
    }

    /// Decides on a simple query that begins like a LISTEN or an UNLISTEN.
    pub(super) fn act_on_listen(&mut self, text: &[u8]) -> Option<Verdict> {
        if self.must_listen_itself() || !Command::read(text)?.iter().any(Command::listens) {
            return None;
        }
        if self.is_settled() {
            return (self.status == TxStatus::Idle).then_some(Verdict::Listen);
        }
        // Whether it is in a transaction is to be told by answers that are on their way.
        let is_in_batch = self.batch_is_open || self.copy_in != CopyIn::No;
        (!is_in_batch).then_some(Verdict::AwaitAnswers)
    }

    /// Decides on a Bind of a statement that listens.
    ///
    /// Where nothing was bound before it in its batch, nothing that it could fail with, the server is done with that first: what
    /// was prepared there stays.
    pub(super) fn act_on_listen_bind(&mut self, name: &[u8]) -> Option<Verdict> {
        let (text, types) = self.prepared_as(name);
        if !is_one_listen(text, types) || self.must_listen_itself() || self.batch_has_bound {
            return None;
        }
        if !self.queue.is_empty() {
            if self.batch_is_open {
                self.flush();
            }
            return Some(Verdict::AwaitAnswers);
        }
        if self.status != TxStatus::Idle || self.copy_in != CopyIn::No {
            return None;
        }
        if self.batch_is_open {
            message::frame(&mut self.splice, Frontend::SYNC.0, |_| ());
            self.batch_ends();
            self.queue.push(Asked::Prelude);
            return Some(Verdict::AwaitAnswers);
        }
        Some(Verdict::ListenInBatch)
    }

    /// Whether a LISTEN is the server's. One that the session keeps can listen for it, and may do so already: heard from two sides,
    /// something could be told twice, or not at all.
    fn must_listen_itself(&mut self) -> bool {
        std::mem::take(&mut self.hearing.passes) || self.pin().is_some()
    }

    /// Notes what a text that is executed changes of what the session hears.
    #[inline]
    pub(super) fn note_hearing(&mut self, text: &[u8]) {
        if self.hearing.is_on {
            self.hearing.executes(text);
            self.hearing.asks(text);
        }
    }

    /// The same of what is prepared: nothing, but somebody may want to know.
    #[inline]
    pub(super) fn note_hearing_parse(&mut self, text: &[u8]) {
        if self.hearing.is_on {
            self.hearing.asks(text);
        }
    }

    /// The same of what is bound, and was prepared with this name, or without one.
    #[inline]
    pub(super) fn note_hearing_bind(&mut self, name: &[u8]) {
        if self.hearing.is_on {
            let text = self.prepared_as(name).0.to_vec();
            self.note_hearing(&text);
        }
    }

    /// A statement ended well, or failed.
    #[inline]
    pub(super) fn hears_answer(&mut self, tag: Backend, body: &[u8]) {
        if self.hearing.is_on {
            match tag {
                Backend::ERROR => self.hearing.failed(),
                _ => self.hearing.command_complete(body),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNLISTEN: &[u8] = b"UNLISTEN\0";
    const COMMIT: &[u8] = b"COMMIT\0";
    const ROLLBACK: &[u8] = b"ROLLBACK\0";

    /// What is certain after these texts, whose statements end like this; an empty tag is an error.
    fn after(texts: &[&str], tags: &[&[u8]]) -> Unlistened {
        let mut hearing = Hearing { is_on: true, ..Hearing::default() };
        texts.iter().for_each(|text| hearing.executes(text.as_bytes()));
        for tag in tags {
            if tag.is_empty() { hearing.failed() } else { hearing.command_complete(tag) }
        }
        let unlistened = hearing.take();
        assert_eq!(hearing.take(), Unlistened::Nothing, "it is told once");
        unlistened
    }

    fn channels(names: &[&str]) -> Unlistened {
        Unlistened::Channels(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn an_unlisten_counts_when_its_transaction_has_committed() {
        assert_eq!(after(&["unlisten a"], &[UNLISTEN]), channels(&["a"]));
        assert_eq!(after(&["begin", "unlisten a", "unlisten B", "commit"], &[UNLISTEN, UNLISTEN, COMMIT]), {
            channels(&["a", "b"])
        });
        assert_eq!(after(&["unlisten a", "unlisten *"], &[UNLISTEN, UNLISTEN]), Unlistened::All);
        assert_eq!(after(&["begin; unlisten *; commit"], &[UNLISTEN, COMMIT]), Unlistened::All);
        assert_eq!(after(&["unlisten a; unlisten \"B\";"], &[UNLISTEN, UNLISTEN]), channels(&["a", "B"]));
        assert_eq!(after(&["discard all"], &[b"DISCARD ALL\0"]), Unlistened::All);
    }

    #[test]
    fn one_that_was_undone_or_never_done_does_not_count() {
        assert_eq!(after(&["unlisten a"], &[b""]), Unlistened::Nothing);
        assert_eq!(after(&["unlisten a", "rollback"], &[UNLISTEN, ROLLBACK]), Unlistened::Nothing);
        assert_eq!(after(&["unlisten *; select 1/0"], &[UNLISTEN, b""]), Unlistened::Nothing);
        assert_eq!(after(&["select 'unlisten a'"], &[b"SELECT 1\0"]), Unlistened::Nothing);
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        for (texts, tags) in [
            // Something that was prepared before.
            (&["execute a"][..], &[UNLISTEN][..]),
            (&["unlisten a; select 1"], &[UNLISTEN]),
            (&["unlisten a", "unlisten b"], &[UNLISTEN]),
            (&["unlisten a", "rollback to s", "commit"], &[UNLISTEN, ROLLBACK, COMMIT]),
            // The first one was skipped, and the second repeated.
            (&["unlisten b"], &[b"", UNLISTEN, UNLISTEN, COMMIT]),
            (&["begin; unlisten *; commit", "unlisten b"], &[UNLISTEN, COMMIT]),
        ] {
            assert_eq!(after(texts, tags), Unlistened::Unclear, "{texts:?}");
        }
    }

    /// The frames of a batch, each with its tag and its body.
    fn batch(frames: &[(Frontend, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, body) in frames {
            message::frame(&mut bytes, tag.0, |out| out.extend_from_slice(body));
        }
        bytes
    }

    const BIND: (Frontend, &[u8]) = (Frontend::BIND, b"\0\0\0\0\0\0\0\0");
    const EXECUTE: (Frontend, &[u8]) = (Frontend::EXECUTE, b"\0\0\0\0\0");
    const SYNC: (Frontend, &[u8]) = (Frontend::SYNC, b"");

    #[test]
    fn a_batch_of_nothing_but_a_listen_is_read_when_it_is_whole() {
        let frames = [BIND, (Frontend::DESCRIBE, b"P\0"), EXECUTE, (Frontend::CLOSE, b"P\0"), SYNC];
        let bytes = batch(&frames);
        for len in 0..bytes.len() {
            assert_eq!(ListenBatch::read(&bytes[..len]), ListenBatch::Part, "{len}");
        }
        let (ahead, behind) = (b"2\0\0\0\x04n\0\0\0\x04".to_vec(), b"3\0\0\0\x04".to_vec());
        assert_eq!(
            ListenBatch::read(&[&bytes[..], b"Q"].concat()),
            ListenBatch::Whole { bytes: bytes.len(), ahead, behind }
        );
        let named = batch(&[(Frontend::BIND, b"\0name\0\0\0\0\0\0\0"), EXECUTE, SYNC]);
        assert!(matches!(ListenBatch::read(&named), ListenBatch::Whole { .. }));
    }

    #[test]
    fn a_batch_of_anything_else_is_not() {
        for frames in [
            &[SYNC][..],
            &[BIND, SYNC],
            &[BIND, (Frontend::FLUSH, b"")],
            &[BIND, (Frontend::CLOSE, b"P\0")],
            &[BIND, (Frontend::DESCRIBE, b"S\0")],
            &[BIND, EXECUTE, EXECUTE, SYNC],
            &[BIND, EXECUTE, BIND],
            &[BIND, EXECUTE, (Frontend::CLOSE, b"S\0")],
            &[(Frontend::PARSE, b"\0listen a\0\0\0")],
            &[(Frontend::BIND, b"\0\0\0\0\0\x01\0\0\0\x01x\0\0")],
            &[(Frontend::BIND, b"p\0\0\0\0\0\0\0\0")],
            &[(Frontend::BIND, b"\0\0\0\0\0\0\0\x01")],
            &[(Frontend::BIND, b"\0\0\0\0\0\0\0\0more")],
            &[BIND, (Frontend::EXECUTE, b"\0")],
            &[BIND, (Frontend::EXECUTE, b"\0\0\0\0\0more")],
            &[BIND, EXECUTE, (Frontend::SYNC, b"more")],
        ] {
            assert_eq!(ListenBatch::read(&batch(frames)), ListenBatch::Other, "{frames:?}");
        }
    }
}
