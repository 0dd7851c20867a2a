//! What the client has been told of its settings: a server that others use says what a RESET returned it to, and the client
//! hears what that means to its session.

use std::sync::Arc;

use crate::protocol::{Backend, body, message};
use crate::server::Dress;

/// The settings that a shared server begins with other values than the session, as the client was told of them.
#[derive(Debug)]
pub(super) struct Told {
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
    pub(super) fn greeted(dress: &Dress) -> Self {
        Self { application_name: Arc::clone(&dress.application_name), search_path: dress.search_path.clone() }
    }

    /// A server reports a setting.
    pub(super) fn hears(&mut self, report: &[u8], dress: &Dress, server_is_shared: bool) -> Heard {
        let Some((name, value)) = body::parameter_status(report) else { return Heard::AsItIs };
        let (told, own, home) = match name {
            b"application_name" => (Some(&*self.application_name), Dress::OWN_NAME, Some(dress.home_name())),
            b"search_path" => (self.search_path.as_deref(), Dress::NOWHERE, dress.home_path()),
            _ => return Heard::AsItIs,
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
        let mut told = Told::greeted(&dress);
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
