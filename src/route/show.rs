//! The configuration as it was understood, for people and programs to look at: a JSON value without secrets.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::RouteTable;
use crate::config::{
    Config, Connection, DatabaseConfig, Division, KnexPool, Password, PluginPlace, PluginSettings, PoolLimits,
    PoolMode, PostgresPlace, ServerEndpoint, SslMode, is_plugin_id,
};

/// What is shown of a configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// These plugins, whether the configuration names them or not; without any, those that it names.
    pub plugins: &'a [String],
    /// Whether passwords are shown as a SHA-256 of this salt and the password, by which equal ones can be told.
    pub password_salt: Option<&'a str>,
}

impl Shown<'_> {
    /// The configuration as JSON: where clients are accepted, and for each plugin what Backstage asks for, where that leads,
    /// as whom, and within which limits. Never a secret.
    pub fn of(&self, config: &Config) -> Value {
        let database = &config.database;
        let table = RouteTable::new(config);
        let ids: Vec<&str> = match self.plugins {
            [] => database.plugins.keys().map(|id| &**id).collect(),
            named => named.iter().map(String::as_str).collect(),
        };
        let plugins: Map<String, Value> =
            ids.iter().map(|id| ((*id).to_owned(), self.plugin(id, database, &table))).collect();
        let others: Map<String, Value> = database
            .others
            .iter()
            .map(|(name, other)| {
                let place = self.place(&other.connection, Some(&other.database), None);
                (name.to_string(), with(place, [("pool", pool(&other.limits))]))
            })
            .collect();
        let listeners = config.listeners.iter().map(|listener| listener.address.to_string());
        json!({
            "listen": listeners.collect::<Vec<_>>(),
            "http": config.http.as_ref().map(|http| format!("{}:{}", http.host, http.port)),
            "maxServerConnections": config.server_limits.ceiling,
            "reservedConnections": config.server_limits.reserved,
            "maxParallelConnects": config.server_limits.parallel_connects,
            "replicas": config.replicas,
            "prefix": &*database.prefix,
            "schemaPrefix": &*database.schema_prefix,
            "pluginDivisionMode": division(database.backstage_division),
            "base": self.base(&database.base),
            "plugins": plugins,
            "databases": others,
            "warnings": config.warnings,
        })
    }

    /// What holds for plugins of which nothing particular is said.
    fn base(&self, base: &PluginSettings) -> Value {
        let more = [("pool", pool(&base.limits)), ("knexPool", knex_pool(&base.knex))];
        match &base.place {
            PluginPlace::Elsewhere(client) => elsewhere(client),
            PluginPlace::NoLogin => with(no_login(), more),
            PluginPlace::Postgres(place) => {
                let shown = self.place(&place.connection, place.connection.database.as_ref(), None);
                with(with(shown, rules(place)), more)
            }
        }
    }

    fn plugin(&self, id: &str, database: &DatabaseConfig, table: &RouteTable) -> Value {
        if !is_plugin_id(id) {
            return json!({ "error": "not a plugin id; expected letters, digits, - and _" });
        }
        let settings = database.plugin(id);
        let more = [
            ("weight", json!(settings.weight)),
            ("pool", pool(&settings.limits)),
            ("knexPool", knex_pool(&settings.knex)),
        ];
        let place = match &settings.place {
            PluginPlace::Elsewhere(client) => return elsewhere(client),
            PluginPlace::NoLogin => return with(no_login(), more),
            PluginPlace::Postgres(place) => place,
        };
        let by_rule = format!("{}{id}", database.prefix);
        let own = place.connection.database.as_deref();
        let logical = match database.backstage_division {
            Division::Database => own.filter(|_| place.own_database).unwrap_or(&by_rule),
            Division::Schema => own.unwrap_or(&by_rule),
        };
        let route = match table.resolve(logical, Some(&format!("backstage_plugin_{id}"))) {
            Ok(route) => route,
            Err(error) => return with(json!({ "logicalDatabase": logical, "error": error.to_string() }), more),
        };
        // A Backstage in schema mode is led to the database as it is, and sets its search_path itself.
        let schema = match database.backstage_division {
            Division::Database => route.target.schema.clone(),
            Division::Schema => Some(format!("{}{id}", database.schema_prefix).into()),
        };
        let connection = Connection {
            server: Arc::clone(&route.target.server),
            login: route.target.login.clone(),
            database: Some(Arc::clone(&route.target.database)),
        };
        let shown = self.place(&connection, Some(&route.target.database), schema.as_ref());
        with(with(with(shown, [("logicalDatabase", json!(logical))]), rules(place)), more)
    }

    fn place(&self, connection: &Connection, database: Option<&Arc<str>>, schema: Option<&Arc<str>>) -> Value {
        let mut shown = json!({
            "client": "pg",
            "proxied": true,
            "server": connection.server.address.to_string(),
            "tls": tls(&connection.server),
            "database": database.map(|name| &**name),
            "schema": schema.map(|name| &**name),
            "user": &*connection.login.user,
            "hasPassword": connection.login.password.is_some(),
        });
        if let (Some(salt), Some(Password::Text(password))) = (self.password_salt, &connection.login.password) {
            shown = with(shown, [("passwordSha256", json!(digest(salt, &password.text)))]);
        }
        shown
    }
}

fn elsewhere(client: &str) -> Value {
    json!({
        "client": client,
        "proxied": false,
        "reason": format!("kept in {client}, which greenroom has no part in; Backstage goes there itself"),
    })
}

fn no_login() -> Value {
    json!({ "client": "pg", "proxied": false, "reason": "backend.database.connection names no user" })
}

fn rules(place: &PostgresPlace) -> [(&'static str, Value); 3] {
    [
        ("division", json!(division(place.division))),
        ("provision", json!(place.provision)),
        ("role", json!(place.role.as_deref())),
    ]
}

fn division(division: Division) -> &'static str {
    match division {
        Division::Schema => "schema",
        Division::Database => "database",
    }
}

fn tls(server: &ServerEndpoint) -> Value {
    let mode = match server.tls.mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    };
    json!({
        "mode": mode,
        "caSha256": server.tls.ca_pem.as_deref().map(|pem| hex(&Sha256::digest(pem.trim().as_bytes()))),
        "hasCertificate": server.tls.cert_pem.is_some(),
        "servername": server.tls.server_name.as_deref(),
    })
}

fn pool(limits: &PoolLimits) -> Value {
    json!({
        "min": limits.min,
        "max": limits.max,
        "mode": match limits.mode {
            PoolMode::Transaction => "transaction",
            PoolMode::Session => "session",
        },
        "acquireTimeoutMillis": millis(limits.acquire_timeout),
        "createTimeoutMillis": millis(limits.create_timeout),
        "destroyTimeoutMillis": millis(limits.destroy_timeout),
        "idleTimeoutMillis": millis(limits.idle_timeout),
        "reapIntervalMillis": millis(limits.reap_interval),
        "createRetryIntervalMillis": millis(limits.create_retry_interval),
        "propagateCreateError": limits.propagate_create_error,
        "maxConnectionLifetimeMillis": millis(limits.max_connection_lifetime),
    })
}

fn knex_pool(pool: &KnexPool) -> Value {
    json!({
        "min": pool.min,
        "max": pool.max,
        "acquireTimeoutMillis": millis(pool.acquire_timeout),
        "createTimeoutMillis": millis(pool.create_timeout),
        "destroyTimeoutMillis": millis(pool.destroy_timeout),
        "idleTimeoutMillis": millis(pool.idle_timeout),
        "reapIntervalMillis": millis(pool.reap_interval),
        "createRetryIntervalMillis": millis(pool.create_retry_interval),
        "propagateCreateError": pool.propagate_create_error,
    })
}

/// Every time of a configuration is given in milliseconds and fits 32 bits.
fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

fn with<const N: usize>(mut shown: Value, more: [(&'static str, Value); N]) -> Value {
    if let Value::Object(map) = &mut shown {
        map.extend(more.map(|(key, value)| (key.to_owned(), value)));
    }
    shown
}

fn digest(salt: &str, password: &SecretString) -> String {
    let mut digest = Sha256::new();
    digest.update(salt.as_bytes());
    digest.update(password.expose_secret().as_bytes());
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
backend:
  database:
    client: pg
    role: owner
    connection: { host: db, user: base, password: geheim, database: shared }
    plugin:
      auth: { client: better-sqlite3 }
      catalog: { connection: { user: cat, password: geheimer, database: entities } }
greenroom: { division: schema, database: { reports: {} } }
";

    fn shown(text: &str, plugins: &[&str], password_salt: Option<&str>) -> Value {
        let plugins: Vec<String> = plugins.iter().map(ToString::to_string).collect();
        Shown { plugins: &plugins, password_salt }.of(&Config::parse(text).unwrap_or_else(|errors| panic!("{errors}")))
    }

    #[test]
    fn each_plugin_is_shown_with_what_backstage_asks_for_and_where_that_leads() {
        let shown = shown(TEXT, &["app", "auth", "catalog", "a b"], None);
        let place = |id: &str| {
            let plugin = &shown["plugins"][id];
            ["logicalDatabase", "server", "database", "schema", "user", "role"].map(|key| plugin[key].as_str())
        };
        let some = |words: [&'static str; 6]| words.map(Some);
        assert_eq!(place("app"), some(["backstage_plugin_app", "db:5432", "shared", "app", "base", "owner"]));
        assert_eq!(place("catalog"), some(["entities", "db:5432", "entities", "catalog", "cat", "owner"]));
        assert_eq!(shown["plugins"]["auth"]["proxied"], false);
        assert!(shown["plugins"]["a b"]["error"].as_str().unwrap().starts_with("not a plugin id"));
        assert_eq!(shown["databases"]["reports"]["database"], "reports");
        assert_eq!(shown["warnings"][0], "plugin auth is kept in better-sqlite3: not proxied");
    }

    #[test]
    fn a_backstage_in_schema_mode_asks_for_the_shared_database() {
        let text = TEXT.replace("role:", "pluginDivisionMode: schema\n    role:");
        let shown = shown(&text, &["app"], None);
        assert_eq!(shown["plugins"]["app"]["logicalDatabase"], "shared");
        assert_eq!(shown["plugins"]["app"]["schema"], "app");
    }

    #[test]
    fn without_names_the_configured_plugins_are_shown() {
        let shown = shown(TEXT, &[], None);
        assert_eq!(shown["plugins"].as_object().unwrap().keys().collect::<Vec<_>>(), ["auth", "catalog"]);
    }

    #[test]
    fn a_password_is_never_shown_and_equal_ones_have_equal_digests() {
        let bare = shown(TEXT, &["app", "catalog"], None);
        assert!(!bare.to_string().contains("geheim") && !bare.to_string().contains("passwordSha256"), "{bare}");
        assert_eq!(bare["plugins"]["app"]["hasPassword"], true);
        let salted = shown(TEXT, &["app", "search", "catalog"], Some("salt"));
        let digest = |id: &str| salted["plugins"][id]["passwordSha256"].as_str().unwrap().to_owned();
        assert!(!salted.to_string().contains("geheim"), "{salted}");
        assert_eq!(digest("app"), digest("search"));
        assert_ne!(digest("app"), digest("catalog"));
        assert_ne!(shown(TEXT, &["app"], Some("other"))["plugins"]["app"]["passwordSha256"], digest("app"));
    }
}
