//! What can happen in the world. Numbers choose among what there is.

use std::time::Duration;

use proptest::array::uniform4;
use proptest::prelude::*;

use super::{PLUGINS, POOLS};
use crate::config::{PoolLimits, ServerLimits};

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Somebody wants a server. One who is impatient has left when he is told, as a client that vanishes just then.
    Arrive {
        pool: usize,
        plugin: usize,
        private: bool,
        impatient: bool,
    },
    LendAtOnce {
        pool: usize,
        plugin: usize,
    },
    Leave(usize),
    GiveBack(usize),
    /// The lease ends with its server.
    Die(usize),
    /// The server turns out to be dead when it is lent: whoever got it waits again.
    FoundDead(usize),
    /// An idle server is found dead, or is too old.
    DieIdle(usize),
    /// After so many milliseconds.
    Connected {
        which: usize,
        took: u64,
    },
    ConnectFailed {
        which: usize,
        full: bool,
    },
    GivenUp(usize),
    RoomOpened(usize),
    RoomFailed {
        which: usize,
        full: bool,
    },
    RoomGivenUp(usize),
    /// A server does not close its end for long: nobody waits for that any more.
    Stays,
    /// A server has closed its end.
    Closed,
    Migrate(usize),
    MigrationEnds(usize),
    Reload(Limits),
    Wait(u64),
    Close,
}

/// All limits, as a configuration has them.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) server: ServerLimits,
    pub(super) plugins: [PluginLimits; PLUGINS],
}

#[derive(Debug, Clone)]
pub(super) struct PluginLimits {
    pub(super) max: u32,
    pub(super) weight: u32,
    pub(super) min: u32,
    /// In milliseconds.
    pub(super) retry: u64,
    pub(super) propagate: bool,
}

impl Limits {
    /// Limits of the server, and plugins that are allowed 1, 2, 3 and 10 leases.
    pub(super) fn of(ceiling: u32, reserved: u32, parallel: u32) -> Self {
        let plugin = |(max, weight)| PluginLimits { max, weight, min: 0, retry: 200, propagate: true };
        let server = ServerLimits::new(ceiling, reserved, parallel);
        Self { server, plugins: [(1, 1), (2, 2), (3, 3), (10, 4)].map(plugin) }
    }
}

impl PluginLimits {
    pub(super) fn pool(&self) -> PoolLimits {
        PoolLimits {
            max: self.max,
            min: self.min,
            create_retry_interval: Duration::from_millis(self.retry),
            idle_timeout: Duration::from_millis(self.retry * 7),
            propagate_create_error: self.propagate,
            ..PoolLimits::default()
        }
    }
}

pub(super) fn limits() -> impl Strategy<Value = Limits> {
    let plugin = (1_u32..7, 1_u32..5, 0_u32..3, 1_u64..900, any::<bool>());
    let plugin =
        plugin.prop_map(|(max, weight, min, retry, propagate)| PluginLimits { max, weight, min, retry, propagate });
    let server = (1_u32..9, 0_u32..3, 1_u32..5);
    let server = server.prop_map(|(ceiling, reserved, parallel)| ServerLimits::new(ceiling, reserved, parallel));
    (server, uniform4(plugin)).prop_map(|(server, plugins)| Limits { server, plugins })
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let any_of = || 0..usize::MAX;
    let (pool, plugin) = (|| 0..POOLS, || 0..PLUGINS);
    // Most logins take a few milliseconds, some very long.
    let took = prop_oneof![4 => 1_u64..20, 1 => 20_u64..40_000];
    prop_oneof![
        8 => (pool(), plugin(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(pool, plugin, private, impatient)| Event::Arrive { pool, plugin, private, impatient }),
        3 => (pool(), plugin()).prop_map(|(pool, plugin)| Event::LendAtOnce { pool, plugin }),
        2 => any_of().prop_map(Event::Leave),
        6 => any_of().prop_map(Event::GiveBack),
        2 => any_of().prop_map(Event::Die),
        1 => any_of().prop_map(Event::DieIdle),
        1 => any_of().prop_map(Event::FoundDead),
        6 => (any_of(), took).prop_map(|(which, took)| Event::Connected { which, took }),
        2 => (any_of(), any::<bool>()).prop_map(|(which, full)| Event::ConnectFailed { which, full }),
        1 => any_of().prop_map(Event::GivenUp),
        3 => any_of().prop_map(Event::RoomOpened),
        1 => (any_of(), any::<bool>()).prop_map(|(which, full)| Event::RoomFailed { which, full }),
        1 => any_of().prop_map(Event::RoomGivenUp),
        1 => Just(Event::Stays),
        5 => Just(Event::Closed),
        1 => plugin().prop_map(Event::Migrate),
        1 => plugin().prop_map(Event::MigrationEnds),
        2 => limits().prop_map(Event::Reload),
        3 => prop_oneof![1_u64..50, 50_u64..6000].prop_map(Event::Wait),
        // Rarely, for there is little to see afterwards.
        1 => prop::bool::weighted(0.2).prop_map(|ends| if ends { Event::Close } else { Event::Wait(1) }),
    ]
}
