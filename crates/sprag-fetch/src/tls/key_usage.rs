//! The key usage of a certificate (RFC 5280, section 4.2.1.3), which `webpki` does not check.

use super::der::{SEQUENCE, element};

/// A use of a key, by its bit in the first byte of the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// `digitalSignature`, by which a server shows in a handshake that it has the key (RFC 8446, section 4.4.2.2).
    Handshake = 0x80,
    /// `keyCertSign`.
    SignCertificates = 0x04,
}

/// Returns whether a certificate allows this use of its key, or has no key usage at all, which allows each.
pub(super) fn allows(certificate: &[u8], usage: Use) -> bool {
    match find(certificate) {
        Some(Some(uses)) => uses & usage as u8 != 0,
        Some(None) => true,
        None => false,
    }
}

/// Finds the first byte of the key usage; `None` inside where there is no such extension, and outside where a certificate is
/// malformed.
fn find(certificate: &[u8]) -> Option<Option<u8>> {
    const BOOLEAN_TRUE: [u8; 3] = [0x01, 1, 0xFF];
    const BIT_STRING: u8 = 0x03;
    const OCTET_STRING: u8 = 0x04;
    const ID: [u8; 5] = [0x06, 3, 0x55, 0x1D, 0x0F];
    const EXTENSIONS: u8 = 0xA3;

    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    while let Some(&tag) = fields.first() {
        let (field, rest) = element(fields, tag)?;
        fields = rest;
        if tag != EXTENSIONS {
            continue;
        }
        let (mut extensions, _) = element(field, SEQUENCE)?;
        while !extensions.is_empty() {
            let (extension, rest) = element(extensions, SEQUENCE)?;
            extensions = rest;
            if let Some(value) = extension.strip_prefix(&ID) {
                let value = value.strip_prefix(&BOOLEAN_TRUE).unwrap_or(value);
                let (bits, _) = element(value, OCTET_STRING)?;
                let (bits, _) = element(bits, BIT_STRING)?;
                // The number of unused bits comes first.
                return Some(Some(*bits.get(1)?));
            }
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose as Purpose};
    use std::vec;
    use std::vec::Vec;

    fn certificate(purposes: Vec<Purpose>) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.example".into()]).unwrap();
        params.key_usages = purposes;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn what_a_key_usage_names_is_allowed_and_nothing_else() {
        let cases = [
            (vec![], true, true),
            (vec![Purpose::DigitalSignature], true, false),
            (vec![Purpose::KeyCertSign], false, true),
            (vec![Purpose::DigitalSignature, Purpose::KeyCertSign, Purpose::CrlSign], true, true),
            (vec![Purpose::CrlSign, Purpose::KeyEncipherment], false, false),
            (vec![Purpose::DecipherOnly], false, false),
        ];
        for (purposes, handshake, sign) in cases {
            let der = certificate(purposes.clone());
            let allowed = (allows(&der, Use::Handshake), allows(&der, Use::SignCertificates));
            assert_eq!(allowed, (handshake, sign), "{purposes:?}");
            // A certificate that is cut allows nothing.
            for cut in 0..der.len() {
                assert!(!allows(&der[..cut], Use::Handshake) && !allows(&der[..cut], Use::SignCertificates), "{cut}");
            }
        }
    }
}
