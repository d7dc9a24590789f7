//! A path from a server's certificate to a root, with bounded work.
//!
//! Nothing about a server is known when it shows its certificates, and they are checked between two `await`s: no time-out
//! can fire meanwhile. `webpki` bounds its search for servers and desktops, at 200,000 steps and 100 signatures for each
//! root. Here the search gets few certificates and few signatures, which is enough for chains as authorities issue them.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage};

use super::key_usage::{Use, allows};
use super::signatures::{Algorithm, IN_CERTIFICATES};
use super::trust::CertificateError;

/// Intermediate certificates that are considered for one server.
const INTERMEDIATES_MAX: usize = 4;
/// Signatures in certificates that are checked for one server, over all roots: those of the longest path, and one more
/// for a path that fails.
const SIGNATURES_MAX: u8 = 6;

/// The certificates that may lead from a server's to a root, the server's own first.
#[derive(Debug)]
pub(super) struct Chain<'c> {
    certificates: heapless::Vec<CertificateDer<'c>, { 1 + INTERMEDIATES_MAX }>,
    /// There are more than fit.
    cut: bool,
}

impl<'c> Chain<'c> {
    /// Chooses certificates by their names: issuers of the server's certificate, then issuers of these, and so on. Order,
    /// copies, and certificates of something else don't matter.
    ///
    /// Certificates that name themselves as their issuer come last, because a server that sends its root does so in vain.
    pub(super) fn choose(leaf: &CertificateDer<'c>, sent: &[CertificateDer<'c>]) -> Self {
        let mut chain = Self { certificates: heapless::Vec::new(), cut: false };
        let _ = chain.certificates.push(leaf.clone());
        for self_issued in [false, true] {
            let mut children = 0_usize..;
            while let Some(child) = children.next().and_then(|at| chain.certificates.get(at)).cloned() {
                for candidate in sent {
                    if issued(candidate, &child, self_issued) && !chain.certificates.contains(candidate) {
                        chain.cut |= chain.certificates.push(candidate.clone()).is_err();
                    }
                }
            }
        }
        chain
    }

    /// Returns whether one of the certificates names this root as its issuer.
    fn names(&self, root: &TrustAnchor<'_>) -> bool {
        self.certificates.iter().any(|certificate| {
            EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == root.subject.as_ref())
        })
    }

    /// Searches for a path to a root that is valid now, or without a time, at any one moment.
    ///
    /// # Errors
    /// Returns the error of the path that comes nearest; [`CertificateError::TooComplex`] when the work is used up.
    pub(super) fn leads_to(
        &self,
        root: &TrustAnchor<'_>,
        now: Option<u64>,
        work: &Work,
    ) -> Result<(), CertificateError> {
        if work.is_used_up() {
            return Err(CertificateError::TooComplex);
        }
        if !self.names(root) {
            return Err(if self.cut { CertificateError::TooComplex } else { CertificateError::UnknownIssuer });
        }
        let (leaf, intermediates) = self.certificates.split_first().ok_or(CertificateError::Missing)?;
        let leaf = EndEntityCert::try_from(leaf)?;
        let algorithms = IN_CERTIFICATES.map(|algorithm| Counted { algorithm, work });
        let algorithms = algorithms.each_ref().map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm);
        let roots = core::slice::from_ref(root);
        let mut time = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now.unwrap_or(0)));
        // Without a time, the moment at which the last of them became valid: each round comes to a later one.
        for _ in 0..=self.certificates.len() {
            let usage = KeyUsage::server_auth();
            let result = leaf.verify_for_usage(&algorithms, roots, intermediates, time, usage, None, None);
            match result {
                Ok(_) => return Ok(()),
                Err(_) if work.is_used_up() => return Err(CertificateError::TooComplex),
                Err(webpki::Error::CertNotValidYet { not_before, .. }) if now.is_none() && not_before > time => {
                    time = not_before;
                }
                Err(webpki::Error::UnknownIssuer) if self.cut => return Err(CertificateError::TooComplex),
                Err(error) => return Err(work.missing().unwrap_or_else(|| error.into())),
            }
        }
        Err(CertificateError::NotYetValid)
    }
}

/// Returns whether `issuer` may have issued `child`, by their names and its key usage, and itself or not, as
/// `self_issued` says.
fn issued(issuer: &CertificateDer<'_>, child: &CertificateDer<'_>, self_issued: bool) -> bool {
    let (Ok(parsed), Ok(child)) = (EndEntityCert::try_from(issuer), EndEntityCert::try_from(child)) else {
        return false;
    };
    parsed.subject() == child.issuer()
        && (parsed.subject() == parsed.issuer()) == self_issued
        && allows(issuer, Use::SignCertificates)
}

/// Counts the signatures in certificates that were to be checked for one server.
#[derive(Default)]
pub(super) struct Work {
    signatures: AtomicU8,
    needs_rsa: AtomicBool,
    needs_p384: AtomicBool,
}

impl Work {
    fn is_used_up(&self) -> bool {
        self.signatures.load(Ordering::Relaxed) > SIGNATURES_MAX
    }

    /// Notes that a signature could not be checked, because this crate was built without what it takes.
    fn lacks(&self, what: CertificateError) {
        let flag = if what == CertificateError::NeedsRsa { &self.needs_rsa } else { &self.needs_p384 };
        flag.store(true, Ordering::Relaxed);
    }

    /// Returns what a signature could not be checked for.
    fn missing(&self) -> Option<CertificateError> {
        if self.needs_rsa.load(Ordering::Relaxed) {
            Some(CertificateError::NeedsRsa)
        } else {
            self.needs_p384.load(Ordering::Relaxed).then_some(CertificateError::NeedsP384)
        }
    }

    /// Takes a signature from what is left. There is one thread only, so that load and store do: not every chip has more.
    fn take(&self) -> Result<(), InvalidSignature> {
        let signatures = self.signatures.load(Ordering::Relaxed).saturating_add(1);
        self.signatures.store(signatures, Ordering::Relaxed);
        if self.is_used_up() { Err(InvalidSignature) } else { Ok(()) }
    }
}

/// An algorithm that checks signatures while there is work left.
struct Counted<'w> {
    algorithm: &'static Algorithm,
    work: &'w Work,
}

/// As for [`Algorithm`].
impl fmt::Debug for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl SignatureVerificationAlgorithm for Counted<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if let Err(missing) = self.algorithm.is_built_in() {
            self.work.lacks(missing);
            return Err(InvalidSignature);
        }
        self.work.take()?;
        self.algorithm.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::tls::Trust;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use std::format;
    use std::string::ToString;
    use std::vec;
    use std::vec::Vec;

    /// A name and a key to it.
    struct Authority {
        params: CertificateParams,
        key: KeyPair,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            Self::with_key(name, KeyPair::generate().unwrap())
        }

        fn with_key(name: &str, key: KeyPair) -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            Self { params, key }
        }

        /// A certificate for this one by `issuer`.
        fn by(&self, issuer: &Self) -> Vec<u8> {
            let issuer = Issuer::from_params(&issuer.params, &issuer.key);
            self.params.signed_by(&self.key, &issuer).unwrap().der().to_vec()
        }

        fn by_itself(&self) -> Vec<u8> {
            self.by(self)
        }

        fn server(&self) -> Vec<u8> {
            self.server_with(&KeyPair::generate().unwrap())
        }

        fn server_with(&self, key: &KeyPair) -> Vec<u8> {
            let params = CertificateParams::new(["a.example".to_string()]).unwrap();
            let issuer = Issuer::from_params(&self.params, &self.key);
            params.signed_by(key, &issuer).unwrap().der().to_vec()
        }
    }

    /// Returns the verdict on a server that shows `leaf` and `others`, and the number of signatures checked for it.
    fn shown(roots: &[&[u8]], leaf: &[u8], others: &[&[u8]]) -> (Result<(), CertificateError>, u8) {
        let chain: Vec<_> = [leaf].iter().chain(others).map(|der| CertificateDer::from(*der)).collect();
        let with_clock = Work::default();
        let result = Trust::new(roots, &|| 1_795_764_480).chain("a.example", &chain, &with_clock).map(|_| ());
        let without = Work::default();
        assert_eq!(Trust::without_clock(roots).chain("a.example", &chain, &without).map(|_| ()), result);
        let checked = |work: &Work| work.signatures.load(Ordering::Relaxed).min(SIGNATURES_MAX);
        assert_eq!(checked(&with_clock), checked(&without));
        (result, checked(&with_clock))
    }

    fn orders<'c>(certificates: &[&'c [u8]]) -> Vec<Vec<&'c [u8]>> {
        let Some((first, rest)) = certificates.split_first() else { return vec![Vec::new()] };
        let mut all = Vec::new();
        for order in orders(rest) {
            for at in 0..=order.len() {
                let mut order = order.clone();
                order.insert(at, *first);
                all.push(order);
            }
        }
        all
    }

    /// The algorithm of an authority, and of a server. `rcgen` makes no RSA keys.
    #[test]
    fn a_chain_that_needs_more_than_is_built_in_says_which_feature_it_takes() {
        const RSA: &[u8] = include_bytes!("../../tests/data/rsa-2048-for-tests.pk8");
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let rsa = KeyPair::from_der_and_sign_algo(&RSA.try_into().unwrap(), &rcgen::PKCS_RSA_SHA256).unwrap();
        let without = |feature, error| if feature { Ok(()) } else { Err(error) };
        for (key, expected) in [
            (KeyPair::generate().unwrap(), Ok(())),
            (p384, without(cfg!(feature = "tls-p384"), CertificateError::NeedsP384)),
            (rsa, without(cfg!(feature = "tls-rsa"), CertificateError::NeedsRsa)),
        ] {
            let [root, intermediate] = ["Root", "Intermediate"].map(Authority::new);
            let server = intermediate.server_with(&key);
            let sent = intermediate.by(&root);
            assert_eq!(shown(&[&root.by_itself()], &server, &[&sent]).0, expected, "the server's key");
            let authority = Authority::with_key("Authority", key);
            let (server, sent) = (intermediate.server(), intermediate.by(&authority));
            let trusted = authority.by_itself();
            assert_eq!(shown(&[&trusted], &server, &[&sent]).0, expected, "the root's key");
            // Another root will do.
            let (also, by_both) = (root.by_itself(), [&*sent, &*intermediate.by(&root)].map(<[u8]>::to_vec));
            let by_both = by_both.each_ref().map(Vec::as_slice);
            assert_eq!(shown(&[&trusted, &also], &server, &by_both).0, Ok(()));
        }
    }

    #[test]
    fn a_chain_in_any_order_among_others_takes_its_own_signatures_only() {
        let [root, first, second, third, other] = ["Root", "1", "2", "3", "Other"].map(Authority::new);
        let (first_by_root, second_by_first) = (first.by(&root), second.by(&first));
        let (third_by_second, leaf) = (third.by(&second), third.server());
        let (root, stray, other) = (root.by_itself(), other.by(&first), other.by_itself());
        let needed = [&*first_by_root, &*second_by_first, &*third_by_second];
        for more in
            [&[][..], &[&*root], &[&*stray], &[&*third_by_second], &[&*root, &*other], &[&*stray, &*first_by_root]]
        {
            for order in orders(&[&needed, more].concat()) {
                assert_eq!(shown(&[&other, &root], &leaf, &order), (Ok(()), 4));
            }
        }
        for left_out in 0..3 {
            let order: Vec<_> =
                needed.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, der)| *der).collect();
            assert_eq!(shown(&[&other, &root], &leaf, &order), (Err(CertificateError::UnknownIssuer), 0));
        }
    }

    #[test]
    fn four_intermediates_are_the_most() {
        let names: Vec<_> = (0..7).map(|at| Authority::new(&format!("Number {at}"))).collect();
        let root = names[0].by_itself();
        let links: Vec<_> = names.windows(2).map(|pair| pair[1].by(&pair[0])).collect();
        for intermediates in 0..=6 {
            let sent: Vec<_> = links[..intermediates].iter().rev().map(Vec::as_slice).collect();
            let expected = if intermediates <= 4 {
                (Ok(()), 1 + intermediates as u8)
            } else {
                (Err(CertificateError::TooComplex), 0)
            };
            assert_eq!(shown(&[&root], &names[intermediates].server(), &sent), expected, "{intermediates}");
        }
    }

    /// As Let's Encrypt had them: an intermediate by a young root and by an old one, and the young root by the old one.
    #[test]
    fn cross_signed_certificates_lead_to_each_of_their_roots() {
        let [old, young, intermediate] = ["Old", "Young", "Intermediate"].map(Authority::new);
        let certificates = [intermediate.by(&young), intermediate.by(&old), young.by(&old), old.by_itself()];
        let (young, old, leaf) = (young.by_itself(), old.by_itself(), intermediate.server());
        let certificates: Vec<_> = certificates.iter().map(Vec::as_slice).collect();
        for roots in [&[&*old][..], &[&*young], &[&*old, &*young], &[&*young, &*old]] {
            for order in orders(&certificates) {
                let (result, checked) = shown(roots, &leaf, &order);
                assert_eq!(result, Ok(()));
                assert!(checked <= 3, "{checked} signatures");
            }
        }
    }

    /// A key was replaced, and the name was kept: of the intermediate, or of the root.
    #[test]
    fn of_certificates_of_one_name_the_one_that_fits_is_found() {
        let [root, intermediate, before] = ["Root", "Intermediate", "Intermediate"].map(Authority::new);
        let (good, bad, leaf) = (intermediate.by(&root), before.by(&root), intermediate.server());
        for order in orders(&[&good, &bad]) {
            let (result, checked) = shown(&[&root.by_itself()], &leaf, &order);
            assert!(result.is_ok() && checked <= 4, "{result:?} after {checked} signatures");
        }
        let old = Authority::new("Root");
        let (old_by_itself, root_by_itself, root_by_old) = (old.by_itself(), root.by_itself(), root.by(&old));
        for roots in orders(&[&old_by_itself, &root_by_itself]) {
            let (result, checked) = shown(&roots, &leaf, &[&good]);
            assert!(result.is_ok() && checked <= 3, "{result:?} after {checked} signatures");
        }
        for order in orders(&[&good, &root_by_old, &root_by_itself]) {
            let (result, checked) = shown(&[&old_by_itself], &leaf, &order);
            assert!(result.is_ok() && checked <= 6, "{result:?} after {checked} signatures");
        }
    }

    #[test]
    fn an_intermediate_that_may_not_sign_certificates_leads_nowhere() {
        use rcgen::KeyUsagePurpose as Purpose;
        for (usages, expected) in [
            (vec![Purpose::KeyCertSign], (Ok(()), 2)),
            (vec![Purpose::DigitalSignature, Purpose::CrlSign], (Err(CertificateError::UnknownIssuer), 0)),
        ] {
            let (root, mut intermediate) = (Authority::new("Root"), Authority::new("Intermediate"));
            intermediate.params.key_usages = usages;
            let sent = intermediate.by(&root);
            assert_eq!(shown(&[&root.by_itself()], &intermediate.server(), &[&sent]), expected);
        }
    }

    /// Fifteen certificates of which each could have issued each other one and all could be the root's, if names were all.
    #[test]
    fn certificates_that_could_all_have_issued_each_other_are_not_searched_through() {
        let one_name: Vec<_> = (0..15).map(|_| Authority::new("A root")).collect();
        let certificates: Vec<_> = (0..15).map(|at| one_name[at].by(&one_name[(at + 1) % 15])).collect();
        let leaf = one_name[0].server();
        let roots: Vec<_> = (0..20).map(|_| Authority::new("A root").by_itself()).collect();
        let roots: Vec<_> = roots.iter().map(Vec::as_slice).collect();
        for shift in 0..15 {
            let mut order: Vec<_> = certificates.iter().map(Vec::as_slice).collect();
            order.rotate_left(shift);
            for roots in [&roots[..1], &roots[..4], &roots] {
                let (result, checked) = shown(roots, &leaf, &order);
                assert_eq!((result, checked), (Err(CertificateError::TooComplex), 6));
            }
        }
        // Copies of a chain that anybody can get, under a server's certificate that its authority did not issue.
        let [root, intermediate] = ["A root", "An intermediate"].map(Authority::new);
        let (good, root) = (intermediate.by(&root), root.by_itself());
        let forged = Authority { params: intermediate.params.clone(), key: KeyPair::generate().unwrap() };
        let leaf = forged.server();
        let copies: Vec<_> = (0..14).map(|_| good.as_slice()).chain([&*root]).collect();
        assert_eq!(shown(&[&root], &leaf, &copies), (Err(CertificateError::Signature), 5));
        assert_eq!(shown(&[roots[0], &root], &leaf, &copies), (Err(CertificateError::TooComplex), 6));
    }
}
