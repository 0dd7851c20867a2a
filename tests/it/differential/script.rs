//! What a client says, step by step, and up to where it listens before it says more.

use std::fmt;

use crate::harness::frames::{self, Frame, wire};
use crate::harness::{RawClient, Reply};

/// One client, from login to goodbye.
pub(super) struct Script {
    pub(super) name: &'static str,
    pub(super) startup: Vec<(&'static str, &'static str)>,
    pub(super) steps: Vec<Step>,
    /// Whether the neighbour acts between the steps.
    pub(super) neighbour: bool,
    /// Whether the connection is still there at the end.
    pub(super) stays: bool,
}

impl Script {
    /// A script with nothing in it.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, startup: Vec::new(), steps: Vec::new(), neighbour: true, stays: true }
    }

    /// Logs in with this parameter.
    pub(super) fn startup(mut self, name: &'static str, value: &'static str) -> Self {
        self.startup.push((name, value));
        self
    }

    /// Leaves the neighbour out, where its visits would take too long.
    pub(super) fn alone(mut self) -> Self {
        self.neighbour = false;
        self
    }

    /// A simple Query.
    pub(super) fn query(self, sql: &str) -> Self {
        self.ask([frames::query(sql)])
    }

    /// Several simple Queries, one after the other's reply.
    pub(super) fn queries<'a>(self, statements: impl IntoIterator<Item = &'a str>) -> Self {
        statements.into_iter().fold(self, Self::query)
    }

    /// Frames in one write, up to the ReadyForQuery of each Query, Sync and FunctionCall among them.
    pub(super) fn ask(self, frames: impl IntoIterator<Item = Frame>) -> Self {
        let frames: Vec<_> = frames.into_iter().collect();
        let cycles = frames.iter().filter(|frame| matches!(frame.tag, b'Q' | b'S' | b'F')).count();
        self.until(b'Z', cycles, frames)
    }

    /// Frames in one write, up to the `count`th reply with this tag.
    pub(super) fn until(self, tag: u8, count: usize, frames: impl IntoIterator<Item = Frame>) -> Self {
        self.step(Until::Tag(tag, count), frames, None)
    }

    /// Frames in two writes, cut at this byte.
    pub(super) fn cut(self, at: usize, frames: impl IntoIterator<Item = Frame>) -> Self {
        let frames: Vec<_> = frames.into_iter().collect();
        let cycles = frames.iter().filter(|frame| matches!(frame.tag, b'Q' | b'S' | b'F')).count();
        self.step(Until::Tag(b'Z', cycles), frames, Some(at))
    }

    /// Somebody else's statement, on both sides, in the client's schema and with its login.
    pub(super) fn meanwhile(mut self, sql: &'static str) -> Self {
        self.steps.push(Step::Meanwhile(sql));
        self
    }

    /// Frames in one write, after which the server closes the connection.
    pub(super) fn until_closed(mut self, frames: impl IntoIterator<Item = Frame>) -> Self {
        self.stays = false;
        self.step(Until::Closed, frames, None)
    }

    fn step(mut self, until: Until, frames: impl IntoIterator<Item = Frame>, cut: Option<usize>) -> Self {
        self.steps.push(Step::Say(Say { frames: frames.into_iter().collect(), until, cut }));
        self
    }
}

/// What happens next.
pub(super) enum Step {
    /// The client speaks.
    Say(Say),
    /// Somebody else does something.
    Meanwhile(&'static str),
}

/// One write, and what comes of it.
pub(super) struct Say {
    frames: Vec<Frame>,
    until: Until,
    cut: Option<usize>,
}

#[derive(Clone, Copy)]
enum Until {
    Tag(u8, usize),
    Closed,
}

impl Say {
    /// Says it on one side.
    pub(super) async fn play(&self, client: &mut RawClient) -> Vec<Reply> {
        let bytes = wire(&self.frames);
        match self.cut {
            Some(at) => client.send_cut(&bytes, at).await,
            None => client.send_bytes(&bytes).await,
        }
        match self.until {
            Until::Tag(tag, count) => client.until(tag, count).await,
            Until::Closed => client.until_closed().await,
        }
    }

    /// Whether no transaction is open after these replies, so that the server may be lent to the neighbour.
    pub(super) fn ends_transaction(&self, replies: &[Reply]) -> bool {
        replies.last().is_some_and(|last| last.tag == b'Z' && last.body == b"I")
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Say(say) => say.fmt(f),
            Self::Meanwhile(sql) => write!(f, "meanwhile {sql:?}"),
        }
    }
}

impl fmt::Debug for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for frame in &self.frames {
            write!(f, "{frame:?} ")?;
        }
        match self.cut {
            Some(at) => write!(f, "cut at {at}"),
            None => Ok(()),
        }
    }
}
