//! Certificates: a self-signed one per node until it belongs to a cluster, then the cluster's (REST reference, 1.3).

use std::{io, sync::Arc};

use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
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
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_deref().unwrap_or_default().as_bytes());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(io::Error::other)?, key.map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
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

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().1.clone()
    }
}
