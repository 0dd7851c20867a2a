//! A new client finds nothing of an old one: it sees what it would see on a new connection to PostgreSQL itself.

use super::same;
use crate::harness::{RawClient, Reply};

/// Everything that a session can hold, one question each.
const QUESTIONS: [&str; 11] = [
    // Every setting, by value: search_path is the plugin's, all others are the server's.
    "select name, setting from pg_settings where name not like 'transaction%' order by name",
    "show search_path",
    "select current_schema(), current_user, session_user",
    "select name from pg_prepared_statements",
    "select name from pg_cursors where is_holdable",
    "select relname from pg_class where relnamespace = pg_my_temp_schema()",
    "select objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    "select * from pg_listening_channels()",
    "select current_setting('my.own', true), current_setting('our.own', true)",
    "select lastval()",
    "select name from item order by id",
];

/// What a new client is answered, question by question.
#[derive(Debug)]
pub(super) struct Pristine(Vec<Vec<Reply>>);

impl Pristine {
    /// Asks a client that has said nothing yet.
    pub(super) async fn ask(client: &mut RawClient) -> Self {
        let mut answers = Vec::new();
        for question in QUESTIONS {
            answers.push(client.query(question).await);
        }
        Self(answers)
    }

    /// Asks another one; the error says which question was answered differently.
    pub(super) async fn same(&self, after: &str, client: &mut RawClient) -> Result<(), String> {
        for (question, expected) in QUESTIONS.into_iter().zip(&self.0) {
            let answer = client.query(question).await;
            same(&format!("a new client after {after:?}: {question}"), expected, &answer)?;
        }
        Ok(())
    }
}
