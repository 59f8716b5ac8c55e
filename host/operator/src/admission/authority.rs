//! The certificate by which the API server knows the endpoint, and the authority that it trusts for it: what is kept of them, when
//! something is due, and how it is made. Pure but for the randomness of keys.
//!
//! The authority lives long, so that what the API server trusts hardly ever changes; the certificate lives short and is signed anew.
//! When the authority's own time comes, its successor is trusted beside it before anything is signed by it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// How long an authority and a certificate are good for.
const AUTHORITY_LIVES: Duration = Duration::days(3650);
const CERTIFICATE_LIVES: Duration = Duration::days(90);
/// Clocks of others may be behind ours.
const BACKDATED: Duration = Duration::hours(1);

/// Keys of the Secret. The first two are the vendor's; `cert` holds the authority too, so that it can be pasted as `caBundle`.
mod key {
    pub(super) const CERTIFICATE: &str = "cert";
    pub(super) const PRIVATE: &str = "privateKey";
    pub(super) const AUTHORITIES: &str = "ca";
    pub(super) const AUTHORITY_PRIVATE: &str = "caKey";
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
        })
    }

    pub(super) fn data(&self) -> BTreeMap<String, ByteString> {
        let all = [
            (key::CERTIFICATE, &self.certificate),
            (key::PRIVATE, &self.key),
            (key::AUTHORITIES, &self.authorities),
            (key::AUTHORITY_PRIVATE, &self.authority_key),
        ];
        all.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes()))).collect()
    }

    /// A new authority and a certificate by it.
    pub(super) fn new(names: &[String], now: OffsetDateTime) -> Result<Self, Failed> {
        let authority = new_authority(now)?;
        let made = Self {
            certificate: String::new(),
            key: String::new(),
            authorities: authority.pem(),
            authority_key: authority.key().serialize_pem(),
        };
        made.with_certificate(names, now)
    }

    /// With a successor for the authority, which signs from now on; what it signed is served until then.
    pub(super) fn with_authority(&self, now: OffsetDateTime) -> Result<Self, Failed> {
        let authority = new_authority(now)?;
        // Of those before it only the last can have signed what is served.
        let before = pems(&self.authorities).into_iter().next().unwrap_or_default();
        Ok(Self {
            authorities: format!("{}{before}", authority.pem()),
            authority_key: authority.key().serialize_pem(),
            ..self.clone()
        })
    }

    /// With a certificate by the authority for these host names.
    pub(super) fn with_certificate(&self, names: &[String], now: OffsetDateTime) -> Result<Self, Failed> {
        let mut authority = CertificateParams::default();
        let called = Seen::all(&self.authorities).into_iter().next().map(|it| it.subject).unwrap_or_default();
        authority.distinguished_name = common_name(called.strip_prefix("CN=").unwrap_or_default());
        authority.key_usages = signs();
        let issuer = Issuer::new(authority, KeyPair::from_pem(&self.authority_key)?);
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = common_name(names.first().map(String::as_str).unwrap_or_default());
        params.not_before = now - BACKDATED;
        params.not_after = now + CERTIFICATE_LIVES;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &issuer)?.pem();
        let by = pems(&self.authorities).into_iter().next().unwrap_or_default();
        Ok(Self { certificate: format!("{signed}{by}"), key: key.serialize_pem(), ..self.clone() })
    }

    /// What is to be done now. `trusted`: what the API server trusts, PEM; `None` where that is not to be seen.
    pub(super) fn due(&self, names: &[String], trusted: Option<&str>, now: OffsetDateTime) -> Due {
        let (served, authorities) = (Seen::all(&self.certificate), Seen::all(&self.authorities));
        let (Some(served), Some(signs)) = (served.first(), authorities.first()) else { return Due::Everything };
        let fits = |key: &str, seen: &Seen| KeyPair::from_pem(key).is_ok_and(|key| key.public_key_raw() == seen.public_key);
        // A name of several parts would not be written again as it stands.
        let ours = signs.subject.starts_with("CN=") && !signs.subject.contains(',');
        if !ours || !fits(&self.authority_key, signs) || !fits(&self.key, served) {
            return Due::Everything;
        }
        let now = now.unix_timestamp();
        let by = authorities.iter().find(|it| it.subject == served.issuer);
        if signs.until <= now || by.is_none() {
            return Due::Everything;
        }
        if signs.until - now < 2 * CERTIFICATE_LIVES.whole_seconds() {
            return Due::Authority;
        }
        if served.names != names || served.is_due(now) {
            return Due::Certificate;
        }
        // By the authority before: until the new one is trusted it stays so.
        let is_trusted = trusted.is_none_or(|trusted| {
            pems(&self.authorities).first().is_some_and(|authority| pems(trusted).contains(authority))
        });
        if served.issuer != signs.subject && is_trusted { Due::Certificate } else { Due::Nothing }
    }

    /// Until when the certificate that is served is good, in seconds since the epoch.
    pub(super) fn until(&self) -> Option<i64> {
        Seen::all(&self.certificate).first().map(|it| it.until)
    }
}

/// What a certificate says of itself.
struct Seen {
    from: i64,
    until: i64,
    subject: String,
    issuer: String,
    names: Vec<String>,
    public_key: Vec<u8>,
}

impl Seen {
    /// Those in a PEM text that can be read.
    fn all(pem: &str) -> Vec<Self> {
        let ders = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
        ders.filter_map(|der| X509Certificate::from_der(&der).ok().map(|(_, it)| Self::of(&it))).collect()
    }

    fn of(certificate: &X509Certificate<'_>) -> Self {
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let names = alternatives.iter().flat_map(|it| &it.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        Self {
            from: certificate.validity().not_before.timestamp(),
            until: certificate.validity().not_after.timestamp(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names: names.collect(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        }
    }

    /// Two thirds of its time are over.
    fn is_due(&self, now: i64) -> bool {
        now >= self.from + (self.until - self.from) / 3 * 2
    }
}

fn new_authority(now: OffsetDateTime) -> Result<CertifiedIssuer<'static, KeyPair>, Failed> {
    let mut params = CertificateParams::default();
    // A name of its own, so that two are told apart.
    params.distinguished_name = common_name(&format!("stepwright-admission-{:08x}", rand::random::<u32>()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = signs();
    params.not_before = now - BACKDATED;
    params.not_after = now + AUTHORITY_LIVES;
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
    let one = |part: &str| part.find("-----BEGIN").and_then(|at| part.get(at..)).map(|it| format!("{}\n", it.trim_end()));
    text.split_inclusive(END).filter(|part| part.ends_with(END)).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["admission.ns.svc".to_owned()]
    }

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn nothing_is_due_until_two_thirds_of_the_time_are_over() {
        let made = Material::new(&names(), start()).unwrap();
        let due = |days: i64| made.due(&names(), None, start() + Duration::days(days));
        assert_eq!([due(0), due(59), due(60), due(80)], [Due::Nothing, Due::Nothing, Due::Certificate, Due::Certificate]);
        assert_eq!(made.due(&["other".to_owned()], None, start()), Due::Certificate);
        let later = start() + Duration::days(60);
        let renewed = made.with_certificate(&names(), later).unwrap();
        assert_eq!(renewed.due(&names(), None, later), Due::Nothing);
        assert_eq!(renewed.authorities, made.authorities);
        assert!(renewed.until() > made.until());
        assert_eq!(Material::of(&renewed.data()).map(|it| it.data()), Some(renewed.data()));
    }

    #[test]
    fn a_new_authority_signs_once_it_is_trusted() {
        let made = Material::new(&names(), start()).unwrap();
        let late = start() + AUTHORITY_LIVES - Duration::days(100);
        let made = made.with_certificate(&names(), late).unwrap();
        assert_eq!(made.due(&names(), Some(&made.authorities), late), Due::Authority);
        let next = made.with_authority(late).unwrap();
        assert_eq!(pems(&next.authorities).len(), 2);
        assert_eq!(next.due(&names(), Some(&made.authorities), late), Due::Nothing);
        assert_eq!(next.due(&names(), Some(&next.authorities), late), Due::Certificate);
        let signed = next.with_certificate(&names(), late).unwrap();
        assert_eq!(signed.due(&names(), Some(&next.authorities), late), Due::Nothing);
    }

    #[test]
    fn what_does_not_fit_together_is_made_anew() {
        let (one, other) = (Material::new(&names(), start()).unwrap(), Material::new(&names(), start()).unwrap());
        let due = |material: Material| material.due(&names(), None, start());
        assert_eq!(due(Material { key: other.key.clone(), ..one.clone() }), Due::Everything);
        assert_eq!(due(Material { authorities: other.authorities.clone(), ..one.clone() }), Due::Everything);
        assert_eq!(due(Material { authority_key: other.authority_key.clone(), ..one.clone() }), Due::Everything);
        assert_eq!(due(Material { certificate: "x".to_owned(), ..one.clone() }), Due::Everything);
        assert_eq!(one.due(&names(), None, start() + AUTHORITY_LIVES), Due::Everything);
    }
}
