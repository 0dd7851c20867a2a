//! Splits a text into words, literals, comments and marks as PostgreSQL's lexer does, in one pass, however it is cut.
//!
//! Knows no meaning: what it finds goes to [`Leaving`], in order. It is the one part that looks at every byte of every
//! statement, so runs of bytes are taken at once wherever only their end matters.

use super::effects::Effect;
use super::leaving::Leaving;
use super::letters::{is_tag, is_word, is_word_start};
use super::scanner::Quoting;
use super::words::{self, LONGEST, Word};

/// Splits one text that arrives in pieces.
#[derive(Debug)]
pub(super) struct Lexer {
    quoting: Quoting,
    place: Place,
    /// The word or dollar tag at hand, lower case, cut at [`LONGEST`]; `length` is its true length.
    word: [u8; LONGEST],
    length: usize,
    /// A dollar tag too long to remember: its end cannot be found.
    tag: Vec<u8>,
    /// The string just closed had escapes: one that continues it on the next line has them too.
    continues_escapes: bool,
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

impl Lexer {
    /// Begins a text that the server will read with this quoting.
    pub(super) fn new(quoting: Quoting) -> Self {
        Self {
            quoting,
            place: Place::Between,
            word: [0; LONGEST],
            length: 0,
            tag: Vec::new(),
            continues_escapes: false,
        }
    }

    /// Takes the next piece of the text, and tells what it finds.
    pub(super) fn feed(&mut self, piece: &[u8], to: &mut Leaving) {
        let mut at = 0;
        while at < piece.len() {
            at = match self.place {
                Place::Between => self.between(piece, at, to),
                Place::Word => self.in_word(piece, at, to),
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
                _ => self.step(piece[at], at, to),
            };
        }
    }

    fn go(&mut self, place: Place, next: usize) -> usize {
        self.place = place;
        next
    }

    #[inline]
    fn between(&mut self, piece: &[u8], at: usize, to: &mut Leaving) -> usize {
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
                to.literal_begins();
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
                to.end();
                Place::Between
            }
            b'.' => {
                to.dot();
                Place::Between
            }
            _ => {
                to.mark(byte);
                Place::Between
            }
        };
        self.continues_escapes = false;
        self.go(place, at + 1)
    }

    #[inline]
    fn in_word(&mut self, piece: &[u8], at: usize, to: &mut Leaving) -> usize {
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
            to.plain_word();
            return self.go(Place::Between, end);
        }
        self.keep(&rest[..len]);
        let Some(&next) = piece.get(end) else { return end };
        let prefix = if self.length == 1 { self.word[0] } else { 0 };
        if next == b'\'' {
            // E'...' has escapes; N'...', B'...' and X'...' are read like a plain one. Any other word stands for itself.
            if matches!(prefix, b'e' | b'n' | b'b' | b'x') {
                to.literal();
            } else {
                self.end_word(false, to);
                to.literal_begins();
            }
            let escapes = prefix == b'e' || (self.quoting == Quoting::Backslash && !matches!(prefix, b'b' | b'x'));
            return self.go(Place::String { escapes }, end + 1);
        }
        if next == b'&' && prefix == b'u' {
            // U&"..." and U&'...': only the first is a name, but telling them apart is not worth a state.
            to.effects.insert(Effect::Unreadable);
        }
        self.continues_escapes = false;
        self.end_word(false, to);
        self.go(Place::Between, end)
    }

    /// One byte in a place where every byte counts.
    fn step(&mut self, byte: u8, at: usize, to: &mut Leaving) -> usize {
        match (self.place, byte) {
            (Place::QuotedNameQuote, b'"') => {
                self.keep(b"\"");
                self.place = Place::QuotedName;
            }
            (Place::QuotedNameQuote, _) => {
                self.end_word(true, to);
                return self.go(Place::Between, at);
            }
            (Place::Escape, _) => self.place = Place::String { escapes: true },
            (Place::StringQuote { escapes }, b'\'') => self.place = Place::String { escapes },
            (Place::StringQuote { escapes }, _) => {
                self.continues_escapes = escapes;
                to.literal();
                return self.go(Place::Between, at);
            }
            (Place::Dash, b'-') => self.place = Place::LineComment,
            (Place::Slash, b'*') => self.place = Place::BlockComment { depth: 1, last: 0 },
            (Place::Dash | Place::Slash, _) => {
                self.continues_escapes = false;
                to.other();
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
                    to.other();
                    return self.go(Place::Between, at);
                }
                self.tag.push(byte);
            }
            (Place::DollarEnd { matched }, _) => {
                if byte == self.tag[matched] {
                    let matched = matched + 1;
                    self.place = if matched == self.tag.len() { Place::Between } else { Place::DollarEnd { matched } };
                    if self.place == Place::Between {
                        to.literal();
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
    fn end_word(&self, quoted: bool, to: &mut Leaving) {
        let word = &self.word[..self.length.min(LONGEST)];
        to.word(match word.first() {
            Some(&first) if words::may_matter(first, self.length) => words::look_up(word, quoted),
            _ => Word::Plain,
        });
    }
}
