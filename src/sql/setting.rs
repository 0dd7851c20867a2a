//! A lone statement about settings, understood as a whole: which settings it makes or resets, and what lasts.
//!
//! What is read here is taken for certain, so that nobody has to ask the server. Every form of PostgreSQL's grammar is
//! there that means the same to each version and encoding; whatever else a text may be is `None`, and the caller asks.

use super::tokens::{Token, Tokens};

/// A text that is exactly one statement about settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Settings get values for the rest of the session: one, or those of `SESSION CHARACTERISTICS`.
    Set(Vec<Assignment>),
    /// `RESET name`, or `SET name TO DEFAULT` in any of its forms: the setting goes back to what the session began with.
    Reset(String),
    /// `RESET ALL`.
    ResetAll,
    /// `SET LOCAL` of this setting. It ends with the statement's own transaction, with two exceptions: `seed`, which has
    /// no value to go back to, and that a setting of an extension stays known as an empty one.
    Local(String),
    /// `SET TRANSACTION`: about the statement's own transaction.
    Transaction,
    /// `DISCARD`.
    Discard(Discard),
}

/// A setting and its new value: `SET "name" TO value` makes it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The setting, in lower case, without quotes.
    pub name: String,
    /// The value or the list of them, as it was written, comments between them included.
    pub value: String,
}

/// What DISCARD throws away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Everything a session may have.
    All,
    /// Plans, which will be made anew.
    Plans,
    /// What currval() and lastval() know.
    Sequences,
    /// Temporary tables.
    Temp,
}

/// Longer texts are none of these.
const LONGEST: usize = 4096;

/// The longest name that PostgreSQL keeps, in bytes; it says that it cuts a longer one.
const LONGEST_NAME: usize = 63;

/// Names that PostgreSQL takes for those of other settings.
const OLD_NAMES: [&str; 2] = ["sort_mem", "vacuum_mem"];

impl Setting {
    /// Reads a whole text. `None` is any other statement, or one that is not clear.
    #[inline]
    pub fn read(text: &[u8]) -> Option<Self> {
        if !may_be_one(text) || text.len() > LONGEST {
            return None;
        }
        let mut tokens = Tokens::new(std::str::from_utf8(text).ok()?);
        let setting = match tokens.next() {
            verb if verb.is("set") => set(&mut tokens),
            verb if verb.is("reset") => reset(&mut tokens),
            verb if verb.is("discard") => discard(&mut tokens),
            _ => None,
        }?;
        tokens.is_at_end().then_some(setting)
    }
}

/// Whether the text sets client_encoding or standard_conforming_strings to what leaves every text as it is read here.
pub fn leaves_texts_as_they_are(text: &[u8]) -> bool {
    let Some(Setting::Set(made)) = Setting::read(text) else { return false };
    let [Assignment { name, value }] = &made[..] else { return false };
    let value = value.trim_matches(['\'', '"']).to_ascii_lowercase();
    match name.as_str() {
        "client_encoding" => ["utf8", "utf-8", "unicode", "latin1", "sql_ascii", "win1252"].contains(&&*value),
        "standard_conforming_strings" => ["on", "true", "1"].contains(&&*value),
        _ => false,
    }
}

/// Whether the first letters allow for it: nearly every text ends here.
#[inline]
fn may_be_one(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match text.first() {
        Some(b's' | b'S') => begins(b"set"),
        Some(b'r' | b'R') => begins(b"reset"),
        Some(b'd' | b'D') => begins(b"discard"),
        // A comment.
        Some(b'-' | b'/') => true,
        _ => false,
    }
}

/// Behind SET.
fn set(tokens: &mut Tokens<'_>) -> Option<Setting> {
    let local = takes_scope(tokens, "local");
    if !local {
        takes_scope(tokens, "session");
    }
    let setting = if is_generic(tokens) { generic(tokens) } else { special(tokens) }?;
    match setting {
        Setting::Set(mut made) if local => Some(Setting::Local(made.pop().filter(|_| made.is_empty())?.name)),
        Setting::Reset(name) if local => Some(Setting::Local(name)),
        setting => Some(setting),
    }
}

/// Takes SESSION or LOCAL where it says for how long. `SET session.x = 1` is about a setting of that name, and
/// SESSION AUTHORIZATION and SESSION CHARACTERISTICS are two words for one thing.
fn takes_scope(tokens: &mut Tokens<'_>, scope: &str) -> bool {
    let mut ahead = tokens.clone();
    if !ahead.take(scope) || is_behind_name(&ahead.peek()) {
        return false;
    }
    let next = ahead.peek();
    if scope == "session" && (next.is("authorization") || next.is("characteristics")) {
        return false;
    }
    *tokens = ahead;
    true
}

/// Whether a name comes and then what tells that it is one; every word with a form of its own may be a setting's name.
fn is_generic(tokens: &Tokens<'_>) -> bool {
    let mut ahead = tokens.clone();
    matches!(ahead.next(), Token::Word(_) | Token::QuotedName(_)) && is_behind_name(&ahead.next())
}

fn is_behind_name(token: &Token<'_>) -> bool {
    matches!(token, Token::Mark('.' | '=')) || token.is("to")
}

/// `name TO ...`.
fn generic(tokens: &mut Tokens<'_>) -> Option<Setting> {
    let name = name(tokens)?;
    // There are none of these names, and the scanner knows the words as those of another statement.
    if ["transaction", "constraints"].contains(&&*name) || !(tokens.take_mark('=') || tokens.take("to")) {
        return None;
    }
    if tokens.take("default") {
        return Some(Setting::Reset(name));
    }
    let first = value(tokens)?;
    while tokens.take_mark(',') {
        value(tokens)?;
    }
    Some(assigned(&name, tokens.since(first)))
}

/// The forms that have words of their own.
fn special(tokens: &mut Tokens<'_>) -> Option<Setting> {
    match tokens.next() {
        word if word.is("time") => {
            tokens.take_all(&["zone"])?;
            let own = tokens.take("local") || tokens.take("default");
            if own { Some(Setting::Reset("timezone".to_owned())) } else { one(tokens, "timezone", |_| true) }
        }
        word if word.is("names") => {
            let own = tokens.take("default") || matches!(tokens.peek(), Token::Mark(';') | Token::End);
            let encoding = "client_encoding";
            if own { Some(Setting::Reset(encoding.to_owned())) } else { one(tokens, encoding, is_literal) }
        }
        word if word.is("schema") => one(tokens, "search_path", is_literal),
        word if word.is("role") => one(tokens, "role", is_who),
        word if word.is("session") && tokens.take("authorization") => {
            let user = "session_authorization";
            if tokens.take("default") { Some(Setting::Reset(user.to_owned())) } else { one(tokens, user, is_who) }
        }
        word if word.is("session") => {
            tokens.take_all(&["characteristics", "as", "transaction"])?;
            modes(tokens).map(Setting::Set)
        }
        word if word.is("xml") => {
            tokens.take_all(&["option"])?;
            one(tokens, "xmloption", |token| token.is("document") || token.is("content"))
        }
        word if word.is("transaction") => {
            let snapshot = tokens.take("snapshot");
            if snapshot { is_literal(&tokens.next()).then_some(()) } else { modes(tokens).map(drop) }?;
            Some(Setting::Transaction)
        }
        _ => None,
    }
}

/// Behind RESET.
fn reset(tokens: &mut Tokens<'_>) -> Option<Setting> {
    let special = [
        (&["time", "zone"][..], "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (&["transaction", "isolation", "level"], "transaction_isolation"),
    ];
    for (words, name) in special {
        let mut ahead = tokens.clone();
        if ahead.take_all(words).is_some() {
            *tokens = ahead;
            return Some(Setting::Reset(name.to_owned()));
        }
    }
    if tokens.take("all") {
        return Some(Setting::ResetAll);
    }
    name(tokens).map(Setting::Reset)
}

/// Behind DISCARD.
fn discard(tokens: &mut Tokens<'_>) -> Option<Setting> {
    let what = match tokens.next() {
        word if word.is("all") => Discard::All,
        word if word.is("plans") => Discard::Plans,
        word if word.is("sequences") => Discard::Sequences,
        word if word.is("temp") || word.is("temporary") => Discard::Temp,
        _ => return None,
    };
    Some(Setting::Discard(what))
}

/// The name of a setting, folded.
fn name(tokens: &mut Tokens<'_>) -> Option<String> {
    let mut name = String::new();
    loop {
        let part = match tokens.next() {
            Token::Word(word) => word.to_owned(),
            Token::QuotedName(name) => name,
            _ => return None,
        };
        if part.is_empty() || part.len() > LONGEST_NAME || !part.is_ascii() {
            return None;
        }
        // Settings, unlike tables, have the same name in quotes.
        name.push_str(&part.to_ascii_lowercase());
        if !tokens.take_mark('.') {
            return (!OLD_NAMES.contains(&&*name)).then_some(name);
        }
        name.push('.');
    }
}

/// Takes one value and says where it begins.
fn value(tokens: &mut Tokens<'_>) -> Option<usize> {
    let mut token = tokens.next();
    let start = tokens.start();
    let signed = matches!(token, Token::Mark('+' | '-'));
    if signed {
        token = tokens.next();
    }
    match token {
        Token::Number => Some(start),
        _ if signed || token.is("default") => None,
        Token::Word(word) if word.len() <= LONGEST_NAME => Some(start),
        Token::QuotedName(name) if !name.is_empty() && name.len() <= LONGEST_NAME => Some(start),
        Token::Literal(_) | Token::Opaque => Some(start),
        _ => None,
    }
}

/// One value of the kind that this form has.
fn one(tokens: &mut Tokens<'_>, name: &str, is_right: impl Fn(&Token<'_>) -> bool) -> Option<Setting> {
    if !is_right(&tokens.peek()) {
        return None;
    }
    let start = value(tokens)?;
    Some(assigned(name, tokens.since(start)))
}

fn is_literal(token: &Token<'_>) -> bool {
    matches!(token, Token::Literal(_) | Token::Opaque)
}

fn is_who(token: &Token<'_>) -> bool {
    is_literal(token) || matches!(token, Token::Word(_) | Token::QuotedName(_))
}

fn assigned(name: &str, value: &str) -> Setting {
    Setting::Set(vec![assignment(name, value)])
}

fn assignment(name: &str, value: &str) -> Assignment {
    Assignment { name: name.to_owned(), value: value.to_owned() }
}

/// The modes of a transaction, as the settings that make them the session's own.
fn modes(tokens: &mut Tokens<'_>) -> Option<Vec<Assignment>> {
    let modes = [
        (&["isolation", "level", "read", "uncommitted"][..], "isolation", "'read uncommitted'"),
        (&["isolation", "level", "read", "committed"], "isolation", "'read committed'"),
        (&["isolation", "level", "repeatable", "read"], "isolation", "'repeatable read'"),
        (&["isolation", "level", "serializable"], "isolation", "'serializable'"),
        (&["read", "only"], "read_only", "on"),
        (&["read", "write"], "read_only", "off"),
        (&["deferrable"], "deferrable", "on"),
        (&["not", "deferrable"], "deferrable", "off"),
    ];
    let mut made = Vec::new();
    loop {
        let (ahead, setting, value) = modes.iter().find_map(|(words, setting, value)| {
            let mut ahead = tokens.clone();
            ahead.take_all(words).map(|()| (ahead, setting, value))
        })?;
        *tokens = ahead;
        made.push(assignment(&format!("default_transaction_{setting}"), value));
        // A comma between two of them may be there or not.
        if !tokens.take_mark(',') && matches!(tokens.peek(), Token::Mark(';') | Token::End) {
            return Some(made);
        }
    }
}
