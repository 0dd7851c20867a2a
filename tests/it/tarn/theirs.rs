//! Has tarn itself play scripts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::diary::Entry;
use super::script::Script;

/// The longest that Node may take for each script; it takes some milliseconds.
const LIMIT_PER_SCRIPT: Duration = Duration::from_secs(1);

/// What tarn did.
#[derive(Debug, Deserialize)]
pub(super) struct Played {
    pub(super) entries: Vec<Entry>,
    /// The first moment at which two things happened whose order is left to chance; nothing is certain from there on.
    pub(super) undecided: Option<u64>,
}

/// Plays all scripts, in one process of Node's.
pub(super) fn play(scripts: &[Script]) -> Vec<Played> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let backstage = root.join("tests/backstage");
    assert!(
        backstage.join("node_modules/tarn").is_dir(),
        "greenroom is held against tarn itself, which is not installed: \
         run scripts/install test, and npm ci --ignore-scripts in tests/backstage"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let output = runtime.block_on(async {
        let mut child = Command::new(node(root))
            .arg("support/tarn.js")
            .current_dir(&backstage)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Node starts: run scripts/install test, which installs it");
        let mut stdin = child.stdin.take().expect("it is piped");
        // It reads everything before it says anything.
        stdin.write_all(&serde_json::to_vec(scripts).expect("scripts are JSON")).await.expect("Node reads");
        drop(stdin);
        let limit = Duration::from_secs(20) + LIMIT_PER_SCRIPT * scripts.len() as u32;
        timeout(limit, child.wait_with_output()).await.expect("Node takes too long").expect("Node runs")
    });
    assert!(output.status.success(), "tests/backstage/support/tarn.js: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("it prints what was played")
}

/// The Node that scripts/install has put where the machine's own is too old, or the machine's own.
fn node(root: &Path) -> PathBuf {
    let own = root.join("target/node/node_modules/.bin/node");
    if own.is_file() { own } else { "node".into() }
}
