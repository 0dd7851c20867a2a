//! Messages that greenroom writes itself, appended to a buffer.
//!
//! Their layout is pgwire's, wherever it has the message and takes bytes as they are. None of them is on the way of a
//! client's own bytes.
//!
//! Fields that carry a client's or an operator's text are cut at their first NUL, so that no text can end a field early.

use bytes::{Bytes, BytesMut};
use pgwire::error::{SEVERITY_ERROR, SEVERITY_FATAL, SEVERITY_NOTICE, SEVERITY_WARNING};
use pgwire::messages::Message;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::response::{ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey};

use super::tag::{Backend, Frontend, TxStatus};

/// What kind of ErrorResponse or NoticeResponse, in the words PostgreSQL uses for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection goes on.
    Error,
    /// The connection ends with this message.
    Fatal,
    /// Not an error.
    Notice,
    /// Not an error, but somebody should look.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => SEVERITY_ERROR,
            Self::Fatal => SEVERITY_FATAL,
            Self::Notice => SEVERITY_NOTICE,
            Self::Warning => SEVERITY_WARNING,
        }
    }
}

/// An ErrorResponse as greenroom composes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// SQLSTATE, one of [`super::sqlstate`].
    pub code: &'static str,
    /// One line, lower case, no full stop.
    pub message: String,
    /// What happened in more words.
    pub detail: Option<String>,
    /// What the reader can do.
    pub hint: Option<String>,
}

impl Report {
    /// An error of this code; detail and hint are added with the two methods below.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), detail: None, hint: None }
    }

    /// Adds the DETAIL line.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// Adds the HINT line.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Appends it as an ErrorResponse (or a NoticeResponse, if that is its severity).
    pub fn write(&self, out: &mut Vec<u8>) {
        let word = self.severity.word();
        let texts = [
            (b'S', Some(word)),
            (b'V', Some(word)),
            (b'C', Some(self.code)),
            (b'M', Some(&*self.message)),
            (b'D', self.detail.as_deref()),
            (b'H', self.hint.as_deref()),
        ];
        let up_to_nul = |text: &str| text.split('\0').next().unwrap_or_default().to_owned();
        let fields = texts.into_iter().filter_map(|(field, text)| Some((field, up_to_nul(text?)))).collect();
        match self.severity {
            Severity::Error | Severity::Fatal => append(out, &ErrorResponse::new(fields)),
            Severity::Notice | Severity::Warning => append(out, &NoticeResponse::new(fields)),
        }
    }
}

/// Appends a message whose length the caller has bounded.
fn append(out: &mut Vec<u8>, message: &impl Message) {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes).expect("none of our own messages is near pgwire's limit for its type");
    out.extend_from_slice(&bytes);
}

/// Appends an ErrorResponse whose fields are those of `body`, another one's, told with this severity.
pub fn error_passed_on(out: &mut Vec<u8>, severity: Severity, body: &[u8]) {
    frame(out, Backend::ERROR.0, |out| {
        for field in [b'S', b'V'] {
            out.push(field);
            put_str(out, severity.word().as_bytes());
        }
        let mut rest = body;
        while let Some((&field, tail)) = rest.split_first()
            && field != 0
            && let Some((value, tail)) = super::body::cstr(tail)
        {
            if field != b'S' && field != b'V' {
                out.push(field);
                put_str(out, value);
            }
            rest = tail;
        }
        out.push(0);
    });
}

/// Appends one message: `body` writes what follows the length field.
pub fn frame(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    beginning(out, tag, 0, body);
}

/// Appends the beginning of one message, of which so many bytes more will follow from elsewhere: `body` writes what follows
/// the length field.
pub fn beginning(out: &mut Vec<u8>, tag: u8, rest: usize, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = u32::try_from(out.len() - at + rest).expect("no message of ours is longer than one of the protocol");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends `text` up to its first NUL, and the NUL that ends it.
pub fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    out.extend_from_slice(&text[..end]);
    out.push(0);
}

/// Appends a simple Query.
pub fn query(out: &mut Vec<u8>, sql: &str) {
    frame(out, Frontend::QUERY.0, |out| put_str(out, sql.as_bytes()));
}

/// Appends Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    frame(out, Frontend::TERMINATE.0, |_| ());
}

/// Appends CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, command: &str) {
    frame(out, Backend::COMMAND_COMPLETE.0, |out| put_str(out, command.as_bytes()));
}

/// Appends ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TxStatus) {
    let status = match status {
        TxStatus::Idle => TransactionStatus::Idle,
        TxStatus::Open => TransactionStatus::Transaction,
        TxStatus::Failed => TransactionStatus::Error,
    };
    append(out, &ReadyForQuery::new(status));
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    frame(out, Backend::PARAMETER_STATUS.0, |out| {
        put_str(out, name.as_bytes());
        put_str(out, value.as_bytes());
    });
}

/// Appends BackendKeyData. A secret has 4 to 256 bytes.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    append(out, &BackendKeyData::new(pid, SecretKey::Bytes(Bytes::copy_from_slice(secret))));
}

/// Appends AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    append(out, &Authentication::Ok);
}

/// A whole CancelRequest for the server whose BackendKeyData held `pid` and `secret`.
pub fn cancel_request(pid: i32, secret: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, &CancelRequest::new(pid, SecretKey::Bytes(Bytes::copy_from_slice(secret))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{body, frame};

    #[test]
    fn a_report_is_one_whole_frame_with_its_fields() {
        let mut out = Vec::new();
        Report::new(Severity::Fatal, "3D000", "database \"x\" does not exist").hint("look").write(&mut out);
        let mut buf = bytes::BytesMut::from(&out[..]);
        let frame = frame::take(&mut buf, 1000).expect("a right length").expect("a whole frame");
        assert!(buf.is_empty());
        assert_eq!(body::error_field(&frame.body, b'C'), Some(&b"3D000"[..]));
        assert_eq!(body::error_field(&frame.body, b'H'), Some(&b"look"[..]));
    }

    #[test]
    fn a_cancel_request_bears_its_key_whatever_its_length() {
        for secret in [&[1, 2, 3, 4][..], &[7; 32]] {
            let out = cancel_request(42, secret);
            assert_eq!(out[..4], (12 + secret.len() as u32).to_be_bytes());
            assert_eq!(out[4..12], [80_877_102u32.to_be_bytes(), 42u32.to_be_bytes()].concat());
            assert_eq!(&out[12..], secret);
        }
    }

    #[test]
    fn the_key_data_of_a_session_is_twelve_bytes_long() {
        let mut out = Vec::new();
        backend_key_data(&mut out, 1, &[9; 4]);
        assert_eq!(out, [b'K', 0, 0, 0, 12, 0, 0, 0, 1, 9, 9, 9, 9]);
    }

    #[test]
    fn a_nul_in_a_text_cannot_end_a_field_early() {
        let mut out = Vec::new();
        parameter_status(&mut out, "a\0b", "c");
        assert_eq!(&out[5..], b"a\0c\0");
    }
}
