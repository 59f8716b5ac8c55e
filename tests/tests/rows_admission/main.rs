//! Before something is stored: the webhook as users install it, the certificate that is kept for it, plugins exchanged and gone
//! wrong behind it, and what happens while nobody answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod replicas;
mod trials;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use rcgen::{
    CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::checklist;
use stepwright_tests::components::guest;
use stepwright_tests::databases::manifest;
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, NAMESPACE, OPERATOR, SETTLES, World};

const WEBHOOK: &str = "redis-enterprise-admission";
/// How the API server begins what a webhook refused.
const DENIED: &str = r#"admission webhook "redisenterprise.admission.redislabs" denied the request: "#;

fn main() {
    let rows = vec![
        row!(63, row_63_the_webhook_is_as_documented),
        row!(62, row_62_an_illegal_eviction_policy_is_denied),
        row!(66, row_66_a_cluster_that_is_not_there_is_denied),
        row!(92, row_92_an_active_active_database_is_denied),
        row!(34, row_34_a_cluster_is_denied_at_admission),
        row!(63, row_63_the_bundle_is_put_back_and_certificates_are_renewed),
        row!(62, row_62_a_plugin_is_exchanged_and_a_hostile_one_hangs_nobody),
        row!(62, trials::row_62_other_rules_are_tried_as_a_shadow_and_for_a_few),
        row!(62, trials::row_62_a_check_of_ones_own_is_asked_too),
        row!(63, replicas::row_63_a_second_replica_answers_when_the_leading_one_is_lost),
        row!(63, replicas::row_63_the_certificate_of_a_cert_manager_is_followed),
        row!(63, row_63_while_the_operator_is_down),
    ];
    checklist::main("rows_admission", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    let path = repository().join("deploy/webhook.yaml");
    world.kubectl(&["apply", "-f", &path.display().to_string()]).unwrap();
    judging(world).await;
}

fn webhook(world: &World) -> Value {
    world.get("validatingwebhookconfiguration", WEBHOOK).unwrap()
}

fn bundle(world: &World) -> String {
    webhook(world)["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()
}

/// What the API server says of an object, which is not stored.
fn offered(world: &World, object: &Value) -> Result<(), String> {
    let said = world.kubectl_with_input(&["create", "--dry-run=server", "-f", "-"], &object.to_string());
    said.map(|_| ()).map_err(|error| format!("{error:#}"))
}

fn database(spec: Value) -> Value {
    manifest("offered", spec)
}

/// One that only the webhook can refuse: the cluster is not there.
fn elsewhere(name: &str) -> Value {
    manifest(name, json!({"memorySize": "100MB", "redisEnterpriseCluster": {"name": "elsewhere"}}))
}

/// Waits until the built-in rules answer.
async fn judging(world: &World) {
    until("the webhook to judge", SETTLES, || async {
        match offered(world, &elsewhere("offered")) {
            Err(said) if said.contains(DENIED) && said.contains("not found in namespace") => Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
}

/// Waits until all of the operator's pods are of the Deployment's newest template, and ready.
async fn rolled_out(world: &World) {
    until("the operator to be rolled out", FORMS, || async {
        world.kubectl(&["rollout", "status", "deployment", OPERATOR, "--timeout=30s"]).map(drop)
    })
    .await;
}

#[track_caller]
fn denied(world: &World, object: &Value, words: &[&str]) {
    let said = offered(world, object).expect_err("it is admitted");
    for words in words {
        assert!(said.contains(words), "{said:?} has no {words:?}");
    }
}

async fn row_63_the_webhook_is_as_documented(world: &World) {
    judging(world).await;
    let configuration = webhook(world);
    let [one] = configuration["webhooks"].as_array().unwrap().as_slice() else { panic!("{configuration}") };
    assert_eq!(one["name"], "redisenterprise.admission.redislabs");
    let expected = [("failurePolicy", "Fail"), ("matchPolicy", "Exact"), ("sideEffects", "None")];
    assert!(expected.iter().all(|(field, value)| one[field] == *value), "{one}");
    assert_eq!(one["timeoutSeconds"], 30);
    let service = &one["clientConfig"]["service"];
    assert_eq!(
        (&service["name"], &service["path"], &service["port"]),
        (&json!("admission"), &json!("/admission"), &json!(443))
    );
    let rule = &one["rules"][0];
    let resources =
        json!(["redisenterprisedatabases", "redisenterpriseactiveactivedatabases", "redisenterpriseremoteclusters"]);
    assert_eq!((&rule["resources"], &rule["operations"]), (&resources, &json!(["CREATE", "UPDATE"])));
    assert_eq!((&rule["apiGroups"], &rule["apiVersions"]), (&json!(["app.redislabs.com"]), &json!(["v1alpha1"])));
    assert!(!bundle(world).is_empty());
    // What users of the vendor's copy there goes on being right.
    let pem = world.secret("admission-tls", "cert").unwrap();
    let authority = world.secret("admission-tls", "ca").unwrap();
    assert!(pem.contains(authority.trim()), "{pem}");
    assert!(!world.secret("admission-tls", "privateKey").unwrap().is_empty());
    let port = world.kubectl(&["get", "service", "admission", "-o", "jsonpath={.spec.ports[0].port}"]).unwrap();
    assert_eq!(port, "443");
    offered(world, &database(json!({"memorySize": "100MB"}))).unwrap();
}

const LISTED: &str = "'illegal' is an invalid value for 'eviction_policy'. Possible values are ['volatile-lru', 'volatile-ttl', \
    'volatile-random', 'allkeys-lru', 'allkeys-random', 'noeviction', 'volatile-lfu', 'allkeys-lfu']";

async fn row_62_an_illegal_eviction_policy_is_denied(world: &World) {
    let illegal = database(json!({"memorySize": "100MB", "evictionPolicy": "illegal"}));
    denied(world, &illegal, &[LISTED]);
    // Ours says so in its schema. With one that does not, as the vendor's, the webhook does.
    let crd = "redisenterprisedatabases.app.redislabs.com";
    let ours = world.get("crd", crd).unwrap();
    let mut plain = ours.clone();
    without_rules(&mut plain);
    replace(world, &plain);
    until("the webhook to be the one that denies", SETTLES, || async {
        match offered(world, &illegal) {
            Err(said) if said.contains(DENIED) && said.contains(LISTED) => Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
    replace(world, &ours);
    until("the schema to deny it again", SETTLES, || async {
        match offered(world, &illegal) {
            Err(said) if !said.contains(DENIED) => Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
}

fn without_rules(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}

/// Puts the spec of this object in the place of what is there.
fn replace(world: &World, object: &Value) {
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    let patch = json!([{"op": "replace", "path": "/spec", "value": object["spec"]}]);
    world.kubectl(&["patch", kind, name, "--type", "json", "-p", &patch.to_string()]).unwrap();
}

async fn row_66_a_cluster_that_is_not_there_is_denied(world: &World) {
    judging(world).await;
    let text = "spec.redisEnterpriseCluster.name: RedisEnterpriseCluster `elsewhere` not found in namespace `redis`, which has \
        `rec`: make it, or name another";
    denied(world, &elsewhere("offered"), &[DENIED, text]);
    // What the cluster itself knows is seen, too: a name and a port that are taken.
    let foreign = json!({"name": "foreign", "type": "redis", "memory_size": 104_857_600, "port": 12_345});
    world.rest("POST", "/v1/bdbs", Some(&foreign)).unwrap();
    let twice = manifest("foreign", json!({"memorySize": "100MB", "databasePort": 12_345}));
    until("the operator to know the database", SETTLES, || async {
        match offered(world, &twice) {
            Err(said) if said.contains("name this resource differently") && said.contains("choose another") => Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
    let all = world.rest("GET", "/v1/bdbs", None).unwrap();
    let uid = all.as_array().unwrap().iter().find(|bdb| bdb["name"] == "foreign").unwrap()["uid"].clone();
    world.rest("DELETE", &format!("/v1/bdbs/{uid}"), None).unwrap();
}

async fn row_92_an_active_active_database_is_denied(world: &World) {
    let active_active = |global: Value| {
        json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase", "metadata": {"name": "aa"},
            "spec": {"participatingClusters": [{"name": "nowhere"}], "globalConfigurations": global}})
    };
    denied(
        world,
        &active_active(json!({"memorySize": "100MB", "evictionPolicy": "illegal"})),
        &["'illegal' is an invalid value"],
    );
    denied(
        world,
        &active_active(json!({"memorySize": "100MB"})),
        &[DENIED, "RedisEnterpriseRemoteCluster `nowhere` not found in namespace `redis`, which has none"],
    );
}

/// Rules of clusters that the schema cannot have.
async fn row_34_a_cluster_is_denied_at_admission(world: &World) {
    let second = json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "second"},
        "spec": {"nodes": 3}});
    denied(world, &second, &[DENIED, "`rec` is there already"]);
    let four = json!({"spec": {"nodes": 4}}).to_string();
    let said = world.kubectl(&["patch", "rec", "rec", "--type", "merge", "--dry-run=server", "-p", &four]).unwrap_err();
    assert!(format!("{said:#}").contains("odd"), "{said:#}");
}

async fn row_63_the_bundle_is_put_back_and_certificates_are_renewed(world: &World) {
    judging(world).await;
    let right = bundle(world);
    let (authority, certificate, key) = old_certificate();
    let foreign = base64::engine::general_purpose::STANDARD.encode(authority.pem());
    let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": foreign}]);
    world
        .kubectl(&["patch", "validatingwebhookconfiguration", WEBHOOK, "--type", "json", "-p", &patch.to_string()])
        .unwrap();
    until("the bundle to be put back", SETTLES, || async {
        if bundle(world) == right { Ok(()) } else { anyhow::bail!("{}", bundle(world)) }
    })
    .await;
    judging(world).await;

    // A certificate most of whose time is over, by an authority of its own, as if years had passed.
    let restarts = restarts(world);
    let encoded = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let data: BTreeMap<&str, String> = [
        ("cert", certificate.clone()),
        ("privateKey", key),
        ("ca", authority.pem()),
        ("caKey", authority.key().serialize_pem()),
        ("caUntil", "4102444800".to_owned()),
    ]
    .into_iter()
    .map(|(key, text)| (key, encoded(text)))
    .collect();
    world.patch("secret", "admission-tls", &json!({"data": data})).unwrap();
    until("the certificate to be renewed by that authority", SETTLES, || async {
        let (now, by) = (world.secret("admission-tls", "cert")?, world.secret("admission-tls", "ca")?);
        if now != certificate && by == authority.pem() && bundle(world) == foreign {
            Ok(())
        } else {
            anyhow::bail!("{by}")
        }
    })
    .await;
    judging(world).await;

    // Lost as a whole, it is made anew, and trusted.
    world.kubectl(&["delete", "secret", "admission-tls"]).unwrap();
    until("another authority to be trusted", SETTLES, || async {
        let now = bundle(world);
        if now != foreign && now != right { Ok(()) } else { anyhow::bail!("{now}") }
    })
    .await;
    judging(world).await;
    assert_eq!(self::restarts(world), restarts, "the operator was started again");
}

/// An authority, and a certificate by it with its key, whose time is mostly over.
fn old_certificate() -> (CertifiedIssuer<'static, KeyPair>, String, String) {
    let named = |name: &str| {
        let mut all = DistinguishedName::new();
        all.push(DnType::CommonName, name);
        all
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = named("stepwright-admission");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![format!("admission.{NAMESPACE}.svc")]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2010, 1, 1), date_time_ymd(2020, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    (authority, certificate, key.serialize_pem())
}

fn restarts(world: &World) -> String {
    let path = "jsonpath={.items[*].metadata.name}{.items[*].status.containerStatuses[*].restartCount}";
    world.kubectl(&["get", "pods", "-l", &format!("name={OPERATOR}"), "-o", path]).unwrap()
}

async fn row_62_a_plugin_is_exchanged_and_a_hostile_one_hangs_nobody(world: &World) {
    judging(world).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.wasm");
    std::fs::write(&file, guest("admission-pass")).unwrap();
    let name = "other-rules";
    world.kubectl(&["create", "configmap", name, &format!("--from-file={}", file.display())]).unwrap();
    world.kubectl(&["label", "configmap", name, "stepwright.dev/plugin=true"]).unwrap();
    world.field("configmap", name, "/metadata/annotations/stepwright.dev~1state", "active", SETTLES).await;
    // It knows one rule, and that is another one.
    denied(world, &manifest("bad", json!({"memorySize": "100MB"})), &[DENIED, "metadata.name: bad is a bad name"]);
    offered(world, &elsewhere("offered")).unwrap();

    // Without an answer it is refused, long before the API server gives up; others are answered meanwhile.
    let began = Instant::now();
    denied(world, &elsewhere("spins"), &["denied the request", "gave no answer for check `admit-redb`"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    offered(world, &elsewhere("offered")).unwrap();

    // On wish whoever came with the operator is asked in its place.
    world.kubectl(&["annotate", "configmap", name, "stepwright.dev/on-failure=fallback"]).unwrap();
    until("the other rules to be fallen back to", SETTLES, || async {
        match offered(world, &elsewhere("traps")) {
            Err(said) if said.contains("not found in namespace") => Ok(()),
            // It was taken back for its faults: good, too.
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;

    // It failed too often, and is taken back by itself.
    until("the plugin to be taken back", SETTLES, || async {
        let _ = offered(world, &elsewhere("traps"));
        let state = world.get("configmap", name)?["metadata"]["annotations"]["stepwright.dev/state"].clone();
        if state == "rolled-back" { Ok(()) } else { anyhow::bail!("{state}") }
    })
    .await;
    judging(world).await;
    world.kubectl(&["delete", "configmap", name]).unwrap();
    judging(world).await;
}

async fn row_63_while_the_operator_is_down(world: &World) {
    judging(world).await;
    let good = database(json!({"memorySize": "100MB"}));
    world.kubectl(&["scale", "deployment", OPERATOR, "--replicas=0"]).unwrap();
    until("the operator to be gone", SETTLES, || async {
        match offered(world, &good) {
            Err(said) if said.contains("failed calling webhook") => Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
    let policy = |word: &str| {
        let patch = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": word}]).to_string();
        world.kubectl(&["patch", "validatingwebhookconfiguration", WEBHOOK, "--type", "json", "-p", &patch]).unwrap();
    };
    policy("Ignore");
    until("it to be stored unjudged", SETTLES, || async {
        offered(world, &elsewhere("offered")).map_err(anyhow::Error::msg)
    })
    .await;
    policy("Fail");
    world.kubectl(&["scale", "deployment", OPERATOR, "--replicas=1"]).unwrap();
    world.operator_ready().await;
    judging(world).await;
    offered(world, &good).unwrap();
}
