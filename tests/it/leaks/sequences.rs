//! lastval() and currval() tell a session what it did itself, and never what another one did.

use crate::harness::{Greenroom, Room, codes, rows};

const READS: [&str; 2] = ["select lastval()", "select currval('item_id_seq')"];

/// One server, on which a stranger has just made a number.
async fn after_a_stranger() -> Room {
    let room = Greenroom::start().servers(1).await;
    room.client("catalog").await.run("create table item (id serial)").await;
    insert(&room).await;
    room
}

async fn insert(room: &Room) {
    room.client("catalog").await.run("insert into item default values").await;
}

#[tokio::test]
async fn a_serial_of_a_stranger_is_nobodys_last_value() {
    for read in READS {
        let room = after_a_stranger().await;
        for _ in 0..2 {
            assert_eq!(room.client("catalog").await.failure(read).await, "55000", "{read}");
            insert(&room).await;
        }
    }
}

#[tokio::test]
async fn a_serial_of_a_stranger_is_nobodys_last_value_in_a_transaction() {
    for read in READS {
        let room = after_a_stranger().await;
        let mut client = room.raw("catalog").await;
        client.run("begin").await;
        client.send(&[crate::harness::frames::query(read)]).await;
        // The first one in a database to ask may be sent away, and has to begin its transaction again.
        let replies = client.until(b'E', 1).await;
        assert!(["40001", "55000"].contains(&&*codes(&replies)[0]), "{read}: {replies:?}");
        drop(client);
        for _ in 0..2 {
            insert(&room).await;
            let mut client = room.raw("catalog").await;
            client.run("begin").await;
            assert_eq!(codes(&client.query(read).await), ["55000"], "{read}");
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn having_had_the_server_before_does_not_make_a_strangers_serial_ones_own() {
    for read in READS {
        let room = after_a_stranger().await;
        let mut client = room.raw("catalog").await;
        // Nobody has asked for a last value yet, so this borrows the server as the stranger left it.
        assert_eq!(rows(&client.run("select 1").await), ["1"]);
        client.run("begin").await;
        client.send(&[crate::harness::frames::query(read)]).await;
        let replies = client.until(b'E', 1).await;
        assert!(["40001", "55000"].contains(&&*codes(&replies)[0]), "{read}: {replies:?}");
    }
}

#[tokio::test]
async fn a_serial_of_its_own_is_a_clients_last_value() {
    let room = after_a_stranger().await;
    let mut client = room.raw("catalog").await;
    for read in READS {
        assert_eq!(codes(&client.query(read).await), ["55000"], "{read}");
    }
    for (number, read) in (2..).zip(READS) {
        let replies = client.run(&format!("begin; insert into item default values; {read}; commit")).await;
        assert_eq!(rows(&replies), [number.to_string()], "{read}");
    }
}
