//! What a statement's text may leave behind in a session: a superset, found without parsing SQL.
//!
//! [`scan`] reads a whole text, [`Scanner`] one that comes in pieces. Neither understands SQL; they split it into words
//! the way PostgreSQL's lexer does (comments, every kind of string, quoted names) and look for the words that can leave
//! state in a session. What a function or a view hides is not in the text: `server::facts` asks the catalogs for that.
//!
//! - `effects`: the set of things that may be left behind.
//! - `words`: which word means what.
//! - `letters`: which bytes a word is made of.
//! - `lexer`: splits text into words, literals and comments.
//! - `leaving`: what the words of a statement may leave behind.
//! - `open`: what SET and PREPARE leave open until the next word.
//! - `scanner`: reads a text with these.
//! - `tokens`: a whole text, token by token, where nothing may be doubtful.
//! - `setting`: a lone statement about settings, in every form.
//! - `statement`: the few statements that are understood as a whole.
//! - `listening`: LISTEN and UNLISTEN: what they name.
//! - `process`: which numbers of processes a statement asks for, or uses.
//! - `carried`: which settings a text sets by their names, and which can go from server to server.
//! - `timeless`: whether a statement says the same whenever it is prepared.
//! - `quote`: writes names and literals.

pub mod carried;
pub mod effects;
mod leaving;
mod letters;
mod lexer;
pub mod listening;
mod open;
pub mod process;
pub mod quote;
pub mod scanner;
pub mod setting;
pub mod statement;
pub mod timeless;
mod tokens;
mod words;

#[cfg(test)]
mod setting_tests;
#[cfg(test)]
mod tests;

pub use effects::{Effect, Effects};
pub use scanner::{Quoting, Scanner, scan};
