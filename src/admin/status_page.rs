//! The page a browser gets: which version runs, for how long, and what each plugin holds.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::readiness::Phase;
use crate::metrics::{ClientState, Metrics};

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>greenroom</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
table { border-collapse: collapse; width: 100% }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
</style>
</head>
<body>
<h1>greenroom</h1>
"#;

const FOOT: &str = r#"<p><a href="/metrics">metrics</a> · <a href="/readyz">readyz</a> · <a href="/livez">livez</a></p>
</body>
</html>
"#;

/// Writes the page.
pub(super) fn render(metrics: &Metrics, phase: Phase, uptime: Duration) -> String {
    let mut page = String::from(HEAD);
    write_body(&mut page, metrics, phase, uptime).expect("a String takes all that is written to it");
    page.push_str(FOOT);
    page
}

fn write_body(page: &mut String, metrics: &Metrics, phase: Phase, uptime: Duration) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, "<p>version {version}, {}, up {}</p>", phase.as_str(), Spell(uptime))?;
    writeln!(page, "<table>")?;
    writeln!(page, "<tr><th>plugin</th><th>clients</th><th>leases</th><th>waiting</th><th>pinned</th></tr>")?;
    for plugin in metrics.plugins() {
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&plugin.name),
            plugin.clients.total(),
            plugin.leases.get(),
            plugin.acquire_waiting.get(),
            plugin.clients.count(ClientState::Pinned),
        )?;
    }
    writeln!(page, "</table>")
}

/// Text that stands for itself in HTML, whoever chose it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A length of time in its two largest units: `3d 4h`, `12m 5s`.
struct Spell(Duration);

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
        match seconds {
            0..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{minutes}m {}s", seconds % 60),
            3600..86400 => write!(f, "{hours}h {}m", minutes % 60),
            _ => write!(f, "{days}d {}h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::GaugeGuard;

    #[test]
    fn the_page_tells_what_each_plugin_holds() {
        let metrics = Metrics::new(10);
        let catalog = metrics.plugin("catalog");
        let _idle = catalog.clients.enter(ClientState::Idle);
        let _pinned = catalog.clients.enter(ClientState::Pinned);
        let _lease = GaugeGuard::new(&catalog.leases);
        let _waits = [(); 3].map(|()| GaugeGuard::new(&catalog.acquire_waiting));

        let page = render(&metrics, Phase::Ready, Duration::from_secs(3700));
        let row = "<tr><td>catalog</td><td>2</td><td>1</td><td>3</td><td>1</td></tr>";
        assert!(page.contains(row), "{page}");
        assert!(page.contains(&format!("version {}, ready, up 1h 1m", env!("CARGO_PKG_VERSION"))), "{page}");
    }

    #[test]
    fn a_name_cannot_bring_markup_into_the_page() {
        let metrics = Metrics::new(10);
        metrics.plugin("<script>alert('x')&\"</script>");
        let page = render(&metrics, Phase::Ready, Duration::ZERO);
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&amp;&quot;&lt;/script&gt;"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn uptime_is_told_in_two_units() {
        for (seconds, told) in [(59, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (86399, "23h 59m"), (273600, "3d 4h")] {
            assert_eq!(Spell(Duration::from_secs(seconds)).to_string(), told);
        }
    }
}
