//! A new client finds nothing of an old one: it sees what it would see on a new connection to PostgreSQL itself.

use super::assert_equal;
use crate::harness::RawClient;

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

/// Asks both sides.
pub(super) async fn assert_pristine(after: &str, plain: &mut RawClient, pooled: &mut RawClient) {
    for question in QUESTIONS {
        let expected = plain.query(question).await;
        let answer = pooled.query(question).await;
        assert_equal(&format!("a new client after {after:?}: {question}"), &expected, &answer);
    }
}
