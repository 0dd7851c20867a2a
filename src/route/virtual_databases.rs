//! Which databases are really schemas: for the question whether one exists.

use std::sync::Arc;

use super::Route;
use super::table::{POSTGRES, RouteTable};
use crate::config::Division;

/// The logical databases of a deployment whose databases are schemas, as they look from the shared database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualDatabases {
    /// What the names of plugin databases begin with.
    pub prefix: Arc<str>,
    /// What the names of plugin schemas begin with.
    pub schema_prefix: Arc<str>,
    /// Databases that are schemas of the shared database under names of their own: database, schema.
    pub schemas: Vec<(Arc<str>, Arc<str>)>,
    /// Databases that are kept where the shared database cannot see them.
    pub elsewhere: Vec<Arc<str>>,
    /// Databases that are just that, though the prefix's rule would make schemas of them.
    pub real: Vec<Arc<str>>,
}

impl RouteTable {
    /// Whether clients of this route create databases that are really schemas: those that ask for `postgres` while the
    /// base's plugins are schemas.
    pub fn creates_schemas(&self, route: &Route) -> bool {
        route.database.as_str() == POSTGRES && self.base_place().is_some_and(|place| place.division == Division::Schema)
    }

    /// The databases that are really schemas, as `shared` sees them, the route of `postgres`.
    pub fn virtual_databases(&self, shared: &Route) -> VirtualDatabases {
        let (prefix, schema_prefix) = self.prefixes();
        let mut found =
            VirtualDatabases { prefix, schema_prefix, schemas: Vec::new(), elsewhere: Vec::new(), real: Vec::new() };
        let here = &shared.target;
        for route in self.routes() {
            let (name, target) = (Arc::clone(&route.database.0), &route.target);
            let same_server = target.server.address == here.server.address;
            match &target.schema {
                Some(schema) if same_server && target.database == here.database => {
                    found.schemas.push((name, Arc::clone(schema)));
                }
                None if same_server && *target.database == *name => found.real.push(name),
                // `postgres` is the shared database under another name.
                None if *name == *POSTGRES => {}
                _ => found.elsewhere.push(name),
            }
        }
        found
    }
}
