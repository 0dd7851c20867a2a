//! Which databases there are to enter, and as whom: one door for all routes that lead to the same place.

use std::fmt;
use std::sync::Arc;

use crate::config::{Config, Connection, Division, Login, ServerEndpoint};
use crate::route::{POSTGRES, Route, RouteTable};

/// A physical database, as one login.
pub(super) struct Door {
    pub(super) server: Arc<ServerEndpoint>,
    pub(super) database: Arc<str>,
    pub(super) login: Login,
    /// The routes that lead here, those of plugins that the configuration names among them.
    pub(super) routes: Vec<Arc<Route>>,
    /// What plugins have here: schemas, or the database. `None` where it is no plugin's.
    pub(super) division: Option<Division>,
    /// Whether plugins that the configuration does not name have schemas here as well.
    pub(super) is_shared: bool,
    /// Whether Backstage creates databases from here.
    pub(super) is_admin: bool,
}

impl Door {
    /// A door for one route.
    pub(super) fn of(route: &Arc<Route>, division: Option<Division>) -> Self {
        let target = &route.target;
        Self {
            server: target.server.clone(),
            database: target.database.clone(),
            login: target.login.clone(),
            routes: vec![route.clone()],
            division,
            is_shared: false,
            is_admin: false,
        }
    }

    fn leads_to(&self, route: &Route) -> bool {
        let target = &route.target;
        self.server.address == target.server.address
            && self.database == target.database
            && self.login.user == target.login.user
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.login.user, self.server.address, self.database)
    }
}

/// The doors of a configuration.
pub(super) fn doors(config: &Config, table: &RouteTable) -> Vec<Door> {
    let mut doors: Vec<Door> = Vec::new();
    for route in table.routes() {
        let Some((division, is_shared, is_admin)) = purpose(route, config) else { continue };
        let index = doors.iter().position(|door| door.leads_to(route));
        let door = match index {
            Some(index) => {
                doors[index].routes.push(route.clone());
                &mut doors[index]
            }
            None => {
                doors.push(Door::of(route, None));
                doors.last_mut().expect("one was just pushed")
            }
        };
        door.division = door.division.or(division);
        door.is_shared |= is_shared;
        door.is_admin |= is_admin;
    }
    // Where databases are created goes first: it tells which of the others are there.
    doors.sort_by_key(|door| !door.is_admin);
    doors
}

/// What a route is for, and whether Backstage uses it at all.
fn purpose(route: &Route, config: &Config) -> Option<(Option<Division>, bool, bool)> {
    let base = config.database.base_place();
    let base_is_schemas = base.is_some_and(|place| place.division == Division::Schema);
    let name = route.database.as_str();
    if route.target.schema.is_some() {
        return Some((Some(Division::Schema), false, false));
    }
    if name == POSTGRES {
        return match base_is_schemas {
            true => Some((Some(Division::Schema), true, false)),
            false => base.filter(|place| place.provision).map(|_| (None, false, true)),
        };
    }
    if base.is_some_and(|place| place.connection.database.as_deref() == Some(name)) {
        // With a database for each plugin, Backstage never enters this one.
        return base_is_schemas.then_some((Some(Division::Schema), true, false));
    }
    match config.database.others.contains_key(name) {
        true => Some((None, false, false)),
        false => Some((Some(Division::Database), false, false)),
    }
}

/// The role in which Backstage works once it has logged in: it sets the base one alone, whatever a plugin says.
pub(super) fn acting_role(config: &Config) -> Option<&str> {
    config.database.base_place()?.role.as_deref()
}

/// Where the connection behind a door is configured.
pub(super) fn setting(config: &Config, door: &Door) -> String {
    let is_it = |connection: &Connection| {
        connection.server.address == door.server.address && connection.login.user == door.login.user
    };
    if config.database.base_place().is_some_and(|place| is_it(&place.connection)) {
        return "backend.database.connection".to_owned();
    }
    let of_plugin = config
        .database
        .plugins
        .iter()
        .find(|(_, settings)| settings.place.postgres().is_some_and(|place| is_it(&place.connection)));
    if let Some((id, _)) = of_plugin {
        return format!("backend.database.plugin.{id}.connection");
    }
    let other = config.database.others.iter().find(|(_, other)| is_it(&other.connection));
    other.map_or("backend.database.connection".to_owned(), |(name, _)| format!("greenroom.database.{name}.connection"))
}
