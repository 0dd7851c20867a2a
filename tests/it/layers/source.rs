//! A file of src, read far enough to know what it imports.

use std::fs;
use std::path::Path;

/// The code of one file, without comments, strings and what is only there for tests.
pub(super) struct Source {
    /// `["pool", "lease"]`; empty for the library's root.
    pub(super) module: Vec<String>,
    pub(super) code: Code,
}

/// Code without comments and strings: what is shipped, and what is behind `#[cfg(test)]`.
pub(super) struct Code {
    shipped: String,
    tests: String,
}

impl Source {
    /// Reads a file below `src`.
    pub(super) fn read(src: &Path, file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self { module: module_path(file.strip_prefix(src).expect("the file is in src")), code: code(&text) }
    }

    /// The modules that it declares for tests only, in files of their own.
    pub(super) fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self.code.tests.split("mod ").skip(1).filter_map(|rest| rest.split_once(';'));
        let names = declared.filter(|(name, _)| !name.contains(['{', ' ']));
        names.map(|(name, _)| self.module.iter().cloned().chain([name.to_owned()]).collect()).collect()
    }

    /// The modules at the crate's root that it names, by `crate::` or by enough `super::`.
    pub(super) fn imports(&self) -> Vec<String> {
        let root = "super::".repeat(self.module.len());
        let mut imports = Vec::new();
        for prefix in ["crate::", &*root] {
            for (at, _) in self.code.shipped.match_indices(prefix) {
                let before = self.code.shipped[..at].chars().next_back();
                if !before.is_some_and(|c| c == ':' || c == '_' || c.is_alphanumeric()) {
                    imports.extend(first_names(&self.code.shipped[at + prefix.len()..]));
                }
            }
        }
        imports
    }
}

/// The module of a file: `pool/lease.rs` is `pool::lease`, `pool/mod.rs` is `pool`.
pub(super) fn module_path(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod" && part != "lib").collect()
}

/// `a::b` begins with a; `{a::b, c::{d}}` with a and c.
fn first_names(text: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return vec![name(text)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && depth == 0 && !c.is_whitespace() => {
                names.push(name(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

/// Takes comments and strings out, and sets aside what is behind `#[cfg(test)]`.
pub(super) fn code(text: &str) -> Code {
    let mut rest = &*without_comments_and_strings(text);
    let (mut shipped, mut tests) = (String::new(), String::new());
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        shipped.push_str(before);
        let (item, behind) = after.split_at(item_end(after));
        tests.push_str(item);
        rest = behind;
    }
    shipped.push_str(rest);
    Code { shipped, tests }
}

/// Where the item at the start of `code` ends: behind its `;`, or behind the brace that closes its first one.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_len(rest),
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() && c != 'b') => raw_string_len(rest),
            '\'' => char_len(rest),
            _ => 0,
        };
        if skip == 0 {
            out.push(c);
        }
        rest = &rest[skip.max(c.len_utf8())..];
    }
    out
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// 0 when it is no raw string.
fn raw_string_len(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let from = hashes + 2;
    text[from..].find(&end).map_or(text.len(), |at| from + at + end.len())
}

/// 0 when it is a lifetime.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let behind = at + c.len_utf8();
            text[behind..].find('\'').map_or(0, |end| behind + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}
