//! Credentials, the URLs signed with them, and the check that they still hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rusty_s3::{Bucket, S3Action, UrlStyle};
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Result, s3_error};
use sha1::Sha1;
use tokio_rustls::rustls::crypto::ring;

use super::log::lock;

/// What URLs are signed with. `Debug` shows the access key only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public half; part of every URL.
    pub access_key: String,
    /// The secret half; part of no URL.
    pub secret_key: String,
    /// Of temporary credentials; part of every URL, and what makes them long.
    pub session_token: Option<String>,
}

impl Credentials {
    /// Random temporary credentials in the shapes of AWS, with a session token of 1,000 characters: URLs signed with
    /// Version 4 are longer than 1,200 bytes.
    pub fn generate() -> Self {
        const UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const TOKEN_START: &str = "IQoJb3JpZ2luX2Vj";
        Self {
            access_key: format!("ASIA{}", random(16, UPPER)),
            secret_key: random(40, BASE64),
            session_token: Some(format!("{TOKEN_START}{}==", random(998 - TOKEN_START.len(), BASE64))),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// The alphabet's length divides 256: no letter is likelier than another.
fn random(length: usize, alphabet: &[u8]) -> String {
    let mut bytes = vec![0; length];
    ring::default_provider().secure_random.fill(&mut bytes).expect("the system has random numbers");
    bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect()
}

/// Signs URLs, and knows which of them it has let expire.
pub(super) struct Signer {
    endpoint: String,
    region: String,
    credentials: Credentials,
    /// The signatures given out, and whether they were made to expire.
    expired: Mutex<HashMap<String, bool>>,
}

impl Signer {
    /// `endpoint` is `https://host:port`.
    pub(super) fn new(endpoint: String, region: String, credentials: Credentials) -> Result<Self> {
        let signer = Self { endpoint, region, credentials, expired: Mutex::default() };
        signer.bucket("bucket").with_context(|| format!("{} makes no URL", signer.endpoint))?;
        Ok(signer)
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn v4(&self, bucket: &str, key: &str, start: SystemTime, mut valid: Duration) -> String {
        let Credentials { access_key, secret_key, session_token } = &self.credentials;
        let credentials = match session_token {
            Some(token) => rusty_s3::Credentials::new_with_token(access_key, secret_key, token),
            None => rusty_s3::Credentials::new(access_key, secret_key),
        };
        let bucket = self.bucket(bucket).expect("the endpoint makes URLs");
        let start = Timestamp::try_from(start).unwrap_or(Timestamp::UNIX_EPOCH);
        loop {
            let url = bucket.get_object(Some(&credentials), key).sign_with_time(valid, &start);
            if self.give_out(parameter(url.query(), "X-Amz-Signature").unwrap_or_default()) {
                return url.into();
            }
            valid += Duration::from_secs(1);
        }
    }

    pub(super) fn v2(&self, bucket: &str, key: &str, expires: SystemTime) -> String {
        let url = self.bucket(bucket).expect("the endpoint makes URLs").object_url(key);
        let mut expires = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        loop {
            let text = format!("GET\n\n\n{expires}\n{}", url.path());
            let mut mac = Hmac::<Sha1>::new_from_slice(self.credentials.secret_key.as_bytes()).expect("of any length");
            mac.update(text.as_bytes());
            let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
            if self.give_out(signature.clone()) {
                let mut url = format!("{url}?AWSAccessKeyId={}&Expires={expires}", self.credentials.access_key);
                if let Some(token) = &self.credentials.session_token {
                    url += &format!("&x-amz-security-token={}", utf8_percent_encode(token, NON_ALPHANUMERIC));
                }
                return url + &format!("&Signature={}", utf8_percent_encode(&signature, NON_ALPHANUMERIC));
            }
            expires += 1;
        }
    }

    pub(super) fn expire_urls(&self) {
        lock(&self.expired).values_mut().for_each(|expired| *expired = true);
    }

    fn bucket(&self, name: &str) -> Result<Bucket> {
        let endpoint = self.endpoint.parse().map_err(|error| anyhow!("{error}"))?;
        Ok(Bucket::new(endpoint, UrlStyle::Path, name.to_owned(), self.region.clone())?)
    }

    /// False if that very signature has been made to expire: the same URL, asked for again in the same second, must
    /// become another one.
    fn give_out(&self, signature: String) -> bool {
        !*lock(&self.expired).entry(signature).or_insert(false)
    }
}

/// The checks after the one of the signature, which is `s3s`'s.
pub(super) struct Access(pub(super) Arc<Signer>);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let query = cx.uri().query();
        // Version 4 has the token under the signature. Version 2, as s3s checks it, has not.
        let token = parameter(query, "X-Amz-Security-Token").or(parameter(query, "x-amz-security-token"));
        if token != self.0.credentials.session_token {
            return Err(s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid."));
        }
        let signature = parameter(query, "X-Amz-Signature").or(parameter(query, "Signature"));
        if signature.is_some_and(|signature| lock(&self.0.expired).get(&signature) == Some(&true)) {
            return Err(s3_error!(AccessDenied, "Request has expired"));
        }
        Ok(())
    }
}

/// One parameter of a query, decoded.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let value = query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}
