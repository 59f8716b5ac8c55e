//! Whom the operator trusts with the administrator's password.
//!
//! Certificates of port 9443 are self-signed: each node has one of its own until it is a member, then the cluster's, and an
//! admin may replace that at any time (REST reference, 1.3 and 4.4). No authority vouches for the first contact. So:
//!
//! - **The way is trusted**: the address of a pod and its being a node come from the API server; a port-forward is the API
//!   server's own. Whoever can place a pod with the labels of a node in the namespace can be taken for one.
//! - **The handshake is checked**: the peer holds the key of the certificate that it shows. Nobody on the way can read along
//!   without showing a certificate of his own.
//! - **Credentials** go only where the certificate is the one through which they were last accepted (by SHA-256), or is
//!   made for the cluster's name, or where none was accepted yet in the life of this process. That catches a pod address
//!   that by now belongs to another cluster's node, and a peer put in between later with a certificate of its own name.
//!
//! A cluster elsewhere is reached by a host name instead. Where the Secret with its login has `ca.crt`, credentials go only to
//! whom that vouches for; else the third rule holds, and the first contact is not protected at all.
//!
//! Not protected: the first contact after the operator starts; a peer on the way that shows a certificate made out to the
//! cluster's name (anybody can sign one); and the bodies of `POST /v1/bootstrap/*`, which hold credentials and are sent to
//! nodes that have no cluster certificate yet. A replacement certificate has to name the cluster, as the server's
//! documentation asks; one that does not is refused until the operator is restarted. Expiry is not looked at: it would
//! lock the operator out of the cluster whose certificate it is to renew.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;

/// Takes any certificate, but only from a peer that holds its key.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // What may be sent to the peer is decided by `Trust`, before each request.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Sets up TLS as described above.
pub(crate) fn connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { algorithms }))
        .with_no_client_auth();
    // A resumed session would show the certificate of the session before it, not the one that the node has now.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What counts of the certificate that a node shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    digest: [u8; 32],
    names_cluster: bool,
    /// Itself, and what came with it.
    chain: Vec<CertificateDer<'static>>,
}

impl Certificate {
    /// Reads what a peer showed; `cluster` is the cluster's name (FQDN), or the one by which it was asked. `None`: it showed none.
    pub(crate) fn of(chain: &[CertificateDer<'static>], cluster: &str) -> Option<Self> {
        let der = chain.first()?;
        // A wildcard for the names below the cluster's is as good as its name.
        let names_cluster = made_for(der, &[cluster.to_owned(), format!("api.{cluster}")]);
        Some(Self { digest: Sha256::digest(der).into(), names_cluster, chain: chain.to_vec() })
    }

    /// Whether it says one of these names.
    pub(crate) fn is_made_for(&self, names: &[String]) -> bool {
        self.chain.first().is_some_and(|own| made_for(own, names))
    }

    /// Whether one of these authorities (PEM) made it for one of these names, or it is one of them itself.
    pub(crate) fn is_vouched_for(&self, authority: &[u8], names: &[String]) -> bool {
        let Some((own, intermediates)) = self.chain.split_first() else { return false };
        let anchors: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(authority).flatten().collect();
        if anchors.contains(own) {
            return true;
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
            return false;
        };
        names
            .iter()
            .filter_map(|name| ServerName::try_from(name.as_str()).ok())
            .any(|name| verifier.verify_server_cert(own, intermediates, &name, &[], UnixTime::now()).is_ok())
    }
}

fn made_for(der: &CertificateDer<'_>, names: &[String]) -> bool {
    ParsedCertificate::try_from(der).is_ok_and(|parsed| {
        let mut names = names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
        names.any(|name| verify_server_name(&parsed, &name).is_ok())
    })
}

/// Which certificates of one cluster are trusted with credentials.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    accepted: Mutex<Option<[u8; 32]>>,
}

impl Trust {
    pub(crate) fn allows(&self, certificate: &Certificate) -> bool {
        let accepted = self.accepted.lock();
        certificate.names_cluster || accepted.is_none_or(|digest| digest == certificate.digest)
    }

    /// Credentials were taken by the holder of this certificate.
    pub(crate) fn accepted(&self, certificate: &Certificate) {
        *self.accepted.lock() = Some(certificate.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "rec.ns.svc.cluster.local";

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate::of(&[made.cert.der().clone()], CLUSTER).unwrap()
    }

    #[test]
    fn the_first_certificate_is_taken_and_then_only_that_or_one_for_the_cluster() {
        let trust = Trust::default();
        let (first, other) = (certificate(&["rec-0"]), certificate(&["rec-0"]));
        assert!(trust.allows(&first) && trust.allows(&other));
        trust.accepted(&first);
        assert!(trust.allows(&first));
        assert!(!trust.allows(&other));
        assert!(trust.allows(&certificate(&[CLUSTER])));
        assert!(trust.allows(&certificate(&["*.rec.ns.svc.cluster.local"])));
        assert!(!trust.allows(&certificate(&["rec.other.svc.cluster.local"])));
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        assert!(!Certificate::of(&[CertificateDer::from(vec![1, 2, 3])], CLUSTER).unwrap().names_cluster);
        assert!(Certificate::of(&[], CLUSTER).is_none());
    }

    #[test]
    fn an_authority_vouches_for_what_it_made_and_for_itself() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let made = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            Certificate::of(&[params.signed_by(&key, &issuer).unwrap().der().clone()], CLUSTER).unwrap()
        };
        let names = ["api.example.com".to_owned(), CLUSTER.to_owned()];
        assert!(made("api.example.com").is_vouched_for(ca.pem().as_bytes(), &names));
        assert!(made(CLUSTER).is_vouched_for(ca.pem().as_bytes(), &names));
        assert!(!made("other.example.com").is_vouched_for(ca.pem().as_bytes(), &names));
        let own = rcgen::generate_simple_self_signed(vec!["rec-0".to_owned()]).unwrap();
        let shown = Certificate::of(&[own.cert.der().clone()], CLUSTER).unwrap();
        assert!(shown.is_vouched_for(own.cert.pem().as_bytes(), &names));
        assert!(!shown.is_vouched_for(ca.pem().as_bytes(), &names));
        assert!(!shown.is_vouched_for(b"no certificate", &names));
    }
}
