//! Settings, certificates and logins that the spec takes over: sent when they differ, and only then.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use serde_json::{Value, json};
use world::World;

fn secret(name: &str, data: Value) -> Value {
    json!({ "kind": "Secret", "metadata": { "name": name }, "data": data })
}

fn with_ldap() -> World {
    let mut world = World::running();
    world.spec["ldap"] = json!({
        "protocol": "LDAPS", "servers": [{ "host": "ldap.example.com" }], "bindCredentialsSecretName": "bind",
        "authenticationQuery": { "template": "cn=%u" }, "authorizationQuery": { "attribute": "memberOf" },
    });
    world.secrets.push(secret("bind", json!({ "dn": "fp:dn", "password": "fp:new" })));
    world
}

/// What the server shows of LDAP; it never shows the password.
fn shown() -> Value {
    json!({
        "uris": ["ldaps://ldap.example.com:636"], "starttls": false, "control_plane": false, "data_plane": false,
        "user_dn_template": "cn=%u", "dn_group_attr": "memberOf", "bind_dn": "x", "bind_pass": "***", "cache_ttl": 300,
    })
}

fn replied(mut world: World, id: &str, status: u16, body: Value) -> World {
    world.round += 1;
    world.replies = vec![(id.to_owned(), status, body)];
    world
}

/// The server answers this for a part.
fn shows(mut world: World, fact: &str, body: Value) -> World {
    world.facts.push((fact.to_owned(), body));
    world
}

fn in_force(plan: &Value) -> Value {
    let secret = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 Secret ns/rec-in-force");
    secret.map_or(Value::Null, |secret| secret["body"]["stringData"].clone())
}

#[test]
fn settings_are_known_first_then_changed_then_remembered() {
    let world = with_ldap();
    assert_eq!(world.requests(), [""; 0], "what the server has is not known");
    assert_eq!(world.plan()["progress"]["waiting"], "the LDAP settings cannot be read: not reachable");
    let world = shows(world, "ldap", shown());
    assert_eq!(world.requests(), ["PUT /v1/cluster/ldap to -"], "the password was never sent");
    let world = replied(world, "change ldap", 200, json!({}));
    assert_eq!(world.requests(), [""; 0]);
    let plan = world.plan();
    assert_eq!(in_force(&plan)["ldap.bind_pass"], json!({ "$secretKeyRef": { "name": "bind", "key": "password" } }));
    assert_eq!(plan["status"]["managedAPIs"], json!({ "ldap": true }));
    assert_eq!(plan["progress"], "done");
}

#[test]
fn what_is_as_wanted_is_not_sent_again_and_a_new_password_is() {
    let mut world = with_ldap();
    world.secrets.push(secret("rec-in-force", json!({ "ldap.bind_dn": "fp:dn", "ldap.bind_pass": "fp:new" })));
    let world = shows(world, "ldap", shown());
    assert_eq!(world.requests(), [""; 0]);
    let kept = json!({ "$secretKeyRef": { "name": "rec-in-force", "key": "ldap.bind_pass" } });
    assert_eq!(in_force(&world.plan())["ldap.bind_pass"], kept);

    let mut rotated = with_ldap();
    rotated.secrets.push(secret("rec-in-force", json!({ "ldap.bind_dn": "fp:dn", "ldap.bind_pass": "fp:old" })));
    let rotated = shows(rotated, "ldap", shown());
    assert_eq!(rotated.requests(), ["PUT /v1/cluster/ldap to -"]);
}

#[test]
fn a_setting_changed_elsewhere_is_put_back_and_others_stay() {
    let mut world = with_ldap();
    world.secrets.push(secret("rec-in-force", json!({ "ldap.bind_dn": "fp:dn", "ldap.bind_pass": "fp:new" })));
    let mut has = shown();
    has["cache_ttl"] = json!(7);
    assert_eq!(shows(world, "ldap", has.clone()).requests(), [""; 0], "nobody asked for a cache time");
    has["uris"] = json!(["ldap://other:389"]);
    let mut world = with_ldap();
    world.secrets.push(secret("rec-in-force", json!({ "ldap.bind_dn": "fp:dn", "ldap.bind_pass": "fp:new" })));
    assert_eq!(shows(world, "ldap", has).requests(), ["PUT /v1/cluster/ldap to -"]);
}

#[test]
fn a_removed_field_gives_the_login_up() {
    let mut world = World::running();
    world.status["managedAPIs"] = json!({ "ldap": true });
    assert_eq!(world.requests(), ["DELETE /v1/cluster/ldap to -"]);
    let world = replied(world, "change ldap", 200, json!({}));
    assert_eq!(world.plan()["status"]["managedAPIs"], json!({}));
}

#[test]
fn a_missing_secret_is_waited_for_and_named() {
    let mut world = with_ldap();
    world.secrets.pop();
    assert_eq!(world.requests(), [""; 0]);
    let why = world.plan()["progress"]["waiting"].as_str().unwrap().to_owned();
    assert_eq!(why, "the Secret `bind` of spec.ldap.bindCredentialsSecretName does not exist");
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let world = replied(
        with_ldap(),
        "change ldap",
        406,
        json!({ "error_code": "illegal_fields_combination", "message": "no" }),
    );
    let plan = world.plan();
    assert!(plan["events"][0].as_str().unwrap().starts_with("Warning SettingsRefused: LDAP settings were not taken"));
    assert!(plan["progress"]["waiting"].as_str().unwrap().contains("illegal_fields_combination"));
    assert_eq!(plan["status"]["state"], "Running", "the cluster runs on as it is");
}

#[test]
fn only_changed_certificates_are_sent_and_those_of_endpoints_are_counted() {
    let mut world = World::running();
    world.spec["certificates"] = json!({ "proxyCertificateSecretName": "proxy", "apiCertificateSecretName": "api" });
    world.secrets.push(secret("proxy", json!({ "tls.crt": "fp:c2", "tls.key": "fp:k2" })));
    world.secrets.push(secret("api", json!({ "cert": "fp:c1", "key": "fp:k1" })));
    let copies = json!({
        "certificates.proxy.cert": "fp:c0", "certificates.proxy.key": "fp:k0",
        "certificates.api.cert": "fp:c1", "certificates.api.key": "fp:k1",
    });
    world.secrets.push(secret("rec-in-force", copies));
    world.status["certificatesStatus"] = json!({ "generation": 4 });
    let world = shows(world, "certificates", json!({ "api_key": "fp:k1", "proxy_key": "fp:k0" }));
    let body = world.plan()["calls"][0]["body"].clone();
    let reference = |key: &str| json!({ "$secretKeyRef": { "name": "proxy", "key": key } });
    let proxy = json!({ "name": "proxy", "certificate": reference("tls.crt"), "key": reference("tls.key") });
    assert_eq!(body, json!({ "certificates": [proxy] }));
    let world = replied(world, "change certificates", 200, json!({}));
    assert_eq!(world.plan()["status"]["certificatesStatus"]["generation"], 5);
}

#[test]
fn a_certificate_replaced_on_the_server_is_put_back() {
    let mut world = World::running();
    world.spec["certificates"] = json!({ "apiCertificateSecretName": "api" });
    world.secrets.push(secret("api", json!({ "cert": "fp:c1", "key": "fp:k1" })));
    let copies = json!({ "certificates.api.cert": "fp:c1", "certificates.api.key": "fp:k1" });
    world.secrets.push(secret("rec-in-force", copies));
    let world = shows(world, "certificates", json!({ "api_key": "fp:other" }));
    assert_eq!(world.requests(), ["PUT /v1/cluster/certificates to -"]);
}

#[test]
fn policy_and_racks_follow_the_facts() {
    let mut world = World::running();
    world.spec["slaveHA"] = json!({ "slaveHAGracePeriod": 600 });
    world.facts.push(("policy".into(), json!({ "slave_ha_grace_period": 900, "rack_aware": false })));
    assert_eq!(world.plan()["calls"][0]["body"], json!({ "slave_ha_grace_period": 600 }));
    world.facts.push(("policy".into(), json!({ "slave_ha_grace_period": 600, "rack_aware": false })));
    assert_eq!(world.requests(), [""; 0]);
    world.spec["rackAwarenessNodeLabel"] = json!("topology.kubernetes.io/zone");
    world.racks = vec!["a".into(), "b".into(), "c".into()];
    assert_eq!(world.plan()["calls"][0]["body"], json!({ "slave_ha_grace_period": 600, "rack_aware": true }));
}

#[test]
fn nodes_are_told_their_rack_and_one_without_waits() {
    let mut world = World::formed(1);
    world.spec["rackAwarenessNodeLabel"] = json!("topology.kubernetes.io/zone");
    world.racks = vec!["a".into(), "b".into()];
    let plan = world.plan();
    let join = plan["calls"].as_array().unwrap().iter().find(|call| call["id"] == "rec-1").unwrap();
    assert_eq!(join["body"]["node"]["identity"]["rack_id"], "b");
    world.racks = vec!["a".into()];
    assert_eq!(world.requests(), [""; 0]);
    let why = "rec-1 runs on the Kubernetes node `worker-1`, which has no label `topology.kubernetes.io/zone`; label it with its rack";
    let plan = world.plan();
    assert_eq!(plan["progress"]["waiting"], why);
    assert!(plan["events"].to_string().contains(&format!("RackUnknown: {why}")), "{}", plan["events"]);
}

#[test]
fn without_the_right_to_read_nodes_no_node_bootstraps_and_the_missing_role_is_named() {
    let mut world = World::pods_up();
    world.spec["rackAwarenessNodeLabel"] = json!("example.com/rack");
    world.nodes_unreadable = Some("nodes is forbidden: User \"x\" cannot list resource \"nodes\"".into());
    assert_eq!(world.requests(), [""; 0]);
    let plan = world.plan();
    let why = plan["progress"]["waiting"].as_str().unwrap();
    assert!(
        why.contains("nodes is forbidden") && why.contains("ClusterRole `redis-enterprise-operator-racks`"),
        "{why}"
    );
    assert!(why.contains("deploy/rack-awareness.yaml"), "{why}");
    // A cluster that asks for no racks does not care.
    world.spec = json!({ "nodes": 3 });
    assert_eq!(world.requests(), ["POST /v1/bootstrap/create_cluster to rec-0"]);
}
