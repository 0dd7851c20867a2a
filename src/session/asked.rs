//! What was asked of the server and is not answered yet, in order.

use std::collections::VecDeque;

use super::prepared::Id;
use super::process::SignalNumber;
use super::statements::Serial;

/// One message that the server will answer, or that decides how others are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A simple query of ours ahead of the client's bytes; its whole answer is ours.
    Prelude,
    /// Parse of the unnamed statement; `ours` when the client never sent it.
    Parse {
        /// Its answer is not the client's.
        ours: bool,
    },
    /// Parse of a statement that has a name: a number where it is one of ours.
    Prepare {
        /// The number in it; `None` where it is the client's own.
        id: Option<Id>,
        /// For whom.
        whose: Whose,
    },
    /// Bind; of the client's statement of that number, if it is known.
    Bind(Option<Serial>),
    /// Bind or Describe of a statement whose columns are others now: fails.
    Stale {
        /// The client's statement.
        serial: Serial,
        /// Describe: PostgreSQL tells of the parameters first, and then finds that the columns are others.
        describes: bool,
    },
    /// Describe; as Bind.
    Describe(Option<Serial>),
    /// Describe of ours.
    Description {
        /// The number in its name on the server, if it is one of ours.
        id: Option<Id>,
        /// The client's statement.
        serial: Serial,
    },
    /// Close.
    Close(Closing),
    /// Execute.
    Execute {
        /// It may free the names of all prepared statements.
        deallocates: bool,
    },
    /// Execute of what may send this signal.
    Signal(SignalNumber),
    /// A simple query: ends with ReadyForQuery.
    Query {
        /// It may free the names of all prepared statements.
        deallocates: bool,
    },
    /// A fastpath call: ends with ReadyForQuery.
    Call,
    /// The end of a batch: answered by ReadyForQuery.
    Sync,
    /// CopyDone or CopyFail: never answered, but Syncs behind it count.
    CopyEnd,
}

/// Whom a Parse is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The client sent it, and has the statement from then on.
    Clients,
    /// The client sent it, and only the server knows about it.
    Untold,
    /// The client sent it for a name that is taken, by this statement of its own: fails.
    Again(Serial),
    /// The client never sent it: this statement of the client's is prepared again.
    Ours(Serial),
}

/// What a Close closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The unnamed statement.
    Unnamed,
    /// A statement that the client has given a name to.
    Named,
    /// A portal, or nothing.
    Other,
    /// Something that the client never asked to be closed: a statement that the server knows by this number, or whatever
    /// has its name.
    Ours(Option<Id>),
}

impl Asked {
    /// Whether ReadyForQuery ends it.
    #[inline]
    pub fn ends_with_ready(self) -> bool {
        matches!(self, Self::Query { .. } | Self::Call | Self::Sync | Self::Prelude)
    }

    /// Whether it is a message of ours.
    pub fn is_ours(self) -> bool {
        match self {
            Self::Prelude | Self::Parse { ours: true } | Self::Description { .. } | Self::Close(Closing::Ours(_)) => {
                true
            }
            Self::Prepare { whose, .. } => matches!(whose, Whose::Ours(_)),
            _ => false,
        }
    }

    /// Whether it changes which statements the client has prepared, if it works.
    pub fn changes_statements(self) -> bool {
        match self {
            Self::Prepare { whose, .. } => whose == Whose::Clients,
            Self::Close(closing) => closing == Closing::Named,
            Self::Execute { deallocates } | Self::Query { deallocates } => deallocates,
            _ => false,
        }
    }
}

/// The queue of [`Asked`]. What every frame asks of it is asked with `matches!`: to compare two of them costs a call.
#[derive(Debug, Default)]
pub struct Queue(VecDeque<Asked>);

impl Queue {
    /// Whether every answer has come.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the server answers next.
    #[inline]
    pub fn front(&self) -> Option<Asked> {
        self.0.front().copied()
    }

    /// Whether what the next ReadyForQuery ends is nothing of the client's.
    pub fn is_next_ready_ours(&self) -> bool {
        let next = self.0.iter().find(|asked| asked.ends_with_ready());
        matches!(next, Some(Asked::Prelude))
    }

    /// Something was asked.
    #[inline]
    pub fn push(&mut self, asked: Asked) {
        self.0.push_back(asked);
    }

    /// The end of COPY data was sent. Without anything before it the server ignores it.
    pub fn push_copy_end(&mut self) {
        if !self.0.is_empty() {
            self.0.push_back(Asked::CopyEnd);
        }
    }

    /// The front one was answered.
    #[inline]
    pub fn pop(&mut self) {
        self.0.pop_front();
        self.drop_copy_ends();
    }

    /// A COPY of the simple query in front has taken its data: the end of the data, if it was sent already, is answered.
    pub fn copy_in_ended(&mut self) {
        if let Some(end) = self.0.iter().position(|asked| *asked == Asked::CopyEnd) {
            self.0.remove(end);
        }
    }

    /// Whether the answer ends with ReadyForQuery without anything more from the client.
    pub fn ends_by_itself(&self) -> bool {
        self.0.iter().rev().find(|asked| !matches!(asked, Asked::CopyEnd)).is_some_and(|asked| asked.ends_with_ready())
    }

    /// Whether a batch, or a query, is asked that the client has ended: what comes behind it is a new one.
    #[inline]
    pub fn has_ended_one(&self) -> bool {
        self.0.iter().any(|asked| asked.ends_with_ready() && !matches!(asked, Asked::Prelude))
    }

    /// Whether something of ours about a named statement is asked and not answered.
    pub fn asks_about_names(&self) -> bool {
        self.0.iter().any(|asked| match asked {
            Asked::Prepare { whose, .. } => matches!(whose, Whose::Ours(_)),
            Asked::Close(Closing::Ours(id)) => id.is_some(),
            Asked::Description { .. } => true,
            _ => false,
        })
    }

    /// Whether a description of this statement is asked and not answered.
    pub fn asks_to_describe(&self, wanted: Serial) -> bool {
        self.0.iter().any(|asked| matches!(asked, Asked::Description { serial, .. } if *serial == wanted))
    }

    /// Whether the client has parsed its unnamed statement in the batch at hand.
    pub fn has_parsed_unnamed(&self) -> bool {
        let batch = self.0.iter().rev().take_while(|asked| !asked.ends_with_ready());
        batch.into_iter().any(|asked| matches!(asked, Asked::Parse { ours: false }))
    }

    /// Our own queries go ahead of everything.
    pub fn put_prelude_first(&mut self, cycles: u32) {
        (0..cycles).for_each(|_| self.0.push_front(Asked::Prelude));
    }

    /// ReadyForQuery came: everything up to what it ends is answered. `None` if nothing was to be ended.
    #[inline]
    pub fn ready(&mut self) -> Option<Asked> {
        while let Some(asked) = self.0.pop_front() {
            if asked.ends_with_ready() {
                self.drop_copy_ends();
                return Some(asked);
            }
        }
        None
    }

    /// An error ended the batch at hand: everything before its Sync is skipped and handed to `skipped`. Whether a Sync
    /// is among what was asked.
    pub fn skip_to_sync(&mut self, mut skipped: impl FnMut(Asked)) -> bool {
        while let Some(asked) = self.front() {
            if asked == Asked::Sync {
                return true;
            }
            skipped(asked);
            self.0.pop_front();
        }
        false
    }

    /// The server has begun to take COPY data: it ignores the Syncs that come before the data's end. Whether that end
    /// was already sent, and whether such a Sync was.
    pub fn copy_in_began(&mut self) -> (bool, bool) {
        let asked = self.0.len();
        let end = self.0.iter().position(|asked| *asked == Asked::CopyEnd);
        let before = end.unwrap_or(self.0.len());
        let mut at = 0;
        self.0.retain(|asked| {
            at += 1;
            at > before || *asked != Asked::Sync
        });
        (end.is_some(), self.0.len() < asked)
    }

    /// What was asked, front first, taken out.
    pub fn drain(&mut self) -> impl Iterator<Item = Asked> + '_ {
        self.0.drain(..)
    }

    fn drop_copy_ends(&mut self) {
        while matches!(self.0.front(), Some(Asked::CopyEnd)) {
            self.0.pop_front();
        }
    }
}
