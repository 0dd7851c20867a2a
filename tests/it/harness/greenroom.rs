//! A greenroom, described by a sentence.

use std::future::IntoFuture;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use greenroom::config::Config;
use greenroom::proxy::Proxy;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{FakeServer, Room, Stage};

/// Describes a greenroom; awaiting it starts it.
///
/// ```ignore
/// let room = Greenroom::start().servers(3).pool("catalog", |limits| limits.max(1)).await;
/// ```
#[derive(Debug, Default)]
pub(crate) struct Greenroom {
    config: Value,
    stage: Option<Stage>,
    server: Option<(u16, String, String)>,
    socket_dir: Option<PathBuf>,
}

impl Greenroom {
    /// Schema division in one shared database, scram-sha-256, a free port.
    pub(crate) fn start() -> Self {
        let config = json!({
            "backend": { "database": { "client": "pg" } },
            "greenroom": {
                "listen": [{ "host": "127.0.0.1", "port": 0 }],
                "http": { "host": "127.0.0.1", "port": 0 },
                "division": "schema",
            },
        });
        Self { config, stage: None, server: None, socket_dir: None }
    }

    /// Sets any key: `greenroom.pool.max`.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.config;
        for key in path.split('.') {
            at = match key.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[key],
            };
        }
        *at = value.into();
        self
    }

    /// The ceiling of connections to PostgreSQL.
    pub(crate) fn servers(self, max: u32) -> Self {
        self.set("greenroom.maxServerConnections", max)
    }

    /// The limits of one plugin.
    pub(crate) fn pool(self, plugin: &str, describe: impl FnOnce(Limits) -> Limits) -> Self {
        let Limits(pool) = describe(Limits(json!({})));
        self.set(&format!("greenroom.plugin.{plugin}.pool"), pool)
    }

    /// The limits of every plugin that has none of its own.
    pub(crate) fn every_pool(self, describe: impl FnOnce(Limits) -> Limits) -> Self {
        let Limits(pool) = describe(Limits(json!({})));
        self.set("greenroom.pool", pool)
    }

    /// How clients prove who they are.
    pub(crate) fn auth(self, method: &str) -> Self {
        self.set("greenroom.listen.0.auth", method)
    }

    /// Listens on a unix socket as well.
    pub(crate) fn unix(mut self) -> Self {
        let name: u64 = rand::random();
        let dir = std::env::temp_dir().join(format!("greenroom-it-{name:x}"));
        std::fs::create_dir(&dir).expect("a directory for the socket");
        self.socket_dir = Some(dir.clone());
        let listeners = self.config["greenroom"]["listen"].as_array_mut().expect("listen is a list");
        listeners.push(json!({ "socket": dir, "port": 6432 }));
        self
    }

    /// In front of this stage instead of a new one.
    pub(crate) fn on(mut self, stage: Stage) -> Self {
        self.stage = Some(stage);
        self
    }

    /// In front of a stage that another greenroom has, as another deployment of Backstage.
    pub(crate) fn beside(mut self, stage: &Stage, name: &str) -> Self {
        self.server = Some((stage.postgres().port(), stage.login.clone(), stage.password.clone()));
        self.set("backend.database.connection.database", &*stage.database)
            .set("backend.database.prefix", format!("{name}_"))
            .set("backend.database.schemaPrefix", format!("{name}_"))
    }

    /// In front of a PostgreSQL that misbehaves; database division without any provisioning.
    pub(crate) fn behind(mut self, fake: &FakeServer) -> Self {
        self.server = Some((fake.port(), "backstage".to_owned(), "secret".to_owned()));
        self.set("greenroom.division", "database").set("backend.database.ensureExists", false)
    }

    async fn open(mut self) -> Room {
        let stage = match (self.stage.take(), &self.server) {
            (None, None) => Some(Stage::shared().await),
            (stage, _) => stage,
        };
        let (port, login, password) = match (&stage, self.server.take()) {
            (_, Some(server)) => server,
            (Some(stage), None) => (stage.postgres().port(), stage.login.clone(), stage.password.clone()),
            (None, None) => unreachable!("a stage was made just above"),
        };
        let database = stage.as_ref().map_or("backstage", |stage| &stage.database);
        let connection = &mut self.config["backend"]["database"]["connection"];
        for (key, value) in [("host", json!("127.0.0.1")), ("port", json!(port)), ("user", json!(login))] {
            default(&mut connection[key], value);
        }
        default(&mut connection["password"], json!(password));
        default(&mut connection["database"], json!(database));

        // JSON is YAML, too.
        let read = Config::parse_as_written(&self.config.to_string());
        let read = read.unwrap_or_else(|error| panic!("{}: {error}", self.config));
        let proxy = Proxy::start(read.0.clone()).await;
        let proxy = proxy.unwrap_or_else(|error| panic!("greenroom does not start: {error}"));
        let reload = proxy.reload(read, |_| ());
        let addresses = proxy.addresses().to_vec();
        let http = proxy.http_address().expect("every test's greenroom has HTTP");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            proxy
                .run_until(async move {
                    // A test that panics drops the sender: that is a reason to stop as well.
                    let _ = stopped.await;
                })
                .await;
        });
        let described = Self { config: self.config, stage: None, server: None, socket_dir: None };
        let socket_dir = self.socket_dir;
        Room { stage, addresses, http, login, password, stop: Some(stop), serving, socket_dir, described, reload }
    }

    /// What its configuration file says.
    pub(super) fn text(&self) -> String {
        self.config.to_string()
    }
}

fn default(place: &mut Value, value: Value) {
    if place.is_null() {
        *place = value;
    }
}

impl IntoFuture for Greenroom {
    type Output = Room;
    type IntoFuture = Pin<Box<dyn Future<Output = Room> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// Limits of a plugin, as its `pool` key says them.
#[derive(Debug)]
pub(crate) struct Limits(Value);

impl Limits {
    /// At most this many leases.
    pub(crate) fn max(self, max: u32) -> Self {
        self.with("max", max)
    }

    /// The longest wait for a lease.
    pub(crate) fn acquire_timeout(self, timeout: Duration) -> Self {
        self.with("acquireTimeoutMillis", u64::try_from(timeout.as_millis()).expect("a short time"))
    }

    /// Any other key.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0[key] = value.into();
        self
    }
}
