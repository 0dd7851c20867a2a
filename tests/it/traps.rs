//! What an operator stumbles over in the first week.

mod migrations;
