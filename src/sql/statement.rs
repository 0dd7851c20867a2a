//! The few statements that greenroom understands as a whole.
//!
//! Strict where [`super::scan`] is generous: what is read here is acted upon, so anything unusual (a backslash, a second
//! statement) makes it a statement like any other.

use super::setting::{Assignment, Setting};
use super::tokens::{Token, Tokens};

/// A text that is exactly one of these statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `SET [SESSION] search_path TO ...`: the value, as it was written.
    SetSearchPath(String),
    /// `SET [SESSION] ROLE ...`: the role, as it was written (`NONE` is one).
    SetRole(String),
    /// `RESET ROLE`.
    ResetRole,
    /// `CREATE DATABASE name`, perhaps with options behind it.
    CreateDatabase {
        /// The name, as PostgreSQL would understand it.
        name: String,
        /// Something stands behind the name.
        options: bool,
    },
    /// `DROP DATABASE [IF EXISTS] name`, perhaps with options behind it.
    DropDatabase {
        /// The name, as PostgreSQL would understand it.
        name: String,
    },
}

/// Longer texts are none of these.
const LONGEST: usize = 4096;

/// The longest name that PostgreSQL keeps, in bytes.
const LONGEST_NAME: usize = 63;

const UPDATE: &[u8] = b"update ";

/// What the name of the table of Knex's lock ends with, unless it was configured otherwise.
const LOCK_TABLE: &[u8] = b"knex_migrations_lock";

/// What Knex asks before it creates a database, up to the name.
const COUNT_DATABASES: &[u8] = br#"select count(*) from "pg_database" where "datname" = "#;

impl Statement {
    /// Reads a whole text. `None` is any other statement.
    #[inline]
    pub fn read(text: &[u8]) -> Option<Self> {
        let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let candidate = [&b"set "[..], b"reset ", b"create database ", b"drop database "].into_iter().any(begins);
        if !candidate || text.len() > LONGEST {
            return None;
        }
        let mut tokens = Tokens::new(std::str::from_utf8(text).ok()?);
        match tokens.next() {
            verb if verb.is("create") => create_database(&mut tokens),
            verb if verb.is("drop") => drop_database(&mut tokens),
            _ => Setting::read(text).and_then(Self::carried),
        }
    }
}

/// Whether the text creates, drops or alters a database, so that nobody must be connected to it (or to its template).
pub fn changes_databases(text: &[u8]) -> bool {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let first = words.next().is_some_and(|word| {
        [&b"create"[..], b"drop", b"alter"].into_iter().any(|verb| verb.eq_ignore_ascii_case(word))
    });
    first && words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"database"))
}

/// The name in a text that is exactly `DEALLOCATE [PREPARE] name`, where it is certain: in ASCII, and no longer than PostgreSQL keeps it.
pub fn deallocated(text: &[u8]) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let mut tokens = Tokens::new(std::str::from_utf8(text).ok()?);
    tokens.take_all(&["deallocate"])?;
    let mut name = tokens.next();
    if name.is("prepare") {
        name = tokens.next();
    }
    let name = match name {
        Token::Word(word) if !word.eq_ignore_ascii_case("all") => word.to_ascii_lowercase(),
        Token::QuotedName(name) => name,
        _ => return None,
    };
    (name.is_ascii() && (1..=LONGEST_NAME).contains(&name.len()) && tokens.is_at_end()).then_some(name)
}

/// What Knex does with the lock that keeps two of it from migrating at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationLock {
    /// Takes it.
    Take,
    /// Gives it back.
    GiveBack,
}

impl MigrationLock {
    /// Reads `update "knex_migrations_lock" set "is_locked" = ...`; the table's name may have a prefix and a schema.
    ///
    /// Knex takes the lock `where "is_locked" = 0`, and gives it back without a condition.
    #[inline]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (verb, rest) = text.split_at_checked(UPDATE.len())?;
        if !verb.eq_ignore_ascii_case(UPDATE) {
            return None;
        }
        let table = &rest[..memchr::memchr(b' ', rest)?];
        if !table.strip_suffix(b"\"").unwrap_or(table).ends_with(LOCK_TABLE) {
            return None;
        }
        let condition = rest.split(u8::is_ascii_whitespace).any(|word| word.eq_ignore_ascii_case(b"where"));
        Some(if condition { Self::Take } else { Self::GiveBack })
    }
}

/// Knex's question whether a database exists: what stands behind `"datname" =`, a parameter or a literal.
pub fn counts_databases(text: &[u8]) -> Option<&[u8]> {
    let name = text.strip_prefix(COUNT_DATABASES)?;
    let literal = name.strip_prefix(b"'").and_then(|name| name.strip_suffix(b"'"));
    let plain = literal.is_some_and(|name| !name.iter().any(|byte| matches!(byte, b'\'' | b'\\')));
    (name == b"$1" || plain).then_some(name)
}

impl Statement {
    /// What is carried, and can be made again by greenroom's own statements.
    fn carried(setting: Setting) -> Option<Self> {
        match setting {
            Setting::Reset(name) if name == "role" => Some(Self::ResetRole),
            Setting::Set(mut made) => {
                let Assignment { name, value } = made.pop().filter(|_| made.is_empty())?;
                match &*name {
                    "search_path" if is_plain_path(&value) => Some(Self::SetSearchPath(value)),
                    "role" if is_plain_role(&value) => Some(Self::SetRole(value)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether a list of schemas is there for all to see, and none of them is the one of temporary tables.
fn is_plain_path(value: &str) -> bool {
    let mut tokens = Tokens::new(value);
    loop {
        let schema = match tokens.next() {
            Token::Word(word) => word.to_owned(),
            Token::QuotedName(name) | Token::Literal(name) => name,
            _ => return false,
        };
        // PostgreSQL would say at each replay, and to the client, that it cuts the name.
        if schema.is_empty() || schema.len() > LONGEST_NAME {
            return false;
        }
        // Where temporary tables come first, every new table is one. A literal can name several schemas.
        if schema.to_ascii_lowercase().contains("pg_temp") {
            return false;
        }
        if !tokens.take_mark(',') {
            return tokens.is_at_end();
        }
    }
}

/// Whether SET ROLE takes it: `SET role = ...` takes more.
fn is_plain_role(value: &str) -> bool {
    let mut tokens = Tokens::new(value);
    let plain = match tokens.next() {
        Token::Word(word) => !["true", "false", "on"].iter().any(|reserved| word.eq_ignore_ascii_case(reserved)),
        Token::QuotedName(name) | Token::Literal(name) => !name.is_empty(),
        _ => false,
    };
    plain && tokens.is_at_end()
}

fn database(tokens: &mut Tokens<'_>) -> Option<String> {
    match tokens.next() {
        // PostgreSQL folds what is not in quotes.
        Token::Word(word) => Some(word.to_ascii_lowercase()),
        Token::QuotedName(name) if !name.is_empty() => Some(name),
        _ => None,
    }
}

/// Behind CREATE.
fn create_database(tokens: &mut Tokens<'_>) -> Option<Statement> {
    tokens.take_all(&["database"])?;
    let name = database(tokens)?;
    Some(Statement::CreateDatabase { name, options: !tokens.is_at_end() })
}

/// Behind DROP.
fn drop_database(tokens: &mut Tokens<'_>) -> Option<Statement> {
    tokens.take_all(&["database"])?;
    let mut ahead = tokens.clone();
    if ahead.take_all(&["if", "exists"]).is_some() {
        *tokens = ahead;
    }
    Some(Statement::DropDatabase { name: database(tokens)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<String> {
        match Statement::read(text.as_bytes()) {
            Some(Statement::SetSearchPath(value)) => Some(value),
            None => None,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_search_path_is_kept_as_it_was_written() {
        assert_eq!(path("set search_path to \"user-settings\""), Some("\"user-settings\"".into()));
        assert_eq!(path("SET SESSION search_path = Catalog , 'it''s',\"a\"\"b\" ;\n"), {
            Some("Catalog , 'it''s',\"a\"\"b\"".into())
        });
        assert_eq!(path("set search_path to \"$user\", public"), Some("\"$user\", public".into()));
        assert_eq!(path("set search_path to a /* and */, b -- c;"), Some("a /* and */, b".into()));
        assert_eq!(path("set schema 'a';;"), Some("'a'".into()));
    }

    #[test]
    fn what_is_not_exactly_one_plain_list_of_schemas_is_not_carried() {
        for text in [
            "set search_path to default",
            "set local search_path to a",
            "set search_path to a; select 1",
            "set search_path to E'a'",
            "set search_path to 'a\\b'",
            "set search_path to U&\"a\"",
            "set search_path to pg_temp, a",
            "set search_path to 'a, PG_TEMP'",
            "set search_path to $$a$$",
            "set search_path to a b",
            "set search_path to a,",
            "set search_path to 5",
            "set search_path to caf\u{e9}",
            "set search_path to ''",
            "set search_path to \"\"",
            "set search_path to \"a",
            "set search_path.x to a",
            "set search_path from current",
            "set search_path to a123456789012345678901234567890123456789012345678901234567890123",
            "reset search_path",
            "select 1",
            "set",
            "set ",
        ] {
            assert_eq!(path(text), None, "{text}");
        }
    }

    #[test]
    fn the_name_that_is_deallocated_is_the_one_that_postgresql_reads() {
        let name = |text: &str| deallocated(text.as_bytes());
        assert_eq!(name("deallocate _pg3_12"), Some("_pg3_12".into()));
        assert_eq!(name("DEALLOCATE Prepare A1;"), Some("a1".into()));
        assert_eq!(name("/* */ deallocate \"A \"\" 1\" -- ;"), Some("A \" 1".into()));
        assert_eq!(name("deallocate \"all\""), Some("all".into()));
        for text in [
            "deallocate all",
            "deallocate prepare all",
            "deallocate prepare",
            "deallocate",
            "deallocate a, b",
            "deallocate a; deallocate b",
            "deallocate 'a'",
            "deallocate U&\"a\"",
            "deallocate \"\"",
            "deallocate caf\u{e9}",
            "deallocate a123456789012345678901234567890123456789012345678901234567890123",
            "prepare a as select 1",
            "deallocate a.b",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
    }

    #[test]
    fn a_role_is_kept_as_it_was_written() {
        let role = |text: &str| Statement::read(text.as_bytes());
        assert_eq!(role("SET ROLE exp_role"), Some(Statement::SetRole("exp_role".into())));
        assert_eq!(role("set session role \"It's\";"), Some(Statement::SetRole("\"It's\"".into())));
        assert_eq!(role("set role none"), Some(Statement::SetRole("none".into())));
        assert_eq!(role("set role 'a'"), Some(Statement::SetRole("'a'".into())));
        assert_eq!(role("RESET ROLE;"), Some(Statement::ResetRole));
        assert_eq!(role("set role = a"), Some(Statement::SetRole("a".into())));
        for text in [
            "set role a b",
            "set local role a",
            "reset role, a",
            "set role = on",
            "set role = 5",
            "set role = a, b",
            "set role E'a'",
            "reset all",
            "set role a; begin",
        ] {
            assert_eq!(role(text), None, "{text}");
        }
    }

    #[test]
    fn a_database_is_named_as_postgresql_would_understand_it() {
        let read = |text: &str| Statement::read(text.as_bytes());
        let create = |name: &str, options| Some(Statement::CreateDatabase { name: name.into(), options });
        assert_eq!(
            read("CREATE DATABASE \"backstage_plugin_user-settings\""),
            create("backstage_plugin_user-settings", false)
        );
        assert_eq!(read("create database Catalog;"), create("catalog", false));
        assert_eq!(read("create database x owner y"), create("x", true));
        assert_eq!(read("create database 'x'"), None);
        assert_eq!(read("create databases x"), None);
        let drop = |name: &str| Some(Statement::DropDatabase { name: name.into() });
        assert_eq!(read("DROP DATABASE x"), drop("x"));
        assert_eq!(read("drop database if exists \"X\" with (force)"), drop("X"));
    }

    #[test]
    fn whatever_creates_drops_or_alters_a_database_is_known_by_its_first_words() {
        for text in ["create database x", " DROP\n DATABASE x", "alter database a rename to b"] {
            assert!(changes_databases(text.as_bytes()), "{text}");
        }
        for text in ["create table database", "select 1", "", "drop"] {
            assert!(!changes_databases(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn knexs_lock_is_taken_under_a_condition_and_given_back_without_one() {
        for (text, lock) in [
            (r#"update "knex_migrations_lock" set "is_locked" = $1 where "is_locked" = $2"#, Some(MigrationLock::Take)),
            (r#"update "knex_migrations_lock" set "is_locked" = 1 where "is_locked" = 0"#, Some(MigrationLock::Take)),
            (r#"update "knex_migrations_lock" set "is_locked" = $1"#, Some(MigrationLock::GiveBack)),
            (
                r#"update "backstage_backend_tasks__knex_migrations_lock" set "is_locked" = $1 where "is_locked" = $2"#,
                Some(MigrationLock::Take),
            ),
            (r#"update "catalog"."knex_migrations_lock" set "is_locked" = $1"#, Some(MigrationLock::GiveBack)),
            ("UPDATE knex_migrations_lock SET is_locked = 1 WHERE is_locked = 0", Some(MigrationLock::Take)),
            (r#"update "knex_migrations" set "batch" = $1 where "id" = $2"#, None),
            (r#"update "refresh_state" set "errors" = 'knex_migrations_lock' where "id" = $2"#, None),
            (r#"insert into "knex_migrations_lock" ("is_locked") values ($1)"#, None),
            ("update ", None),
            ("update", None),
            ("", None),
        ] {
            assert_eq!(MigrationLock::read(text.as_bytes()), lock, "{text}");
        }
    }

    #[test]
    fn only_knexs_own_question_counts_databases() {
        let count = |text: &str| counts_databases(text.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(count("select count(*) from \"pg_database\" where \"datname\" = $1"), Some(b"$1".to_vec()));
        assert_eq!(count("select count(*) from \"pg_database\" where \"datname\" = 'a'"), Some(b"'a'".to_vec()));
        for text in [
            "select count(*) from \"pg_database\" where \"datname\" = $1 or true",
            "select count(*) from \"pg_database\" where \"datname\" = 'a' or 'b' = 'b'",
            "select count(*) from pg_database",
        ] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
