//! A driver does the same at PostgreSQL and through greenroom, with fewer servers than it has clients, and must be told the same.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::join_all;
use greenroom::config::ListenAddress;
use tokio::sync::Barrier;

use crate::harness::{Client, Greenroom, Room, logical, soon};

/// How many plugins do it at once.
const PLUGINS: usize = 3;

/// One for each plugin, one more for whoever needs a second, one that listens: less than a third of the clients.
const SERVERS: u32 = 5;

/// The clients that each plugin has.
pub(super) const CLIENTS: u32 = 6;

/// A logical database that nobody else uses.
#[derive(Debug)]
pub(super) struct Side {
    address: ListenAddress,
    /// The login.
    pub(super) user: String,
    /// Its password.
    pub(super) password: String,
    /// What is asked for.
    pub(super) database: String,
    together: Arc<Barrier>,
}

impl Side {
    /// A plugin's database through greenroom.
    pub(super) fn through(room: &Room, plugin: &str) -> Self {
        Self {
            address: room.address().clone(),
            user: room.login.clone(),
            password: room.password.clone(),
            database: logical(plugin),
            together: Arc::new(Barrier::new(1)),
        }
    }

    async fn directly(room: &Room) -> Self {
        let stage = room.stage();
        let database = format!("{}_direct", stage.database);
        stage.create_database(&database).await;
        let (user, password) = (stage.login.clone(), stage.password.clone());
        Self { address: stage.address(), user, password, database, together: Arc::new(Barrier::new(1)) }
    }

    /// The port of 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        let ListenAddress::Tcp { port, .. } = &self.address else { panic!("the first listener is TCP") };
        *port
    }

    /// Waits until the other plugins have come as far. A schema that changes decides for a moment what everybody may share.
    pub(super) async fn together(&self) {
        self.together.wait().await;
    }

    /// A client of tokio-postgres.
    pub(super) async fn client(&self) -> Client {
        Client::connect(&self.address, &self.user, &self.password, &self.database).await
    }
}

/// Does `act` directly, then for some plugins at once through greenroom, and wants the same answers of all. Each of `pins` must
/// have kept a session on its server, and nothing else may.
pub(super) async fn same<T: PartialEq + Debug>(pins: &[&str], act: impl AsyncFn(Side) -> T) {
    let room = Greenroom::start().servers(SERVERS).await;
    let expected = soon("the answers of PostgreSQL", act(Side::directly(&room).await)).await;
    let together = Arc::new(Barrier::new(PLUGINS));
    let side = |number| Side { together: Arc::clone(&together), ..Side::through(&room, &format!("plugin{number}")) };
    let plugins = (0..PLUGINS).map(|number| act(side(number)));
    for answer in soon("the answers through greenroom", join_all(plugins)).await {
        assert_eq!(answer, expected, "through greenroom, and PostgreSQL");
    }
    let metrics = room.metrics().await;
    let count = |labels: &[&str]| metrics.sum("greenroom_pins_total", labels);
    let each: Vec<_> = pins.iter().map(|reason| count(&[&format!("reason=\"{reason}\"")])).collect();
    assert!(each.iter().all(|count| *count > 0.0), "{pins:?}: {each:?}");
    assert_eq!(count(&[]), each.iter().sum::<f64>(), "sessions are pinned for {pins:?} only: {metrics:?}");
}
