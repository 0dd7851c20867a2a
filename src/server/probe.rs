//! Asks a server what a session has left on it.
//!
//! To be asked between two transactions. Every name is qualified, operators too: the session's search_path may lead
//! anywhere. What this cannot see (a seed, settings of extensions that are not loaded, what sequences gave) is not a
//! question: a session that may have left such a thing is never asked about.

use super::connection::{QueryError, Row, Server};
use crate::sql::{Effect, Effects};

/// What is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// What keeps the session on its server.
    pub left: Effects,
    /// The role that was set, unless it is the one that the login begins with.
    pub role: Option<String>,
    /// Settings that are not the server's own defaults, those of the startup message among them.
    pub settings: Vec<Setting>,
    /// Names that the protocol has given to statements, but for ours.
    pub names: Vec<String>,
    /// The role is not shown what its login may have set.
    pub are_hidden: bool,
}

/// A setting and its value, as SHOW tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, in PostgreSQL's spelling.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The session's own default for transactions may be to wait for a snapshot; ours does not.
const QUESTION: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE;
SELECT 'temporary', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
    AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
UNION ALL SELECT 'lock', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks l
    WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())
UNION ALL SELECT 'cursor', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable)
UNION ALL SELECT 'statement', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements s WHERE s.from_sql)
UNION ALL SELECT 'name', s.name, NULL FROM pg_catalog.pg_prepared_statements s
    WHERE NOT s.from_sql AND s.name OPERATOR(pg_catalog.!~~) 'greenroom:%'
UNION ALL SELECT 'role', pg_catalog.current_setting('role'), CURRENT_USER::pg_catalog.text
UNION ALL SELECT 'user', SESSION_USER::pg_catalog.text, (SELECT r.rolname::pg_catalog.text
    FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a
    JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.usesysid)
UNION ALL SELECT 'hidden', NULL, NULL WHERE NOT pg_catalog.pg_has_role(CURRENT_USER, 'pg_read_all_settings', 'USAGE')
    AND pg_catalog.pg_has_role(SESSION_USER, 'pg_read_all_settings', 'MEMBER')
UNION ALL SELECT CASE WHEN s.vartype OPERATOR(pg_catalog.=) 'real' THEN 'real' ELSE s.source END, s.name,
    pg_catalog.current_setting(s.name) FROM pg_catalog.pg_settings s
    WHERE s.source OPERATOR(pg_catalog.=) 'session' OR s.source OPERATOR(pg_catalog.=) 'client'";

impl Remains {
    /// Asks.
    ///
    /// # Errors
    /// Those of [`Server::query`].
    pub async fn ask(server: &mut Server) -> Result<Self, QueryError> {
        Ok(Self::read(server.query(QUESTION).await?))
    }

    fn read(rows: Vec<Row>) -> Self {
        let mut remains = Self::default();
        let mut told = Vec::new();
        for row in rows {
            if let [Some(kind), name, value] = &row[..] {
                told.push(kind.clone());
                remains.note(kind, name.as_deref(), value.as_deref());
            }
        }
        // These come always: without them it was no answer.
        if !["role", "user"].iter().all(|kind| told.iter().filter(|told| *told == kind).count() == 1) {
            remains.left.insert(Effect::Unreadable);
        }
        remains
    }

    fn note(&mut self, kind: &str, name: Option<&str>, value: Option<&str>) {
        match (kind, name, value) {
            ("temporary", ..) => self.left.insert(Effect::Temporary),
            ("lock", ..) => self.left.insert(Effect::AdvisoryLock),
            ("cursor", ..) => self.left.insert(Effect::HeldCursor),
            ("statement", ..) => self.left.insert(Effect::Prepare),
            ("hidden", ..) => self.are_hidden = true,
            ("name", Some(name), None) => self.names.push(name.to_owned()),
            // It cannot be said in UTF-8.
            (_, Some(text), _) | (_, _, Some(text)) if text.contains(char::REPLACEMENT_CHARACTER) => {
                self.left.insert(Effect::Unreadable);
            }
            ("role", Some("none"), _) => {}
            // The role of that name may have become another one since.
            ("role", Some(name), user) if user == Some(name) => self.role = Some(name.to_owned()),
            // The name of the login is what it was when the session began.
            ("user", Some(now), login) if login == Some(now) => {}
            ("role" | "user", ..) => self.left.insert(Effect::Role),
            // Our own.
            (_, Some("transaction_isolation" | "transaction_deferrable" | "transaction_read_only"), _) => {}
            // It is shown with six digits, and may have more.
            ("real", Some(_), Some(value)) if value.bytes().filter(u8::is_ascii_digit).count() >= 6 => {
                self.left.insert(Effect::Settings);
            }
            ("session" | "client" | "real", Some(name), Some(value)) => {
                self.settings.push(Setting { name: name.to_owned(), value: value.to_owned() });
            }
            // It was told something that was not asked: nothing is certain.
            _ => self.left.insert(Effect::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &[(&str, Option<&str>, Option<&str>)]) -> Remains {
        let text = |text: &str| Some(text.to_owned());
        Remains::read(
            rows.iter()
                .map(|(kind, name, value)| vec![text(kind), name.and_then(text), value.and_then(text)])
                .collect(),
        )
    }

    const NOBODY: [(&str, Option<&str>, Option<&str>); 2] =
        [("role", Some("none"), Some("backstage")), ("user", Some("backstage"), Some("backstage"))];

    #[test]
    fn what_is_there_is_told_by_its_kind() {
        assert_eq!(read(&NOBODY), Remains::default());
        let rows = [("temporary", None, None), ("lock", None, None), ("session", Some("work_mem"), Some("77kB"))];
        let remains = read(&[&NOBODY[..], &rows].concat());
        assert_eq!(remains.left, Effects::of(&[Effect::Temporary, Effect::AdvisoryLock]));
        assert_eq!(remains.settings, [Setting { name: "work_mem".into(), value: "77kB".into() }]);
        let in_role = [("role", Some("owner"), Some("owner")), NOBODY[1]];
        assert_eq!(read(&in_role).role.as_deref(), Some("owner"));
    }

    #[test]
    fn a_number_that_may_have_more_digits_than_are_shown_keeps_its_server() {
        for (value, left) in [("1.5", Effects::NONE), ("1.23457", Effects::of(&[Effect::Settings]))] {
            let remains = read(&[&NOBODY[..], &[("real", Some("random_page_cost"), Some(value))]].concat());
            assert_eq!((remains.left, remains.settings.len()), (left, usize::from(left.is_empty())), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_said_in_utf_8_keeps_its_server() {
        let remains = read(&[&NOBODY[..], &[("session", Some("search_path"), Some("\u{fffd}"))]].concat());
        assert_eq!(remains.left, Effects::of(&[Effect::Unreadable]));
    }

    #[test]
    fn a_role_that_is_not_what_it_is_called_keeps_its_server() {
        let renamed = [("role", Some("owner"), Some("former_owner")), NOBODY[1]];
        let other_user = [NOBODY[0], ("user", Some("owner"), Some("backstage"))];
        for rows in [renamed, other_user] {
            assert_eq!(read(&rows).left, Effects::of(&[Effect::Role]));
        }
    }

    #[test]
    fn an_answer_that_is_none_keeps_its_server() {
        for rows in [
            &NOBODY[..0],
            &NOBODY[..1],
            &[NOBODY[0], NOBODY[0], NOBODY[1]],
            &[NOBODY[0], NOBODY[1], ("what", None, None)],
        ] {
            assert!(read(rows).left.contains(Effect::Unreadable), "{rows:?}");
        }
    }
}
