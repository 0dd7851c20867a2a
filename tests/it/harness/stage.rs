//! A database and a login of a test's own: on the PostgreSQL that the tests share, or on one that a test may break.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use greenroom::config::ListenAddress;
use greenroom::temp_postgres::{Builder, StartError, TempPostgres};
use tokio::sync::OnceCell;

use super::{Client, RawClient, Startup};

/// The PostgreSQL that the tests share. Its own guard ends it with this process, for nobody ever drops a static.
static SHARED: OnceCell<TempPostgres> = OnceCell::const_new();

static STAGES: AtomicU32 = AtomicU32::new(1);

/// The role that every stage's login is a member of.
pub(crate) const STAGEHAND: &str = "stagehand";

/// One physical database, and a login that owns it and may neither create databases nor see what others do.
#[derive(Debug)]
pub(crate) struct Stage {
    house: House,
    /// The physical database.
    pub(crate) database: String,
    /// The login, which owns the database.
    pub(crate) login: String,
    /// The login's password.
    pub(crate) password: String,
}

#[derive(Debug)]
enum House {
    Shared(&'static TempPostgres),
    Own(Box<TempPostgres>),
}

impl Stage {
    /// A database on the shared PostgreSQL.
    pub(crate) async fn shared() -> Self {
        let postgres = SHARED.get_or_init(|| open(builder())).await;
        Self::build(House::Shared(postgres)).await
    }

    /// A PostgreSQL of the test's own, with these settings, which it may stop and kill.
    pub(crate) async fn own(settings: &[(&str, &str)]) -> Self {
        let builder = settings.iter().fold(builder(), |builder, (name, value)| builder.setting(*name, *value));
        Self::build(House::Own(Box::new(open(builder).await))).await
    }

    /// A PostgreSQL of the test's own that lets in over TCP only who uses TLS; nobody vouches for its certificate.
    pub(crate) async fn encrypted() -> Self {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let only_tls = |builder: Builder| builder.tls(&cert, &key).hba(["hostssl all all all scram-sha-256"]);
        Self::build(House::Own(Box::new(open_with_tls(only_tls).await))).await
    }

    /// A PostgreSQL of the test's own that speaks TLS with this certificate and key.
    pub(crate) async fn with_tls(cert: &str, key: &str) -> Self {
        let postgres = open_with_tls(|builder| builder.tls(cert, key)).await;
        Self::build(House::Own(Box::new(postgres))).await
    }

    async fn build(house: House) -> Self {
        let name = format!("backstage_{}", STAGES.fetch_add(1, Ordering::Relaxed));
        let password = format!("secret of {name}");
        let stage = Self { house, database: name.clone(), login: name, password };
        let Self { login, password, .. } = &stage;
        stage
            .admin(&format!(
                "create role {login} login password '{password}'; grant {STAGEHAND} to {login};
                 grant pg_read_all_stats to {login}"
            ))
            .await;
        stage.create_database(&stage.database).await;
        stage
    }

    /// The PostgreSQL under the stage.
    pub(crate) fn postgres(&self) -> &TempPostgres {
        match &self.house {
            House::Shared(postgres) => postgres,
            House::Own(postgres) => postgres,
        }
    }

    /// The PostgreSQL under the stage, to stop and kill it; only for [`own`](Self::own) ones.
    pub(crate) fn postgres_mut(&mut self) -> &mut TempPostgres {
        match &mut self.house {
            House::Shared(_) => panic!("other tests use this PostgreSQL"),
            House::Own(postgres) => postgres,
        }
    }

    /// Where PostgreSQL listens.
    pub(crate) fn address(&self) -> ListenAddress {
        ListenAddress::Tcp { host: "127.0.0.1".into(), port: self.postgres().port() }
    }

    /// Makes one more database that the login owns.
    pub(crate) async fn create_database(&self, name: &str) {
        self.admin(&format!("create database \"{name}\" owner {}", self.login)).await;
    }

    /// Runs statements as the superuser in the stage's database; the first column of every row comes back.
    pub(crate) async fn sql(&self, statements: &str) -> Vec<String> {
        self.sql_in(&self.database, statements).await
    }

    /// Runs statements as the superuser in any database.
    pub(crate) async fn sql_in(&self, database: &str, statements: &str) -> Vec<String> {
        let rows = self.postgres().sql(database, statements).await;
        let rows = rows.unwrap_or_else(|error| panic!("{statements}: {error}"));
        rows.into_iter().map(|row| row.into_iter().next().flatten().unwrap_or_else(|| "null".to_owned())).collect()
    }

    async fn admin(&self, statements: &str) {
        self.sql_in("postgres", statements).await;
    }

    /// The connections of the stage's login that PostgreSQL counts now.
    pub(crate) async fn connections(&self) -> usize {
        let count = format!("select count(*) from pg_stat_activity where usename = '{}'", self.login);
        self.sql(&count).await[0].parse().expect("a count is a number")
    }

    /// A direct connection to PostgreSQL, to the stage's database.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.address(), &self.login, &self.password, &self.database).await
    }

    /// The same, made of hand-written frames.
    pub(crate) async fn raw(&self) -> RawClient {
        RawClient::log_in(&self.address(), &self.startup(&self.database)).await
    }

    /// What the login says to enter a database.
    pub(crate) fn startup(&self, database: &str) -> Startup {
        Startup::new(&self.login, &self.password, database)
    }
}

impl Drop for Stage {
    /// Gives the disk back while other tests run; what is left goes with the PostgreSQL.
    fn drop(&mut self) {
        let House::Shared(postgres) = self.house else { return };
        let mut psql = std::process::Command::new(postgres.bin_dir().join("psql"));
        psql.args(["-X", "-q", "-c", &format!("drop database if exists {} with (force)", self.database)])
            .arg(postgres.url("postgres"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        std::thread::spawn(move || psql.status());
    }
}

fn builder() -> Builder {
    match std::env::var_os("GREENROOM_PG_BIN") {
        Some(dir) => machines_own().bin_dir(dir),
        None => machines_own(),
    }
}

fn machines_own() -> Builder {
    TempPostgres::builder().setting("max_connections", "200")
}

async fn open(builder: Builder) -> TempPostgres {
    furnished(builder.start().await).await
}

/// One that speaks TLS. Where the PostgreSQL that was named for the tests is built without, it is this machine's own.
async fn open_with_tls(with_tls: impl Fn(Builder) -> Builder) -> TempPostgres {
    match with_tls(builder()).start().await {
        Err(StartError::Exited { log }) if log.contains("SSL is not supported by this build") => {
            open(with_tls(machines_own())).await
        }
        started => furnished(started).await,
    }
}

async fn furnished(started: Result<TempPostgres, StartError>) -> TempPostgres {
    let postgres = started.unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error}"));
    postgres.sql("postgres", &format!("create role {STAGEHAND}")).await.expect("a superuser may create a role");
    postgres
}
