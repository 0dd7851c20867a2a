//! A client is known by one number: it is told it at login and by pg_backend_pid(), and others reach it by that.

mod notified;
mod numbers;
mod permission;
mod signals;
mod unsent;

use crate::harness::Frame;
use crate::harness::frames::{describe_portal, execute, parse, sync};
use crate::harness::{RawClient, Reply, Room, eventually};

/// A Bind of a statement to the unnamed portal, with its result as binary or as text.
fn bind(statement: &str, parameters: &[Parameter], binary: bool) -> Frame {
    bind_to("", statement, parameters, binary)
}

/// A Bind of a statement to a portal.
fn bind_to(portal: &str, statement: &str, parameters: &[Parameter], binary: bool) -> Frame {
    let count = |n: usize| u16::try_from(n).expect("a test has few of them").to_be_bytes();
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0", &count(parameters.len())].concat();
    for parameter in parameters {
        body.extend(u16::from(matches!(parameter, Parameter::Binary(_))).to_be_bytes());
    }
    body.extend(count(parameters.len()));
    for parameter in parameters {
        let value = match parameter {
            Parameter::Text(text) => text.as_bytes(),
            Parameter::Binary(bytes) => bytes,
        };
        body.extend(u32::try_from(value.len()).expect("a short value").to_be_bytes());
        body.extend(value);
    }
    body.extend([count(1), u16::from(binary).to_be_bytes()].concat());
    Frame::new(b'B', body)
}

/// The value of a parameter.
enum Parameter {
    Text(String),
    Binary(Vec<u8>),
}

/// The number of a client, as a parameter.
fn pid_of(client: &RawClient) -> Parameter {
    Parameter::Text(client.key().0.to_string())
}

/// Asks in a batch of its own, with an unnamed statement.
async fn extended(client: &mut RawClient, sql: &str, parameters: &[Parameter], binary: bool) -> Vec<Reply> {
    let frames = [parse("", sql), bind("", parameters, binary), describe_portal(""), execute("", 0), sync()];
    client.ask(&frames).await
}

/// Waits until this many of the room's servers sleep.
async fn sleepers(room: &Room, count: usize) {
    let sql =
        format!("select count(*) from pg_stat_activity where usename = '{}' and wait_event = 'PgSleep'", room.login);
    eventually("the queries run", async || room.stage().sql(&sql).await == [count.to_string()]).await;
}

/// A client that talks to PostgreSQL itself.
async fn direct(room: &Room) -> RawClient {
    let stage = room.stage();
    RawClient::log_in(&stage.address(), &stage.startup(&stage.database)).await
}
