//! Equal, but for what cannot be equal on two sides: each exception has its reason.

use crate::harness::Reply;

/// Compares replies frame by frame; the error says where they differ.
pub(crate) fn same(place: &str, plain: &[Reply], pooled: &[Reply]) -> Result<(), String> {
    let (plain, pooled) = (comparable(plain), comparable(pooled));
    let differs = plain.iter().zip(&pooled).position(|(plain, pooled)| plain != pooled);
    let Some(at) = differs.or_else(|| (plain.len() != pooled.len()).then_some(plain.len().min(pooled.len()))) else {
        return Ok(());
    };
    let around = |replies: &[Reply]| {
        let near = replies.iter().skip(at.saturating_sub(8)).take(16).map(|reply| format!("\n    {reply:?}"));
        near.collect::<String>()
    };
    let whole = |replies: &[Reply]| match replies.get(at) {
        // All fields, of which only a few are shown for short.
        Some(error) if error.tag == b'E' => error.body.escape_ascii().to_string(),
        other => format!("{other:?}"),
    };
    Err(format!(
        "{place}\nreply {at} differs:\n  PostgreSQL: {}\n  greenroom:  {}\n  around it, PostgreSQL's:{}\n  and greenroom's:{}",
        whole(&plain),
        whole(&pooled),
        around(&plain),
        around(&pooled)
    ))
}

/// What a login tells about the session: parameters in the order of their names, for their order has no meaning.
///
/// The authentication differs by nonce, and the key is greenroom's own.
pub(crate) fn comparable_login(hello: &[Reply]) -> Vec<Reply> {
    let mut told: Vec<_> = hello.iter().filter(|reply| !matches!(reply.tag, b'R' | b'K')).cloned().collect();
    told.sort_by_key(|reply| (reply.tag, reply.word()));
    told
}

/// Settings that are reported together are in the order of PostgreSQL's own hash table, which begins with what the session
/// has changed first.
fn comparable(replies: &[Reply]) -> Vec<Reply> {
    let mut replies: Vec<_> = replies.iter().cloned().map(comparable_reply).collect();
    for run in replies.chunk_by_mut(|a, b| a.tag == b'S' && b.tag == b'S') {
        run.sort_by_key(|reply| reply.word());
    }
    replies
}

fn comparable_reply(mut reply: Reply) -> Reply {
    match reply.tag {
        // Where in its source PostgreSQL says that a transaction has failed, or that a result would change: what a server
        // lacks is parsed there for the client before it is bound.
        b'E' if matches!(reply.code().as_deref(), Some("25P02" | "0A000")) => forget_source(&mut reply.body),
        // A notification begins with the process id of its sender.
        b'A' => reply.body[..4].fill(0),
        // A column's table, and a type that was made here, have other oids in the other database.
        b'T' => forget_column_oids(&mut reply.body),
        b't' => reply.body[2..].chunks_exact_mut(4).for_each(forget_own_type),
        _ => {}
    }
    reply
}

fn forget_source(body: &mut Vec<u8>) {
    let fields = body.split(|&byte| byte == 0).filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
    *body = fields.collect::<Vec<_>>().join(&0);
}

fn forget_column_oids(body: &mut [u8]) {
    let columns = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    for _ in 0..columns {
        at += body[at..].iter().position(|&byte| byte == 0).expect("a column's name ends") + 1;
        body[at..at + 4].fill(0);
        forget_own_type(&mut body[at + 6..at + 10]);
        at += 18;
    }
}

/// PostgreSQL's own types have oids below this, the same ones everywhere.
const FIRST_NORMAL_OID: u32 = 16384;

fn forget_own_type(oid: &mut [u8]) {
    let number = u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]);
    if number >= FIRST_NORMAL_OID {
        oid.fill(0);
    }
}
