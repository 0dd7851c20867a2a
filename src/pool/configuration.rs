//! The settings that every new server of a pool begins with. They change while greenroom runs, by a reload of PostgreSQL's
//! configuration or by ALTER ROLE and ALTER DATABASE: whoever notices first, all sessions are told, and servers that began
//! with others are lent to nobody any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::server::{Reported, is_configured};

/// The settings a server reported when it logged in, in its own spelling and order.
pub type Parameters = Arc<[(Box<str>, Box<str>)]>;

/// What is known of a pool's configuration at one moment.
#[derive(Debug, Clone)]
pub struct Configured {
    /// How often it had changed.
    pub number: u64,
    /// What new servers report.
    pub parameters: Parameters,
}

/// What new servers of a pool begin with.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// `None` before the first server.
    parameters: RwLock<Option<Parameters>>,
    /// Changes with the parameters, under their lock.
    number: AtomicU64,
}

impl Configuration {
    /// How often it has changed.
    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// What is known now.
    pub(super) fn now(&self) -> Option<Configured> {
        let parameters = self.parameters.read();
        Some(Configured { number: self.number(), parameters: parameters.clone()? })
    }

    /// The next server tells.
    pub(super) fn forget(&self) {
        *self.parameters.write() = None;
    }

    /// A new server has reported these at its login. Returns the number that it belongs to.
    pub(super) fn begins(&self, reported: Parameters) -> u64 {
        let mut known = self.parameters.write();
        let is_same = known.as_ref().is_some_and(|known| {
            known
                .iter()
                .filter(|(name, _)| is_configured(name))
                .eq(reported.iter().filter(|(name, _)| is_configured(name)))
        });
        *known = Some(reported);
        if !is_same {
            self.number.fetch_add(1, Ordering::AcqRel);
        }
        self.number()
    }

    /// A server that has nothing of any session on it has last reported these. Whether something has changed.
    pub(super) fn changes(&self, reported: &Reported) -> bool {
        let mut known = self.parameters.write();
        let Some(parameters) = &*known else { return false };
        let is_other = |(name, value): &(Box<str>, Box<str>)| reported.get(name).is_some_and(|now| *now != **value);
        if !parameters.iter().any(is_other) {
            return false;
        }
        let changed = parameters.iter().map(|(name, value)| (name.clone(), reported.get(name).unwrap_or(value).into()));
        *known = Some(changed.collect());
        self.number.fetch_add(1, Ordering::AcqRel);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(zone: &str, name: &str) -> Parameters {
        [("TimeZone", zone), ("application_name", name)].map(|(name, value)| (name.into(), value.into())).into()
    }

    fn reported(zone: &str, name: &str) -> Reported {
        let mut reported = Reported::default();
        reported.note(format!("TimeZone\0{zone}\0").as_bytes());
        reported.note(format!("application_name\0{name}\0").as_bytes());
        reported
    }

    #[test]
    fn servers_that_begin_alike_belong_together() {
        let configuration = Configuration::default();
        assert!(configuration.now().is_none());
        let first = configuration.begins(parameters("UTC", "a"));
        assert_eq!(configuration.begins(parameters("UTC", "b")), first, "a name is a session's own");
        assert_ne!(configuration.begins(parameters("Asia/Tokyo", "b")), first);
        assert_eq!(configuration.now().map(|now| now.number), Some(configuration.number()));
    }

    #[test]
    fn what_a_server_reports_beside_any_session_is_the_configuration() {
        let configuration = Configuration::default();
        assert!(!configuration.changes(&reported("Asia/Tokyo", "a")), "nothing to compare with");
        let first = configuration.begins(parameters("UTC", "a"));
        assert!(!configuration.changes(&reported("UTC", "b")));
        assert!(!configuration.changes(&Reported::default()));
        assert_eq!(configuration.number(), first);
        assert!(configuration.changes(&reported("Asia/Tokyo", "b")));
        assert_ne!(configuration.number(), first);
        assert_eq!(configuration.now().expect("known").parameters, parameters("Asia/Tokyo", "a"));
    }
}
