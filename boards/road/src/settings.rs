//! What names a site or is a secret, from the environment of the build: the one place that looks there.

use core::{fmt, hint};

#[cfg(feature = "p256")]
use sprag::TlsP256Key;
use sprag::fetch::{Identity, P256IdentityKey, Scheme};
use sprag::mqtt::Account;
#[cfg(feature = "ed25519")]
use sprag::verify::Ed25519Key;
use sprag::verify::Key;

use crate::{BROKER_WRITE_BUFFER, pem};

const BROKER: Option<&str> = option_env!("SPRAG_BROKER");
const THING: Option<&str> = option_env!("SPRAG_THING");
const MQTT_USER: Option<&str> = option_env!("SPRAG_MQTT_USER");
const MQTT_PASSWORD: Option<&str> = option_env!("SPRAG_MQTT_PASSWORD");
const ROOTS: Option<&str> = option_env!("SPRAG_ROOTS");
const KEY: Option<&str> = option_env!("SPRAG_KEY");
const DEVICE_CERT: Option<&str> = option_env!("SPRAG_DEVICE_CERT");
const DEVICE_KEY: Option<&str> = option_env!("SPRAG_DEVICE_KEY");
const WIFI_SSID: Option<&str> = option_env!("SPRAG_WIFI_SSID");
const WIFI_PASSWORD: Option<&str> = option_env!("SPRAG_WIFI_PASSWORD");

/// How many root certificates are taken.
const ROOTS_MAX: usize = 8;

/// The key in DER.
static KEY_DER: [u8; pem::decode::<0>(or_empty(KEY)).1] = pem::decode(or_empty(KEY)).0;
/// The root certificates in DER, one after the other.
static ROOTS_DER: [u8; pem::decode::<0>(or_empty(ROOTS)).1] = pem::decode(or_empty(ROOTS)).0;
/// The device's certificate and its key in DER.
static DEVICE_CERT_DER: [u8; pem::decode::<0>(or_empty(DEVICE_CERT)).1] = pem::decode(or_empty(DEVICE_CERT)).0;
static DEVICE_KEY_DER: [u8; pem::decode::<0>(or_empty(DEVICE_KEY)).1] = pem::decode(or_empty(DEVICE_KEY)).0;

const _: () = assert!(
    Identity::write_buffer(&DEVICE_CERT_DER) <= BROKER_WRITE_BUFFER,
    "SPRAG_DEVICE_CERT is too long for sprag_road::BROKER_WRITE_BUFFER"
);

const fn or_empty(setting: Option<&'static str>) -> &'static str {
    match setting {
        Some(text) => text,
        None => "",
    }
}

/// A setting that is missing from the build, or makes no sense: the name of its environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BadSetting {
    /// It was not set when the firmware was built.
    Missing(&'static str),
    /// It makes no sense.
    Wrong(&'static str),
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "no updates: {name} was not set when this firmware was built"),
            Self::Wrong(name) => write!(f, "no updates: {name} made no sense when this firmware was built"),
        }
    }
}

impl core::error::Error for BadSetting {}

/// What names a site or is a secret.
///
/// | variable of the build's environment | what |
/// |---|---|
/// | `SPRAG_BROKER` | `mqtts://host[:8883]`; `mqtt://host[:1883]` in the clear, for a desk |
/// | `SPRAG_THING` | the device's name: AWS's thing, IoTConnect's client id; the client id at the broker |
/// | `SPRAG_MQTT_USER`, `SPRAG_MQTT_PASSWORD` | where the broker wants them |
/// | `SPRAG_DEVICE_CERT`, `SPRAG_DEVICE_KEY` | where the broker wants a client certificate: the device's, and its key, both in PEM |
/// | `SPRAG_ROOTS` | root certificates of the broker and of where images lie, in PEM, up to 8: `"$(cat roots.pem)"` |
/// | `SPRAG_KEY` | the public key that images are signed with, in PEM: `"$(cat key.pub.pem)"`, of `sprag keygen` |
/// | `SPRAG_WIFI_SSID`, `SPRAG_WIFI_PASSWORD` | the network, for boards with Wi-Fi |
///
/// The device's certificate comes without intermediates, and its key is one over P-256. The broker sees it, and nobody else.
pub struct Settings {
    /// Where the broker is.
    pub broker: Broker,
    /// The device's name.
    pub thing: &'static str,
    /// Name and password for the broker.
    pub login: Option<(&'static str, &'static [u8])>,
    /// What the device shows to the broker where that asks who it is.
    pub device: Option<Device>,
    /// Root certificates in DER.
    pub roots: heapless::Vec<&'static [u8], ROOTS_MAX>,
    /// The key that images are signed with.
    pub key: PublicKey,
}

/// Where the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broker {
    /// With TLS, or without.
    pub scheme: Scheme,
    /// Its name or address.
    pub host: &'static str,
    /// Its port.
    pub port: u16,
}

/// The device's certificate, and the key to it. A key in a secure element takes the place of this one in
/// [`Identity`]: an [`IdentityKey`](sprag::fetch::IdentityKey) of yours.
#[derive(Debug)]
pub struct Device {
    /// The certificate in DER.
    pub certificate: &'static [u8],
    /// Its key.
    pub key: P256IdentityKey,
}

/// The key that images are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// For Ed25519.
    #[cfg(feature = "ed25519")]
    Ed25519(Ed25519Key),
    /// For ECDSA over NIST P-256.
    #[cfg(feature = "p256")]
    P256(TlsP256Key),
}

/// A network with Wi-Fi.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Wifi {
    /// Its name.
    pub ssid: &'static str,
    /// Its password; empty for an open one.
    pub password: &'static str,
}

impl Settings {
    /// The settings of this build.
    ///
    /// # Errors
    /// The first one that is missing or makes no sense.
    pub fn built_in() -> Result<Self, BadSetting> {
        let broker = required("SPRAG_BROKER", BROKER)?;
        let broker = Broker::parse(broker).ok_or(BadSetting::Wrong("SPRAG_BROKER"))?;
        let thing = required("SPRAG_THING", THING)?;
        let login = MQTT_USER.map(|user| (user, or_empty(MQTT_PASSWORD).as_bytes()));
        let device = match (at_run_time(or_empty(DEVICE_CERT)), at_run_time(or_empty(DEVICE_KEY))) {
            ("", "") => None,
            // Nobody would ask for it.
            (_, _) if broker.scheme == Scheme::Http => return Err(BadSetting::Wrong("SPRAG_BROKER")),
            ("", _) => return Err(BadSetting::Missing("SPRAG_DEVICE_CERT")),
            (_, "") => return Err(BadSetting::Missing("SPRAG_DEVICE_KEY")),
            (_, _) => Some(Device::from_der(at_run_time(&DEVICE_CERT_DER), at_run_time(&DEVICE_KEY_DER))?),
        };
        required("SPRAG_ROOTS", ROOTS)?;
        let roots = roots(at_run_time(&ROOTS_DER)).ok_or(BadSetting::Wrong("SPRAG_ROOTS"))?;
        required("SPRAG_KEY", KEY)?;
        let key = PublicKey::from_der(at_run_time(&KEY_DER)).ok_or(BadSetting::Wrong("SPRAG_KEY"))?;
        Ok(Self { broker, thing, login, device, roots, key })
    }

    /// How to come to the broker.
    pub fn account(&self) -> Account<'static> {
        let Broker { scheme, host, port } = self.broker;
        let account = match scheme {
            Scheme::Https => Account::tls(host, self.thing),
            Scheme::Http => Account::plain(host, self.thing),
        };
        match self.login {
            Some((user_name, password)) => account.port(port).login(user_name, password),
            None => account.port(port),
        }
    }
}

impl Wifi {
    /// The network of this build.
    ///
    /// # Errors
    /// Its name is missing.
    pub fn built_in() -> Result<Self, BadSetting> {
        Ok(Self { ssid: required("SPRAG_WIFI_SSID", WIFI_SSID)?, password: or_empty(WIFI_PASSWORD) })
    }
}

impl Broker {
    fn parse(url: &'static str) -> Option<Self> {
        let (scheme, authority, port) = match url.split_once("://")? {
            ("mqtts", authority) => (Scheme::Https, authority, 8883),
            ("mqtt", authority) => (Scheme::Http, authority, 1883),
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, port),
        };
        (!host.is_empty() && !host.contains('/')).then_some(Self { scheme, host, port })
    }
}

impl Device {
    fn from_der(certificate: &'static [u8], key: &[u8]) -> Result<Self, BadSetting> {
        let Some((certificate, [])) = pem::split_certificate(certificate) else {
            return Err(BadSetting::Wrong("SPRAG_DEVICE_CERT"));
        };
        // What openssl puts before the key: the name of the curve (RFC 5480, section 2.1.1.1), in a block of its own.
        const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let key = P256IdentityKey::from_der(key.strip_prefix(&P256).unwrap_or(key));
        Ok(Self { certificate, key: key.ok_or(BadSetting::Wrong("SPRAG_DEVICE_KEY"))? })
    }

    /// The two together, to be given to [`Tls`](sprag::fetch::Tls).
    pub fn identity(&self) -> Identity<'_> {
        Identity::new(self.certificate, &self.key)
    }
}

impl PublicKey {
    fn from_der(der: &[u8]) -> Option<Self> {
        #[cfg(feature = "ed25519")]
        if let Some(key) = der.strip_prefix(&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]) {
            // RFC 8410, section 4.
            return Some(Self::Ed25519(Ed25519Key::new(key.try_into().ok()?)));
        }
        #[cfg(feature = "p256")]
        if let (91, [0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, ..]) =
            (der.len(), der)
        {
            // RFC 5480, section 2: the point comes last.
            return Some(Self::P256(TlsP256Key::new(*der.last_chunk()?)));
        }
        let _ = der;
        None
    }

    /// The key, to be put into a policy.
    pub fn as_key(&self) -> &dyn Key {
        match *self {
            #[cfg(feature = "ed25519")]
            Self::Ed25519(ref key) => key,
            #[cfg(feature = "p256")]
            Self::P256(ref key) => key,
        }
    }
}

/// A setting, looked at when the firmware runs: where the compiler knows that one is missing, it leaves all behind it out, and
/// such a build would not show that the road links, nor how large it is.
fn at_run_time<T>(setting: T) -> T {
    hint::black_box(setting)
}

fn required(name: &'static str, setting: Option<&'static str>) -> Result<&'static str, BadSetting> {
    at_run_time(setting).filter(|text| !text.is_empty()).ok_or(BadSetting::Missing(name))
}

/// The root certificates, one by one; none if they are something else, or too many.
fn roots(der: &'static [u8]) -> Option<heapless::Vec<&'static [u8], ROOTS_MAX>> {
    let (mut roots, mut rest) = (heapless::Vec::new(), der);
    while !rest.is_empty() {
        let (root, behind) = pem::split_certificate(rest)?;
        roots.push(root).ok()?;
        rest = behind;
    }
    (!roots.is_empty()).then_some(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_this_build() {
        let all = [("SPRAG_BROKER", BROKER), ("SPRAG_THING", THING), ("SPRAG_ROOTS", ROOTS), ("SPRAG_KEY", KEY)];
        let missing = all.into_iter().find(|(_, setting)| setting.is_none());
        assert_eq!(Settings::built_in().err(), missing.map(|(name, _)| BadSetting::Missing(name)));
    }

    #[test]
    fn where_brokers_are() {
        let broker = |url| Broker::parse(url).map(|Broker { scheme, host, port }| (scheme, host, port));
        assert_eq!(broker("mqtts://a.example"), Some((Scheme::Https, "a.example", 8883)));
        assert_eq!(broker("mqtts://a.example:443"), Some((Scheme::Https, "a.example", 443)));
        assert_eq!(broker("mqtt://10.0.0.1"), Some((Scheme::Http, "10.0.0.1", 1883)));
        for wrong in ["a.example", "https://a.example", "mqtts://", "mqtts://:8883", "mqtts://a:b", "mqtts://a/b"] {
            assert_eq!(broker(wrong), None, "{wrong}");
        }
    }

    #[test]
    #[cfg(feature = "ed25519")]
    fn keys() {
        let mut der = [7; 44];
        der[..12].copy_from_slice(&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]);
        assert_eq!(PublicKey::from_der(&der).unwrap().as_key().bytes(), [7; 32]);
        assert_eq!(PublicKey::from_der(&der[..43]), None);
        // X25519, which signs nothing.
        der[8] = 0x6e;
        assert_eq!(PublicKey::from_der(&der), None);
    }

    #[test]
    fn certificates() {
        static ONE: [u8; 8] = [0x30, 0x82, 0, 4, 1, 2, 3, 4];
        static TWO: [u8; 16] = [0x30, 0x82, 0, 4, 1, 2, 3, 4, 0x30, 0x82, 0, 4, 5, 6, 7, 8];
        assert_eq!(roots(&ONE).unwrap(), [&ONE[..]]);
        assert_eq!(roots(&TWO).unwrap(), [&TWO[..8], &TWO[8..]]);
        assert_eq!((roots(&TWO[..15]), roots(&[])), (None, None));
    }

    #[test]
    fn devices() {
        static CERTIFICATE: [u8; 8] = [0x30, 0x82, 0, 4, 1, 2, 3, 4];
        static TWO: [u8; 16] = [0x30, 0x82, 0, 4, 1, 2, 3, 4, 0x30, 0x82, 0, 4, 5, 6, 7, 8];
        // As `openssl ecparam -genkey` writes it: the curve, then the key, which names it again.
        let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let key: heapless::Vec<u8, 61> = curve
            .into_iter()
            .chain([0x30, 0x31, 2, 1, 1, 4, 32])
            .chain([7; 32])
            .chain([0xa0, 10])
            .chain(curve)
            .collect();
        let error = |certificate, key: &[u8]| Device::from_der(certificate, key).err();
        assert_eq!((error(&CERTIFICATE, &key), error(&CERTIFICATE, &key[10..])), (None, None));
        for wrong in [&TWO[..], &TWO[..7], &[]] {
            assert_eq!(error(wrong, &key), Some(BadSetting::Wrong("SPRAG_DEVICE_CERT")), "{wrong:?}");
        }
        for wrong in [&key[..10], &key[11..], &[]] {
            assert_eq!(error(&CERTIFICATE, wrong), Some(BadSetting::Wrong("SPRAG_DEVICE_KEY")), "{wrong:?}");
        }
    }
}
