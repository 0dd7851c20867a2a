//! What a PostgreSQL with no tables and no opinions says.

use super::Frame;

/// A login without a password, with what drivers want to know of a server.
pub(crate) fn welcome(number: usize) -> Vec<u8> {
    let parameters = [
        ("server_version", "15.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("application_name", ""),
        ("is_superuser", "off"),
        ("session_authorization", "backstage"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
    ];
    let mut out = Frame::new(b'R', 0u32.to_be_bytes()).bytes();
    for (name, value) in parameters {
        out.extend(Frame::new(b'S', format!("{name}\0{value}\0")).bytes());
    }
    let pid = u32::try_from(number + 1).expect("few connections");
    out.extend(Frame::new(b'K', [pid.to_be_bytes(), [1, 2, 3, 4]].concat()).bytes());
    out.extend(Frame::new(b'Z', [b'I']).bytes());
    out
}

/// What a PostgreSQL without tables says: every statement works, and a `select` or `show` has the one row `1`.
pub(crate) fn answer(frame: &Frame, transaction: &mut u8) -> Vec<u8> {
    let ready = |status: u8| Frame::new(b'Z', [status]).bytes();
    let done = |command: &str| Frame::new(b'C', format!("{command}\0")).bytes();
    match frame.tag {
        b'Q' => {
            let sql = String::from_utf8_lossy(&frame.body).to_ascii_lowercase();
            let word = sql.split([' ', ';', '\0']).next().unwrap_or_default();
            match word {
                "begin" | "start" => *transaction = b'T',
                "commit" | "rollback" | "end" | "abort" => *transaction = b'I',
                _ => {}
            }
            let answer = match word {
                // Whether the database has code of its own that may leave something in a session: it has not.
                _ if sql.contains("pg_proc") => [one_column(), no(), done("SELECT 1")].concat(),
                "select" | "show" => [one_column(), row(), done("SELECT 1")].concat(),
                _ => done(&word.to_ascii_uppercase()),
            };
            [answer, ready(*transaction)].concat()
        }
        b'P' => Frame::new(b'1', []).bytes(),
        b'B' => Frame::new(b'2', []).bytes(),
        b'C' => Frame::new(b'3', []).bytes(),
        b'D' => one_column(),
        b'E' => [row(), done("SELECT 1")].concat(),
        b'S' => ready(*transaction),
        _ => Vec::new(),
    }
}

fn no() -> Vec<u8> {
    Frame::new(b'D', *b"\0\x01\0\0\0\x01f").bytes()
}

fn one_column() -> Vec<u8> {
    let column = [b"\0\x01one\0".as_slice(), &[0; 6], &25u32.to_be_bytes(), &[0xff; 2], &[0xff; 4], &[0; 2]].concat();
    Frame::new(b'T', column).bytes()
}

fn row() -> Vec<u8> {
    Frame::new(b'D', *b"\0\x01\0\0\0\x011").bytes()
}
