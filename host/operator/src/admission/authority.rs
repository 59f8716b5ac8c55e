//! The certificate by which the API server knows the endpoint, and the authority that it trusts for it: what is kept of them, when
//! something is due, and how it is made. Pure but for the randomness of keys; times are seconds since the epoch.
//!
//! The authority lives long, so that what the API server trusts hardly ever changes; the certificate lives short and is signed anew.
//! When the authority's own time comes, its successor is trusted beside it before anything is signed by it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

const DAY: u64 = 24 * 60 * 60;
/// How long an authority and a certificate are good for, and how long before its end each is renewed.
const AUTHORITY_LIVES: u64 = 3650 * DAY;
const AUTHORITY_ENDS: u64 = 180 * DAY;
const CERTIFICATE_LIVES: u64 = 90 * DAY;
const CERTIFICATE_ENDS: u64 = 30 * DAY;
/// Clocks of others may be behind ours.
const BACKDATED: u64 = 60 * 60;
/// What every authority is called; they are told apart by their keys.
const NAME: &str = "stepwright-admission";

/// Keys of the Secret. The first two are the vendor's; `cert` holds the authority too, so that it can be pasted as `caBundle`.
mod key {
    pub(super) const CERTIFICATE: &str = "cert";
    pub(super) const PRIVATE: &str = "privateKey";
    pub(super) const AUTHORITIES: &str = "ca";
    pub(super) const AUTHORITY_PRIVATE: &str = "caKey";
    /// Seconds since the epoch at which the first authority ends.
    pub(super) const AUTHORITY_UNTIL: &str = "caUntil";
}

/// A certificate could not be made.
pub(super) type Failed = rcgen::Error;

/// What is kept, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    pub(super) certificate: String,
    pub(super) key: String,
    /// The one that signs first, then those that are still trusted.
    pub(super) authorities: String,
    authority_key: String,
    authority_until: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// There is nothing that could be gone on with.
    Everything,
    /// A successor for the authority.
    Authority,
    /// A certificate by the authority that there is.
    Certificate,
}

impl Material {
    /// `None` where something is missing or no text.
    pub(super) fn of(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let text = |key: &str| data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        Some(Self {
            certificate: text(key::CERTIFICATE)?,
            key: text(key::PRIVATE)?,
            authorities: text(key::AUTHORITIES)?,
            authority_key: text(key::AUTHORITY_PRIVATE)?,
            authority_until: text(key::AUTHORITY_UNTIL)?.trim().parse().ok()?,
        })
    }

    pub(super) fn data(&self) -> BTreeMap<String, ByteString> {
        let all = [
            (key::CERTIFICATE, self.certificate.clone()),
            (key::PRIVATE, self.key.clone()),
            (key::AUTHORITIES, self.authorities.clone()),
            (key::AUTHORITY_PRIVATE, self.authority_key.clone()),
            (key::AUTHORITY_UNTIL, self.authority_until.to_string()),
        ];
        all.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
    }

    /// A new authority and a certificate by it for this host name.
    pub(super) fn new(name: &str, now: u64) -> Result<Self, Failed> {
        let authority = new_authority(now)?;
        let made = Self {
            certificate: String::new(),
            key: String::new(),
            authorities: authority.pem(),
            authority_key: authority.key().serialize_pem(),
            authority_until: now + AUTHORITY_LIVES,
        };
        made.with_certificate(name, now)
    }

    /// With a successor for the authority, which signs from now on; what the one before signed is served until then.
    pub(super) fn with_authority(&self, now: u64) -> Result<Self, Failed> {
        let authority = new_authority(now)?;
        Ok(Self {
            authorities: format!("{}{}", authority.pem(), self.first()),
            authority_key: authority.key().serialize_pem(),
            authority_until: now + AUTHORITY_LIVES,
            ..self.clone()
        })
    }

    /// With a certificate by the authority for this host name.
    pub(super) fn with_certificate(&self, name: &str, now: u64) -> Result<Self, Failed> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name = common_name(NAME);
        authority.key_usages = signs();
        let issuer = Issuer::new(authority, KeyPair::from_pem(&self.authority_key)?);
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = common_name(NAME);
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_sub(BACKDATED));
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + CERTIFICATE_LIVES);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { certificate: format!("{signed}{}", self.first()), key: key.serialize_pem(), ..self.clone() })
    }

    /// What is to be done now. `trusted`: what the API server trusts, PEM; `None` where that is not to be seen.
    pub(super) fn due(&self, name: &str, trusted: Option<&str>, now: u64) -> Due {
        let first = self.first();
        if self.authority_until <= now || !fits(&first, &self.authority_key) {
            return Due::Everything;
        }
        if self.authority_until - now < AUTHORITY_ENDS {
            return Due::Authority;
        }
        // Somebody would refuse it before long, or does.
        let is_good = fits(&self.certificate, &self.key)
            && [now, now + CERTIFICATE_ENDS]
                .iter()
                .all(|at| is_accepted(&self.certificate, &self.authorities, name, *at));
        // By the authority before: until the new one is trusted it stays so.
        let is_old = || !is_accepted(&self.certificate, &first, name, now);
        let is_trusted = || trusted.is_none_or(|trusted| pems(trusted).contains(&first));
        if !is_good || (is_old() && is_trusted()) { Due::Certificate } else { Due::Nothing }
    }

    /// What was made is what it was meant to be. An authority of another name, that somebody else made, cannot be signed for.
    pub(super) fn is_sound(&self, name: &str, now: u64) -> bool {
        fits(&self.certificate, &self.key) && is_accepted(&self.certificate, &self.authorities, name, now)
    }

    /// The authority that signs.
    fn first(&self) -> String {
        pems(&self.authorities).into_iter().next().unwrap_or_default()
    }
}

/// Whether a client that trusts the authorities takes the certificate for that name at that time.
fn is_accepted(certificate: &str, authorities: &str, name: &str, at: u64) -> bool {
    let ders = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect::<Vec<_>>();
    let chain = ders(certificate);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(ders(authorities));
    let Some(Ok(certificate)) = chain.first().map(ParsedCertificate::try_from) else { return false };
    let Ok(name) = ServerName::try_from(name) else { return false };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], at, algorithms.all).is_ok()
        && verify_server_name(&certificate, &name).is_ok()
}

/// The first certificate is for this key.
fn fits(certificate: &str, key: &str) -> bool {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let (Ok(certificate), Ok(key)) = (certificate, key) else { return false };
    CertifiedKey::from_der(vec![certificate], key, &aws_lc_rs::default_provider()).is_ok()
}

fn new_authority(now: u64) -> Result<CertifiedIssuer<'static, KeyPair>, Failed> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = signs();
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_sub(BACKDATED));
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + AUTHORITY_LIVES);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn signs() -> Vec<KeyUsagePurpose> {
    vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
}

fn common_name(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// The certificates of a PEM text, each as its own.
fn pems(text: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = text.replace("\r\n", "\n");
    let one =
        |part: &str| part.find("-----BEGIN").and_then(|at| part.get(at..)).map(|it| format!("{}\n", it.trim_end()));
    text.split_inclusive(END).filter(|part| part.ends_with(END)).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "admission.ns.svc";
    const START: u64 = 1_800_000_000;

    #[test]
    fn nothing_is_due_until_a_month_before_the_end() {
        let made = Material::new(HOST, START).unwrap();
        let due = |days: u64| made.due(HOST, None, START + days * DAY);
        assert_eq!(
            [due(0), due(59), due(61), due(100)],
            [Due::Nothing, Due::Nothing, Due::Certificate, Due::Certificate]
        );
        assert_eq!(made.due("other.ns.svc", None, START), Due::Certificate);
        let later = START + 61 * DAY;
        let renewed = made.with_certificate(HOST, later).unwrap();
        assert!(renewed.is_sound(HOST, later) && !renewed.is_sound("other.ns.svc", later));
        assert_eq!(renewed.due(HOST, None, later), Due::Nothing);
        assert_eq!(renewed.authorities, made.authorities);
        assert_eq!(Material::of(&renewed.data()).map(|it| it.data()), Some(renewed.data()));
    }

    #[test]
    fn a_new_authority_signs_once_it_is_trusted() {
        let late = START + AUTHORITY_LIVES - 100 * DAY;
        let made = Material::new(HOST, START).unwrap().with_certificate(HOST, late).unwrap();
        assert_eq!(made.due(HOST, Some(&made.authorities), late), Due::Authority);
        let next = made.with_authority(late).unwrap();
        assert_eq!(pems(&next.authorities).len(), 2);
        assert_eq!(next.due(HOST, Some(&made.authorities), late), Due::Nothing);
        assert_eq!(next.due(HOST, Some(&next.authorities), late), Due::Certificate);
        let signed = next.with_certificate(HOST, late).unwrap();
        assert_eq!(signed.due(HOST, Some(&next.authorities), late), Due::Nothing);
    }

    #[test]
    fn what_does_not_fit_together_is_made_anew() {
        let (one, other) = (Material::new(HOST, START).unwrap(), Material::new(HOST, START).unwrap());
        let due = |material: Material| material.due(HOST, None, START);
        assert_eq!(due(Material { key: other.key.clone(), ..one.clone() }), Due::Certificate);
        assert_eq!(due(Material { certificate: "x".to_owned(), ..one.clone() }), Due::Certificate);
        assert_eq!(due(Material { authorities: other.authorities.clone(), ..one.clone() }), Due::Everything);
        assert_eq!(due(Material { authority_key: other.authority_key.clone(), ..one.clone() }), Due::Everything);
        assert_eq!(one.due(HOST, None, START + AUTHORITY_LIVES), Due::Everything);
    }
}
