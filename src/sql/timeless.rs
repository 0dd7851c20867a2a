//! Whether a statement says the same whenever it is prepared.
//!
//! A literal becomes a value when its statement is parsed, not when it is executed: 'now' becomes that moment, a name that is cast
//! to regtype the number that the type has then. What is found here is a superset.
//!
//! Source: PostgreSQL, "Date/Time Types, Special Values" and "Object Identifier Types".

use super::letters::is_word;

/// What stands for a moment in a literal.
const MOMENTS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// Types whose literals depend on what there is, or on the day: a time without a date has the offset of its zone on that day.
const OF_THE_MOMENT: [&[u8]; 13] = [
    b"regclass",
    b"regcollation",
    b"regconfig",
    b"regdatabase",
    b"regdictionary",
    b"regnamespace",
    b"regoper",
    b"regoperator",
    b"regproc",
    b"regprocedure",
    b"regrole",
    b"regtype",
    b"timetz",
];

/// Whether a statement of this text certainly says the same whenever it is prepared under the same settings.
pub fn is_timeless(text: &[u8]) -> bool {
    read(text).is_some()
}

/// Reads the text to its end, if nothing in it is of a moment or in doubt.
fn read(text: &[u8]) -> Option<()> {
    // An escape could hide what a literal says.
    if memchr::memchr(b'\\', text).is_some() {
        return None;
    }
    // What is cast to such a type without any literal is a parameter or a column, which get their value when it is executed.
    let (mut has_literal, mut has_type_of_the_moment) = (false, false);
    let (mut rest, mut previous, mut cast) = (text, &b""[..], Cast::No);
    loop {
        rest = behind_blanks(rest)?;
        let first = rest.first().copied();
        let word;
        (word, rest) = match *rest {
            [] => return (!has_literal || !has_type_of_the_moment).then_some(()),
            [b'\'', ..] => {
                let (literal, behind) = quoted(rest)?;
                if has_moment(literal) || behind_blanks(behind)?.starts_with(b"'") {
                    // Two literals, one on each line, are one.
                    return None;
                }
                has_literal = true;
                (&b""[..], behind)
            }
            [b'"', ..] => quoted(rest)?,
            [b'$', next, ..] if !next.is_ascii_digit() => return None,
            [first, ..] if is_word(first) => {
                let len = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
                rest.split_at(len)
            }
            _ => (&b""[..], &rest[1..]),
        };
        let is_told_only = || cast == Cast::IsNext && becomes_text(rest);
        let is_of_the_moment = is_one_of(word, &OF_THE_MOMENT) && !is_told_only();
        has_type_of_the_moment |= is_of_the_moment || is_time_of_day(previous, word);
        cast = cast.behind(previous, word, first);
        previous = word;
    }
}

/// How much of the cast of a column or a parameter was read; a name ends whatever it is, but for that of a type or a collation: a
/// literal with a COLLATE, or cast to unknown or "any", is still one that the next cast reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cast {
    No,
    MayFollow,
    HasBegun,
    /// Behind `name::`.
    IsNext,
    /// Before the name of a type, or a part of it.
    NamesType,
    /// Behind the name of a type or a collation.
    IsDone,
}

impl Cast {
    fn behind(self, previous: &[u8], word: &[u8], first: Option<u8>) -> Self {
        match (self, first) {
            _ if !word.is_empty() => match self {
                Self::HasBegun | Self::IsNext | Self::NamesType => Self::IsDone,
                _ if previous.eq_ignore_ascii_case(b"collate") => Self::IsDone,
                _ => Self::MayFollow,
            },
            (Self::MayFollow, Some(b':')) => Self::HasBegun,
            (Self::HasBegun, Some(b':')) => Self::IsNext,
            (_, Some(b':')) | (Self::IsDone, Some(b'.')) => Self::NamesType,
            _ => Self::No,
        }
    }
}

/// Whether a value is cast to text at once: then no literal beside it becomes one of its type.
fn becomes_text(rest: &[u8]) -> bool {
    let behind_colons = behind_blanks(rest).and_then(|rest| behind_blanks(rest.strip_prefix(b"::")?));
    let Some((word, behind)) = behind_colons.and_then(|rest| rest.split_at_checked(b"text".len())) else {
        return false;
    };
    let ends = !behind.first().is_some_and(|byte| is_word(*byte));
    word.eq_ignore_ascii_case(b"text") && ends && behind_blanks(behind).is_some_and(|rest| !rest.starts_with(b"."))
}

/// TIME, perhaps with a zone; in `AT TIME ZONE` and `WITH TIME ZONE` it is no type.
fn is_time_of_day(previous: &[u8], word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"time") && !is_one_of(previous, &[b"at", b"with", b"without"])
}

fn has_moment(literal: &[u8]) -> bool {
    literal.split(|byte| !byte.is_ascii_alphabetic()).any(|word| is_one_of(word, &MOMENTS))
}

fn is_one_of(word: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|one| word.eq_ignore_ascii_case(one))
}

/// What stands in the quotes that the text begins with, and what stands behind them.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (quote, mut at) = (text[0], 1);
    loop {
        at += memchr::memchr(quote, &text[at..])?;
        if text.get(at + 1) != Some(&quote) {
            return Some((&text[1..at], &text[at + 1..]));
        }
        at += 2;
    }
}

/// What stands behind white space and comments; `None` if a comment does not end, or has another in it.
fn behind_blanks(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, rest @ ..] => rest,
            [b'-', b'-', rest @ ..] => &rest[memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())..],
            [b'/', b'*', rest @ ..] => {
                let (comment, behind) = rest.split_at(memchr::memmem::find(rest, b"*/")?);
                if memchr::memmem::find(comment, b"/*").is_some() {
                    return None;
                }
                &behind[2..]
            }
            _ => return Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_that_is_a_moment_is_found_wherever_it_stands() {
        for text in [
            "select 'now'::timestamptz",
            "select timestamp ' ToDay 12:00'",
            "select 'today12:00'::timestamp",
            "select $$tomorrow$$::date",
            "select $a$now$a$::date",
            "select E'no\\x77'::timestamptz",
            "select 'now()'::timestamptz",
            "select 'no'\n'w'::timestamptz",
            "select 'no' -- and\n'w'::timestamptz",
            "select /* '*/ 'now'::timestamptz /*'*/",
            "select /* /* */ '*/ 'now'::timestamptz /*'*/",
            "select \"'\", 'now'::timestamptz, \"'\"",
            "select 1 -- '\n, 'now'::timestamptz -- '",
            "select 'it''s now'",
            "select 'a",
            "select 'mood'::RegType",
            "select 'mood'::\"regtype\"",
            "select '12:00'::time with time zone",
            "select '12:00'::timetz",
            "select $1::regtype, 'mood'::text",
            "select a::regtype = 'mood'",
            "select 'mood'::regtype::text",
            "select ('mood')::regtype::text",
            "select regtype 'mood'::text",
            "select a::regtype::texts.a = 'mood'",
            "select a::regtype::text_of = 'mood'",
            "select a::x.regtype::text, 'mood'",
            "select a::regtype::text /* */ .a = 'mood'",
            "select 'mood'::unknown::regtype::text",
            "select 'mood'::pg_catalog . \"any\"::regtype::text",
            "select 'mood' collate \"C\"::regtype::text",
            "select 'mood' collate pg_catalog.\"C\" :: regtype::text",
            "select 'mood'::unknown collate \"C\"::regtype::text",
            "select array['mood', a]::regtype[]::text",
            "select a::regtype::text, b::regtype, 'mood'",
        ] {
            assert!(!is_timeless(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_the_server_asks_the_clock_for_when_it_executes_is_no_literal() {
        for text in [
            "select now() - '1 hour'::interval",
            "select 'unknown', 'nowhere', today from t where a = $1 and b = $2",
            "select '2026-01-02'::timestamp with time zone at time zone 'UTC'",
            "select 'it''s', \"a\"\"b\" -- now\n",
            "update t set a = 'x' /* today */ where b::text = 'y'",
            "",
        ] {
            assert!(is_timeless(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_type_of_the_moment_without_any_literal_is_of_no_moment() {
        for text in [
            "select $1::regtype::oid",
            "select oid::regtype::text, typtype from pg_catalog.pg_type where oid = $1",
            "select \"relname\" from pg_class where oid = $1::regclass",
            "insert into t (a) values ($1::timetz)",
            "select a::regtype::text as b, \"c\" :: RegClass\n::Text from t where d = 'x'",
            "select $1::regtype::text = 'mood'",
            "select a.b::regtype::text as c from d where e.f::regtype::text = 'x' and g::regtype::text = $1::text collate \"C\"",
        ] {
            assert!(is_timeless(text.as_bytes()), "{text}");
        }
    }
}
