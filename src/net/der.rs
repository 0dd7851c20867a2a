//! Just enough DER to walk to one field of a certificate.

/// The tag of a SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag of an OBJECT IDENTIFIER.
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;

/// Splits the first element, which must have this tag, off `bytes`: its contents and what follows it.
pub(super) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&len, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    if len < 0x80 {
        return rest.split_at_checked(len.into());
    }
    let (len, rest) = rest.split_at_checked((len & 0x7f).into())?;
    if len.len() > 4 {
        return None;
    }
    let len = len.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_split_off_by_either_form_of_length() {
        assert_eq!(element(&[0x30, 1, 7, 9], SEQUENCE), Some((&[7][..], &[9][..])));
        assert_eq!(element(&[0x30, 0x82, 0, 1, 7, 9], SEQUENCE), Some((&[7][..], &[9][..])));
    }

    #[test]
    fn an_element_that_is_cut_off_or_another_is_none() {
        for bytes in [&[][..], &[0x30], &[0x30, 2, 7], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x30, 0x82, 1], &[0x31, 0]] {
            assert_eq!(element(bytes, SEQUENCE), None, "{bytes:x?}");
        }
    }
}
