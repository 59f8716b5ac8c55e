//! Databases with TLS, with and without certificates of clients (REST reference, 6.2 and 16.8).

#![allow(clippy::unwrap_used, reason = "helpers of tests are no #[test]")]

mod common;

use std::sync::Arc;

use common::{CLUSTER, Node, Nodes, until};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A certificate and its key, both PEM.
struct Pair(String, String);

/// As `openssl req -x509` makes it: signed by itself, and an authority.
fn self_signed() -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Pair(params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// An authority's certificate, and a pair that it signed.
fn signed() -> (String, Pair) {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&authority).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    (certificate, Pair(leaf, key.serialize_pem()))
}

/// PING over TLS: the answer, or why there was none.
async fn ping(node: &Node, port: u16, server: &str, client: Option<&Pair>) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some(Pair(certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect((node.host.as_str(), port)).await?;
    let name = ServerName::try_from(CLUSTER).unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn plain_ping(node: &Node, port: u16) -> bool {
    node.redis_cli(port, &["PING"]).trim() == "PONG"
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_need_the_certificate_that_the_database_asks_for() {
    let nodes = Nodes::cluster(251, 1).await;
    let node = &nodes.all[0];
    let (_, certificates) = node.get("/v1/cluster/certificates").await;
    let server = certificates["proxy_cert"].as_str().unwrap().to_owned();
    let (own, stranger, (authority, by_authority)) = (self_signed(), self_signed(), signed());
    let body = json!({"name": "tls", "memory_size": 104_857_600, "port": 14200});
    let uid = node.create_bdb(&body).await;
    let path = format!("/v1/bdbs/{uid}");
    let change = async |patch: Value| {
        let (status, bdb) = node.call("PUT", &path, &patch).await;
        assert_eq!(status, 200, "{bdb}");
        node.active(uid).await
    };
    for patch in [
        json!({"tls_mode": "enabled"}),
        json!({"tls_mode": "enabled", "authentication_ssl_client_certs": [{"client_cert": "no certificate"}]}),
        json!({"tls_mode": "sometimes", "enforce_client_authentication": "disabled"}),
    ] {
        let (status, error) = node.call("PUT", &path, &patch).await;
        assert_eq!(status, 406, "{patch} -> {error}");
    }
    assert!(plain_ping(node, 14200));
    let bdb = change(json!({"tls_mode": "enabled", "enforce_client_authentication": "disabled"})).await;
    assert_eq!(bdb["ssl"], true);
    until("TLS without certificates", async || ping(node, 14200, &server, None).await.ok()).await;
    assert!(!plain_ping(node, 14200));

    let certs = json!([{"client_cert": own.0}, {"client_cert": authority}]);
    change(json!({"authentication_ssl_client_certs": certs, "enforce_client_authentication": "enabled"})).await;
    until("a client without a certificate is turned away", async || ping(node, 14200, &server, None).await.err()).await;
    assert!(ping(node, 14200, &server, Some(&stranger)).await.is_err(), "not listed, not signed by one that is");
    assert_eq!(ping(node, 14200, &server, Some(&own)).await.unwrap(), "+PONG\r\n");
    assert_eq!(ping(node, 14200, &server, Some(&by_authority)).await.unwrap(), "+PONG\r\n");

    // For replication only: a plain client is served, and one with TLS must still show its certificate.
    change(json!({"tls_mode": "replica_ssl"})).await;
    until("plain clients again", async || plain_ping(node, 14200).then_some(())).await;
    assert!(ping(node, 14200, &server, None).await.is_err());
    assert_eq!(ping(node, 14200, &server, Some(&own)).await.unwrap(), "+PONG\r\n");
    assert_eq!(change(json!({"ssl": true})).await["tls_mode"], "enabled");
    until("no plain clients", async || (!plain_ping(node, 14200)).then_some(())).await;
}
