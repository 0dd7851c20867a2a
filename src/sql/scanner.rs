//! Splits a text into words as PostgreSQL's lexer does, in one pass, however the text is cut into pieces.

use super::effects::{Effect, Effects};
use super::words::{self, Key, LONGEST, Word};

/// How the server reads a plain `'...'` literal, as the setting standard_conforming_strings says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quoting {
    /// `on`: a backslash in it is a backslash.
    #[default]
    Standard,
    /// `off`: a backslash escapes what follows it.
    Backslash,
}

/// What a whole text may leave behind.
pub fn scan(text: &[u8], quoting: Quoting) -> Effects {
    let mut scanner = Scanner::new(quoting);
    scanner.feed(text);
    scanner.finish()
}

/// Where in the text the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between tokens.
    Between,
    /// In a word that is not quoted.
    Word,
    /// In `"..."`.
    QuotedName,
    /// Behind a `"` in a quoted name: a second one is part of the name.
    QuotedNameQuote,
    /// In `'...'`.
    String {
        escapes: bool,
    },
    /// Behind a backslash in a string with escapes.
    Escape,
    /// Behind a `'` in a string.
    StringQuote {
        escapes: bool,
    },
    /// Behind `-`, `/`: perhaps a comment.
    Dash,
    Slash,
    LineComment,
    /// In `/* */`, which nests; `last` is the byte before, for `*/` and `/*`.
    BlockComment {
        depth: u32,
        last: u8,
    },
    /// Behind `$`: perhaps the tag of a dollar quote, so far this long.
    DollarTag,
    /// In `$tag$ ... $tag$`.
    DollarString,
    /// In a `$tag` inside a dollar string: so many bytes of the closing tag matched.
    DollarEnd {
        matched: usize,
    },
}

/// What the previous words of the statement leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    /// SET: the next word tells what is set.
    Set,
    /// SET SESSION.
    SetSession,
    /// SET LOCAL: what is set ends with the transaction, except for what the next word may name.
    SetLocal,
    /// SET LOCAL name, SET TRANSACTION, SET CONSTRAINTS: a dot makes it a setting of an extension.
    Scope,
    /// PREPARE: TRANSACTION or a name.
    Prepare,
    /// PREPARE TRANSACTION: a literal follows, or it was a name.
    PrepareTransaction,
}

/// Collects the effects of one text that arrives in pieces.
#[derive(Debug)]
pub struct Scanner {
    quoting: Quoting,
    effects: Effects,
    place: Place,
    /// The word or dollar tag at hand, lower case, cut at [`LONGEST`]; `length` is its true length.
    word: [u8; LONGEST],
    length: usize,
    /// A dollar tag too long to remember: its end cannot be found.
    tag: Vec<u8>,
    /// The string just closed had escapes: one that continues it on the next line has them too.
    continues_escapes: bool,
    statement: Statement,
}

/// What is known of the statement at hand.
#[derive(Debug)]
struct Statement {
    first: Option<Key>,
    started: bool,
    previous: Option<Key>,
    open: Open,
    temporary: bool,
    on_commit: bool,
    on_commit_drop: bool,
}

impl Statement {
    const NEW: Self = Self {
        first: None,
        started: false,
        previous: None,
        open: Open::Nothing,
        temporary: false,
        on_commit: false,
        on_commit_drop: false,
    };
}

impl Scanner {
    /// Begins a text that the server will read with this quoting.
    pub fn new(quoting: Quoting) -> Self {
        Self {
            quoting,
            effects: Effects::NONE,
            place: Place::Between,
            word: [0; LONGEST],
            length: 0,
            tag: Vec::new(),
            continues_escapes: false,
            statement: Statement::NEW,
        }
    }

    /// Takes the next piece of the text.
    pub fn feed(&mut self, piece: &[u8]) {
        let mut at = 0;
        while at < piece.len() {
            at = match self.place {
                Place::Between => self.between(piece, at),
                Place::Word => self.in_word(piece, at),
                Place::QuotedName => {
                    let rest = &piece[at..];
                    let len = memchr::memchr(b'"', rest).unwrap_or(rest.len());
                    self.keep(&rest[..len]);
                    let place = if len < rest.len() { Place::QuotedNameQuote } else { Place::QuotedName };
                    self.go(place, at + len + 1)
                }
                Place::LineComment => match memchr::memchr2(b'\n', b'\r', &piece[at..]) {
                    Some(end) => self.go(Place::Between, at + end + 1),
                    None => piece.len(),
                },
                Place::String { escapes: false } => match memchr::memchr(b'\'', &piece[at..]) {
                    Some(end) => self.go(Place::StringQuote { escapes: false }, at + end + 1),
                    None => piece.len(),
                },
                Place::String { escapes: true } => match memchr::memchr2(b'\'', b'\\', &piece[at..]) {
                    Some(end) if piece[at + end] == b'\\' => self.go(Place::Escape, at + end + 1),
                    Some(end) => self.go(Place::StringQuote { escapes: true }, at + end + 1),
                    None => piece.len(),
                },
                Place::DollarString => match memchr::memchr(b'$', &piece[at..]) {
                    Some(end) => self.go(Place::DollarEnd { matched: 1 }, at + end + 1),
                    None => piece.len(),
                },
                _ => self.step(piece[at], at),
            };
        }
    }

    /// Ends the text and says what it may leave behind.
    pub fn finish(mut self) -> Effects {
        self.feed(b" ;");
        self.effects
    }

    fn go(&mut self, place: Place, next: usize) -> usize {
        self.place = place;
        next
    }

    #[inline]
    fn between(&mut self, piece: &[u8], at: usize) -> usize {
        let byte = piece[at];
        if is_word_start(byte) {
            self.length = 0;
            return self.go(Place::Word, at);
        }
        if byte.is_ascii_whitespace() || byte == 0x0b {
            return at + 1;
        }
        let place = match byte {
            b'\'' => {
                self.literal_follows();
                let escapes = self.quoting == Quoting::Backslash || self.continues_escapes;
                Place::String { escapes }
            }
            b'"' => {
                self.length = 0;
                Place::QuotedName
            }
            b'-' => return self.go(Place::Dash, at + 1),
            b'/' => return self.go(Place::Slash, at + 1),
            b'$' => {
                self.tag.clear();
                self.tag.push(b'$');
                Place::DollarTag
            }
            b';' => {
                self.end_statement();
                Place::Between
            }
            b'.' => {
                self.dot();
                Place::Between
            }
            _ => {
                self.punctuation(byte);
                Place::Between
            }
        };
        self.continues_escapes = false;
        self.go(place, at + 1)
    }

    #[inline]
    fn in_word(&mut self, piece: &[u8], at: usize) -> usize {
        let rest = &piece[at..];
        let len = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        let end = at + len;
        // Most words mean nothing, which their length and first letter tell: they are not even copied.
        if self.length == 0
            && let Some(next) = piece.get(end)
            && !matches!(next, b'\'' | b'&')
            && !words::may_matter(rest[0], len)
        {
            self.continues_escapes = false;
            self.plain_word();
            return self.go(Place::Between, end);
        }
        self.keep(&rest[..len]);
        let Some(&next) = piece.get(end) else { return end };
        let prefix = if self.length == 1 { self.word[0] } else { 0 };
        if next == b'\'' {
            // E'...' has escapes; N'...', B'...' and X'...' are read like a plain one. Any other word stands for itself.
            if matches!(prefix, b'e' | b'n' | b'b' | b'x') {
                self.settle(None);
            } else {
                self.end_word(false);
                self.literal_follows();
            }
            let escapes = prefix == b'e' || (self.quoting == Quoting::Backslash && !matches!(prefix, b'b' | b'x'));
            return self.go(Place::String { escapes }, end + 1);
        }
        if next == b'&' && prefix == b'u' {
            // U&"..." and U&'...': only the first is a name, but telling them apart is not worth a state.
            self.effects.insert(Effect::Unreadable);
        }
        self.continues_escapes = false;
        self.end_word(false);
        self.go(Place::Between, end)
    }

    /// One byte in a place where every byte counts.
    fn step(&mut self, byte: u8, at: usize) -> usize {
        match (self.place, byte) {
            (Place::QuotedNameQuote, b'"') => {
                self.keep(b"\"");
                self.place = Place::QuotedName;
            }
            (Place::QuotedNameQuote, _) => {
                self.end_word(true);
                return self.go(Place::Between, at);
            }
            (Place::Escape, _) => self.place = Place::String { escapes: true },
            (Place::StringQuote { escapes }, b'\'') => self.place = Place::String { escapes },
            (Place::StringQuote { escapes }, _) => {
                self.continues_escapes = escapes;
                self.statement.previous = None;
                self.settle(None);
                return self.go(Place::Between, at);
            }
            (Place::Dash, b'-') => self.place = Place::LineComment,
            (Place::Slash, b'*') => self.place = Place::BlockComment { depth: 1, last: 0 },
            (Place::Dash | Place::Slash, _) => {
                self.continues_escapes = false;
                self.statement.previous = None;
                return self.go(Place::Between, at);
            }
            (Place::BlockComment { depth, last }, _) => {
                self.place = match (last, byte) {
                    (b'*', b'/') if depth == 1 => Place::Between,
                    (b'*', b'/') => Place::BlockComment { depth: depth - 1, last: 0 },
                    (b'/', b'*') => Place::BlockComment { depth: depth.saturating_add(1), last: 0 },
                    _ => Place::BlockComment { depth, last: byte },
                }
            }
            (Place::DollarTag, b'$') => {
                self.tag.push(b'$');
                self.place = Place::DollarString;
            }
            (Place::DollarTag, _) => {
                let part = if self.tag.len() == 1 { is_word_start(byte) } else { is_tag(byte) };
                if !part {
                    // $1 and the like: not a quote after all.
                    self.statement.previous = None;
                    return self.go(Place::Between, at);
                }
                self.tag.push(byte);
            }
            (Place::DollarEnd { matched }, _) => {
                if byte == self.tag[matched] {
                    let matched = matched + 1;
                    self.place = if matched == self.tag.len() { Place::Between } else { Place::DollarEnd { matched } };
                    if self.place == Place::Between {
                        self.settle(None);
                    }
                } else {
                    // The byte that broke the match may itself open the closing tag.
                    self.place = if byte == b'$' { Place::DollarEnd { matched: 1 } } else { Place::DollarString };
                }
            }
            (Place::Between | Place::Word | Place::QuotedName | Place::LineComment, _)
            | (Place::String { .. } | Place::DollarString, _) => {
                unreachable!("feed handles these a run at a time")
            }
        }
        at + 1
    }

    #[inline]
    fn keep(&mut self, bytes: &[u8]) {
        let free = self.word.get_mut(self.length..).unwrap_or_default();
        let len = bytes.len().min(free.len());
        free[..len].copy_from_slice(&bytes[..len]);
        free[..len].make_ascii_lowercase();
        self.length = self.length.saturating_add(bytes.len());
    }

    #[inline]
    fn end_word(&mut self, quoted: bool) {
        let word = &self.word[..self.length.min(LONGEST)];
        let meaning = match word.first() {
            Some(&first) if words::may_matter(first, self.length) => words::look_up(word, quoted),
            _ => Word::Plain,
        };
        match meaning {
            Word::Plain => self.plain_word(),
            Word::Leaves(effect) => {
                self.effects.insert(effect);
                let defines = matches!(self.statement.first, Some(Key::Create | Key::Alter));
                if defines && effect != Effect::Temporary {
                    self.effects.insert(Effect::Code);
                }
                self.settle(None);
            }
            Word::Key(key) => self.key(key),
        }
    }

    #[inline]
    fn plain_word(&mut self) {
        if self.statement.open == Open::Nothing {
            self.statement.started = true;
            self.statement.previous = None;
        } else {
            self.settle(None);
        }
    }

    /// A literal is about to begin.
    fn literal_follows(&mut self) {
        if self.statement.open == Open::PrepareTransaction {
            self.statement.open = Open::Nothing;
        }
    }

    /// What stands before it may be a schema.
    fn dot(&mut self) {
        if self.statement.previous == Some(Key::Public) {
            self.effects.insert(Effect::Public);
        }
        self.punctuation(b'.');
    }

    /// A character that is no part of a word, a literal or a comment.
    fn punctuation(&mut self, byte: u8) {
        self.statement.previous = None;
        match self.statement.open {
            Open::SetLocal | Open::Scope if byte == b'.' => {
                // A setting of an extension stays known, if only as an empty one.
                self.effects.insert(Effect::Settings);
                self.statement.open = Open::Nothing;
            }
            Open::Scope => self.statement.open = Open::Nothing,
            Open::PrepareTransaction => self.settle(None),
            _ => {}
        }
    }

    /// A word came that is no keyword (or a literal): what SET and PREPARE left open is decided.
    fn settle(&mut self, previous: Option<Key>) {
        match self.statement.open {
            Open::Nothing => {}
            Open::Set | Open::SetSession => self.effects.insert(Effect::Settings),
            Open::Prepare | Open::PrepareTransaction => self.effects.insert(Effect::Prepare),
            Open::SetLocal | Open::Scope => {}
        }
        self.statement.open = match self.statement.open {
            Open::SetLocal => Open::Scope,
            _ => Open::Nothing,
        };
        self.statement.started = true;
        self.statement.previous = previous;
    }

    fn key(&mut self, key: Key) {
        match (self.statement.open, key) {
            (Open::Set, Key::Session) => {
                self.statement.open = Open::SetSession;
                return;
            }
            // These end with the transaction.
            (Open::Set, Key::Local) => {
                self.statement.open = Open::SetLocal;
                return;
            }
            (Open::Set, Key::Transaction | Key::Constraints) => {
                self.statement.open = Open::Scope;
                return;
            }
            (Open::Prepare, Key::Transaction) => {
                self.statement.open = Open::PrepareTransaction;
                return;
            }
            // Tables made while pg_temp comes first are temporary; the seed has no value to go back to.
            (Open::SetLocal, Key::SearchPath | Key::Seed) => {
                let effect = if key == Key::Seed { Effect::Random } else { Effect::Temporary };
                self.effects.insert(effect);
                self.statement.open = Open::Scope;
                return;
            }
            (Open::Set | Open::SetSession, Key::Role | Key::Authorization) => {
                self.statement.open = Open::Nothing;
                self.effects.insert(Effect::Role);
                return;
            }
            _ => self.settle_open(),
        }
        let first = !self.statement.started;
        if first {
            self.statement.started = true;
            self.statement.first = Some(key);
            match key {
                Key::Set => self.statement.open = Open::Set,
                Key::Prepare => self.statement.open = Open::Prepare,
                Key::Reset | Key::Discard => self.effects.insert(Effect::Settings),
                Key::Listen => self.effects.insert(Effect::Listen),
                Key::Load => self.effects.insert(Effect::Load),
                Key::Do | Key::Call => self.effects.insert(Effect::Procedural),
                _ => {}
            }
        }
        let (previous, statement) = (self.statement.previous, &mut self.statement);
        match key {
            Key::Temp => {
                let places = [Key::Create, Key::Replace, Key::Local, Key::Global, Key::Into];
                statement.temporary |= previous.is_some_and(|previous| places.contains(&previous));
            }
            Key::Hold if statement.first == Some(Key::Declare) => self.effects.insert(Effect::HeldCursor),
            Key::Commit => statement.on_commit = previous == Some(Key::On),
            Key::Drop => statement.on_commit_drop |= statement.on_commit && previous == Some(Key::Commit),
            Key::CodeObject if matches!(statement.first, Some(Key::Create | Key::Alter | Key::Drop)) => {
                self.effects.insert(Effect::Code);
            }
            _ => {}
        }
        self.statement.previous = Some(key);
    }

    fn settle_open(&mut self) {
        if self.statement.open != Open::Nothing {
            self.settle(None);
        }
    }

    fn end_statement(&mut self) {
        if self.statement.open == Open::PrepareTransaction {
            self.settle(None);
        }
        if self.statement.temporary && !self.statement.on_commit_drop {
            self.effects.insert(Effect::Temporary);
        }
        self.statement = Statement::NEW;
    }
}

/// Whether each byte may be in a word, by a look-up: it is asked of every byte of every text.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let this = byte as u8;
        table[byte] = is_word_start(this) || this.is_ascii_digit() || this == b'$';
        byte += 1;
    }
    table
};

#[inline]
const fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

#[inline]
fn is_word(byte: u8) -> bool {
    WORD[byte as usize]
}

fn is_tag(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit()
}
