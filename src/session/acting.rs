//! Statements that are acted upon instead of merely passed on: settings that the session carries from server to server,
//! and databases that are really schemas.

use std::sync::Arc;

use super::frames::Verdict;
use super::settings::Change;
use super::{Prepared, Session};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frontend, message};
use crate::sql::Effects;
use crate::sql::statement::{self, MigrationLock, Statement};

/// What a session does with the statements that are more than bytes to it.
#[derive(Debug, Default)]
pub(super) struct Acting {
    /// What stands for the table of databases, where databases are schemas.
    databases: Option<Arc<str>>,
    /// A statement about settings is on its way to the server.
    pub(super) asked: Option<Change>,
    /// It worked.
    pub(super) made: Option<Change>,
    /// What a shared server needs behind a RESET of search_path, of application_name, and of all.
    pub(super) ways_home: [Arc<[u8]>; 3],
    /// Which of them the last verdict is about.
    pub(super) leads_astray: [bool; 3],
    /// What they were meant for has failed, and they have led a shared server to where only that would have led it.
    is_astray: bool,
    /// The session began with settings that a shared server does not go back to.
    pub(super) began_with_settings: bool,
    /// The statement that the last verdict was about.
    database: Option<Statement>,
    /// A statement that wants nobody to be connected to the databases that it names.
    changes: Option<Vec<u8>>,
    /// What is asked to be done with the lock of Knex's migrations, and what was done last.
    asks_migration: Option<MigrationLock>,
    migration: Option<MigrationLock>,
}

impl Acting {
    /// A SET worked, if one was on its way; so has all that was asked, if nothing else is.
    #[inline]
    pub(super) fn ready(&mut self, status: TxStatus, is_last: bool) {
        self.made = self.asked.take().filter(|_| status == TxStatus::Idle);
        if is_last && self.asks_migration.is_some() {
            self.migration = self.asks_migration.take();
        }
    }

    /// What was on its way has failed. Whether what went behind it has led a shared server astray.
    pub(super) fn failed(&mut self) -> bool {
        self.is_astray |= self.may_be_astray();
        self.asked = None;
        // Perhaps not: then the plugin is not preferred, or no longer, which harms nobody.
        self.asks_migration = self.asks_migration.filter(|lock| *lock == MigrationLock::GiveBack);
        self.is_astray
    }

    /// What was on its way will never arrive, and the server is another's.
    pub(super) fn lease_ended(&mut self) {
        self.asked = None;
        self.asks_migration = None;
        self.is_astray = false;
    }

    /// Whether a shared server has been led to where a RESET that may fail, or has, would have led it.
    #[inline]
    pub(super) fn may_be_astray(&self) -> bool {
        self.is_astray || (self.asked.is_some() && self.leads_astray != [false; 3])
    }
}

/// Whether the first letters of a text are those of LISTEN or UNLISTEN.
#[inline]
fn may_be_listen(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match text.first() {
        Some(b'l' | b'L') => begins(b"listen"),
        Some(b'u' | b'U') => begins(b"unlisten"),
        _ => false,
    }
}

/// Whether the first letters of a text are those of SET, RESET or DISCARD: hardly any is.
#[inline]
fn may_be_setting(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match text.first() {
        Some(b's' | b'S') => begins(b"set"),
        Some(b'r' | b'R') => begins(b"reset"),
        Some(b'd' | b'D') => begins(b"discard"),
        _ => false,
    }
}

/// What stands behind the statements by which a pool cleans a session up, and which leave nothing behind: those of asyncpg,
/// which resets its settings last.
#[inline]
fn behind_cleaning(text: &[u8]) -> &[u8] {
    let mut rest = text.trim_ascii_start();
    while let Some(behind) = CLEANING.iter().find_map(|statement| {
        let (start, behind) = rest.split_at_checked(statement.len())?;
        start.eq_ignore_ascii_case(statement).then_some(behind)
    }) {
        rest = behind.trim_ascii_start();
    }
    rest
}

/// Statements that leave nothing behind, in lower case.
const CLEANING: [&[u8]; 3] = [b"select pg_advisory_unlock_all();", b"close all;", b"unlisten *;"];

impl Session {
    /// Databases are schemas here: `view` stands for pg_database when Knex asks whether one exists, and
    /// CREATE DATABASE and DROP DATABASE get verdicts of their own.
    pub fn serve_databases(&mut self, view: Arc<str>) {
        self.acting.databases = Some(view);
    }

    /// The statement that [`Verdict::Database`] is about.
    pub fn take_database(&mut self) -> Option<Statement> {
        self.acting.database.take()
    }

    /// The statement that [`Verdict::Database`] was about goes to the server after all.
    pub fn ask_about_database(&mut self) {
        self.ask_query(Effects::NONE);
    }

    /// The text of a statement that creates, drops or alters a database, and so wants nobody to be connected to it.
    pub fn take_database_change(&mut self) -> Option<Vec<u8>> {
        self.acting.changes.take()
    }

    /// What was done since the last call with the lock of Knex's migrations.
    #[inline]
    pub fn take_migration_lock(&mut self) -> Option<MigrationLock> {
        self.acting.migration.take()
    }

    /// Ignores what follows up to Sync, because we have answered with an error.
    pub fn discard_to_sync(&mut self) {
        self.discarding = true;
    }

    /// Acts on a simple query, if it is one to act upon.
    #[inline]
    pub(super) fn act_on_query(&mut self, text: &[u8], len: usize) -> Option<Verdict> {
        if let Some(frame) = self.about_schemas(Frontend::QUERY, b"", text, b"") {
            return Some(self.on_rewritten(&frame, len, None));
        }
        if may_be_listen(text)
            && let Some(verdict) = self.act_on_listen(text)
        {
            return Some(verdict);
        }
        self.note_hearing(text);
        self.note_text(text);
        if !self.is_between_statements() {
            return None;
        }
        // Where the session keeps its server, there may be something to clean up.
        let setting = if self.pin().is_none() { behind_cleaning(text) } else { text };
        if may_be_setting(setting) {
            return self.act_on_setting(setting);
        }
        self.acting.databases.as_ref()?;
        self.acting.database = Some(Statement::read(text)?);
        Some(Verdict::Database)
    }

    /// Acts on a Parse, if it is one to act upon.
    #[inline]
    pub(super) fn act_on_parse(
        &mut self,
        frame: &[u8],
        (name, text, types): (&[u8], &[u8], &[u8]),
        server: Option<&mut Prepared>,
    ) -> Option<Verdict> {
        if let Some(rewritten) = self.about_schemas(Frontend::PARSE, name, text, types) {
            return Some(self.on_rewritten(&rewritten, frame.len(), server));
        }
        let is_about_database =
            || matches!(Statement::read(text), Some(Statement::CreateDatabase { .. } | Statement::DropDatabase { .. }));
        if self.acting.databases.is_some() && self.is_between_statements() && is_about_database() {
            return Some(Verdict::OnlySimpleQuery);
        }
        self.note_hearing_parse(text);
        self.note_text(text);
        None
    }

    fn is_between_statements(&self) -> bool {
        self.status == TxStatus::Idle && self.is_settled()
    }

    /// Notes what is told to others and goes to the server as it is.
    #[inline]
    fn note_text(&mut self, text: &[u8]) {
        // Most statements begin with another letter.
        match text.trim_ascii_start().first().map(u8::to_ascii_lowercase) {
            Some(b'a' | b'c' | b'd') if statement::changes_databases(text) => {
                self.acting.changes = Some(text.to_vec());
            }
            Some(b'u') => self.acting.asks_migration = MigrationLock::read(text).or(self.acting.asks_migration),
            _ => {}
        }
    }

    /// Knex's question whether a database exists, asked of the schemas.
    fn about_schemas(&self, tag: Frontend, name: &[u8], text: &[u8], types: &[u8]) -> Option<Vec<u8>> {
        let view = self.acting.databases.as_ref()?;
        let wanted = statement::counts_databases(text)?;
        let mut frame = Vec::new();
        message::frame(&mut frame, tag.0, |out| {
            if tag == Frontend::PARSE {
                message::put_str(out, name);
            }
            let sql = [b"select count(*) from (", view.as_bytes(), b") \"pg_database\" where \"datname\" = ", wanted];
            message::put_str(out, &sql.concat());
            out.extend_from_slice(types);
        });
        Some(frame)
    }

    /// The session goes on as if the client had sent this frame, in the place of one that is so long.
    pub(super) fn on_rewritten(&mut self, frame: &[u8], len: usize, server: Option<&mut Prepared>) -> Verdict {
        match self.on_client(frame, server) {
            Verdict::Forward => {
                self.splice.extend_from_slice(frame);
                Verdict::Splice(len)
            }
            Verdict::Splice(skip) => {
                self.splice.extend_from_slice(&frame[skip..]);
                Verdict::Splice(len)
            }
            other => other,
        }
    }
}
