//! IP addresses in the place of a host name.

#[cfg(feature = "ipv6")]
use core::net::Ipv6Addr;
use core::net::{IpAddr, Ipv4Addr};

/// Returns the address that a host is, if it is one and no name. Without the feature `ipv6`, it is no IPv6 address: no URL has
/// one.
pub(crate) fn parse(host: &str) -> Option<IpAddr> {
    let address = host.parse::<Ipv4Addr>().map(IpAddr::V4).ok();
    #[cfg(feature = "ipv6")]
    let address = address.or_else(|| ipv6(host).map(IpAddr::V6));
    address
}

/// RFC 4291, section 2.2. `core` has a parser, whose own copies the compiler can't tell from some that panic.
#[cfg(feature = "ipv6")]
pub(crate) fn ipv6(text: &str) -> Option<Ipv6Addr> {
    if text == "::" {
        return Some(Ipv6Addr::UNSPECIFIED);
    }
    // A colon at an end is one of two: the other one belongs to the gap there.
    let mut inner = text.as_bytes();
    if let Some(rest) = inner.strip_prefix(b":") {
        inner = Some(rest).filter(|rest| rest.starts_with(b":"))?;
    }
    if let Some(rest) = inner.strip_suffix(b":") {
        inner = Some(rest).filter(|rest| rest.ends_with(b":"))?;
    }
    if inner.is_empty() {
        return None;
    }
    let (mut groups, mut count, mut gap) = ([0u16; 8], 0usize, None);
    let mut push = |group| {
        *groups.get_mut(count)? = group;
        count = count.checked_add(1)?;
        Some(count)
    };
    let (mut pieces, mut so_far) = (inner.split(|byte| *byte == b':').peekable(), 0);
    while let Some(piece) = pieces.next() {
        if piece.is_empty() {
            if gap.replace(so_far).is_some() {
                return None;
            }
            continue;
        }
        so_far = match hexadecimal(piece) {
            Some(group) => push(group)?,
            // The last four bytes may be written as IPv4 writes them.
            None if pieces.peek().is_none() => {
                let [a, b, c, d] = core::str::from_utf8(piece).ok()?.parse::<Ipv4Addr>().ok()?.octets();
                push(u16::from_be_bytes([a, b]))?;
                push(u16::from_be_bytes([c, d]))?
            }
            None => return None,
        };
    }
    // Where there is a gap, at least one group is left out.
    let groups = groups.get(..count).filter(|groups| groups.len() < 8 || gap.is_none())?;
    let (before, behind) = groups.split_at_checked(gap.unwrap_or(8))?;
    let mut address = [0u16; 8];
    address.iter_mut().zip(before).for_each(|(place, group)| *place = *group);
    address.iter_mut().rev().zip(behind.iter().rev()).for_each(|(place, group)| *place = *group);
    Some(Ipv6Addr::from(address))
}

#[cfg(feature = "ipv6")]
fn hexadecimal(digits: &[u8]) -> Option<u16> {
    let value = |sum: u16, digit: &u8| {
        let digit = char::from(*digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok())?;
        Some(sum << 4 | digit)
    };
    digits.iter().try_fold(0, value).filter(|_| (1..=4).contains(&digits.len()))
}

#[cfg(all(test, feature = "ipv6"))]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    fn agrees(text: &str) {
        assert_eq!(ipv6(text), text.parse().ok(), "{text:?}");
        assert_eq!(parse(text), text.parse().ok(), "{text:?}");
    }

    #[test]
    fn it_takes_what_the_standard_library_takes() {
        for text in [
            "::",
            ":",
            "",
            ":::",
            "::1",
            "1::",
            ":1",
            "1:",
            "1::2",
            "1::2::3",
            "1:::2",
            "::1::",
            "::ffff:192.0.2.1",
            "::192.0.2.1:1",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4::5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:192.0.2.1",
            "1:2:3:4:5:6:7:192.0.2.1",
            "12345::",
            "2001:DB8::a",
            "g::",
            "1::192.0.2",
            "::1.2.3.4.5",
            "1.2.3.4",
            "1.2.3.4::",
            "fe80::1%eth0",
        ] {
            agrees(text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn whatever_it_is_given(text in "[0-9a-g:.]{0,40}") {
            agrees(&text);
        }

        #[test]
        fn whatever_looks_like_an_address(pieces in prop::collection::vec("[0-9a-f]{0,5}", 0..10), tail in "(192\\.0\\.2\\.1)?") {
            agrees(&std::format!("{}{tail}", pieces.join(":")));
            agrees(&std::format!("{}:{tail}", pieces.join(":")));
        }
    }
}
