//! The prepared statements of the protocol that a client has given names to: they outlive the lease.
//!
//! A name is taken, or free again, from the moment the client asks for it, so that what is sent behind it without waiting
//! is understood. Until PostgreSQL has answered, each change is noted in order; one that failed, or was never looked at, is
//! taken back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::prepared::{Content, Found, Id, Rows};
use crate::sql::Effects;

/// Bytes of a session's named statements. A session with more keeps a server of its own, which then has them all.
pub const MOST_BYTES: usize = 16 << 20;

/// A statement that a client has prepared.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it says.
    pub content: Arc<Content>,
    /// What it may leave behind whenever it is executed.
    pub effects: Effects,
    /// What its rows were when the client prepared it, once PostgreSQL has told.
    pub rows: Option<Rows>,
    /// Its number on the server that had it last.
    pub id: Option<Id>,
}

impl Statement {
    /// A statement that is prepared now; `body` is the rest of its Parse behind the name.
    pub fn new(body: &[u8], effects: Effects) -> Self {
        Self { content: Arc::new(Content::new(body)), effects, rows: None, id: None }
    }
}

/// What was asked and is not answered.
#[derive(Debug)]
enum Change {
    /// The name was given to a statement; perhaps it had one before.
    Parsed(Box<[u8]>, Option<Statement>),
    /// The statement was closed.
    Closed(Box<[u8]>, Statement),
    /// All were.
    Cleared(HashMap<Box<[u8]>, Statement>),
}

/// All that a client has prepared by name.
#[derive(Debug, Default)]
pub struct Statements {
    live: HashMap<Box<[u8]>, Statement>,
    bytes: usize,
    changes: VecDeque<Change>,
}

impl Statements {
    /// The statement of that name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Statement> {
        self.live.get(cut(name))
    }

    /// The statement of that name is this one on the server now.
    #[inline]
    pub fn is_now(&mut self, name: &[u8], found: Found) {
        if let Some(statement) = self.live.get_mut(cut(name)) {
            statement.id = Some(found.id);
            statement.rows = statement.rows.or(found.rows);
        }
    }

    /// PostgreSQL has told what the rows of a statement are that the client has just prepared.
    pub fn described(&mut self, id: Id, rows: Rows) {
        // One that is being closed may come back.
        let changing = self.changes.iter_mut().flat_map(|change| match change {
            Change::Parsed(_, before) => before.iter_mut().collect::<Vec<_>>(),
            Change::Closed(_, statement) => vec![statement],
            Change::Cleared(all) => all.values_mut().collect(),
        });
        for statement in self.live.values_mut().chain(changing).filter(|statement| statement.id == Some(id)) {
            statement.rows.get_or_insert(rows);
        }
    }

    /// The name of the statement with this number on the server.
    pub fn name_of(&self, id: Id) -> Option<&[u8]> {
        self.live.iter().find(|(_, statement)| statement.id == Some(id)).map(|(name, _)| &**name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Statement)> {
        self.live.iter().map(|(name, statement)| (&**name, statement))
    }

    /// Whether something is not answered yet.
    #[inline]
    pub fn are_changing(&self) -> bool {
        !self.changes.is_empty()
    }

    /// A Parse gives the name to the statement.
    pub fn parse(&mut self, name: &[u8], statement: Statement) {
        let before = self.put(cut(name), statement);
        self.changes.push_back(Change::Parsed(cut(name).into(), before));
    }

    /// A Close frees the name. Whether it was taken.
    pub fn close(&mut self, name: &[u8]) -> bool {
        match self.take(cut(name)) {
            Some((name, statement)) => {
                self.changes.push_back(Change::Closed(name, statement));
                true
            }
            None => false,
        }
    }

    /// A statement frees all names.
    pub fn clear(&mut self) {
        self.bytes = 0;
        self.changes.push_back(Change::Cleared(std::mem::take(&mut self.live)));
    }

    /// The first change was made.
    #[inline]
    pub fn confirm(&mut self) {
        self.changes.pop_front();
    }

    /// The first so many changes were not made.
    pub fn undo(&mut self, first: usize) {
        let undone: Vec<_> = self.changes.drain(..first.min(self.changes.len())).collect();
        for change in undone.into_iter().rev() {
            match change {
                Change::Parsed(name, before) => {
                    self.take(&name);
                    if let Some(statement) = before {
                        self.put(&name, statement);
                    }
                }
                Change::Closed(name, statement) => {
                    self.put(&name, statement);
                }
                Change::Cleared(all) => {
                    // What was prepared behind it stands.
                    for (name, statement) in all {
                        if self.get(&name).is_none() {
                            self.put(&name, statement);
                        }
                    }
                }
            }
        }
    }

    /// None of what was asked will ever be answered.
    pub fn undo_all(&mut self) {
        self.undo(self.changes.len());
    }

    /// The client has none any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn put(&mut self, name: &[u8], statement: Statement) -> Option<Statement> {
        self.bytes += name.len() + statement.content.bytes();
        let before = self.live.insert(name.into(), statement);
        if let Some(before) = &before {
            self.bytes -= name.len() + before.content.bytes();
        }
        before
    }

    fn take(&mut self, name: &[u8]) -> Option<(Box<[u8]>, Statement)> {
        let (name, statement) = self.live.remove_entry(name)?;
        self.bytes -= name.len() + statement.content.bytes();
        Some((name, statement))
    }
}

/// PostgreSQL tells names apart by their first 63 bytes.
fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(63)]
}

/// Whether a statement of this text would mean another time when it is prepared again: 'now' and its like become a time
/// when they are parsed, not when they are executed.
///
/// Source: PostgreSQL, "Date/Time Types, Special Values". A superset: a column of such a name counts, the function now()
/// does not.
pub fn depends_on_when_it_is_parsed(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if memchr::memchr(b'\'', text).is_none() && memchr::memchr(b'$', text).is_none() {
        // It has no literal.
        return false;
    }
    text.split_inclusive(|byte| !is_word(byte)).any(|word| {
        let (end, word) = match word.split_last() {
            Some((last, rest)) if !is_word(last) => (*last, rest),
            _ => (b' ', word),
        };
        end != b'(' && WORDS.iter().any(|special| word.eq_ignore_ascii_case(special))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &[u8]) -> Statement {
        Statement::new(text, Effects::NONE)
    }

    fn text<'a>(statements: &'a Statements, name: &[u8]) -> Option<&'a [u8]> {
        statements.get(name).map(|statement| statement.content.body())
    }

    #[test]
    fn what_was_not_done_is_taken_back_in_reverse() {
        let mut statements = Statements::default();
        statements.parse(b"a", statement(b"1"));
        statements.confirm();
        let bytes = statements.bytes();
        assert!(statements.close(b"a"));
        statements.parse(b"a", statement(b"2"));
        statements.clear();
        statements.parse(b"b", statement(b"3"));
        statements.undo(3);
        assert_eq!(text(&statements, b"a"), Some(&b"1"[..]));
        assert_eq!(text(&statements, b"b"), Some(&b"3"[..]));
        statements.undo_all();
        assert_eq!((text(&statements, b"b"), statements.bytes()), (None, bytes));
        assert!(!statements.are_changing());
    }

    #[test]
    fn what_was_done_stays_done() {
        let mut statements = Statements::default();
        statements.parse(b"a", statement(b"1"));
        statements.parse(b"b", statement(b"2"));
        statements.confirm();
        statements.undo_all();
        assert!(text(&statements, b"a").is_some() && text(&statements, b"b").is_none());
    }

    #[test]
    fn only_a_literal_can_be_a_time_that_passes() {
        for text in ["select 'now'::timestamptz", "select timestamp ' ToDay 12:00'", "select $$tomorrow$$::date"] {
            assert!(depends_on_when_it_is_parsed(text.as_bytes()), "{text}");
        }
        for text in ["select now() - '1 hour'::interval", "select 'unknown', 'nowhere'", "select today from t", ""] {
            assert!(!depends_on_when_it_is_parsed(text.as_bytes()), "{text}");
        }
    }
}
