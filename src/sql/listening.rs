//! What LISTEN and UNLISTEN name.
//!
//! Strict where a statement is acted upon: names with letters beyond ASCII, or longer than PostgreSQL keeps, are left to it.

use super::letters::is_word;
use super::tokens::{Token, Tokens};

/// The longest text that is looked at.
const LONGEST: usize = 4096;

/// The longest name that PostgreSQL keeps, in bytes.
const LONGEST_NAME: usize = 63;

const UNLISTEN: &[u8] = b"unlisten";

/// The channel of a text that is exactly `LISTEN channel`, as PostgreSQL would understand it.
pub fn channel(text: &[u8]) -> Option<String> {
    let mut tokens = tokens_behind(text, "listen")?;
    named(tokens.next()).filter(|_| tokens.is_at_end())
}

/// What an UNLISTEN is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlisten {
    /// This channel.
    Channel(String),
    /// Every channel.
    All,
    /// It cannot be told from the text.
    Unclear,
}

impl Unlisten {
    /// What the statements of a text are about, if there may be an UNLISTEN among them.
    pub fn read(text: &[u8]) -> Vec<Self> {
        if let Some(mut tokens) = tokens_behind(text, "unlisten") {
            let about = if tokens.take_mark('*') { Some(Self::All) } else { named(tokens.next()).map(Self::Channel) };
            if let Some(about) = about.filter(|_| tokens.is_at_end()) {
                return vec![about];
            }
        }
        let words = (0..text.len()).filter(|at| is_unlisten(text, *at));
        words.map(|at| Self::followed_by(&text[at + UNLISTEN.len()..])).collect()
    }

    fn followed_by(rest: &[u8]) -> Self {
        if rest.trim_ascii_start().starts_with(b"*") { Self::All } else { Self::Unclear }
    }
}

/// Whether the word stands there, be it in a comment or a string.
fn is_unlisten(text: &[u8], at: usize) -> bool {
    let (before, rest) = text.split_at(at);
    let Some((word, behind)) = rest.split_at_checked(UNLISTEN.len()) else { return false };
    word.eq_ignore_ascii_case(UNLISTEN)
        && !before.last().is_some_and(|byte| is_word(*byte))
        && !behind.first().is_some_and(|byte| is_word(*byte))
}

fn tokens_behind<'t>(text: &'t [u8], verb: &str) -> Option<Tokens<'t>> {
    let text = (text.len() <= LONGEST).then(|| std::str::from_utf8(text).ok())??;
    let mut tokens = Tokens::new(text);
    tokens.take(verb).then_some(tokens)
}

fn named(token: Token<'_>) -> Option<String> {
    let name = match token {
        // PostgreSQL folds what is not in quotes.
        Token::Word(word) => word.to_ascii_lowercase(),
        Token::QuotedName(name) => name,
        _ => return None,
    };
    (name.is_ascii() && !name.is_empty() && name.len() <= LONGEST_NAME).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_as_postgresql_would_understand_it() {
        for (text, name) in [
            ("LISTEN event_bus_publish", "event_bus_publish"),
            ("listen Ours ;", "ours"),
            ("listen \"It's \"\"ours\"\"\" -- ours", "It's \"ours\""),
            (" /* a */ listen\n\ta;;", "a"),
        ] {
            assert_eq!(channel(text.as_bytes()).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_one_listen_is_left_to_postgresql() {
        let long = format!("listen {}", "a".repeat(64));
        for text in [
            "listen",
            "listen a, b",
            "listen a.b",
            "listen a; listen b",
            "listen 'a'",
            "listen \"\"",
            "listen \"caf\u{e9}\"",
            "listen U&\"a\"",
            "listen *",
            "listen a b",
            "listener a",
            "unlisten a",
            "begin; listen a",
            "select 1",
            "",
            &long,
        ] {
            assert_eq!(channel(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_unlisten_says_what_it_is_about_or_that_it_does_not() {
        let a = || Unlisten::Channel("a".into());
        for (text, about) in [
            ("unlisten A", vec![a()]),
            ("UNLISTEN *;", vec![Unlisten::All]),
            ("select pg_advisory_unlock_all();\nclose all;\nunlisten *;\nreset all;", vec![Unlisten::All]),
            ("unlisten a; unlisten *", vec![Unlisten::Unclear, Unlisten::All]),
            ("select 'unlisten a'", vec![Unlisten::Unclear]),
            ("select unlistened, xunlisten from t", vec![]),
            ("unliste", vec![]),
        ] {
            assert_eq!(Unlisten::read(text.as_bytes()), about, "{text}");
        }
    }
}
