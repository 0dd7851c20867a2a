//! Large objects, by SQL and by FunctionCall, as libpq and JDBC use them.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{query, sync};

/// Functions by the numbers that PostgreSQL has given them for good.
const LO_CREAT: u32 = 957;
const LO_CREATE: u32 = 715;
const LO_OPEN: u32 = 952;
const LO_CLOSE: u32 = 953;
const LOREAD: u32 = 954;
const LOWRITE: u32 = 955;
const LO_LSEEK: u32 = 956;
const LO_TELL: u32 = 958;
const LO_UNLINK: u32 = 964;
const LO_TRUNCATE: u32 = 1004;

/// INV_READ and INV_WRITE.
const BOTH: i32 = 0x60000;

/// FunctionCall with binary arguments and result, as libpq sends it.
fn call(function: u32, arguments: &[&[u8]]) -> Frame {
    let count = |n: usize| u16::try_from(n).expect("few arguments").to_be_bytes();
    let mut body = [&function.to_be_bytes()[..], &count(1), &[0, 1], &count(arguments.len())].concat();
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).expect("short arguments").to_be_bytes());
        body.extend_from_slice(argument);
    }
    body.extend([0, 1]);
    Frame::new(b'F', body)
}

fn open(number: u32, mode: i32) -> Frame {
    call(LO_OPEN, &[&number.to_be_bytes(), &mode.to_be_bytes()])
}

#[tokio::test]
async fn large_objects_are_written_and_read_by_sql() {
    Differential::start()
        .await
        .play([
            Script::new("whole").queries([
                "select lo_create(5001), lo_from_bytea(5002, 'all of it'::bytea)",
                "select lo_put(5001, 3, 'behind'); select convert_from(lo_get(5001), 'SQL_ASCII') = E'\\0\\0\\0behind'",
                "select lo_get(5001)",
                "select lo_get(5002, 4, 2)",
                "select loid, pageno, data from pg_largeobject order by 1, 2",
                "select oid from pg_largeobject_metadata order by 1",
                "select lo_create(5001)",
                "select lo_unlink(5001), lo_unlink(5002)",
                "select lo_unlink(5001)",
                "select lo_get(5001)",
            ]),
            Script::new("by a descriptor, which lives as long as its transaction").queries([
                "begin; select lo_create(5003), lo_open(5003, 393216)",
                "select lowrite(0, 'some words'), lo_tell(0)",
                "savepoint a; select lo_open(5003, 262144)",
                "select loread(1, 4), lo_tell(1)",
                "rollback to a; select loread(1, 4)",
                "rollback to a; select lo_lseek(0, 5, 0), loread(0, 100)",
                "select lo_lseek64(0, 0, 2), lo_truncate(0, 4), lo_tell64(0)",
                "commit",
                "select loread(0, 4)",
                "select lo_open(5003, 262144)",
                "select loread(0, 4)",
                "begin; select lo_open(5003, 262144); select loread(0, 100), lo_close(0)",
                "select loread(0, 1)",
                "rollback",
                "begin; select lo_unlink(5003); rollback; select lo_get(5003)",
                "begin read only; select lo_unlink(5003)",
                "rollback; select lo_unlink(5003)",
            ]),
            Script::new("refused").queries([
                "select lo_open(1, 262144)",
                "select lo_import('/etc/passwd')",
                "select lo_export(1, '/tmp/never')",
                "begin; select loread(7, 1)",
                "rollback; select lo_create(5004)",
                "grant select on large object 5004 to stagehand; comment on large object 5004 is 'mine'",
                "set role stagehand; select lo_get(5004); reset role",
                "set role stagehand; select lo_put(5004, 0, 'x')",
                "reset role; alter large object 5004 owner to nobody_here",
                "select lo_unlink(5004)",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn large_objects_are_written_and_read_by_function_calls() {
    let number = 5010u32.to_be_bytes();
    let first = 0i32.to_be_bytes();
    let four = 4i32.to_be_bytes();
    Differential::start()
        .await
        .play([
            Script::new("as libpq does it")
                .query("begin")
                .ask([call(LO_CREATE, &[&number])])
                .ask([open(5010, BOTH)])
                .ask([call(LOWRITE, &[&first, b"some words"])])
                .ask([call(LO_LSEEK, &[&first, &four, &first])])
                .ask([call(LO_TELL, &[&first])])
                .ask([call(LOREAD, &[&first, &four])])
                .ask([call(LO_TRUNCATE, &[&first, &four])])
                .ask([call(LO_CLOSE, &[&first])])
                .query("commit")
                .query("select lo_get(5010)")
                .ask([call(LO_UNLINK, &[&number])])
                .query("select lo_get(5010)"),
            Script::new("several in one write")
                .ask([query("begin"), call(LO_CREATE, &[&number]), open(5010, BOTH), call(LOWRITE, &[&first, b"abc"])])
                .ask([call(LO_CLOSE, &[&first]), query("commit"), query("select lo_get(5010)"), sync()])
                .ask([call(LO_UNLINK, &[&number])]),
            Script::new("errors")
                .ask([open(1, BOTH)])
                .ask([call(LOREAD, &[&first, &four])])
                .query("begin")
                .ask([open(1, BOTH), call(LO_CREAT, &[&first])])
                .ask([call(LOREAD, &[&first])])
                .query("rollback")
                .ask([call(LO_OPEN, &[&number[..2], &first])])
                .ask([Frame::new(b'F', [0, 0])])
                .query("select 1"),
            Script::new("a descriptor outside of a transaction is gone at once")
                .ask([call(LO_CREATE, &[&number])])
                .ask([open(5010, BOTH)])
                .ask([call(LOWRITE, &[&first, b"lost"])])
                .ask([call(LO_UNLINK, &[&number])])
                .query("select 1"),
        ])
        .await;
}
