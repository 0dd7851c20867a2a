//! What greenroom itself does with a transaction's bytes, without the sockets: scanning texts and deciding on frames.
//!
//! `cargo bench --bench hot_path`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use greenroom::protocol::frame::{Header, MAX_MESSAGE_BYTES};
use greenroom::protocol::tag::TxStatus;
use greenroom::protocol::{Backend, Frontend, message};
use greenroom::session::{Prepared, Session};
use greenroom::sql::{Quoting, scan};

const BY_REF: &str = "select \"entity_id\", \"final_entity\" from \"final_entities\" where \"entity_ref\" = $1 and \
                      \"final_entity\" is not null limit $2";

fn frame(tag: Frontend, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message::frame(&mut out, tag.0, |out| out.extend_from_slice(body));
    out
}

/// Parse, Bind, Describe, Execute, Sync of one statement, as node-postgres sends them.
fn batch() -> Vec<Vec<u8>> {
    vec![
        frame(Frontend::PARSE, format!("\0{BY_REF}\0\0\0").as_bytes()),
        frame(Frontend::BIND, b"\0\0\0\0\0\x02\0\0\0\x15component:default/user\0\0\0\x0110\0\0"),
        frame(Frontend::DESCRIBE, b"P\0"),
        frame(Frontend::EXECUTE, b"\0\0\0\0\0"),
        frame(Frontend::SYNC, b""),
    ]
}

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan a text");
    let long = format!("insert into \"t\" (\"a\", \"b\") values {}", "($1, $2), ".repeat(500));
    for (name, sql) in [("begin", "BEGIN;"), ("select by ref", BY_REF), ("insert of 500 rows", &long)] {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_function(name, |b| b.iter(|| scan(black_box(sql.as_bytes()), Quoting::Standard)));
    }
    group.finish();
}

fn borders(c: &mut Criterion) {
    let mut rows = Vec::new();
    for _ in 0..100 {
        message::frame(&mut rows, Backend::DATA_ROW.0, |out| out.extend_from_slice(&[0; 120]));
    }
    c.bench_function("find the borders of 100 rows", |b| {
        b.iter(|| {
            let (mut at, mut seen) = (0, 0);
            while let Ok(Some(header)) = Header::read(black_box(&rows[at..]), MAX_MESSAGE_BYTES) {
                at += header.total;
                seen += 1;
            }
            seen
        });
    });
}

fn cycle(c: &mut Criterion) {
    let (batch, mut session, mut server) = (batch(), Session::new(Quoting::Standard), Prepared::default());
    let answers = [
        Backend::PARSE_COMPLETE,
        Backend::BIND_COMPLETE,
        Backend::ROW_DESCRIPTION,
        Backend::DATA_ROW,
        Backend::COMMAND_COMPLETE,
        Backend::READY_FOR_QUERY,
    ];
    c.bench_function("decide on an extended query and its answer", |b| {
        b.iter(|| {
            for frame in &batch {
                black_box(session.on_client(black_box(frame), None));
            }
            for tag in answers {
                black_box(session.on_server(tag, b"I", &mut server));
            }
            session.lease_ended();
        });
    });
    assert!(session.is_settled() && !session.is_doubtful() && TxStatus::from_byte(b'I').is_some());
}

criterion_group!(benches, texts, borders, cycle);
criterion_main!(benches);
