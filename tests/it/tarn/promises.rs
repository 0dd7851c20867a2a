//! tarn's rules one by one, as Backstage's pools live by them: what is opened, for whom, who gets it, and when it is closed.
//!
//! A story has a line for everything that happens, after the milliseconds since the beginning. Servers and clients are
//! numbered from 1.

use std::time::Duration;

use greenroom::pool::AcquireError;
use tokio::time::sleep;

use super::house::{House, Lent, Plan};
use super::postgres::Login;

async fn millis(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

async fn lent<const N: usize>(house: &House) -> [Lent; N] {
    let mut lent = Vec::new();
    for client in 1..=N {
        lent.push(house.acquire(client).await.expect("there is room"));
    }
    lent.try_into().expect("as many as were asked for")
}

fn gives_back(lent: impl IntoIterator<Item = Lent>) {
    lent.into_iter().for_each(Lent::give_back);
}

#[test]
fn nothing_is_opened_until_somebody_asks_and_then_one_whatever_min_says() {
    let story = Plan::new("{ min: 3 }").story(async |house| {
        millis(60_000).await;
        let _kept = house.acquire(1).await;
        millis(60_000).await;
    });
    assert_eq!(story, ["60000 opens 1", "60005 open 1", "60005 lent 1 to 1"]);
}

#[test]
fn min_keeps_what_is_open_and_opens_nothing() {
    let story = Plan::new("{ min: 2, idleTimeoutMillis: 1000 }").story(async |house| {
        let [first, second, third] = lent(house).await;
        gives_back([first, second, third]);
        millis(60_000).await;
        for server in [2, 3] {
            house.postgres.kill(server);
        }
        millis(60_000).await;
    });
    // PostgreSQL ends the two that min has kept.
    assert_eq!(story[12..], ["2005 closed 1", "60015 died 2", "60015 died 3"]);
}

#[test]
fn lent_servers_count_towards_min() {
    let story = Plan::new("{ min: 2, idleTimeoutMillis: 10000 }").story(async |house| {
        let [one, two, three, four, five, kept] = lent(house).await;
        gives_back([one, two, three, four, five]);
        millis(60_000).await;
        kept.give_back();
    });
    // All five are due at the same look: one of them stays beside the one that is lent.
    assert_eq!(story[23..], ["11005 closed 1", "11005 closed 2", "11005 closed 3", "11005 closed 4", "60030 back 6"]);
}

#[test]
fn servers_that_are_being_opened_do_not_count_towards_min() {
    let logins = [Login::works_after(5), Login::works_after(20_000)];
    let story = Plan::new("{ min: 1, idleTimeoutMillis: 1000 }").logins(logins).story(async |house| {
        let [one] = lent(house).await;
        let asking = house.ask(2).await;
        house.give_up(2, asking).await;
        one.give_back();
        millis(60_000).await;
    });
    assert_eq!(story[3..], ["5 opens 2", "5 left 2", "5 back 1", "20005 open 2", "21005 closed 1"]);
}

#[test]
fn the_one_that_was_given_back_first_is_closed_first() {
    let story = Plan::new("{ min: 1, idleTimeoutMillis: 1000, reapIntervalMillis: 5000 }").story(async |house| {
        let [one, two, three] = lent(house).await;
        gives_back([two, three, one]);
        millis(10_000).await;
    });
    assert_eq!(story[9..], ["15 back 2", "15 back 3", "15 back 1", "5005 closed 2", "5005 closed 3"]);
}

#[test]
fn idle_servers_are_looked_at_from_the_first_one_that_is_open_until_none_is() {
    let story = Plan::new("{ idleTimeoutMillis: 1000, reapIntervalMillis: 700 }").story(async |house| {
        millis(100).await;
        house.acquire(1).await.expect("there is room").give_back();
        millis(4_895).await;
        house.acquire(2).await.expect("there is room").give_back();
        millis(5_000).await;
    });
    assert_eq!(
        story,
        [
            "100 opens 1",
            "105 open 1",
            "105 lent 1 to 1",
            "105 back 1",
            // At 805 it was idle for too short a time.
            "1505 closed 1",
            "5000 opens 2",
            "5005 open 2",
            "5005 lent 2 to 2",
            "5005 back 2",
            "6405 closed 2"
        ]
    );
}

#[test]
fn the_server_that_was_given_back_last_is_lent_first() {
    let story = Plan::new("{}").story(async |house| {
        let [one, two, three] = lent(house).await;
        gives_back([one, three, two]);
        let _kept = [house.acquire(4).await, house.acquire(5).await, house.acquire(6).await];
    });
    assert_eq!(story[12..], ["15 lent 2 to 4", "15 lent 3 to 5", "15 lent 1 to 6"]);
}

#[test]
fn who_waits_longest_is_served_first() {
    let story = Plan::new("{ max: 2 }").story(async |house| {
        let [one, two] = lent(house).await;
        let _waiting = [house.ask(3).await, house.ask(4).await];
        millis(10).await;
        two.give_back();
        millis(10).await;
        one.give_back();
        millis(10).await;
    });
    assert_eq!(story[6..], ["20 back 2", "20 lent 2 to 3", "30 back 1", "30 lent 1 to 4"]);
}

#[test]
fn one_is_opened_for_each_who_waits_as_far_as_max_allows() {
    let story = Plan::new("{ max: 3 }").story(async |house| {
        let _asking =
            [house.ask(1).await, house.ask(2).await, house.ask(3).await, house.ask(4).await, house.ask(5).await];
        millis(1_000).await;
    });
    assert_eq!(story[..3], ["0 opens 1", "0 opens 2", "0 opens 3"]);
    assert_eq!(story[3..].len(), 6, "three are open and lent: {story:?}");
}

#[test]
fn servers_that_are_lent_and_those_that_are_being_opened_count_towards_max_together() {
    let slow = Login::works_after(500);
    let story = Plan::new("{ max: 2 }").logins([Login::works_after(5), slow]).story(async |house| {
        let [_kept] = lent(house).await;
        let _asking = [house.ask(2).await, house.ask(3).await];
        millis(400).await;
    });
    assert_eq!(story[3..], ["5 opens 2"]);
}

#[test]
fn a_new_server_goes_to_whoever_waits_longest_and_not_to_the_one_it_was_opened_for() {
    let story = Plan::new("{}").logins([Login::works_after(500), Login::works_after(20)]).story(async |house| {
        let _asking = [house.ask(1).await, house.ask(2).await];
        millis(1_000).await;
    });
    assert_eq!(story, ["0 opens 1", "0 opens 2", "20 open 2", "20 lent 2 to 1", "500 open 1", "500 lent 1 to 2"]);
}

#[test]
fn a_server_whose_client_did_not_wait_for_it_is_kept_for_the_next_one() {
    let story = Plan::new("{}").logins([Login::works_after(500)]).story(async |house| {
        let asking = house.ask(1).await;
        millis(100).await;
        house.give_up(1, asking).await;
        millis(1_000).await;
        let _kept = house.acquire(2).await;
    });
    assert_eq!(story, ["0 opens 1", "100 left 1", "500 open 1", "1100 lent 1 to 2"]);
}

#[test]
fn a_failed_connect_is_told_to_whoever_waits_longest_and_tried_again_for_the_others() {
    let logins = [Login::fails_after(10), Login::works_after(10)];
    let story = Plan::new("{ max: 1, createRetryIntervalMillis: 300 }").logins(logins).story(async |house| {
        let _asking = [house.ask(1).await, house.ask(2).await];
        millis(1_000).await;
    });
    assert_eq!(
        story,
        ["0 opens 1", "10 failed 1", "10 refused 1: login 1 failed", "310 opens 2", "320 open 2", "320 lent 2 to 2"]
    );
}

#[test]
fn a_failed_connect_that_is_not_to_be_told_is_tried_again_until_the_wait_is_over() {
    let limits = "{ propagateCreateError: false, createRetryIntervalMillis: 300, acquireTimeoutMillis: 1000 }";
    let story = Plan::new(limits).logins([Login::fails_after(100)]).story(async |house| {
        let Err(AcquireError::TimedOut { source, .. }) = house.acquire(1).await else { panic!("nothing can be lent") };
        assert!(source.expect("there is a reason").to_string().contains("failed"));
        millis(1_000).await;
    });
    assert_eq!(
        story,
        [
            "0 opens 1",
            "100 failed 1",
            "400 opens 2",
            "500 failed 2",
            "800 opens 3",
            "900 failed 3",
            "1000 refused 1: timeout"
        ]
    );
}

#[test]
fn whoever_asks_has_a_connect_tried_though_the_last_one_has_just_failed() {
    let logins = [Login::fails_after(10), Login::works_after(10)];
    let story = Plan::new("{ createRetryIntervalMillis: 300 }").logins(logins).story(async |house| {
        house.acquire(1).await.expect_err("it fails");
        millis(20).await;
        let _kept = house.acquire(2).await;
        millis(1_000).await;
    });
    assert_eq!(story[3..], ["30 opens 2", "40 open 2", "40 lent 2 to 2"]);
}

#[test]
fn a_connect_that_failed_before_somebody_asked_is_not_why_he_waited_in_vain() {
    let logins = [Login::works_after(5), Login::fails_after(10), Login::works_after(20_000)];
    Plan::new("{ acquireTimeoutMillis: 1000 }").logins(logins).story(async |house| {
        let [_kept] = lent(house).await;
        house.acquire(2).await.expect_err("it fails");
        millis(10).await;
        let Err(AcquireError::TimedOut { source, .. }) = house.acquire(3).await else { panic!("nothing can be lent") };
        assert!(source.is_none(), "{source:?}");
    });
}

/// tarn has a function of the pool's owner look at a server whenever it is lent; greenroom sees for itself whether PostgreSQL
/// has ended it, and closes it at the next look at idle ones if nobody asks.
#[test]
fn a_server_that_died_is_not_lent_and_the_next_one_is() {
    let story = Plan::new("{}").story(async |house| {
        let [one, two, three] = lent(house).await;
        gives_back([one, two, three]);
        for server in [2, 3] {
            house.postgres.kill(server);
        }
        millis(10).await;
        let _kept = [house.acquire(4).await, house.acquire(5).await];
    });
    assert_eq!(story[12..], ["15 died 2", "15 died 3", "25 lent 1 to 4", "25 opens 4", "30 open 4", "30 lent 4 to 5"]);
}

#[test]
fn who_was_given_a_dead_server_is_still_the_first_of_those_who_wait() {
    let story = Plan::new("{ max: 1 }").story(async |house| {
        let [one] = lent(house).await;
        let _asking = [house.ask(2).await, house.ask(3).await];
        house.postgres.kill(1);
        millis(10).await;
        one.give_back();
        millis(10).await;
    });
    assert_eq!(story[3..], ["5 died 1", "15 back 1", "15 opens 2", "20 open 2", "20 lent 2 to 2"]);
}

/// tarn lets anything be released and says whether it was a server of its own; here a lease is used up when its server is given
/// back, so that there is no second time.
#[test]
fn a_server_has_been_idle_since_it_was_given_back_last() {
    let story = Plan::new("{ idleTimeoutMillis: 5000 }").story(async |house| {
        house.acquire(1).await.expect("there is room").give_back();
        for _ in 0..5 {
            millis(4_000).await;
            house.acquire(1).await.expect("it is idle").give_back();
        }
        millis(60_000).await;
    });
    assert_eq!(story.last().map(String::as_str), Some("25005 closed 1"));
    assert!(!story.iter().any(|line| line.ends_with("opens 2")), "{story:?}");
}

/// tarn forgets a server as soon as it has asked for its end, and so does a plugin's `max`; the ceiling does not, so that
/// PostgreSQL never sees more connections than that.
#[test]
fn a_server_that_is_slow_to_close_does_not_count_towards_max_but_under_the_ceiling() {
    let plan = Plan::new("{ max: 1, idleTimeoutMillis: 1000 }").slow_to_close(Duration::from_secs(3));
    let again = async |house: &House| {
        house.acquire(1).await.expect("there is room").give_back();
        millis(2_495).await;
        let _kept = house.acquire(2).await;
    };
    let story = plan.clone().story(again);
    assert_eq!(story[4..], ["1005 closed 1", "2500 opens 2", "2505 open 2", "2505 lent 2 to 2"]);
    let story = plan.ceiling(1).story(again);
    assert_eq!(story[4..], ["1005 closed 1", "4005 opens 2", "4010 open 2", "4010 lent 2 to 2"]);
}
