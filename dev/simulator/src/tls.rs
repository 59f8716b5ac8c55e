//! Certificates: a self-signed one per node until it belongs to a cluster, then the cluster's (REST reference, 1.3).

use std::{io, sync::Arc};

use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::state::Certificate;

/// Makes a self-signed certificate for a name, all names below it, and some addresses.
pub fn self_signed(name: &str, addresses: &[&str]) -> io::Result<Certificate> {
    made(name, addresses, false)
}

/// The same, for a name alone, and of no use since years ago.
pub fn expired(name: &str) -> io::Result<Certificate> {
    made(name, &[], true)
}

fn made(name: &str, addresses: &[&str], expired: bool) -> io::Result<Certificate> {
    let mut names = vec![name.to_owned(), format!("*.{name}"), "localhost".to_owned()];
    names.extend(addresses.iter().map(|address| (*address).to_owned()));
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Redis Enterprise simulator");
    if expired {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    Ok(Certificate { certificate: certificate.pem(), key: Some(key.serialize_pem()) })
}

/// Checks that a certificate and key are a pair that a server can use.
pub fn server_config(certificate: &Certificate) -> io::Result<Arc<ServerConfig>> {
    server_config_for(certificate, &[])
}

/// The certificates in a text of PEM blocks; an error if there is none.
pub fn certificates_in(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let all =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    if all.is_empty() { Err(io::Error::other("no certificate in the text")) } else { Ok(all) }
}

/// As [`server_config`]; with trusted certificates (PEM), only for clients that show one of them or one signed by one.
pub fn server_config_for(certificate: &Certificate, trusted: &[String]) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_deref().unwrap_or_default().as_bytes());
    let mut listed = Vec::new();
    for pem in trusted {
        listed.extend(certificates_in(pem)?);
    }
    let verifier = if listed.is_empty() { None } else { Some(Listed::new(listed, &provider)?) };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
        None => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(chain.map_err(io::Error::other)?, key.map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// Accepts clients by a list of certificates. A listed one is accepted itself, even when it says that it is an
/// authority, as most self-signed ones do; its dates are not looked at.
#[derive(Debug)]
struct Listed {
    listed: Vec<CertificateDer<'static>>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl Listed {
    fn new(listed: Vec<CertificateDer<'static>>, provider: &Arc<rustls::crypto::CryptoProvider>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for one in &listed {
            roots.add(one.clone()).map_err(io::Error::other)?;
        }
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { listed, chains })
    }
}

impl ClientCertVerifier for Listed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.listed.iter().any(|one| one.as_ref() == end_entity.as_ref()) {
            return Ok(ClientCertVerified::assertion());
        }
        self.chains.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// The certificate that a listener shows; replaced while it listens, for new connections.
pub struct Identity {
    current: Mutex<(String, TlsAcceptor)>,
}

impl Identity {
    /// Starts with a certificate.
    pub fn new(certificate: &Certificate) -> io::Result<Self> {
        let acceptor = TlsAcceptor::from(server_config(certificate)?);
        Ok(Self { current: Mutex::new((certificate.certificate.clone(), acceptor)) })
    }

    /// Shows another certificate from now on; the same one again costs nothing.
    pub fn replace(&self, certificate: &Certificate) -> io::Result<()> {
        let mut current = self.current.lock();
        if current.0 != certificate.certificate {
            *current = (certificate.certificate.clone(), TlsAcceptor::from(server_config(certificate)?));
        }
        Ok(())
    }

    /// For the next connection, of a client that must show a certificate.
    pub fn acceptor_for(&self, shown: &Certificate, trusted: &[String]) -> io::Result<TlsAcceptor> {
        if trusted.is_empty() { Ok(self.acceptor()) } else { Ok(TlsAcceptor::from(server_config_for(shown, trusted)?)) }
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().1.clone()
    }
}
