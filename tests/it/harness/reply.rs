//! What a server said, frame by frame, and readable when a test fails.

use std::fmt;

/// One message of a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of an error's or notice's field: `C` is its SQLSTATE, `M` its message.
    pub(crate) fn field(&self, code: u8) -> Option<String> {
        if !matches!(self.tag, b'E' | b'N') {
            return None;
        }
        let field = self.body.split(|&byte| byte == 0).find(|field| field.first() == Some(&code))?;
        Some(String::from_utf8_lossy(&field[1..]).into_owned())
    }

    /// SQLSTATE, if this is an error.
    pub(crate) fn code(&self) -> Option<String> {
        if self.tag == b'E' { self.field(b'C') } else { None }
    }

    /// The columns of a row, if this is one.
    pub(crate) fn columns(&self) -> Option<Vec<Option<String>>> {
        if self.tag != b'D' {
            return None;
        }
        let mut rest = self.body.get(2..)?;
        let mut columns = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
                columns.push(None);
                rest = tail;
                continue;
            };
            columns.push(Some(String::from_utf8_lossy(tail.get(..len)?).into_owned()));
            rest = &tail[len..];
        }
        Some(columns)
    }

    /// The body up to its first NUL: the command of a CommandComplete, the name of a ParameterStatus.
    pub(crate) fn word(&self) -> String {
        let end = self.body.iter().position(|&byte| byte == 0).unwrap_or(self.body.len());
        String::from_utf8_lossy(&self.body[..end]).into_owned()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => {
                let field = |code| self.field(code).unwrap_or_default();
                write!(f, "{tag} {} {} {:?}", field(b'S'), field(b'C'), field(b'M'))
            }
            b'D' => write!(f, "D {}", short(&format!("{:?}", self.columns().unwrap_or_default()))),
            _ => write!(f, "{tag} {}", short(&self.body.escape_ascii().to_string())),
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// The tags of replies, in order, as one word: `TDCZ`.
pub(crate) fn tags(replies: &[Reply]) -> String {
    replies.iter().map(|reply| char::from(reply.tag)).collect()
}

/// The SQLSTATEs of the errors among the replies.
pub(crate) fn codes(replies: &[Reply]) -> Vec<String> {
    replies.iter().filter_map(Reply::code).collect()
}

/// The first column of every row, NULL as `null`.
pub(crate) fn rows(replies: &[Reply]) -> Vec<String> {
    let first = |columns: Vec<Option<String>>| columns.into_iter().next().flatten().unwrap_or_else(|| "null".into());
    replies.iter().filter_map(Reply::columns).map(first).collect()
}
