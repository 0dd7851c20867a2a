//! Who gets in, how, and what the others are told.

use crate::harness::frames::{GSSENC_REQUEST, SSL_REQUEST, query, request, startup};
use crate::harness::{Answer, FakeServer, Greenroom, RawClient, Startup, codes, rows, tags};

#[tokio::test]
async fn a_password_opens_the_plugins_database() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    assert!(tags(&client.hello).starts_with("RRRR"), "SCRAM has three requests and an end: {:?}", client.hello);
    assert_eq!(rows(&client.run("select current_schema()").await), ["catalog"]);
}

#[tokio::test]
async fn a_wrong_password_is_28p01_and_the_end() {
    let room = Greenroom::start().await;
    let mut startup = room.startup("catalog");
    startup.password = "something else".to_owned();
    let mut client = RawClient::try_log_in(room.address(), &startup).await;
    assert_eq!(codes(&client.hello), ["28P01"]);
    assert!(client.until_closed().await.is_empty());
}

#[tokio::test]
async fn an_unknown_user_is_told_the_same_as_one_with_a_wrong_password() {
    let room = Greenroom::start().await;
    let mut refusals = Vec::new();
    for (user, password) in [("nobody", &*room.password), (&*room.login, "something else")] {
        let startup = Startup::new(user, password, "backstage_plugin_catalog");
        let client = RawClient::try_log_in(room.address(), &startup).await;
        refusals.push((tags(&client.hello), codes(&client.hello)));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].1, ["28P01"]);
}

#[tokio::test]
async fn an_unknown_database_is_3d000_in_postgresqls_words() {
    let room = Greenroom::start().await;
    for name in ["nowhere", "backstage_plugin_", "template1", "backstage_plugin_a/b"] {
        let client = RawClient::try_log_in(room.address(), &Startup::new(&room.login, &room.password, name)).await;
        let last = client.hello.last().expect("a refusal");
        assert_eq!(last.code().as_deref(), Some("3D000"), "{name}: {:?}", client.hello);
        assert_eq!(last.field(b'M'), Some(format!("database \"{name}\" does not exist")));
        assert_eq!(last.field(b'S').as_deref(), Some("FATAL"));
    }
}

#[tokio::test]
async fn an_unknown_database_is_3d000_at_once_whatever_postgresql_does() {
    let fake = FakeServer::start(|_, _| Answer::Stall).await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    // The only server is being opened, and never will be.
    let mut waiting = RawClient::connect(room.address()).await;
    waiting.send_bytes(&startup(3 << 16, &room.startup("catalog").parameters)).await;
    let unknown = Startup::new(&room.login, &room.password, "nowhere");
    let asked = std::time::Instant::now();
    let refused = RawClient::try_log_in(room.address(), &unknown).await;
    assert_eq!(codes(&refused.hello), ["3D000"]);
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "it waited for PostgreSQL");
}

#[tokio::test]
async fn md5_and_trust_are_there_when_asked_for() {
    for (method, requests) in [("md5", "RR"), ("trust", "R")] {
        let room = Greenroom::start().auth(method).await;
        let client = room.raw("catalog").await;
        let asked: String = tags(&client.hello).chars().take_while(|tag| *tag == 'R').collect();
        assert_eq!(asked, requests, "{method}: {:?}", client.hello);
    }
    let room = Greenroom::start().auth("md5").await;
    let startup = Startup::new(&room.login, "something else", "backstage_plugin_catalog");
    assert_eq!(codes(&RawClient::try_log_in(room.address(), &startup).await.hello), ["28P01"]);
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_tcp() {
    let room = Greenroom::start().unix().await;
    let mut client = RawClient::log_in(room.socket(), &room.startup("catalog")).await;
    assert_eq!(rows(&client.run("select current_schema()").await), ["catalog"]);
}

#[tokio::test]
async fn encryption_that_is_not_there_is_refused_and_the_login_goes_on() {
    let room = Greenroom::start().await;
    let mut client = RawClient::connect(room.address()).await;
    for code in [GSSENC_REQUEST, SSL_REQUEST] {
        client.send_bytes(&request(code)).await;
        assert_eq!(client.byte().await, Some(b'N'));
    }
    client.say_hello(&room.startup("catalog")).await;
    assert_eq!(rows(&client.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn bytes_behind_an_encryption_request_end_the_connection() {
    let room = Greenroom::start().await;
    for code in [GSSENC_REQUEST, SSL_REQUEST] {
        let mut client = RawClient::connect(room.address()).await;
        let smuggled = startup(0x0003_0000, &room.startup("catalog").parameters);
        client.send_bytes(&[request(code), smuggled].concat()).await;
        let mut answer = Vec::new();
        while let Some(byte) = client.byte().await {
            answer.push(byte);
        }
        assert!(!answer.contains(&b'R'), "what came in clear must not become a login: {answer:?}");
    }
}

#[tokio::test]
async fn a_newer_protocol_is_negotiated_down() {
    let room = Greenroom::start().await;
    for (asked, spoken) in [(0x0003_0000, 0x0003_0000), (0x0003_0002, 0x0003_0002), (0x0003_270f, 0x0003_0002_u32)] {
        let startup = room.startup("catalog").version(asked).with("_pq_.future", "on");
        let mut client = RawClient::log_in(room.address(), &startup).await;
        let answer = client.hello.iter().find(|reply| reply.tag == b'v').expect("NegotiateProtocolVersion");
        let expected = [&spoken.to_be_bytes()[..], &[0, 0, 0, 1], b"_pq_.future\0"].concat();
        assert_eq!(answer.body, expected, "{asked:x}");
        assert_eq!(rows(&client.run("select 1").await), ["1"]);
    }
}

/// libpq of 18 asks for the version that it is told to; older ones do not know these variables.
#[tokio::test]
async fn psql_speaks_whatever_version_of_the_protocol_it_likes() {
    let room = Greenroom::start().await;
    for (least, most) in [("3.0", "3.0"), ("3.0", "latest"), ("3.2", "3.2"), ("latest", "latest")] {
        let psql = room.program("psql", "catalog").env("PGMINPROTOCOLVERSION", least).env("PGMAXPROTOCOLVERSION", most);
        assert_eq!(psql.args(&["-XAtc", "select 1"]).run().await, "1\n", "{least} to {most}");
    }
}

#[tokio::test]
async fn a_replication_connection_is_refused_and_told_where_to_go() {
    let room = Greenroom::start().await;
    for wanted in ["true", "1", "on", "yes", "TRUE", "t", "database"] {
        let startup = room.startup("catalog").with("replication", wanted);
        let client = RawClient::try_log_in(room.address(), &startup).await;
        let [refusal] = &client.hello[..] else { panic!("{wanted}: {:?}", client.hello) };
        assert_eq!(refusal.code().as_deref(), Some("0A000"), "{wanted}");
        let [severity, message, hint] = [b'S', b'M', b'H'].map(|field| refusal.field(field).unwrap_or_default());
        assert_eq!((&*severity, &*message), ("FATAL", "replication connections are not served by greenroom"));
        assert_eq!(hint, "Connect to PostgreSQL directly.");
    }
    let wrong = RawClient::try_log_in(room.address(), &room.startup("catalog").with("replication", "maybe")).await;
    assert_eq!(codes(&wrong.hello), ["22023"]);
    for none in ["false", "off", "0", "no"] {
        RawClient::log_in(room.address(), &room.startup("catalog").with("replication", none)).await;
    }
    let mut client = room.raw("catalog").await;
    assert_eq!(codes(&client.query("identify_system").await), ["42601"], "no command of replication");
    assert_eq!(rows(&client.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn an_older_protocol_is_refused() {
    let room = Greenroom::start().await;
    for version in [0x0002_0000, 0x0004_0000] {
        let client = RawClient::try_log_in(room.address(), &room.startup("catalog").version(version)).await;
        assert_eq!(codes(&client.hello), ["0A000"], "{version:x}");
    }
}

#[tokio::test]
async fn garbage_ends_its_connection_and_nothing_else() {
    let room = Greenroom::start().await;
    let wrong = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 3],
        &[0xff; 64],
        &[0, 0, 0, 8, 0, 3, 0, 0],
        &[0, 0, 0, 9, 0, 3, 0, 0, 0],
        &[0, 0, 0, 12, 0, 3, 0, 0, b'u', b's', b'e', b'r'],
        b"\x16\x03\x01\0\x05hello",
    ];
    for bytes in wrong {
        let mut client = RawClient::connect(room.address()).await;
        client.send_bytes(bytes).await;
        // Some are answered with an error, some are not worth one; all end.
        while client.byte().await.is_some() {}
    }
    assert_eq!(room.client("catalog").await.value("select 1").await, "1");
}

#[tokio::test]
async fn garbage_instead_of_a_password_ends_the_connection() {
    let room = Greenroom::start().await;
    for answer in [&b"p\0\0\0\0"[..], b"p\0\0\0\x04", b"p\0\0\0\x08\0\0\0\0", b"p\x7f\xff\xff\xff", b"Q\0\0\0\x06x\0"] {
        let mut client = RawClient::connect(room.address()).await;
        let hello = startup(0x0003_0000, &room.startup("catalog").parameters);
        client.send_bytes(&[&hello[..], answer].concat()).await;
        let replies = client.until_closed().await;
        assert!(!tags(&replies).contains('Z'), "{answer:?}: {replies:?}");
    }
    assert_eq!(room.client("catalog").await.value("select 1").await, "1");
}

#[tokio::test]
async fn a_query_right_behind_a_trusted_login_is_answered() {
    let room = Greenroom::start().auth("trust").await;
    let mut client = RawClient::connect(room.address()).await;
    let hello = startup(0x0003_0000, &room.startup("catalog").parameters);
    client.send_bytes(&[hello, query("select 'early'").bytes()].concat()).await;
    assert_eq!(rows(&client.until(b'Z', 2).await), ["early"]);
}

#[tokio::test]
async fn a_login_that_never_ends_is_ended() {
    let room = Greenroom::start().set("greenroom.timeouts.loginMillis", 200).await;
    let mut silent = RawClient::connect(room.address()).await;
    silent.until_closed().await;
    let mut half = RawClient::connect(room.address()).await;
    half.send_bytes(&startup(0x0003_0000, &room.startup("catalog").parameters)).await;
    half.until_closed().await;
}

#[tokio::test]
async fn keys_are_the_clients_own_and_above_every_real_process() {
    let room = Greenroom::start().await;
    let (one, other) = (room.raw("catalog").await, room.raw("catalog").await);
    assert!(one.key().0 > 1 << 22, "{:?}", one.key());
    assert_ne!(one.key(), other.key());
}

#[tokio::test]
async fn a_login_needs_no_server_once_the_parameters_are_known() {
    let room = Greenroom::start().servers(1).await;
    let mut holder = room.raw("catalog").await;
    holder.run("begin").await;
    let waiting = room.raw("catalog").await;
    assert!(waiting.hello.iter().any(|reply| reply.tag == b'S' && reply.word() == "server_version"));
}
