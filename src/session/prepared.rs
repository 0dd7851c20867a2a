//! What one server has prepared: statements of the protocol, shared by all sessions that it serves one after the other.
//!
//! A statement is known by what it says, not by the name that a client gave it. On the server it has a name of ours, which
//! no client's name can be; the number in it is used once. What has not been used for longest is closed when there is too
//! much, in a write that happens anyway.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use lru::LruCache;

use crate::protocol::body;

/// Bytes of text that a server keeps prepared before the least used is closed. PostgreSQL needs ten to fifty times as much
/// for each, for its parse tree and plan.
pub const MOST_BYTES: usize = 1 << 20;

/// What every statement costs beside its text, in bytes.
const OVERHEAD: usize = 256;

/// How the names of ours begin on a server.
pub const PREFIX: &[u8] = b"greenroom:";

/// Bytes of every name of ours.
pub const NAME_BYTES: usize = PREFIX.len() + 8;

/// What a prepared statement says: everything of its Parse but the name.
#[derive(Debug)]
pub struct Content {
    hash: u64,
    /// The text, a NUL, and the types of its parameters, as Parse has them.
    body: Box<[u8]>,
}

impl Content {
    /// The rest of a Parse behind the name.
    pub fn new(body: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self { hash: hasher.finish(), body: body.into() }
    }

    /// The rest of a Parse behind the name.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Bytes that it is counted with.
    pub fn bytes(&self) -> usize {
        self.body.len() + OVERHEAD
    }
}

/// What makes two prepared statements the same: what they say, and whatever of the session's settings they were made under.
#[derive(Debug, Clone)]
pub struct Key {
    /// What it says.
    pub content: Arc<Content>,
    /// A number for the settings.
    pub settings: u64,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.content.hash ^ self.settings);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let same = || self.content.hash == other.content.hash && self.content.body == other.content.body;
        self.settings == other.settings && (Arc::ptr_eq(&self.content, &other.content) || same())
    }
}

impl Eq for Key {}

/// The number in a statement's name.
pub type Id = u32;

#[derive(Debug)]
struct Entry {
    id: Id,
    /// It may be closed.
    is_in_doubt: bool,
    /// What its rows are, once PostgreSQL has told.
    rows: Option<Rows>,
}

/// A number for the rows that a statement brings: the names and types of their columns, as its description tells them.
///
/// PostgreSQL holds a statement to what its rows were when it was prepared (`cached plan must not change result type`).
pub type Rows = u64;

/// A statement that a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: Id,
    /// What its rows are, once PostgreSQL has told.
    pub rows: Option<Rows>,
}

/// What one server has prepared.
#[derive(Debug)]
pub struct Prepared {
    entries: LruCache<Key, Entry>,
    /// To be closed: the message that should have done it was not looked at.
    unclosed: Vec<Id>,
    bytes: usize,
    last_id: Id,
    has_own_names: bool,
}

impl Default for Prepared {
    fn default() -> Self {
        Self { entries: LruCache::unbounded(), unclosed: Vec::new(), bytes: 0, last_id: 0, has_own_names: false }
    }
}

impl Prepared {
    /// The statement, if the server has it.
    #[inline]
    pub fn find(&mut self, key: &Key) -> Option<Found> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_in_doubt)?;
        Some(Found { id: entry.id, rows: entry.rows })
    }

    /// PostgreSQL has told what the statement's rows are.
    pub fn described(&mut self, id: Id, rows: Rows) {
        // It is the one that was prepared last, or nearly.
        if let Some((_, entry)) = self.entries.iter_mut().find(|(_, entry)| entry.id == id) {
            entry.rows = Some(rows);
        }
    }

    /// The statement is about to be prepared. `close` is told what has to be closed for it: an older one like it, and what
    /// there is no room for.
    pub fn insert(&mut self, key: Key, mut close: impl FnMut(Id)) -> Id {
        self.unclosed.drain(..).for_each(&mut close);
        self.last_id += 1;
        let id = self.last_id;
        self.bytes += key.content.bytes();
        if let Some((older, entry)) = self.entries.push(key, Entry { id, is_in_doubt: false, rows: None }) {
            self.bytes -= older.content.bytes();
            close(entry.id);
        }
        while self.bytes > MOST_BYTES && self.entries.len() > 1 {
            let Some((key, entry)) = self.entries.pop_lru() else { break };
            self.bytes -= key.content.bytes();
            close(entry.id);
        }
        id
    }

    /// It could not be prepared, or never was.
    pub fn remove(&mut self, id: Id) {
        let key = self.entries.iter().find(|(_, entry)| entry.id == id).map(|(key, _)| key.clone());
        if let Some(key) = key
            && self.entries.pop(&key).is_some()
        {
            self.bytes -= key.content.bytes();
        }
    }

    /// Nothing is prepared any more.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.unclosed.clear();
        self.bytes = 0;
    }

    /// What was to be closed is still there, perhaps for the client's own names.
    pub fn was_not_closed(&mut self, id: Id) {
        self.unclosed.push(id);
        self.has_own_names = false;
    }

    /// From now on the server has the names that its one client gives; `close` is told what has to be closed before.
    pub fn keep_own_names(&mut self, mut close: impl FnMut(Id)) {
        self.unclosed.drain(..).for_each(&mut close);
        for (_, entry) in &mut self.entries {
            close(entry.id);
            entry.is_in_doubt = true;
        }
        self.has_own_names = true;
    }

    /// Only the statements that `keeps` names are left; `close` is told what has to be closed.
    pub fn keep_only(&mut self, keeps: impl Fn(&Key) -> bool, mut close: impl FnMut(Id)) {
        self.unclosed.drain(..).for_each(&mut close);
        let others: Vec<_> = self.entries.iter().filter(|(key, _)| !keeps(key)).map(|(key, _)| key.clone()).collect();
        for key in others {
            if let Some(entry) = self.entries.pop(&key) {
                self.bytes -= key.content.bytes();
                close(entry.id);
            }
        }
    }

    /// It has not come to that.
    pub fn give_names_up(&mut self) {
        self.has_own_names = false;
    }

    /// Whether it has the names that its one client gives: nobody else can be lent it.
    #[inline]
    pub fn has_own_names(&self) -> bool {
        self.has_own_names
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A number for the rows that the body of a RowDescription tells of; of an empty body for those of NoData.
///
/// Only what PostgreSQL compares: names, types and their modifiers, not the tables that the columns come from.
pub fn rows_of(mut body: &[u8]) -> Rows {
    let mut hasher = DefaultHasher::new();
    body = body.get(2..).unwrap_or_default();
    while let Some((name, rest)) = body::cstr(body) {
        // The table's number, the column's, the type's, its length, its modifier, the format: 4, 2, 4, 2, 4 and 2 bytes.
        let Some((fields, rest)) = rest.split_at_checked(18) else { break };
        (name, &fields[6..16]).hash(&mut hasher);
        body = rest;
    }
    hasher.finish()
}

/// Appends the name of a statement on its server.
#[inline]
pub fn put_name(out: &mut Vec<u8>, id: Id) {
    out.extend_from_slice(PREFIX);
    let mut digits = [0; 8];
    for (digit, shift) in digits.iter_mut().zip((0..8).rev()) {
        *digit = b"0123456789abcdef"[(id >> (4 * shift)) as usize & 0xf];
    }
    out.extend_from_slice(&digits);
}

/// The number in the first name of ours in a text.
pub fn id_in(text: &[u8]) -> Option<Id> {
    let at = memchr::memmem::find(text, PREFIX)? + PREFIX.len();
    let digits = std::str::from_utf8(text.get(at..at + NAME_BYTES - PREFIX.len())?).ok()?;
    Id::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8]) -> Key {
        Key { content: Arc::new(Content::new(text)), settings: 0 }
    }

    fn insert(prepared: &mut Prepared, key: &Key) -> (Id, Vec<Id>) {
        let mut closed = Vec::new();
        let id = prepared.insert(key.clone(), |id| closed.push(id));
        (id, closed)
    }

    #[test]
    fn the_same_is_found_whoever_has_prepared_it() {
        let mut prepared = Prepared::default();
        let (id, _) = insert(&mut prepared, &key(b"select 1"));
        assert_eq!(prepared.find(&key(b"select 1")), Some(Found { id, rows: None }));
        assert_eq!(prepared.find(&key(b"select 2")), None);
        assert_eq!(prepared.find(&Key { settings: 1, ..key(b"select 1") }), None);
        prepared.described(id, 7);
        assert_eq!(prepared.find(&key(b"select 1")), Some(Found { id, rows: Some(7) }));
    }

    #[test]
    fn what_was_prepared_earlier_is_closed_for_what_is_prepared_now() {
        let mut prepared = Prepared::default();
        let (first, _) = insert(&mut prepared, &key(b"select 1"));
        assert_eq!(insert(&mut prepared, &key(b"select 1")).1, [first]);
        assert_ne!(prepared.find(&key(b"select 1")).unwrap().id, first);
        assert_eq!(prepared.len(), 1);
    }

    #[test]
    fn what_was_used_least_lately_is_closed_when_there_is_too_much() {
        let mut prepared = Prepared::default();
        let large = |letter| key(&vec![letter; MOST_BYTES / 3]);
        let (a, b, c) = (large(b'a'), large(b'b'), large(b'c'));
        insert(&mut prepared, &a);
        let (of_b, _) = insert(&mut prepared, &b);
        assert!(prepared.find(&a).is_some());
        assert_eq!(insert(&mut prepared, &c).1, [of_b]);
        assert!(prepared.bytes <= MOST_BYTES && prepared.find(&a).is_some());
    }

    #[test]
    fn what_was_not_closed_is_closed_the_next_time() {
        let mut prepared = Prepared::default();
        let (first, _) = insert(&mut prepared, &key(b"select 1"));
        prepared.keep_own_names(|id| assert_eq!(id, first));
        assert!(prepared.has_own_names() && prepared.find(&key(b"select 1")).is_none());
        prepared.was_not_closed(first);
        assert!(!prepared.has_own_names());
        assert_eq!(insert(&mut prepared, &key(b"select 2")).1, [first]);
    }

    #[test]
    fn columns_are_what_their_names_and_types_are() {
        let column = |name: &str, table: u8, kind: u8| {
            [name.as_bytes(), &[0, 0, 0, 0, table, 0, 1, 0, 0, 0, kind, 0, 4, 0, 0, 0, 0, 0, 0]].concat()
        };
        let of = |columns: &[Vec<u8>]| rows_of(&[&[0, columns.len() as u8][..], &columns.concat()].concat());
        let one = of(&[column("a", 1, 23)]);
        assert_eq!(one, of(&[column("a", 2, 23)]), "the table may be another");
        for other in [&[column("b", 1, 23)][..], &[column("a", 1, 25)], &[column("a", 1, 23), column("a", 1, 23)], &[]]
        {
            assert_ne!(one, of(other));
        }
    }

    #[test]
    fn what_failed_is_forgotten() {
        let mut prepared = Prepared::default();
        let (id, _) = insert(&mut prepared, &key(b"selekt 1"));
        prepared.remove(id);
        assert!(prepared.is_empty() && prepared.bytes == 0);
    }

    #[test]
    fn a_name_has_its_number_in_it() {
        let mut name = Vec::new();
        put_name(&mut name, 0x1f);
        assert_eq!(name, b"greenroom:0000001f");
        assert_eq!(name.len(), NAME_BYTES);
        assert_eq!(id_in(b"prepared statement \"greenroom:0000001f\" does not exist"), Some(0x1f));
        assert_eq!(id_in(b"greenroom:1f"), None);
    }
}
