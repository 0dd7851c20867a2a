//! What a server has reported of its settings since its login.

use crate::protocol::body;

/// The settings that a server has reported since its login, each with its last value.
#[derive(Debug, Default)]
pub struct Reported(Vec<(Box<str>, Box<str>)>);

impl Reported {
    /// The body of a ParameterStatus has come.
    pub fn note(&mut self, report: &[u8]) {
        let Some((name, value)) = body::parameter_status(report) else { return };
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        match self.0.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, last)) => *last = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// The last value of this setting, if it was reported.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
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
        assert_eq!(reported.get("DateStyle"), Some("ISO, MDY"));
    }
}
