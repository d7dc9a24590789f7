//! PEM (RFC 7468) in the environment of the build, read by the compiler: what is none does not compile.

/// The DER of all blocks in `pem`, one after the other, and how many bytes it has. `decode::<0>` only counts.
pub(crate) const fn decode<const N: usize>(pem: &str) -> ([u8; N], usize) {
    let text = pem.as_bytes();
    let (mut der, mut count) = ([0; N], 0);
    // The bits that make no byte yet are the last `have` ones.
    let (mut bits, mut have, mut inside) = (0u32, 0, false);
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'-' && (at == 0 || text[at - 1] == b'\n') {
            (bits, have, inside) = (0, 0, !inside);
            while at < text.len() && text[at] != b'\n' {
                at += 1;
            }
            continue;
        }
        if inside && !text[at].is_ascii_whitespace() && text[at] != b'=' {
            bits = bits << 6 | value(text[at]);
            have += 6;
            if have >= 8 {
                have -= 8;
                if count < N {
                    der[count] = (bits >> have) as u8;
                }
                count += 1;
            }
        }
        at += 1;
    }
    assert!(!inside, "PEM ends in the middle of a block");
    (der, count)
}

const fn value(digit: u8) -> u32 {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64 within PEM"),
    };
    value as u32
}

/// The first certificate in `der`, and what follows it: each says its length itself (X.690, section 8.1.3).
pub(crate) fn split_certificate(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x30, 0x82, high, low, ..] = *der else { return None };
    der.split_at_checked(4 + usize::from(u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `openssl pkey -pubout`, a second one of base64's own alphabet and padding, and a word of explanation.
    const TWO: &str = "Our key - the old one:\n-----BEGIN PUBLIC KEY-----\r\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\r\n-----END PUBLIC KEY-----\r\n\
        -----BEGIN X-----\n+/8=\n-----END X-----\n";

    #[test]
    fn what_the_compiler_makes_of_pem() {
        const LENGTH: usize = decode::<0>(TWO).1;
        const DER: [u8; LENGTH] = decode(TWO).0;
        // RFC 8032, section 7.1, test 1, and its encoding by RFC 8410.
        assert_eq!(DER[..14], [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00, 0xd7, 0x5a]);
        assert_eq!(DER[42..], [0x51, 0x1a, 0xfb, 0xff]);
        assert_eq!(decode::<0>("").1, 0);
    }

    #[test]
    #[should_panic = "base64"]
    fn what_is_no_base64() {
        decode::<0>("-----BEGIN X-----\n*\n-----END X-----");
    }

    #[test]
    #[should_panic = "middle"]
    fn what_does_not_end() {
        decode::<0>("-----BEGIN X-----\nAAAA\n");
    }

    #[test]
    fn certificates_one_after_the_other() {
        let mut der = [0; 600];
        der[..4].copy_from_slice(&[0x30, 0x82, 0x01, 0x00]);
        der[260..264].copy_from_slice(&[0x30, 0x82, 0x01, 0x50]);
        let (first, rest) = split_certificate(&der).unwrap();
        assert_eq!((first.len(), rest.len()), (260, 340));
        let (second, rest) = split_certificate(rest).unwrap();
        assert_eq!((second.len(), rest.len()), (340, 0));
        assert_eq!(split_certificate(rest), None);
        assert_eq!(split_certificate(&der[..259]), None);
        assert_eq!(split_certificate(&[0x30, 0x03, 0, 0, 0]), None);
    }
}
