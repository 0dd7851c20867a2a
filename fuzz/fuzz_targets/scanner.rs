//! The scanner of statements' text: cuts do not matter, nothing hides behind a statement that is whole, and what those who
//! understand a whole text find in it the scanner has seen.
#![no_main]

use arbitrary::Arbitrary;
use greenroom_fuzz::sql::setting::{Discard, Setting};
use greenroom_fuzz::sql::statement::Statement;
use greenroom_fuzz::sql::{Effect, Effects, Quoting, Scanner, carried, listening, scan, timeless};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    whole: Vec<Token>,
    text: Vec<u8>,
    cuts: Vec<u8>,
}

/// A token that ends where it should, whatever is in it.
#[derive(Debug, Arbitrary)]
enum Token {
    Keyword(u8),
    Word(Vec<u8>),
    QuotedName(Vec<u8>),
    Literal(Vec<u8>),
    Escapes(Vec<u8>),
    Dollar { tag: u8, text: Vec<u8> },
    LineComment(Vec<u8>),
    BlockComment { depth: u8, text: Vec<u8> },
    Parameter(u8),
    Operator(u8),
    Newline,
    Semicolon,
}

const KEYWORDS: &[&str] = &[
    "set",
    "session",
    "local",
    "role",
    "prepare",
    "transaction",
    "create",
    "temp",
    "on",
    "commit",
    "drop",
    "declare",
    "with",
    "hold",
    "listen",
    "select",
    "nextval",
    "e",
    "n",
    "b",
    "x",
    "u",
    "do",
    "function",
    "pg_temp_3",
    "into",
    "work_mem",
    "to",
    "reset",
    "all",
    "discard",
    "unlisten",
    "none",
    "search_path",
    "default",
    "time",
    "zone",
];
const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|`?()[],.:$\\{}";

fuzz_target!(|input: Input| {
    for quoting in [Quoting::Standard, Quoting::Backslash] {
        let alone = scan(&input.text, quoting);
        assert_eq!(alone, in_pieces(&input.text, &input.cuts, quoting), "the cuts matter");

        let mut both = Vec::new();
        input.whole.iter().for_each(|token| token.write(&mut both));
        let first = scan(&both, quoting);
        both.push(b';');
        both.extend_from_slice(&input.text);
        let found = scan(&both, quoting);
        assert_eq!(found, in_pieces(&both, &input.cuts, quoting), "the cuts matter");
        let mut union = first;
        union.extend(alone);
        assert_eq!(found, union, "two statements leave what each of them leaves");
    }
    let mut whole = Vec::new();
    input.whole.iter().for_each(|token| token.write(&mut whole));
    for text in [&input.text, &whole] {
        understand(text);
    }
});

/// Where a text is understood as a whole, the scanner has seen what it may leave behind.
fn understand(text: &[u8]) {
    let found = scan(text, Quoting::Standard);
    let listens = listening::Command::read(text).is_some_and(|commands| commands.iter().any(listening::Command::listens));
    assert!(!listens || found.contains(Effect::Listen), "a LISTEN was not seen");
    match Setting::read(text) {
        Some(Setting::Set(_)) => assert!(!found.is_empty(), "a SET was not seen"),
        Some(Setting::Discard(Discard::All)) => assert!(found.contains(Effect::Deallocate), "DISCARD ALL was not seen"),
        _ => {}
    }
    match Statement::read(text) {
        Some(Statement::SetRole(_)) => assert!(found.contains(Effect::Role), "a role was not seen"),
        Some(Statement::ResetRole) => assert!(found.contains(Effect::Reset), "a RESET was not seen"),
        _ => {}
    }
    // These answer whatever they are given.
    listening::Unlisten::read(text);
    timeless::is_timeless(text);
    carried::names_what_it_sets(text);
}

fn in_pieces(mut text: &[u8], cuts: &[u8], quoting: Quoting) -> Effects {
    let mut scanner = Scanner::new(quoting);
    for cut in cuts.iter().cycle().take(cuts.len() + text.len()) {
        let (piece, rest) = text.split_at((*cut as usize).min(text.len()));
        scanner.feed(piece);
        text = rest;
    }
    scanner.feed(text);
    scanner.finish()
}

impl Token {
    /// Appends it and a space; what could end it early is left out.
    fn write(&self, out: &mut Vec<u8>) {
        let without = |text: &[u8], bytes: &[u8]| -> Vec<u8> {
            text.iter().copied().filter(|byte| !bytes.contains(byte)).collect()
        };
        match self {
            Self::Keyword(at) => out.extend_from_slice(KEYWORDS[*at as usize % KEYWORDS.len()].as_bytes()),
            Self::Word(text) => {
                out.push(b'w');
                out.extend(text.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte >= 0x80));
            }
            Self::QuotedName(text) => quoted(out, b'"', &without(text, b"")),
            Self::Literal(text) => quoted(out, b'\'', &without(text, b"\\")),
            Self::Escapes(text) => {
                out.extend_from_slice(b"e'");
                out.extend(text.iter().flat_map(|byte| [b'\\', *byte]));
                out.push(b'\'');
            }
            Self::Dollar { tag, text } => {
                let tag = [&b"$$"[..], b"$a$", b"$A_1$"][*tag as usize % 3];
                out.extend([tag, &without(text, b"$"), tag].concat());
            }
            Self::LineComment(text) => out.extend([b"--", &without(text, b"\r\n")[..], b"\n"].concat()),
            Self::BlockComment { depth, text } => {
                let depth = *depth as usize % 4 + 1;
                out.extend([&b"/*".repeat(depth), &without(text, b"*/")[..], &b"*/".repeat(depth)].concat());
            }
            Self::Parameter(number) => out.extend(format!("${number}").bytes()),
            Self::Operator(at) => out.push(OPERATORS[*at as usize % OPERATORS.len()]),
            Self::Newline => out.push(b'\n'),
            Self::Semicolon => out.push(b';'),
        }
        out.push(b' ');
    }
}

fn quoted(out: &mut Vec<u8>, quote: u8, text: &[u8]) {
    out.push(quote);
    for byte in text {
        out.extend(std::iter::repeat_n(*byte, if *byte == quote { 2 } else { 1 }));
    }
    out.push(quote);
}
