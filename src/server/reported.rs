//! What a server has reported of its settings.

use crate::protocol::body;

/// The settings that PostgreSQL reports and that come from its configuration, or from that of a role or a database, where
/// no session has set them. Not among them: what a session has of its own in any case (application_name, search_path),
/// and what says which server and which user it is.
const CONFIGURED: [&str; 7] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "client_encoding",
    "default_transaction_read_only",
    "scram_iterations",
    "standard_conforming_strings",
];

/// Whether this setting comes from the configuration where no session has set it.
pub fn is_configured(name: &str) -> bool {
    CONFIGURED.contains(&name)
}

/// Those settings that were reported since a certain moment, each with its last value. Nothing else is kept: what is
/// reported for most leases, the name of an application, costs no memory.
#[derive(Debug, Default)]
pub struct Reported(Vec<(&'static str, Box<str>)>);

impl Reported {
    /// The body of a ParameterStatus has come.
    pub fn note(&mut self, report: &[u8]) {
        let Some((name, value)) = body::parameter_status(report) else { return };
        if let Ok(name) = std::str::from_utf8(name) {
            self.set(name, &String::from_utf8_lossy(value));
        }
    }

    /// This setting was reported to have this value.
    pub fn set(&mut self, name: &str, value: &str) {
        let Some(&name) = CONFIGURED.iter().find(|known| **known == name) else { return };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, last)) => *last = value.into(),
            None => self.0.push((name, value.into())),
        }
    }

    /// The last value of this setting, if it was reported.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Names and last values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }

    /// Whether nothing was reported.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts() {
        let mut reported = Reported::default();
        assert!(reported.is_empty());
        reported.note(b"TimeZone\0UTC\0");
        reported.note(b"DateStyle\0ISO, MDY\0");
        reported.note(b"TimeZone\0Asia/Tokyo\0");
        reported.note(b"cut off");
        assert_eq!([reported.get("TimeZone"), reported.get("cut off")], [Some("Asia/Tokyo"), None]);
        assert_eq!(reported.iter().collect::<Vec<_>>(), [("TimeZone", "Asia/Tokyo"), ("DateStyle", "ISO, MDY")]);
    }

    /// A server reports the first two whenever another client is lent it: looking at that with each release would cost
    /// all of them. The last one is no setting of PostgreSQL's: it may differ from connection to connection.
    #[test]
    fn what_is_no_matter_of_the_configuration_is_not_kept() {
        let mut reported = Reported::default();
        for report in
            ["application_name\0a\0", "search_path\0a\0", "is_superuser\0on\0", "in_hot_standby\0on\0", "node\x001\0"]
        {
            reported.note(report.as_bytes());
        }
        assert!(reported.is_empty(), "{reported:?}");
    }
}
