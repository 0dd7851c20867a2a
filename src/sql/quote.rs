//! Writes names and literals so that PostgreSQL reads back exactly what was meant, whatever its settings are.

/// `name` as a quoted identifier. A NUL cannot be part of a name and is left out.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// `text` as a string literal that means the same whether standard_conforming_strings is on or off.
pub fn literal(text: &str) -> String {
    let text = text.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_are_doubled() {
        assert_eq!(identifier("user-settings"), "\"user-settings\"");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn a_backslash_means_itself_in_both_modes() {
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
