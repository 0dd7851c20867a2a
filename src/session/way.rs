//! Makes way for what may see the names of a server's prepared statements: none of a stranger's may be there, and all of the
//! client's own.
//!
//! A Close of every statement with a name of ours stands before it, in its own batch (docs/adr/0009): if it is looked at, they
//! are gone.

use super::Session;
use super::asked::{Asked, Closing};
use super::frames::Verdict;
use super::messages::{close_statement, describe_statement, put_parse};
use super::prepared::{self, Description, Prepared};
use super::statements::{Own, Serial, Statement};
use crate::protocol::tag::TxStatus;
use crate::sql::{Effect, Effects};

/// What may see the names of a server's statements, or use them, and which no text may show.
const SEES_NAMES: Effects = Effects::of(&[
    Effect::Prepare,
    Effect::Procedural,
    Effect::Unreadable,
    Effect::Reading,
    Effect::Code,
    Effect::Deallocate,
]);

/// What for the client's own statements have to be there by their names.
const NEEDS_OWN_NAMES: Effects = Effects::of(&[Effect::Prepare, Effect::Procedural, Effect::Unreadable]);

/// What a statement that is prepared behind it may mean something else for.
const CHANGES_MEANING: Effects = Effects::of(&[Effect::Meaning, Effect::Reading, Effect::Local]);

/// What something goes ahead of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A simple query.
    OfQuery,
    /// A message of a batch.
    InBatch,
}

/// A statement that the server is to be given under the client's own name.
#[derive(Debug)]
pub struct Takeover {
    /// Which one.
    pub serial: Serial,
    /// A Parse and a Describe of it.
    pub messages: Vec<u8>,
}

impl Session {
    /// Code of the database may have changed since the lease began: any text may call what sees the names of statements.
    pub fn code_has_changed(&mut self) {
        self.suspicion.insert(Effect::Code);
    }

    /// Makes way for a text with such effects: where it may see the names of statements, none is there but the client's own, and
    /// all of them are. `None` if nothing has to go ahead for it.
    #[inline]
    pub(super) fn clear_way(
        &mut self,
        mut effects: Effects,
        server: Option<&mut Prepared>,
        ahead: Ahead,
    ) -> Option<Verdict> {
        effects.extend(self.lasting_effects);
        effects.extend(self.suspicion);
        if effects.is_empty() { None } else { self.clear_way_for(effects, server, ahead) }
    }

    fn clear_way_for(&mut self, effects: Effects, server: Option<&mut Prepared>, ahead: Ahead) -> Option<Verdict> {
        let mut sees_names = effects;
        if ahead == Ahead::OfQuery {
            // Whatever comes behind it waits for its answer.
            sees_names.remove(Effect::Deallocate);
        }
        let needs_own = !effects.is_disjoint(NEEDS_OWN_NAMES) || !effects.is_disjoint(CHANGES_MEANING);
        let keeps_own = needs_own && (!self.statements.is_empty() || self.statements.are_changing());
        if (keeps_own || effects.contains(Effect::Deallocate)) && self.must_wait() {
            return Some(Verdict::AwaitAnswers);
        }
        if sees_names.is_disjoint(SEES_NAMES) && !keeps_own {
            return None;
        }
        if keeps_own {
            self.pin_for_names();
            if !effects.is_disjoint(NEEDS_OWN_NAMES) {
                // SQL may execute any of them, and no text shows which.
                let theirs = self.statements.effects();
                self.leaves(theirs);
            }
            if effects.contains(Effect::Meaning) {
                self.literals_may_change();
            }
        }
        let Some(server) = server else { return Some(self.block_for(ahead)) };
        if !server.is_empty() && self.queue.has_ended_one() && self.queue.asks_about_names() {
            // They may be closed already.
            return Some(Verdict::AwaitAnswers);
        }
        // In the middle of a batch, or of a transaction that has failed, nothing can be prepared that may fail.
        let has_failed = self.status == TxStatus::Failed && self.queue.is_empty();
        let may_prepare = !self.batch_is_open && !has_failed && !self.doubtful;
        if keeps_own && may_prepare && self.statements.are_elsewhere(self.lease) {
            return Some(if self.queue.is_empty() { Verdict::TakeOver } else { Verdict::AwaitAnswers });
        }
        if keeps_own && self.batch_is_open {
            self.prepare_batch_again(server);
        }
        if keeps_own && !effects.is_disjoint(CHANGES_MEANING) {
            self.statements.lose_elsewhere(self.lease);
        }
        match self.close_ours(server) {
            Verdict::Forward => None,
            verdict => Some(verdict),
        }
    }

    /// The same for a text that nobody has read yet.
    pub(super) fn clear_way_for_anything(&mut self, server: Option<&mut Prepared>, ahead: Ahead) -> Option<Verdict> {
        self.clear_way(Effects::of(&[Effect::Unreadable]), server, ahead)
    }

    /// The statements that [`Verdict::TakeOver`] is about: the server is to be given them under the client's own names, as far as
    /// they can be prepared, before the frame is shown again.
    pub fn to_take_over(&self) -> Vec<Takeover> {
        let elsewhere = self.statements.iter().filter(|(_, statement)| *statement.own(self.lease) == Own::Unknown);
        elsewhere
            .map(|(name, statement)| {
                let mut messages = Vec::new();
                put_parse(&mut messages, |out| out.extend_from_slice(name), statement);
                describe_statement(&mut messages, |out| out.extend_from_slice(name));
                Takeover { serial: statement.serial, messages }
            })
            .collect()
    }

    /// The server was given these, and has told of them; of none that could not be prepared.
    pub fn has_taken_over(&mut self, told: Vec<(Serial, Option<Description>)>, server: &mut Prepared) {
        server.belong_to_client();
        server.client_names_one();
        for (serial, description) in told {
            let own = description.map_or(Own::Missing, |description| Own::Again(Some(description)));
            self.statements.set_own(serial, self.lease, &own);
        }
    }

    /// From here on the server has the client's own names: every statement with a name of ours is closed, in the batch of what
    /// follows.
    pub(super) fn close_ours(&mut self, server: &mut Prepared) -> Verdict {
        let Self { splice, queue, batch, .. } = self;
        server.leave_to_client(*batch, |id| {
            close_statement(splice, |out| prepared::put_name(out, id));
            queue.push(Asked::Close(Closing::Ours(Some(id))));
        });
        if splice.is_empty() { Verdict::Forward } else { Verdict::Splice(0) }
    }

    /// What the client has prepared in the batch at hand is prepared again under its own name: if that could fail, the batch would
    /// have failed already. The client may have been told of it, behind a Flush.
    fn prepare_batch_again(&mut self, server: &mut Prepared) {
        let is_of_batch = |statement: &Statement| statement.serial > self.last_before_batch;
        let of_batch = self
            .statements
            .iter()
            .filter(|(_, statement)| is_of_batch(statement) && *statement.own(self.lease) == Own::Unknown);
        let of_batch: Vec<_> = of_batch.map(|(name, statement)| (name.to_vec(), statement.clone())).collect();
        of_batch.iter().for_each(|(name, statement)| self.prepare_own(server, name, statement));
    }

    /// The same, for what is about to be asked.
    fn block_for(&mut self, ahead: Ahead) -> Verdict {
        self.block(match ahead {
            Ahead::OfQuery => Asked::Query { deallocates: false },
            Ahead::InBatch => Asked::Bind(None),
        })
    }
}
