//! The client's own unnamed statement: it outlives Sync, and so must outlive the lease.
//!
//! Source: PostgreSQL, "Extended Query": it lasts until the next Parse of the unnamed statement or the next simple query.

use std::collections::VecDeque;
use std::ops::Range;

use crate::sql::Effects;

/// The longest Parse that is kept, in bytes. Of a longer one a later Bind on another server gets 26000.
pub const MAX_KEPT_BYTES: usize = 16 << 20;

/// Bytes that may stay allocated for an idle session.
const IDLE_BYTES: usize = 8 << 10;

/// Where the client's unnamed statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the leased server.
    There,
    /// On its way to the leased server, as we have sent it again.
    Supplied,
    /// Not on the leased server: it has to be parsed there first.
    Missing,
    /// A Parse of the client's is not answered yet.
    OnItsWay,
    /// What will end it is asked and not answered: it may not be looked at.
    Ending,
    /// The client has none. The server may have somebody else's.
    Nowhere,
}

/// A Parse.
#[derive(Debug, Clone)]
struct Parse {
    /// Where it is in the arena.
    range: Range<usize>,
    /// What the statement may leave behind when it is executed.
    effects: Effects,
}

/// What is known of the unnamed statement on the client's side and on the leased server.
#[derive(Debug, Default)]
pub struct Unnamed {
    /// Parse frames: the live one and those not confirmed yet.
    arena: Vec<u8>,
    /// Sent and not answered, in order. An empty range is one too long to keep.
    pending: VecDeque<Parse>,
    /// The client's unnamed statement.
    live: Option<Parse>,
    /// The leased server has the client's.
    on_server: bool,
    /// What [`Self::parse_frame`] told is on its way there, and not answered.
    supplying: bool,
    /// Simple queries and Closes on their way that will end it. While no Parse is, they are behind the live one.
    ending: u32,
    /// A number for the live one, or for that there is none.
    number: u64,
}

impl Unnamed {
    /// A whole Parse of it is on its way to the server, of a statement with such effects.
    pub fn parse(&mut self, frame: &[u8], effects: Effects) {
        self.begin();
        self.extend(frame);
        self.may_leave(effects);
    }

    /// A Parse of it begins; its bytes follow through [`Self::extend`].
    pub fn begin(&mut self) {
        if self.pending.is_empty() && self.live.is_none() {
            self.arena.clear();
        }
        self.pending.push_back(Parse { range: self.arena.len()..self.arena.len(), effects: Effects::NONE });
    }

    /// What the statement of the Parse that was begun last may leave behind.
    pub fn may_leave(&mut self, effects: Effects) {
        if let Some(parse) = self.pending.back_mut() {
            parse.effects = effects;
        }
    }

    /// What the statement may leave behind that a message finds which may be looked at now: that of [`Self::newest`].
    #[inline]
    pub fn effects(&self) -> Effects {
        let newest = self.pending.back().or(self.live.as_ref());
        newest.map_or(Effects::NONE, |parse| parse.effects)
    }

    /// The Parse that was sent last, or the live one's.
    pub fn newest(&self) -> &[u8] {
        let newest = self.pending.back().or(self.live.as_ref());
        newest.and_then(|parse| self.arena.get(parse.range.clone())).unwrap_or_default()
    }

    /// The Parse that was sent last was changed on its way to the server: this is what the client has sent, as long as that.
    pub fn was_really(&mut self, frame: &[u8]) {
        let sent = self.pending.back().and_then(|parse| self.arena.get_mut(parse.range.clone()));
        if let Some(sent) = sent.filter(|sent| sent.len() == frame.len()) {
            sent.copy_from_slice(frame);
        }
    }

    /// More bytes of the Parse that was begun last.
    pub fn extend(&mut self, bytes: &[u8]) {
        let Some(Parse { range, .. }) = self.pending.back_mut() else { return };
        let whole_so_far = range.end == self.arena.len();
        if whole_so_far && range.len() + bytes.len() <= MAX_KEPT_BYTES {
            self.arena.extend_from_slice(bytes);
            range.end = self.arena.len();
        } else if whole_so_far {
            self.arena.truncate(range.start);
            // One past the arena's end: nothing extends it again.
            *range = usize::MAX..usize::MAX;
        }
    }

    /// The oldest Parse on its way worked.
    pub fn confirm(&mut self) {
        self.live = self.pending.pop_front().filter(|parse| !parse.range.is_empty());
        self.number += 1;
        self.on_server = true;
        self.supplying = false;
        self.compact();
    }

    /// The oldest Parse on its way failed: PostgreSQL has dropped the statement before it.
    pub fn fail(&mut self) {
        self.pending.pop_front();
        self.drop_live();
    }

    /// The oldest Parse on its way was never looked at.
    pub fn skip(&mut self) {
        self.pending.pop_front();
    }

    /// A simple query or a Close is on its way: whatever comes behind it finds no statement.
    pub fn end_asked(&mut self) {
        self.ending += 1;
    }

    /// The oldest one of them was answered.
    pub fn ended(&mut self) {
        self.end_skipped();
        self.drop_live();
    }

    /// It was never looked at.
    pub fn end_skipped(&mut self) {
        self.ending = self.ending.saturating_sub(1);
    }

    /// What is on its way will never arrive.
    pub fn forget_pending(&mut self) {
        self.pending.clear();
        self.leave_server();
        self.ending = 0;
        self.compact();
    }

    /// The client has none any more.
    pub fn drop_live(&mut self) {
        self.live = None;
        self.number += 1;
        self.compact();
    }

    /// The lease ended. What has not been answered never will be.
    pub fn lease_ended(&mut self) {
        if !self.pending.is_empty() {
            self.forget_pending();
        }
        self.ending = 0;
        self.leave_server();
    }

    /// The server has it no longer.
    pub fn leave_server(&mut self) {
        self.on_server = false;
        self.supplying = false;
    }

    /// What a message that uses the client's statement finds on the leased server.
    #[inline]
    pub fn place(&self) -> Place {
        match &self.live {
            _ if !self.pending.is_empty() => Place::OnItsWay,
            Some(_) if self.ending > 0 => Place::Ending,
            Some(_) if self.supplying => Place::Supplied,
            Some(_) if self.on_server => Place::There,
            Some(_) => Place::Missing,
            None => Place::Nowhere,
        }
    }

    /// Another number for each that the client has had.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The Parse that the leased server lacks.
    pub fn parse_frame(&self) -> &[u8] {
        self.live.as_ref().map(|parse| &self.arena[parse.range.clone()]).unwrap_or_default()
    }

    /// The server is being given what [`Self::parse_frame`] told.
    pub fn supplied(&mut self) {
        self.on_server = true;
        self.supplying = true;
    }

    /// It has it.
    pub fn supply_worked(&mut self) {
        self.supplying = false;
    }

    /// Bytes held.
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    /// Drops the bytes that nothing needs any more from the front of the arena; while more is on its way, only now and
    /// then.
    fn compact(&mut self) {
        let kept = self.live.iter().chain(&self.pending).map(|parse| &parse.range).filter(|range| !range.is_empty());
        let (first, last) =
            kept.fold((usize::MAX, 0), |(first, last), range| (first.min(range.start), last.max(range.end)));
        if !self.pending.is_empty() && first < IDLE_BYTES {
            return;
        }
        let first = first.min(self.arena.len());
        self.arena.truncate(last.max(first));
        self.arena.drain(..first);
        let kept = self.live.iter_mut().chain(&mut self.pending).map(|parse| &mut parse.range);
        for range in kept.filter(|range| range.start < range.end) {
            *range = range.start - first..range.end - first;
        }
        if self.arena.capacity() > IDLE_BYTES && self.arena.len() < IDLE_BYTES {
            self.arena.shrink_to(IDLE_BYTES);
        }
    }
}
