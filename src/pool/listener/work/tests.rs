use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::time::{advance, timeout};

use super::super::Ear;
use super::*;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pool::Pools;
use crate::protocol::tag::TxStatus;
use crate::route::RouteTable;
use crate::secret::Secrets;

/// Somebody with an ear, and whoever is at work for it; nothing is opened.
fn somebody() -> (AtWork, Ear) {
    let config = Config::parse(
        "backend: { database: { client: pg, connection: { host: 127.0.0.1, port: 1, user: u, password: p, database: shared } } }\n\
         greenroom: { division: schema }",
    );
    let config = config.expect("it is right");
    let route = RouteTable::new(&config).resolve("backstage_plugin_a", None).expect("it is a plugin's");
    let metrics = Metrics::new(10);
    let pools = Pools::new(config.limits(), Secrets::new(Arc::clone(&metrics)), metrics);
    let member = pools.member(&route).expect("it has no TLS");
    let listener = Listener::new("UTF8".into());
    assert!(member.pool.scheduler.look(|core| core.listener_begins()), "there is room");
    let number = listener.state.lock().new_id();
    listener.state.lock().at_work = Some(number);
    let ear = listener.ear(&member).expect("somebody is at work");
    (AtWork::begins(&listener, &member, number), ear)
}

/// A question of greenroom's, as PostgreSQL reads it.
async fn question(postgres: &mut DuplexStream) -> Vec<u8> {
    let tag = postgres.read_u8().await.expect("greenroom is there");
    assert_eq!(tag, b'Q');
    let mut text = vec![0; postgres.read_u32().await.expect("a whole message") as usize - 4];
    postgres.read_exact(&mut text).await.expect("a whole message");
    text
}

async fn answer(postgres: &mut DuplexStream) {
    let mut out = Vec::new();
    message::ready_for_query(&mut out, TxStatus::Idle);
    postgres.write_all(&out).await.expect("greenroom is there");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_any_more_is_given_up_after_half_a_minute() {
    let ((work, ear), (mut greenroom, mut postgres)) = (somebody(), duplex(64));
    let began = Instant::now();
    let swallows_everything = async {
        assert_eq!(question(&mut postgres).await, b"\0");
        assert_eq!(began.elapsed(), HEARTBEAT);
    };
    let talk = Talk::new(&work).until_its_end(&mut greenroom);
    let (reason, ()) = tokio::join!(talk, swallows_everything);
    assert_eq!((reason, began.elapsed()), (CloseReason::ServerEnded, HEARTBEAT + PATIENCE));
    work.ends(&ListenError::Lost);
    assert!(ear.deaf().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_question_just_before_the_heartbeat_has_as_much_time_as_any() {
    let ((work, ear), (mut greenroom, mut postgres)) = (somebody(), duplex(64));
    let busy = async move {
        advance(HEARTBEAT - Duration::from_millis(10)).await;
        let heard = ear.sync();
        assert_eq!(question(&mut postgres).await, b"\0");
        // A checkpoint, say.
        tokio::time::sleep(PATIENCE - Duration::from_millis(10)).await;
        answer(&mut postgres).await;
        heard.await;
        assert_eq!(ear.deaf(), None);
        drop(ear);
        postgres
    };
    let (reason, _) = tokio::join!(Talk::new(&work).until_its_end(&mut greenroom), busy);
    assert_eq!(reason, CloseReason::Unheard);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_is_kept_for_as_long_as_somebody_has_an_ear() {
    let ((work, ear), (mut greenroom, mut postgres)) = (somebody(), duplex(64));
    let answers = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3600) {
            question(&mut postgres).await;
            answer(&mut postgres).await;
        }
        drop(ear);
        // It is not asked again.
        assert!(timeout(2 * HEARTBEAT, question(&mut postgres)).await.is_err());
    };
    let talk = Talk::new(&work).until_its_end(&mut greenroom);
    tokio::select! {
        reason = talk => assert_eq!(reason, CloseReason::Unheard),
        () = answers => panic!("it should have ended"),
    }
}

/// What PostgreSQL says to a text that it refuses.
async fn refuse(postgres: &mut DuplexStream) {
    let mut out = Vec::new();
    message::frame(&mut out, Backend::ERROR.0, |out| out.extend_from_slice(b"SERROR\0C42601\0Mno\0\0"));
    message::ready_for_query(&mut out, TxStatus::Idle);
    postgres.write_all(&out).await.expect("greenroom is there");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_to_one_and_on_its_way_to_another_is_kept_when_a_third_ends_all() {
    let ((work, ear), (mut greenroom, mut postgres)) = (somebody(), duplex(1024));
    let ask = |sql: &str| {
        let commands = Command::read(sql.as_bytes()).expect("nothing but LISTEN and UNLISTEN");
        tokio::spawn(ear.listen(commands, sql.as_bytes()))
    };
    let asks = async {
        let refused = ask("listen ours; listen select");
        let granted = ask("listen ours");
        question(&mut postgres).await;
        question(&mut postgres).await;
        refuse(&mut postgres).await;
        assert!(refused.await.expect("it is answered").is_err());
        let third = ask("unlisten *; listen theirs");
        let text = question(&mut postgres).await;
        assert_eq!(String::from_utf8_lossy(&text), "unlisten *; listen theirs\n;LISTEN \"ours\"\0");
        answer(&mut postgres).await;
        answer(&mut postgres).await;
        assert!(granted.await.expect("it is answered").is_ok() && third.await.expect("it is answered").is_ok());
    };
    tokio::select! {
        reason = Talk::new(&work).until_its_end(&mut greenroom) => panic!("it ended: {reason:?}"),
        () = asks => {}
    }
}
