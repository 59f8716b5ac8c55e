//! Who answers, and by which certificate: two operators of which one is lost, and a certificate that somebody else keeps.

use std::collections::BTreeMap;

use anyhow::bail;
use base64::Engine as _;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, OPERATOR, SETTLES, World};

use super::{DENIED, bundle, denied, elsewhere, judging, offered, rolled_out};

pub(crate) async fn row_63_a_second_replica_answers_when_the_leading_one_is_lost(world: &World) {
    judging(world).await;
    world.kubectl(&["scale", "deployment", OPERATOR, "--replicas=2"]).unwrap();
    rolled_out(world).await;
    let holder = || -> anyhow::Result<String> {
        let path = "jsonpath={.spec.holderIdentity}";
        world.kubectl(&["get", "lease", "stepwright", "-o", path])
    };
    let pods =
        world.kubectl(&["get", "pods", "-l", &format!("name={OPERATOR}"), "-o", "jsonpath={.items[*].metadata.name}"]);
    let pods = pods.unwrap();
    let leads = holder().unwrap();
    let leading =
        pods.split_whitespace().find(|pod| leads.contains(*pod)).unwrap_or_else(|| panic!("{leads} of {pods}"));
    assert_eq!(pods.split_whitespace().count(), 2, "{pods}");
    // With one of two gone, the API server may meet the hole for a moment, and then only the other.
    world.kubectl(&["delete", "pod", leading, "--grace-period=0", "--force"]).unwrap();
    judging(world).await;
    // The one that stayed, or the one that was made in the place of the lost one.
    until("another to lead", SETTLES, || async {
        let now = holder()?;
        if !now.is_empty() && !now.contains(leading) { Ok(()) } else { bail!("{now}") }
    })
    .await;
    denied(world, &elsewhere("offered"), &[DENIED, "not found in namespace"]);
    world.kubectl(&["scale", "deployment", OPERATOR, "--replicas=1"]).unwrap();
    rolled_out(world).await;
    judging(world).await;
}

/// A Secret as cert-manager writes it, and its authority.
fn kept_elsewhere(world: &World, authority: &CertifiedIssuer<'_, KeyPair>) {
    let params = CertificateParams::new(vec![format!("admission.{NAMESPACE}.svc")]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().pem();
    let encoded = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let data: BTreeMap<&str, String> = [
        ("tls.crt", encoded(certificate)),
        ("tls.key", encoded(key.serialize_pem())),
        ("ca.crt", encoded(authority.pem())),
    ]
    .into();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "cert-manager-tls"},
        "data": data});
    world.kubectl_with_input(&["apply", "-f", "-"], &secret.to_string()).unwrap();
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn trusted(world: &World, authority: &CertifiedIssuer<'_, KeyPair>) {
    let wanted = base64::engine::general_purpose::STANDARD.encode(authority.pem());
    until("the authority to be trusted", SETTLES, || async {
        let now = bundle(world);
        if now == wanted { Ok(()) } else { bail!("{now}") }
    })
    .await;
    judging(world).await;
}

pub(crate) async fn row_63_the_certificate_of_a_cert_manager_is_followed(world: &World) {
    judging(world).await;
    let first = authority();
    kept_elsewhere(world, &first);
    let secret = |value: &str| {
        let variable = format!("STEPWRIGHT_ADMISSION_SECRET{value}");
        world.kubectl(&["set", "env", &format!("deployment/{OPERATOR}"), &variable]).unwrap();
    };
    secret("=cert-manager-tls");
    rolled_out(world).await;
    trusted(world, &first).await;
    // Renewed by another authority: followed without a restart.
    let pod = world.operator_pod().unwrap();
    let second = authority();
    kept_elsewhere(world, &second);
    trusted(world, &second).await;
    assert_eq!(world.operator_pod().unwrap(), pod);
    offered(world, &super::database(json!({"memorySize": "100MB"}))).unwrap();
    let kept = world.get("secret", "cert-manager-tls").unwrap();
    let keys: Vec<&String> = kept["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"], "a Secret of somebody else is only read");
    secret("-");
    rolled_out(world).await;
    world.kubectl(&["delete", "secret", "cert-manager-tls"]).unwrap();
    judging(world).await;
}
