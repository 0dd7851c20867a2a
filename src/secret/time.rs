//! Points in time as tools write them.

/// RFC 3339 as seconds since 1970; `None` for anything else, and for times before.
pub(super) fn rfc3339(text: &str) -> Option<f64> {
    if !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, zone) = rest.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let fraction_end = zone.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (fraction, zone) = zone.split_at(fraction_end);
    let fraction: f64 = match fraction {
        "" => 0.0,
        digits if digits.len() > 1 && digits.starts_with('.') => format!("0{digits}").parse().ok()?,
        _ => return None,
    };
    let offset = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            (hours * 60 + minutes) * if sign == "+" { 60 } else { -60 }
        }
        _ => return None,
    };
    // A leap second is written as 60.
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    (valid && seconds >= 0).then_some(seconds as f64 + fraction)
}

/// Numbers of exactly these lengths between separators.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for (place, length) in out.iter_mut().zip(lengths) {
        let digits = |part: &&str| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        *place = parts.next().filter(digits)?.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, counted in years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day
        - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_zone() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T12:00:00Z", 951_825_600.0),
            ("2025-11-25T17:57:20Z", 1_764_093_440.0),
            ("2025-11-25t18:57:20.5+01:00", 1_764_093_440.5),
            ("2025-11-25 12:27:20-05:30", 1_764_093_440.0),
            ("2100-03-01T00:00:00z", 4_107_542_400.0),
        ] {
            assert_eq!(rfc3339(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_of_that_form_is_refused() {
        for text in [
            "",
            "now",
            "2025-11-25",
            "2025-11-25T17:57:20",
            "2025-11-25 18:57:20.000000",
            "2025-13-25T17:57:20Z",
            "2025-02-29T17:57:20Z",
            "2025-11-25T24:00:00Z",
            "2025-11-25T17:57:20.Z",
            "2025-11-25T17:57:20+1:00",
            "2025-11-25T17:57:20Zulu",
            "+025-11-25T17:57:20Z",
            "1969-12-31T23:59:59Z",
            "2025-11-25T17:57:20\u{e9}",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
