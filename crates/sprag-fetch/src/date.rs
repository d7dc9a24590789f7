//! Dates as HTTP writes them, for a `Retry-After` that names one.

/// Seconds since 1970 of an IMF-fixdate, `Fri, 27 Nov 2026 07:28:00 GMT` (RFC 9110, section 5.6.7). The two obsolete forms
/// are not read, nor are years from 2106 on: whoever sends them is waited for by the back-off.
pub(crate) fn seconds(date: &[u8]) -> Option<u32> {
    let (&[_, _, _, b',', b' ', d1, d0, b' ', m0, m1, m2, b' ', y3, y2, y1, y0, b' '], time) =
        date.split_first_chunk()?
    else {
        return None;
    };
    let &[h1, h0, b':', i1, i0, b':', s1, s0, b' ', b'G', b'M', b'T'] = time else { return None };
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let month = u32::try_from(MONTHS.iter().position(|month| **month == [m0, m1, m2])?).ok()?;
    let (day, year) = (number(&[d1, d0])?, number(&[y3, y2, y1, y0])?);
    let (hour, minute, second) = (number(&[h1, h0])?, number(&[i1, i0])?, number(&[s1, s0])?);
    if !(1970..).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_before(year, month).checked_add(day)?.checked_sub(1)?;
    let hours = days.checked_mul(24)?.checked_add(hour)?;
    hours.checked_mul(60)?.checked_add(minute)?.checked_mul(60)?.checked_add(second)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |n, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit.wrapping_sub(b'0')))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Days from 1970 to the first of a month, counted from 0. Years from March on, so that leap days come last (H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn days_before(year: u32, month: u32) -> u32 {
    let (year, month) = match month {
        0 | 1 => (year.saturating_sub(1), month.saturating_add(10)),
        _ => (year, month.saturating_sub(2)),
    };
    let leap_days = (year / 4).saturating_sub(year / 100).saturating_add(year / 400);
    let in_year = month.saturating_mul(153).saturating_add(2) / 5;
    let days = year.saturating_mul(365).saturating_add(leap_days).saturating_add(in_year);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    days.saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_what_date_says_they_are() {
        // `date -u -d … +%s`
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 27 Nov 2026 07:28:00 GMT", 1_795_764_480),
            ("Sat, 31 Dec 2099 23:59:59 GMT", 4_102_444_799),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Sun, 07 Feb 2106 06:28:15 GMT", u32::MAX),
        ] {
            assert_eq!(seconds(date.as_bytes()), Some(expected), "{date}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        for date in [
            "",
            "120",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 07 Feb 2106 06:28:16 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 0x Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(seconds(date.as_bytes()), None, "{date}");
        }
    }
}
