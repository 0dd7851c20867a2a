//! Reads a text, whole or in pieces, for what it may leave behind.
//!
//! Two parts that know nothing of each other's work: the `lexer` knows letters and no meaning, `leaving` the meaning of
//! words and no letter. This is where they meet, and all that the rest of the crate sees of them.

use super::effects::{Effect, Effects};
use super::leaving::Leaving;
use super::lexer::Lexer;

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

/// Collects the effects of one text that arrives in pieces.
#[derive(Debug)]
pub struct Scanner {
    lexer: Lexer,
    leaving: Leaving,
}

impl Scanner {
    /// Begins a text that the server will read with this quoting.
    pub fn new(quoting: Quoting) -> Self {
        Self { lexer: Lexer::new(quoting), leaving: Leaving::NOTHING }
    }

    /// Takes the next piece of the text.
    pub fn feed(&mut self, piece: &[u8]) {
        self.lexer.feed(piece, &mut self.leaving);
    }

    /// Ends the text and says what it may leave behind.
    pub fn finish(mut self) -> Effects {
        self.feed(b" ;");
        let mut effects = self.leaving.effects;
        if effects.contains(Effect::Settings) {
            effects.insert(Effect::Meaning);
        }
        effects
    }
}
