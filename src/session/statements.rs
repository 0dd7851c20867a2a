//! The prepared statements of the protocol that a client has given names to: they outlive the lease.
//!
//! A name is taken, or free again, from the moment the client asks for it, so that what is sent behind it without waiting
//! is understood. Until PostgreSQL has answered, each change is noted in order; one that failed, or was never looked at, is
//! taken back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::prepared::{Content, Description, PREFIX};
use crate::sql::Effects;

/// Bytes of a session's named statements. A session with more keeps a server of its own, which then has them all.
pub const MOST_BYTES: usize = 4 << 20;

/// Bytes by which PostgreSQL tells names apart: NAMEDATALEN without the NUL.
pub const MOST_NAME_BYTES: usize = 63;

/// A number for each statement that a client of one session has prepared.
pub type Serial = u64;

/// A number for each lease of a session.
pub type LeaseNumber = u64;

/// A statement that a client has prepared.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it says.
    pub content: Arc<Content>,
    /// What it may leave behind whenever it is executed.
    pub effects: Effects,
    /// Its number in this session; no other statement ever has it.
    pub serial: Serial,
    /// What PostgreSQL has told of it first: what the client may rely on.
    pub description: Option<Description>,
    /// A number for the settings that its literals were read under, and its plans were made under, if they are known and have
    /// always been the same.
    literals: Option<u64>,
    /// Whether the server has it under the client's own name, and in which lease that was found.
    own: (LeaseNumber, Own),
    /// What that was before it was prepared there again.
    before: Own,
}

/// What a server has under the client's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// Nobody has tried.
    Unknown,
    /// It could not be prepared.
    Missing,
    /// Nothing, and prepared now its literals might be other values than they are.
    Lost,
    /// The client's own.
    There,
    /// One that was prepared again, and what PostgreSQL told of it.
    Again(Option<Description>),
}

impl Statement {
    /// A statement that is prepared now; `body` is the rest of its Parse behind the name.
    pub fn new(serial: Serial, body: &[u8], effects: Effects) -> Self {
        let content = Arc::new(Content::new(body));
        let (own, before) = ((0, Own::Unknown), Own::Unknown);
        Self { content, effects, serial, description: None, literals: None, own, before }
    }

    /// The same, read under such settings of literals.
    #[must_use]
    pub fn under(mut self, literals: Option<u64>) -> Self {
        self.literals = literals;
        self
    }

    /// Whether it is the same wherever it is prepared under these settings of literals. They matter without any literal, too: its
    /// plan may have `pi()::text` in it, and it has read `x = NULL` in one way or in another.
    fn can_go(&self, literals: u64) -> bool {
        self.description.is_some() && self.literals == Some(literals)
    }

    /// The same, with its own name on the server of this lease.
    #[must_use]
    pub fn there(mut self, lease: LeaseNumber) -> Self {
        self.own = (lease, Own::There);
        self
    }

    /// What the server of this lease has under the client's own name.
    pub fn own(&self, lease: LeaseNumber) -> &Own {
        if self.own.0 == lease { &self.own.1 } else { &Own::Unknown }
    }

    /// Appends the rest of a Parse that makes the same statement: the text, and the types that its parameters have.
    ///
    /// PostgreSQL has decided on them once, and would not decide anew for a statement that it has.
    pub fn put_body(&self, out: &mut Vec<u8>) {
        let body = self.content.body();
        match (&self.description, memchr::memchr(0, body)) {
            (Some(description), Some(end)) => {
                out.extend_from_slice(&body[..=end]);
                description.put_parameters(out);
            }
            _ => out.extend_from_slice(body),
        }
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
    last_serial: Serial,
}

impl Statements {
    /// The statement of that name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Statement> {
        self.live.get(cut(name))
    }

    /// A number for the next statement.
    pub fn next_serial(&mut self) -> Serial {
        self.last_serial += 1;
        self.last_serial
    }

    /// The number of the last one.
    pub fn last_serial(&self) -> Serial {
        self.last_serial
    }

    /// PostgreSQL has told of a statement: the first time this is what the client may rely on.
    pub fn described(&mut self, serial: Serial, description: &Description) {
        self.change(serial, |statement| {
            statement.description.get_or_insert_with(|| description.clone());
        });
    }

    /// What the server of this lease has under the client's own name.
    pub fn set_own(&mut self, serial: Serial, lease: LeaseNumber, own: &Own) {
        self.change(serial, |statement| statement.own = (lease, own.clone()));
    }

    /// PostgreSQL has told of the one with the client's own name there.
    pub fn own_is_described(&mut self, serial: Serial, lease: LeaseNumber, description: Description) {
        let own = Own::Again(Some(description));
        self.change(serial, |statement| {
            if *statement.own(lease) != Own::There {
                statement.own = (lease, own.clone());
            }
        });
    }

    /// It is used under such settings of literals, as far as they are known.
    pub fn is_used(&mut self, name: &[u8], literals: Option<u64>) {
        if let Some(statement) = self.live.get_mut(cut(name))
            && statement.literals != literals
        {
            statement.literals = None;
        }
    }

    /// Whether each of them is the same wherever it is prepared under these settings of literals.
    pub fn can_go(&self, literals: u64) -> bool {
        self.live.values().all(|statement| statement.can_go(literals)) && !self.are_changing()
    }

    /// The server of this lease has these names of the client's: what was there and is not any more, SQL has deallocated.
    /// Whether all of them are known.
    pub fn are_only(&mut self, names: &[String], lease: LeaseNumber) -> bool {
        let names: HashSet<_> = names.iter().map(String::as_bytes).collect();
        let is_there = |statement: &Statement| matches!(statement.own(lease), Own::There | Own::Again(_));
        if self.live.iter().any(|(name, statement)| is_there(statement) && name.starts_with(PREFIX)) {
            // It looks like one of ours, which are not told.
            return false;
        }
        if !names.iter().all(|name| self.live.get(*name).is_some_and(is_there)) {
            return false;
        }
        let gone: Vec<_> = self
            .live
            .iter()
            .filter(|(name, statement)| is_there(statement) && !names.contains(&***name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.take(&name);
        }
        true
    }

    /// It is about to be prepared under the client's own name, in place of what may be there.
    pub fn is_prepared_again(&mut self, serial: Serial, lease: LeaseNumber) {
        self.change(serial, |statement| {
            statement.before = statement.own(lease).clone();
            statement.own = (lease, Own::Again(None));
        });
    }

    /// The server has skipped that, and has what it had.
    pub fn was_not_prepared_again(&mut self, serial: Serial, lease: LeaseNumber) {
        self.change(serial, |statement| {
            if *statement.own(lease) == Own::Again(None) {
                statement.own.1 = statement.before.clone();
            }
        });
    }

    fn change(&mut self, serial: Serial, change: impl Fn(&mut Statement)) {
        // One that is being closed may come back.
        let changing = self.changes.iter_mut().flat_map(|change| match change {
            Change::Parsed(_, before) => before.iter_mut().collect::<Vec<_>>(),
            Change::Closed(_, statement) => vec![statement],
            Change::Cleared(all) => all.values_mut().collect(),
        });
        self.live.values_mut().chain(changing).filter(|statement| statement.serial == serial).for_each(change);
    }

    /// The name of the statement with this number.
    pub fn name_of(&self, serial: Serial) -> Option<&[u8]> {
        let in_changes = self.changes.iter().find_map(|change| match change {
            Change::Parsed(name, Some(statement)) | Change::Closed(name, statement) => {
                (statement.serial == serial).then_some(&**name)
            }
            Change::Parsed(..) => None,
            Change::Cleared(all) => named(all, serial),
        });
        named(&self.live, serial).or(in_changes)
    }

    /// What PostgreSQL has told first of the statement with this number.
    pub fn description(&self, serial: Serial) -> Option<&Description> {
        let in_changes = self.changes.iter().flat_map(|change| match change {
            Change::Parsed(_, before) => before.iter().collect::<Vec<_>>(),
            Change::Closed(_, statement) => vec![statement],
            Change::Cleared(all) => all.values().collect(),
        });
        let mut all = self.live.values().chain(in_changes);
        all.find(|statement| statement.serial == serial)?.description.as_ref()
    }

    /// What is not on the server of this lease cannot be prepared there any more with the values that its literals have.
    pub fn lose_elsewhere(&mut self, lease: LeaseNumber) {
        for statement in self.live.values_mut().filter(|statement| *statement.own(lease) == Own::Unknown) {
            if memchr::memchr(b'\'', statement.content.body()).is_some() {
                statement.own = (lease, Own::Lost);
            }
        }
    }

    /// Whether one of them may have to be prepared before the server of this lease has it under the client's own name.
    pub fn are_elsewhere(&self, lease: LeaseNumber) -> bool {
        self.live.values().any(|statement| *statement.own(lease) == Own::Unknown)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What any of them may leave behind when it is executed.
    pub fn effects(&self) -> Effects {
        let mut effects = Effects::NONE;
        self.live.values().for_each(|statement| effects.extend(statement.effects));
        effects
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

    /// Whether the first of it is that one is closed.
    pub fn closes_one_next(&self) -> bool {
        matches!(self.changes.front(), Some(Change::Closed(..)))
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
        *self = Self { last_serial: self.last_serial, ..Self::default() };
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

/// PostgreSQL tells names apart by this, and tells errors with the whole name.
fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(MOST_NAME_BYTES)]
}

fn named(statements: &HashMap<Box<[u8]>, Statement>, serial: Serial) -> Option<&[u8]> {
    statements.iter().find(|(_, statement)| statement.serial == serial).map(|(name, _)| &**name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &[u8]) -> Statement {
        Statement::new(0, text, Effects::NONE)
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
    fn a_statement_is_prepared_again_with_the_types_that_it_had() {
        let mut statements = Statements::default();
        let serial = statements.next_serial();
        statements.parse(b"a", Statement::new(serial, b"select $1\0\0\0", Effects::NONE));
        statements.described(serial, &Description::read(&[0, 1, 0, 0, 0, 23], &[]).expect("it is whole"));
        statements.described(serial, &Description::read(&[0, 1, 0, 0, 0, 25], &[]).expect("it is whole"));
        let mut body = Vec::new();
        statements.get(b"a").expect("it was prepared").put_body(&mut body);
        assert_eq!(body, b"select $1\0\0\x01\0\0\0\x17");
    }

    #[test]
    fn what_a_server_has_is_true_in_one_lease_only() {
        let mut statements = Statements::default();
        let serial = statements.next_serial();
        statements.parse(b"a", Statement::new(serial, b"1", Effects::NONE).there(7));
        assert!(!statements.are_elsewhere(7) && statements.are_elsewhere(8));
        statements.set_own(serial, 8, &Own::Missing);
        assert!(!statements.are_elsewhere(8));
        for (lease, before) in [(9, Own::There), (10, Own::Unknown)] {
            statements.set_own(serial, lease, &before);
            statements.is_prepared_again(serial, lease);
            assert_eq!(*statements.get(b"a").expect("it was prepared").own(lease), Own::Again(None));
            statements.was_not_prepared_again(serial, lease);
            assert_eq!(*statements.get(b"a").expect("it was prepared").own(lease), before);
        }
        for (name, body, own) in [(b"b", &b"select 'a'"[..], Own::Lost), (b"c", b"select 1", Own::Unknown)] {
            let serial = statements.next_serial();
            statements.parse(name, Statement::new(serial, body, Effects::NONE));
            statements.lose_elsewhere(8);
            assert_eq!(*statements.get(name).expect("it was prepared").own(8), own);
        }
        statements.close(b"a");
        assert_eq!(statements.name_of(serial), Some(&b"a"[..]), "until it is known to be closed");
    }
}
