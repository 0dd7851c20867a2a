//! The figures in docs/performance.md: one section for each workload.

use std::fs;
use std::path::Path;

/// Puts these figures in place of those under the workload's heading.
///
/// # Errors
/// The file is not there, or has no such heading.
pub(crate) fn replace_in(path: &Path, workload: &str, figures: &str) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let heading = format!("\n### {workload}\n");
    let (before, rest) = text.split_once(&heading).ok_or_else(|| format!("it has no heading {workload:?}"))?;
    // Up to the next heading of whatever rank.
    let rest = rest.find("\n#").map_or("", |at| &rest[at..]);
    fs::write(path, format!("{before}{heading}\n{figures}{rest}")).map_err(|error| error.to_string())
}
