//! What a server is dressed in for a session: the settings that ride ahead of the client's own bytes.
//!
//! Only what cannot fail rides ahead: a search_path (PostgreSQL does not check that its schemas exist), an
//! application_name, and settings that this login was allowed to make. Each kind goes in a simple query of its own, so that
//! no ROLLBACK of the client undoes it. A role can fail, and what follows must not be done as anybody else: it is waited for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crate::protocol::message;
use crate::session::Fingerprint;
use crate::sql::{carried, quote};

/// The settings of a session that greenroom carries from server to server.
#[derive(Debug, Clone)]
pub struct Dress {
    /// The schemas to look in, as SET takes them; `None` where the login's own default is right.
    pub search_path: Option<Arc<str>>,
    /// The client's application_name.
    pub application_name: Arc<str>,
    /// The role that the client has set; `None` where it is the one that the login begins with.
    pub role: Option<Role>,
    /// Every other setting that is not the login's own default.
    settings: Settings,
    /// What a RESET goes back to.
    home: Arc<Home>,
    /// The statement that sets the search_path, and the queries that set each, made once.
    path_sql: Arc<str>,
    path_query: Arc<[u8]>,
    name_query: Arc<[u8]>,
    settings_query: Arc<[u8]>,
}

/// What a session began with.
#[derive(Debug)]
struct Home {
    search_path: Option<Arc<str>>,
    application_name: Arc<str>,
    /// Names and plain values.
    settings: Vec<(String, String)>,
}

/// Settings in lower case and their values as SET takes them, in the order in which they are set: what can end a statement
/// comes last, so that it cannot end the ones that set the others.
type Settings = Arc<[(Box<str>, Box<str>)]>;

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

    /// What a shared server calls itself until it is dressed, and again after a RESET: nothing that a client would.
    pub const OWN_NAME: &str = "greenroom: no application_name";

    /// The statement that does what RESET search_path means to the session.
    pub fn home_path_sql(&self) -> String {
        search_path_sql(self.home.search_path.as_deref())
    }

    /// The search_path that a RESET goes back to; `None` where it is the login's own default.
    pub fn home_path(&self) -> Option<&str> {
        self.home.search_path.as_deref()
    }

    /// The application_name that a RESET goes back to.
    pub fn home_name(&self) -> &str {
        &self.home.application_name
    }

    /// The statement that does what RESET application_name means to the session.
    pub fn home_name_sql(&self) -> String {
        application_name_sql(self.home_name())
    }

    /// The settings, other than those two, that a RESET goes back to.
    pub fn home_settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.home.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
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

    /// The startup parameters of a server of the session's own: what a RESET there has to go back to.
    pub fn own_startup(&self) -> Vec<(String, String)> {
        let name = Some(("application_name", self.home_name()));
        let path = self.home_path().map(|path| ("search_path", path));
        let all = name.into_iter().chain(path).chain(self.home_settings());
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The statements that a server of the session's own needs beyond its startup parameters. What may fail comes first.
    pub fn own_settings_sql(&self) -> Vec<String> {
        let path = (self.search_path != self.home.search_path).then(|| self.path_sql.to_string());
        let name = (self.application_name != self.home.application_name).then(|| self.application_name_sql());
        let is_home = |(name, value): &&(Box<str>, Box<str>)| {
            self.home_settings().any(|(own, home)| own.eq_ignore_ascii_case(name) && quote::literal(home) == **value)
        };
        let own = self.settings.iter().filter(|setting| !is_home(setting)).map(setting_sql).collect::<Vec<_>>();
        self.role.is_some().then(|| self.role_sql()).into_iter().chain(path).chain(name).chain(own).collect()
    }

    /// The statement that sets the application_name.
    pub fn application_name_sql(&self) -> String {
        application_name_sql(&self.application_name)
    }

    /// The dress of a session with this search_path, written as SET takes it.
    pub fn new(search_path: Option<Arc<str>>, application_name: &str) -> Self {
        let path_sql = search_path_sql(search_path.as_deref());
        let (application_name, settings): (Arc<str>, Settings) = (application_name.into(), Settings::default());
        let home = Home {
            search_path: search_path.clone(),
            application_name: Arc::clone(&application_name),
            settings: Vec::new(),
        };
        let mut dress = Self {
            path_query: query(&path_sql),
            path_sql: path_sql.into(),
            search_path,
            application_name,
            role: None,
            settings,
            home: home.into(),
            name_query: Arc::default(),
            settings_query: Arc::default(),
        };
        dress.name_query = query(&dress.application_name_sql());
        dress
    }

    /// What a shared server wears after its login, and after it was RESET.
    pub fn none() -> Self {
        Self::new(None, Self::OWN_NAME)
    }

    /// The client has set a search_path of its own, written as SET takes it.
    pub fn set_search_path(&mut self, path: &str) {
        self.wear_path(path, search_path_sql(Some(path)));
    }

    /// The session has this search_path now, as SHOW tells it.
    pub fn has_search_path(&mut self, path: Option<&str>) {
        if path == self.search_path.as_deref() {
            return;
        }
        match path {
            // An empty name in it cannot be written for SET.
            Some(path) => self.wear_path(
                path,
                format!("SELECT pg_catalog.set_config('search_path', {}, false)", quote::literal(path)),
            ),
            None => {
                self.search_path = None;
                self.path_sql = search_path_sql(None).into();
                self.path_query = query(&self.path_sql);
            }
        }
    }

    fn wear_path(&mut self, path: &str, sql: String) {
        self.search_path = Some(path.into());
        self.path_query = query(&sql);
        self.path_sql = sql.into();
    }

    /// The session has this application_name now.
    pub fn has_application_name(&mut self, name: &str) {
        if *self.application_name != *name {
            self.application_name = name.into();
            self.name_query = query(&self.application_name_sql());
        }
    }

    /// The session has these settings now beside search_path and application_name, and these values.
    pub fn has_settings(&mut self, settings: impl IntoIterator<Item = (String, String)>) {
        let literals = settings.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), quote::literal(&value)));
        self.wear(literals.collect());
    }

    /// The client has set `name`, in lower case, to a value written as SET takes it.
    pub fn set_setting(&mut self, name: &str, value: &str) {
        self.change_setting(name, Some(value));
    }

    /// The client has RESET `name`, with which the session did not begin.
    pub fn reset_setting(&mut self, name: &str) {
        self.change_setting(name, None);
    }

    fn change_setting(&mut self, name: &str, value: Option<&str>) {
        let others = self.settings.iter().filter(|(other, _)| **other != *name);
        let mut settings: BTreeMap<_, _> = others.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        settings.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self.wear(settings);
    }

    fn wear(&mut self, settings: BTreeMap<String, String>) {
        let mut settings: Vec<(Box<str>, Box<str>)> =
            settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        settings.sort_by_key(|(name, _)| name.ends_with("_timeout"));
        self.settings_query = match settings.is_empty() {
            true => Arc::default(),
            false => query(&settings.iter().map(setting_sql).collect::<Vec<_>>().join("; ")),
        };
        self.settings = settings.into();
    }

    /// The session has what it began with again, but for the role.
    pub fn reset_all(&mut self) {
        let home = Arc::clone(&self.home);
        self.reset_search_path();
        self.reset_application_name();
        self.has_settings(home.settings.iter().cloned());
    }

    /// The session has the search_path again that it began with.
    pub fn reset_search_path(&mut self) {
        let home = self.home.search_path.clone();
        self.path_sql = search_path_sql(home.as_deref()).into();
        self.path_query = query(&self.path_sql);
        self.search_path = home;
    }

    /// The session has the application_name again that it began with.
    pub fn reset_application_name(&mut self) {
        self.has_application_name(&Arc::clone(&self.home).application_name);
    }

    /// These settings are what the session began with, beside search_path and application_name.
    pub fn begins_with(&mut self, settings: Vec<(String, String)>) {
        self.has_settings(settings.iter().cloned());
        let Home { search_path, application_name, .. } = &*self.home;
        let (search_path, application_name) = (search_path.clone(), Arc::clone(application_name));
        self.home = Arc::new(Home { search_path, application_name, settings });
    }

    /// The queries that give a session the search_path, the application_name and the other settings that it began with,
    /// where a shared server's own RESET does not.
    pub fn ways_home(&self) -> [Arc<[u8]>; 3] {
        let mut home = Self::none();
        home.has_settings(self.home.settings.iter().cloned());
        [query(&self.home_path_sql()), query(&self.home_name_sql()), home.settings_query]
    }

    /// The statements that set these.
    pub fn settings_sql<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let literals =
            settings.into_iter().map(|(name, value)| setting_sql(&(name.into(), quote::literal(value).into())));
        literals.collect::<Vec<_>>().join("; ")
    }

    /// Whether the session began with settings beside search_path and application_name.
    pub fn began_with_settings(&self) -> bool {
        !self.home.settings.is_empty()
    }

    /// Whether the session has set `name`, in whatever case, itself.
    pub fn sets(&self, name: &str) -> bool {
        self.settings.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// Whether it is more than search_path, application_name and role.
    #[inline]
    pub fn has_more(&self) -> bool {
        !self.settings.is_empty()
    }

    /// Numbers for what the meaning of a statement depends on when it is prepared.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        // The same value may have been written with quotes or without.
        self.literals().for_each(|(name, value)| (name, value.trim_matches('\'')).hash(&mut hasher));
        let literals = hasher.finish();
        (&self.search_path, self.role.as_ref().map(|role| &role.name)).hash(&mut hasher);
        Fingerprint { meaning: hasher.finish(), literals }
    }

    /// The settings that decide what literals mean.
    fn literals(&self) -> impl Iterator<Item = &(Box<str>, Box<str>)> {
        self.settings.iter().filter(|(name, _)| carried::decides_on_literals(name))
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
        if !wanted.settings.is_empty() && self.settings != wanted.settings {
            out.extend_from_slice(&wanted.settings_query);
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

fn application_name_sql(name: &str) -> String {
    format!("SET application_name TO {}", quote::literal(name))
}

fn setting_sql((name, value): &(Box<str>, Box<str>)) -> String {
    format!("SET {} TO {value}", quote::identifier(name))
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
        assert_eq!(dress.own_settings_sql(), ["SET ROLE owner", "SET search_path TO other, public"]);
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

    #[test]
    fn what_can_end_a_statement_is_set_last() {
        let mut wanted = Dress::new(None, Dress::OWN_NAME);
        wanted.set_setting("lock_timeout", "5");
        wanted.set_setting("work_mem", "'1MB'");
        wanted.set_setting("a_setting", "on");
        wanted.set_setting("a_setting", "off");
        let (mut dress, mut out) = (Dress::none(), Vec::new());
        assert_eq!(dress.change_to(&wanted, &mut out), 1);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(
            text.contains("SET \"a_setting\" TO off; SET \"work_mem\" TO '1MB'; SET \"lock_timeout\" TO 5\0"),
            "{text}"
        );
        assert_eq!(dress.change_to(&wanted, &mut out), 0);
        wanted.reset_all();
        assert!(!wanted.has_more());
    }

    #[test]
    fn statements_are_shared_under_the_same_meaning_of_literals_only() {
        let plain = Dress::new(None, "a");
        let with = |name: &str, value: &str| {
            let mut dress = plain.clone();
            dress.set_setting(name, value);
            dress
        };
        let (work, zone) = (with("work_mem", "'1MB'"), with("timezone", "'Asia/Tokyo'"));
        assert_eq!(work.fingerprint(), plain.fingerprint());
        assert_ne!(zone.fingerprint(), plain.fingerprint());
        assert_eq!(zone.fingerprint(), with("timezone", "'Asia/Tokyo'").fingerprint());
    }

    #[test]
    fn a_session_goes_back_to_what_it_began_with() {
        let mut dress = Dress::new(Some("catalog".into()), "a");
        dress.begins_with(vec![("TimeZone".into(), "UTC".into())]);
        dress.has_search_path(Some("\"\""));
        dress.set_setting("timezone", "'Asia/Tokyo'");
        assert_eq!(
            dress.own_settings_sql(),
            ["SELECT pg_catalog.set_config('search_path', '\"\"', false)", "SET \"timezone\" TO 'Asia/Tokyo'"]
        );
        dress.reset_all();
        assert!(dress.own_settings_sql().is_empty() && dress.has_more());
        let startup = [("application_name", "a"), ("search_path", "catalog"), ("TimeZone", "UTC")];
        assert_eq!(dress.own_startup(), startup.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
