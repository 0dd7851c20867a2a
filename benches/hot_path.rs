//! What greenroom itself does with a transaction, without its bytes' way through sockets: scanning texts, deciding on frames,
//! lending a server.
//!
//! `cargo bench --bench hot_path`

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use greenroom::config::Config;
use greenroom::metrics::Metrics;
use greenroom::pool::{Kind, Member, Pools};
use greenroom::protocol::frame::{Header, MAX_MESSAGE_BYTES};
use greenroom::protocol::tag::TxStatus;
use greenroom::protocol::{Backend, Frontend, message};
use greenroom::route::RouteTable;
use greenroom::secret::Secrets;
use greenroom::session::{Prepared, Session};
use greenroom::sql::{Quoting, scan};
use greenroom::temp_postgres::TempPostgres;
use tokio::runtime::{Builder, Runtime};

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

/// Ten plugins that share few servers of a real PostgreSQL.
struct House {
    runtime: Runtime,
    plugins: Vec<Member>,
    _postgres: TempPostgres,
}

impl House {
    fn new(servers: u32) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let postgres = runtime.block_on(TempPostgres::start()).expect("PostgreSQL starts");
        let (port, password) = (postgres.port(), postgres.password());
        let config = Config::parse(&format!(
            "backend: {{ database: {{ client: pg, connection: {{ host: 127.0.0.1, port: {port}, user: postgres, \
             password: {password:?}, database: postgres }} }} }}\n\
             greenroom: {{ division: schema, maxServerConnections: {servers}, reservedConnections: 0 }}"
        ));
        let config = config.expect("it is right");
        let (routes, metrics) = (RouteTable::new(&config), Metrics::new(10));
        let pools = Pools::new(config.limits(), Secrets::new(Arc::clone(&metrics)), metrics);
        let member = |plugin: u32| {
            let route = routes.resolve(&format!("backstage_plugin_p{plugin}"), None).expect("it is a plugin's");
            let _context = runtime.enter();
            pools.member(&route).expect("it has no TLS")
        };
        let plugins = (0..10).map(member).collect();
        Self { runtime, plugins, _postgres: postgres }
    }

    /// Lends a server so often to clients of all plugins, each of which asks again as soon as it has given its own back.
    async fn lend_in_turn(&self, clients: usize, times: u64) {
        let left = Cell::new(times);
        let client = async |member: &Member| {
            while left.get() > 0 {
                let (lease, _) = member.acquire(Kind::Shared).await.expect("PostgreSQL runs");
                left.set(left.get().saturating_sub(1));
                lease.release();
            }
        };
        join_all((0..clients).map(|at| client(&self.plugins[at % self.plugins.len()]))).await;
    }
}

fn acquire(c: &mut Criterion) {
    let house = House::new(4);
    let mut group = c.benchmark_group("acquire");
    house.runtime.block_on(house.lend_in_turn(1, 1));
    group.bench_function("lend at once and give back", |b| {
        let _context = house.runtime.enter();
        b.iter(|| house.plugins[0].try_acquire().expect("one is idle").release());
    });
    for clients in [10, 200] {
        group.bench_function(format!("lend in turn, {clients} of ten plugins wait"), |b| {
            b.iter_custom(|times| {
                let began = Instant::now();
                house.runtime.block_on(house.lend_in_turn(clients, times));
                began.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, texts, borders, cycle, acquire);
criterion_main!(benches);
