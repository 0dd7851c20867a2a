//! What the statements of a text may leave behind, told by their words in order.
//!
//! Knows no letters: the lexer hands it words that have been looked up, and says where literals and marks stand. Most
//! effects hang on one word; the others on a few words of one statement, which is why it remembers so little of each.

use super::effects::{Effect, Effects};
use super::open::Open;
use super::words::{Key, Word};

/// What was found, and what is known of the statement at hand.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) effects: Effects,
    statement: Statement,
}

/// What is known of one statement.
#[derive(Debug)]
struct Statement {
    first: Option<Key>,
    started: bool,
    previous: Option<Key>,
    open: Open,
    temporary: bool,
    on_commit: bool,
    on_commit_drop: bool,
    updates: bool,
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
        updates: false,
    };
}

impl Leaving {
    /// The beginning of a text.
    pub(super) const NOTHING: Self = Self { effects: Effects::NONE, statement: Statement::NEW };

    /// A word, quoted or not.
    #[inline]
    pub(super) fn word(&mut self, word: Word) {
        match word {
            Word::Plain => self.plain_word(),
            Word::Leaves(effect) => {
                self.effects.insert(effect);
                if effect == Effect::Settings {
                    // A function that sets: what, and whether it is a RESET, may be in a parameter.
                    self.effects.extend(Effects::of(&[Effect::Placeholder, Effect::Reading, Effect::Reset]));
                }
                let defines = matches!(self.statement.first, Some(Key::Create | Key::Alter));
                if defines && !matches!(effect, Effect::Temporary | Effect::Release | Effect::Process | Effect::Notify)
                {
                    self.effects.insert(Effect::Code);
                }
                self.settle();
            }
            Word::Key(key) => self.key(key),
        }
    }

    /// A word that means nothing.
    #[inline]
    pub(super) fn plain_word(&mut self) {
        if self.statement.open == Open::Nothing {
            self.statement.started = true;
            self.statement.previous = None;
        } else {
            self.settle();
        }
    }

    /// A literal is about to begin.
    pub(super) fn literal_begins(&mut self) {
        if self.statement.open == Open::PrepareTransaction {
            self.statement.open = Open::Nothing;
        }
    }

    /// A literal: what SET and PREPARE left open is decided.
    pub(super) fn literal(&mut self) {
        self.settle();
    }

    /// Something that is no word, and decides nothing.
    pub(super) fn other(&mut self) {
        self.statement.previous = None;
    }

    /// A dot: what stands before it may be a schema.
    pub(super) fn dot(&mut self) {
        if self.statement.previous == Some(Key::Public) {
            self.effects.insert(Effect::Public);
        }
        self.mark(b'.');
    }

    /// A character that is no part of a word, a literal or a comment.
    pub(super) fn mark(&mut self, byte: u8) {
        self.statement.previous = None;
        match self.statement.open {
            Open::SetLocal | Open::SetSession | Open::Scope if byte == b'.' => {
                // A setting of an extension stays known, if only as an empty one.
                self.effects.extend(Effects::of(&[Effect::Settings, Effect::Placeholder]));
                self.statement.open = Open::Nothing;
            }
            Open::Scope => self.statement.open = Open::Nothing,
            Open::PrepareTransaction => self.settle(),
            _ => {}
        }
    }

    /// The statement is over.
    pub(super) fn end(&mut self) {
        if matches!(self.statement.open, Open::PrepareTransaction | Open::Deallocate) {
            self.settle();
        }
        if self.statement.temporary {
            self.effects.insert(if self.statement.on_commit_drop { Effect::Local } else { Effect::Temporary });
        }
        self.statement = Statement::NEW;
    }

    fn settle(&mut self) {
        self.go(self.statement.open.settled());
        self.statement.started = true;
        self.statement.previous = None;
    }

    #[inline]
    fn go(&mut self, (open, certain): (Open, Option<Effect>)) {
        self.statement.open = open;
        if let Some(effect) = certain {
            self.effects.insert(effect);
        }
    }

    // Few words are keywords: inlined into the lexer's loop, this costs all the others a tenth of their time.
    #[inline(never)]
    fn key(&mut self, key: Key) {
        if key == Key::Reading && matches!(self.statement.open, Open::Set | Open::SetSession | Open::SetLocal) {
            self.effects.insert(Effect::Reading);
        }
        if let Some(next) = self.statement.open.keyword(key) {
            return self.go(next);
        }
        if self.statement.open != Open::Nothing {
            self.settle();
        }
        if !self.statement.started {
            self.statement.started = true;
            self.statement.first = Some(key);
            match key {
                Key::Set => self.statement.open = Open::Set,
                Key::Prepare => self.statement.open = Open::Prepare,
                Key::Deallocate => {
                    self.effects.insert(Effect::Release);
                    self.statement.open = Open::Deallocate;
                }
                Key::Execute => self.effects.insert(Effect::Prepare),
                Key::Reset => self.effects.extend(Effects::of(&[Effect::Settings, Effect::Reset])),
                Key::Discard => {
                    self.effects.extend(Effects::of(&[Effect::Settings, Effect::Reset]));
                    self.statement.open = Open::Discard;
                }
                Key::Drop | Key::Release => self.effects.insert(Effect::Release),
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
            // SET x TO DEFAULT, SET TIME ZONE LOCAL.
            Key::Default | Key::Local if statement.first == Some(Key::Set) => self.effects.insert(Effect::Reset),
            Key::Update => statement.updates = true,
            // A rule makes it a set_config(), with a name that may be in a parameter and a value that may be NULL.
            Key::Settings if statement.updates => {
                self.effects.extend(Effects::of(&[Effect::Settings, Effect::Placeholder, Effect::Reset]));
            }
            Key::Hold if statement.first == Some(Key::Declare) => self.effects.insert(Effect::HeldCursor),
            Key::Commit => statement.on_commit = previous == Some(Key::On),
            Key::Drop => statement.on_commit_drop |= statement.on_commit && previous == Some(Key::Commit),
            Key::Execute if statement.first == Some(Key::Explain) => self.effects.insert(Effect::Prepare),
            // CREATE TABLE ... AS EXECUTE, not CREATE TRIGGER ... EXECUTE FUNCTION.
            Key::Execute if statement.first == Some(Key::Create) && previous == Some(Key::As) => {
                self.effects.insert(Effect::Prepare);
            }
            // What SET LOCAL SESSION AUTHORIZATION gives back, it gives back without the role.
            Key::Authorization if statement.first == Some(Key::Set) => self.effects.insert(Effect::Role),
            Key::CodeObject if matches!(statement.first, Some(Key::Create | Key::Alter | Key::Drop)) => {
                self.effects.insert(Effect::Code);
            }
            _ => {}
        }
        self.statement.previous = Some(key);
    }
}
