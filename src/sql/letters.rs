//! Which bytes a word is made of, as PostgreSQL's lexer has it.
//!
//! Every file here that reads a text asks these, so that they agree on where a word ends.

/// Whether each byte may be in a word, by a look-up: it is asked of every byte of every text.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let this = byte as u8;
        table[byte] = is_word_start(this) || this.is_ascii_digit() || this == b'$';
        byte += 1;
    }
    table
};

#[inline]
pub(super) const fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    WORD[byte as usize]
}

pub(super) fn is_tag(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit()
}
