//! How many connections PostgreSQL has for all greenrooms together, and how many they may want.

use std::collections::BTreeSet;

use super::doors::Door;
use super::enter::Visit;
use super::finding::{Finding, error, ok, warning};
use super::rights::{Facts, number};
use crate::config::Config;
use crate::sql::quote;

/// Compares the ceilings of all replicas with what the server has.
pub(super) async fn examine(
    visit: &mut Visit,
    door: &Door,
    facts: &Facts,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let ours = logins(config).iter().map(|user| quote::literal(user)).collect::<Vec<_>>().join(", ");
    // Who may not see a session still sees whose it is. A greenroom that runs already is in the ceilings.
    let rows = visit
        .ask(&format!(
            "SELECT pg_catalog.current_setting('max_connections'), \
             pg_catalog.current_setting('superuser_reserved_connections'), \
             coalesce(pg_catalog.current_setting('reserved_connections', true), '0'), \
             (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid IS NOT NULL \
              AND a.datid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend' \
              AND a.usename <> ALL (ARRAY[{ours}]::pg_catalog.name[]))"
        ))
        .await?;
    let row = rows.first().ok_or("PostgreSQL does not tell its limits")?;
    let get = |index| number(row, index).ok_or("PostgreSQL does not tell its limits");
    let (max, reserved, others) = (get(0)?, get(1)?.saturating_add(get(2)?), get(3)?);
    let reserved = if facts.is_superuser { 0 } else { reserved };
    let (room, wanted) = (max.saturating_sub(reserved), wanted(config));
    let sum = format!(
        "greenroom.maxServerConnections {} x greenroom.replicas {} = {wanted} of the {room} connections that \
         max_connections ({max}) leaves; other sessions use {others} now",
        config.server_limits.ceiling, config.replicas
    );
    let subject = door.server.address.to_string();
    let most = room.saturating_sub(others) / config.replicas;
    let mended = |finding: Finding| {
        let needed = wanted.saturating_add(others).saturating_add(reserved);
        let finding = finding.sql("postgres", format!("ALTER SYSTEM SET max_connections = {needed}"));
        match most {
            0 => finding,
            _ => finding.setting(format!("greenroom.maxServerConnections: {most}")),
        }
    };
    findings.push(match (wanted > room, wanted.saturating_add(others) > room) {
        (true, _) => mended(error(subject, format!("{sum} (a new max_connections needs a restart)"))),
        (_, true) => mended(warning(subject, format!("{sum} (a new max_connections needs a restart)"))),
        _ => ok(subject, sum),
    });
    Ok(())
}

/// Compares them with what the login and the database are allowed.
pub(super) fn limits(door: &Door, facts: &Facts, config: &Config, findings: &mut Vec<Finding>) {
    let wanted = wanted(config);
    let (user, database) = (quote::identifier(&door.login.user), quote::identifier(&door.database));
    let limits = [
        (facts.login_limit, format!("role {user}"), format!("ALTER ROLE {user} CONNECTION LIMIT {wanted}")),
        (
            facts.database_limit,
            format!("database {database}"),
            format!("ALTER DATABASE {database} CONNECTION LIMIT {wanted}"),
        ),
    ];
    for (limit, whose, mend) in limits {
        let Some(limit) = limit.filter(|&limit| limit < wanted && !facts.is_superuser) else { continue };
        let what = format!("{whose} is limited to {limit} connections, and greenroom may open {wanted}");
        let finding = warning(door.to_string(), what).sql("postgres", mend);
        let each = limit / config.replicas;
        findings.push(if each > 0 {
            finding.setting(format!("greenroom.maxServerConnections: {each}"))
        } else {
            finding
        });
    }
}

/// What all greenrooms may open together.
fn wanted(config: &Config) -> u32 {
    config.server_limits.ceiling.saturating_mul(config.replicas)
}

/// Everyone that greenroom logs in as.
fn logins(config: &Config) -> BTreeSet<&str> {
    let database = &config.database;
    let places = database.plugins.values().chain([&database.base]).filter_map(|settings| settings.place.postgres());
    let places = places.map(|place| &place.connection);
    places
        .chain(database.others.values().map(|other| &other.connection))
        .map(|connection| &*connection.login.user)
        .collect()
}
