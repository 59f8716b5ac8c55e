//! The encrypted listeners, the exporter, and the discovery service.

#![allow(clippy::unwrap_used, reason = "helpers of tests are no #[test]")]

mod common;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{CLUSTER, Nodes, PASSWORD, USER, until};
use redis_enterprise_simulator::resp::{Connection, strings_of};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One request over TLS with the certificate pinned and the cluster's name expected, as an operator does it.
async fn over_tls(host: &str, port: u16, pem: &str, path: &str) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect((host, port)).await?;
    let name = ServerName::try_from(CLUSTER).unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let basic = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {CLUSTER}\r\nauthorization: Basic {basic}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_certificate_is_the_same_on_every_node_and_can_be_replaced() {
    let nodes = Nodes::cluster(231, 3).await;
    let (_, certificates) = nodes.all[0].get("/v1/cluster/certificates").await;
    let pem = certificates["api_cert"].as_str().unwrap().to_owned();
    for node in &nodes.all {
        let answer =
            until("the cluster's certificate", async || over_tls(&node.host, 9443, &pem, "/v1/bootstrap").await.ok())
                .await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("server: envoy") && answer.contains("\"completed\""),
            "{answer}"
        );
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let fresh = rcgen::CertificateParams::new(vec![CLUSTER.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let put = |key: &str| json!({"certificates": [{"name": "api", "certificate": fresh, "key": key}]});
    let (status, error) = nodes.all[0].call("PUT", "/v1/cluster/certificates", &put("no key")).await;
    assert_eq!((status, &error["error_code"]), (406, &json!("invalid_certificate")));
    assert_eq!(nodes.all[0].call("PUT", "/v1/cluster/certificates", &put(&key.serialize_pem())).await.0, 200);
    for node in &nodes.all {
        until("the new certificate", async || over_tls(&node.host, 9443, &fresh, "/v1/bootstrap").await.ok()).await;
        assert!(over_tls(&node.host, 9443, &pem, "/v1/bootstrap").await.is_err(), "the old one is shown no more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_a_certificate_that_is_replaced_or_has_expired_fails_the_next_connection() {
    let nodes = Nodes::cluster(233, 1).await;
    let node = &nodes.all[0];
    let shown = async || node.get("/v1/cluster/certificates").await.1["api_cert"].as_str().unwrap().to_owned();
    let first = shown().await;
    over_tls(&node.host, 9443, &first, "/v1/bootstrap").await.unwrap();
    // Replaced: whoever trusts the old one only is out.
    let key = rcgen::KeyPair::generate().unwrap();
    let second = rcgen::CertificateParams::new(vec![CLUSTER.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let body = json!({"certificates": [{"name": "api", "certificate": second, "key": key.serialize_pem()}]});
    assert_eq!(node.call("PUT", "/v1/cluster/certificates", &body).await.0, 200);
    until("the new certificate", async || over_tls(&node.host, 9443, &second, "/v1/bootstrap").await.ok()).await;
    assert!(over_tls(&node.host, 9443, &first, "/v1/bootstrap").await.is_err());
    // Expired: nobody who looks gets in, and the plain door stays open.
    node.control("POST", "/_sim/faults", &json!({"kind": "expired-certificate"})).await;
    for pem in [&first, &second] {
        assert!(over_tls(&node.host, 9443, pem, "/v1/bootstrap").await.is_err());
    }
    assert_eq!(shown().await, second, "what is configured stays");
    node.control("DELETE", "/_sim/faults", &Value::Null).await;
    over_tls(&node.host, 9443, &second, "/v1/bootstrap").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_discovery_tell_of_a_database() {
    let nodes = Nodes::cluster(232, 2).await;
    nodes.all[0].create_bdb(&json!({"name": "seen", "memory_size": 104_857_600, "port": 15000})).await;
    let (_, certificates) = nodes.all[0].get("/v1/cluster/certificates").await;
    let pem = certificates["api_cert"].as_str().unwrap();
    let first = over_tls(&nodes.all[0].host, 8070, pem, "/metrics").await.unwrap();
    assert!(first.contains(&format!("bdb_memory_limit{{bdb=\"1\",cluster=\"{CLUSTER}\"}} 104857600")), "{first}");
    // The first kind is the master's alone; the second comes from any node.
    let follower = &nodes.all[1];
    let redirect = over_tls(&follower.host, 8070, pem, "/metrics").await.unwrap();
    assert!(
        redirect.starts_with("HTTP/1.1 307")
            && redirect.contains(&format!("https://{}:8070/metrics", nodes.all[0].address))
    );
    let second = over_tls(&follower.host, 8070, pem, "/v2").await.unwrap();
    assert!(
        second.contains("has_quorum") && second.contains(&format!("db_status{{cluster=\"{CLUSTER}\",db=\"1\"}} 0")),
        "{second}"
    );

    let page = over_tls(&follower.host, 8443, pem, "/").await.unwrap();
    assert!(page.contains("simulator") && page.contains(CLUSTER));
    let mut sentinel = Connection::open(&follower.host, 8001).await.unwrap();
    let place = sentinel.ask(&["SENTINEL", "get-master-addr-by-name", "seen"]).await.unwrap();
    let (_, bdb) = nodes.all[0].get("/v1/bdbs/1").await;
    assert_eq!(strings_of(&place), [bdb["endpoints"][0]["addr"][0].as_str().unwrap().as_bytes(), b"15000"]);
    assert_eq!(sentinel.ask(&["SENTINEL", "get-master-addr-by-name", "none"]).await.unwrap(), b"*-1\r\n");
}
