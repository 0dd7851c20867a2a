//! Buffers that are borrowed while bytes are in flight and given back when nothing is: an idle client owns none.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::ReadBuf;

/// Bytes of a buffer for ordinary messages.
pub const SMALL_BYTES: usize = 16 << 10;

/// Bytes of a buffer for bulk: it halves the cost of many rows.
pub const LARGE_BYTES: usize = 256 << 10;

/// Buffers kept for reuse, of each size.
const KEPT_SMALL: usize = 256;
const KEPT_LARGE: usize = 16;

/// Where buffers are borrowed.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Shelves>);

/// The lists are guarded by one lock each, held for a push or a pop.
#[derive(Debug, Default)]
struct Shelves {
    small: Mutex<Vec<Box<[u8]>>>,
    large: Mutex<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// An empty buffer of [`SMALL_BYTES`] or [`LARGE_BYTES`].
    pub fn take(&self, large: bool) -> Buffer {
        let (shelf, bytes) = if large { (&self.0.large, LARGE_BYTES) } else { (&self.0.small, SMALL_BYTES) };
        let kept = shelf.lock().pop();
        Buffer { bytes: kept.unwrap_or_else(|| vec![0; bytes].into_boxed_slice()), start: 0, ready: 0, end: 0 }
    }

    /// Gives one back.
    pub fn give_back(&self, buffer: Buffer) {
        let large = buffer.is_large();
        let (shelf, most) = if large { (&self.0.large, KEPT_LARGE) } else { (&self.0.small, KEPT_SMALL) };
        let mut shelf = shelf.lock();
        if shelf.len() < most {
            shelf.push(buffer.bytes);
        }
    }
}

/// Bytes of one direction: first those that may go out, then those not looked at yet, then room.
///
/// Only the four positions say what is valid: bytes of an earlier borrower beyond them are never read.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    ready: usize,
    end: usize,
}

impl Buffer {
    /// Whether it is of the large size.
    pub fn is_large(&self) -> bool {
        self.bytes.len() > SMALL_BYTES
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What may go out.
    #[inline]
    pub fn outgoing(&self) -> &[u8] {
        &self.bytes[self.start..self.ready]
    }

    /// So many bytes went out.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.ready);
        if self.is_empty() {
            (self.start, self.ready, self.end) = (0, 0, 0);
        }
    }

    /// What has not been looked at.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.ready..self.end]
    }

    /// So many bytes that were looked at may go out.
    #[inline]
    pub fn pass(&mut self, bytes: usize) {
        self.ready += bytes;
        debug_assert!(self.ready <= self.end);
    }

    /// So many bytes that were looked at are for nobody.
    pub fn discard(&mut self, bytes: usize) {
        if self.start == self.ready {
            self.start += bytes;
            self.ready += bytes;
            self.sent(0);
        } else {
            self.bytes.copy_within(self.ready + bytes..self.end, self.ready);
            self.end -= bytes;
        }
    }

    /// Puts other bytes in the place of the first so many that were not looked at. Whether there was room for them.
    pub fn replace(&mut self, bytes: usize, other: &[u8]) -> bool {
        let end = self.end - bytes + other.len();
        if end > self.bytes.len() {
            return false;
        }
        self.bytes.copy_within(self.ready + bytes..self.end, self.ready + other.len());
        self.bytes[self.ready..self.ready + other.len()].copy_from_slice(other);
        self.end = end;
        true
    }

    /// Adds bytes behind what may go out, before what has not been looked at. Whether there was room for them.
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let has_room = self.replace(0, bytes);
        if has_room {
            self.pass(bytes.len());
        }
        has_room
    }

    /// Drops what could have gone out.
    pub fn discard_outgoing(&mut self) {
        self.sent(self.ready - self.start);
    }

    /// Room for a read. Nothing waits to go out: what is there moves to the front.
    #[inline]
    pub fn room(&mut self) -> ReadBuf<'_> {
        if self.start > 0 && self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.ready -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        ReadBuf::new(&mut self.bytes[self.end..])
    }

    /// Whether a read could add anything.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.start > 0 || self.end < self.bytes.len()
    }

    /// A read added so many bytes.
    #[inline]
    pub fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Adds bytes, as far as there is room; says how many.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.bytes.len() - self.end);
        self.bytes[self.end..self.end + len].copy_from_slice(&bytes[..len]);
        self.end += len;
        len
    }

    /// Moves what it holds into an empty buffer, which must be large enough.
    pub fn move_into(&self, other: &mut Buffer) {
        let held = &self.bytes[self.start..self.end];
        other.bytes[..held.len()].copy_from_slice(held);
        (other.start, other.ready, other.end) = (0, self.ready - self.start, held.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(text: &[u8]) -> Buffer {
        let mut buffer = Buffers::default().take(false);
        assert_eq!(buffer.append(text), text.len());
        buffer
    }

    #[test]
    fn what_is_discarded_in_the_middle_leaves_its_neighbours_together() {
        let mut buffer = holding(b"abcdef");
        buffer.pass(2);
        buffer.discard(2);
        buffer.pass(2);
        assert_eq!(buffer.outgoing(), b"abef");
    }

    #[test]
    fn what_is_replaced_makes_room_for_itself_as_long_as_there_is_some() {
        let mut buffer = holding(b"abcdef");
        buffer.pass(2);
        assert!(buffer.replace(2, b"CDCD"));
        buffer.pass(6);
        assert_eq!(buffer.outgoing(), b"abCDCDef");
        assert!(!buffer.replace(0, &[0; SMALL_BYTES]));
    }

    #[test]
    fn what_is_put_in_stands_between_what_goes_out_and_what_was_not_looked_at() {
        let mut buffer = holding(b"abcd");
        buffer.pass(2);
        assert!(buffer.put(b"xyz"));
        assert_eq!((buffer.outgoing(), buffer.unread()), (&b"abxyz"[..], &b"cd"[..]));
        assert!(!buffer.put(&[7; SMALL_BYTES]), "there is no room for this");
        assert_eq!(buffer.unread(), b"cd");
    }

    #[test]
    fn what_is_discarded_in_front_costs_nothing_and_an_empty_buffer_begins_anew() {
        let mut buffer = holding(b"abc");
        buffer.discard(3);
        assert!(buffer.is_empty());
        assert_eq!(buffer.room().remaining(), SMALL_BYTES);
    }

    #[test]
    fn room_is_made_by_moving_what_is_left_to_the_front() {
        let mut buffer = holding(&[7; SMALL_BYTES]);
        buffer.pass(SMALL_BYTES - 3);
        buffer.sent(SMALL_BYTES - 3);
        assert_eq!(buffer.room().remaining(), SMALL_BYTES - 3);
        assert_eq!(buffer.unread(), [7; 3]);
    }

    #[test]
    fn a_borrowed_buffer_shows_nothing_of_whoever_had_it_before() {
        let buffers = Buffers::default();
        let mut first = buffers.take(false);
        first.append(b"secret");
        buffers.give_back(first);
        let second = buffers.take(false);
        assert!(second.is_empty() && second.unread().is_empty() && second.outgoing().is_empty());
    }
}
