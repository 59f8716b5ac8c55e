//! What the services-rigger makes of a cluster and its databases.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../redb/tests/common/admitted.rs"]
mod admitted;

use proptest::prelude::*;
use serde_json::{Value, json};
use stepwright_sdk::Plan;
use stepwright_sdk::testing::{Given, readable};
use stepwright_services_rigger::ServicesRigger;

fn rec(spec: &Value) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" }, "spec": spec,
    })
}

fn pod(name: &str, ip: &str, labels: &Value) -> Value {
    json!({ "kind": "Pod", "metadata": { "name": name, "labels": labels }, "status": { "podIP": ip } })
}

fn bdb(uid: u64, name: &str, port: u16, addresses: &[&str]) -> Value {
    json!({
        "uid": uid, "name": name, "status": "active", "port": 0, "max_connections": 0, "tags": [],
        "endpoints": [{ "uid": format!("{uid}:1"), "port": port, "addr": addresses, "addr_type": "internal" }],
    })
}

fn given(spec: &Value) -> Given {
    Given::new::<ServicesRigger>(&rec(spec))
        .object("pods", &pod("rec-0", "10.0.0.5", &json!({})))
        .object("pods", &pod("rec-1", "10.0.0.6", &json!({})))
}

fn nodes() -> Value {
    json!({
        "1": { "hostname": "rec-0", "role": "slave", "node_status": "active" },
        "2": { "hostname": "rec-1", "role": "master", "node_status": "active" },
    })
}

fn plan(given: &Given) -> Plan {
    let plan = given.run::<ServicesRigger>().unwrap();
    admitted::check::<ServicesRigger>(&plan, &given.observation().primary.id);
    plan
}

/// The database Service as the API server would serve it.
fn live(name: &str, uid: u64, cluster_ip: &str) -> Value {
    json!({
        "kind": "Service", "metadata": { "name": name },
        "spec": {
            "type": "ClusterIP", "clusterIP": cluster_ip, "selector": { format!("redis.io/bdb-{uid}"): uid.to_string() },
            "ports": [{ "name": "redis", "port": 6379, "protocol": "TCP", "targetPort": 19621 }],
        },
    })
}

/// Names of Services, and labels of pods, in one line each.
fn outline(plan: &Plan) -> Vec<String> {
    let plan = readable(plan);
    let list = |key: &str| plan[key].as_array().cloned().unwrap_or_default();
    let services = list("desired").into_iter().map(|it| {
        format!(
            "{} -> {} {}",
            it["id"].as_str().unwrap(),
            it["body"]["spec"]["ports"][0]["port"],
            it["body"]["spec"]["selector"]
        )
    });
    let pods = list("amended")
        .into_iter()
        .map(|it| format!("{} {}", it["id"].as_str().unwrap(), it["body"]["metadata"]["labels"]));
    let events = list("events").into_iter().map(|it| it.as_str().unwrap().to_owned());
    services
        .chain(pods)
        .chain(events)
        .filter(|line| !line.contains("ns/rec ") && !line.contains("ns/rec-ui ") && !line.contains("ns/rec-prom "))
        .collect()
}

#[test]
fn a_cluster_that_is_not_formed_gets_its_own_services() {
    insta::assert_yaml_snapshot!(readable(&plan(&given(&json!({})))));
}

#[test]
fn one_database_gets_services_and_labels() {
    let given =
        given(&json!({})).fact("bdbs", &json!([bdb(1, "mydb", 19621, &["10.0.0.6"])])).fact("nodes-status", &nodes());
    insta::assert_yaml_snapshot!(readable(&plan(&given)));
}

#[test]
fn spec_decides_types_names_ports_labels_and_annotations() {
    let spec = json!({
        "uiServiceType": "LoadBalancer", "uiAnnotations": { "a": "ui" }, "extraLabels": { "team": "x" },
        "services": { "apiService": { "type": "NodePort" }, "servicesAnnotations": { "a": "all", "b": "all" } },
        "servicesRiggerSpec": {
            "databaseServiceType": "cluster_ip,headless,load_balancer", "serviceNaming": "redis-port",
            "databaseServicePortPolicy": "RedisDefaultPort",
        },
    });
    let given = given(&spec).fact("bdbs", &json!([bdb(1, "mydb", 19621, &["10.0.0.6"])]));
    insta::assert_yaml_snapshot!(readable(&plan(&given)));
}

#[test]
fn annotations_for_load_balancers_go_to_load_balancers() {
    let aws = "service.beta.kubernetes.io/aws-load-balancer-internal";
    let metal = "metallb.universe.tf/loadBalancerIPs";
    let spec = json!({
        "uiServiceType": "LoadBalancer", "services": { "servicesAnnotations": { (aws): "true", (metal): "10.0.0.1", "team": "x" } },
        "servicesRiggerSpec": { "databaseServiceType": "cluster_ip,headless,load_balancer" },
    });
    let plan = readable(&plan(&given(&spec).fact("bdbs", &json!([bdb(1, "mydb", 19621, &["10.0.0.6"])]))));
    let (mut balanced, mut others) = (0, 0);
    for service in plan["desired"].as_array().unwrap() {
        let body = &service["body"];
        let has = |key: &str| body["metadata"]["annotations"][key].is_string();
        let is_balanced = body["spec"]["type"] == "LoadBalancer";
        assert_eq!((has(aws), has(metal), has("team")), (is_balanced, is_balanced, true), "{service}");
        if is_balanced {
            balanced += 1;
        } else {
            others += 1;
        }
    }
    assert!(balanced >= 2 && others >= 2, "{balanced}, {others}");
}

#[test]
fn a_database_of_another_namespace_is_found_by_its_port_alone() {
    let mut guest = bdb(1, "rec-ui", 19621, &["10.0.0.6"]);
    guest["tags"] =
        json!([{ "key": "redb_namespace", "value": "elsewhere" }, { "key": "db_service_port", "value": "7000" }]);
    let spec = json!({ "servicesRiggerSpec": { "databaseServiceType": "headless,load_balancer" } });
    let outline = outline(&plan(&given(&spec).fact("bdbs", &json!([guest]))));
    assert_eq!(
        outline,
        [r#"v1 Service ns/redis-19621 -> 7000 {"redis.io/bdb-1":"1"}"#, r#"v1 Pod ns/rec-1 {"redis.io/bdb-1":"1"}"#]
    );
}

#[test]
fn two_databases_share_nothing() {
    let mut second = bdb(2, "other", 12000, &["10.0.0.5", "10.0.0.6"]);
    second["tags"] = json!([{ "key": "db_service_port", "value": "7000" }]);
    let given = given(&json!({})).fact("bdbs", &json!([bdb(1, "mydb", 19621, &["10.0.0.6"]), second]));
    insta::assert_yaml_snapshot!(outline(&plan(&given)));
}

#[test]
fn labels_follow_an_endpoint() {
    let labels = |address: &str| {
        let given = given(&json!({})).fact("bdbs", &json!([bdb(1, "mydb", 19621, &[address])]));
        readable(&plan(&given))["amended"].clone()
    };
    let on = |pod: &str| json!([{ "id": format!("v1 Pod ns/{pod}"), "body": { "metadata": { "labels": { "redis.io/bdb-1": "1" } } } }]);
    assert_eq!(labels("10.0.0.5"), on("rec-0"));
    assert_eq!(labels("10.0.0.6"), on("rec-1"));
    assert_eq!(labels("10.0.0.9"), Value::Null);
}

#[test]
fn when_databases_cannot_be_listed_services_and_labels_stay() {
    let given = Given::new::<ServicesRigger>(&rec(&json!({})))
        .object("owned", &live("mydb", 1, "10.96.0.7"))
        .object("owned", &live("mydb-headless", 1, "None"))
        .object(
            "pods",
            &pod("rec-0", "10.0.0.5", &json!({ "redis.io/bdb-1": "1", "redis.io/role-master": "true", "x": "y" })),
        );
    insta::assert_yaml_snapshot!(readable(&plan(&given)));
    let gone = given.fact("bdbs", &json!([])).fact("nodes-status", &json!({}));
    assert_eq!(outline(&plan(&gone)), Vec::<String>::new());
}

#[test]
fn names_that_cannot_be_are_told() {
    let given = given(&json!({}))
        .object("services", &json!({ "kind": "Service", "metadata": { "name": "theirs" } }))
        .object(
            "owned",
            &json!({ "kind": "Service", "metadata": { "name": "rec-pods" }, "spec": { "selector": { "app": "x" } } }),
        )
        .fact(
            "bdbs",
            &json!([
                bdb(4, "mydb", 14000, &[]),
                bdb(1, "mydb", 11000, &[]),
                bdb(2, "MyDb", 12000, &[]),
                bdb(3, "theirs", 13000, &[]),
                bdb(5, "rec-ui", 15000, &[]),
                bdb(6, "rec-pods", 16000, &[]),
            ]),
        );
    insta::assert_yaml_snapshot!(outline(&plan(&given)));
}

#[test]
fn a_cluster_that_goes_away_makes_nothing_new_and_does_not_wait() {
    let going = |given: Given| {
        let plan = plan(&given.deleting());
        (readable(&plan)["progress"].clone(), outline(&plan), plan.desired.len())
    };
    assert_eq!(going(given(&json!({}))), (json!("done"), vec![], 0));
    let (progress, lines, _) = going(given(&json!({})).object("owned", &live("mydb", 1, "10.96.0.7")));
    assert_eq!(progress, "done");
    assert_eq!(lines, [r#"v1 Service ns/mydb -> 6379 {"redis.io/bdb-1":"1"}"#]);
}

#[test]
fn a_type_of_the_ui_that_cannot_be_is_told() {
    let plan = readable(&plan(&given(&json!({ "uiServiceType": "ExternalName" }))));
    assert_eq!(plan["notes"]["unsupported"][0]["field"], "spec.uiServiceType");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever databases are called: no object twice, each under a name that Kubernetes takes, same answer twice.
    #[test]
    fn any_databases_give_an_admissible_plan(names in proptest::collection::vec("[a-cA-C-]{1,3}|rec|rec-ui|mydb", 0..8)) {
        let bdbs: Vec<Value> = (1..).zip(&names).map(|(uid, name)| bdb(uid, name, 10_000, &["10.0.0.5"])).collect();
        let given = given(&json!({})).fact("bdbs", &Value::Array(bdbs));
        let first = plan(&given);
        let mut all: Vec<&str> = first.desired.iter().map(|object| object.id.name.as_str()).collect();
        prop_assert!(all.iter().all(|name| could_be_a_service(name)));
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), first.desired.len());
        prop_assert_eq!(&first, &plan(&given));
    }
}

fn could_be_a_service(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-') && name.to_lowercase() == name
}

/// What is laid for the outside, by kind and name.
fn ways(spec: &Value) -> Value {
    let mut database = bdb(1, "aa", 19621, &["10.0.0.5"]);
    database["crdt"] = json!(true);
    let given = given(spec).fact("bdbs", &json!([database, bdb(2, "plain", 19622, &["10.0.0.5"])]));
    let plan = readable(&plan(&given));
    let all =
        plan["desired"].as_array().unwrap().iter().filter(|it| !it["id"].as_str().unwrap().starts_with("v1 Service"));
    json!({ "ways": all.collect::<Vec<_>>(), "status": plan["status"] })
}

#[test]
fn the_api_and_active_active_databases_are_reached_from_outside() {
    let routing = |method: &str| {
        json!({ "ingressOrRouteSpec": {
            "method": method, "apiFqdnUrl": "api.example.com", "dbFqdnSuffix": ".db.example.com",
            "ingressAnnotations": { "kubernetes.io/ingress.class": "haproxy" },
        } })
    };
    insta::assert_yaml_snapshot!("ways_ingress", ways(&routing("ingress")));
    insta::assert_yaml_snapshot!("ways_route", ways(&routing("openShiftRoute")));
    insta::assert_yaml_snapshot!("ways_istio", ways(&routing("istio")));
    let old = json!({ "activeActive": {
        "method": "ingress", "apiIngressUrl": "api.example.com", "dbIngressSuffix": ".db.example.com",
        "ingressAnnotations": { "kubernetes.io/ingress.class": "haproxy" },
    } });
    assert_eq!(ways(&old), ways(&routing("ingress")));
    assert_eq!(ways(&json!({}))["ways"], json!([]));
}
