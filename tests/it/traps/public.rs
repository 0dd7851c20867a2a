//! Statements that name the schema public by hand: RBAC's casbin_rule, as TypeORM writes it.

use crate::harness::frames::{Frame, extended, parse, query, sync};
use crate::harness::{Client, Greenroom, Log, Room};

const CREATE: &str = "CREATE TABLE \"public\".\"casbin_rule\" (\"id\" SERIAL NOT NULL, \"ptype\" character varying, \
                      \"v0\" character varying, CONSTRAINT \"PK_casbin\" PRIMARY KEY (\"id\"))";
const INSERT: &str = "INSERT INTO \"public\".\"casbin_rule\"(\"ptype\", \"v0\") VALUES ($1, $2) RETURNING \"id\"";
const SELECT: &str = "SELECT \"CasbinRule\".\"id\" AS \"CasbinRule_id\", \"CasbinRule\".\"v0\" AS \"CasbinRule_v0\" \
                      FROM \"public\".\"casbin_rule\" \"CasbinRule\"";
const SELECT_ONE: &str =
    "SELECT \"CasbinRule\".\"v0\" FROM \"public\".\"casbin_rule\" \"CasbinRule\" WHERE \"id\" = $1";

async fn counted(room: &Room, plugin: &str) -> f64 {
    room.metrics().await.sum("greenroom_public_references_total", &[&format!("plugin=\"{plugin}\"")])
}

#[tokio::test]
async fn casbins_statements_are_counted_and_told_once() {
    let log = Log::begin();
    let room = Greenroom::start().auth("trust").await;
    let mut client = room.raw("permission").await;
    let asked: [Vec<Frame>; 5] = [
        vec![query(CREATE)],
        extended(INSERT, &[Some("p"), Some("role:default/admin")]),
        vec![query(SELECT)],
        extended(SELECT, &[]),
        extended(SELECT_ONE, &[Some("1")]),
    ];
    for (at, frames) in asked.iter().enumerate() {
        let replies = client.ask(frames).await;
        assert!(replies.iter().all(|reply| reply.tag != b'E'), "{replies:?}");
        assert_eq!(counted(&room, "permission").await, (at + 1) as f64);
    }
    room.client("permission").await.run(SELECT).await;
    assert_eq!(log.lines(&["WARN", "permission", "schema public", "shared by all plugins"]).len(), 1);
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0, "naming public keeps no server");
    assert_eq!(room.stage().sql("select v0 from public.casbin_rule").await, ["role:default/admin"]);
}

#[tokio::test]
async fn a_text_that_comes_in_pieces_and_one_with_a_name_are_counted_too() {
    let room = Greenroom::start().auth("trust").await;
    let mut client = room.raw("permission").await;
    client.run(CREATE).await;
    let long = format!("select '{}' from \"public\".\"casbin_rule\"", "x".repeat(1 << 20));
    client.run(&long).await;
    client.ask(&[parse("named", SELECT), sync()]).await;
    assert_eq!(counted(&room, "permission").await, 3.0);
}

#[tokio::test]
async fn the_word_public_alone_is_not_counted() {
    let log = Log::begin();
    let room = Greenroom::start().await;
    let client = room.client("catalog").await;
    for sql in [
        "select 'public.casbin_rule', $$ public.x $$ -- public.x\n/* public.x */",
        "select count(*) from information_schema.tables where table_schema = 'public'",
        "create table t (public text); select public from t; select t.public from t; grant select on t to public",
    ] {
        client.run(sql).await;
    }
    assert_eq!(counted(&room, "catalog").await, 0.0);
    assert!(log.lines(&["schema public"]).is_empty());
}

#[tokio::test]
async fn public_is_nothing_special_where_a_plugin_has_the_whole_database() {
    let room = Greenroom::start().await;
    let shared = Client::connect(room.address(), &room.login, &room.password, &room.stage().database).await;
    shared.run("create table public.t (x int); select * from public.t").await;
    assert_eq!(room.metrics().await.sum("greenroom_public_references_total", &[]), 0.0);
}
