//! What is noticed of a client's statements beyond their bytes: the plugin's migrations.

use super::Relay;
use crate::sql::statement::MigrationLock;

impl Relay<'_> {
    /// Looks at what the texts that have just been read were about.
    #[inline]
    pub(super) fn note_texts(&mut self) {
        if let Some(lock) = self.session.take_migration_lock() {
            self.note_migration(lock);
        }
    }

    fn note_migration(&mut self, lock: MigrationLock) {
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
