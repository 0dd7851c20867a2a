//! Messages of ours about prepared statements that have names.

use super::statements::Statement;
use crate::protocol::{Frontend, message};

/// Appends a Close of a prepared statement.
pub(super) fn close_statement(out: &mut Vec<u8>, name: impl FnOnce(&mut Vec<u8>)) {
    about_statement(out, Frontend::CLOSE, name);
}

/// Appends a Describe of a prepared statement.
pub(super) fn describe_statement(out: &mut Vec<u8>, name: impl FnOnce(&mut Vec<u8>)) {
    about_statement(out, Frontend::DESCRIBE, name);
}

fn about_statement(out: &mut Vec<u8>, tag: Frontend, name: impl FnOnce(&mut Vec<u8>)) {
    message::frame(out, tag.0, |out| {
        out.push(b'S');
        name(out);
        out.push(0);
    });
}

/// Appends a Parse of the statement.
pub(super) fn put_parse(out: &mut Vec<u8>, name: impl FnOnce(&mut Vec<u8>), statement: &Statement) {
    message::frame(out, Frontend::PARSE.0, |out| {
        name(out);
        out.push(0);
        statement.put_body(out);
    });
}
