//! Equal, but for what cannot be equal on two sides: each exception has its reason.

use crate::harness::Reply;

/// Fails the test when the replies are not the same, frame by frame.
pub(super) fn assert_equal(place: &str, plain: &[Reply], pooled: &[Reply]) {
    let (plain, pooled) = (comparable(plain), comparable(pooled));
    let differs = plain.iter().zip(&pooled).position(|(plain, pooled)| plain != pooled);
    let Some(at) = differs.or_else(|| (plain.len() != pooled.len()).then_some(plain.len().min(pooled.len()))) else {
        return;
    };
    panic!(
        "{place}\nreply {at} differs:\n  PostgreSQL: {:?}\n  greenroom:  {:?}\nall of PostgreSQL's: {plain:?}\nall of \
         greenroom's:  {pooled:?}",
        plain.get(at),
        pooled.get(at)
    );
}

/// What a login tells about the session: parameters in the order of their names, for their order has no meaning.
///
/// The authentication differs by nonce, and the key is greenroom's own.
pub(super) fn comparable_login(hello: &[Reply]) -> Vec<Reply> {
    let mut told: Vec<_> = hello.iter().filter(|reply| !matches!(reply.tag, b'R' | b'K')).cloned().collect();
    told.sort_by_key(|reply| (reply.tag, reply.word()));
    told
}

fn comparable(replies: &[Reply]) -> Vec<Reply> {
    replies.iter().cloned().map(comparable_reply).collect()
}

fn comparable_reply(mut reply: Reply) -> Reply {
    match reply.tag {
        // A notification begins with the process id of its sender.
        b'A' => reply.body[..4].fill(0),
        // A column's table has another oid in the other database.
        b'T' => forget_table_oids(&mut reply.body),
        _ => {}
    }
    reply
}

fn forget_table_oids(body: &mut [u8]) {
    let columns = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    for _ in 0..columns {
        at += body[at..].iter().position(|&byte| byte == 0).expect("a column's name ends") + 1;
        body[at..at + 4].fill(0);
        at += 18;
    }
}
