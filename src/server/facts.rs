//! Whether a database's own code may leave state in a session where no client's text shows it.
//!
//! A text is scanned for what it may leave behind, but a function, view, rule, default or policy can hide it. Whether
//! there are any that might is asked of the catalogs when a server connects and after statements that define such things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::connection::{QueryError, Server};
use crate::sql::quote;

/// What makes a function's body suspect: statements at the beginning of a line of thought (`SET` behind an UPDATE is none),
/// SQL that is put together at run time, temporary objects, and names with Unicode escapes, which may be any of them.
const SUSPECT_STATEMENTS: &str = r#"(^|;|>>|\m(begin|then|else|loop|atomic)\M)(\s|--[^\n]*|/\*([^*]|\*[^/])*\*/)*(set|reset|discard|listen|unlisten|prepare|load|do|call|create|alter)\M|\m(execute|temp|temporary|hold)\M|\mupdate\M[^;]*\mpg_settings\M|u&""#;

/// Functions that leave something behind or run a string as SQL, wherever they are called.
const SUSPECT_FUNCTIONS: &str = r"set_config|set_limit|currval|lastval|setval|setseed|pg_advisory_lock\w*|pg_try_advisory_lock\w*|query_to_xml\w*|cursor_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*|connectby|xpath_table|dblink_connect\w*|pg_replication_origin_session\w*|pg_create_(logical|physical)_replication\w*|pg_copy_(logical|physical)_replication\w*|pg_backup_start|pg_start_backup|pg_prepared_statements?|(pg_get|pg)_backend_memory_contexts|(table|schema|database)_to_xml\w*";

/// Views that show what others have prepared on the same server.
const TELLING_VIEWS: &str = "('pg_prepared_statements', 'pg_backend_memory_contexts')";

/// Extensions whose functions are known to leave nothing behind, except for those that [`SUSPECT_FUNCTIONS`] names.
const HARMLESS_EXTENSIONS: &[&str] = &[
    "amcheck",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_trgm",
    "pg_visibility",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "plpgsql",
    "seg",
    "sslinfo",
    "tablefunc",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
    "xml2",
];

/// What PostgreSQL makes of its own C code for every range type; they call only functions that the catalogs show as well.
/// It makes nothing else in the language `internal` but aggregates.
const CONSTRUCTORS_OF_RANGES: &str = "('range_constructor2', 'range_constructor3', \
     'multirange_constructor0', 'multirange_constructor1', 'multirange_constructor2')";

/// What is known of one physical database, shared by everybody who serves it.
#[derive(Debug, Default)]
pub struct DatabaseFacts {
    /// How often it was forgotten, above two low bits that hold the [`Code`].
    state: AtomicU64,
    /// Somebody has read a sequence's last value: what a session left of it must not be there for the next.
    sequences_read: AtomicBool,
}

/// What was known at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FactsSnapshot(u64);

/// What the database's own code may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Not asked, or changed since.
    Unknown,
    /// Leaves nothing behind.
    Harmless,
    /// May leave anything behind.
    Stateful,
}

const CODE_BITS: u64 = 0b11;
const ONE_CHANGE: u64 = 0b100;

impl DatabaseFacts {
    /// What is known, from memory.
    #[inline]
    pub fn code(&self) -> Code {
        match self.state.load(Ordering::Acquire) & CODE_BITS {
            0 => Code::Unknown,
            1 => Code::Harmless,
            _ => Code::Stateful,
        }
    }

    /// What is known now, to be compared later.
    #[inline]
    pub fn snapshot(&self) -> FactsSnapshot {
        FactsSnapshot(self.state.load(Ordering::Acquire))
    }

    /// Whether the database's code was harmless then, and has not changed since.
    #[inline]
    pub fn is_still(&self, then: FactsSnapshot) -> bool {
        self.snapshot() == then && self.code() == Code::Harmless
    }

    /// The database's code may have changed.
    pub fn forget(&self) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            Some((state & !CODE_BITS).wrapping_add(ONE_CHANGE))
        });
    }

    /// A client reads what its session did to sequences (currval, lastval).
    pub fn sequences_are_read(&self) {
        self.sequences_read.store(true, Ordering::Release);
    }

    /// Whether any client ever did.
    #[inline]
    pub fn are_sequences_read(&self) -> bool {
        self.sequences_read.load(Ordering::Acquire)
    }

    /// Asks the catalogs. An answer that was overtaken by a change is used once but not remembered.
    ///
    /// # Errors
    /// Those of [`Server::query`].
    pub async fn ask(&self, server: &mut Server) -> Result<Code, QueryError> {
        let before = self.state.load(Ordering::Acquire);
        let rows = server.query(&question()).await?;
        let stateful = rows.first().and_then(|row| row.first()).is_none_or(|value| value.as_deref() != Some("f"));
        let code = if stateful { Code::Stateful } else { Code::Harmless };
        let after = (before & !CODE_BITS) | if stateful { 2 } else { 1 };
        let _ = self.state.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire);
        Ok(code)
    }

    /// Facts that nobody has asked for yet.
    pub fn unknown() -> Arc<Self> {
        Arc::default()
    }
}

/// Reads only catalogs that every role may read. No search_path can bend it, the login's own or what the last client has left
/// there: names are qualified, and operators are PostgreSQL's own while it is asked.
///
/// Expressions are read as they are stored, with functions by their numbers. PostgreSQL's functions that write them out
/// (pg_get_expr and the like) open the tables they are about: a table that is being migrated would have the question wait
/// for its lock, and one that has just been dropped would be an error.
fn question() -> String {
    // In a text, where a temporary schema may be named too.
    let calls = format!(r"\m({SUSPECT_FUNCTIONS})\M|pg_temp");
    let calls_or_nextval = quote::literal(&format!(r"{calls}|\mnextval\M"));
    let statements = quote::literal(&format!(r"{SUSPECT_STATEMENTS}|{calls}|\mnextval\M"));
    let extensions = HARMLESS_EXTENSIONS.iter().map(|name| quote::literal(name)).collect::<Vec<_>>().join(", ");
    let system = "('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace)";
    // In a stored expression: `{FUNCEXPR :funcid 2078 `, `:opfuncid`, `:aggfnoid`, `:winfnoid`.
    let stored = format!(
        r"SELECT (SELECT pg_catalog.concat(':relid (', pg_catalog.string_agg(c.oid::pg_catalog.text, '|'), ')\M')
                  FROM pg_catalog.pg_class c WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
                  AND c.relname IN {TELLING_VIEWS}) AS reads,
                 pg_catalog.concat(':\w*(funcid|fnoid) (', f.suspects, ')\M') AS calls,
                 pg_catalog.concat(':\w*(funcid|fnoid) (', f.suspects, '|', f.nextvals, ')\M') AS calls_or_nextval
         FROM (SELECT pg_catalog.string_agg(p.oid::pg_catalog.text, '|') FILTER (WHERE p.proname <> 'nextval') AS suspects,
                      pg_catalog.string_agg(p.oid::pg_catalog.text, '|') FILTER (WHERE p.proname = 'nextval') AS nextvals
               FROM pg_catalog.pg_proc p WHERE p.proname ~ '^({SUSPECT_FUNCTIONS}|nextval)$') f"
    );
    let conditions = [
        // Functions and procedures: by their body if it can be read, and by what their arguments default to. One in C may do
        // anything, unless its extension is known, and so may PostgreSQL's own under another name. A body that PostgreSQL has
        // parsed is a column since 14.
        format!(
            "FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
             WHERE p.pronamespace NOT IN {system} AND p.prokind <> 'a'
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
               WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
               AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND x.extname IN ({extensions}))
             AND (p.proargdefaults::pg_catalog.text ~ (SELECT calls_or_nextval FROM stored)
               OR CASE WHEN l.lanname = 'internal' THEN p.prosrc NOT IN {CONSTRUCTORS_OF_RANGES}
                  WHEN l.lanname NOT IN ('sql', 'plpgsql') THEN true
                  WHEN p.prosrc = '' THEN
                    pg_catalog.to_jsonb(p) ->> 'prosqlbody' ~ (SELECT calls_or_nextval FROM stored)
                    OR pg_catalog.to_jsonb(p) ->> 'prosqlbody' ~ (SELECT reads FROM stored)
                  ELSE p.prosrc ~* {statements} END)"
        ),
        // Aggregates and operators over functions of PostgreSQL's own.
        format!(
            "FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc p ON p.oid = a.aggfnoid
             JOIN pg_catalog.pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn)
             WHERE p.pronamespace NOT IN {system} AND f.proname ~* {calls_or_nextval}"
        ),
        format!(
            "FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc f ON f.oid = o.oprcode
             WHERE o.oprnamespace NOT IN {system} AND f.proname ~* {calls_or_nextval}"
        ),
        // Views and rules, but for the system's own, of which there are many: their numbers are below 16384.
        "FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384
         AND (pg_catalog.concat(r.ev_action, r.ev_qual) ~ (SELECT calls_or_nextval FROM stored)
           OR r.ev_action::pg_catalog.text ~ (SELECT reads FROM stored))"
            .to_owned(),
        // An UPDATE of a view of pg_settings is one of pg_settings, and that is a SET.
        "FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384 AND r.ev_action::pg_catalog.text
         ~ pg_catalog.concat(':relid ', 'pg_catalog.pg_settings'::pg_catalog.regclass::pg_catalog.oid, '\\M')"
            .to_owned(),
        // Defaults: nextval is what every serial column has; it leaves what only currval and lastval can see.
        "FROM pg_catalog.pg_attrdef a WHERE a.adbin::pg_catalog.text ~ (SELECT calls FROM stored)".to_owned(),
        "FROM pg_catalog.pg_type t WHERE t.typdefaultbin::pg_catalog.text ~ (SELECT calls FROM stored)".to_owned(),
        "FROM pg_catalog.pg_constraint k WHERE k.contype = 'c'
         AND k.conbin::pg_catalog.text ~ (SELECT calls_or_nextval FROM stored)"
            .to_owned(),
        "FROM pg_catalog.pg_trigger g WHERE NOT g.tgisinternal
         AND g.tgqual::pg_catalog.text ~ (SELECT calls FROM stored)"
            .to_owned(),
        "FROM pg_catalog.pg_policy y
         WHERE pg_catalog.concat(y.polqual, y.polwithcheck) ~ (SELECT calls_or_nextval FROM stored)
           OR pg_catalog.concat(y.polqual, y.polwithcheck) ~ (SELECT reads FROM stored)"
            .to_owned(),
    ];
    let conditions: Vec<_> = conditions.into_iter().map(|condition| format!("EXISTS (SELECT {condition})")).collect();
    // Several statements in one text are a transaction, and LOCAL ends with it.
    format!("SET LOCAL search_path TO pg_catalog; WITH stored AS ({stored}) SELECT {}", conditions.join("\nOR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_makes_what_was_known_unknown() {
        let facts = DatabaseFacts { state: AtomicU64::new(1), ..DatabaseFacts::default() };
        assert_eq!(facts.code(), Code::Harmless);
        facts.forget();
        assert_eq!(facts.code(), Code::Unknown);
    }
}
