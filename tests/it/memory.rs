//! Messages far above every buffer pass, in bounded memory.

use std::time::Duration;

use crate::harness::frames::query;
use crate::harness::{Greenroom, rows};

const MIB: usize = 1024 * 1024;

/// How much this process may grow while 200 MiB pass: greenroom, this test, and what other tests need meanwhile.
const ROOM_TO_GROW_MIB: usize = 100;

/// The resident memory of this process, greenroom and test together.
fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it tells its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") / 1024
}

#[tokio::test]
async fn a_row_of_200_mib_is_never_held_whole() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.run("select 1").await;
    let before = resident_mib();
    client.send(&[query(&format!("select repeat('x', {})", 200 * MIB))]).await;
    client.until(b'T', 1).await;
    let (tag, mut left) = client.header().await;
    assert_eq!((tag, left), (b'D', 2 + 4 + 200 * MIB));
    while left > 0 {
        let piece = left.min(8 * MIB);
        client.skip(piece).await;
        left -= piece;
        assert!(resident_mib() < before + ROOM_TO_GROW_MIB, "{} MiB, {before} MiB before", resident_mib());
    }
    client.until(b'Z', 1).await;
    assert_eq!(rows(&client.run("select 2").await), ["2"]);
}

#[tokio::test]
async fn a_statement_of_200_mib_is_never_held_whole() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.run("select 1").await;
    let before = resident_mib();
    let (start, end) = (b"select length('", b"')\0");
    let len = u32::try_from(4 + start.len() + 200 * MIB + end.len()).expect("below 4 GiB");
    client.send_bytes(&[&[b'Q'][..], &len.to_be_bytes(), start].concat()).await;
    let piece = vec![b'x'; MIB];
    for _ in 0..200 {
        client.send_bytes(&piece).await;
        assert!(resident_mib() < before + ROOM_TO_GROW_MIB, "{} MiB, {before} MiB before", resident_mib());
    }
    client.send_bytes(end).await;
    assert_eq!(rows(&client.until(b'Z', 1).await), [(200 * MIB).to_string()]);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_server_back() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.run("select 1").await;
    let before = resident_mib();
    client.send(&[query("select repeat('x', 1000000) from generate_series(1, 200)")]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(resident_mib() < before + ROOM_TO_GROW_MIB, "{} MiB, {before} MiB before", resident_mib());
    client.until(b'T', 1).await;
    for _ in 0..200 {
        let (tag, len) = client.header().await;
        assert_eq!(tag, b'D');
        client.skip(len).await;
    }
    assert_eq!(client.until(b'Z', 1).await.len(), 2);
}

#[tokio::test]
async fn a_client_that_never_reads_is_ended() {
    let room = Greenroom::start()
        .set("greenroom.timeouts.clientWriteMillis", 300)
        .pool("catalog", |limits| limits.max(1))
        .await;
    let mut stuck = room.raw("catalog").await;
    stuck.send(&[query("select repeat('x', 1000000) from generate_series(1, 200)")]).await;
    let next = room.client("catalog").await;
    assert_eq!(next.value("select 1").await, "1", "its server is free again");
}
