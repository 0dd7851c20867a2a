//! The few fields that are read out of a message's body, each bounded by the body it is given.

/// Splits a NUL-terminated string off the front of `body`; `None` if there is no NUL.
///
/// Strings of the protocol are bytes in the client's encoding, not UTF-8.
#[inline]
pub fn cstr(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, body)?;
    Some((&body[..end], &body[end + 1..]))
}

/// The field of an ErrorResponse or NoticeResponse with this code (`C` SQLSTATE, `M` message, `S` severity, ...).
///
/// Source: PostgreSQL, "Error and Notice Message Fields".
pub fn error_field(mut body: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        let (&field, rest) = body.split_first()?;
        if field == 0 {
            return None;
        }
        let (value, rest) = cstr(rest)?;
        if field == code {
            return Some(value);
        }
        body = rest;
    }
}

/// Name and value of a ParameterStatus; `None` if the body is not two strings.
pub fn parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = cstr(body)?;
    let (value, _) = cstr(rest)?;
    Some((name, value))
}

/// The columns of a DataRow, in the order they came; `None` for SQL NULL. Stops at the first malformed one.
pub fn data_row(body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let len = i32::from_be_bytes(*len);
        let Ok(len) = usize::try_from(len) else {
            rest = tail;
            return Some(None);
        };
        let (value, tail) = tail.split_at_checked(len)?;
        rest = tail;
        Some(Some(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_field_is_found_by_its_code() {
        let body = b"SERROR\0C42P01\0Mrelation \"x\" does not exist\0\0";
        assert_eq!(error_field(body, b'C'), Some(&b"42P01"[..]));
        assert_eq!(error_field(body, b'D'), None);
    }

    #[test]
    fn an_error_without_its_terminators_ends_the_search() {
        assert_eq!(error_field(b"SERR", b'C'), None);
        assert_eq!(error_field(b"", b'C'), None);
    }

    #[test]
    fn columns_of_a_row_keep_their_nulls() {
        let body = [0, 3, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(data_row(&body).collect::<Vec<_>>(), [Some(&b"a"[..]), None, Some(&b""[..])]);
    }
}
