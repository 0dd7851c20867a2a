//! Examines a configuration, and what PostgreSQL thinks of it, before anyone depends on it.
//!
//! [`offline`] looks at names alone. [`online`] opens one connection of its own after the other, each within a limit, and
//! only ever reads. What they find says which statement or setting mends it.
//!
//! | part | looks at |
//! |---|---|
//! | `names` | plugins that would meet, names that lead nowhere, divisions that do not fit |
//! | `doors` | which databases there are to enter, and as whom |
//! | `itself` | ways that lead back to greenroom, as names and links resolve |
//! | `enter` | reaching a server and logging in |
//! | `rights` | what the login and its role may do in a database |
//! | `schemas` | the schemas of plugins |
//! | `databases` | the databases of plugins |
//! | `ceiling` | how many connections PostgreSQL has for us |

mod ceiling;
mod databases;
mod doors;
mod enter;
mod finding;
mod itself;
mod names;
mod rights;
mod schemas;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use finding::{Finding, Remedy, Severity};

use doors::Door;
use enter::{Shut, Visit};

use crate::config::{Config, Division};
use crate::metrics::Metrics;
use crate::route::RouteTable;
use crate::secret::Secrets;

/// What the configuration alone tells.
pub fn offline(config: &Config, table: &RouteTable) -> Vec<Finding> {
    names::examine(config, table)
}

/// What PostgreSQL tells: every distinct target is tried once.
pub async fn online(config: &Config, table: &RouteTable) -> Vec<Finding> {
    let mut findings = itself::examine(config).await;
    // Nobody reads these metrics: they end with the examination.
    let secrets = Secrets::new(Metrics::new(1));
    let mut examination = Examination { config, table, shut: BTreeSet::new(), counted: BTreeSet::new(), secrets };
    for door in doors::doors(config, table) {
        examination.try_door(&door, &mut findings).await;
    }
    findings
}

/// An examination under way.
struct Examination<'c> {
    config: &'c Config,
    table: &'c RouteTable,
    /// Where there is no use in trying again: servers, and logins of servers.
    shut: BTreeSet<String>,
    /// The passwords of all logins.
    secrets: Arc<Secrets>,
    /// Servers whose connections have been counted.
    counted: BTreeSet<String>,
}

impl Examination<'_> {
    async fn try_door(&mut self, door: &Door, findings: &mut Vec<Finding>) {
        let Some(mut visit) = self.enter(door, findings).await else { return };
        let examined = self.examine(door, &mut visit, findings).await;
        if let Err(problem) = examined {
            findings.push(finding::error(door.to_string(), format!("cannot be examined: {problem}")));
        }
        visit.leave().await;
    }

    async fn enter(&mut self, door: &Door, findings: &mut Vec<Finding>) -> Option<Visit> {
        let server = door.server.address.to_string();
        let login = format!("{}@{server}", door.login.user);
        if self.shut.contains(&server) || self.shut.contains(&login) {
            return None;
        }
        match Visit::enter(door, &self.secrets).await {
            Ok(visit) => Some(visit),
            Err(refusal) => {
                let (shut, finding) = refusal.finding(door, self.config);
                match shut {
                    Shut::Server => drop(self.shut.insert(server)),
                    Shut::Login => drop(self.shut.insert(login)),
                    Shut::Database => {}
                }
                findings.extend(finding);
                None
            }
        }
    }

    async fn examine(&mut self, door: &Door, visit: &mut Visit, findings: &mut Vec<Finding>) -> Result<(), String> {
        let facts = rights::ask(visit, door, self.config, findings).await?;
        if self.counted.insert(door.server.address.to_string()) {
            ceiling::examine(visit, door, &facts, self.config, findings).await?;
        }
        ceiling::limits(door, &facts, self.config, findings);
        if door.is_admin {
            let more = databases::list(visit, door, &facts, self.config, self.table, findings).await?;
            for door in more {
                Box::pin(self.try_door(&door, findings)).await;
            }
        }
        match door.division {
            Some(Division::Schema) => schemas::examine(visit, door, &facts, self.config, findings).await,
            Some(Division::Database) => databases::examine(visit, door, &facts, findings).await,
            None => Ok(()),
        }
    }
}
