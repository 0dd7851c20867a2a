//! What an operator stumbles over in the first week: extensions, the schema public, a second catalog, migrations, a dump.

mod dump;
mod extensions;
mod migrations;
mod public;
mod two_catalogs;
