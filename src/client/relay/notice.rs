//! What is noticed of a client's statements beyond their bytes: the plugin's migrations, and what it expects of public.

use super::Relay;
use crate::sql::statement::MigrationLock;

impl Relay<'_> {
    /// Looks at what the texts that have just been read were about.
    #[inline]
    pub(super) fn note_texts(&mut self) {
        // Only where the plugin sees a schema of its own is public not its own.
        let references = self.session.take_public_references();
        if references > 0 && self.dress.home_path().is_some() {
            self.metrics.public_references.inc_by(references.into());
            self.shared.traps.public_was_named(&self.member.plugin);
        }
    }

    /// Looks at what those that have just been answered have done.
    #[inline]
    pub(super) fn note_migration(&mut self) {
        let Some(lock) = self.session.take_migration_lock() else { return };
        match lock {
            MigrationLock::Take => self.migration = Some(self.member.migrate()),
            MigrationLock::GiveBack => {
                self.migration = None;
                // It may have been taken on another connection of the plugin's pool.
                self.member.end_migration();
            }
        }
    }
}
