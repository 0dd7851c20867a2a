//! The tokens of a whole text, for the few statements that are understood and not only searched.
//!
//! Strict where the `lexer` is generous: what PostgreSQL might read otherwise in another encoding, locale, version or
//! setting of standard_conforming_strings is [`Token::Unclear`], and so is whatever no such statement has in it.

use super::letters::{is_tag, is_word, is_word_start};

/// What a text is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A word that is not quoted.
    Word(&'t str),
    /// Without its quotes, doubled ones undone.
    QuotedName(String),
    /// `'...'` without its quotes, doubled ones undone.
    Literal(String),
    /// `E'...'` or `$$...$$`: a literal that is not worth decoding.
    Opaque,
    /// A number without a sign.
    Number,
    /// `$1`: its number.
    Parameter(u16),
    /// `,`, `=`, `;`, `.`, `*`, `+`, `-` or a parenthesis.
    Mark(char),
    /// `::`.
    Cast,
    /// Anything else.
    Unclear,
    /// There is no more.
    End,
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Reads a text token by token. White space and comments are skipped.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'t> {
    text: &'t str,
    /// Where the last token begins, and where it ends.
    last: (usize, usize),
}

impl<'t> Tokens<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, last: (0, 0) }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Token<'t> {
        let Some(skipped) = skipped(&self.text[self.last.1..]) else { return Token::Unclear };
        let from = self.last.1 + skipped;
        let (token, len) = read(&self.text[from..]);
        self.last = (from, from + len);
        token
    }

    /// The next token, which is not taken yet.
    pub(super) fn peek(&self) -> Token<'t> {
        self.clone().next()
    }

    /// Takes the next token if it is this keyword, and says whether it was.
    pub(super) fn take(&mut self, keyword: &str) -> bool {
        let mut ahead = self.clone();
        let is_it = ahead.next().is(keyword);
        if is_it {
            *self = ahead;
        }
        is_it
    }

    /// Takes the next tokens if they are these keywords.
    pub(super) fn take_all(&mut self, keywords: &[&str]) -> Option<()> {
        keywords.iter().all(|keyword| self.take(keyword)).then_some(())
    }

    /// Takes the next token if it is this mark, and says whether it was.
    pub(super) fn take_mark(&mut self, mark: char) -> bool {
        let mut ahead = self.clone();
        let is_it = ahead.next() == Token::Mark(mark);
        if is_it {
            *self = ahead;
        }
        is_it
    }

    /// Whether nothing follows but semicolons.
    pub(super) fn is_at_end(&mut self) -> bool {
        while self.take_mark(';') {}
        self.peek() == Token::End
    }

    /// Where the last token begins.
    pub(super) fn start(&self) -> usize {
        self.last.0
    }

    /// Where the last token ends.
    pub(super) fn end(&self) -> usize {
        self.last.1
    }

    /// The text from `start` to the end of the last token, as it was written.
    pub(super) fn since(&self, start: usize) -> &'t str {
        &self.text[start..self.last.1]
    }
}

/// How much white space and comments there are first; `None` if a comment does not end.
fn skipped(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match &bytes[at..] {
            [b' ' | b'\t' | b'\n' | b'\r' | 0x0c, ..] => at += 1,
            [b'-', b'-', rest @ ..] => at += 2 + memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()),
            [b'/', b'*', rest @ ..] => at += 2 + comment(rest)?,
            _ => return Some(at),
        }
    }
}

/// The length of a block comment behind its opening; comments nest.
fn comment(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (1, 0);
    while depth > 0 {
        match bytes.get(at..)? {
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [_, ..] => at += 1,
            [] => return None,
        }
    }
    Some(at)
}

/// The token at the start of `text`, and its length.
fn read(text: &str) -> (Token<'_>, usize) {
    let token = match text.as_bytes() {
        [] => Some((Token::End, 0)),
        [b'"', ..] => quoted(text, '"').map(|(name, len)| (Token::QuotedName(name), len)),
        [b'\'', ..] => quoted(text, '\'').map(|(literal, len)| (Token::Literal(literal), len)),
        [b'e' | b'E', b'\'', rest @ ..] => escaped(rest).map(|len| (Token::Opaque, 2 + len)),
        [b'$', b'0'..=b'9', ..] => parameter(text),
        [b'$', ..] => dollar_quoted(text).map(|len| (Token::Opaque, len)),
        [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => number(text).map(|len| (Token::Number, len)),
        [mark @ (b',' | b'=' | b';' | b'.' | b'*' | b'+' | b'-' | b'(' | b')'), ..] => {
            Some((Token::Mark(*mark as char), 1))
        }
        [b':', b':', ..] => Some((Token::Cast, 2)),
        [first, ..] if is_word_start(*first) => word(text).map(|word| (Token::Word(word), word.len())),
        _ => None,
    };
    token.unwrap_or((Token::Unclear, 0))
}

/// What stands in quotes. A backslash would mean one thing or another, as standard_conforming_strings says.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let (mut inner, mut at) = (String::new(), 1);
    loop {
        let len = text[at..].find(quote)?;
        inner.push_str(&text[at..at + len]);
        at += len + 1;
        if !text[at..].starts_with(quote) {
            break;
        }
        inner.push(quote);
        at += 1;
    }
    (!inner.contains(['\\', '\0'])).then_some((inner, at))
}

/// The length of a literal with escapes behind its opening. In some encodings a backslash is the second half of a letter.
fn escaped(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match bytes.get(at..)? {
            [b'\\', _, ..] | [b'\'', b'\'', ..] => at += 2,
            [b'\'', ..] => break,
            [_, ..] => at += 1,
            [] => return None,
        }
    }
    bytes[..at].is_ascii().then_some(at + 1)
}

fn dollar_quoted(text: &str) -> Option<usize> {
    let len = 2 + text[1..].find('$')?;
    let tag = &text[..len];
    let name = &tag.as_bytes()[1..len - 1];
    let is_tag =
        name.is_ascii() && name.iter().all(|byte| is_tag(*byte)) && !name.first().is_some_and(u8::is_ascii_digit);
    let end = is_tag.then(|| text[len..].find(tag))??;
    Some(len + end + len)
}

/// The length of a number in a form that every version reads.
fn number(text: &str) -> Option<usize> {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut len = digits(0);
    if text[len..].starts_with('.') {
        len += 1 + digits(len + 1);
    }
    if text[len..].starts_with(['e', 'E']) {
        let sign = usize::from(text[len + 1..].starts_with(['+', '-']));
        match digits(len + 1 + sign) {
            0 => return None,
            exponent => len += 1 + sign + exponent,
        }
    }
    // Some versions end the number there, others refuse it.
    (!text[len..].starts_with(|next: char| next == '.' || u8::try_from(next).is_ok_and(is_word))).then_some(len)
}

fn parameter(text: &str) -> Option<(Token<'_>, usize)> {
    let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
    let is_all = !text[1 + digits..].starts_with(|next: char| u8::try_from(next).is_ok_and(is_word));
    let number = text[1..=digits].parse().ok().filter(|number| is_all && *number > 0)?;
    Some((Token::Parameter(number), 1 + digits))
}

fn word(text: &str) -> Option<&str> {
    let word = &text[..text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len())];
    // A prefix of a literal or a name: N'', B'', X'', U&''. And what is not ASCII is folded as the server's locale says.
    let prefixes = match text.as_bytes()[word.len()..] {
        [b'\'', ..] => word.len() == 1 && word.starts_with(['n', 'N', 'b', 'B', 'x', 'X']),
        [b'&', ..] => true,
        _ => false,
    };
    (word.is_ascii() && !prefixes).then_some(word)
}
