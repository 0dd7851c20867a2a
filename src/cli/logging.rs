//! The log: one event is one line, as text or JSON, and no text of a client's can forge another.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Sends the process's events to standard error from now on. What it returns sets another level.
pub(super) fn start(settings: &LogConfig) -> anyhow::Result<impl Fn(LogLevel) + Send + 'static> {
    // No colours: their escape sequences could not be told from those in a client's text.
    let lines = tracing_subscriber::fmt().with_env_filter(filter(settings.level)).with_ansi(false);
    let lines = lines.with_writer(OneLine(io::stderr));
    let set_level: Box<dyn Fn(LogLevel) + Send> = match settings.format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(not_started)?;
            // It fails only when the log is gone.
            Box::new(move |level| drop(handle.reload(filter(level))))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(not_started)?;
            Box::new(move |level| drop(handle.reload(filter(level))))
        }
    };
    Ok(set_level)
}

fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(level.as_str())
}

fn not_started(error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
    anyhow::anyhow!("cannot start the log: {error}")
}

/// Makes writers that write each event as one line without control characters.
///
/// User, database and application names come from whoever can reach the port: a newline in one would forge a log line,
/// an escape sequence would reach into the operator's terminal.
struct OneLine<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = OneLineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

struct OneLineWriter<W>(W);

impl<W: Write> Write for OneLineWriter<W> {
    /// The formatter hands over a whole event at once, with the newline that ends it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut clean = String::with_capacity(text.len());
        for character in line.chars() {
            if character.is_control() {
                // This form is also right within a JSON string.
                clean.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                clean.push(character);
            }
        }
        clean.push('\n');
        self.0.write_all(clean.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const ATTACK: &str = "evil\u{1b}[2J\n2026 INFO forged\r\u{9b}31m";

    fn logged(json: bool) -> String {
        let shared = Shared::default();
        let out = shared.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(OneLine(move || out.clone()));
        let event = || tracing::warn!(user = %ATTACK, name = ATTACK, shown = ?ATTACK, "refused {ATTACK}");
        if json {
            tracing::subscriber::with_default(lines.json().flatten_event(true).finish(), event);
        } else {
            tracing::subscriber::with_default(lines.finish(), event);
        }
        let bytes = shared.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_clients_text_cannot_forge_a_line_or_reach_the_terminal() {
        for json in [false, true] {
            let text = logged(json);
            let line = text.strip_suffix('\n').unwrap();
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(line.contains("evil"), "{line:?}");
        }
    }

    #[test]
    fn a_json_event_is_one_json_document() {
        let event: serde_json::Value = serde_json::from_str(&logged(true)).unwrap();
        assert_eq!(event["user"], ATTACK);
        assert_eq!(event["level"], "WARN");
    }
}
