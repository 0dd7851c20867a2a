//! What an operator stumbles over in the first week: a second catalog, migrations.

mod migrations;
mod two_catalogs;
