//! What the texts of a client may leave behind: flagged when they are read, and again when they are bound.

use super::{Session, settings};
use crate::sql::{Effect, Effects, carried, scan, setting};

impl Session {
    /// A text with these effects was read.
    #[inline]
    pub(super) fn has_read(&mut self, effects: Effects) {
        if !effects.is_empty() {
            self.leaves(effects);
        }
    }

    /// What a text may leave behind.
    #[inline]
    pub(super) fn effects_of(&self, text: &[u8]) -> Effects {
        let mut effects = scan(text, self.quoting);
        if effects.is_empty() {
            return effects;
        }
        if effects.contains(Effect::Placeholder) && carried::names_what_it_sets(text) {
            effects.remove(Effect::Placeholder);
            effects.remove(Effect::Reading);
        }
        const HIDES_TEXTS: Effects = Effects::of(&[Effect::Procedural, Effect::Code]);
        if !effects.is_disjoint(HIDES_TEXTS) && carried::may_set_for_literals(text) {
            effects.insert(Effect::Meaning);
        } else if effects.contains(Effect::Meaning) && settings::leaves_literals_as_they_are(text, effects) {
            effects.remove(Effect::Meaning);
        }
        if effects.contains(Effect::Reading) && setting::leaves_texts_as_they_are(text) {
            effects.remove(Effect::Reading);
        }
        if effects.contains(Effect::Local) && settings::is_harmless_local(text) {
            effects.remove(Effect::Local);
        }
        effects
    }

    /// A statement with such effects is bound.
    #[inline]
    pub(super) fn executes(&mut self, mut effects: Effects) {
        // It was told when the text was read.
        effects.remove(Effect::Public);
        effects.remove(Effect::Process);
        if !effects.is_empty() {
            self.bound_effects.extend(effects);
            self.leaves(effects);
        }
    }

    /// Notes what a text may leave behind.
    pub(super) fn leaves(&mut self, mut effects: Effects) {
        self.notifies |= effects.contains(Effect::Notify);
        effects.remove(Effect::Notify);
        effects.remove(Effect::Process);
        if effects.contains(Effect::Public) {
            // Of interest for whoever reads the log, not for the server.
            effects.remove(Effect::Public);
            self.public_references += u32::from(!self.is_shown_again);
        }
        self.effects.extend(effects);
        self.cycle_effects.extend(effects);
        if !effects.is_empty() {
            self.pin.leaves(effects);
        }
    }
}
