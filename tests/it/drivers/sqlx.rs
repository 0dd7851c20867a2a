//! sqlx: its pool, its cache of statements, and what it sends without being asked.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::{join_all, try_join_all};
use sqlx_core::acquire::Acquire as _;
use sqlx_core::connection::{ConnectOptions as _, Connection as _};
use sqlx_core::decode::Decode;
use sqlx_core::encode::{Encode, IsNull};
use sqlx_core::error::{BoxDynError, Error};
use sqlx_core::executor::Executor as _;
use sqlx_core::migrate::{Migration, MigrationType, Migrator};
use sqlx_core::query::query;
use sqlx_core::query_scalar::query_scalar;
use sqlx_core::raw_sql::raw_sql;
use sqlx_core::row::Row as _;
use sqlx_core::types::Type;
use sqlx_postgres::types::{PgRecordDecoder, PgRecordEncoder};
use sqlx_postgres::{
    PgAdvisoryLock, PgArgumentBuffer, PgConnectOptions, PgHasArrayType, PgListener, PgPool, PgPoolCopyExt as _,
    PgPoolOptions, PgSslMode, PgTypeInfo, PgValueRef, Postgres,
};

use super::sides::{CLIENTS, Side, same};
use crate::harness::{Greenroom, eventually, soon};

type Answer<T> = Result<T, Error>;

fn options(side: &Side) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(side.port())
        .username(&side.user)
        .password(&side.password)
        .database(&side.database)
        .ssl_mode(PgSslMode::Disable)
}

/// As many clients as a plugin has, all of them connected.
async fn pool_of(options: PgConnectOptions) -> PgPool {
    let pool = PgPoolOptions::new().min_connections(CLIENTS).max_connections(CLIENTS);
    let pool = pool.connect_with(options).await.expect("a pool");
    let all = try_join_all((0..CLIENTS).map(|_| pool.acquire())).await.expect("every client");
    assert_eq!(pool.size() as usize, all.len());
    pool
}

async fn pool(side: &Side) -> PgPool {
    pool_of(options(side)).await
}

async fn count(pool: &PgPool) -> i64 {
    query_scalar("select count(*) from item").fetch_one(pool).await.expect("a count")
}

/// The SQLSTATE that this fails with.
fn code<T>(answer: Answer<T>) -> String {
    match answer {
        Ok(_) => "no error".to_owned(),
        Err(error) => match error.as_database_error().and_then(|error| error.code()) {
            Some(code) => code.into_owned(),
            None => panic!("no SQLSTATE: {error:?}"),
        },
    }
}

/// Many questions at once, over and over, each with an answer of its own.
async fn ask_much(side: Side, cached: usize) -> Vec<(i32, String)> {
    let pool = pool_of(options(&side).statement_cache_capacity(cached)).await;
    pool.execute("create table item (id int primary key, name text)").await.expect("a table");
    let asked = (0..120).map(|id: i32| {
        let pool = &pool;
        async move {
            let name = format!("item {id}");
            query("insert into item values ($1, $2)").bind(id).bind(&name).execute(pool).await?;
            let row = query("select id, name from item where id = $1").bind(id).fetch_one(pool).await?;
            let same: String = query_scalar("select $1::text").bind(&name).persistent(false).fetch_one(pool).await?;
            assert_eq!(same, name);
            // Six texts, so that a cache of two forgets.
            let number = format!("select $1::int + {}", id % 6);
            let sum: i32 = query_scalar(&number).bind(id).fetch_one(pool).await?;
            Answer::Ok((row.get::<i32, _>(0) + sum, row.get(1)))
        }
    });
    try_join_all(asked).await.expect("every answer")
}

#[tokio::test]
async fn sqlx_shares_the_statements_that_it_caches() {
    same(&[], async |side| ask_much(side, 100).await).await;
}

#[tokio::test]
async fn sqlx_forgets_statements_when_its_cache_is_full() {
    same(&[], async |side| ask_much(side, 2).await).await;
}

#[tokio::test]
async fn sqlx_without_a_cache_names_each_statement_anew() {
    same(&[], async |side| ask_much(side, 0).await).await;
}

#[tokio::test]
async fn sqlx_is_told_of_a_table_that_was_altered_under_its_cached_statement() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        pool.execute("create table item (id int); insert into item values (1)").await.unwrap();
        let mut client = pool.acquire().await.unwrap();
        let mut told = Vec::new();
        let text = "select * from item";
        told.push(query(text).fetch_one(&mut *client).await.unwrap().len().to_string());
        pool.execute("alter table item add column name text").await.unwrap();
        // It never prepares again by itself.
        for _ in 0..2 {
            told.push(code(query(text).fetch_one(&mut *client).await));
        }
        client.clear_cached_statements().await.unwrap();
        told.push(query(text).fetch_one(&mut *client).await.unwrap().len().to_string());
        // What is named by its columns goes on.
        let named = "select id from item";
        told.push(query(named).fetch_one(&mut *client).await.unwrap().len().to_string());
        pool.execute("alter table item drop column name, add column size int").await.unwrap();
        told.push(query(named).fetch_one(&mut *client).await.unwrap().len().to_string());
        let mut transaction = client.begin().await.unwrap();
        told.push(code(query(text).fetch_one(&mut *transaction).await));
        told.push(code(query(named).fetch_one(&mut *transaction).await));
        transaction.rollback().await.unwrap();
        told
    })
    .await;
}

#[tokio::test]
async fn sqlx_runs_transactions_and_savepoints_and_rolls_back_what_is_dropped() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        pool.execute("create table item (id int primary key)").await.unwrap();
        let mut told = Vec::new();
        let insert = |id: i32| query("insert into item values ($1)").bind(id);
        for round in 0..4 {
            let mut outer = pool.begin().await.unwrap();
            insert(round * 10).execute(&mut *outer).await.unwrap();
            let mut inner = outer.begin().await.unwrap();
            insert(round * 10 + 1).execute(&mut *inner).await.unwrap();
            told.push(code(insert(round * 10).execute(&mut *inner).await));
            told.push(code(insert(round * 10 + 2).execute(&mut *inner).await));
            match round % 2 {
                0 => inner.rollback().await.unwrap(),
                // Its ROLLBACK TO goes ahead of the next statement.
                _ => drop(inner),
            }
            let mut inner = outer.begin().await.unwrap();
            insert(round * 10 + 3).execute(&mut *inner).await.unwrap();
            inner.commit().await.unwrap();
            match round {
                0 | 1 => outer.commit().await.unwrap(),
                2 => outer.rollback().await.unwrap(),
                _ => drop(outer),
            }
            told.push(count(&pool).await.to_string());
        }
        let mut read = pool.begin_with("begin isolation level serializable read only").await.unwrap();
        told.push(code(insert(1000).execute(&mut *read).await));
        told
    })
    .await;
}

#[tokio::test]
async fn sqlx_drops_streams_half_read_and_goes_on() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        let text = "select n, repeat('x', 2000) from generate_series($1::int, 3000) n";
        let reads = (1..=12).map(|first: i32| {
            let pool = &pool;
            async move {
                let mut client = pool.acquire().await?;
                let mut rows = query(text).bind(first).fetch(&mut *client);
                let mut seen = Vec::new();
                for _ in 0..3 {
                    seen.push(rows.try_next().await?.expect("a row").get::<i32, _>(0));
                }
                drop(rows);
                if first % 2 == 0 {
                    // The rest is read before the next answer.
                    seen.push(query_scalar("select $1::int").bind(-first).fetch_one(&mut *client).await?);
                }
                // Otherwise it goes back to the pool as it is.
                Answer::Ok(seen)
            }
        });
        let mut seen = try_join_all(reads).await.unwrap();
        // The first row of many, and the rest thrown away.
        seen.push(vec![query(text).bind(5).fetch_one(&pool).await.unwrap().get(0)]);
        seen
    })
    .await;
}

#[tokio::test]
async fn sqlx_gives_up_a_query_and_reads_its_answer_before_the_next() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        let asked = (0..12).map(|id: i32| {
            let pool = &pool;
            async move {
                let mut client = pool.acquire().await.unwrap();
                let slow = query("select pg_sleep(0.3), 'late'").execute(&mut *client);
                let late = tokio::time::timeout(Duration::from_millis(60), slow).await;
                assert!(late.is_err(), "it was given up");
                query_scalar::<_, i32>("select $1::int").bind(id).fetch_one(&mut *client).await
            }
        });
        try_join_all(asked).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn sqlx_copies_both_ways_and_gives_up_a_copy() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        pool.execute("create table item (id int primary key, name text)").await.unwrap();
        let mut told = Vec::new();
        let mut into = pool.copy_in_raw("copy item from stdin").await.unwrap();
        for id in 0..2000 {
            into.send(format!("{id}\titem {id}\n").into_bytes()).await.unwrap();
        }
        told.push(into.finish().await.unwrap().to_string());
        let mut into = pool.copy_in_raw("copy item from stdin").await.unwrap();
        into.send(&b"5000\tgiven up\n"[..]).await.unwrap();
        into.abort("no more").await.unwrap();
        let mut into = pool.copy_in_raw("copy item from stdin").await.unwrap();
        into.send(&b"1\ttwice\n"[..]).await.unwrap();
        told.push(code(into.finish().await));
        told.push(count(&pool).await.to_string());
        let out = pool.copy_out_raw("copy (select * from item order by id) to stdout").await.unwrap();
        let bytes: Vec<_> = out.try_collect().await.unwrap();
        told.push(String::from_utf8(bytes.concat()).unwrap());
        told
    })
    .await;
}

#[tokio::test]
async fn sqlx_is_an_answer_behind_after_a_copy_that_was_dropped_half_way() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        pool.execute("create table item (id int primary key, name text)").await.unwrap();
        let clients = (0..12).map(|id: i32| {
            let (side, pool) = (&side, &pool);
            async move {
                // A pool closes such a connection when it gets it back.
                let mut into = pool.copy_in_raw("copy item from stdin").await.unwrap();
                into.send(format!("{id}\tgiven up\n").into_bytes()).await.unwrap();
                drop(into);
                let own = query_scalar::<_, i32>("select $1::int").bind(id).fetch_one(pool).await.unwrap();
                assert_eq!(own, id);

                let mut alone = options(side).connect().await.unwrap();
                let mut into = alone.copy_in_raw("copy item from stdin").await.unwrap();
                into.send(format!("{id}\tgiven up\n").into_bytes()).await.unwrap();
                drop(into);
                let mut told = Vec::new();
                for number in 1..5 {
                    let text = format!("select {number}");
                    let answer = raw_sql(&text).fetch_one(&mut alone).await;
                    told.push(match answer {
                        Ok(row) => row.get_unchecked::<String, _>(0),
                        failed => code(failed),
                    });
                }
                told
            }
        });
        let told = join_all(clients).await;
        assert_eq!(told[0], ["57014", "1", "2", "3"], "an answer behind");
        (told, count(&pool).await)
    })
    .await;
}

/// An enum of the database's own, which sqlx asks PostgreSQL about by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Calm,
    Wild,
}

impl Type<Postgres> for Mood {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("mood")
    }
}

impl PgHasArrayType for Mood {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("mood")
    }
}

impl Encode<'_, Postgres> for Mood {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let label = match self {
            Self::Calm => "calm",
            Self::Wild => "wild",
        };
        <&str as Encode<'_, Postgres>>::encode(label, buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Mood {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.as_str()? {
            "calm" => Ok(Self::Calm),
            "wild" => Ok(Self::Wild),
            other => Err(format!("no mood: {other}").into()),
        }
    }
}

/// A composite type with that enum inside.
#[derive(Debug, Clone, PartialEq)]
struct Visitor {
    name: String,
    mood: Mood,
}

impl Type<Postgres> for Visitor {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("visitor")
    }
}

impl Encode<'_, Postgres> for Visitor {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        PgRecordEncoder::new(buffer).encode(&self.name)?.encode(self.mood)?.finish();
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for Visitor {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let mut fields = PgRecordDecoder::new(value)?;
        Ok(Self { name: fields.try_decode()?, mood: fields.try_decode()? })
    }
}

#[tokio::test]
async fn sqlx_looks_up_the_types_that_it_does_not_know() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        let types = "create type mood as enum ('calm', 'wild'); create type visitor as (name text, mood mood);
                     create domain age as int check (value >= 0); create type span as range (subtype = float8);
                     create table visit (who visitor, moods mood[], age age, during span)";
        pool.execute(types).await.unwrap();
        side.together().await;
        // Each client asks for itself.
        let visits = (0..12).map(|number: i32| {
            let pool = &pool;
            async move {
                let mood = if number % 2 == 0 { Mood::Calm } else { Mood::Wild };
                let who = Visitor { name: format!("visitor {number}"), mood };
                let text = "insert into visit values ($1, $2, $3, span(0, $3)) returning who, moods, age, during";
                let row = query(text).bind(&who).bind(vec![mood, Mood::Calm]).bind(number).fetch_one(pool).await?;
                assert_eq!(row.get::<Visitor, _>(0), who);
                Answer::Ok((who, row.get::<Vec<Mood>, _>(1), row.try_get_unchecked::<i32, _>(2)?))
            }
        });
        let visits = try_join_all(visits).await.unwrap();
        let wild = query_scalar::<_, i64>("select count(*) from visit where (who).mood = $1").bind(Mood::Wild);
        (visits, wild.fetch_one(&pool).await.unwrap())
    })
    .await;
}

async fn notify(pool: &PgPool, channel: &str, payload: &str) {
    query("select pg_notify($1, $2)").bind(channel).bind(payload).execute(pool).await.expect("a notification");
}

/// Ends the listener's connection by the number that it has, and waits until it has connected again.
async fn end(listener: &mut PgListener, pool: &PgPool) {
    let pid = query_scalar("select pg_backend_pid()").persistent(false).fetch_one(&mut *listener).await;
    let pid: i32 = pid.expect("its number");
    let end = query_scalar("select pg_terminate_backend($1)").bind(pid);
    let ended: bool = end.fetch_one(pool).await.expect("a signal");
    assert!(ended);
    // It swallows the reason, and says only that something may have been missed.
    assert!(listener.try_recv().await.expect("another connection").is_none());
}

#[tokio::test]
async fn sqlx_listens_and_connects_again_when_its_listener_was_ended() {
    same(&[], async |side| {
        let pool = pool(&side).await;
        let (news, more) = (format!("news of {}", side.database), format!("more \"news\" of {}", side.database));
        let mut told = Vec::new();
        let mut listener = PgListener::connect_with(&pool).await.unwrap();
        listener.listen(&news).await.unwrap();
        listener.listen(&more).await.unwrap();
        notify(&pool, &news, "first").await;
        notify(&pool, &more, "second").await;
        for _ in 0..2 {
            let heard = listener.recv().await.unwrap();
            told.push(format!("{}: {}", heard.channel().replace(&side.database, "it"), heard.payload()));
        }
        // By the listener's own connection, in a transaction.
        let mut transaction = listener.begin().await.unwrap();
        query("select pg_notify($1, 'own')").bind(&news).execute(&mut *transaction).await.unwrap();
        told.push(query_scalar("select 'in between'").fetch_one(&mut *transaction).await.unwrap());
        transaction.commit().await.unwrap();
        told.push(listener.recv().await.unwrap().payload().to_owned());
        listener.unlisten(&more).await.unwrap();
        notify(&pool, &more, "unheard").await;
        notify(&pool, &news, "third").await;
        told.push(listener.recv().await.unwrap().payload().to_owned());

        end(&mut listener, &pool).await;
        notify(&pool, &news, "fourth").await;
        told.push(listener.recv().await.unwrap().payload().to_owned());
        told
    })
    .await;
}

#[tokio::test]
async fn sqlx_listens_to_several_channels_in_one_text() {
    // Of all plugins together more than there are servers.
    const LISTENERS: usize = 4;
    same(&[], async |side| {
        let pool = pool(&side).await;
        let channels = ["a", "b", "c"].map(|name| format!("{name} of {}", side.database));
        let mut told = Vec::new();
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            let mut listener = PgListener::connect_with(&pool).await.unwrap();
            listener.listen_all(channels.iter().map(|channel| &**channel)).await.unwrap();
            listeners.push(listener);
        }
        for round in 0..2 {
            for channel in &channels {
                notify(&pool, channel, &format!("{round}")).await;
                for listener in &mut listeners {
                    let heard = listener.recv().await.unwrap();
                    told.push((heard.channel() == channel, heard.payload().to_owned()));
                }
            }
            // It connects again with one text.
            for listener in &mut listeners {
                end(listener, &pool).await;
            }
        }
        told
    })
    .await;
}

#[tokio::test]
async fn sqlx_connects_again_when_greenrooms_own_listener_is_lost() {
    let room = Greenroom::start().servers(4).await;
    let side = Side::through(&room, "catalog");
    let pool = pool(&side).await;
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("news").await.unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where application_name = 'greenroom: listens for clients' and datname = current_database()";
    assert_eq!(room.stage().sql(end).await, ["t"]);
    assert!(
        soon("the loss", listener.try_recv()).await.unwrap().is_none(),
        "it is told that it may have missed something"
    );
    pool.execute("notify news, 'again'").await.unwrap();
    assert_eq!(soon("the news", listener.recv()).await.unwrap().payload(), "again");
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn sqlx_holds_advisory_locks_until_its_guards_are_gone() {
    same(&["advisory_lock"], async |side| {
        let pool = pool(&side).await;
        // The locks of a database are those of all schemas in it.
        let lock = PgAdvisoryLock::new(&side.database);
        let mut told = Vec::new();
        for round in 0..3 {
            let guard = lock.acquire(options(&side).connect().await.unwrap()).await.unwrap();
            let try_it = async || {
                let text = "select pg_try_advisory_xact_lock($1)";
                query_scalar(text).bind(lock.key().as_bigint()).fetch_one(&pool).await.map(|had: bool| had).unwrap()
            };
            told.push(try_it().await);
            let mut client = match round {
                0 => guard.release_now().await.unwrap(),
                1 => lock.force_release(guard.leak()).await.unwrap().0,
                _ => {
                    let mut client = guard.leak();
                    // A guard that is dropped has its unlock ride ahead of what comes next.
                    drop(lock.acquire(&mut client).await.unwrap());
                    lock.force_release(client).await.unwrap().0
                }
            };
            client.ping().await.unwrap();
            told.push(try_it().await);
            client.close().await.unwrap();
        }
        told
    })
    .await;
}

#[tokio::test]
async fn sqlx_gives_its_server_back_when_it_has_unlocked() {
    let room = Greenroom::start().servers(2).await;
    let side = Side::through(&room, "plugin0");
    let lock = PgAdvisoryLock::new(&side.database);
    let mut client = options(&side).connect().await.unwrap();
    for round in 0..3 {
        let mut guard = lock.acquire(client).await.unwrap();
        let text = format!("select $1::int + {round}");
        assert_eq!(query_scalar::<_, i32>(&text).bind(1).fetch_one(guard.as_mut()).await.unwrap(), round + 1);
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 1.0);
        client = guard.release_now().await.unwrap();
        let free = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("nothing keeps a server", free).await;
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &["reason=\"prepared_statement\""]), 0.0);
}

#[tokio::test]
async fn sqlx_migrates_once_whoever_comes_first() {
    same(&["advisory_lock"], async |side| {
        let migration = |version, text: &'static str| {
            Migration::new(version, Cow::Borrowed("step"), MigrationType::Simple, Cow::Borrowed(text), version == 3)
        };
        let steps = vec![
            migration(1, "create table item (id serial primary key, name text); create index on item (name)"),
            migration(2, "alter table item add column size int; insert into item (name) values ('first')"),
            migration(3, "vacuum item"),
        ];
        let migrator = Migrator { migrations: Cow::Owned(steps), ..Migrator::DEFAULT };
        let replica = || async {
            let mut client = options(&side).connect().await.unwrap();
            migrator.run(&mut client).await.unwrap();
            client.close().await.unwrap();
        };
        join_all([replica(), replica(), replica()]).await;
        let pool = pool(&side).await;
        let applied = query_scalar("select version from _sqlx_migrations where success order by version");
        (applied.fetch_all(&pool).await.map(|all: Vec<i64>| all).unwrap(), count(&pool).await)
    })
    .await;
}

#[tokio::test]
async fn sqlx_describes_a_statement_by_explaining_it_under_its_name() {
    same(&["sql_prepare"], async |side| {
        let pool = pool(&side).await;
        pool.execute("create table item (id int primary key, name text)").await.unwrap();
        let text = "select i.id, j.name, $1::int8 from item i left join item j on j.id = i.id + $2";
        let described = pool.describe(text).await.unwrap();
        format!("{:?} {:?}", described.nullable, described.parameters.map(|types| types.map_left(|types| types.len())))
    })
    .await;
}

#[tokio::test]
async fn sqlx_sends_several_statements_at_once_and_has_settings_of_its_own() {
    same(&[], async |side| {
        let pool = pool_of(options(&side).application_name("sqlx").options([("work_mem", "77kB")])).await;
        let text = "create table item (id int); insert into item select generate_series(1, 3);
                    select id from item where id > 1 order by id; select id * 10 from item order by 1";
        let mut told: Vec<_> = raw_sql(text).fetch_all(&pool).await.unwrap().iter().map(|row| row.get(0)).collect();
        let failing = raw_sql("insert into item values (4); select 1 / (id - 4) from item").execute(&pool).await;
        assert_eq!(code(failing), "22012");
        told.push(count(&pool).await as i32);
        let settings = "select current_setting('application_name') || ' ' || current_setting('work_mem')";
        let seen = try_join_all((0..12).map(|_| query_scalar::<_, String>(settings).fetch_one(&pool))).await.unwrap();
        let mut alone = options(&side).connect().await.unwrap();
        alone.ping().await.unwrap();
        alone.close().await.unwrap();
        (told, seen)
    })
    .await;
}
