//! Messages that greenroom writes itself, appended to a buffer.
//!
//! Fields that carry a client's or an operator's text are cut at their first NUL, so that no text can end a field early.

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
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
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
        let tag = match self.severity {
            Severity::Error | Severity::Fatal => Backend::ERROR,
            Severity::Notice | Severity::Warning => Backend::NOTICE,
        };
        frame(out, tag.0, |out| {
            let word = self.severity.word();
            for (field, text) in [(b'S', word), (b'V', word), (b'C', self.code), (b'M', &self.message)] {
                out.push(field);
                put_str(out, text.as_bytes());
            }
            for (field, text) in [(b'D', &self.detail), (b'H', &self.hint)] {
                if let Some(text) = text {
                    out.push(field);
                    put_str(out, text.as_bytes());
                }
            }
            out.push(0);
        });
    }
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
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = u32::try_from(out.len() - at).expect("our own messages are short");
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

/// Appends ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TxStatus) {
    let byte = match status {
        TxStatus::Idle => b'I',
        TxStatus::Open => b'T',
        TxStatus::Failed => b'E',
    };
    frame(out, Backend::READY_FOR_QUERY.0, |out| out.push(byte));
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    frame(out, Backend::PARAMETER_STATUS.0, |out| {
        put_str(out, name.as_bytes());
        put_str(out, value.as_bytes());
    });
}

/// Appends BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    frame(out, Backend::BACKEND_KEY_DATA.0, |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// Appends AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    frame(out, Backend::AUTHENTICATION.0, |out| out.extend_from_slice(&0i32.to_be_bytes()));
}

/// A whole CancelRequest for the server whose BackendKeyData held `pid` and `secret`.
pub fn cancel_request(pid: i32, secret: &[u8]) -> Vec<u8> {
    let len = u32::try_from(12 + secret.len()).expect("a key is at most 256 bytes");
    let mut out = Vec::with_capacity(len as usize);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&80_877_102u32.to_be_bytes());
    out.extend_from_slice(&pid.to_be_bytes());
    out.extend_from_slice(secret);
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
    fn a_nul_in_a_text_cannot_end_a_field_early() {
        let mut out = Vec::new();
        parameter_status(&mut out, "a\0b", "c");
        assert_eq!(&out[5..], b"a\0c\0");
    }
}
