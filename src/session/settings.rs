//! Lone statements about settings, whose effect is known from their text: it goes with the session from server to server.

use std::sync::Arc;

use super::frames::Verdict;
use super::hearing::begins_something;
use super::{Asked, Pin, PinReason, Session};
use crate::protocol::Frontend;
use crate::sql::setting::{Assignment, Discard, Setting};
use crate::sql::statement::Statement;
use crate::sql::{Effect, Effects, carried};

/// What the client has changed with a statement of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The search_path, to what was written.
    SearchPath(String),
    /// The role, to what was written.
    Role(String),
    /// The role is the one again that the session began with.
    ResetRole,
    /// Other settings, to what was written.
    Settings(Vec<Assignment>),
    /// One of these is again what it was when the session began.
    Reset(String),
    /// Every setting is, but for the role.
    ResetAll,
    /// The session is as it was when it began.
    DiscardAll,
    /// Nothing that is carried.
    Nothing,
}

impl Change {
    /// What a whole text changes, if that is certain.
    fn read(text: &[u8], began_with_settings: bool) -> Option<Self> {
        let path_or_role = match Statement::read(text) {
            Some(Statement::SetSearchPath(path)) => Some(Self::SearchPath(path)),
            Some(Statement::SetRole(role)) => Some(Self::Role(role)),
            Some(Statement::ResetRole) => Some(Self::ResetRole),
            _ => None,
        };
        path_or_role.or_else(|| match Setting::read(text)? {
            Setting::Set(made) => made.iter().all(says_everything).then_some(Self::Settings(made)),
            // Where the session did not begin with the server's own, a RESET there is another one.
            _ if began_with_settings => None,
            Setting::Reset(name) => is_known(&name).then_some(Self::Reset(name)),
            Setting::ResetAll => Some(Self::ResetAll),
            Setting::Discard(Discard::All) => Some(Self::DiscardAll),
            Setting::Discard(_) => Some(Self::Nothing),
            Setting::Local(_) | Setting::Transaction => None,
        })
    }

    /// What the queue of questions has to know of it.
    fn effects(&self) -> Effects {
        match self {
            Self::DiscardAll => Effects::of(&[Effect::Deallocate]),
            _ => Effects::NONE,
        }
    }

    /// Whether a literal in a statement may mean something else when it is prepared behind it.
    fn decides_on_literals(&self) -> bool {
        match self {
            Self::Settings(made) => made.iter().any(|made| carried::decides_on_literals(&made.name)),
            Self::Reset(name) => carried::decides_on_literals(name),
            Self::ResetAll => true,
            Self::SearchPath(_) | Self::Role(_) | Self::ResetRole | Self::DiscardAll | Self::Nothing => false,
        }
    }

    /// Whether a server that others use goes back to another search_path than the session, to another application_name, and
    /// to other settings.
    fn leads_astray(&self) -> [bool; 3] {
        match self {
            Self::ResetAll | Self::DiscardAll => [true; 3],
            Self::Reset(name) => [name == "search_path", name == "application_name", false],
            _ => [false; 3],
        }
    }
}

/// Whether the text alone says what the setting will be, on any server.
fn says_everything(made: &Assignment) -> bool {
    // One keeps parts of what it was; the other is carried with some values only.
    let depends = ["datestyle", "client_min_messages"].contains(&&*made.name);
    !depends && carried::can_be_carried(&made.name, &made.value)
}

fn is_known(name: &str) -> bool {
    ["search_path", "application_name"].contains(&name) || carried::is_name(name)
}

/// Whether a text is a SET LOCAL of nothing that a name or a literal depends on.
pub(super) fn is_harmless_local(text: &[u8]) -> bool {
    match Setting::read(text) {
        Some(Setting::Local(name)) => carried::is_free_of_literals(&name),
        _ => false,
    }
}

/// What may set more than the words of its text show; DISCARD ALL says nothing of settings.
const SETS_UNSEEN: Effects = Effects::of(&[Effect::Deallocate, Effect::Procedural, Effect::Code, Effect::Unreadable]);

/// Whether a text about settings changes none that a literal depends on.
pub(super) fn leaves_literals_as_they_are(text: &[u8], effects: Effects) -> bool {
    match Setting::read(text) {
        Some(Setting::Set(made)) => made.iter().all(|made| carried::is_free_of_literals(&made.name)),
        Some(Setting::Reset(name)) => carried::is_free_of_literals(&name),
        Some(Setting::Discard(discard)) => discard != Discard::All,
        Some(Setting::ResetAll | Setting::Local(_) | Setting::Transaction) => false,
        None => effects.is_disjoint(SETS_UNSEEN) && carried::sets_nothing_for_literals(text),
    }
}

impl Session {
    /// The queries that a shared server needs behind a RESET of search_path, behind one of application_name, and, where the
    /// session began with settings, behind one of all.
    pub fn set_ways_home(&mut self, queries: [Arc<[u8]>; 3]) {
        self.acting.ways_home = queries;
    }

    /// The session began with settings of its own: only a server that began with them too knows what a RESET means.
    pub fn begins_with_settings(&mut self) {
        self.acting.began_with_settings = true;
    }

    /// What the client has just changed with a statement of its own, and what is to be carried from server to server. To be
    /// asked for at each ReadyForQuery.
    pub fn take_change(&mut self) -> Option<Change> {
        self.acting.made.take()
    }

    /// Acts on a lone statement about settings between two others. The server is asked nothing about it afterwards.
    pub(super) fn act_on_setting(&mut self, text: &[u8]) -> Option<Verdict> {
        let change = match self.pin() {
            None => Change::read(text, self.acting.began_with_settings)?,
            // Its server began with what its startup message said, and knows by itself what a RESET means.
            Some(PinReason::StartupSettings) => return None,
            // A server that the session keeps keeps its settings by itself.
            Some(_) => match Change::read(text, false)? {
                discard @ Change::DiscardAll if self.pin.is_discarded() => {
                    // What it had as a shared one it is given back behind it.
                    self.leaves(Effects::of(&[Effect::Reset]));
                    let verdict = self.ask_query(discard.effects());
                    self.acting.leads_astray = [false; 3];
                    self.acting.asked = Some(discard);
                    return Some(verdict);
                }
                _ => return None,
            },
        };
        let is_back_already = matches!(change, Change::Reset(_) | Change::ResetAll) && self.has_first_settings();
        if change.decides_on_literals() && !self.statements.is_empty() && !is_back_already {
            // They are prepared under what was set before, and never again.
            return None;
        }
        let verdict = self.ask_query(change.effects());
        let way_home = self.needs_way_home(&change);
        self.acting.asked = Some(change);
        Some(if way_home { Verdict::ForwardWithWayHome } else { verdict })
    }

    /// Asks for what a shared server needs behind this, if it needs anything.
    fn needs_way_home(&mut self, change: &Change) -> bool {
        let mut astray = change.leads_astray();
        astray.iter_mut().zip(&self.acting.ways_home).for_each(|(astray, way)| *astray &= !way.is_empty());
        self.acting.leads_astray = astray;
        astray.into_iter().filter(|astray| *astray).for_each(|_| self.queue.push(Asked::Prelude));
        astray.contains(&true)
    }

    /// Whether a frame that would begin something new waits for the end of a RESET: a shared server may then be where that has led
    /// it, or where what went behind it has, though it failed.
    #[inline]
    pub(super) fn awaits_reset(&self, tag: Frontend) -> bool {
        let is_to_be_dressed = self.cycle_effects.contains(Effect::Reset) && self.queue.has_ended_one();
        (self.acting.may_be_astray() || (is_to_be_dressed && self.ends_by_itself())) && begins_something(tag)
    }

    /// Appends what goes out behind the frame with [`Verdict::ForwardWithWayHome`].
    pub fn way_home(&self, out: &mut Vec<u8>) {
        let ways = self.acting.ways_home.iter().zip(self.acting.leads_astray);
        ways.filter(|(_, astray)| *astray).for_each(|(way, _)| out.extend_from_slice(way));
    }

    /// DISCARD ALL has thrown away what the session had left on its server, named statements too. Whether it kept the server
    /// for that.
    pub fn everything_was_discarded(&mut self) -> bool {
        self.effects = Effects::NONE;
        // A server that is kept all the same is given back what a shared one has.
        self.cycle_effects.keep(Effect::Reset);
        self.lasting_effects.keep(Effect::Unreadable);
        let was_kept = self.pin.is_discarded();
        if was_kept {
            self.pin = Pin::default();
        }
        if self.lasting_effects.contains(Effect::Unreadable) {
            self.pin_for(PinReason::Statement(Effect::Unreadable));
        }
        was_kept
    }
}
