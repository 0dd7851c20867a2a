//! The YAML that `greenroom dev` runs on, and the YAML that points a Backstage at it.

/// The login that owns the shared database, and that plugins use.
pub(super) const USER: &str = "backstage";

/// The shared database.
pub(super) const DATABASE: &str = "backstage";

/// The configuration of `greenroom dev`. The password is letters and digits, see `home`.
pub(super) fn for_greenroom(postgres_port: u16, password: &str, port: u16, http_port: u16) -> String {
    format!(
        "\
backend:
  database:
    client: pg
    connection:
      host: 127.0.0.1
      port: {postgres_port}
      user: {USER}
      password: '{password}'
      database: {DATABASE}
greenroom:
  listen:
    - host: 127.0.0.1
      port: {port}
  http:
    host: 127.0.0.1
    port: {http_port}
  division: schema
  shutdownGraceMillis: 5000
"
    )
}

/// What a Backstage merges over its own app-config.yaml.
pub(super) fn for_backstage(port: u16, password: &str) -> String {
    format!(
        "\
backend:
  database:
    client: pg
    pluginDivisionMode: database
    ensureExists: false # greenroom makes each plugin's schema on first use
    connection:
      host: 127.0.0.1
      port: {port}
      user: {USER}
      password: '{password}'
      ssl: false
"
    )
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::*;
    use crate::config::{Config, Division};

    #[test]
    fn greenroom_reads_its_own_overlay_as_schema_division() {
        let config = Config::parse(&for_greenroom(5433, "00012", 6432, 9632)).unwrap();
        let place = config.database.base_place().unwrap();
        assert_eq!(place.division, Division::Schema);
        assert_eq!(place.connection.database.as_deref(), Some(DATABASE));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn both_overlays_are_yaml_that_says_the_same_login() {
        let ours: Value = serde_yaml::from_str(&for_greenroom(5433, "00012", 6432, 9632)).unwrap();
        let theirs: Value = serde_yaml::from_str(&for_backstage(6432, "00012")).unwrap();
        assert_eq!(ours["greenroom"]["listen"][0]["port"], theirs["backend"]["database"]["connection"]["port"]);
        for overlay in [ours, theirs] {
            let connection = &overlay["backend"]["database"]["connection"];
            assert_eq!(connection["user"], "backstage");
            assert_eq!(connection["password"], "00012", "a password of digits stays text");
        }
        let theirs: Value = serde_yaml::from_str(&for_backstage(6432, "00012")).unwrap();
        assert_eq!(
            theirs["backend"]["database"]["connection"]["ssl"], false,
            "an ssl of the app-config is merged away"
        );
    }
}
