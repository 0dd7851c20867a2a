//! The few statements that greenroom understands as a whole.
//!
//! Strict where [`super::scan`] is generous: what is read here is acted upon, so anything unusual (a comment, a backslash, a
//! second statement) makes it a statement like any other.

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
        let mut tokens = Tokens { text: std::str::from_utf8(text).ok()?, at: 0 };
        match tokens.next()?? {
            Token::Word(word) if word.eq_ignore_ascii_case("set") => tokens.set(),
            Token::Word(word) if word.eq_ignore_ascii_case("reset") => {
                (tokens.keyword("role")? && tokens.is_at_end()).then_some(Self::ResetRole)
            }
            Token::Word(word) if word.eq_ignore_ascii_case("create") => tokens.create_database(),
            Token::Word(word) if word.eq_ignore_ascii_case("drop") => tokens.drop_database(),
            _ => None,
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

/// What a text is made of.
#[derive(Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    /// Without its quotes, doubled ones undone.
    QuotedName(String),
    Literal(String),
    Mark(char),
}

/// Reads token by token: `None` is the end of the text, `Some(None)` a token that cannot be read.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Option<Token<'t>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        Some(match first {
            '"' | '\'' => self.quoted(rest, first),
            'a'..='z' | 'A'..='Z' | '_' => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
                let len = rest.bytes().position(|byte| !word(byte)).unwrap_or(rest.len());
                // A letter outside of ASCII is part of the word, and folded as the server's locale says.
                let ends_here = rest.as_bytes().get(len).is_none_or(u8::is_ascii);
                self.at += len;
                // A prefix of a string: E'', N'', U&"".
                let plain = !matches!(rest.as_bytes().get(len), Some(b'\'' | b'&' | b'"'));
                (ends_here && plain).then_some(Token::Word(&rest[..len]))
            }
            ',' | '=' | ';' => {
                self.at += 1;
                Some(Token::Mark(first))
            }
            _ => None,
        })
    }
}

impl<'t> Tokens<'t> {
    fn skip_space(&mut self) {
        let space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| !space(*byte)).unwrap_or(rest.len());
    }

    fn quoted(&mut self, rest: &str, quote: char) -> Option<Token<'t>> {
        let (mut inner, mut at) = (String::new(), 1);
        loop {
            let len = rest[at..].find(quote)?;
            inner.push_str(&rest[at..at + len]);
            at += len + 1;
            if !rest[at..].starts_with(quote) {
                break;
            }
            inner.push(quote);
            at += 1;
        }
        self.at += at;
        let readable = !inner.is_empty() && !inner.contains(['\\', '\0']);
        readable.then_some(if quote == '"' { Token::QuotedName(inner) } else { Token::Literal(inner) })
    }

    /// Whether the next token is this keyword; `None` if it cannot be read or there is none.
    fn keyword(&mut self, keyword: &str) -> Option<bool> {
        Some(matches!(self.next()??, Token::Word(word) if word.eq_ignore_ascii_case(keyword)))
    }

    /// Whether nothing follows but white space and perhaps one semicolon.
    fn is_at_end(&mut self) -> bool {
        match self.next() {
            None => true,
            Some(Some(Token::Mark(';'))) => self.next().is_none(),
            Some(_) => false,
        }
    }

    /// Behind SET.
    fn set(&mut self) -> Option<Statement> {
        let mut name = self.next()??;
        if matches!(name, Token::Word(word) if word.eq_ignore_ascii_case("session")) {
            name = self.next()??;
        }
        match name {
            Token::Word(word) if word.eq_ignore_ascii_case("search_path") => self.search_path(),
            Token::Word(word) if word.eq_ignore_ascii_case("role") => {
                self.skip_space();
                let from = self.at;
                // A role of this name, or the keyword NONE: both are replayed as they were written.
                let known = !matches!(self.next()??, Token::Mark(_));
                let role = self.text[from..self.at].to_owned();
                (known && self.is_at_end()).then_some(Statement::SetRole(role))
            }
            _ => None,
        }
    }

    /// Behind SET search_path.
    fn search_path(&mut self) -> Option<Statement> {
        match self.next()?? {
            Token::Mark('=') => {}
            Token::Word(word) if word.eq_ignore_ascii_case("to") => {}
            _ => return None,
        }
        self.skip_space();
        let from = self.at;
        loop {
            let schema = match self.next()?? {
                // DEFAULT is no schema, but a RESET.
                Token::Word(word) if word.eq_ignore_ascii_case("default") => return None,
                Token::Word(word) => word.to_ascii_lowercase(),
                Token::QuotedName(name) | Token::Literal(name) => name.to_ascii_lowercase(),
                Token::Mark(_) => return None,
            };
            // PostgreSQL would say at each replay, and to the client, that it cuts the name.
            if schema.len() > LONGEST_NAME {
                return None;
            }
            // Where temporary tables come first, every new table is one. A literal can name several schemas.
            if schema.contains("pg_temp") {
                return None;
            }
            let to = self.at;
            let value = || Some(Statement::SetSearchPath(self.text[from..to].to_owned()));
            match self.next() {
                None => return value(),
                Some(Some(Token::Mark(','))) => {}
                Some(Some(Token::Mark(';'))) if self.next().is_none() => return value(),
                Some(_) => return None,
            }
        }
    }

    fn database(&mut self) -> Option<String> {
        match self.next()?? {
            // PostgreSQL folds what is not in quotes.
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            Token::QuotedName(name) => Some(name),
            _ => None,
        }
    }

    fn create_database(&mut self) -> Option<Statement> {
        if !self.keyword("database")? {
            return None;
        }
        let name = self.database()?;
        Some(Statement::CreateDatabase { name, options: !self.is_at_end() })
    }

    fn drop_database(&mut self) -> Option<Statement> {
        if !self.keyword("database")? {
            return None;
        }
        let before = self.at;
        if !(self.keyword("if")? && self.keyword("exists")?) {
            self.at = before;
        }
        Some(Statement::DropDatabase { name: self.database()? })
    }
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
    }

    #[test]
    fn what_is_not_exactly_one_plain_list_of_schemas_is_not_carried() {
        for text in [
            "set search_path to default",
            "set local search_path to a",
            "set search_path to a; select 1",
            "set search_path to a;;",
            "set search_path to a -- b",
            "set search_path to a /* b */",
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
            "set search_path to \"\"",
            "set search_path to \"a",
            "set search_path.x to a",
            "set search_path from current",
            "set schema 'a'",
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
    fn a_role_is_kept_as_it_was_written() {
        let role = |text: &str| Statement::read(text.as_bytes());
        assert_eq!(role("SET ROLE exp_role"), Some(Statement::SetRole("exp_role".into())));
        assert_eq!(role("set session role \"It's\";"), Some(Statement::SetRole("\"It's\"".into())));
        assert_eq!(role("set role none"), Some(Statement::SetRole("none".into())));
        assert_eq!(role("set role 'a'"), Some(Statement::SetRole("'a'".into())));
        assert_eq!(role("RESET ROLE;"), Some(Statement::ResetRole));
        for text in
            ["set role a b", "set local role a", "reset role, a", "set role = a", "reset all", "set role a; begin"]
        {
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
