//! Messages of a client, written by hand: nothing of greenroom is used, so that a test does not share its mistakes.

use std::fmt;

/// One message of a client.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// A message with any tag and body.
    pub(crate) fn new(tag: u8, body: impl Into<Vec<u8>>) -> Self {
        Self { tag, body: body.into() }
    }

    /// The message as it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.body.len() + 4).expect("a test's message is below 4 GiB");
        [&[self.tag][..], &len.to_be_bytes(), &self.body].concat()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = &self.body[..self.body.len().min(100)];
        write!(f, "{}[{}]", char::from(self.tag), body.escape_ascii())
    }
}

/// Several messages as they go over the wire.
pub(crate) fn wire(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

/// Query: the simple protocol.
pub(crate) fn query(sql: &str) -> Frame {
    Frame::new(b'Q', string(sql))
}

/// Parse, without parameter types.
pub(crate) fn parse(statement: &str, sql: &str) -> Frame {
    parse_typed(statement, sql, &[])
}

/// Parse with the types of the parameters.
pub(crate) fn parse_typed(statement: &str, sql: &str, types: &[u32]) -> Frame {
    let mut body = [string(statement), string(sql), count(types.len())].concat();
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    Frame::new(b'P', body)
}

/// Bind with parameters as text, results as text.
pub(crate) fn bind(portal: &str, statement: &str, parameters: &[Option<&str>]) -> Frame {
    let mut body = [string(portal), string(statement), count(0), count(parameters.len())].concat();
    for parameter in parameters {
        body.extend(value(parameter.map(str::as_bytes)));
    }
    body.extend(count(0));
    Frame::new(b'B', body)
}

/// Describe a statement.
pub(crate) fn describe_statement(name: &str) -> Frame {
    Frame::new(b'D', [b"S".to_vec(), string(name)].concat())
}

/// Describe a portal.
pub(crate) fn describe_portal(name: &str) -> Frame {
    Frame::new(b'D', [b"P".to_vec(), string(name)].concat())
}

/// Execute up to `limit` rows; 0 is all.
pub(crate) fn execute(portal: &str, limit: i32) -> Frame {
    Frame::new(b'E', [string(portal), limit.to_be_bytes().to_vec()].concat())
}

/// Close a statement.
pub(crate) fn close_statement(name: &str) -> Frame {
    Frame::new(b'C', [b"S".to_vec(), string(name)].concat())
}

/// Close a portal.
pub(crate) fn close_portal(name: &str) -> Frame {
    Frame::new(b'C', [b"P".to_vec(), string(name)].concat())
}

/// Sync.
pub(crate) fn sync() -> Frame {
    Frame::new(b'S', [])
}

/// Flush.
pub(crate) fn flush() -> Frame {
    Frame::new(b'H', [])
}

/// FunctionCall with arguments as text, result as text.
pub(crate) fn function_call(oid: u32, arguments: &[&str]) -> Frame {
    let mut body = [oid.to_be_bytes().to_vec(), count(0), count(arguments.len())].concat();
    for argument in arguments {
        body.extend(value(Some(argument.as_bytes())));
    }
    body.extend(count(0));
    Frame::new(b'F', body)
}

/// CopyData.
pub(crate) fn copy_data(data: impl Into<Vec<u8>>) -> Frame {
    Frame::new(b'd', data)
}

/// CopyDone.
pub(crate) fn copy_done() -> Frame {
    Frame::new(b'c', [])
}

/// CopyFail.
pub(crate) fn copy_fail(why: &str) -> Frame {
    Frame::new(b'f', string(why))
}

/// Terminate.
pub(crate) fn terminate() -> Frame {
    Frame::new(b'X', [])
}

/// Parse, Bind, Describe, Execute and Sync on the unnamed statement, as node-postgres sends a query with bindings.
pub(crate) fn extended(sql: &str, parameters: &[Option<&str>]) -> Vec<Frame> {
    vec![parse("", sql), bind("", "", parameters), describe_portal(""), execute("", 0), sync()]
}

/// StartupMessage with this protocol version.
pub(crate) fn startup(version: u32, parameters: &[(String, String)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([string(name), string(value)].concat());
    }
    body.push(0);
    untagged(&body)
}

/// A message of the startup phase that is only a code: SSLRequest, GSSENCRequest.
pub(crate) fn request(code: u32) -> Vec<u8> {
    untagged(&code.to_be_bytes())
}

/// CancelRequest.
pub(crate) fn cancel_request(pid: i32, secret: &[u8]) -> Vec<u8> {
    untagged(&[&80_877_102u32.to_be_bytes()[..], &pid.to_be_bytes(), secret].concat())
}

/// SSLRequest's code.
pub(crate) const SSL_REQUEST: u32 = 80_877_103;
/// GSSENCRequest's code.
pub(crate) const GSSENC_REQUEST: u32 = 80_877_104;

fn untagged(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).expect("a startup message is short");
    [&len.to_be_bytes()[..], body].concat()
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn count(n: usize) -> Vec<u8> {
    u16::try_from(n).expect("a test has few of them").to_be_bytes().to_vec()
}

fn value(bytes: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = bytes else { return (-1i32).to_be_bytes().to_vec() };
    let len = i32::try_from(bytes.len()).expect("a test's value is below 2 GiB");
    [&len.to_be_bytes()[..], bytes].concat()
}
