//! State that is hidden where no text and no function's body shows it.

use super::Leaks;
use crate::harness::{Client, Greenroom};

/// Where it is hidden, how that is made, and a text that sets it free.
const HIDDEN: [(&str, &str, &str); 15] = [
    (
        "a domain's default",
        "create domain word as text default set_config('our.own', 'leak', false); create table t (a int, b word)",
        "insert into t (a) values (1)",
    ),
    (
        "a column's default",
        "create table t (a int, b text default set_config('our.own', 'leak', false))",
        "insert into t (a) values (1)",
    ),
    ("an operator", "create operator ## (rightarg = bigint, function = pg_advisory_lock)", "select ## 5"),
    (
        "an aggregate",
        "create aggregate sum_up (text, bool) (sfunc = set_config, stype = text, initcond = 'our.own')",
        "select sum_up('leak', false)",
    ),
    (
        "a trigger's condition",
        "create table t (a int);
         create function nothing() returns trigger language plpgsql as 'begin return new; end';
         create trigger look before insert on t for each row
             when (set_config('our.own', 'leak', false) is not null) execute function nothing()",
        "insert into t values (1)",
    ),
    (
        "a trigger",
        "create table t (a int);
         create function look() returns trigger language plpgsql as
             'begin perform set_config(''our.own'', ''leak'', false), pg_advisory_lock(5); return new; end';
         create trigger look before insert on t for each row execute function look()",
        "insert into t values (1)",
    ),
    (
        "an argument's default",
        "create function same(a text default set_config('our.own', 'leak', false)) returns text
             language sql as 'select a'",
        "select same()",
    ),
    ("a view", "create view v as select set_config('our.own', 'leak', false) as word", "select * from v"),
    (
        "a view of settings",
        "create view v as select * from pg_settings",
        "update v set setting = '77kB' where name = 'work_mem'",
    ),
    (
        "a function that changes settings",
        "create function f() returns void language sql as
             'update pg_catalog.pg_settings set setting = ''77kB'' where name = ''work_mem'''",
        "select f()",
    ),
    (
        "a name with an escape",
        "create function f() returns text language sql as 'select U&\"set\\005fconfig\"(''our.own'', ''leak'', false)'",
        "select f()",
    ),
    (
        "a rule",
        "create table t (a int);
         create rule r as on insert to t do also select set_config('our.own', 'leak', false)",
        "insert into t values (1)",
    ),
    (
        "a policy",
        "create table t (a int); alter table t force row level security; alter table t enable row level security;
         create policy p on t using (set_config('our.own', 'leak', false) is not null) with check (true);
         insert into t values (1)",
        "select * from t",
    ),
    (
        "a body that PostgreSQL has parsed",
        "create function same() returns text language sql
             begin atomic select set_config('our.own', 'leak', false); end",
        "select same()",
    ),
    (
        "a constraint",
        "create table t (a text check (set_config('our.own', a, false) is not null))",
        "insert into t values ('leak')",
    ),
];

/// The same, of what only a superuser may make.
const HIDDEN_BY_SUPERUSERS: [(&str, &str, &str); 2] = [
    (
        "one of PostgreSQL's functions under another name",
        "create function innocent(text, text, boolean) returns text language internal as 'set_config_by_name'",
        "select innocent('our.own', 'leak', false)",
    ),
    (
        "the order of a range",
        "create function compare(text, text) returns int language plpgsql immutable
             as $$ begin perform set_config('our.own', 'leak', false); return bttextcmp($1, $2); end $$;
         create operator class hidden for type text using btree
             as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 compare(text, text);
         create type words as range (subtype = text, subtype_opclass = hidden)",
        "select words('a', 'z')",
    ),
];

/// Runs the text as a client of greenroom, and fails the test when the next one finds a trace of it.
async fn assert_stays_hidden(leaks: &Leaks, place: &str, text: &str) {
    let client = leaks.room.client("catalog").await;
    client.run(text).await;
    drop(client);
    leaks.assert_none(place).await;
}

#[tokio::test]
async fn what_was_hidden_before_greenroom_came_leaves_nothing_for_the_next_client() {
    for (place, make, text) in HIDDEN {
        let mut room = Greenroom::start().servers(1).await;
        drop::<Client>(room.client("catalog").await);
        let stage = room.close().await;
        stage.client().await.run(&format!("set search_path to catalog; {make}")).await;
        let leaks = Leaks::of(Greenroom::start().servers(1).on(stage).await).await;
        assert_stays_hidden(&leaks, place, text).await;
    }
}

#[tokio::test]
async fn what_a_superuser_has_hidden_leaves_nothing_for_the_next_client() {
    for (place, make, text) in HIDDEN_BY_SUPERUSERS {
        let mut room = Greenroom::start().servers(1).await;
        drop::<Client>(room.client("catalog").await);
        let stage = room.close().await;
        stage.sql(&format!("set search_path to catalog; {make}")).await;
        let leaks = Leaks::of(Greenroom::start().servers(1).on(stage).await).await;
        assert_stays_hidden(&leaks, place, text).await;
    }
}

#[tokio::test]
async fn what_a_client_hides_leaves_nothing_for_the_next_client() {
    for (place, make, text) in HIDDEN {
        let leaks = Leaks::among(1).await;
        let client = leaks.room.client("catalog").await;
        client.run(make).await;
        drop(client);
        assert_stays_hidden(&leaks, place, text).await;
    }
}
