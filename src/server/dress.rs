//! What a server is dressed in for a session: the settings that ride ahead of the client's own bytes.
//!
//! Only what cannot fail rides ahead: a search_path (PostgreSQL does not check that its schemas exist) and an
//! application_name. Each goes in a simple query of its own, so that no ROLLBACK of the client undoes it. A role can fail,
//! and what follows must not be done as anybody else: it is waited for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crate::protocol::message;
use crate::sql::quote;

/// The settings of a session that greenroom carries from server to server.
#[derive(Debug, Clone)]
pub struct Dress {
    /// The schemas to look in, as SET takes them; `None` where the login's own default is right.
    pub search_path: Option<Arc<str>>,
    /// The client's application_name.
    pub application_name: Arc<str>,
    /// The role that the client has set; `None` where it is the one that the login begins with.
    pub role: Option<Role>,
    /// The search_path that a RESET goes back to.
    home: Option<Arc<str>>,
    /// The queries that set each, made once.
    path_query: Arc<[u8]>,
    name_query: Arc<[u8]>,
}

/// A role that was set.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name, as SET takes it.
    pub name: Arc<str>,
    /// When.
    pub set_at: Instant,
}

impl Role {
    /// A role that was set just now.
    pub fn set_now(name: &str) -> Self {
        Self { name: name.into(), set_at: Instant::now() }
    }
}

impl Dress {
    /// The search_path that a shared server of schema division starts with, and that a RESET returns it to: a schema that
    /// nobody has. What escapes the dress finds nothing and can create nothing, instead of landing in somebody's schema.
    pub const NOWHERE: &str = "\"greenroom: search_path was reset\"";

    /// What a shared server calls itself until it is dressed, and again after a RESET.
    pub const OWN_NAME: &str = "greenroom";

    /// The statement that does what RESET search_path means to the session.
    pub fn home_path_sql(&self) -> String {
        search_path_sql(self.home.as_deref())
    }

    /// The search_path that a RESET goes back to; `None` where it is the login's own default.
    pub fn home_path(&self) -> Option<&str> {
        self.home.as_deref()
    }

    /// Whether a server in this dress acts as the role of `wanted`. The same name may have become another role since it was
    /// set here: what was set earlier than the session has set it does not count.
    pub fn is_in_role_of(&self, wanted: &Self) -> bool {
        match (&self.role, &wanted.role) {
            (None, None) => true,
            (Some(here), Some(wanted)) => here.name == wanted.name && here.set_at >= wanted.set_at,
            _ => false,
        }
    }

    /// The statement that sets the role.
    pub fn role_sql(&self) -> String {
        match &self.role {
            Some(Role { name, .. }) => format!("SET ROLE {name}"),
            None => "RESET ROLE".to_owned(),
        }
    }

    /// The statements that a server of the session's own needs beyond its startup parameters.
    pub fn own_settings_sql(&self) -> Vec<String> {
        let path = (self.search_path != self.home).then(|| search_path_sql(self.search_path.as_deref()));
        path.into_iter().chain(self.role.is_some().then(|| self.role_sql())).collect()
    }

    /// The statement that sets the application_name.
    pub fn application_name_sql(&self) -> String {
        format!("SET application_name TO {}", quote::literal(&self.application_name))
    }

    /// The dress of a session with this search_path, written as SET takes it.
    pub fn new(search_path: Option<Arc<str>>, application_name: &str) -> Self {
        let mut dress = Self {
            home: search_path.clone(),
            path_query: query(&search_path_sql(search_path.as_deref())),
            search_path,
            application_name: application_name.into(),
            role: None,
            name_query: Arc::default(),
        };
        dress.name_query = query(&dress.application_name_sql());
        dress
    }

    /// The client has set a search_path of its own, written as SET takes it.
    pub fn set_search_path(&mut self, path: &str) {
        self.path_query = query(&search_path_sql(Some(path)));
        self.search_path = Some(path.into());
    }

    /// A number for what the meaning of a statement depends on when it is prepared.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.search_path, self.role.as_ref().map(|role| &role.name)).hash(&mut hasher);
        hasher.finish()
    }

    /// Appends the queries that turn this dress into `wanted`, and says how many answers they bring. The role is not among
    /// them.
    pub fn change_to(&mut self, wanted: &Self, out: &mut Vec<u8>) -> u32 {
        let mut cycles = 0;
        if self.search_path != wanted.search_path {
            out.extend_from_slice(&wanted.path_query);
            cycles += 1;
        }
        if self.application_name != wanted.application_name {
            out.extend_from_slice(&wanted.name_query);
            cycles += 1;
        }
        if cycles > 0 {
            let role = self.role.take();
            self.clone_from(wanted);
            self.role = role;
        }
        cycles
    }

    /// Whether PostgreSQL keeps `name` exactly as it is: printable ASCII, shorter than an identifier's 64 bytes.
    ///
    /// Source: PostgreSQL, "application_name". Anything else comes back changed, and only a server can tell how.
    pub fn is_plain_application_name(name: &str) -> bool {
        name.len() < 64 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    }
}

fn search_path_sql(path: Option<&str>) -> String {
    format!("SET search_path TO {}", path.unwrap_or("DEFAULT"))
}

fn query(sql: &str) -> Arc<[u8]> {
    let mut out = Vec::new();
    message::query(&mut out, sql);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_when_nothing_differs() {
        let mut out = Vec::new();
        let wanted = Dress::new(Some("catalog".into()), "backstage_plugin_catalog");
        assert_eq!(wanted.clone().change_to(&wanted, &mut out), 0);
        assert!(out.is_empty());
    }

    #[test]
    fn each_difference_is_a_query_of_its_own() {
        let (mut dress, mut out) = (Dress::new(None, "greenroom"), Vec::new());
        let wanted = Dress::new(Some("\"user-settings\"".into()), "it's");
        assert_eq!(dress.change_to(&wanted, &mut out), 2);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("SET search_path TO \"user-settings\"\0Q"), "{text}");
        assert!(text.ends_with("SET application_name TO 'it''s'\0"), "{text}");
        assert_eq!(dress.change_to(&wanted, &mut out), 0);
    }

    #[test]
    fn a_role_never_rides_ahead() {
        let (mut dress, mut out) = (Dress::new(None, "a"), Vec::new());
        let mut wanted = Dress::new(None, "b");
        wanted.role = Some(Role::set_now("owner"));
        assert_eq!(dress.change_to(&wanted, &mut out), 1);
        assert!(!out.windows(4).any(|bytes| bytes.eq_ignore_ascii_case(b"role")));
        assert!(!dress.is_in_role_of(&wanted));
    }

    #[test]
    fn a_server_of_its_own_gets_what_the_client_has_set() {
        let mut dress = Dress::new(Some("catalog".into()), "a");
        assert!(dress.own_settings_sql().is_empty());
        dress.set_search_path("other, public");
        dress.role = Some(Role::set_now("owner"));
        assert_eq!(dress.own_settings_sql(), ["SET search_path TO other, public", "SET ROLE owner"]);
        assert_eq!(dress.home_path_sql(), "SET search_path TO catalog");
    }

    #[test]
    fn a_role_that_was_set_before_the_session_set_it_may_be_another_one() {
        let in_role = |role: Option<Role>| Dress { role, ..Dress::new(None, "a") };
        let (none, earlier, later) =
            (in_role(None), in_role(Some(Role::set_now("a"))), in_role(Some(Role::set_now("a"))));
        assert!(none.is_in_role_of(&none) && earlier.is_in_role_of(&earlier) && later.is_in_role_of(&earlier));
        assert!(!earlier.is_in_role_of(&later) && !earlier.is_in_role_of(&none) && !none.is_in_role_of(&earlier));
        assert!(!in_role(Some(Role::set_now("b"))).is_in_role_of(&earlier));
    }

    #[test]
    fn a_name_that_postgresql_would_change_is_not_plain() {
        assert!(Dress::is_plain_application_name("backstage_plugin_catalog"));
        for name in ["é", "a\tb", &"x".repeat(64)] {
            assert!(!Dress::is_plain_application_name(name), "{name}");
        }
    }
}
