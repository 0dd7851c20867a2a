//! What the client has been told of its settings: a server that others use says what a RESET returned it to, and the client
//! hears what that means to its session. A configuration that has changed is told to all.

use std::sync::Arc;

use super::Relay;
use super::downstream::note_how_texts_are_read;
use crate::pool::{Configured, Lease, Parameters};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::{Backend, body, message};
use crate::server::{Dress, Reported, is_configured};

/// What the client was told of its settings.
#[derive(Debug)]
pub(super) struct Told {
    /// How often the configuration had changed that it knows; 0 if what it knows may not be that of shared servers.
    pub(super) configuration: u64,
    /// With its login.
    greeted: Parameters,
    /// Since then.
    since: Reported,
    // Those that a shared server begins with in other values than the session.
    application_name: Arc<str>,
    /// Reported since PostgreSQL 18.
    search_path: Option<Arc<str>>,
}

/// What becomes of a ParameterStatus.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    AsItIs,
    /// The client knows.
    Nothing,
    /// This frame.
    Instead(Vec<u8>),
}

impl Told {
    /// The client was greeted with what the session wears.
    pub(super) fn greeted(dress: &Dress, greeted: Configured) -> Self {
        Self {
            configuration: greeted.number,
            greeted: greeted.parameters,
            since: Reported::default(),
            application_name: Arc::clone(&dress.application_name),
            search_path: dress.search_path.clone(),
        }
    }

    /// Whether a server reports a setting of the configuration that the client does not know of.
    pub(super) fn lacks(&self, report: &[u8], dress: &Dress) -> bool {
        let Some((name, value)) = body::parameter_status(report) else { return false };
        let Ok(name) = std::str::from_utf8(name) else { return false };
        is_configured(name) && !dress.sets(name) && self.value(name).map(str::as_bytes) != Some(value)
    }

    /// The value of a setting, as the client knows it.
    fn value(&self, name: &str) -> Option<&str> {
        let at_login = || self.greeted.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value);
        self.since.get(name).or_else(at_login)
    }

    /// A server reports a setting.
    pub(super) fn hears(&mut self, report: &[u8], dress: &Dress, server_is_shared: bool) -> Heard {
        let Some((name, value)) = body::parameter_status(report) else { return Heard::AsItIs };
        let (told, own, home) = match name {
            b"application_name" => (Some(&*self.application_name), Dress::OWN_NAME, Some(dress.home_name())),
            b"search_path" => (self.search_path.as_deref(), Dress::NOWHERE, dress.home_path()),
            _ => {
                self.since.note(report);
                return Heard::AsItIs;
            }
        };
        let (heard, value) = match home {
            Some(home) if server_is_shared && value == own.as_bytes() && told == Some(home) => return Heard::Nothing,
            Some(home) if server_is_shared && value == own.as_bytes() => {
                (Heard::Instead(status(name, home)), home.into())
            }
            _ => (Heard::AsItIs, String::from_utf8_lossy(value)),
        };
        match name {
            b"application_name" => self.application_name = value.into(),
            _ => self.search_path = Some(value.into()),
        }
        heard
    }
}

impl Relay<'_> {
    /// PostgreSQL's configuration has changed: tells what that changes for the client, where it has set nothing itself.
    pub(super) fn tell_configuration(&mut self) {
        let Some(Configured { number, parameters }) = self.member.pool.configured() else { return };
        for (name, value) in parameters.iter() {
            self.tell_setting(name, value);
        }
        self.told.configuration = number;
    }

    /// Tells what the server has said of the configuration when nobody but greenroom listened: as it logged in, and in
    /// answer to questions of ours.
    pub(super) fn tell_unheard(&mut self, lease: &mut Lease) {
        for (name, value) in lease.server().reported.iter() {
            self.tell_setting(name, value);
        }
    }

    fn tell_setting(&mut self, name: &str, value: &str) {
        let is_known = self.told.value(name) == Some(value);
        if is_known || !is_configured(name) || self.dress.sets(name) {
            return;
        }
        let frame = status(name.as_bytes(), value);
        let report = &frame[HEADER_BYTES..];
        note_how_texts_are_read(&mut self.session, report);
        if let Some(hearing) = &mut self.hearing {
            hearing.note_encoding(report);
        }
        self.told.since.note(report);
        self.own.extend_from_slice(&frame);
    }
}

fn status(name: &[u8], value: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    message::frame(&mut frame, Backend::PARAMETER_STATUS.0, |out| {
        message::put_str(out, name);
        message::put_str(out, value.as_bytes());
    });
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shared_server_goes_back_to_is_what_the_session_began_with() {
        let dress = Dress::new(Some("catalog".into()), "ours");
        let mut told = Told::greeted(&dress, Configured { number: 0, parameters: Arc::new([]) });
        let own = format!("application_name\0{}\0", Dress::OWN_NAME);
        assert_eq!(told.hears(own.as_bytes(), &dress, true), Heard::Nothing);
        assert_eq!(told.hears(b"application_name\0other\0", &dress, true), Heard::AsItIs);
        let instead = Heard::Instead(status(b"application_name", "ours"));
        assert_eq!(told.hears(own.as_bytes(), &dress, true), instead);
        assert_eq!(told.hears(own.as_bytes(), &dress, true), Heard::Nothing);
        assert_eq!(told.hears(own.as_bytes(), &dress, false), Heard::AsItIs);
        let nowhere = format!("search_path\0{}\0", Dress::NOWHERE);
        assert_eq!(told.hears(nowhere.as_bytes(), &dress, true), Heard::Nothing);
        assert_eq!(told.hears(b"TimeZone\0UTC\0", &dress, true), Heard::AsItIs);
    }
}
