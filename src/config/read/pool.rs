//! The limits of a plugin, and those of the pool that Backstage makes for it, from the most particular setting to the
//! default.

use std::time::Duration;

use super::section::Section;
use crate::config::{KnexPool, PoolLimits, PoolMode};

const MODES: &[(&str, PoolMode)] = &[("transaction", PoolMode::Transaction), ("session", PoolMode::Session)];

/// One place that limits may come from.
#[derive(Clone)]
pub(super) enum Layer<'a> {
    /// A `pool` of greenroom's own.
    Own(Section<'a>),
    /// A `pool` of Backstage's, for Knex. Its acquire timeout is the client's own, not ours: ours must be the shorter
    /// one for its error to be seen.
    Knex(Section<'a>),
}

impl<'a> Layer<'a> {
    /// The pool in a section of greenroom's.
    pub(super) fn own(section: &Section<'a>) -> Self {
        Self::Own(section.section("pool"))
    }

    /// The pool in a section of Knex's configuration.
    pub(super) fn knex(section: &Section<'a>) -> Self {
        Self::Knex(section.section("pool"))
    }

    fn section(&self) -> &Section<'a> {
        match self {
            Self::Own(section) | Self::Knex(section) => section,
        }
    }
}

/// Reads the limits; the first layer that has a key decides it, and every layer is checked.
pub(super) fn limits(layers: &[Layer<'_>]) -> PoolLimits {
    let standard = PoolLimits::default();
    let limits = PoolLimits {
        min: first(layers, |section| section.count("min", 0)).unwrap_or(standard.min),
        max: first(layers, |section| section.count("max", 1)).unwrap_or(standard.max),
        acquire_timeout: first_own(layers, |section| section.millis("acquireTimeoutMillis"))
            .unwrap_or(standard.acquire_timeout),
        create_timeout: millis(layers, "createTimeoutMillis", standard.create_timeout),
        destroy_timeout: millis(layers, "destroyTimeoutMillis", standard.destroy_timeout),
        idle_timeout: millis(layers, "idleTimeoutMillis", standard.idle_timeout),
        reap_interval: millis(layers, "reapIntervalMillis", standard.reap_interval),
        create_retry_interval: millis(layers, "createRetryIntervalMillis", standard.create_retry_interval),
        propagate_create_error: first(layers, |section| section.flag("propagateCreateError"))
            .unwrap_or(standard.propagate_create_error),
        max_connection_lifetime: first_own(layers, |section| section.millis("maxConnectionLifetimeMillis"))
            .unwrap_or(standard.max_connection_lifetime),
        mode: first_own(layers, |section| section.choice("mode", MODES)).unwrap_or(standard.mode),
    };
    if limits.max < limits.min {
        below_min(layers, &limits);
    }
    limits
}

/// Reads the limits of Backstage's own pool out of the sections that Backstage merges into Knex's configuration, the most
/// particular one first.
pub(super) fn knex_pool(sections: &[Section<'_>]) -> KnexPool {
    let standard = KnexPool::default();
    let layers: Vec<Layer<'_>> = sections.iter().map(Layer::knex).collect();
    let acquire = [
        first(&layers, |section| section.millis("acquireTimeoutMillis")),
        sections.iter().map(|section| section.millis("acquireConnectionTimeout")).fold(None, Option::or),
    ];
    KnexPool {
        min: first(&layers, |section| section.count("min", 0)).unwrap_or(standard.min),
        max: first(&layers, |section| section.count("max", 1)).unwrap_or(standard.max),
        acquire_timeout: acquire.into_iter().flatten().min().unwrap_or(standard.acquire_timeout),
        create_timeout: millis(&layers, "createTimeoutMillis", standard.create_timeout),
        destroy_timeout: millis(&layers, "destroyTimeoutMillis", standard.destroy_timeout),
        idle_timeout: millis(&layers, "idleTimeoutMillis", standard.idle_timeout),
        reap_interval: millis(&layers, "reapIntervalMillis", standard.reap_interval),
        create_retry_interval: millis(&layers, "createRetryIntervalMillis", standard.create_retry_interval),
        propagate_create_error: first(&layers, |section| section.flag("propagateCreateError"))
            .unwrap_or(standard.propagate_create_error),
    }
}

fn millis(layers: &[Layer<'_>], key: &str, standard: Duration) -> Duration {
    first(layers, |section| section.millis(key)).unwrap_or(standard)
}

fn first<'a, T>(layers: &[Layer<'a>], read: impl Fn(&Section<'a>) -> Option<T>) -> Option<T> {
    layers.iter().map(|layer| read(layer.section())).fold(None, Option::or)
}

fn first_own<'a, T>(layers: &[Layer<'a>], read: impl Fn(&Section<'a>) -> Option<T>) -> Option<T> {
    let own = layers.iter().filter(|layer| matches!(layer, Layer::Own(_)));
    own.map(|layer| read(layer.section())).fold(None, Option::or)
}

/// Tells it where `max` was set, or else where `min` was.
fn below_min(layers: &[Layer<'_>], limits: &PoolLimits) {
    let (min, max) = (limits.min, limits.max);
    let setting = |key: &str| layers.iter().map(Layer::section).find(|section| section.has(key));
    if let Some(section) = setting("max") {
        let min_at = setting("min").map(|section| section.origin().key("min").dotted()).unwrap_or_default();
        section.mistake("max", format!("{max} is less than min ({min}, from {min_at}); raise max or lower min"));
    } else if let Some(section) = setting("min") {
        section.mistake("min", format!("{min} is more than max ({max}, the default); set max as well"));
    }
}
