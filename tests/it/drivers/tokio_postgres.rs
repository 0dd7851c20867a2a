//! tokio-postgres: pipelines, portals, COPY, and the types that it looks up by itself.

use std::future::poll_fn;

use futures_util::future::{join_all, try_join_all};
use futures_util::{SinkExt as _, TryStreamExt as _, pin_mut};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::{Kind, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Socket, error::Error, tls::NoTlsStream};

use super::sides::{CLIENTS, Side, same};
use crate::harness::soon;

/// As many clients as a plugin has.
async fn clients(side: &Side) -> Vec<crate::harness::Client> {
    join_all((0..CLIENTS).map(|_| side.client())).await
}

/// A client whose connection the test reads itself.
async fn connect(side: &Side) -> (Client, Connection<Socket, NoTlsStream>) {
    let mut config = Config::new();
    config.host("127.0.0.1").port(side.port()).user(&side.user).password(&side.password).dbname(&side.database);
    config.connect(NoTls).await.expect("a login")
}

/// The SQLSTATE that this fails with.
fn code<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().unwrap_or_else(|| panic!("no SQLSTATE: {error:?}")).code().to_owned(),
    }
}

fn number(row: &Row) -> i32 {
    row.get(0)
}

#[tokio::test]
async fn tokio_postgres_pipelines_what_is_asked_at_once() {
    same(&[], async |side| {
        let clients = clients(&side).await;
        let asked = clients.iter().zip(0..).map(|(client, first)| async move {
            // All of them are on their way before the first is answered, with a failing one among them.
            let many = (first * 100..first * 100 + 40).map(|n: i32| async move {
                match n % 10 {
                    3 => code(client.query_one("select 1 / ($1::int - $1)", &[&n]).await),
                    4 => client
                        .batch_execute(&format!("select {n}; select 1"))
                        .await
                        .map(|()| "batch".to_owned())
                        .unwrap(),
                    5 => client
                        .query_typed("select $1 + 1", &[(&n, Type::INT4)])
                        .await
                        .map(|rows| number(&rows[0]))
                        .unwrap()
                        .to_string(),
                    _ => client.query_one("select $1::int", &[&n]).await.map(|row| number(&row)).unwrap().to_string(),
                }
            });
            join_all(many).await
        });
        join_all(asked).await
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_keeps_its_statements_and_closes_them() {
    same(&[], async |side| {
        let clients = clients(&side).await;
        clients[0].run("create table item (id int, name text); insert into item values (1, 'first')").await;
        let mut told = Vec::new();
        let statements = try_join_all(clients.iter().map(|client| client.prepare("select * from item"))).await.unwrap();
        for _ in 0..3 {
            let all = clients.iter().zip(&statements).map(|(client, statement)| client.query_one(statement, &[]));
            told.extend(try_join_all(all).await.unwrap().iter().map(|row| row.len().to_string()));
        }
        clients[0].run("alter table item add column size int").await;
        for (client, statement) in clients.iter().zip(&statements) {
            told.push(code(client.query_one(statement, &[]).await));
        }
        drop(statements);
        for client in &clients {
            let statement = client.prepare("select * from item").await.unwrap();
            told.push(client.query_one(&statement, &[]).await.unwrap().len().to_string());
            told.push(code(client.prepare("select * from nowhere").await));
        }
        told
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_looks_up_the_types_that_it_does_not_know() {
    same(&[], async |side| {
        let clients = clients(&side).await;
        clients[0]
            .run(
                "create type mood as enum ('calm', 'wild'); create type visitor as (name text, mood mood);
                  create domain age as int; create table visit (who visitor, moods mood[], age age)",
            )
            .await;
        side.together().await;
        // Each client asks for itself, about what is inside of what.
        let looked = clients.iter().map(|client| async move {
            let statement = client.prepare("insert into visit values ($1, $2, $3) returning *").await?;
            let kinds: Vec<_> = statement.params().iter().map(kind).collect();
            let columns: Vec<_> = statement.columns().iter().map(|column| kind(column.type_())).collect();
            Result::<_, Error>::Ok((kinds, columns))
        });
        try_join_all(looked).await.unwrap()
    })
    .await;
}

/// What a type is made of, by names.
fn kind(of: &Type) -> String {
    let inside = match of.kind() {
        Kind::Enum(labels) => labels.join(" "),
        Kind::Array(element) | Kind::Domain(element) | Kind::Range(element) => kind(element),
        Kind::Composite(fields) => fields.iter().map(|field| kind(field.type_())).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    format!("{}({inside})", of.name())
}

#[tokio::test]
async fn tokio_postgres_drops_rows_half_read_and_goes_on() {
    same(&[], async |side| {
        let clients = clients(&side).await;
        let reads = clients.iter().zip(1..).map(|(client, first): (_, i32)| async move {
            let mut seen = Vec::new();
            for round in 0..3 {
                let text = "select n, repeat('x', 2000) from generate_series($1::int, 5000) n";
                let rows = client.query_raw(text, [first + round]).await?;
                pin_mut!(rows);
                for _ in 0..3 {
                    seen.push(number(&rows.try_next().await?.expect("a row")));
                }
            }
            seen.push(number(&client.query_one("select $1::int", &[&-first]).await?));
            Result::<_, Error>::Ok(seen)
        });
        try_join_all(reads).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_runs_transactions_savepoints_and_portals() {
    same(&[], async |side| {
        let (mut client, other) = (side.client().await, side.client().await);
        client.run("create table item (id int primary key, name text)").await;
        let insert = client.prepare("insert into item values ($1, $2)").await.unwrap();
        let mut told = Vec::new();
        let mut outer = client.transaction().await.unwrap();
        for id in 0..20 {
            outer.execute(&insert, &[&id, &format!("item {id}")]).await.unwrap();
        }
        let mut inner = outer.savepoint("nested").await.unwrap();
        told.push(code(inner.execute(&insert, &[&3, &"twice"]).await));
        told.push(code(inner.query("select 1", &[]).await));
        inner.rollback().await.unwrap();
        inner = outer.transaction().await.unwrap();
        inner.execute(&insert, &[&20, &"inner"]).await.unwrap();
        inner.commit().await.unwrap();
        // Two portals are read in turns.
        let up = outer.bind("select id from item order by id", &[]).await.unwrap();
        let down = outer.bind("select id from item where id < $1 order by id desc", &[&10]).await.unwrap();
        for most in [7, 2, 0] {
            for portal in [&up, &down] {
                let rows = outer.query_portal(portal, most).await.unwrap();
                told.push(rows.iter().map(|row| number(row).to_string()).collect::<Vec<_>>().join(" "));
            }
        }
        told.push(other.value("select count(*) from item").await);
        outer.commit().await.unwrap();
        told.push(other.value("select count(*) from item").await);
        // One that is dropped is rolled back by itself.
        let dropped = client.transaction().await.unwrap();
        dropped.batch_execute("delete from item; select 1").await.unwrap();
        drop(dropped);
        told.push(client.value("select count(*) from item").await);
        let strict = client.build_transaction().read_only(true).deferrable(true);
        let strict = strict.isolation_level(tokio_postgres::IsolationLevel::Serializable).start().await.unwrap();
        told.push(code(strict.execute(&insert, &[&99, &"no"]).await));
        told
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_copies_in_text_and_in_binary_and_gives_up() {
    same(&[], async |side| {
        let client = side.client().await;
        client.run("create table item (id int primary key, name text)").await;
        let mut told = Vec::new();
        let sink = client.copy_in("copy item from stdin").await.unwrap();
        pin_mut!(sink);
        for id in 0..1000 {
            sink.send(bytes::Bytes::from(format!("{id}\titem {id}\n"))).await.unwrap();
        }
        told.push(sink.finish().await.unwrap().to_string());
        let types = [Type::INT4, Type::TEXT];
        let writer = BinaryCopyInWriter::new(client.copy_in("copy item from stdin binary").await.unwrap(), &types);
        pin_mut!(writer);
        for id in 1000..2000 {
            writer.as_mut().write(&[&id as &(dyn ToSql + Sync), &format!("item {id}")]).await.unwrap();
        }
        told.push(writer.finish().await.unwrap().to_string());
        // One that is dropped is a failed one.
        let sink = client.copy_in("copy item from stdin").await.unwrap();
        {
            pin_mut!(sink);
            sink.send(bytes::Bytes::from_static(b"5000\tdropped\n")).await.unwrap();
        }
        let sink = client.copy_in("copy item from stdin").await.unwrap();
        pin_mut!(sink);
        sink.send(bytes::Bytes::from_static(b"1\ttwice\n")).await.unwrap();
        told.push(code(sink.finish().await));
        told.push(client.value("select count(*) from item").await);
        let rows = client.copy_out("copy (select * from item order by id) to stdout binary").await.unwrap();
        let rows: Vec<_> = BinaryCopyOutStream::new(rows, &types).try_collect().await.unwrap();
        told.push(rows.iter().map(|row| row.get::<i32>(0).to_string() + row.get::<&str>(1)).collect());
        // Dropped in the middle.
        let out = client.copy_out("copy (select n from generate_series(1, 100000) n) to stdout").await.unwrap();
        {
            pin_mut!(out);
            told.push(out.try_next().await.unwrap().is_some().to_string());
        }
        told.push(client.value("select 1").await);
        told
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_hears_notifications_and_notices_between_its_answers() {
    same(&[], async |side| {
        let (client, mut connection) = connect(&side).await;
        let (heard_one, mut heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                let text = match message {
                    AsyncMessage::Notification(told) => format!("{}: {}", told.channel(), told.payload()),
                    AsyncMessage::Notice(told) => told.message().to_owned(),
                    _ => "another message".to_owned(),
                };
                let _ = heard_one.send(text);
            }
        });
        let other = side.client().await;
        let channel = format!("news of {}", side.database);
        let notify = format!("notify \"{channel}\", ");
        client.batch_execute(&format!("listen \"{channel}\"")).await.unwrap();
        client.batch_execute("drop table if exists nowhere").await.unwrap();
        other.run(&format!("{notify} 'while it is idle'")).await;
        let mut told = vec![heard.recv().await.unwrap(), heard.recv().await.unwrap()];
        client.batch_execute(&format!("{notify} 'own'")).await.unwrap();
        told.push(heard.recv().await.unwrap());
        client.batch_execute(&format!("unlisten \"{channel}\"")).await.unwrap();
        client.batch_execute(&format!("{notify} 'unheard'; drop table if exists last")).await.unwrap();
        told.push(heard.recv().await.unwrap());
        told.iter().map(|text| text.replace(&channel, "news")).collect::<Vec<_>>()
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_cancels_by_its_token_and_no_one_else() {
    same(&[], async |side| {
        let clients = clients(&side).await;
        let (victim, others) = clients.split_first().expect("some clients");
        let mut told = Vec::new();
        for _ in 0..2 {
            let cancel = async {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                victim.cancel_token().cancel_query(NoTls).await.unwrap();
            };
            let unhurt = join_all(others[..2].iter().map(|client| client.value("select pg_sleep(0.5), 'unhurt'")));
            let (code, (), unhurt) = tokio::join!(victim.failure("select pg_sleep(60)"), cancel, unhurt);
            told.push(code);
            told.push(unhurt.len().to_string());
            told.push(soon("the next answer", victim.value("select 1")).await);
        }
        told
    })
    .await;
}
