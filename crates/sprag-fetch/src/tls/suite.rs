//! The cipher suite, and the check of the records that come after the handshake.
//!
//! `embedded-tls` 0.19 panics at most handshake messages that a server sends after the handshake. These are encrypted, so
//! the record filter below `embedded-tls` cannot see them. The cipher can: `embedded-tls` takes it as a type, and has it
//! decrypt every record. So the cipher here decrypts by AES-GCM, and then refuses what may not come after the handshake.
//!
//! A cipher is made for one record from the key alone and has no other state. [`Records`](super::guard::Records) therefore
//! marks each record that comes after the handshake, in the version in the record's header. That version has one legal
//! value, which the filter checks, and `embedded-tls` only passes it on as associated data.

use aead::generic_array::GenericArray;
use aead::{AeadCore, AeadInPlace, Buffer, Error, Key, KeyInit, KeySizeUser, Nonce, Result, Tag};
use embedded_tls::{Aes128GcmSha256, TlsCipherSuite};

use super::guard::{ALERT, HANDSHAKE, PROTECTED};

/// The version in the header of a protected record (RFC 8446, section 5.2), its high and its low byte alike.
pub(super) const VERSION: u8 = 3;
/// The low byte of the version in records that come after the handshake.
pub(super) const VERSION_AFTER_HANDSHAKE: u8 = 4;
/// A handshake message (RFC 8446, section 4), and the bytes of its type and length.
const NEW_SESSION_TICKET: u8 = 4;
const MESSAGE_HEADER: usize = 4;

type Aes = <Aes128GcmSha256 as TlsCipherSuite>::Cipher;

/// `TLS_AES_128_GCM_SHA256` with the checked cipher.
pub(super) struct CheckedSuite;

impl TlsCipherSuite for CheckedSuite {
    const CODE_POINT: u16 = Aes128GcmSha256::CODE_POINT;
    type Cipher = CheckedCipher;
    type KeyLen = <Aes128GcmSha256 as TlsCipherSuite>::KeyLen;
    type IvLen = <Aes128GcmSha256 as TlsCipherSuite>::IvLen;
    type Hash = <Aes128GcmSha256 as TlsCipherSuite>::Hash;
    type LabelBufferSize = <Aes128GcmSha256 as TlsCipherSuite>::LabelBufferSize;
}

/// AES-128-GCM that refuses records which may not come after the handshake.
pub(super) struct CheckedCipher(Aes);

impl KeySizeUser for CheckedCipher {
    type KeySize = <Aes as KeySizeUser>::KeySize;
}

impl KeyInit for CheckedCipher {
    fn new(key: &Key<Self>) -> Self {
        Self(Aes::new(key))
    }
}

impl AeadCore for CheckedCipher {
    type NonceSize = <Aes as AeadCore>::NonceSize;
    type TagSize = <Aes as AeadCore>::TagSize;
    type CiphertextOverhead = <Aes as AeadCore>::CiphertextOverhead;
}

impl AeadInPlace for CheckedCipher {
    fn encrypt_in_place_detached(&self, nonce: &Nonce<Self>, header: &[u8], buffer: &mut [u8]) -> Result<Tag<Self>> {
        self.0.encrypt_in_place_detached(nonce, header, buffer)
    }

    fn decrypt_in_place(&self, nonce: &Nonce<Self>, header: &[u8], buffer: &mut dyn Buffer) -> Result<()> {
        let &[kind, high, low, length_high, length_low] = header else { return Err(Error) };
        let after_handshake = low == VERSION_AFTER_HANDSHAKE;
        let low = if after_handshake { VERSION } else { low };
        self.0.decrypt_in_place(nonce, &[kind, high, low, length_high, length_low], buffer)?;
        if after_handshake { check(buffer) } else { Ok(()) }
    }

    fn decrypt_in_place_detached(
        &self,
        _: &Nonce<Self>,
        _: &[u8],
        _: &mut [u8],
        _: &GenericArray<u8, Self::TagSize>,
    ) -> Result<()> {
        // `embedded-tls` does not call it, and there is no content type to check in a part of a record.
        Err(Error)
    }
}

/// Checks the decrypted content of a record that came after the handshake. Session tickets are replaced with no data,
/// because no session is resumed here.
fn check(buffer: &mut dyn Buffer) -> Result<()> {
    let record = buffer.as_ref();
    // The content, its type, and zeros as padding (RFC 8446, section 5.2).
    let end = record.iter().rposition(|byte| *byte != 0).ok_or(Error)?;
    let (content, kind) =
        record.get(..=end).and_then(<[u8]>::split_last).map(|(kind, content)| (content, *kind)).ok_or(Error)?;
    match kind {
        ALERT | PROTECTED => return Ok(()),
        HANDSHAKE if are_tickets(content) => {}
        _ => return Err(Error),
    }
    *buffer.as_mut().first_mut().ok_or(Error)? = PROTECTED;
    buffer.truncate(1);
    Ok(())
}

/// Returns whether there is at least one message, all are session tickets, and the last one ends with the record.
fn are_tickets(mut messages: &[u8]) -> bool {
    loop {
        let Some((&[NEW_SESSION_TICKET, high, middle, low], rest)) = messages.split_first_chunk::<MESSAGE_HEADER>()
        else {
            return false;
        };
        let length = u32::from_be_bytes([0, high, middle, low]);
        match usize::try_from(length).ok().and_then(|length| rest.get(length..)) {
            Some([]) => return true,
            Some(more) => messages = more,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Seals as a server does, opens as a record before or after the handshake.
    fn opened(inner: &[u8], version: u8) -> Result<Vec<u8>> {
        let cipher = CheckedCipher::new(&[7; 16].into());
        let nonce = [9; 12].into();
        let [high, low] = (inner.len() as u16 + 16).to_be_bytes();
        let mut record = inner.to_vec();
        let tag = cipher.encrypt_in_place_detached(&nonce, &[PROTECTED, VERSION, VERSION, high, low], &mut record)?;
        record.extend(tag);
        let mut buffer = Held(record);
        cipher.decrypt_in_place(&nonce, &[PROTECTED, VERSION, version, high, low], &mut buffer)?;
        Ok(buffer.0)
    }

    struct Held(Vec<u8>);

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl AsMut<[u8]> for Held {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    impl Buffer for Held {
        fn extend_from_slice(&mut self, _: &[u8]) -> Result<()> {
            Err(Error)
        }

        fn truncate(&mut self, length: usize) {
            self.0.truncate(length);
        }
    }

    const TICKET: [u8; 6] = [NEW_SESSION_TICKET, 0, 0, 2, 8, 8];

    #[test]
    fn records_of_the_handshake_are_only_decrypted() {
        for inner in [&[1, 2, HANDSHAKE][..], &[20, 0, 0, 0, HANDSHAKE, 0, 0], &[5, 5, 99], &[0, 0]] {
            assert_eq!(opened(inner, VERSION).as_deref(), Ok(inner));
        }
        assert_eq!(opened(&[1, 2, HANDSHAKE], 1), Err(Error), "another version than was sealed");
    }

    #[test]
    fn after_the_handshake_data_alerts_and_tickets_may_come() {
        for inner in [&[1, 2, PROTECTED][..], &[PROTECTED, 0, 0], &[1, 0, ALERT], &[2, 40, ALERT, 0]] {
            assert_eq!(opened(inner, VERSION_AFTER_HANDSHAKE).as_deref(), Ok(inner));
        }
        let no_data = Ok(&[PROTECTED][..]);
        let ticket = [&TICKET[..], &[HANDSHAKE]].concat();
        assert_eq!(opened(&ticket, VERSION_AFTER_HANDSHAKE).as_deref(), no_data);
        let two = [&TICKET[..], &TICKET, &[NEW_SESSION_TICKET, 0, 0, 0], &[HANDSHAKE, 0, 0, 0]].concat();
        assert_eq!(opened(&two, VERSION_AFTER_HANDSHAKE).as_deref(), no_data);
    }

    #[test]
    fn nothing_else_may() {
        for kind in (0..=255).filter(|kind| *kind != NEW_SESSION_TICKET) {
            let inner = [&[kind, 0, 0, 2, 8, 8][..], &[HANDSHAKE]].concat();
            assert_eq!(opened(&inner, VERSION_AFTER_HANDSHAKE), Err(Error), "{kind} alone");
            let inner = [&TICKET[..], &inner].concat();
            assert_eq!(opened(&inner, VERSION_AFTER_HANDSHAKE), Err(Error), "{kind} after a ticket");
        }
        // A ticket that is not whole, and none.
        for length in 0..TICKET.len() {
            let inner = [&TICKET[..length], &[HANDSHAKE]].concat();
            assert_eq!(opened(&inner, VERSION_AFTER_HANDSHAKE), Err(Error), "{length} bytes");
        }
        for kind in (0..=255).filter(|kind| ![ALERT, HANDSHAKE, PROTECTED].contains(kind)) {
            assert_eq!(opened(&[1, 2, kind], VERSION_AFTER_HANDSHAKE), Err(Error), "content of type {kind}");
        }
        assert_eq!(opened(&[0, 0, 0], VERSION_AFTER_HANDSHAKE), Err(Error), "nothing but padding");
    }
}
