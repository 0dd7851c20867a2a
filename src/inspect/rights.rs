//! What a login and its role may do in a database.

use super::doors::{Door, acting_role, setting};
use super::enter::Visit;
use super::finding::{Finding, error, note, ok, warning};
use crate::config::{Config, Division};
use crate::server::Row;
use crate::sql::quote;

/// What a first question tells.
#[derive(Debug)]
pub(super) struct Facts {
    /// `server_version_num`.
    pub(super) version: u32,
    /// Who does a plugin's work: the role that Backstage sets, or the login.
    pub(super) acting: String,
    /// Whether the login may create schemas here.
    pub(super) may_create: bool,
    /// Whether who acts may.
    pub(super) acting_may_create: bool,
    /// Whether who acts may create databases.
    pub(super) may_create_databases: bool,
    /// Whether nothing is forbidden to the login, and no reserve is closed to it.
    pub(super) is_superuser: bool,
    /// `CONNECTION LIMIT` of the login; `None` is none.
    pub(super) login_limit: Option<u32>,
    /// `CONNECTION LIMIT` of the database.
    pub(super) database_limit: Option<u32>,
}

/// Since this version membership says by itself whether it is inherited.
const MEMBERSHIP_OPTIONS: u32 = 160_000;

/// Asks what the login may do, and finds what it lacks wherever it is.
pub(super) async fn ask(
    visit: &mut Visit,
    door: &Door,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<Facts, String> {
    let rows = visit
        .ask(
            "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version'), \
             pg_catalog.has_database_privilege(d.oid, 'CREATE'), pg_catalog.has_database_privilege(d.oid, 'TEMPORARY'), \
             r.rolcreatedb OR r.rolsuper, r.rolsuper, r.rolconnlimit, d.datconnlimit, pg_catalog.pg_is_in_recovery(), \
             pg_catalog.current_setting('default_transaction_read_only') \
             FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
             WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user",
        )
        .await?;
    let row = rows.first().ok_or("PostgreSQL does not know who logged in")?;
    let version = number(row, 0).ok_or("PostgreSQL does not tell its version")?;
    let mut facts = Facts {
        version,
        acting: door.login.user.to_string(),
        may_create: is_true(row, 2),
        acting_may_create: is_true(row, 2),
        may_create_databases: is_true(row, 4),
        is_superuser: is_true(row, 5),
        login_limit: number(row, 6),
        database_limit: number(row, 7),
    };
    let encrypted = if visit.is_encrypted() { "over TLS" } else { "without TLS" };
    findings
        .push(ok(door.to_string(), format!("logged in {encrypted}; PostgreSQL {}", text(row, 1).unwrap_or_default())));
    if is_true(row, 8) {
        let what = "a standby: nothing can be written there";
        findings.push(error(door.to_string(), what).setting(format!("{}.host: the primary", setting(config, door))));
    } else if text(row, 9) == Some("on") {
        let user = quote::identifier(&door.login.user);
        let what = "default_transaction_read_only is on for this login: nothing can be written";
        findings.push(error(door.to_string(), what).sql(
            &door.database,
            format!(
                "ALTER ROLE {user} IN DATABASE {} SET default_transaction_read_only = off",
                quote::identifier(&door.database)
            ),
        ));
    }
    if door.division.is_some() || door.is_admin {
        role(visit, door, config, &mut facts, findings).await?;
    }
    if door.division.is_some() && !is_true(row, 3) {
        let grant = format!(
            "GRANT TEMPORARY ON DATABASE {} TO {}",
            quote::identifier(&door.database),
            quote::identifier(&facts.acting)
        );
        let what = "temporary tables are not allowed, which Backstage's search and catalog make";
        findings.push(warning(door.to_string(), what).sql(&door.database, grant));
    }
    Ok(facts)
}

/// The roles that greenroom and Backstage take on: whether they are there, and whether this login may.
async fn role(
    visit: &mut Visit,
    door: &Door,
    config: &Config,
    facts: &mut Facts,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let acting = acting_role(config);
    let owning = door.routes.iter().filter_map(|route| route.target.role.as_deref());
    let roles: std::collections::BTreeSet<&str> = owning.chain(acting).collect();
    let set = if facts.version >= MEMBERSHIP_OPTIONS { "SET" } else { "MEMBER" };
    for role in roles {
        let rows = visit
            .ask(&format!(
                "SELECT pg_catalog.pg_has_role(r.oid, '{set}'), pg_catalog.pg_has_role(r.oid, 'USAGE'), \
                 r.rolcreatedb OR r.rolsuper, \
                 pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CREATE') \
                 FROM pg_catalog.pg_roles r WHERE r.rolname = {}",
                quote::literal(role)
            ))
            .await?;
        let (name, user) = (quote::identifier(role), quote::identifier(&door.login.user));
        let grant = match facts.version >= MEMBERSHIP_OPTIONS {
            true => format!("GRANT {name} TO {user} WITH INHERIT TRUE, SET TRUE"),
            false => format!("GRANT {name} TO {user}"),
        };
        let subject = door.to_string();
        let Some(row) = rows.first() else {
            let finding = error(subject, format!("the role {name} does not exist"));
            findings.push(finding.sql(&door.database, format!("CREATE ROLE {name}; {grant}")));
            continue;
        };
        if acting == Some(role) {
            facts.acting = role.to_owned();
            facts.may_create_databases = is_true(row, 2);
            facts.acting_may_create = is_true(row, 3);
        }
        if !is_true(row, 0) {
            let what = format!("the login is no member of the role {name}, and cannot SET ROLE to it");
            findings.push(error(subject, what).sql(&door.database, grant));
        } else if !is_true(row, 1) && door.division == Some(Division::Schema) {
            // A schema is made for the role and then marked, which only its owner may.
            let what = format!(
                "the login does not inherit what the role {name} may, so it cannot mark a schema of the role's"
            );
            let mend = match facts.version >= MEMBERSHIP_OPTIONS {
                true => grant,
                false => format!("ALTER ROLE {user} INHERIT"),
            };
            findings.push(error(subject, what).sql(&door.database, mend));
        } else {
            findings.push(ok(subject, format!("the login may SET ROLE {name}")));
        }
    }
    Ok(())
}

/// Two columns about schema `n`: whose tables and views in it are out of reach of `acting` (a literal), and the statements that
/// give them to it. Sequences follow their tables.
pub(super) fn strangers_sql(acting: &str) -> String {
    let strangers = format!(
        "FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm') \
         AND NOT pg_catalog.pg_has_role({acting}, c.relowner, 'USAGE')"
    );
    format!(
        "(SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)), ', ') \
         {strangers}), \
         (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, {acting}), \
         '; ' ORDER BY c.relname) {strangers})"
    )
}

/// A schema that plugins do not look into may still be named by them.
pub(super) async fn public(
    visit: &mut Visit,
    door: &Door,
    facts: &Facts,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let acting = quote::literal(&facts.acting);
    let rows = visit
        .ask(&format!(
            "SELECT pg_catalog.has_schema_privilege({acting}, n.oid, 'CREATE') FROM pg_catalog.pg_namespace n \
             WHERE n.nspname = 'public'"
        ))
        .await?;
    if rows.first().is_some_and(|row| !is_true(row, 0)) {
        let what = "tables cannot be created in schema public, which no plugin needs but one that names it: permission's \
                    with the RBAC backend (public.casbin_rule)";
        let grant = format!("GRANT USAGE, CREATE ON SCHEMA public TO {}", quote::identifier(&facts.acting));
        findings.push(note(door.to_string(), what).sql(&door.database, grant));
    }
    Ok(())
}

/// A column as text.
pub(super) fn text(row: &Row, index: usize) -> Option<&str> {
    row.get(index)?.as_deref()
}

/// A column that says yes.
pub(super) fn is_true(row: &Row, index: usize) -> bool {
    text(row, index) == Some("t")
}

/// A column that is a number, not negative.
pub(super) fn number(row: &Row, index: usize) -> Option<u32> {
    text(row, index)?.parse().ok()
}
