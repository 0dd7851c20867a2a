//! LISTEN and UNLISTEN: what they name.
//!
//! Strict where a statement is acted upon: names with letters beyond ASCII, or longer than PostgreSQL keeps, are left to it.

use super::letters::is_word;
use super::tokens::{Token, Tokens};

/// The longest text that is looked at.
const LONGEST: usize = 64 << 10;

/// The most statements of one text that are done elsewhere: each is looked up among all channels, while others wait.
const MOST: usize = 256;

/// The longest name that PostgreSQL keeps, in bytes.
const LONGEST_NAME: usize = 63;

const UNLISTEN: &[u8] = b"unlisten";

/// A statement that changes what is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// LISTEN to this channel.
    Listen(String),
    /// UNLISTEN it.
    Unlisten(String),
    /// UNLISTEN all.
    UnlistenAll,
}

impl Command {
    /// The statements of a text that consists of nothing but these, as PostgreSQL would understand them.
    pub fn read(text: &[u8]) -> Option<Vec<Self>> {
        let mut tokens = Tokens::new(readable(text)?);
        let mut commands = Vec::new();
        while !tokens.is_at_end() {
            if commands.len() == MOST {
                return None;
            }
            commands.push(Self::next(&mut tokens)?);
            if !tokens.take_mark(';') && !tokens.is_at_end() {
                return None;
            }
        }
        (!commands.is_empty()).then_some(commands)
    }

    fn next(tokens: &mut Tokens<'_>) -> Option<Self> {
        if tokens.take("listen") {
            return named(tokens.next()).map(Self::Listen);
        }
        tokens.take_all(&["unlisten"])?;
        if tokens.take_mark('*') { Some(Self::UnlistenAll) } else { named(tokens.next()).map(Self::Unlisten) }
    }

    /// The channels that these listen to.
    pub fn channels(commands: &[Self]) -> impl Iterator<Item = &str> {
        commands.iter().filter_map(|command| match command {
            Self::Listen(channel) => Some(&**channel),
            _ => None,
        })
    }

    /// Whether it is a LISTEN.
    pub fn listens(&self) -> bool {
        matches!(self, Self::Listen(_))
    }

    /// Whether it ends that this channel is listened to.
    pub fn ends(&self, channel: &[u8]) -> bool {
        match self {
            Self::Listen(_) => false,
            Self::Unlisten(name) => name.as_bytes() == channel,
            Self::UnlistenAll => true,
        }
    }

    /// What PostgreSQL says when it is done.
    pub fn tag(&self) -> &'static str {
        if self.listens() { "LISTEN" } else { "UNLISTEN" }
    }
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
        let words: Vec<_> = (0..text.len()).filter(|at| is_unlisten(text, *at)).collect();
        let certain = || Command::read(text)?.into_iter().map(Self::of).collect::<Option<Vec<_>>>();
        if !words.is_empty()
            && let Some(certain) = certain()
        {
            return certain;
        }
        words.into_iter().map(|at| Self::followed_by(&text[at + UNLISTEN.len()..])).collect()
    }

    fn of(command: Command) -> Option<Self> {
        match command {
            Command::Listen(_) => None,
            Command::Unlisten(name) => Some(Self::Channel(name)),
            Command::UnlistenAll => Some(Self::All),
        }
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

fn readable(text: &[u8]) -> Option<&str> {
    (text.len() <= LONGEST).then(|| std::str::from_utf8(text).ok())?
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

    fn listen(name: &str) -> Command {
        Command::Listen(name.to_owned())
    }

    fn unlisten(name: &str) -> Command {
        Command::Unlisten(name.to_owned())
    }

    #[test]
    fn a_channel_is_named_as_postgresql_would_understand_it() {
        for (text, name) in [
            ("LISTEN event_bus_publish", "event_bus_publish"),
            ("listen Ours ;", "ours"),
            ("listen \"It's \"\"ours\"\"\" -- ours", "It's \"ours\""),
            (" /* a */ listen\n\ta;;", "a"),
            ("; listen a", "a"),
        ] {
            assert_eq!(Command::read(text.as_bytes()), Some(vec![listen(name)]), "{text}");
        }
    }

    #[test]
    fn several_statements_of_a_text_are_done_in_their_order() {
        for (text, commands) in [
            ("LISTEN \"a b\";LISTEN \"c\";", vec![listen("a b"), listen("c")]),
            (
                "unlisten *; listen A -- a; listen b\n; unlisten a",
                vec![Command::UnlistenAll, listen("a"), unlisten("a")],
            ),
            ("unlisten \"A\";; /* ; */ UNLISTEN b;", vec![unlisten("A"), unlisten("b")]),
        ] {
            assert_eq!(Command::read(text.as_bytes()), Some(commands), "{text}");
        }
        assert_eq!(Command::read("listen a;".repeat(MOST).as_bytes()).map(|all| all.len()), Some(MOST));
        assert_eq!(Command::read("listen a;".repeat(MOST + 1).as_bytes()), None);
        assert!(Command::UnlistenAll.ends(b"a") && unlisten("a").ends(b"a"));
        assert!(!unlisten("a").ends(b"b") && !listen("a").ends(b"a"));
    }

    #[test]
    fn what_is_nothing_but_these_statements_for_certain_is_told_and_everything_else_left_to_postgresql() {
        let long = format!("listen {}", "a".repeat(64));
        for text in [
            "listen",
            "listen a, b",
            "listen a.b",
            "listen a listen b",
            "listen a; select 1",
            "listen a; listen",
            "listen a; unlisten",
            "listen a; /* b",
            "unlisten * a",
            "listen 'a'",
            "listen \"\"",
            "listen a; listen \"\"",
            "listen \"caf\u{e9}\"",
            "listen U&\"a\"",
            "listen *",
            "listen a b",
            "listener a",
            "begin; listen a",
            "select 1",
            "",
            ";",
            &long,
        ] {
            assert_eq!(Command::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_unlisten_says_what_it_is_about_or_that_it_does_not() {
        let a = || Unlisten::Channel("a".into());
        for (text, about) in [
            ("unlisten A", vec![a()]),
            ("UNLISTEN *;", vec![Unlisten::All]),
            ("select pg_advisory_unlock_all();\nclose all;\nunlisten *;\nreset all;", vec![Unlisten::All]),
            ("unlisten a; unlisten *", vec![a(), Unlisten::All]),
            ("listen b; unlisten a; unlisten *", vec![Unlisten::Unclear, Unlisten::All]),
            ("select 'unlisten a'", vec![Unlisten::Unclear]),
            ("select unlistened, xunlisten from t", vec![]),
            ("unliste", vec![]),
        ] {
            assert_eq!(Unlisten::read(text.as_bytes()), about, "{text}");
        }
    }
}
