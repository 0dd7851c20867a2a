//! Parameters of a Bind that hold the number of a process: where they stand, and how they are written.

use std::ops::Range;

/// Types of parameters that hold a number as it was written: none given, int8, int2, int4, text, unknown, varchar.
const PLAIN_TYPES: [u32; 7] = [0, 20, 21, 23, 25, 705, 1043];

/// How the number of a process is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

impl Format {
    /// Writes a number in the place of another. One of PostgreSQL's has fewer digits: blanks in front of it mean nothing.
    pub(super) fn put(self, place: &mut [u8], pid: i32) {
        match self {
            Self::Text => place.copy_from_slice(format!("{pid:>width$}", width = place.len()).as_bytes()),
            Self::Binary => {
                let (high, low) = place.split_at_mut(place.len() - 4);
                high.fill(0);
                low.copy_from_slice(&pid.to_be_bytes());
            }
        }
    }
}

/// The value of a parameter.
#[derive(Debug)]
pub(super) struct Value {
    /// Where it stands, behind the names of a Bind.
    pub(super) at: Range<usize>,
    pub(super) number: i32,
    pub(super) format: Format,
}

impl Value {
    /// Reads the parameter of that number, counted from 1, in what stands behind the names of a Bind. `None` if it is no number.
    pub(super) fn find(behind_names: &[u8], parameter: u16) -> Option<Self> {
        let index = usize::from(parameter.checked_sub(1)?);
        let (formats, rest) = counted(behind_names)?;
        let (format_codes, rest) = rest.split_at_checked(formats * 2)?;
        let code = match formats {
            0 => 0,
            1 => format_codes[1],
            _ => *format_codes.get(index * 2 + 1)?,
        };
        let (count, mut rest) = counted(rest)?;
        if index >= count {
            return None;
        }
        for _ in 0..index {
            let (len, behind) = rest.split_first_chunk::<4>()?;
            // NULL has no bytes.
            let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
            rest = behind.get(len..)?;
        }
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let value = behind.get(..usize::try_from(i32::from_be_bytes(*len)).ok()?)?;
        let start = behind_names.len() - behind.len();
        let (number, format) = match code {
            0 => (std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()?, Format::Text),
            _ => {
                let number = match value.len() {
                    4 => i32::from_be_bytes(value.try_into().ok()?),
                    8 => i64::from_be_bytes(value.try_into().ok()?).try_into().ok()?,
                    _ => return None,
                };
                (number, Format::Binary)
            }
        };
        Some(Self { at: start..start + value.len(), number, format })
    }
}

/// Whether the parameter of that number, counted from 1, has a type that holds a number as it was written.
pub(super) fn is_plain(types: &[u8], parameter: u16) -> bool {
    let given = counted(types).map_or(&[][..], |(_, types)| types);
    let at = (usize::from(parameter) - 1) * 4;
    let given = given.get(at..).and_then(|rest| rest.first_chunk::<4>());
    given.is_none_or(|number| PLAIN_TYPES.contains(&u32::from_be_bytes(*number)))
}

/// A count of two bytes, and what follows it.
fn counted(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*count)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands behind the names of a Bind with these formats and values.
    fn values(formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = (formats.len() as u16).to_be_bytes().to_vec();
        formats.iter().for_each(|format| bytes.extend(format.to_be_bytes()));
        bytes.extend((values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                Some(value) => {
                    bytes.extend((value.len() as u32).to_be_bytes());
                    bytes.extend(*value);
                }
                None => bytes.extend((-1i32).to_be_bytes()),
            }
        }
        bytes
    }

    #[test]
    fn a_parameter_is_read_as_text_and_as_binary_of_either_width() {
        let (four, eight) = (1_073_741_900i32.to_be_bytes(), 1_073_741_900i64.to_be_bytes());
        for (formats, all, parameter, format) in [
            (&[][..], &[Some(&b"1073741900"[..])][..], 1, Format::Text),
            (&[0], &[None, Some(b" 1073741900 ")], 2, Format::Text),
            (&[1], &[Some(&four)], 1, Format::Binary),
            (&[0, 1], &[Some(b"x"), Some(&eight)], 2, Format::Binary),
        ] {
            let bytes = values(formats, all);
            let found = Value::find(&bytes, parameter).expect("it is there");
            assert_eq!((found.number, found.format), (1_073_741_900, format), "{formats:?}");
            assert_eq!(Some(&bytes[found.at]), all[usize::from(parameter) - 1]);
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for (formats, all, parameter) in [
            (&[][..], &[None][..], 1),
            (&[], &[Some(&b"x"[..])], 1),
            (&[], &[Some(b"5")], 2),
            (&[1], &[Some(b"\0\x05")], 1),
            (&[0, 0], &[Some(b"99999999999")], 1),
        ] {
            assert!(Value::find(&values(formats, all), parameter).is_none(), "{all:?}");
        }
        let whole = values(&[1], &[None, Some(&[0; 4])]);
        (0..whole.len()).for_each(|len| assert!(Value::find(&whole[..len], 2).is_none(), "{len}"));
    }
}
