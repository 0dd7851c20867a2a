//! Which numbers of processes a statement asks for, or uses: the few shapes in which that is all that it is about.
//!
//! Strict, as these are acted upon: a number that is looked for among PostgreSQL's own (pg_stat_activity, pg_locks), or is part
//! of something larger, stays what PostgreSQL says.

use std::ops::Range;

use super::tokens::{Token, Tokens};

/// Longer texts are none of these.
const LONGEST: usize = 4096;

const OWN_PID: &str = "pg_backend_pid";

/// Where PostgreSQL's own functions are.
const SCHEMA: &str = "pg_catalog";

/// With one of these a text is about more than the values that it lists.
const MORE_THAN_VALUES: [&str; 19] = [
    "all",
    "distinct",
    "except",
    "fetch",
    "for",
    "from",
    "group",
    "having",
    "intersect",
    "into",
    "limit",
    "offset",
    "order",
    "select",
    "table",
    "union",
    "values",
    "where",
    "window",
];

/// The text with this number in the place of `pg_backend_pid()`, if it is a SELECT of values one of which is that: itself, or
/// cast to another type. Names and types of its columns stay as they are.
pub fn with_own_pid(text: &[u8], pid: i32) -> Option<Vec<u8>> {
    let text = readable(text)?;
    let mut tokens = Tokens::new(text);
    tokens.take_all(&["select"])?;
    let (mut out, mut copied, mut found) = (String::with_capacity(text.len() + 32), 0, false);
    loop {
        match own_pid(&mut tokens) {
            Some(call) => {
                out.push_str(&text[copied..call.start]);
                out.push_str(&pid.to_string());
                copied = call.end;
                let named = is_named(&mut tokens);
                let end = tokens.end();
                out.push_str(&text[copied..end]);
                copied = end;
                if !named {
                    // What PostgreSQL calls it.
                    out.push_str(" AS ");
                    out.push_str(OWN_PID);
                }
                found = true;
            }
            None => other_value(&mut tokens)?,
        }
        if !tokens.take_mark(',') {
            break;
        }
    }
    out.push_str(&text[copied..]);
    (found && tokens.is_at_end()).then(|| out.into_bytes())
}

/// Types that are PostgreSQL's own whatever the session's search_path is.
const NUMBERS: [&str; 4] = ["int", "integer", "bigint", "smallint"];

/// `pg_backend_pid()`, perhaps cast: where the call itself stands. The tokens are behind all of it.
fn own_pid(tokens: &mut Tokens<'_>) -> Option<Range<usize>> {
    let mut ahead = tokens.clone();
    let call = match ahead.take("cast") {
        true => {
            ahead.take_mark('(').then_some(())?;
            let call = call(&mut ahead)?;
            ahead.take_all(&["as"])?;
            is_type(&ahead.next()).then_some(())?;
            ahead.take_mark(')').then_some(())?;
            call
        }
        false => call(&mut ahead)?,
    };
    casts(&mut ahead, is_type)?;
    *tokens = ahead;
    Some(call)
}

fn call(tokens: &mut Tokens<'_>) -> Option<Range<usize>> {
    let start = function(tokens, &[OWN_PID])?.start;
    (tokens.take_mark('(') && tokens.take_mark(')')).then(|| start..tokens.end())
}

/// The name of a function.
struct Function {
    /// Which one.
    which: usize,
    /// Where it begins, with its schema.
    start: usize,
    /// It has one: it is PostgreSQL's own.
    has_schema: bool,
}

/// The name of one of these functions, perhaps with its schema.
fn function(tokens: &mut Tokens<'_>, names: &[&str]) -> Option<Function> {
    let mut token = tokens.next();
    let start = tokens.start();
    let has_schema = token.is(SCHEMA);
    if has_schema {
        tokens.take_mark('.').then_some(())?;
        token = tokens.next();
    }
    names.iter().position(|name| token.is(name)).map(|which| Function { which, start, has_schema })
}

/// Takes casts; `None` if one is to a type that will not do.
fn casts(tokens: &mut Tokens<'_>, will_do: fn(&Token<'_>) -> bool) -> Option<()> {
    while tokens.peek() == Token::Cast {
        tokens.next();
        will_do(&tokens.next()).then_some(())?;
    }
    Some(())
}

/// Whether this may be the whole name of a type: some have two words.
fn is_type(token: &Token<'_>) -> bool {
    let has_more = ["double", "character", "char", "national", "nchar", "bit", "time", "timestamp", "interval"];
    matches!(token, Token::Word(_)) && !has_more.iter().any(|first| token.is(first))
}

fn is_number(token: &Token<'_>) -> bool {
    NUMBERS.iter().any(|name| token.is(name))
}

/// Takes the name that a value is given, and says whether there was one.
fn is_named(tokens: &mut Tokens<'_>) -> bool {
    let mut ahead = tokens.clone();
    let said = ahead.take("as");
    let is_name = match ahead.next() {
        Token::Word(word) => said || !is_more_than_values(word),
        Token::QuotedName(_) => true,
        _ => false,
    };
    if is_name {
        *tokens = ahead;
    }
    is_name
}

fn is_more_than_values(word: &str) -> bool {
    MORE_THAN_VALUES.iter().any(|more| word.eq_ignore_ascii_case(more))
}

/// Takes a value of another kind, up to what separates it from the next one.
fn other_value(tokens: &mut Tokens<'_>) -> Option<()> {
    let mut depth = 0;
    loop {
        match tokens.peek() {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') if depth == 0 => return None,
            Token::Mark(')') => depth -= 1,
            Token::Mark(',' | ';') | Token::End if depth == 0 => return Some(()),
            Token::Mark(';') | Token::End | Token::Unclear => return None,
            // The number is part of something larger, or the text is.
            Token::Word(word) if word.eq_ignore_ascii_case(OWN_PID) || is_more_than_values(word) => return None,
            Token::QuotedName(name) if name == OWN_PID => return None,
            _ => {}
        }
        tokens.next();
    }
}

/// A statement that sends a signal to a process, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// `pg_terminate_backend()`, not `pg_cancel_backend()`.
    pub ends: bool,
    /// Whose process.
    pub pid: Pid,
    /// Where the function's name needs its schema: without it the function may be somebody's own of that name.
    pub lacks_schema: Option<usize>,
}

/// How a statement says which process it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pid {
    /// The number stands in the text, here.
    Written {
        /// Its digits.
        at: Range<usize>,
        /// What they say.
        number: i32,
    },
    /// The parameter of this number, counted from 1.
    Parameter(u16),
}

impl Signal {
    /// Reads a whole text: `SELECT pg_cancel_backend(...)` or `SELECT pg_terminate_backend(...)`, perhaps with a timeout.
    pub fn read(text: &[u8]) -> Option<Self> {
        let mut tokens = Tokens::new(readable(text)?);
        tokens.take_all(&["select"])?;
        if tokens.take_mark('*') {
            tokens.take_all(&["from"])?;
        }
        let Function { which, start, has_schema } =
            function(&mut tokens, &["pg_cancel_backend", "pg_terminate_backend"])?;
        tokens.take_mark('(').then_some(())?;
        let pid = argument(&mut tokens)?;
        if tokens.take_mark(',') {
            timeout(&mut tokens)?;
        }
        tokens.take_mark(')').then_some(())?;
        is_named(&mut tokens);
        let lacks_schema = (!has_schema).then_some(start);
        tokens.is_at_end().then_some(Self { ends: which == 1, pid, lacks_schema })
    }

    /// The text with the schema in front of the function's name; `None` if it is there.
    pub fn with_schema(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (before, behind) = text.split_at_checked(self.lacks_schema?)?;
        Some([before, SCHEMA.as_bytes(), b".", behind].concat())
    }
}

fn argument(tokens: &mut Tokens<'_>) -> Option<Pid> {
    let token = tokens.next();
    let at = tokens.start()..tokens.end();
    let pid = match token {
        Token::Parameter(number) => Pid::Parameter(number),
        Token::Number => Pid::Written { number: number(tokens.since(at.start))?, at },
        Token::Literal(text) => Pid::Written { number: number(&text)?, at: at.start + 1..at.end - 1 },
        _ => return None,
    };
    // To any other type and back it might become another number.
    casts(tokens, is_number)?;
    Some(pid)
}

fn timeout(tokens: &mut Tokens<'_>) -> Option<()> {
    matches!(tokens.next(), Token::Parameter(_) | Token::Number | Token::Literal(_)).then_some(())?;
    casts(tokens, is_number)
}

/// A number that is written with digits only.
fn number(text: &str) -> Option<i32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn readable(text: &[u8]) -> Option<&str> {
    (text.len() <= LONGEST).then(|| std::str::from_utf8(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Option<String> {
        with_own_pid(text.as_bytes(), 7_000_000).map(|text| String::from_utf8(text).expect("it was text"))
    }

    #[test]
    fn the_number_takes_the_place_of_the_call_and_its_column_keeps_its_name() {
        for (text, rewritten) in [
            ("SELECT pg_backend_pid()", "SELECT 7000000 AS pg_backend_pid"),
            ("select PG_BACKEND_PID ( ) ;", "select 7000000 AS pg_backend_pid ;"),
            ("select pg_catalog.pg_backend_pid() as pid", "select 7000000 as pid"),
            ("SELECT pg_backend_pid() AS \"processId\";", "SELECT 7000000 AS \"processId\";"),
            ("select pg_backend_pid() pid", "select 7000000 pid"),
            ("select pg_backend_pid()::text", "select 7000000::text AS pg_backend_pid"),
            ("select pg_backend_pid()::int8::text as pid", "select 7000000::int8::text as pid"),
            ("select cast(pg_backend_pid() as text)", "select cast(7000000 as text) AS pg_backend_pid"),
            ("/* app */ select pg_backend_pid() -- own", "/* app */ select 7000000 AS pg_backend_pid -- own"),
            (
                "select version(), pg_backend_pid(), current_setting('a,b') as c, pg_backend_pid() d, $1::int",
                "select version(), 7000000 AS pg_backend_pid, current_setting('a,b') as c, 7000000 d, $1::int",
            ),
        ] {
            assert_eq!(own(text).as_deref(), Some(rewritten), "{text}");
        }
    }

    #[test]
    fn a_number_that_is_looked_for_among_postgresqls_own_stays_its_own() {
        for text in [
            "select * from pg_stat_activity where pid = pg_backend_pid()",
            "select pg_backend_pid(), count(*) from pg_locks",
            "select pg_backend_pid() from pg_locks",
            "select pg_backend_pid() as pid from pg_locks",
            "select pg_backend_pid() where true",
            "select pg_backend_pid() + 0",
            "select -pg_backend_pid()",
            "select 'x' || pg_backend_pid()",
            "select (pg_backend_pid())",
            "select pg_backend_pid() = 5",
            "select pg_backend_pid()::numeric(10)",
            "select pg_backend_pid()::double precision",
            "select pg_backend_pid(), pg_backend_pid() + 1",
            "select pg_backend_pid(), (select 1)",
            "select pg_backend_pid(), pg_blocking_pids(pg_backend_pid())",
            "select pg_terminate_backend(pg_backend_pid())",
            "select distinct pg_backend_pid()",
            "select pg_backend_pid(1)",
            "select pg_backend_pid",
            "select pg_backend_pid(), 'a\\b'",
            "select pg_backend_pid(); select 1",
            "select pg_backend_pid() union select 1",
            "select version()",
            "explain select pg_backend_pid()",
            "insert into t select pg_backend_pid()",
            "select other.pg_backend_pid()",
            "select pg_backend_pid(",
            "select pg_backend_pid())",
            "",
        ] {
            assert_eq!(own(text), None, "{text}");
        }
    }

    #[test]
    fn a_signal_says_whose_process_it_is_for() {
        for (text, ends, pid) in [
            ("SELECT pg_cancel_backend($1)", false, Pid::Parameter(1)),
            ("select pg_catalog.pg_terminate_backend ( $2::int , $1::bigint ) as done;", true, Pid::Parameter(2)),
            ("select * from pg_terminate_backend($1)", true, Pid::Parameter(1)),
            ("select pg_cancel_backend(12345678)", false, Pid::Written { at: 25..33, number: 12_345_678 }),
            ("select pg_terminate_backend('123', 5000) ok", true, Pid::Written { at: 29..32, number: 123 }),
        ] {
            let signal = Signal::read(text.as_bytes()).expect(text);
            assert_eq!((signal.ends, &signal.pid), (ends, &pid), "{text}");
        }
    }

    #[test]
    fn the_function_of_a_signal_becomes_postgresqls_own() {
        for (text, expected) in [
            ("SELECT pg_cancel_backend($1)", Some("SELECT pg_catalog.pg_cancel_backend($1)")),
            (
                "/**/select * from pg_terminate_backend(5) ",
                Some("/**/select * from pg_catalog.pg_terminate_backend(5) "),
            ),
            ("select PG_CATALOG.pg_cancel_backend(5)", None),
        ] {
            let signal = Signal::read(text.as_bytes()).expect(text);
            assert_eq!(signal.with_schema(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn what_is_more_than_one_signal_is_left_to_postgresql() {
        for text in [
            "select pg_terminate_backend(pid) from pg_stat_activity",
            "select pg_terminate_backend($1), 1",
            "select pg_terminate_backend($1) where true",
            "select pg_terminate_backend($1)::text",
            "select pg_terminate_backend($1 + 1)",
            "select pg_terminate_backend(-5)",
            "select pg_terminate_backend(5.0)",
            "select pg_terminate_backend(99999999999)",
            "select pg_terminate_backend(E'5')",
            "select pg_terminate_backend(pid => 5)",
            "select pg_terminate_backend($1::oid)",
            "select pg_terminate_backend('5'::somebodys::int)",
            "select own.pg_terminate_backend(5)",
            "select pg_terminate_backend(5); select 1",
            "select pg_terminate_backend()",
            "select not pg_terminate_backend(5)",
            "perform pg_terminate_backend(5)",
        ] {
            assert_eq!(Signal::read(text.as_bytes()), None, "{text}");
        }
    }
}
