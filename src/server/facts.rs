//! Whether a database's own code may leave state in a session where no client's text shows it.
//!
//! A text is scanned for what it may leave behind, but a function, view, rule, default or policy can hide it. Whether
//! there are any that might is asked of the catalogs when a server connects and after statements that define such things.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::{QueryError, Server};

/// Words that make a function's body suspect. A superset, as [`crate::sql::scan`] is one for a client's text: `SET` of an
/// UPDATE is one too many.
const SUSPECT_IN_FUNCTIONS: &str = r"\m(set|reset|discard|listen|unlisten|prepare|load|execute|create|alter|do|call|temp|temporary|hold)\M";

/// Functions that leave something behind or run a string as SQL, wherever they are called.
const SUSPECT_CALLS: &str = r"\m(set_config|set_limit|currval|lastval|setval|setseed|pg_advisory_lock\w*|pg_try_advisory_lock\w*|query_to_xml\w*|cursor_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*|connectby|xpath_table|dblink_connect\w*)\M|pg_temp";

/// What is known of one physical database, shared by everybody who serves it.
#[derive(Debug, Default)]
pub struct DatabaseFacts {
    /// How often it was forgotten, above two low bits that hold the [`Code`].
    state: AtomicU64,
}

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

    /// The database's code may have changed.
    pub fn forget(&self) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            Some((state & !CODE_BITS).wrapping_add(ONE_CHANGE))
        });
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

/// Reads only catalogs that every role may read, with every name qualified: no search_path can bend it.
fn question() -> String {
    format!(
        r"SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  WHERE p.pronamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace)
    AND p.prokind <> 'a'
    AND CASE WHEN l.lanname IN ('sql', 'plpgsql')
          THEN CASE WHEN p.prosrc = '' THEN pg_catalog.pg_get_functiondef(p.oid) ELSE p.prosrc END ~* '{SUSPECT_IN_FUNCTIONS}|{SUSPECT_CALLS}|\mnextval\M'
          ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e') END)
OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  WHERE c.relnamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace)
    AND pg_catalog.pg_get_ruledef(r.oid) ~* '{SUSPECT_CALLS}|\mnextval\M')
OR EXISTS (SELECT FROM pg_catalog.pg_attrdef a WHERE pg_catalog.pg_get_expr(a.adbin, a.adrelid) ~* '{SUSPECT_CALLS}')
OR EXISTS (SELECT FROM pg_catalog.pg_constraint k
  WHERE k.contype = 'c' AND pg_catalog.pg_get_constraintdef(k.oid) ~* '{SUSPECT_CALLS}')
OR EXISTS (SELECT FROM pg_catalog.pg_policy y WHERE pg_catalog.concat(
  pg_catalog.pg_get_expr(y.polqual, y.polrelid), pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid)) ~* '{SUSPECT_CALLS}')"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_makes_what_was_known_unknown() {
        let facts = DatabaseFacts { state: AtomicU64::new(1) };
        assert_eq!(facts.code(), Code::Harmless);
        facts.forget();
        assert_eq!(facts.code(), Code::Unknown);
    }
}
