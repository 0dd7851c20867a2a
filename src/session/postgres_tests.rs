//! PostgreSQL as far as the order of its answers goes: what a session is compared with.

use std::collections::{HashMap, VecDeque};

use crate::protocol::{Backend, Frontend, message};

/// A message of the client and how PostgreSQL takes it.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) enum Ask {
    Query(Vec<Outcome>),
    Call { fails: bool },
    Parse { named: bool, fails: bool },
    Bind { named: bool, fails: bool },
    Describe { what: What, fails: bool, rows: bool },
    Close { what: What },
    Execute(Outcome),
    Sync,
    Flush,
    CopyData { fails: bool },
    CopyDone { fails: bool },
    CopyFail,
}

/// What a Describe or Close names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) enum What {
    UnnamedStatement,
    NamedStatement,
    Portal,
}

/// How a statement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) enum Outcome {
    Rows,
    Nothing,
    Suspended,
    Fails,
    CopyIn,
    CopyOut,
    /// DEALLOCATE ALL; in a simple query only.
    Deallocates,
    /// EXECUTE of the named statement; in a simple query only.
    Executes,
}

/// What a server says: a tag, and the message that it is about.
pub(crate) type Said = VecDeque<(Backend, usize)>;

/// A stranger's unnamed statement.
pub(crate) const STRANGERS: usize = usize::MAX;
/// A query of ours.
pub(crate) const PRELUDE: usize = usize::MAX - 1;
/// What is added to the number of a message whose answer says DEALLOCATE ALL.
pub(crate) const DEALLOCATED: usize = 1 << 32;
/// The name that a client gives.
const NAME: &[u8] = b"s";

/// PostgreSQL, as far as the protocol goes.
pub(crate) struct Server {
    pub(crate) unnamed: Option<usize>,
    pub(crate) named: HashMap<Vec<u8>, usize>,
    /// An error ended a batch: everything up to its Sync is ignored.
    pub(crate) skipping: bool,
    pub(crate) copy: Option<Copying>,
    pub(crate) failed_in_copy: bool,
    /// Said and not read.
    pub(crate) out: Said,
}

/// Who began a COPY, and what its query has still to do.
pub(crate) struct Copying {
    id: usize,
    rest: Option<Vec<Outcome>>,
}

impl Server {
    pub(crate) fn new(unnamed: Option<usize>) -> Self {
        Self { unnamed, named: HashMap::new(), skipping: false, copy: None, failed_in_copy: false, out: Said::new() }
    }

    fn say(&mut self, id: usize, tags: &[Backend]) {
        self.out.extend(tags.iter().map(|tag| (*tag, id)));
    }

    fn fail(&mut self, id: usize) {
        self.say(id, &[Backend::ERROR]);
        self.skipping = true;
    }

    /// Looks at one message; `name` is that of the statement that it is about.
    pub(crate) fn take(&mut self, id: usize, ask: &Ask, name: &[u8]) {
        if self.skipping {
            if matches!(ask, Ask::Sync) {
                self.skipping = false;
                self.say(id, &[Backend::READY_FOR_QUERY]);
            }
            return;
        }
        if let Some(copying) = self.copy.take() {
            return self.during_copy(copying, ask);
        }
        match ask {
            Ask::Query(statements) => {
                self.unnamed = None;
                if statements.is_empty() {
                    self.say(id, &[Backend::EMPTY_QUERY]);
                }
                self.run(id, statements);
            }
            Ask::Call { fails } => {
                self.shows_only_own();
                self.say(id, &[if *fails { Backend::ERROR } else { Backend::FUNCTION_CALL }]);
                self.say(id, &[Backend::READY_FOR_QUERY]);
            }
            Ask::Parse { fails, .. } if name.is_empty() => {
                self.unnamed = (!fails).then_some(id);
                self.say_or_fail(id, *fails, &[Backend::PARSE_COMPLETE]);
            }
            Ask::Parse { fails, .. } => {
                let is_taken = self.named.contains_key(name);
                if !is_taken && !fails {
                    self.named.insert(name.to_vec(), id);
                }
                self.say_or_fail(id, *fails || is_taken, &[Backend::PARSE_COMPLETE]);
            }
            Ask::Bind { fails, .. } => self.of_statement(id, name, *fails, &[Backend::BIND_COMPLETE]),
            Ask::Describe { what, fails, rows } => {
                let rows = if *rows { Backend::ROW_DESCRIPTION } else { Backend::NO_DATA };
                match what {
                    What::Portal => self.say_or_fail(id, *fails, &[rows]),
                    _ => self.of_statement(id, name, *fails, &[Backend::PARAMETER_DESCRIPTION, rows]),
                }
            }
            Ask::Close { what } => {
                match what {
                    What::UnnamedStatement => self.unnamed = None,
                    What::NamedStatement => drop(self.named.remove(name)),
                    What::Portal => {}
                }
                self.say(id, &[Backend::CLOSE_COMPLETE]);
            }
            Ask::Execute(outcome) => self.execute(id, *outcome),
            Ask::Sync => self.say(id, &[Backend::READY_FOR_QUERY]),
            Ask::Flush | Ask::CopyData { .. } | Ask::CopyDone { .. } | Ask::CopyFail => {}
        }
    }

    fn during_copy(&mut self, copying: Copying, ask: &Ask) {
        let id = copying.id;
        match (ask, copying.rest) {
            (Ask::CopyDone { fails: false }, rest) => {
                self.say(id, &[Backend::COMMAND_COMPLETE]);
                if let Some(rest) = rest {
                    self.run(id, &rest);
                }
            }
            (Ask::CopyData { fails: false } | Ask::Sync | Ask::Flush, rest) => self.copy = Some(Copying { id, rest }),
            (_, rest) => {
                self.failed_in_copy = true;
                match rest {
                    Some(_) => self.say(id, &[Backend::ERROR, Backend::READY_FOR_QUERY]),
                    None => self.fail(id),
                }
            }
        }
    }

    fn say_or_fail(&mut self, id: usize, fails: bool, tags: &[Backend]) {
        if fails { self.fail(id) } else { self.say(id, tags) }
    }

    /// An answer that tells which statement it is about.
    fn of_statement(&mut self, id: usize, name: &[u8], fails: bool, tags: &[Backend]) {
        let statement = if name.is_empty() { self.unnamed } else { self.named.get(name).copied() };
        assert_ne!(statement, Some(STRANGERS), "a stranger's statement is not there to be used");
        match statement {
            Some(statement) if !fails => self.say(statement, tags),
            _ => self.fail(id),
        }
    }

    /// The statements of a simple query.
    fn run(&mut self, id: usize, statements: &[Outcome]) {
        for (at, outcome) in statements.iter().enumerate() {
            match outcome {
                Outcome::Rows | Outcome::Suspended => {
                    self.say(id, &[Backend::ROW_DESCRIPTION, Backend::DATA_ROW, Backend::COMMAND_COMPLETE]);
                }
                Outcome::Nothing => self.say(id, &[Backend::COMMAND_COMPLETE]),
                Outcome::CopyOut => self.copy_out(id),
                Outcome::Deallocates => {
                    self.named.clear();
                    self.say(id + DEALLOCATED, &[Backend::COMMAND_COMPLETE]);
                }
                Outcome::Executes if self.shows_only_own() && self.named.contains_key(NAME) => {
                    self.say(self.named[NAME], &[Backend::ROW_DESCRIPTION, Backend::COMMAND_COMPLETE]);
                }
                Outcome::Fails | Outcome::Executes => {
                    self.say(id, &[Backend::ERROR]);
                    break;
                }
                Outcome::CopyIn => {
                    self.say(id, &[Backend::COPY_IN]);
                    self.copy = Some(Copying { id, rest: Some(statements[at + 1..].to_vec()) });
                    return;
                }
            }
        }
        self.say(id, &[Backend::READY_FOR_QUERY]);
    }

    /// SQL could see every name.
    fn shows_only_own(&self) -> bool {
        let has_strangers = self.named.values().any(|statement| *statement == STRANGERS);
        assert!(!has_strangers, "a stranger's statement is not there to be seen");
        true
    }

    fn execute(&mut self, id: usize, outcome: Outcome) {
        match outcome {
            Outcome::Rows => self.say(id, &[Backend::DATA_ROW, Backend::COMMAND_COMPLETE]),
            Outcome::Nothing | Outcome::Deallocates | Outcome::Executes => self.say(id, &[Backend::EMPTY_QUERY]),
            Outcome::Suspended => self.say(id, &[Backend::DATA_ROW, Backend::PORTAL_SUSPENDED]),
            Outcome::Fails => self.fail(id),
            Outcome::CopyOut => self.copy_out(id),
            Outcome::CopyIn => {
                self.say(id, &[Backend::COPY_IN]);
                self.copy = Some(Copying { id, rest: None });
            }
        }
    }

    fn copy_out(&mut self, id: usize) {
        self.say(id, &[Backend::COPY_OUT, Backend::COPY_DATA, Backend::COPY_DONE, Backend::COMMAND_COMPLETE]);
    }
}

impl Ask {
    /// Whether it may come while a server takes COPY data.
    pub(crate) fn belongs_to_copy(&self) -> bool {
        matches!(self, Self::CopyData { .. } | Self::CopyDone { .. } | Self::CopyFail | Self::Flush | Self::Sync)
    }

    /// The name of the statement that it is about.
    pub(crate) fn name(&self) -> &'static [u8] {
        match self {
            Self::Parse { named: true, .. } | Self::Bind { named: true, .. } => NAME,
            Self::Describe { what: What::NamedStatement, .. } | Self::Close { what: What::NamedStatement } => NAME,
            _ => b"",
        }
    }

    /// The frame of it, which `id` can be read out of if it is a Parse.
    pub(crate) fn frame(&self, id: usize) -> Vec<u8> {
        let name = |named: &bool| if *named { "s" } else { "" };
        let what = |what: &What| match what {
            What::UnnamedStatement => "S\0",
            What::NamedStatement => "Ss\0",
            What::Portal => "P\0",
        };
        let (tag, body) = match self {
            Self::Query(outcomes) => {
                let text = |outcome: &Outcome| match outcome {
                    Outcome::Deallocates => "; deallocate all",
                    Outcome::Executes => "; execute s",
                    _ => "",
                };
                (Frontend::QUERY, format!("select {id}{}\0", outcomes.iter().map(text).collect::<String>()))
            }
            Self::Call { .. } => (Frontend::FUNCTION_CALL, "\0".repeat(12)),
            Self::Parse { named, .. } => (Frontend::PARSE, format!("{}\0{id}\0\0\0", name(named))),
            Self::Bind { named, .. } => (Frontend::BIND, format!("\0{}\0\0\0\0\0\0\0", name(named))),
            Self::Describe { what: named, .. } => (Frontend::DESCRIBE, what(named).to_owned()),
            Self::Close { what: named } => (Frontend::CLOSE, what(named).to_owned()),
            Self::Execute(_) => (Frontend::EXECUTE, "\0".repeat(5)),
            Self::Sync => (Frontend::SYNC, String::new()),
            Self::Flush => (Frontend::FLUSH, String::new()),
            Self::CopyData { .. } => (Frontend::COPY_DATA, "1\n".to_owned()),
            Self::CopyDone { .. } => (Frontend::COPY_DONE, String::new()),
            Self::CopyFail => (Frontend::COPY_FAIL, "\0".to_owned()),
        };
        let mut out = Vec::new();
        message::frame(&mut out, tag.0, |out| out.extend_from_slice(body.as_bytes()));
        out
    }
}
