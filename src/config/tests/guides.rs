//! Promises about the guides: every configuration in them is right, every overlay leads to the greenroom before it, and
//! figures are those that were measured.

use super::files::Files;
use crate::config::{Config, ListenAddress, ServerAddress};

const ENVIRONMENT: &[(&str, &str)] = &[
    ("POSTGRES_HOST", "db"),
    ("POSTGRES_USER", "backstage"),
    ("POSTGRES_PASSWORD", "geheim"),
    ("POSTGRES_CA", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"),
];

/// What Backstage alone reads is no configuration of greenroom's; this makes one of it, which listens elsewhere.
const ELSEWHERE: &str = "greenroom: { listen: [{ port: 1 }], http: false }\n";

/// The YAML in a guide that has settings, without its indentation.
fn configurations(guide: &str) -> Vec<String> {
    let mut lines = guide.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let indentation = line.len() - line.trim_start().len();
        if line.trim_start() != "```yaml" {
            continue;
        }
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        let block: String = block.map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default())).collect();
        if block.lines().any(|line| matches!(line, "backend:" | "greenroom:")) {
            found.push(block);
        }
    }
    found
}

fn leads_to(overlay: &Config, greenroom: &Config) -> bool {
    let server = &overlay.database.base_place().unwrap().connection.server.address;
    greenroom.listeners.iter().any(|listener| match (server, &listener.address) {
        (ServerAddress::Unix { directory, port }, ListenAddress::Unix { directory: there, port: theirs }) => {
            directory == there && port == theirs
        }
        (ServerAddress::Tcp { port, .. }, ListenAddress::Tcp { port: theirs, .. }) => port == theirs,
        _ => false,
    })
}

#[test]
fn every_configuration_in_the_guides_is_right() {
    let image = include_str!("../../../config/image.yaml");
    let guides = [
        ("readme", include_str!("../../../README.md"), 2),
        ("backstage", include_str!("../../../docs/backstage.md"), 5),
    ];
    for (name, guide, expected) in guides {
        let blocks = configurations(guide);
        assert_eq!(blocks.len(), expected, "{name}");
        let mut greenroom = None;
        for (number, block) in blocks.iter().enumerate() {
            let overlay = block.starts_with("# app-config.greenroom.yaml");
            let below = if overlay { ELSEWHERE } else { image };
            let files = [("below.yaml", below), ("guide.yaml", block)];
            let files = Files::new(&format!("guides-{name}-{number}"), &files);
            let config = files.load(&["below.yaml", "guide.yaml"], ENVIRONMENT);
            let config = config.unwrap_or_else(|errors| panic!("{name}: {errors}\n\n{block}"));
            assert_eq!(config.warnings, [] as [&str; 0], "{name}: {block}");
            if overlay {
                assert!(leads_to(&config, greenroom.as_ref().unwrap()), "{name}: {block}");
            } else {
                greenroom = Some(config);
            }
        }
    }
}

#[test]
fn the_connections_in_the_guide_are_those_that_were_measured() {
    let guide = include_str!("../../../docs/backstage.md").split_once("## Connections, measured").unwrap().1;
    let measured = include_str!("../../../docs/connections.md");
    let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 5, "{guide}");
    for row in rows {
        assert!(measured.lines().any(|line| line == row), "docs/connections.md has no line\n{row}");
    }
}
