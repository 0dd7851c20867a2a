//! What one server has prepared: statements of the protocol, shared by all sessions that it serves one after the other.
//!
//! A statement is known by what it says, not by the name that a client gave it. On the server it has a name of ours, which
//! no client's name can be; the number in it is used once. What has not been used for longest is closed when there is too
//! much, in a write that happens anyway.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
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
pub const NAME_BYTES: usize = PREFIX.len() + DIGITS;

/// Digits of the number in it, in hexadecimal: all that there are.
const DIGITS: usize = size_of::<Id>() * 2;

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

    /// The text, and the types of its parameters as Parse has them.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        body::cstr(&self.body).unwrap_or_default()
    }

    /// Bytes that it is counted with.
    pub fn bytes(&self) -> usize {
        self.body.len() + OVERHEAD
    }
}

/// Numbers for the settings that a statement is prepared under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// For all that its meaning depends on.
    pub meaning: u64,
    /// For those of them that its literals depend on, and what is worked out of them once.
    pub literals: u64,
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

/// The number in a statement's name: no server lives long enough to use one twice.
pub type Id = u64;

/// The number in the name of what is prepared for one Bind: no statement that stays has it.
pub const NOBODYS: Id = 0;

#[derive(Debug)]
struct Entry {
    id: Id,
    /// What PostgreSQL has told of it.
    description: Option<Description>,
}

/// What PostgreSQL tells of a statement, and holds it to: the types of its parameters, and the names and types of its columns.
///
/// Both are decided when it is prepared. Prepared again it could have others, if its tables have changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The types of its parameters, as Parse has them, without their count.
    parameters: Arc<[u8]>,
    /// A number for its columns.
    columns: u64,
}

impl Description {
    /// Reads the body of a ParameterDescription, and that of a RowDescription, empty for NoData. `None` if one is not whole.
    pub fn read(parameters: &[u8], columns: &[u8]) -> Option<Self> {
        let (count, types) = parameters.split_first_chunk::<2>()?;
        let is_whole = types.len() == usize::from(u16::from_be_bytes(*count)) * 4;
        Some(Self { parameters: is_whole.then(|| types.into())?, columns: columns_of(columns)? })
    }

    /// Appends the types of the parameters as a Parse has them.
    pub fn put_parameters(&self, out: &mut Vec<u8>) {
        let count = u16::try_from(self.parameters.len() / 4).expect("it was read from so many");
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&self.parameters);
    }
}

/// A number for the columns that the body of a RowDescription tells of: what PostgreSQL compares of them (`cached plan must
/// not change result type`), which is their names, types and modifiers, not the tables that they come from.
fn columns_of(body: &[u8]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let Some((count, mut rest)) = body.split_first_chunk::<2>() else {
        return body.is_empty().then(|| hasher.finish());
    };
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, fields) = body::cstr(rest)?;
        // The table's number, the column's, the type's, its length, its modifier, the format: 4, 2, 4, 2, 4 and 2 bytes.
        let (fields, behind) = fields.split_at_checked(18)?;
        (name, &fields[6..16]).hash(&mut hasher);
        rest = behind;
    }
    // One without columns is not the same as none.
    count.hash(&mut hasher);
    Some(hasher.finish())
}

/// A number for each batch of a session: what ends with one ReadyForQuery.
pub type Batch = u64;

/// A statement that a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: Id,
    /// What PostgreSQL has told of it.
    pub description: Option<Description>,
}

/// Whose names the frames have that go to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Ours.
    Ours,
    /// Those of the client that it is lent to. Whether a statement may have one.
    Clients { has_any: bool },
}

/// What one server has prepared.
///
/// A statement with a name of ours is noted from the moment when its Parse is asked until PostgreSQL has said that it failed or that
/// the statement is closed: what the server has is always among `entries` and `closing`.
#[derive(Debug)]
pub struct Prepared {
    /// What may be used.
    entries: LruCache<Key, Entry>,
    /// What is closed, or is to be, and the batch of this lease in which that was asked last: nobody uses it, but the server may have
    /// it until it has said so.
    closing: Vec<(Id, Option<Batch>)>,
    bytes: usize,
    last_id: Id,
    names: Names,
}

impl Default for Prepared {
    fn default() -> Self {
        Self { entries: LruCache::unbounded(), closing: Vec::new(), bytes: 0, last_id: NOBODYS, names: Names::Ours }
    }
}

impl Prepared {
    /// The statement, if the server has it.
    #[inline]
    pub fn find(&mut self, key: &Key) -> Option<Found> {
        let entry = self.entries.get(key)?;
        Some(Found { id: entry.id, description: entry.description.clone() })
    }

    /// PostgreSQL has told of the statement.
    pub fn described(&mut self, id: Id, description: &Description) {
        // It is the one that was prepared last, or nearly.
        if let Some((_, entry)) = self.entries.iter_mut().find(|(_, entry)| entry.id == id) {
            entry.description = Some(description.clone());
        }
    }

    /// The statement is about to be prepared. `close` is told what has to be closed for it: an older one like it, and what
    /// there is no room for.
    pub fn insert(&mut self, key: Key, batch: Batch, mut close: impl FnMut(Id)) -> Id {
        debug_assert_eq!(self.names, Names::Ours, "what has the client's names gets none of ours");
        self.last_id += 1;
        let id = self.last_id;
        self.bytes += key.content.bytes();
        if let Some((older, entry)) = self.entries.push(key, Entry { id, description: None }) {
            self.no_more(&older, entry.id);
        }
        while self.bytes > MOST_BYTES && self.entries.len() > 1 {
            let Some((key, entry)) = self.entries.pop_lru() else { break };
            self.no_more(&key, entry.id);
        }
        for (id, asked) in self.closing.iter_mut().filter(|(_, asked)| asked.is_none()) {
            *asked = Some(batch);
            close(*id);
        }
        id
    }

    /// An empty statement is about to be prepared that nobody will use, and is to be closed. `close` is told what has to be
    /// closed ahead of it: whatever is to be.
    pub fn stand_in(&mut self, batch: Batch, close: impl FnMut(Id)) -> Id {
        self.close_in(batch, close);
        self.last_id += 1;
        self.closing.push((self.last_id, None));
        self.last_id
    }

    /// What nobody keeps is prepared, and closed in the same batch, unless that fails before.
    pub fn prepares_for_nobody(&mut self, batch: Batch) {
        self.is_closed(NOBODYS);
        self.closing.push((NOBODYS, Some(batch)));
    }

    fn no_more(&mut self, key: &Key, id: Id) {
        self.bytes -= key.content.bytes();
        self.closing.push((id, None));
    }

    /// It could not be prepared, or never was.
    pub fn remove(&mut self, id: Id) {
        self.is_closed(id);
        let key = self.entries.iter().find(|(_, entry)| entry.id == id).map(|(key, _)| key.clone());
        if let Some(key) = key
            && self.entries.pop(&key).is_some()
        {
            self.bytes -= key.content.bytes();
        }
    }

    /// PostgreSQL has closed it.
    pub fn is_closed(&mut self, id: Id) {
        self.closing.retain(|(closing, _)| *closing != id);
    }

    /// Nothing is prepared any more.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.closing.clear();
        self.bytes = 0;
    }

    /// What comes next may see every name, or has the client's own in it: none of ours may be left, and none comes until the
    /// lease ends. `close` is told what has to be closed ahead of it, in the same batch.
    pub fn leave_to_client(&mut self, batch: Batch, close: impl FnMut(Id)) {
        self.belong_to_client();
        self.close_in(batch, close);
    }

    fn close_in(&mut self, batch: Batch, mut close: impl FnMut(Id)) {
        // If an earlier batch was skipped, so was what it should have closed.
        for (id, asked) in self.closing.iter_mut().filter(|(_, asked)| *asked != Some(batch)) {
            *asked = Some(batch);
            close(*id);
        }
    }

    /// The same, but nothing is closed yet.
    pub fn belong_to_client(&mut self) {
        while let Some((key, entry)) = self.entries.pop_lru() {
            self.no_more(&key, entry.id);
        }
        if self.names == Names::Ours {
            self.names = Names::Clients { has_any: false };
        }
    }

    /// The client gives a statement a name there.
    pub fn client_names_one(&mut self) {
        self.names = Names::Clients { has_any: true };
    }

    /// Whether statements there have names of ours, and a client's name means nothing.
    #[inline]
    pub fn has_our_names(&self) -> bool {
        self.names == Names::Ours
    }

    /// Whether a statement may have a name that its one client gave: nobody else can be lent it.
    #[inline]
    pub fn has_clients_statements(&self) -> bool {
        self.names == Names::Clients { has_any: true }
    }

    /// Whoever had it has it no more.
    #[inline]
    pub fn lease_ended(&mut self) {
        self.closing.iter_mut().for_each(|(_, asked)| *asked = None);
        if self.names == (Names::Clients { has_any: false }) {
            self.names = Names::Ours;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the server has none with a name of ours.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.closing.is_empty()
    }
}

/// Appends the name of a statement on its server.
#[inline]
pub fn put_name(out: &mut Vec<u8>, id: Id) {
    out.extend_from_slice(PREFIX);
    let mut digits = [0; DIGITS];
    for (digit, shift) in digits.iter_mut().zip((0..DIGITS).rev()) {
        *digit = b"0123456789abcdef"[(id >> (4 * shift)) as usize & 0xf];
    }
    out.extend_from_slice(&digits);
}

/// Where the first name of ours stands in a text.
pub fn name_in(text: &[u8]) -> Option<Range<usize>> {
    let at = memchr::memmem::find(text, PREFIX)?;
    let digits = text.get(at + PREFIX.len()..at + NAME_BYTES)?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(at..at + NAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8]) -> Key {
        Key { content: Arc::new(Content::new(text)), settings: 0 }
    }

    fn insert(prepared: &mut Prepared, key: &Key) -> (Id, Vec<Id>) {
        let mut closed = Vec::new();
        let id = prepared.insert(key.clone(), 1, |id| closed.push(id));
        (id, closed)
    }

    /// What is told of a statement with a column of this type.
    fn told(kind: u8) -> Description {
        let column = [0, 1, b'a', 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, kind, 0, 4, 0, 0, 0, 0, 0, 0];
        Description::read(&[0, 0], &column).expect("it is whole")
    }

    #[test]
    fn the_same_is_found_whoever_has_prepared_it() {
        let mut prepared = Prepared::default();
        let (id, _) = insert(&mut prepared, &key(b"select 1"));
        assert_eq!(prepared.find(&key(b"select 1")), Some(Found { id, description: None }));
        assert_eq!(prepared.find(&key(b"select 2")), None);
        assert_eq!(prepared.find(&Key { settings: 1, ..key(b"select 1") }), None);
        prepared.described(id, &told(23));
        assert_eq!(prepared.find(&key(b"select 1")), Some(Found { id, description: Some(told(23)) }));
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
    fn what_is_to_be_closed_is_closed_in_each_batch_until_the_server_has_said_so() {
        let mut prepared = Prepared::default();
        let (first, _) = insert(&mut prepared, &key(b"select 1"));
        let mut ahead = |batch| {
            let mut closed = Vec::new();
            prepared.leave_to_client(batch, |id| closed.push(id));
            closed
        };
        assert_eq!([ahead(1), ahead(1), ahead(2)], [vec![first], vec![], vec![first]]);
        assert!(!prepared.has_our_names() && prepared.find(&key(b"select 1")).is_none() && !prepared.is_empty());
        prepared.lease_ended();
        assert!(prepared.has_our_names(), "the client has named nothing");
        assert_eq!(insert(&mut prepared, &key(b"select 2")).1, [first]);
        prepared.is_closed(first);
        assert_eq!(insert(&mut prepared, &key(b"select 3")).1, [0; 0]);
    }

    #[test]
    fn what_stands_in_for_another_is_closed_before_the_next_one_does_and_never_found() {
        let mut prepared = Prepared::default();
        let mut stand_in = |batch| {
            let mut closed = Vec::new();
            (prepared.stand_in(batch, |id| closed.push(id)), closed)
        };
        let (first, second, third) = (stand_in(1), stand_in(1), stand_in(2));
        assert_eq!((first.1, second.1), (vec![], vec![first.0]));
        assert_eq!(third.1, [first.0, second.0], "a batch that failed has closed none");
        assert_eq!((prepared.len(), prepared.bytes, prepared.is_empty()), (0, 0, false));
        [first.0, second.0].into_iter().for_each(|id| prepared.is_closed(id));
        assert_eq!(insert(&mut prepared, &key(b"select 1")).1, [third.0]);
    }

    #[test]
    fn a_server_with_a_name_of_its_clients_keeps_it() {
        let mut prepared = Prepared::default();
        prepared.belong_to_client();
        prepared.client_names_one();
        prepared.lease_ended();
        assert!(prepared.has_clients_statements() && !prepared.has_our_names());
    }

    #[test]
    fn columns_are_what_their_names_and_types_are() {
        let column = |name: &str, table: u8, kind: u8| {
            [name.as_bytes(), &[0, 0, 0, 0, table, 0, 1, 0, 0, 0, kind, 0, 4, 0, 0, 0, 0, 0, 0]].concat()
        };
        let body = |columns: &[Vec<u8>]| [&[0, columns.len() as u8][..], &columns.concat()].concat();
        let of = |columns: &[Vec<u8>]| Description::read(&[0, 1, 0, 0, 0, 23], &body(columns)).expect("it is whole");
        let one = of(&[column("a", 1, 23)]);
        assert_eq!(one, of(&[column("a", 2, 23)]), "the table may be another");
        for other in [&[column("b", 1, 23)][..], &[column("a", 1, 25)], &[column("a", 1, 23), column("a", 1, 23)], &[]]
        {
            assert_ne!(one, of(other));
        }
        assert_ne!(
            Description::read(&[0, 0], &body(&[column("a", 1, 23)])).as_ref(),
            Some(&one),
            "the parameters differ"
        );
        assert_ne!(Description::read(&[0, 0], &[]), Description::read(&[0, 0], &[0, 0]), "none is not no columns");
        let whole = body(&[column("a", 1, 23)]);
        for cut in 1..whole.len() {
            assert_eq!(Description::read(&[0, 0], &whole[..cut]), None);
        }
        assert_eq!(Description::read(&[0, 2, 0, 0, 0, 23], &[]), None);
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
        put_name(&mut name, 0xf_0000_001f);
        assert_eq!(name, b"greenroom:0000000f0000001f");
        assert_eq!(name.len(), NAME_BYTES);
        assert_eq!(name_in(b"statement \"greenroom:0000000f0000001f\" does not exist"), Some(11..37));
        assert_eq!(name_in(b"greenroom:1f"), None);
    }
}
